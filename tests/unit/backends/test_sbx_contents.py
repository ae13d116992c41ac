import pytest

from secretbridge.backends._local.contents import Contents
from secretbridge.document import MAX_SIZE
from secretbridge.errors import SecretDeleted, SecretMissing, SecretTooLarge, VersionMissing


def test_the_last_versions_are_kept_and_numbers_grow():
    contents = Contents(keep=2)
    for now, value in enumerate([b"one", b"two", b"three"]):
        contents = contents.with_values({"a": value}, now)
    assert contents.version("a").number == 3
    assert contents.version("a", 2).value == b"two"
    with pytest.raises(VersionMissing, match="versions 2 to 3, not 1"):
        contents.version("a", 1)


def test_a_change_leaves_the_old_contents_as_they_were():
    before = Contents().with_values({"a": b"one"}, 1)
    before.with_values({"a": b"two"}, 2)
    before.without("a", 3)
    assert before.version("a").value == b"one"


def test_what_never_was_and_what_was_removed_are_told_apart():
    contents = Contents().with_values({"a": b"one"}, 1).without("a", 2)
    with pytest.raises(SecretDeleted):
        contents.version("a")
    with pytest.raises(SecretDeleted):
        contents.version("a", 1)
    with pytest.raises(SecretMissing) as missing:
        contents.version("b")
    assert type(missing.value) is SecretMissing


def test_removing_destroys_the_values_and_cannot_be_done_twice():
    contents = Contents().with_values({"a": b"canary"}, 1).without("a", 2)
    assert b"Y2FuYXJ5" not in contents.to_json()
    with pytest.raises(SecretDeleted):
        contents.without("a", 3)
    with pytest.raises(SecretMissing):
        contents.without("b", 3)


def test_a_number_is_never_used_again_after_a_removal():
    contents = Contents().with_values({"a": b"one"}, 1).without("a", 2)
    contents = Contents.from_json(contents.to_json()).with_values({"a": b"two"}, 3)
    assert contents.version("a").number == 2


def test_a_value_beyond_the_cap_is_refused():
    with pytest.raises(SecretTooLarge):
        Contents().with_values({"a": bytes(MAX_SIZE + 1)}, 1)
    Contents().with_values({"a": bytes(MAX_SIZE)}, 1)


def test_no_repr_shows_a_value():
    contents = Contents().with_values({"a": b"canary"}, 1)
    for thing in (contents, contents.entries["a"], contents.version("a")):
        assert "canary" not in repr(thing)
