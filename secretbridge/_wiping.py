"""An allocator that overwrites what is freed, chosen by starting the program anew.

A module of its own, since whoever uses it should come to it before loading anything else.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WIPE_ON_FREE", "wipe_on_free"]

WIPE_ON_FREE: Mapping[str, str] = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0:"
    "glibc.malloc.arena_max=1",
}
"""The environment in which the GNU C library overwrites memory that is freed, Python's objects too.

Python's own allocator would keep what is smaller than 512 bytes, and the C library's thread cache
passes by the overwriting, so both are left out. One arena makes up for the memory that this costs:
threads of Python wait for each other anyway. It costs about a third of the time of pure Python code
(``make bench ARGS=wipe_on_free``). No value is a secret.
"""

_WIPING_ALLOCATORS = ("malloc", "malloc_debug", "pymalloc_debug")
_WIPING_TUNABLES = ("glibc.malloc.perturb=165", "glibc.malloc.tcache_count=0")


def wipe_on_free(environ: Mapping[str, str] = os.environ) -> None:
    """Start this program again with :data:`WIPE_ON_FREE` in its environment, unless it has it.

    To be called first thing in ``main``; returns only where it is set already. An image sets the
    variables itself and does not need this.
    """
    allocator, tunables = environ.get("PYTHONMALLOC"), environ.get("GLIBC_TUNABLES", "")
    if allocator in _WIPING_ALLOCATORS and set(_WIPING_TUNABLES) <= set(tunables.split(":")):
        return
    both = ":".join(filter(None, (tunables, WIPE_ON_FREE["GLIBC_TUNABLES"])))
    changed = {**environ, **WIPE_ON_FREE, "GLIBC_TUNABLES": both}
    os.execve(sys.executable, sys.orig_argv, changed)  # noqa: S606 - ourselves, with our arguments
