"""How often the sidecar looks at its target although nothing has changed."""

from __future__ import annotations

import pytest

from secretbridge_sidecar import runner


@pytest.mark.parametrize(
    ("cost", "seconds"), [(0.0, 10.0), (0.0025, 10.0), (0.005, 20.0), (0.0125, 50.0), (9.0, 60.0)]
)
def test_a_look_that_takes_much_comes_rarely(cost, seconds):
    assert runner._stretched(runner.LOOK, cost) == pytest.approx(seconds)


def test_a_retry_is_not_put_off():
    assert runner._stretched(runner.RETRY, 9.0) == runner.RETRY
    assert runner._stretched(0.0, 9.0) == 0.0
