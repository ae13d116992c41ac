"""Each reader of ``.env`` files, by what was measured with it; three are asked themselves."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretbridge.migrate.scan.dialects import DIALECTS, read
from tests.unit.migrate.scanning import scan_tree

ALL = ("docker", "compose", "python-dotenv", "dotenv-js", "node", "dotenvx", "bash", "django-environ",
       "decouple", "systemd")  # fmt: skip

# line, and what each reader takes it for; the readers that are left out drop the line.
LINES: list[tuple[str, dict[str, str | None]]] = [
    ("A=plain", dict.fromkeys(ALL, "plain")),
    ("A=", dict.fromkeys(ALL, "")),
    ("A=x=y", dict.fromkeys(ALL, "x=y")),
    (
        "A=b#c",
        {**dict.fromkeys(ALL, "b#c"), **dict.fromkeys(("dotenv-js", "node", "dotenvx"), "b")},
    ),
    (
        "A=b # c",
        {
            **dict.fromkeys(ALL, "b"),
            **dict.fromkeys(("docker", "django-environ", "decouple", "systemd"), "b # c"),
        },
    ),
    ("A='q r'", {**dict.fromkeys(ALL, "q r"), "docker": "'q r'"}),
    ('A="q r"', {**dict.fromkeys(ALL, "q r"), "docker": '"q r"'}),
    (
        'A="q\\nr"',
        {
            **dict.fromkeys(ALL, "q\nr"),
            "docker": '"q\\nr"',
            **dict.fromkeys(("bash", "django-environ", "decouple", "systemd"), "q\\nr"),
        },
    ),
    ("A=it`s", {**dict.fromkeys(ALL, "it`s")}),
    (
        "export A=e",
        {**dict.fromkeys(set(ALL) - {"docker", "systemd", "decouple"}, "e")},
    ),
    ("A: yaml", {"compose": "yaml", "dotenv-js": "yaml", "dotenvx": "yaml"}),
    ("# A=no", {}),
]


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[line for line, _ in LINES])
@pytest.mark.parametrize("dialect", ALL)
def test_a_line_means_what_its_reader_sees(
    line: str, expected: dict[str, str | None], dialect: str
) -> None:
    entries = {entry.name: entry.value for entry in read(line + "\n", dialect)}
    assert entries.get("A") == expected.get(dialect)


@pytest.mark.parametrize("dialect", ["compose", "python-dotenv", "dotenv-js", "node", "bash"])
def test_a_quoted_value_may_have_several_lines(dialect: str) -> None:
    (entry, _) = read('A="one\ntwo"\nB=c\n', dialect)
    assert entry.value == "one\ntwo"


@pytest.mark.parametrize("dialect", ["docker", "django-environ", "decouple"])
def test_these_readers_end_a_value_with_its_line(dialect: str) -> None:
    assert read('A="one\ntwo"\nB=c\n', dialect)[0].value == '"one'


def test_compose_takes_one_of_two_dollar_signs_away() -> None:
    assert read("A=P@$$w0rd", "compose")[0].value == "P@$w0rd"
    assert read("A=P@$$w0rd", "docker")[0].value == "P@$$w0rd"


def test_a_reader_that_would_run_a_command_is_said_to() -> None:
    assert read("A=$(cat x)", "bash")[0].is_executed
    assert read("A=$(cat x)", "dotenvx")[0].is_executed
    assert not read("A=$(cat x)", "docker")[0].is_executed


NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.sampled_from("abc XY12'\"#$\\{}=-_/.:"), max_size=14)


@settings(max_examples=150)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=4))
def test_our_reading_is_that_of_python_dotenv(pairs: list[tuple[str, str]]) -> None:
    from dotenv.parser import parse_stream

    text = "".join(f"{name}={value}\n" for name, value in pairs)
    theirs = [
        (binding.key, binding.value)
        for binding in parse_stream(io.StringIO(text))
        if not binding.error and binding.key
    ]
    ours = [(entry.name, entry.value) for entry in read(text, "python-dotenv") if not entry.names]
    with_variables = {name for name, value in theirs if value and "${" in value}
    assert ours == [pair for pair in theirs if pair[0] not in with_variables] or with_variables


@pytest.mark.parametrize(
    "value",
    ["plain", "'it is'", '"x $HOME y"', "a\\ b", '"a\\"b"', "'a'\"b\"c", "$'x\\ty'", "a;b", "x#y"],
)
def test_our_reading_is_that_of_a_shell(value: str) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    script = f'A={value}\nprintf %s "$A"'
    done = subprocess.run(
        [bash, "-c", script], env={"HOME": "/h"}, capture_output=True, text=True, check=False
    )
    (entry, *_) = read(f"A={value}\n", "bash")
    assert (entry.value or "").replace("${HOME}", "/h") == done.stdout


@given(st.text(max_size=200), st.sampled_from(sorted(DIALECTS)))
def test_no_text_breaks_a_reader(text: str, dialect: str) -> None:
    for entry in read(text, dialect):
        assert 0 <= entry.entry[0] <= entry.start <= entry.end <= len(text)


def test_who_reads_a_file_decides_its_value(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "a.env": "API_TOKEN='quoted'\n",
        "b.env": "API_TOKEN='quoted'\n",
        "compose.yaml": "services:\n  web:\n    image: x\n    env_file: [a.env]\n",
        "run.sh": "docker run --env-file b.env x\n",
    }
    values = {
        each.path: each.value.reveal()
        for each in scan_tree(tmp_path, files).findings
        if each.value is not None and each.form == "dotenv"
    }
    assert values == {"a.env": "quoted", "b.env": "'quoted'"}


def test_two_readers_that_disagree_are_named(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        ".env": "API_TOKEN='quoted'\nDB_PASSWORD=same\n",
        "compose.yaml": "services:\n  web:\n    image: x\n    env_file: [.env]\n",
        "run.sh": "docker run --env-file .env x\n",
    }
    contexts = {
        each.name: each.context
        for each in scan_tree(tmp_path, files).findings
        if each.path == ".env"
    }
    assert contexts["API_TOKEN"]["read_differently_by"] == ("docker",)
    assert "read_differently_by" not in contexts["DB_PASSWORD"]


def test_what_one_reader_drops_is_found_all_the_same(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        ".env": "export API_TOKEN=x1y2z3\n",
        "run.sh": "docker run --env-file .env x\n",
    }
    (finding,) = [each for each in scan_tree(tmp_path, files).findings if each.path == ".env"]
    assert finding.context["dropped_by"] == "docker"
