"""Templates: text of the operator's with secrets in it, in a small part of Jinja2.

A template says where a value goes and how it is quoted there, and nothing else. Of Jinja2's language
it may use what is listed here: every node, filter and test that is not is refused when the template
is read. There is no call, no import, no include, no assignment and no arithmetic, and a loop goes
over a list that is written out; so the time and the memory that it takes are bounded by its length,
and it reaches neither files nor Python. The sandbox of Jinja2 is a second wall behind this one.

A value with a line break is not written as it stands: behind it could stand another setting. It needs
a filter that quotes it, or ``multiline``, which says that several lines are meant.
"""

from __future__ import annotations

import json
import shlex
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from secretbridge.errors import ConfigError, IntegrityError, SecretTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = ["FILTERS", "MAX_OUTPUT", "MAX_TEMPLATE", "Template", "Value", "read_template"]

MAX_TEMPLATE = 256 * 1024
"""Longest template, in bytes."""
MAX_OUTPUT = 1024 * 1024
"""Longest file that a template may become, in characters."""

_NODES = frozenset(
    {
        "And",
        "Compare",
        "CondExpr",
        "Const",
        "Filter",
        "For",
        "Getattr",
        "Getitem",
        "If",
        "Keyword",
        "List",
        "Name",
        "Not",
        "Operand",
        "Or",
        "Output",
        "Pair",
        "Template",
        "TemplateData",
        "Test",
        "Tuple",
    }
)
_TESTS = frozenset({"defined", "undefined"})
_LOOP = frozenset({"first", "index", "last"})
_SECRETS = "secrets"
_MAX_INDENT = 64


class Value(str):
    """A secret's value. What it is in a file, it is in no error: its repr is masked."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"


class _Refused(Exception):
    """Holds no value."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy


def _lines_meant(value: str) -> str:
    return str(value)


def _indented(value: str, width: int = 4) -> str:
    if not 0 <= width <= _MAX_INDENT:
        raise _Refused("is indented too far", f"indent by at most {_MAX_INDENT}")
    return ("\n" + " " * width).join(str(value).splitlines())


def _default(value: object, other: object = "") -> object:
    return other if isinstance(value, StrictUndefined) else value


FILTERS: Mapping[str, Callable[..., object]] = {
    "b64encode": lambda value: b64encode(str(value).encode()).decode(),
    "default": _default,
    "indent": _indented,
    "json": lambda value: json.dumps(str(value), ensure_ascii=False),
    "lower": lambda value: Value(str(value).lower()),
    "multiline": _lines_meant,
    "shell": lambda value: shlex.quote(str(value)),
    "trim": lambda value: Value(str(value).strip()),
    "upper": lambda value: Value(str(value).upper()),
    "urlencode": lambda value: quote(str(value), safe=""),
}
"""All filters that there are."""


class Template:
    """A template that has been read and checked. ``names`` are the secrets in it.

    ``optional``: those that it has a way without, with ``is defined`` or ``default``.
    """

    def __init__(self, path: str, source: str) -> None:
        environment = _environment()
        self._path = path
        tree: Any = None
        line = 0
        try:
            tree = environment.parse(source)
        except TemplateSyntaxError as error:
            line = error.lineno
        if tree is None:  # outside: Jinja2's own text quotes the template
            raise _mistakes(
                path, [(line, "this is no Jinja2", "look for a brace or tag left open")]
            )
        mistakes = list(_forbidden(tree))
        if mistakes:
            raise _mistakes(path, mistakes)
        self.names, self.optional = _names(tree)
        code = environment.compile(tree, filename=path)
        self._template: Any = environment.template_class.from_code(environment, code, {})

    def needed(self) -> frozenset[str]:
        """Return the names without which there is no file."""
        return self.names - self.optional

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Raise :class:`ConfigError` for a name in the template that is no secret of ``known``."""
        unknown = self.names - set(known)
        if unknown:
            shown = ", ".join(repr(name) for name in sorted(unknown))
            raise ConfigError(
                f"{self._path}: {shown}: no secret of this name",
                hint="add it under secrets, or correct the template",
            )

    def render(self, name: str, secrets: Mapping[str, Value]) -> bytes:
        """Return the file ``name``.

        Raises :class:`IntegrityError` for a value that does not fit, with the line of the template,
        and :class:`SecretTooLarge` for a file of more than ``MAX_OUTPUT`` characters.
        """
        done = self._filled(secrets)
        if isinstance(done, bytes):
            return done
        line, refused = done
        if refused is None:
            raise SecretTooLarge(
                f"file {name!r}: {self._path} makes more than {MAX_OUTPUT} characters",
                hint="give large secrets files of their own",
            )
        raise IntegrityError(
            f"file {name!r}: {self._path}:{line or '?'}: a value {refused.cause}",
            hint=refused.remedy,
        )

    def _filled(self, secrets: Mapping[str, Value]) -> bytes | tuple[int | None, _Refused | None]:
        """Return the content, or the line and the reason of a refusal; no reason is the size.

        Errors are raised by the caller, whose frame has no value in it.
        """
        context = self._template.new_context({**secrets, _SECRETS: secrets}, shared=True)
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.root_render_func(context):
                size += len(piece)
                if size > MAX_OUTPUT:
                    return None, None
                pieces.append(piece)
        except Exception as error:  # noqa: BLE001 - its text and its frames may hold a value
            refused = _Refused("cannot be rendered", "check what the template does there")
            if isinstance(error, _Refused):
                refused = _Refused(error.cause, error.remedy)
            elif isinstance(error, UndefinedError):
                refused = _Refused("is missing", "test it with `is defined`, or give it a |default")
            return _line(self._template, error.__traceback__), refused
        return "".join(pieces).encode()


def read_template(path: Path) -> Template:
    """Return the template in the file ``path``. Raises :class:`ConfigError` with all mistakes."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_TEMPLATE + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: the template cannot be read ({error.strerror})", hint="check its path"
        ) from None
    if len(content) > MAX_TEMPLATE:
        raise ConfigError(f"{path}: the template is longer than {MAX_TEMPLATE} bytes")
    try:
        text: str | None = content.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise ConfigError(f"{path}: the template is no UTF-8", hint="save it as UTF-8")
    return Template(str(path), text)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        finalize=_written,
        cache_size=0,
    )
    environment.filters = dict(FILTERS)
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    environment.globals = {}
    return environment


