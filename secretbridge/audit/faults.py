"""What can go wrong with an audit log."""

from __future__ import annotations

from ..errors import SecretBridgeError

__all__ = ["AuditFailed", "SinkFailed"]


class AuditFailed(SecretBridgeError):
    """An event cannot be logged, and the configuration says that it then must not happen."""

    is_transient = True


class SinkFailed(Exception):
    """Lines could not be written. ``written`` counts those that were."""

    def __init__(self, reason: str, written: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.written = written
