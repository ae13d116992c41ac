"""Looking names up while somebody watches: progress on the terminal until the stores have answered."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..broker import Broker
    from ..errors import SecretBridgeError
    from ..secret import Secret
    from .output import Progress

__all__ = ["look_up"]

_TICK = 0.2


def look_up(
    broker: Broker, keys: Sequence[str], progress: Progress
) -> Mapping[str, Secret | SecretBridgeError]:
    """Return for each of ``keys`` its secret, or the error that says why there is none."""
    if not progress.is_shown:
        return broker.resolve(keys)
    # One call for all, watched from here: cut into parts, an unreachable store would be waited for
    # once in every part.
    found: list[Mapping[str, Secret | SecretBridgeError] | BaseException] = []

    def work() -> None:
        try:
            found.append(broker.resolve(keys))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            found.append(error)

    worker = threading.Thread(target=work, daemon=True)
    told = "1 secret" if len(keys) == 1 else f"{len(keys)} secrets"
    progress.show(f"looking up {told}")
    worker.start()
    worker.join(_TICK)
    while worker.is_alive():
        done = sum(row["state"] != "empty" or row["error"] is not None for row in broker.status())
        progress.show(f"looking up {told}, {done} done" if len(keys) > 1 else f"looking up {told}")
        worker.join(_TICK)
    progress.clear()
    (outcome,) = found
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
