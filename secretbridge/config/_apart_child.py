"""The child of :mod:`.apart`: gets ready, waits for a path, and says what reading it came to."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from typing import BinaryIO

from ..errors import ConfigError
from ._source import Source
from .apart import BACKENDS, USUAL_PLACES

__all__ = ["answer"]


def answer() -> None:
    """Answer one question from standard input on standard output, and end."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plugin prints while it is loaded must not get between the answer
    _get_ready()
    question = b"".join(iter(lambda: os.read(0, 1 << 16), b""))
    if question:
        _answer(None if question == USUAL_PLACES else os.fsdecode(question[1:]), out)
    os._exit(0)  # to take everything down again would take as long as a tenth of the work


def _get_ready() -> None:
    with suppress(Exception):  # the reading comes upon it again, and says it
        from . import _checks, _models, _yaml_source

        assert _checks
        assert _yaml_source
        _models.Document.model_rebuild()


def _answer(path: str | None, out: BinaryIO) -> None:
    from ..backends import is_built_in
    from . import load_telling

    def told(source: Source) -> None:
        stores = source.data.get("stores")
        blocks = stores if isinstance(stores, dict) else {}
        named = {
            block.get("backend", name) if isinstance(block, dict) else name
            for name, block in blocks.items()
        }
        found = sorted(name for name in named if isinstance(name, str) and is_built_in(name))
        out.write(BACKENDS + " ".join(found).encode() + b"\n")
        out.flush()

    outcome: object
    try:
        outcome = load_telling(path, os.environ, told)
    except ConfigError as error:
        outcome = error
    pickle.dump(outcome, out)
    out.flush()
