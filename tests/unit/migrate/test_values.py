"""Looking for values: in any text, unless they are words that stand in many."""

from __future__ import annotations

import pytest

from secretbridge.migrate._values import Needles

NAME = "local:shop/password"


def test_a_value_is_found_as_programs_write_it() -> None:
    needles = Needles({NAME: b"kestrel/Orbit 7741"})
    for text in (b"kestrel/Orbit 7741", b"kestrel%2FOrbit%207741", b"a2VzdHJlbC9PcmJpdCA3NzQx"):
        assert needles.found(b"first\nx=" + text + b"\n") == [(NAME, 2)]
    assert needles.common() == []


@pytest.mark.parametrize("value", [b"wordpress", b"changeme", b"abc1", b"s3cr3t"])
def test_a_word_that_stands_in_many_texts_is_looked_for_in_variables_alone(value: bytes) -> None:
    needles = Needles({NAME: value})
    assert needles.common() == [NAME]
    assert needles.found(b"image: " + value) == []
    assert needles.names_of_variable("WORDPRESS_DB_PASSWORD", value) == [NAME]
    assert needles.names_of_variable("WORDPRESS_DB_NAME", value) == []
    assert needles.names_of_variable("WORDPRESS_DB_PASSWORD", b"x" + value) == []


def test_bytes_that_are_no_text_are_looked_for_everywhere() -> None:
    assert Needles({NAME: b"\xff\xfe\x00secret"}).common() == []
