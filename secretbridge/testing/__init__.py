"""What tests of secretbridge, of backends and of applications are made of.

:class:`BackendContract` is the test class that every backend passes, ours or a stranger's.
:class:`FakeBackend` is an honest backend in memory, with handles to rotate, expire, deny, fail and
delay. Names load when they are first used: an application's tests may want the fake without pytest
having been told about the contract.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import BackendContract
    from .fake import FakeBackend

__all__ = ["BackendContract", "FakeBackend"]


def __getattr__(name: str) -> object:
    if name == "BackendContract":
        import pytest

        # Before the first import, or failures would say `assert False` and nothing else.
        pytest.register_assert_rewrite("secretbridge.testing.contract")
        from .contract import BackendContract

        return BackendContract
    if name == "FakeBackend":
        from .fake import FakeBackend

        return FakeBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
