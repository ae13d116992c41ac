"""Python: what reads a variable, what it falls back to, and secrets that are written into the code."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ..detect.names import by_name
from ..finding import READER
from .python_names import Names, collect, dotted, every_node, is_environ, literal, lookup
from .slot import CODE, ENVIRONMENT, Reading, Slot
from .text import Text

__all__ = ["read_python"]

_SETS = re.compile(r"environ\[[^\]\n]*\]\s*=(?!=)")


def read_python(reading: Reading, source: Text, has_literals: bool = True) -> bool:
    """Add the slots of a module; say whether it could be parsed.

    ``has_literals`` says whether the quick look saw anything that may be a secret in the code.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code that is read
            tree = ast.parse(source.text)
    except SyntaxError as error:
        reading.problem(
            error.lineno or 1,
            "not valid in the Python that runs this scan; its lines were searched instead",
            "scan with the version of Python that the file is for",
        )
        return False
    except (ValueError, RecursionError, MemoryError):
        reading.problem(1, "the Python code cannot be parsed; its lines were searched instead")
        return False
    nodes = every_node(tree)
    names = collect(nodes, source.text)
    _Module(reading, source, names).read(
        nodes, has_literals or _SETS.search(source.text) is not None
    )
    if names.loads_dotenv:
        reading.hints.append((".env", names.loads_dotenv, {"read_by": reading.path, "near": True}))
    return True


class _Module:
    def __init__(self, reading: Reading, source: Text, names: Names) -> None:
        self._reading = reading
        self._names = names
        self._places = _Places(source.text)
        self._used: set[int] = set()

    def read(self, nodes: list[ast.AST], has_literals: bool) -> None:
        readers: dict[type[ast.AST], Callable[[Any], None]] = {
            ast.Call: self._call,
            ast.Subscript: self._lookup,
            ast.Compare: self._lookup,
            ast.ClassDef: self._class,
            ast.BoolOp: self._or,
        }
        for node in nodes:
            reader = readers.get(node.__class__)
            if reader is not None:
                reader(node)
        for node in nodes if has_literals else ():
            self._literals(node)

    # Reading a variable ---------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> None:
        self._lookup(node)
        told = dotted(node.func)
        for keyword in node.keywords:
            if keyword.arg in ("envvar", "env_var") and told:  # click and typer
                for each in _texts(keyword.value):
                    self._reader(each, literal(each) or "", "envvar")
            elif keyword.arg == "env" and is_environ(keyword.value, self._names):
                self._note(node, "passes the whole environment on to another program")
        if told.endswith(("monkeypatch.setenv", "putenv")) and len(node.args) > 1:
            self._written(node.args[0], node.args[1], node)

    def _lookup(self, node: ast.Call | ast.Subscript | ast.Compare) -> None:
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            return
        found = lookup(node, self._names)
        if found is None:
            return
        key, default = found
        is_set = isinstance(node, ast.Call) and dotted(node.func).endswith("setdefault")
        named = list(_texts(key))
        if not named:
            if not isinstance(key, ast.Name):
                self._note(node, "reads a variable whose name is only known when it runs")
            return
        for each in named:
            name = literal(each) or ""
            self._reader(node, name, "setdefault" if is_set else "lookup")
            if default is not None:
                self._default(name, default, node)

    def _reader(self, node: ast.AST, name: str, how: str) -> None:
        start, end = self._places.span(node)
        slot = Slot("python", name, start, end, CODE, kind=READER)
        slot.context = {"how": how}
        self._reading.slots.append(slot)

    def _default(self, name: str, default: ast.expr, node: ast.AST, form: str = "python") -> None:
        value = literal(default)
        self._used.add(id(default))
        if not value:
            return
        start, end = self._places.span(default)
        slot = Slot(form, name, start, end, ENVIRONMENT, value)
        slot.entry, slot.has_default = self._places.span(node), True
        slot.names, slot.is_exact = (name,), True
        slot.context = {"default": True}
        self._reading.slots.append(slot)

    def _or(self, node: ast.BoolOp) -> None:
        """``os.environ.get("X") or "default"``."""
        found = lookup(node.values[0], self._names) if isinstance(node.op, ast.Or) else None
        if found is not None and (name := literal(found[0])) is not None:
            self._default(name, node.values[-1], node)

    def _written(self, key: ast.AST, value: ast.expr, node: ast.AST) -> None:
        name, text = literal(key), literal(value)
        if name and text:
            self._used.add(id(value))
            start, end = self._places.span(value)
            slot = Slot("python", name, start, end, ENVIRONMENT, text, is_exact=True)
            slot.entry, slot.context = self._places.span(node), {"how": "set"}
            self._reading.slots.append(slot)

    def _note(self, node: ast.AST, text: str) -> None:
        line = getattr(node, "lineno", 1)
        self._reading.note(line, "environment", f"{text}: no scan can tell what it needs")

    # Settings classes -----------------------------------------------------------------------------

    def _class(self, node: ast.ClassDef) -> None:
        bases = {dotted(base).rsplit(".", 1)[-1] for base in node.bases}
        known = {"BaseSettings", *self._names.settings_classes}
        if not any(
            base in known or (base.endswith("Settings") and len(base) > 8) for base in bases
        ):
            return
        prefix = _prefix(node)
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                self._field(statement, statement.target.id, prefix)

    def _field(self, statement: ast.AnnAssign, field: str, prefix: str) -> None:
        name, default = f"{prefix}{field}".upper(), statement.value
        if isinstance(default, ast.Call) and dotted(default.func).rsplit(".", 1)[-1] in (
            "Field",
            "SecretStr",
        ):
            call = default
            default = call.args[0] if call.args else None
            for keyword in call.keywords:
                if keyword.arg in ("env", "alias", "validation_alias"):
                    name = next((literal(each) or name for each in _texts(keyword.value)), name)
                elif keyword.arg == "default":
                    default = keyword.value
            if isinstance(default, ast.Call) and default.args:  # SecretStr("...")
                default = default.args[0]
        start, end = self._places.span(statement)
        slot = Slot("settings", name, start, end, CODE, kind=READER)
        slot.context = {"how": "settings field", "field": field}
        self._reading.slots.append(slot)
        if default is not None:
            self._default(name, default, statement, "settings")

    # Secrets in the code --------------------------------------------------------------------------

    def _literals(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and is_environ(target.value, self._names):
                    self._written(target.slice, node.value, node)
                else:
                    self._literal(_target(target), node.value, node)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._literal(_target(node.target), node.value, node)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                self._literal(literal(key) or "", value, None)
        elif isinstance(node, ast.keyword):
            self._literal(node.arg or "", node.value, None, is_argument=True)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args]
            defaults = node.args.defaults
            pairs = list(zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True))
            pairs += [
                (each, value)
                for each, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                if value is not None
            ]
            for each, value in pairs:
                self._literal(each.arg, value, None, is_argument=True)

    def _literal(
        self, name: str, value: ast.expr, node: ast.AST | None, is_argument: bool = False
    ) -> None:
        text = literal(value)
        if not name or not text or id(value) in self._used:
            return
        if by_name(name).score < 0.7 and "://" not in text and len(text) < 16:
            return
        self._used.add(id(value))
        start, end = self._places.span(value)
        slot = Slot("python", name, start, end, CODE, text, is_exact=True)
        slot.entry = self._places.span(node) if node is not None else None
        slot.context = {"how": "argument" if is_argument else "written"}
        self._reading.slots.append(slot)


