"""What may be asked of the sidecar, by whom, and what it answers. No sockets: those are in ``admin``.

A table from paths to routes. Whoever adds a question adds a line. A listener hands in the routes that
it offers, and for each request who asks; it gets the answer to send.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from secretbridge._tally import process

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "Answer",
    "Asked",
    "Peer",
    "Question",
    "Route",
    "Routes",
    "Standing",
    "for_monitors",
    "respond",
    "routes",
]


class Standing(IntEnum):
    """What somebody is to the sidecar; whoever is more may ask for whatever those below may."""

    STRANGER = 0
    MONITOR = 1
    """May ask whether all is well, and for figures; is told no name and no reference."""
    READER = 2
    """A member of the socket's group: may look, and acknowledge."""
    OPERATOR = 3
    """Root, or the sidecar's own user: may also change what the sidecar does."""


class Peer(NamedTuple):
    """Who asks, as the kernel says. None where there is no kernel to say it (TCP)."""

    standing: Standing
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None


class Question(NamedTuple):
    """One request. ``path`` comes without a query."""

    method: str
    path: str
    peer: Peer
    body: bytes = b""

    def fields(self) -> dict[str, Any]:
        """Return the body, which is a JSON object. Raises ValueError for anything else."""
        found = json.loads(self.body or b"{}")
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found


class Answer(NamedTuple):
    """What is sent back: a status of HTTP, and a body of ``kind``."""

    status: int
    body: bytes
    kind: str = "application/json"

    @classmethod
    def of(cls, status: int, body: Mapping[str, object]) -> Self:
        """Return an answer in JSON."""
        return cls(status, json.dumps(body, default=str).encode() + b"\n")


class Route(NamedTuple):
    """``answer`` is called in a thread of the listener, for ``method`` and for ``who`` or more."""

    method: str
    who: Standing
    answer: Callable[[Question], Answer]


Routes = Mapping[str, Route]

_WHO = {
    Standing.READER: "root, the user of the sidecar and the group of its socket",
    Standing.OPERATOR: "root and the user of the sidecar",
}


def respond(offered: Routes, question: Question) -> Answer:
    """Return the answer to ``question``, or why there is none."""
    if question.peer.standing is Standing.STRANGER:
        process.add("denied", "socket_peer")
        return Answer.of(403, {"error": "this user may not ask"})
    route = offered.get(question.path)
    if route is None:
        return Answer.of(404, {"error": f"ask for one of {', '.join(sorted(offered))}"})
    if question.method != route.method:
        return Answer.of(405, {"error": f"{question.path} is for {route.method}"})
    if question.peer.standing < route.who:
        process.add("denied", "socket_peer")
        return Answer.of(403, {"error": f"only {_WHO[route.who]} may ask for this"})
    return route.answer(question)


def for_monitors(offered: Routes) -> dict[str, Route]:
    """Return those of the routes that say nothing by name."""
    return {path: route for path, route in offered.items() if route.who <= Standing.MONITOR}


class Asked(Protocol):
    """Who knows the answers."""

    def health(self) -> dict[str, Any]:
        """Return what is ready and what is wrong."""

    def stores(self) -> list[dict[str, object]]:
        """Return who each store takes us for."""

    def hardening(self) -> dict[str, object]:
        """Return what the kernel enforces on this process."""


def routes(asked: Asked) -> dict[str, Route]:
    """Return what ``asked`` answers on the admin socket."""

    def alive(question: Question) -> Answer:
        return Answer.of(200, {"alive": True})

    def ready(question: Question) -> Answer:
        health = asked.health()
        problems = health["problems"]
        if question.peer.standing < Standing.READER:
            problems = len(problems)
        shown = {"ready": health["ready"], "problems": problems}
        return Answer.of(200 if health["ready"] else 503, shown)

    def metrics(question: Question) -> Answer:
        try:
            from .metrics import exposition  # 2 MB and 25 ms, which most have no use for
        except ModuleNotFoundError:
            error = "metrics need prometheus-client: pip install 'secretbridge[sidecar]'"
            return Answer.of(501, {"error": error})
        return exposition(asked)

    def status(question: Question) -> Answer:
        told = {"stores": asked.stores(), "hardening": asked.hardening()}
        return Answer.of(200, {**asked.health(), **told})

    return {
        "/healthz": Route("GET", Standing.MONITOR, alive),
        "/metrics": Route("GET", Standing.MONITOR, metrics),
        "/readyz": Route("GET", Standing.MONITOR, ready),
        "/status": Route("GET", Standing.READER, status),
    }
