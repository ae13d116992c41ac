"""Where a Python file reads variables, by LibCST: the expression, its bytes, and what surrounds it.

The rest of the program imports this module only for a file that will change: LibCST with its
metadata reads 50 KB a second.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, QualifiedNameProvider

__all__ = ["Field", "Python", "Site", "read"]

_READERS = {
    "os.getenv": "getenv",
    "os.environ.get": "get",
    "os.environ.pop": "pop",
    "os.environ.setdefault": "setdefault",
    "decouple.config": "config",
}
_ENV_CLASSES = ("environ.Env", "environs.Env", "environ.FileAwareEnv")
_CASTS = {"str": "", "int": "int", "float": "float"}


@dataclass(frozen=True, slots=True)
class Site:
    """An expression that reads the variable ``name``: its bytes, and how it is written.

    ``problem`` says why it cannot be replaced; ``cast`` is a function to put around the new call;
    ``quote`` is the quote that fits where it stands; ``once`` says that it is the default of an
    argument, which is computed when the function is defined.
    """

    name: str
    start: int
    end: int
    how: str
    cast: str = ""
    problem: str = ""
    quote: str = '"'
    once: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a settings class that pydantic-settings fills from a variable.

    ``end`` is behind its annotation; ``value`` are the bytes of its default, or None.
    """

    name: str
    end: int
    value: tuple[int, int] | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Python:
    """What one file has: sites, fields, where an import goes, and what is imported already."""

    sites: tuple[Site, ...]
    fields: tuple[Field, ...]
    import_at: int
    newline: str
    alias: str | None
    has_from_secret: bool


def read(content: bytes, names: Collection[str]) -> Python | None:
    """Return the places of ``content`` that read one of ``names``; None if it is no Python."""
    try:
        wrapper = MetadataWrapper(cst.parse_module(content), unsafe_skip_copy=True)
        spans = wrapper.resolve(ByteSpanPositionProvider)
        qualified = wrapper.resolve(QualifiedNameProvider)
    except (cst.ParserSyntaxError, RecursionError, UnicodeDecodeError):
        return None
    # LibCST's spans do not count a byte order mark.
    offset = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    visitor = _Visitor(names, spans, qualified, offset)
    wrapper.module.visit(visitor)
    at = _import_place(wrapper.module, spans, offset, content)
    return Python(
        tuple(visitor.sites),
        tuple(visitor.fields),
        at,
        "\r\n" if b"\r\n" in content else "\n",
        visitor.alias,
        visitor.has_from_secret,
    )


