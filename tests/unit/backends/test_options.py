"""Values that the keys of several backends share."""

import pytest

from secretbridge.backends._options import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("10s", 10.0), ("10 s", 10.0), ("1.5s", 1.5), ("2m", 120.0)],
)
def test_a_duration_becomes_its_seconds(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("value", [3, 0.5, None, "", "10", "10h", "-1s", "1e3s", "s", "10s\n"])
def test_what_is_no_duration_is_left_to_the_model(value):
    assert seconds(value) is value
