"""Imports point only downwards, and nothing heavy loads before it is needed.

The imports are read from the source, so one inside a function counts as much as one at the top: it
couples two modules just the same. What stands under ``if TYPE_CHECKING:`` is never executed; such
imports may name a type of a higher layer, but of nothing above the edges.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {"secretbridge": ROOT / "secretbridge", "secretbridge_sidecar": ROOT / "sidecar"}

LAYERS = (
    "secretbridge.errors secretbridge._value secretbridge._version "
    # Memory and system calls of this process, below everything that has values.
    "secretbridge._digest secretbridge._kernel secretbridge._regions secretbridge._protected "
    "secretbridge._enforced secretbridge._foreign",
    "secretbridge.reference secretbridge._schemes secretbridge.document secretbridge.secret "
    "secretbridge._announce secretbridge._pydantic secretbridge._tally",
    "secretbridge.engine secretbridge._agenda secretbridge._health secretbridge._retired "
    "secretbridge._states secretbridge.events",
    # Input and output: stores, files, the configuration.
    "secretbridge.backends secretbridge.generation secretbridge.config "
    "secretbridge._find secretbridge.watch secretbridge._hub secretbridge._watchfiles_hub "
    "secretbridge._inotify secretbridge.audit secretbridge.harden "
    "secretbridge._landlock secretbridge._seccomp secretbridge.redact secretbridge._fingerprints "
    "secretbridge._wiping "
    "secretbridge._forms",
    "secretbridge.broker secretbridge._broker secretbridge.holdings",
    "secretbridge",  # the package itself: the names that it offers, all of them lazily
    "secretbridge_sidecar secretbridge.settings secretbridge.adapters secretbridge.cli "
    "secretbridge.doctor "
    "secretbridge.__main__ "
    "secretbridge.migrate",
    "secretbridge.testing",  # nothing that an application runs needs it
)
"""What may import what: only from the same line or from one above it here."""

ENGINE = 2
EDGES = 3
"""The layer that does I/O; no type of a layer above it is known below it."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    # A library's types end at the module that imports it, so that it can be replaced there alone.
    "hvac": ("secretbridge.backends._vault_hvac",),
    "requests": (
        "secretbridge.backends._vault_hvac",
        "secretbridge.adapters._requests",
        "secretbridge_sidecar.otlp",
    ),
    "botocore": (
        "secretbridge.backends._aws_botocore",
        "secretbridge.backends._aws_prepared",
        "secretbridge.backends._aws_kms",
        "secretbridge.adapters._botocore",
    ),
    "watchfiles": ("secretbridge._watchfiles_hub",),
    "cryptography": (
        "secretbridge.backends.local",
        "secretbridge.backends._local",
        "secretbridge.backends._vault_certificate",
        "secretbridge.migrate.journal",
        "secretbridge_sidecar.formats.pkcs12",
        "secretbridge_sidecar.sealed",
        "secretbridge_sidecar.validate",
    ),
    "yaml": (
        "secretbridge.config._yaml_source",
        "secretbridge.migrate.yaml_tree",
        "secretbridge.migrate.scan.yaml_nodes",
        "secretbridge_sidecar.formats.yaml_mapping",
    ),
    "libcst": ("secretbridge.migrate.rewrite._python_sites",),
    "tomli_w": ("secretbridge_sidecar.formats.toml_table",),
    "jinja2": ("secretbridge_sidecar.templates",),
    "prometheus_client": ("secretbridge_sidecar.metrics",),
    "opentelemetry": ("secretbridge_sidecar.otlp",),
    "javaproperties": ("secretbridge_sidecar.formats.properties",),
    # The configuration, and the model that each backend has of its own keys.
    "pydantic": (
        "secretbridge.config",
        "secretbridge.settings",
        "secretbridge.backends",
        "secretbridge.testing",
    ),
    "pydantic_core": (
        "secretbridge.config",
        "secretbridge.settings",
        "secretbridge.secret",
        "secretbridge._pydantic",
    ),
    "pydantic_settings": ("secretbridge.config", "secretbridge.settings"),
    "pytest": ("secretbridge.testing",),
    # An adapter is imported by an application that has the library that it is for.
    "amqp": ("secretbridge.adapters.kombu",),
    "boto3": ("secretbridge.adapters.boto3", "secretbridge.adapters._botocore"),
    "django": ("secretbridge.adapters.django",),
    "flask": ("secretbridge.adapters.flask",),
    "httpx": ("secretbridge.adapters._httpx",),
    "kombu": ("secretbridge.adapters.kombu",),
    "pika": ("secretbridge.adapters.pika",),
    "psycopg": ("secretbridge.adapters.psycopg", "secretbridge.adapters.django.postgresql"),
    "psycopg_pool": ("secretbridge.adapters.psycopg", "secretbridge.adapters._psycopg_pool"),
    "redis": ("secretbridge.adapters.redis",),
    "sqlalchemy": ("secretbridge.adapters.sqlalchemy",),
}
"""Which modules (with what is inside them) may import which library."""