class _Visitor(cst.CSTVisitor):
    def __init__(
        self, names: Collection[str], spans: object, qualified: object, offset: int
    ) -> None:
        super().__init__()
        self.names = names
        self.sites: list[Site] = []
        self.fields: list[Field] = []
        self.alias: str | None = None
        self.has_from_secret = False
        self._spans = spans
        self._qualified = qualified
        self._offset = offset
        self._env: set[str] = set()
        self._environ: set[str] = set()
        self._quotes: list[str] = []
        self._taken: set[int] = set()
        self._settings: list[bool] = []
        self._params = 0

    # What names mean ----------------------------------------------------------------------------

    def _named(self, node: cst.CSTNode) -> set[str]:
        found = self._qualified.get(node, ())  # type: ignore[attr-defined]  # LibCST types its metadata as object
        # Computed when it is asked for: LibCST hands out a function.
        return {each.name for each in (found() if callable(found) else found)}

    def _span(self, node: cst.CSTNode) -> tuple[int, int]:
        span = self._spans[node]  # type: ignore[index]  # as above
        return span.start + self._offset, span.start + span.length + self._offset

    def visit_Import(self, node: cst.Import) -> None:
        for alias in node.names:
            if alias.evaluated_name == "secretbridge" and not self._settings:
                self.alias = alias.evaluated_alias or "secretbridge"

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        if isinstance(node.names, cst.ImportStar) or node.module is None:
            return
        module = _dotted(node.module)
        for alias in node.names:
            if module == "secretbridge.settings" and alias.evaluated_name == "from_secret":
                self.has_from_secret = True

    def visit_Assign(self, node: cst.Assign) -> None:
        targets = [t.target.value for t in node.targets if isinstance(t.target, cst.Name)]
        if isinstance(node.value, cst.Call) and self._named(node.value.func) & set(_ENV_CLASSES):
            self._env.update(targets)
        if self._named(node.value) & {"os.environ"}:
            self._environ.update(targets)
        for target in node.targets:
            if isinstance(target.target, cst.Subscript):
                self._subscript(target.target, "it is assigned here")

    def visit_Del(self, node: cst.Del) -> None:
        if isinstance(node.target, cst.Subscript):
            self._subscript(node.target, "it is deleted here")

    def visit_Param(self, node: cst.Param) -> None:
        self._params += 1

    def leave_Param(self, original_node: cst.Param) -> None:
        self._params -= 1

    # Expressions --------------------------------------------------------------------------------

    def visit_FormattedString(self, node: cst.FormattedString) -> None:
        self._quotes.append(node.end)

    def leave_FormattedString(self, original_node: cst.FormattedString) -> None:
        self._quotes.pop()

    def _quote(self) -> str:
        # Before 3.12 a quote inside of an f-string must not be the one around it.
        return "'" if self._quotes and self._quotes[-1].startswith('"') else '"'

    def visit_Subscript(self, node: cst.Subscript) -> None:
        self._subscript(node, "")

    def _subscript(self, node: cst.Subscript, problem: str) -> None:
        if id(node) in self._taken or not self._is_environ(node.value):
            return
        self._taken.add(id(node))
        inner = node.slice[0].slice
        if isinstance(inner, cst.Index):
            self._add(node, inner.value, "subscript", problem=problem)

    def _is_environ(self, node: cst.BaseExpression) -> bool:
        if isinstance(node, cst.Name) and node.value in self._environ:
            return True
        return "os.environ" in self._named(node)

    def visit_Comparison(self, node: cst.Comparison) -> None:
        for target in node.comparisons:
            if isinstance(target.operator, cst.In | cst.NotIn) and self._is_environ(
                target.comparator
            ):
                self._add(node, node.left, "in", problem="whether it is set decides something here")

    def visit_Call(self, node: cst.Call) -> None:
        how = self._reader(node.func)
        if how is None or not node.args:
            return
        problem = cast = ""
        if how == "setdefault":
            problem = "it is set here"
        elif how in ("config", "env"):
            cast, problem = self._cast(node, how)
        self._add(node, node.args[0].value, how, cast=cast, problem=problem)

    def _reader(self, func: cst.BaseExpression) -> str | None:
        for name in self._named(func):
            if name in _READERS:
                return _READERS[name]
        if isinstance(func, cst.Attribute):
            owner, method = func.value, func.attr.value
            if self._is_environ(owner) and method in ("get", "pop", "setdefault"):
                return method
            if isinstance(owner, cst.Name) and owner.value in self._env:
                return "env"
        if isinstance(func, cst.Name) and func.value in self._env:
            return "env"
        return None

    def _cast(self, node: cst.Call, how: str) -> tuple[str, str]:
        """Return the function that keeps the type, or why there is none."""
        if how == "env" and isinstance(node.func, cst.Attribute):
            method = node.func.attr.value
            if method not in _CASTS:
                return "", f"env.{method} does more than read a text"
            return _CASTS[method], ""
        for argument in node.args[1:]:
            if argument.keyword is not None and argument.keyword.value == "cast":
                name = argument.value.value if isinstance(argument.value, cst.Name) else "?"
                if name not in _CASTS:
                    return "", "its cast does more than read a text"
                return _CASTS[name], ""
        return "", ""

    def _add(
        self,
        node: cst.CSTNode,
        key: cst.BaseExpression,
        how: str,
        *,
        cast: str = "",
        problem: str = "",
    ) -> None:
        if not isinstance(key, cst.SimpleString):
            return
        name = key.evaluated_value
        if isinstance(name, str) and name in self.names:
            start, end = self._span(node)
            once = self._params > 0
            self.sites.append(Site(name, start, end, how, cast, problem, self._quote(), once))

    # Fields of settings -------------------------------------------------------------------------

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        bases = {name for base in node.bases for name in self._named(base.value)}
        words = {_dotted(base.value).rpartition(".")[2] for base in node.bases}
        is_settings = bool(bases & {"pydantic_settings.BaseSettings", "pydantic.BaseSettings"})
        self._settings.append(is_settings or any(word.endswith("Settings") for word in words))
        if not self._settings[-1] or not isinstance(node.body, cst.IndentedBlock):
            return
        prefix = _env_prefix(node)
        for statement in node.body.body:
            if not isinstance(statement, cst.SimpleStatementLine):
                continue
            for small in statement.body:
                if isinstance(small, cst.AnnAssign) and isinstance(small.target, cst.Name):
                    self._field(small, small.target.value, prefix)

    def leave_ClassDef(self, original_node: cst.ClassDef) -> None:
        self._settings.pop()

    def _field(self, node: cst.AnnAssign, field: str, prefix: str) -> None:
        variables = [*_aliases(node.value), f"{prefix}{field}"]
        by_case = {name.lower(): name for name in self.names}
        found = next((by_case[v.lower()] for v in variables if v.lower() in by_case), None)
        if found is None:
            return
        value = None if node.value is None else self._span(node.value)
        problem = ""
        if isinstance(node.value, cst.Call) and _dotted(node.value.func).endswith("from_secret"):
            return
        if isinstance(node.value, cst.Call) and not _is_plain_field(node.value):
            problem = "its default is made by a call"
        self.fields.append(Field(found, self._span(node.annotation)[1], value, problem))


