"""Which names of a Python module mean the environment: imports, aliases, wrappers around it."""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from dataclasses import dataclass, field

from ..detect.lists import among

__all__ = ["Names", "collect", "dotted", "every_node", "is_environ", "literal", "lookup"]

_ENVIRON, _GETENV, _READER = "environ", "getenv", "reader"

_LIBRARIES = {
    # module, name -> what a call of it (or of what it returns) does
    ("os", "environ"): _ENVIRON,
    ("os", "environb"): _ENVIRON,
    ("os", "getenv"): _GETENV,
    ("decouple", "config"): _READER,
    ("decouple", "AutoConfig"): "class",
    ("decouple", "Config"): "class",
    ("environs", "Env"): "class",
    ("environs", "env"): _READER,
    ("environ", "Env"): "class",
    ("environ", "FileAwareEnv"): "class",
    ("starlette.config", "Config"): "class",
    ("prettyconf", "config"): _READER,
    ("dotenv", "dotenv_values"): "values",
    ("dotenv", "get_key"): "key",
    ("configurations", "values"): "module",
}
_WRAPPER = re.compile(
    r"_?(?:(?:get|read|load|require|fetch|from|must|lookup|parse|safe)_?)?"
    r"(?:os_?)?(?:env|environ|environment|secret|config|setting|envvar|env_var|conf)s?"
    r"(?:_?(?:var|variable|value|str|string|list|bool|int|float|or_\w+|required|optional|get|"
    r"setting|secret|"
    r"default|json|url))*_?",
    re.IGNORECASE,
)
_METHODS = among(
    "str int bool float list dict json url path bytes get db db_url cache cache_url "
    "search_url email_url channels tuple set enum dj_db_url dj_email_url dj_cache_url unicode "
    "__call__ decimal datetime date time timedelta uuid log_level pop setdefault required "
    "string"
)


@dataclass(slots=True)
class Names:
    """What a module calls the environment. ``wrappers`` maps a function to where its key stands."""

    os: set[str] = field(default_factory=set)
    environ: set[str] = field(default_factory=set)
    getenv: set[str] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    libraries: set[str] = field(default_factory=set)
    wrappers: dict[str, tuple[int, str]] = field(default_factory=dict)
    loads_dotenv: str = ""
    settings_classes: set[str] = field(default_factory=set)


def literal(node: ast.AST | None) -> str | None:
    """Return the text of a string constant."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for such an expression, else nothing."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


_LEAVES = frozenset(
    {
        ast.Name,
        ast.Constant,
        ast.alias,
        ast.Pass,
        ast.Global,
        ast.Nonlocal,
        ast.Break,
        str,
        type(None),
    }
)


_TELLING = frozenset(
    {
        *(ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef),
        *(ast.Assign, ast.AnnAssign, ast.NamedExpr),
    }
)


def every_node(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes with something in them, in the order of the text.

    Names and constants are looked at through what holds them. :func:`ast.walk` takes five times as long.
    """
    found: list[ast.AST] = []
    todo = [tree]
    while todo:
        node = todo.pop()
        found.append(node)
        inner: list[ast.AST] = []
        for field_name in node._fields:
            if field_name in ("ctx", "op", "ops", "annotation", "returns", "type_comment"):
                continue
            value = getattr(node, field_name, None)
            if value.__class__ is list:
                inner += [each for each in value if each.__class__ not in _LEAVES]
            elif isinstance(value, ast.AST) and value.__class__ not in _LEAVES:
                inner.append(value)
        inner.reverse()
        todo += inner
    return found


