from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secretbridge.migrate.scan.project import Options, scan
from secretbridge.migrate.scan.walk import LARGEST
from tests.unit.migrate.scanning import KEY, gather, scan_tree

PATHS = (
    *(
        ".env",
        "compose.yaml",
        "Dockerfile",
        "app.yaml",
        "kustomization.yaml",
        "values.yaml",
        "a.service",
    ),
    *(
        ".github/workflows/a.yml",
        ".gitlab-ci.yml",
        "run.sh",
        "app.py",
        "a.js",
        "a.ini",
        "a.json",
        "Makefile",
    ),
)
FRAGMENTS = st.sampled_from(
    [
        "password",
        "SECRET_KEY=",
        ": ",
        "\n",
        "  ",
        "- ",
        "{{",
        "}}",
        "${",
        "}",
        "'",
        '"',
        "|\n",
        "#",
        "$(",
        ")",
        "services:",
        "env:",
        "kind: Secret\ndata:",
        "ENV ",
        "RUN <<E",
        "E",
        "=",
        "\\",
        "\r\n",
        "\t",
        "é",
        "&a ",
        "*a",
        "<<: *a",
        "[",
        "]",
        "os.environ[",
        "def f(x):",
        "--password ",
        "://u:p@h",
    ]
)


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PATHS), st.one_of(st.binary(max_size=300), st.lists(FRAGMENTS, max_size=30)))
def test_no_file_breaks_the_scan(path: str, content: bytes | list[str]) -> None:
    data = content if isinstance(content, bytes) else "".join(content).encode()
    gathered = gather(path, data)
    assert not [each for each in gathered.skipped if "fault" in each.reason]
    for finding in gathered.findings:
        assert 0 <= finding.start <= finding.end <= len(data)


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("compose.yaml", "services:\n  a:\n   - b: [\n  DB_PASSWORD: x1y2\n", "not valid YAML"),
        (
            "t/templates/a.yaml",
            "{{- if .x }}\na: [\nDB_PASSWORD: x1y2\n{{ end }}",
            "half a template",
        ),
        ("app.py", "import os\nprint os.environ['DB_PASSWORD']\n", "not valid in the Python"),
        ("Dockerfile", "FROM x\nPASSWORD x\n", "no instruction"),
    ],
)
def test_what_is_broken_is_named_with_its_place(path: str, content: str, words: str) -> None:
    gathered = gather(path, content)
    assert words in gathered.problems[0].text
    assert gathered.problems[0].line >= 1
    assert "x1y2" not in repr(gathered.problems)


def test_the_lines_of_a_broken_manifest_are_searched_all_the_same() -> None:
    content = (
        "services:\n  a: [\n    environment:\n      - DB_PASSWORD=x1y2\n      API_TOKEN: z3w4\n"
    )
    assert {each.name for each in gather("compose.yaml", content).findings} == {
        "DB_PASSWORD",
        "API_TOKEN",
    }


def test_one_broken_document_leaves_the_others_readable() -> None:
    content = "a: [\npassword: x\n---\napiVersion: v1\nkind: Secret\nstringData: {token: x1y2}\n"
    gathered = gather("app.yaml", content)
    assert gathered.problems
    assert "token" in {each.name for each in gathered.findings}


def test_half_a_template_is_named() -> None:
    gathered = gather(
        "chart/templates/a.yaml", "a: {{ .Values.x }}\n  b: [{{ if }}\nDB_PASSWORD: {{ .y }}\n"
    )
    assert "template" in gathered.problems[0].text


LAUGHS = "b0: &b0 {password: x1}\n" + "".join(
    f"b{i}: &b{i} [*b{i - 1}, *b{i - 1}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "{a: " * 5_000 + "password",
        "a: &a [*a]\npassword: x",
        LAUGHS,
        "password: " + "x" * 300_000,
        "- " * 50_000 + "password",
        "'" + "password " * 20_000,
    ],
    ids=["brackets", "braces", "itself", "laughs", "long", "lists", "open"],
)
def test_yaml_that_is_made_to_hurt_ends_soon(content: str) -> None:
    gather("compose.yaml", content)
    gather("values.yaml", content)


def test_python_that_is_made_to_hurt_is_named() -> None:
    gathered = gather("a.py", "password = 'x1y2'\ny = " + "(" * 5_000 + ")" * 5_000)
    assert gathered.problems


def test_files_that_are_not_read_are_named(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("DB_PASSWORD=x1y2\n")
    root = tmp_path / "tree"
    files: dict[str, str | bytes] = {
        "big.env": b"",
        "core.env": b"\x00\x01\x02DB_PASSWORD=x",
        "node_modules/x/.env": "DB_PASSWORD=x1y2\n",
        "inner/.env": "DB_PASSWORD=x1y2\n",
        "closed.env": "DB_PASSWORD=x1y2\n",
        "bad16.env": b"\xff\xfex",
    }
    scan_tree(root, files)
    os.truncate(root / "big.env", 100 << 20)
    (root / "link.env").symlink_to(outside)
    (root / "away").symlink_to("/etc")
    (root / "alias.env").symlink_to("inner/.env")
    os.mkfifo(root / "pipe.env")
    (root / "closed.env").chmod(0)
    result = scan([str(root)], Options(KEY, jobs=1))
    reasons = {each.path: each.reason for each in result.skipped}
    assert f"larger than {LARGEST >> 20} MiB" in reasons["big.env"]
    assert "binary" in reasons["core.env"]
    assert reasons["node_modules/"] == "installed packages"
    assert "out of the tree" in reasons["link.env"]
    assert "out of the tree" in reasons["away"]
    assert "no regular file" in reasons["pipe.env"]
    assert "encoding" in reasons["bad16.env"]
    if os.getuid():
        assert "Permission denied" in reasons["closed.env"]
    assert "inner/.env" in {each.path for each in result.findings}
    assert not {each.path for each in result.findings} & {"link.env", "alias.env"}


def test_a_file_in_another_encoding_is_read_and_named(tmp_path: Path) -> None:
    result = scan_tree(tmp_path, {".env": "# Schlüssel\nDB_PASSWORD=gr\xfcn-7\n".encode("latin-1")})
    (finding,) = result.findings
    assert (tmp_path / ".env").read_bytes()[finding.start : finding.end] == b"gr\xfcn-7"


def test_a_file_that_is_gone_by_the_time_it_is_read_is_named(tmp_path: Path) -> None:
    from secretbridge.migrate.scan.walk import Unreadable, read_bytes

    with pytest.raises(Unreadable):
        read_bytes(str(tmp_path), "gone")
