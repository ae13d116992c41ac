"""What hooks need of the system, for whoever takes rights away from the sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from secretbridge.config import ExecHook, HttpHook, SignalHook

from ..program import others_may_write
from .http_hook import address_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Hook = ExecHook | SignalHook | HttpHook

Item = TypeVar("Item")

__all__ = ["Needs", "needs", "untrusted_programs"]


class Needs(NamedTuple):
    """Paths and ports that hooks use. What a program itself needs only its author knows.

    ``programs`` are executed, ``files`` read, ``sockets`` (Unix) and ``ports`` (of loopback) connected
    to. ``processes``: whether other processes are looked at in ``/proc``, and sent signals.
    """

    programs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    sockets: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    processes: bool = False


def needs(hooks: Sequence[Hook]) -> Needs:
    """Return what all ``hooks`` need together."""
    addresses = [address_of(hook.http) for hook in hooks if isinstance(hook, HttpHook)]
    signals = [hook for hook in hooks if isinstance(hook, SignalHook)]
    return Needs(
        programs=_each(hook.exec[0] for hook in hooks if isinstance(hook, ExecHook)),
        files=_each(str(hook.pid_file) for hook in signals if hook.pid_file is not None),
        sockets=_each(address.host for address in addresses if address.port is None),
        ports=_each(address.port for address in addresses if address.port is not None),
        processes=bool(signals),
    )


def untrusted_programs(programs: Sequence[str]) -> list[str]:
    """Say of ``programs`` which ones others may write. One that is not there is not judged."""
    found = []
    for program in programs:
        try:
            reason = others_may_write(program)
        except OSError:
            continue
        if reason is not None:
            found.append(f"{program}: {reason}, and the sidecar would run it")
    return found


def _each(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(dict.fromkeys(items))
