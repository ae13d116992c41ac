from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.migrate.scan.text import Text, Undecodable

TEXTS = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\ufeff"), max_size=80
)
MARKS = {
    "utf-8": b"",
    "utf-8-sig": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}


@given(TEXTS, st.sampled_from(sorted(MARKS)), st.data())
def test_every_character_is_found_on_disk(text: str, name: str, data: st.DataObject) -> None:
    encoding = "utf-8" if name == "utf-8-sig" else name
    disk = MARKS[name] + text.encode(encoding)
    source = Text(disk)
    assert source.text == text
    at = data.draw(st.integers(0, len(text)))
    offset = source.offset(at)
    assert disk[offset:] == text[at:].encode(encoding)
    assert source.char(offset) == at


def test_bytes_that_are_no_utf8_are_read_one_by_one() -> None:
    source = Text(b"# caf\xe9\nA=b")
    assert source.encoding == "latin-1"
    assert source.offset(source.text.index("A")) == 7


@pytest.mark.parametrize("data", [b"\x7fELF\0\0", b"a\0b", b"\xff\xfea"])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(Undecodable):
        Text(data)


def test_places_count_from_one() -> None:
    source = Text("ä\r\nxy".encode())
    assert source.place(0) == (1, 1)
    assert source.place(source.text.index("y")) == (2, 2)
