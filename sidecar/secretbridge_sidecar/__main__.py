"""The command ``secretbridge-sidecar``: the allocator first, and then what was asked for."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def _restart() -> None:
    """Begin anew with an allocator that wipes what is freed, unless the environment names one.

    Somebody who sets ``PYTHONMALLOC`` has decided about that, and it shows in the status.
    """
    if "PYTHONMALLOC" in os.environ:
        return
    from secretbridge._wiping import wipe_on_free

    try:  # noqa: SIM105 - this early, contextlib is a module more to load
        wipe_on_free()
    except OSError:
        pass  # then the status says that nothing is wiped


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Without ``argv`` this is the program itself."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if argv is None and not {"run", "once"}.isdisjoint(arguments):
        _restart()
    reader = None
    if "run" in arguments:
        from secretbridge.config.apart import Reader

        reader = Reader()  # first: everything waits for the configuration
    from .commands import perform  # not before _restart(): it would be loaded twice

    try:
        return perform(arguments, reader)
    finally:
        if reader is not None:
            reader.close()


if __name__ == "__main__":
    sys.exit(main())
