"""Who is told when a value changes."""

from __future__ import annotations

from .document import Document, select_held
from .errors import SecretBridgeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._protected import Protected
    from .reference import Reference
    from .secret import Secret

__all__ = ["Subscriber"]


class Subscriber:
    """One ``on_change``: remembers the value that its callback was last told, to skip the same again."""

    __slots__ = ("_last", "callback", "key", "reference")

    def __init__(
        self, key: str, reference: Reference, callback: Callable[[Secret], object]
    ) -> None:
        self.key = key
        self.reference = reference
        self.callback = callback
        self._last: Protected | None = None

    def is_news(self, document: Document) -> bool:
        """Whether ``document`` holds another value than the last one, which is remembered now.

        The first value ever seen is no change; neither is another field of the same document.
        """
        try:
            value = select_held(document, self.reference)
        except SecretBridgeError:
            return False
        last, self._last = self._last, value
        return last is not None and last != value

    def call(self, secret: Secret) -> None:
        """Run the callback; one that raises is reported and disturbs nobody."""
        try:
            self.callback(secret)
        except Exception as error:  # noqa: BLE001 - the application's callback may raise anything
            from logging import getLogger

            # The type alone: the text and the frames of an application's error may hold the value.
            getLogger("secretbridge").error(
                "the on_change callback of %s raised %s", self.key, type(error).__name__
            )
