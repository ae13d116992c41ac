"""Every public name says what it is, and is used in an example that runs.

An example is a doctest in the name's docstring or in that of one of its methods, a block of the
documentation that the tests run, or a file of `examples/`, all of which the tests run as well.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import secretbridge
import secretbridge.adapters

from .test_docs import EXAMPLES

ROOT = Path(__file__).parents[2]

MODULES = (
    "secretbridge",
    "secretbridge.audit",
    "secretbridge.backends",
    "secretbridge.harden",
    "secretbridge.redact",
    "secretbridge.settings",
    "secretbridge.testing",
    "secretbridge.watch",
)
"""The modules that applications and authors of backends import, besides the adapters."""


@cache
def modules() -> dict[str, ModuleType]:
    adapters = [
        f"secretbridge.adapters.{found.name}"
        for found in pkgutil.iter_modules(secretbridge.adapters.__path__)
        if not found.name.startswith("_")
    ]
    return {name: importlib.import_module(name) for name in (*MODULES, *adapters)}


def names() -> list[tuple[str, str]]:
    return [(module, name) for module, loaded in modules().items() for name in loaded.__all__]


def thing(module: str, name: str) -> object:
    return getattr(modules()[module], name)


@cache
def used() -> frozenset[tuple[str, str]]:
    """Return (module, name) of everything of ours that an example outside of docstrings uses."""
    python = [e.text for e in EXAMPLES if e.language == "python" and ">>> " in e.text]
    files = [path.read_text() for path in (ROOT / "examples").rglob("*.py")]
    shell = [e.text for e in EXAMPLES if e.runs]
    sources = [doctest.script_from_examples(text) for text in python] + files
    here_documents = re.compile(r"^import .*?(?=^END$)", re.MULTILINE | re.DOTALL)
    sources += [text for block in shell for text in here_documents.findall(block)]
    return frozenset(name for source in sources for name in names_in(ast.parse(source)))


def names_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield what is imported from our modules, or read as an attribute of one."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.module, alias.name
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            yield aliases.get(owner, owner), node.attr
        elif isinstance(node, ast.Constant) and "secretbridge" in str(node.value):
            with suppress(SyntaxError):  # a program that is run as a process of its own
                yield from names_in(ast.parse(str(node.value)))


def docstrings(found: object) -> list[str]:
    texts = [inspect.getdoc(found) or ""]
    if inspect.isclass(found):
        members = [m for n, m in vars(found).items() if not n.startswith("_")]
        texts += [inspect.getdoc(member) or "" for member in members]
    return texts


def is_ours(found: object) -> bool:
    return str(getattr(found, "__module__", "secretbridge")).startswith("secretbridge")


def is_constant(found: object) -> bool:
    return isinstance(found, (str, int, float, tuple, frozenset))


@pytest.mark.parametrize(("module", "name"), names())
def test_a_public_name_says_what_it_is(module: str, name: str) -> None:
    found = thing(module, name)
    if not is_constant(found) and is_ours(found):
        told = inspect.getdoc(found)
        inherited = {inspect.getdoc(base) for base in getattr(found, "__mro__", ())[1:]}
        assert told, f"{module}.{name} has no docstring"
        assert told not in inherited, f"{module}.{name} has only the docstring of its base"


@pytest.mark.parametrize(("module", "name"), names())
def test_a_public_name_is_used_in_an_example_that_runs(module: str, name: str) -> None:
    has_doctest = any(">>> " in text for text in docstrings(thing(module, name)))
    same = (
        ("secretbridge", name) if thing(module, name) is getattr(secretbridge, name, None) else ()
    )
    is_used = bool({(module, name), same} & used())
    assert has_doctest or is_used, (
        f"show how to use {module}.{name}: a doctest in its docstring, or a block in docs/reference"
    )


@pytest.mark.parametrize(("module", "name"), names())
def test_the_examples_of_a_docstring_hold(module: str, name: str) -> None:
    found = thing(module, name)
    home = importlib.import_module(getattr(found, "__module__", module))
    scope = {**vars(home), name: found}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder().find(found, name, module=home, globs=scope):
        assert runner.run(test).failed == 0, f"an example of {module}.{name} does not hold"