def _dotted(node: cst.BaseExpression) -> str:
    if isinstance(node, cst.Attribute):
        return f"{_dotted(node.value)}.{node.attr.value}"
    return node.value if isinstance(node, cst.Name) else ""


def _aliases(value: cst.BaseExpression | None) -> list[str]:
    found = []
    if isinstance(value, cst.Call):
        for argument in value.args:
            keyword = argument.keyword.value if argument.keyword else ""
            if keyword in ("alias", "validation_alias", "env") and isinstance(
                argument.value, cst.SimpleString
            ):
                found.append(str(argument.value.evaluated_value))
    return found


def _is_plain_field(call: cst.Call) -> bool:
    if _dotted(call.func).rpartition(".")[2] != "Field":
        return False
    allowed = {"alias", "validation_alias", "env", "default", "description"}
    return all(a.keyword is None or a.keyword.value in allowed for a in call.args)


def _env_prefix(node: cst.ClassDef) -> str:
    """Return ``env_prefix`` of a settings class, from ``model_config`` or the old inner class."""

    class Finder(cst.CSTVisitor):
        found = ""

        def visit_Arg(self, node: cst.Arg) -> None:
            if node.keyword is not None and node.keyword.value == "env_prefix":
                self._take(node.value)

        def visit_Assign(self, node: cst.Assign) -> None:
            target = node.targets[0].target
            if isinstance(target, cst.Name) and target.value == "env_prefix":
                self._take(node.value)

        def visit_DictElement(self, node: cst.DictElement) -> None:
            if isinstance(node.key, cst.SimpleString) and node.key.evaluated_value == "env_prefix":
                self._take(node.value)

        def _take(self, value: cst.BaseExpression) -> None:
            if isinstance(value, cst.SimpleString):
                self.found = str(value.evaluated_value)

    finder = Finder()
    node.body.visit(finder)
    return finder.found


def _import_place(module: cst.Module, spans: object, offset: int, content: bytes) -> int:
    """Return where an import may stand: below the imports that the file begins with."""
    last: cst.CSTNode | None = None
    for number, statement in enumerate(module.body):
        if not isinstance(statement, cst.SimpleStatementLine):
            break
        first = statement.body[0]
        is_docstring = (
            number == 0
            and isinstance(first, cst.Expr)
            and isinstance(first.value, cst.SimpleString | cst.ConcatenatedString)
        )
        if not is_docstring and not isinstance(first, cst.Import | cst.ImportFrom):
            break
        last = statement
    if last is not None:
        span = spans[last]  # type: ignore[index]  # LibCST types its metadata as object
        end = content.find(b"\n", span.start + span.length + offset)
        return len(content) if end < 0 else end + 1
    at = offset
    while content.startswith(b"#", at):  # a shebang, an encoding, a licence
        end = content.find(b"\n", at)
        if end < 0:
            return len(content)
        at = end + 1
    return at
