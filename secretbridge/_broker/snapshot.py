"""Secrets of one moment."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from ..secret import Secret

__all__ = ["Snapshot"]


class Snapshot:
    """Secrets of one moment, by name: ``with broker.snapshot() as s: s["tls_cert"]``."""

    __slots__ = ("_secrets",)

    def __init__(self, secrets: dict[str, Secret]) -> None:
        self._secrets = secrets

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._secrets = {}

    def __getitem__(self, name: str) -> Secret:
        return self._secrets[name]

    def __contains__(self, name: object) -> bool:
        return name in self._secrets

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self._secrets)} secrets>"
