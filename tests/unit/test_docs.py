"""The documentation: its links lead somewhere, its examples are real.

A block below the comment ``<!-- runs in the tests -->`` is run, all those of one page as one shell
session, as a reader would paste them. A block below ``<!-- is printed in the tests -->`` has to be
among what the session prints; only durations may differ. Blocks of ``pycon`` are one session of the
interpreter, and have to print what they show. Every other example is at least parsed.
"""

from __future__ import annotations

import ast
import doctest
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

import secretbridge
from secretbridge import Broker, Changes, Handle, Reference, Secret
from secretbridge._broker import start
from secretbridge_sidecar.templates import Template

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("examples/*/*.md"), *(ROOT / "docs").rglob("*.md")])
RUNS = "<!-- runs in the tests -->"
PRINTED = "<!-- is printed in the tests -->"


@dataclass(frozen=True)
class Example:
    page: Path
    line: int
    language: str
    text: str
    runs: bool
    is_printed: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def examples(page: Path) -> Iterator[Example]:
    before, language, start, body = "", None, 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            body.append(line)
            before = line if language is None and line else before
        elif language is None:
            language, start, body = line[3:].strip(), number, []
        else:
            yield Example(
                page, start, language, "\n".join(body) + "\n", before == RUNS, before == PRINTED
            )
            before, language = "", None
    assert language is None, f"{page}:{start}: this block has no end"


EXAMPLES = [example for page in PAGES for example in examples(page)]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, made in the way of the usual renderers."""
    headings = re.findall(r"^#+ +(.+?)\s*$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"(https?|mailto):", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / t).resolve() for t in re.findall(r"\]\(([^)#\s]+)", prose(index))}
    assert {page for page in (ROOT / "docs").rglob("*.md") if page != index} - linked == set()


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_is_what_it_says(example: Example) -> None:
    match example.language:
        case "python" if ">>> " in example.text:
            test = doctest.DocTestParser().get_doctest(example.text, {}, str(example), None, 0)
            assert doctest.DocTestRunner().run(test).failed == 0
        case "pycon":
            assert doctest.DocTestParser().get_examples(example.text, str(example))
        case "python":
            compile(example.text, str(example), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        case "yaml":
            list(yaml.safe_load_all(example.text))
        case "toml":
            tomllib.loads(example.text)
        case "json":
            json.loads(example.text)
        case "sh":
            subprocess.run(["sh", "-n"], input=example.text, text=True, check=True)
        case "jinja":
            assert Template(str(example), example.text).names
        case "hcl":
            pass  # a policy; a real server reads it in tests/contract/test_vault.py
        case "mermaid":
            assert example.text.startswith("stateDiagram-v2\n")
        case "" | "text" | "console" | "ini" | "dockerfile" | "abnf":
            pass
        case _:
            pytest.fail(f"{example}: no rule for {example.language!r}; add one here")


@pytest.mark.parametrize(
    "page",
    sorted({example.page for example in EXAMPLES if example.language == "pycon"}),
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_interpreter_session_of_a_page_goes_as_shown(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRETBRIDGE_CONFIG", "set by the session, and put back afterwards")
    monkeypatch.setattr(secretbridge, "_default", None)
    monkeypatch.setattr(start, "_broker", None)
    session = [example for example in EXAMPLES if example.page == page]
    names: dict[str, object] = {}
    for example in session:
        if example.language == "pycon":
            test = doctest.DocTestParser().get_doctest(example.text, names, str(example), None, 0)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0, str(example)
            names = test.globs
    if start._broker is not None:
        start._broker.close()


def test_every_public_name_has_an_example_that_runs() -> None:
    run = "\n".join(
        example.text
        for example in EXAMPLES
        if example.language == "pycon" or (example.language == "python" and ">>> " in example.text)
    )
    table = "\n".join(page.read_text() for page in PAGES if page.name == "python-api.md")
    errors = {name for name in secretbridge.__all__ if is_error(getattr(secretbridge, name))}
    missing = [
        *(f"secretbridge.{name}" for name in secretbridge.__all__ if not in_use(name, run)),
        *(
            f"{kind.__name__}.{name}"
            for kind in (Broker, Changes, Handle, Reference, Secret)
            for name in vars(kind)
            if not name.startswith(("_", "before_fork", "after_fork")) and not in_use(name, run)
        ),
    ]
    # Not each error is raised for show, but each is told of.
    assert [m for m in missing if m.rpartition(".")[2] not in errors] == []
    assert [name for name in errors if f"`{name}`" not in table] == []


def is_error(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Exception)


def in_use(name: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


@pytest.mark.parametrize(
    "page",
    sorted({example.page for example in EXAMPLES if example.runs}),
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_session_of_a_page_can_be_pasted(page: Path) -> None:
    session = "".join(e.text for e in EXAMPLES if e.page == page and e.runs)
    with TemporaryDirectory(dir=memory()) as folder:
        home = Path(folder, "home")
        home.mkdir()
        environment = {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": folder,
        }
        output = Path(folder, "output")
        with output.open("w") as stream:
            process = subprocess.Popen(
                ["bash", "-eu", "-o", "pipefail", "-c", session],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that what it starts can be ended as one group
            )
            try:
                status = process.wait(timeout=90)
            except subprocess.TimeoutExpired:
                status = -1
            finally:
                end(process.pid)
                process.wait()
        printed = output.read_text()
    assert status == 0, printed
    shown = [example.text for example in EXAMPLES if example.page == page and example.is_printed]
    in_order = ".*".join(re.escape(timeless(text)) for text in shown)
    assert re.search(in_order, timeless(printed), re.DOTALL), f"{shown}\n\n{printed}"


def timeless(text: str) -> str:
    """Return ``text`` with every length of time replaced, as these differ from run to run."""
    return re.sub(r"\b[\d.]+(ms|s)\b", "a moment", text)


def memory() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return runtime if os.access(runtime, os.W_OK) else "/dev/shm"


def end(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
