"""Asking in a thread of its own, so that a store that hangs keeps no signal waiting.

A reader of the broker performs the call to the store itself. In the main thread that would mean that
SIGTERM is heard when the store has answered, or after its timeout of ten seconds; orchestrators kill
before that.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Asking"]

Answer = TypeVar("Answer")


class Asking(Generic[Answer]):
    """One call of ``question`` that is under way. ``over`` is called when it has ended.

    It cannot be stopped; who does not want to wait for its end forgets about it.
    """

    def __init__(self, question: Callable[[], Answer], over: Callable[[], object]) -> None:
        self._question = question
        self._over = over
        self._answers: list[Answer] = []
        self._error: BaseException | None = None
        self.is_over = False
        thread = threading.Thread(target=self._ask, name="sidecar-asking", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process is at its limit of threads
            self._ask()

    def _ask(self) -> None:
        try:
            self._answers.append(self._question())
        except BaseException as error:  # noqa: BLE001 - it is raised again by who wants the answer
            self._error = error
        finally:
            self.is_over = True
            self._over()

    def answer(self) -> Answer:
        """Return the answer once it is over, or raise what was raised."""
        if self._error is not None:
            raise self._error
        return self._answers[0]
