"""The bytes that a finding points at are its value, whatever stands around them."""

from __future__ import annotations

import ast
import codecs
from collections.abc import Callable

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.migrate.fixtures import load
from secretbridge.migrate.finding import LITERAL, Finding
from secretbridge.migrate.scan.dialects import read
from secretbridge.migrate.scan.dockerfile import instructions, pairs
from secretbridge.migrate.scan.interpolation import expand
from tests.unit.migrate.scanning import found

FILES = [
    file
    for file in load()
    if file.form in ("compose", "dotenv", "kubernetes", "dockerfile", "python")
]


def variant(text: str, name: str) -> bytes:
    data = text.encode()
    if name in ("crlf", "bom+crlf"):
        data = data.replace(b"\n", b"\r\n")
    if name == "emoji":
        data = "# \N{CAT FACE} \N{LATIN SMALL LETTER E WITH ACUTE}\n".encode() + data
    return codecs.BOM_UTF8 + data if name.startswith("bom") else data


def again(finding: Finding, token: str, source: str) -> str | None:
    """Return what the reader of the file would make of the token alone, or None if that needs more."""
    if finding.form == "dotenv":
        return read(f"X={token}\n", str(finding.context["dialect"]))[0].value
    if finding.form == "python":
        value = ast.literal_eval(token)
        return value if isinstance(value, str) else None
    if finding.form == "dockerfile":
        if "option" in finding.context or finding.context.get("instruction") not in ("ENV", "ARG"):
            return None
        if finding.context.get("form") == "old":
            return expand(token).value
        (instruction,) = instructions(f"ENV X={token}")
        (pair,) = pairs(instruction.text)
        return expand(pair.value or "").value
    if "quote" in finding.context or "option" in finding.context or "file" in finding.context:
        return None  # a part of a scalar
    value = yaml.safe_load(token)
    text = str(value) if not isinstance(value, bool) else token
    return expand(text).value if finding.form == "compose" else text


@pytest.mark.parametrize("name", ["plain", "crlf", "bom", "bom+crlf", "emoji"])
@pytest.mark.parametrize("file", FILES, ids=[file.path for file in FILES])
def test_the_bytes_of_a_finding_parse_back_to_its_value(file: object, name: str) -> None:
    assert hasattr(file, "path")
    assert hasattr(file, "text")
    if name == "emoji" and file.text.startswith("# escape"):
        return  # a directive must be the first line
    data = variant(file.text, name)
    literals = [each for each in found(file.path, data) if each.kind == LITERAL]
    assert literals or file.path == "mssql/Dockerfile"
    for finding in literals:
        token = data[finding.start : finding.end].decode()
        assert finding.value is not None
        value = finding.value.reveal()
        if finding.context.get("encoding") == "base64" or token.startswith(("|", ">")):
            continue  # the next tests
        parsed = again(finding, token, file.text)
        if parsed is not None:
            assert parsed.replace("\r\n", "\n") == value.replace("\r\n", "\n"), finding.name
        else:
            assert value.split("\n")[0][:3].strip("'\"") in expand(token).value
        if finding.entry_start is not None and finding.entry_end is not None:
            assert finding.entry_start <= finding.start <= finding.end <= finding.entry_end


@pytest.mark.parametrize("name", ["plain", "crlf", "bom", "emoji"])
def test_findings_are_the_same_in_every_encoding_of_lines(name: str) -> None:
    for file in FILES:
        plain = [(each.kind, each.name) for each in found(file.path, file.text)]
        told = [(each.kind, each.name) for each in found(file.path, variant(file.text, name))]
        if name == "emoji" and file.text.startswith("# escape"):
            continue  # a directive must be the first line
        assert told == plain, file.path


WORDS = st.text(st.sampled_from("abcXYZ019 -_.:#'\"\\é{}[],&*!|>%@"), min_size=1, max_size=16)
STYLES: dict[str, Callable[[str], str]] = {
    "single": lambda value: "'" + value.replace("'", "''") + "'",
    "double": lambda value: '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"',
    "folded": lambda value: ">-\n        " + value,
    "literal": lambda value: "|-\n        " + value,
}


@settings(max_examples=150)
@given(
    WORDS.filter(lambda value: value.strip() == value),
    st.sampled_from(sorted(STYLES)),
    st.booleans(),
)
def test_a_yaml_value_is_where_it_is_said_to_be(value: str, style: str, has_mark: bool) -> None:
    token = STYLES[style](value)
    head = "# ü\nservices:\n  web:\n    image: x\n    environment:\n      DB_PASSWORD: "
    data = (head + token + "\n      OTHER: x\n").encode()
    data = codecs.BOM_UTF8 + data if has_mark else data
    for finding in found("compose.yaml", data):
        if finding.name == "DB_PASSWORD" and finding.kind == LITERAL:
            part = data[finding.start : finding.end].decode()
            assert yaml.safe_load(f"x: {part}")["x"] == value
            assert finding.value is not None
            assert finding.value.reveal() == expand(value).value
            break