def _written(value: object) -> object:
    if isinstance(value, Value) and any(c in value for c in "\n\r\0"):
        raise _Refused(
            "has a line break or a NUL",
            "quote it with a filter (json, shell, urlencode, b64encode), or write |multiline where "
            "several lines are meant",
        )
    if not isinstance(value, str | int | Undefined):
        raise _Refused("is a list", "write what is in it")
    return value


def _forbidden(tree: Any) -> Iterator[tuple[int, str, str]]:
    """Yield what a template may not have: line, cause, remedy."""
    members = {id(node.node) for node in tree.find_all((nodes.Getattr, nodes.Getitem))}
    for node in tree.find_all(nodes.Node):
        kind = type(node).__name__
        if kind not in _NODES:
            yield (
                node.lineno,
                f"{kind} is not available in templates",
                "use text, {{ NAME }}, filters, if, and for over a list that is written out",
            )
        elif kind == "Filter" and node.name not in FILTERS:
            yield node.lineno, "there is no such filter", f"filters are {', '.join(FILTERS)}"
        elif kind == "Test" and node.name not in _TESTS:
            yield node.lineno, "there is no such test", f"tests are {', '.join(sorted(_TESTS))}"
        elif kind == "For":
            yield from _forbidden_loop(node)
        elif kind == "Name":
            yield from _forbidden_name(node, members)
        elif kind in ("Getattr", "Getitem") and _member(node) is None:
            yield (
                node.lineno,
                "a value has no members",
                'write {{ NAME }} or {{ secrets["NAME"] }}, and select with #KEY in its reference',
            )


def _forbidden_name(node: Any, members: set[int]) -> Iterator[tuple[int, str, str]]:
    if node.name in ("loop", _SECRETS) and id(node) not in members:
        yield (
            node.lineno,
            f"{node.name} is no value by itself",
            'write {{ secrets["NAME"] }}, or loop.last within a loop',
        )


def _forbidden_loop(node: Any) -> Iterator[tuple[int, str, str]]:
    if not isinstance(node.iter, nodes.List | nodes.Tuple) or node.recursive:
        yield node.lineno, "a loop needs a list that is written out", "write for x in [a, b]"
    if any(inner is not node for inner in node.find_all(nodes.For)):
        yield node.lineno, "a loop within a loop", "write the inner one out"


def _member(node: Any) -> str | None:
    """Return the name in ``secrets.NAME``, ``secrets["NAME"]`` or ``loop.NAME``, or None."""
    if not isinstance(node.node, nodes.Name):
        return None
    found = node.attr if isinstance(node, nodes.Getattr) else node.arg
    if isinstance(found, nodes.Const):
        found = found.value
    if node.node.name == "loop":
        return found if found in _LOOP else None
    return found if node.node.name == _SECRETS and isinstance(found, str) else None


def _names(tree: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of secrets in a template, and those that may be missing."""
    names = set(find_undeclared_variables(tree)) - {_SECRETS}
    members = tree.find_all((nodes.Getattr, nodes.Getitem))
    names |= {str(_member(node)) for node in members if node.node.name == _SECRETS}
    optional = set()
    for node in tree.find_all((nodes.Test, nodes.Filter)):
        if isinstance(node, nodes.Filter) and node.name != "default":
            continue
        inner = node.node
        if isinstance(inner, nodes.Name):
            optional.add(inner.name)
        elif isinstance(inner, nodes.Getattr | nodes.Getitem):
            optional.add(str(_member(inner)))
    return frozenset(names), frozenset(optional & names)


def _line(template: Any, trace: TracebackType | None) -> int | None:
    """Return the line of the template in which an error came up."""
    found: int | None = None
    while trace is not None:
        if trace.tb_frame.f_globals.get("__jinja_template__") == template:
            found = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return found


def _mistakes(path: str, found: Iterable[tuple[int, str, str]]) -> ConfigError:
    problems = tuple(f"{path}:{line}: {cause}; {remedy}" for line, cause, remedy in sorted(found))
    return ConfigError("\n".join(problems), problems=problems)
