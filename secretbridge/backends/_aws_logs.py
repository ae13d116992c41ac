"""Keep botocore's debug log from printing what it holds for us.

At DEBUG botocore logs whole answers (the keys of assumed roles in them) and signed requests (session
tokens in them), so that an application whose root logger stands at DEBUG writes credentials into its
log; its own client of Secrets Manager logs every secret too. A filter on botocore's and urllib3's
loggers drops the records below INFO that are made *while a thread works for us*, and the tracebacks
of the others. What an application does with botocore itself, say with S3, stays as visible as it
wants it.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGES = ("botocore", "botocore.retries", "botocore.crt", "urllib3", "urllib3.util")

_thread = threading.local()


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(_thread, "is_ours", False):
            return True
        # A traceback leads to frames that hold the token that was exchanged, and some collectors of
        # errors send the variables of frames along.
        record.exc_info = record.exc_text = None
        return record.levelno >= logging.INFO


_filter = _NotOurs()


def install() -> None:
    """Put the filter on every logger that botocore and urllib3 have or may come to have.

    A filter on a parent logger does not see the records of its children, hence each one by name,
    also of modules that are not loaded yet. Adding a filter twice has no effect.
    """
    for package in _PACKAGES:
        spec = find_spec(package)
        if spec is None:
            continue
        names = [module.name for module in iter_modules(spec.submodule_search_locations)]
        for name in (package, *(f"{package}.{module}" for module in names)):
            logging.getLogger(name).addFilter(_filter)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop debug records of this thread until the block ends."""
    before = getattr(_thread, "is_ours", False)
    _thread.is_ours = True
    try:
        yield
    finally:
        _thread.is_ours = before