BROUGHT = {
    *["amqp", "django", "flask", "httpx", "kombu", "pika", "psycopg", "psycopg_pool", "redis"],
    "sqlalchemy",
}
"""Libraries of the applications that use an adapter; none of them is a dependency."""

HEAVY = frozenset(
    {"boto3", "botocore", "cryptography", "hvac", "requests", "urllib3", "watchfiles"}
)
"""Libraries that load when a store or a watcher first needs them, and not before."""

SLOW = {"typing", "re", "logging", "dataclasses", "asyncio", "ssl"} | HEAVY | {"pydantic"}
"""What ``import secretbridge`` and a first file secret must not load: each costs milliseconds."""


@dataclass(frozen=True)
class Import:
    importer: str
    imported: str
    line: int
    is_typing: bool
    is_lazy: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


@cache
def modules() -> dict[str, Path]:
    found = {}
    for package, folder in SOURCES.items():
        base = folder.parent if folder.name == package else folder
        for path in sorted((base / package).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    return tuple(
        found
        for name, path in modules().items()
        for found in read(name, path.name == "__init__.py", ast.parse(path.read_bytes()))
    )


def read(importer: str, is_package: bool, tree: ast.AST) -> Iterator[Import]:
    """Return every import of a module; ``from . import x`` as the module ``x`` if it is one."""

    def walk(node: ast.AST, is_typing: bool, is_lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for imported in targets(node):
                yield Import(importer, imported, node.lineno, is_typing, is_lazy)
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            for statement in node.body:
                yield from walk(statement, True, is_lazy)
            for statement in node.orelse:
                yield from walk(statement, is_typing, is_lazy)
        else:
            is_lazy |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from walk(child, is_typing, is_lazy)

    def targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        base = node.module or ""
        if node.level:
            package = importer.split(".")[: None if is_package else -1]
            package = package[: len(package) - node.level + 1]
            base = ".".join([*package, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            yield inner if inner in modules() else base

    return walk(tree, False, False)


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def is_inside(module: str, outer: str) -> bool:
    return module == outer or module.startswith(f"{outer}.")


def layer(module: str) -> int | None:
    """Return the number of the layer with the longest name that ``module`` is inside of."""
    matches = [
        (len(name), number)
        for number, names in enumerate(LAYERS)
        for name in names.split()
        if module == name or (name != "secretbridge" and is_inside(module, name))
    ]
    return max(matches)[1] if matches else None


def own_imports() -> Iterator[Import]:
    return (found for found in imports() if found.imported in modules())


def loaded_with(module: str) -> set[str]:
    """Return all that importing ``module`` loads: imports at the top, theirs, parent packages."""
    seen: set[str] = set()
    todo = {module}
    while todo:
        name = todo.pop()
        seen.add(name)
        direct = {i.imported for i in imports() if i.importer == name and runs_at_import(i)}
        parts = name.split(".")
        direct |= {".".join(parts[:n]) for n in range(1, len(parts))}
        todo |= direct - seen
    return seen


def runs_at_import(found: Import) -> bool:
    return not found.is_typing and not found.is_lazy


def test_every_module_has_a_layer() -> None:
    assert [name for name in modules() if layer(name) is None] == []


def test_no_module_imports_from_a_layer_above() -> None:
    upward = [
        str(found)
        for found in own_imports()
        if not found.is_typing and (layer(found.imported) or 0) > (layer(found.importer) or 0)
    ]
    assert upward == []


def test_no_module_below_the_broker_knows_types_from_above_the_edges() -> None:
    upward = [
        str(found)
        for found in own_imports()
        if (layer(found.importer) or 0) <= EDGES < (layer(found.imported) or 0)
    ]
    assert upward == []


def test_modules_that_load_each_other_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for found in own_imports():
        if runs_at_import(found) and not is_inside(found.importer, found.imported):
            graph.setdefault(found.importer, set()).add(found.imported)
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the circle


def test_no_backend_imports_another() -> None:
    def backend(module: str) -> str | None:
        if not module.startswith("secretbridge.backends."):
            return None
        inner = module.split(".")[2]
        return None if inner.startswith("_") else inner  # what begins with "_" is shared by them

    pairs = [
        str(found)
        for found in own_imports()
        if backend(found.importer)
        and backend(found.imported)
        and backend(found.importer) != backend(found.imported)
    ]
    assert pairs == []


def test_the_engine_has_no_clock_no_chance_no_thread_and_no_io() -> None:
    forbidden = {"asyncio", "concurrent", "queue", "select", "signal", "subprocess", "threading"}
    forbidden |= {"datetime", "time", "random", "secrets"}
    forbidden |= {"io", "logging", "os", "pathlib", "socket"}
    impure = [
        str(found)
        for found in imports()
        if layer(found.importer) == ENGINE
        and not found.is_typing
        and found.imported.split(".")[0] in forbidden
    ]
    assert impure == []


def test_each_library_enters_at_its_one_place() -> None:
    misplaced = [
        str(found)
        for found in imports()
        if (library := found.imported.split(".")[0]) not in sys.stdlib_module_names
        and library not in SOURCES
        and not any(is_inside(found.importer, place) for place in LIBRARIES.get(library, ()))
    ]
    assert misplaced == []


def test_only_adapters_and_the_testing_kit_import_what_is_no_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = "\n".join(item for group in groups for item in group).lower()
    names = {"yaml": "pyyaml", "botocore": "boto3"}
    undeclared = {
        library
        for library in LIBRARIES
        if names.get(library, library).split("_")[0] not in declared
    }
    assert undeclared == {"pytest"} | BROUGHT
    homes = [home for library in BROUGHT for home in LIBRARIES[library]]
    assert [home for home in homes if not is_inside(home, "secretbridge.adapters")] == []


def is_adapter(module: str) -> bool:
    """Whether ``module`` is the private one place of a heavy library, and so may load it at once.

    Everything else then has to import the adapter inside a function.
    """
    is_private = module.rpartition(".")[2].startswith("_")
    return is_private and any(module in LIBRARIES.get(library, ()) for library in HEAVY)


@pytest.mark.parametrize(
    "module", [name for name in modules() if "testing" not in name and not is_adapter(name)]
)
def test_importing_a_module_loads_no_heavy_library(module: str) -> None:
    assert {name.split(".")[0] for name in loaded_with(module)} & HEAVY == set()


def fresh_interpreter(program: str) -> set[str]:
    """Return the modules of a process that ran ``program`` without any installed package.

    ``-S`` leaves out site-packages, so that an import of anything but the standard library fails.
    """
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}\nprint(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_import_secretbridge_loads_only_fast_modules_of_the_standard_library() -> None:
    loaded = fresh_interpreter("import secretbridge")
    top = {name.split(".")[0] for name in loaded}
    assert top - set(sys.stdlib_module_names) - {"__main__"} == {"secretbridge"}
    assert loaded & set(SLOW) == set()


def test_a_first_file_secret_loads_only_fast_modules_of_the_standard_library(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    loaded = fresh_interpreter(
        "import secretbridge\n"
        f"with secretbridge.Broker(stores={{}}, secrets={{'x': 'file:{secret}'}}) as broker:\n"
        "    assert broker.get('x').reveal() == 'correct horse'"
    )
    assert loaded & set(SLOW) == set()
