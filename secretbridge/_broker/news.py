"""Listening to stores that tell what has changed."""

from __future__ import annotations

from ..errors import SecretBridgeError
from .log import report
from .spawn import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..backends import Backend
    from ..reference import DocumentId

__all__ = ["News"]


class News:
    """One listening thread for each store in use whose backend has news to tell.

    ``known`` returns the documents of a store; ``changed`` is told which of them may have a newer
    version; ``is_over`` says whether to stop.
    """

    def __init__(
        self,
        backend: Callable[[str, str], Backend],
        known: Callable[[str], Iterable[DocumentId]],
        changed: Callable[[Sequence[DocumentId]], None],
        is_over: Callable[[], bool],
    ) -> None:
        self._backend = backend
        self._known = known
        self._changed = changed
        self._is_over = is_over
        self._listening: dict[str, str] = {}

    def listen(self, store: str, scheme: str) -> None:
        """Have news of ``store`` listened to, if its backend can, in a thread. Driver's lock held."""
        if self._is_over() or store in self._listening:
            return
        self._listening[store] = scheme
        self._start(store, scheme)

    def start_over(self) -> None:
        """Listen again where the parent of this process did."""
        for store, scheme in list(self._listening.items()):
            self._start(store, scheme)

    def _start(self, store: str, scheme: str) -> None:
        if start_thread(self._hear, "news", store, scheme) is None:
            del self._listening[store]  # the refresh interval goes on without news

    def _hear(self, store: str, scheme: str) -> None:
        try:
            backend = self._backend(store, scheme)
            if getattr(backend, "pushes", False):
                changes = getattr(backend, "changes")  # noqa: B009 - optional in the protocol
                changes(self._is_over, lambda news: self._heard(store, backend, news))
        except SecretBridgeError as error:
            # The refresh interval goes on without news: slower, not wrong.
            report(f"store {store}: no news any more ({error.message})")
        except Exception as error:  # noqa: BLE001 - a plugin's bug must not end the process
            report(f"store {store}: no news any more ({type(error).__name__})")

    def _heard(self, store: str, backend: Backend, news: Sequence[str]) -> None:
        concerns = getattr(backend, "concerns")  # noqa: B009 - optional in the protocol
        ids = [
            id
            for id in self._known(store)
            if any(concerns(id.locator, changed) for changed in news)
        ]
        if ids:
            self._changed(ids)