def _texts(node: ast.AST) -> Iterator[ast.AST]:
    """Return the string constants that a key may be: one, or those of a list."""
    if literal(node) is not None:
        yield node
    elif isinstance(node, ast.List | ast.Tuple | ast.Set):
        yield from (each for each in node.elts if literal(each) is not None)
    elif isinstance(node, ast.Call):  # AliasChoices("A", "B")
        yield from (each for each in node.args if literal(each) is not None)


def _target(node: ast.AST) -> str:
    if isinstance(node, ast.Subscript):
        return literal(node.slice) or ""
    return dotted(node).rsplit(".", 1)[-1]


def _prefix(node: ast.ClassDef) -> str:
    for inner in ast.walk(node):
        if isinstance(inner, ast.keyword) and inner.arg == "env_prefix":
            return literal(inner.value) or ""
        if isinstance(inner, ast.Assign) and _target(inner.targets[0]) == "env_prefix":
            return literal(inner.value) or ""
    return ""


class _Places:
    """From the syntax tree's lines and columns (in bytes of UTF-8) to characters of the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_ascii = text.isascii()
        # The parser's lines, which end where Python's do: not at a form feed.
        self._starts = [0, *(found.end() for found in re.finditer(r"\r\n|\r|\n", text))]

    def span(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, ast.expr | ast.stmt | ast.arg | ast.keyword)
        end_line = node.end_lineno or node.lineno
        end_column = node.end_col_offset if node.end_col_offset is not None else node.col_offset
        return self._at(node.lineno, node.col_offset), self._at(end_line, end_column)

    def _at(self, line: int, column: int) -> int:
        start = self._starts[line - 1]
        if self._is_ascii:
            return start + column
        encoded = self._text[start : start + column].encode("utf-8", "surrogatepass")
        return start + len(encoded[:column].decode("utf-8", "ignore"))
