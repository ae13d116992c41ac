"""What tests of secretbridge, of backends and of applications are made of.

:class:`BackendContract` is the test class that every backend passes, ours or a stranger's.
:class:`FakeBackend` is an honest backend in memory, with handles to rotate, expire, deny, fail and
delay; :class:`FakeSecrets`, the fixture ``secretbridge_fake``, puts such fakes in the place of every
store of the process. :class:`LeakGuard` is what the fixture ``no_secret_leaks`` is. Names load when
they are first used: an application's tests may want the fake without pytest having been told about
the contract.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .clock import FakeClock
    from .contract import BackendContract
    from .fake import FakeBackend
    from .guard import Leak, LeakGuard, look_at, watch_for
    from .stand_in import FakeSecrets

__all__ = [
    "BackendContract",
    "FakeBackend",
    "FakeClock",
    "FakeSecrets",
    "Leak",
    "LeakGuard",
    "look_at",
    "watch_for",
]

_HOMES = {
    "BackendContract": "contract",
    "FakeBackend": "fake",
    "FakeClock": "clock",
    "FakeSecrets": "stand_in",
    "Leak": "guard",
    "LeakGuard": "guard",
    "look_at": "guard",
    "watch_for": "guard",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name == "BackendContract":
        import pytest

        # Before the first import, or failures would say `assert False` and nothing else.
        pytest.register_assert_rewrite("secretbridge.testing._contract")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