def collect(nodes: list[ast.AST], text: str) -> Names:
    """Return what the module's imports, assignments and functions say about names."""
    names = Names()
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    assigns: list[tuple[ast.expr, ast.expr]] = []
    for node in nodes:
        if node.__class__ not in _TELLING:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                if alias.name == "os":
                    names.os.add(bound)
                elif alias.name in (
                    "environ",
                    "environs",
                    "decouple",
                    "dotenv",
                    "starlette.config",
                ):
                    names.libraries.add(bound)
                    names.loads_dotenv = names.loads_dotenv or _dialect(alias.name)
        elif isinstance(node, ast.ImportFrom):
            _import_from(node, names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.append(node)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            assigns.append((node.targets[0], node.value))
        elif (isinstance(node, ast.AnnAssign) and node.value is not None) or isinstance(
            node, ast.NamedExpr
        ):
            assigns += [(node.target, node.value)] if node.value else []
    for _ in range(2):  # an alias of an alias
        for target, value in assigns:
            _alias(target, value, names)
    _wrappers(functions, names, text)
    return names


def _dialect(module: str) -> str:
    return {
        "environ": "django-environ",
        "environs": "python-dotenv",
        "decouple": "decouple",
        "dotenv": "python-dotenv",
    }.get(module, "")


def _import_from(node: ast.ImportFrom, names: Names) -> None:
    module = node.module or ""
    names.loads_dotenv = names.loads_dotenv or _dialect(module)
    for alias in node.names:
        bound = alias.asname or alias.name
        role = _LIBRARIES.get((module, alias.name))
        if role == _ENVIRON:
            names.environ.add(bound)
        elif role == _GETENV:
            names.getenv.add(bound)
        elif role == _READER:
            names.readers.add(bound)
        elif role == "class":
            names.classes.add(bound)
        elif module.startswith("pydantic") and alias.name == "BaseSettings":
            names.settings_classes.add(bound)
            names.loads_dotenv = names.loads_dotenv or "python-dotenv"
        elif (
            role is None
            and _WRAPPER.fullmatch(alias.name)
            and bound not in ("config", "settings", "conf")
        ):
            # A function of the project: what it is for is told by its name.
            names.wrappers.setdefault(bound, (0, ""))


def _alias(target: ast.expr, value: ast.expr, names: Names) -> None:
    bound = dotted(target)
    if not bound:
        return
    if is_environ(value, names):
        names.environ.add(bound)
    elif dotted(value) and _is_getenv(value, names):
        names.getenv.add(bound)
    elif isinstance(value, ast.Call):
        made = dotted(value.func)
        library, _, last = made.rpartition(".")
        is_class = last in ("Env", "FileAwareEnv", "Config", "AutoConfig")
        if made in names.classes or (is_class and library in names.libraries):
            names.readers.add(bound)
        elif made in ("dict", "os.environ.copy") and any(is_environ(a, names) for a in value.args):
            names.environ.add(bound)
        elif isinstance(value.func, ast.Attribute) and value.func.attr == "copy":
            names.environ |= {bound} if is_environ(value.func.value, names) else set()
    elif isinstance(value, ast.Dict):
        pairs = zip(value.keys, value.values, strict=True)
        if any(key is None and is_environ(item, names) for key, item in pairs):
            names.environ.add(bound)


def is_environ(node: ast.AST, names: Names) -> bool:
    """Whether an expression is the mapping of environment variables."""
    told = dotted(node)
    if not told:
        return False
    module, _, last = told.rpartition(".")
    return told in names.environ or (last in ("environ", "environb") and module in names.os)


def _is_getenv(node: ast.AST, names: Names) -> bool:
    told = dotted(node)
    module, _, last = told.rpartition(".")
    if told in names.getenv or (last in ("getenv", "getenvb") and module in names.os):
        return True
    return isinstance(node, ast.Attribute) and node.attr == "get" and is_environ(node.value, names)


def lookup(node: ast.AST, names: Names) -> tuple[ast.expr, ast.expr | None] | None:
    """Return the key and the default of an expression that reads a variable."""
    if isinstance(node, ast.Subscript):
        return (node.slice, None) if is_environ(node.value, names) else None
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        if isinstance(node.ops[0], ast.In | ast.NotIn) and is_environ(node.comparators[0], names):
            return node.left, None
        return None
    if not isinstance(node, ast.Call):
        return None
    return _called(node, names)


def _called(node: ast.Call, names: Names) -> tuple[ast.expr, ast.expr | None] | None:
    func = node.func
    told = dotted(func)
    named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    if told in names.wrappers:
        index, parameter = names.wrappers[told]
        key = node.args[index] if index < len(node.args) else named.get(parameter)
        rest = node.args[index + 1] if index + 1 < len(node.args) else named.get("default")
        return (key, rest) if key is not None else None
    is_reader = told in names.readers
    if not is_reader and isinstance(func, ast.Attribute) and func.attr in _METHODS:
        is_reader = dotted(func.value) in names.readers
    is_environ_method = (
        isinstance(func, ast.Attribute)
        and func.attr in ("get", "pop", "setdefault", "__getitem__", "__contains__")
        and is_environ(func.value, names)
    )
    if not (is_reader or is_environ_method or _is_getenv(func, names)):
        return None
    key = node.args[0] if node.args else named.get("key", named.get("name", named.get("var")))
    if key is None:
        return None
    default = named.get("default")
    if default is None and len(node.args) > 1:
        default = node.args[1]
    return key, default


def _wrappers(
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef], names: Names, text: str
) -> None:
    """Find functions that stand for a look-up, and functions that stand for those."""
    starts = [0, *(found.end() for found in re.finditer(r"\r\n|\r|\n", text))]
    for _ in range(3):
        known = {
            "environ",
            "getenv",
            *names.environ,
            *names.getenv,
            *names.readers,
            *names.wrappers,
        }
        telling = re.compile(
            r"\b(?:" + "|".join(sorted(re.escape(each) for each in known)) + r")\b"
        )
        lines = {bisect_right(starts, found.start()) for found in telling.finditer(text)}
        before = len(names.wrappers)
        for function in functions:
            last = function.end_lineno or function.lineno
            # Only a function with such a line in it is looked through.
            if any(line in lines for line in range(function.lineno, last + 1)):
                _wrapper(function, names)
        if len(names.wrappers) == before:
            return


def _wrapper(function: ast.FunctionDef | ast.AsyncFunctionDef, names: Names) -> None:
    """Note a function whose parameter becomes the name of a variable."""
    parameters = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    skipped = 1 if parameters[:1] in (["self"], ["cls"]) else 0
    for node in every_node(function):
        found = lookup(node, names)
        if found is None:
            continue
        key = found[0]
        used = {each.id for each in ast.walk(key) if isinstance(each, ast.Name)}
        for index, parameter in enumerate(parameters):
            if parameter in used and index >= skipped:
                names.wrappers[function.name] = (index - skipped, parameter)
                if skipped:
                    names.wrappers[f"self.{function.name}"] = (index - skipped, parameter)
                return
