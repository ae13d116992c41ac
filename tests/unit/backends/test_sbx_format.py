import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.backends._local.contents import Contents
from secretbridge.backends._local.format import MAX_FILE, Argon2, Header, seal, unseal
from secretbridge.errors import IntegrityError, SecretTooLarge

KEY = bytes(range(32))
HEADER = Header(bytes(range(100, 132)))
SMALL = Contents().with_values({"app/db": b"value"}, 1)


def opened(file, key=KEY):
    return Contents.from_json(unseal(file, key, Header.read(file)))


@given(
    st.dictionaries(st.text(min_size=1), st.binary(max_size=2000), max_size=5),
    st.integers(min_value=0, max_value=2**50),
)
def test_what_was_sealed_comes_back(values, now):
    try:
        contents = Contents().with_values(values, now)
        file = seal(contents.to_json(), KEY, HEADER)
    except UnicodeEncodeError:
        return  # half a surrogate pair is no locator
    if any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F for name in values for char in name):
        with pytest.raises(IntegrityError):
            opened(file)
    else:
        assert opened(file) == contents


def test_every_flipped_bit_is_noticed():
    file = bytearray(seal(SMALL.to_json(), KEY, HEADER))
    for position in range(len(file)):
        for bit in range(8):
            file[position] ^= 1 << bit
            with pytest.raises(IntegrityError):
                opened(bytes(file))
            file[position] ^= 1 << bit
    assert opened(bytes(file)) == SMALL


def test_every_other_length_is_noticed():
    file = seal(SMALL.to_json(), KEY, HEADER)
    for length in range(len(file)):
        with pytest.raises(IntegrityError):
            opened(file[:length])
    with pytest.raises(IntegrityError):
        opened(file + b" ")


def test_the_size_of_the_file_does_not_show_the_size_of_a_small_value():
    sizes = {
        len(seal(Contents().with_values({"a": b"x" * n}, 1).to_json(), KEY, HEADER))
        for n in (0, 1, 100, 500)
    }
    assert len(sizes) == 1


def test_a_store_that_would_be_too_large_is_not_written():
    with pytest.raises(SecretTooLarge, match=str(MAX_FILE)):
        seal(b" " * MAX_FILE, KEY, HEADER)


@given(st.binary(max_size=300))
def test_noise_behind_the_magic_is_refused_and_nothing_else_happens(noise):
    with pytest.raises(IntegrityError):
        opened(b"\x89SBX\r\n\x1a\n" + noise)


@given(*[st.integers(min_value=0, max_value=2**32 - 1)] * 3)
def test_no_header_asks_for_more_than_the_bounds(passes, memory, lanes):
    file = Header(bytes(32), Argon2(bytes(16), passes, memory, lanes)).pack() + bytes(100)
    try:
        accepted = Header.read(file).argon2
    except IntegrityError:
        return
    assert accepted.passes <= 16
    assert accepted.memory <= 256 << 10
    assert accepted.lanes <= 16


def test_neither_error_nor_its_message_holds_the_document():
    file = bytearray(seal(b"not json: canary-text", KEY, HEADER))
    with pytest.raises(IntegrityError) as caught:
        opened(bytes(file))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "canary" not in "".join(traceback.format_exception(caught.value))
