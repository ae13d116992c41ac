"""What follows a publication, and what can hold one back: telling, handing over, a step back, a stop.

The order is: fetch all, render all, validate, publish (all of that elsewhere), and then here: tell the
hooks, and when the grace is over and the consumers have acknowledged, give back what was replaced.
All of this runs in the main thread but for acknowledgements and the questions of the admin socket.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from .asking import Asking
from .frozen import Frozen, forget, recall, remember
from .handover import Acknowledged, AckRefused, Handovers, Unwanted
from .history import History, NoWayBack
from .notify import News, Notifier
from .orders import Orders
from .previous import PreviousFiles
from .routes import Answer, Question, Route, Standing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from secretbridge.generation.layout import FileSpec
    from secretbridge.generation.writer import Published
    from secretbridge.secret import Secret

    from .handover import Handover
    from .log import Log
    from .routes import Peer
    from .setup import Prepared, Setup
    from .target import Target
    from .wake import Wake

__all__ = ["Rotation"]

_LAST = 1.2
"""Seconds that hooks have to end in, together with the brokers. The whole end is to take two."""


class Rotation:
    """The rotation of one target, with the configuration ``setup`` at first."""

    def __init__(self, setup: Setup, target: Target, log: Log, wake: Wake) -> None:
        sidecar = setup.sidecar
        self._setup = setup
        self._target = target
        self._log = log
        self._wake = wake
        self.orders = Orders(wake.poke)
        self.frozen: Frozen | None = None if target.current() is None else recall(target.path)
        if self.frozen is not None:
            log.warning("still frozen", **self.frozen._asdict())
        self._notifier = Notifier(sidecar.on_change, log, wake.poke)
        self._handovers = Handovers(sidecar, target.current)
        self._previous = PreviousFiles(sidecar.files)
        self._history = History(str(sidecar.target))
        self._newest: str | None = None
        """The generation that changed something last."""
        self._is_given_back = False
        """Whether what the generation before that needs has been given back."""
        self._known: Mapping[str, Secret] = {}
        self._known_before: list[Secret] = []
        """The values that are published and that were before: what exists is masked in output."""
        self._former: list[Setup] = []
        """Former configurations, whose leases are in the files that are published."""
        self._closing: list[Asking[None]] = []
        """Brokers that are being closed: each may wait for its stores, and we wait for signals."""

    def configure(self, setup: Setup) -> None:
        """Go on with another configuration, once its files are published."""
        self._former.append(self._setup)
        self._setup = setup
        self._notifier.configure(setup.sidecar.on_change)
        self._handovers.configure(setup.sidecar)
        self._previous.configure(setup.sidecar.files)

    # Publishing ----------------------------------------------------------------------------------

    def beside(self, files: Sequence[FileSpec]) -> list[FileSpec]:
        """Return what has to be published when these ``files`` are: former contents, too."""
        return self._previous.beside(files)

    def previous_names(self) -> frozenset[str]:
        """Return the names that former contents have, whether or not they are there."""
        return self._previous.names()

    def published(self, prepared: Prepared, published: Published) -> None:
        """Note that the files of ``prepared`` stand in the target."""
        unwanted = Unwanted(prepared.replaced - self._handovers.leases(), tuple(self._former))
        self._former.clear()
        if not published.unchanged or not self._known:
            secrets = prepared.secrets
            self._known_before = [s for n, s in self._known.items() if secrets.get(n) != s]
            self._known = secrets
        self._follow(prepared.files, published, unwanted)

    def _follow(self, files: Sequence[FileSpec], published: Published, unwanted: Unwanted) -> None:
        beside = self._previous.names()
        changed = tuple(name for name in published.changed if name not in beside)
        removed = tuple(name for name in published.removed if name not in beside)
        touched = frozenset((*changed, *removed))
        generation = published.generation
        self._history.published(files, generation, touched)
        self._previous.published(files, generation)
        if touched:
            self._newest, self._is_given_back = generation, False
            target = str(self._setup.sidecar.target)
            self._notifier.tell(News(target, generation, changed, removed))
        self._handovers.begin(generation, touched, unwanted)

    # Afterwards ----------------------------------------------------------------------------------

    def step(self) -> float | None:
        """Do what is due. Returns the seconds until there is more to do, or None."""
        times = [self._notifier.run_due()]
        if self.frozen is None:  # else somebody may want to go back to what would be released
            for handover in self._handovers.finished():
                self._release(handover)
            times.append(self._handovers.next_time())
        self._closing = [each for each in self._closing if not each.is_over]
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _release(self, handover: Handover) -> None:
        leases, setups = handover.unwanted
        for broker in {broker for broker, _ in leases}:
            broker.give_back([lease for its, lease in leases if its is broker])
        self._closing += [Asking(setup.broker.close, self._wake.poke) for setup in setups]
        if leases or setups:
            self._is_given_back |= handover.generation == self._newest
            self._log.info("gave back what was replaced", generation=handover.generation)
        names = self._handovers.missed(handover)
        if names:
            self._log.warning(
                "not acknowledged in time", generation=handover.generation, consumers=names
            )
        if self._previous.drop(handover.generation):
            self._wake.set()  # publish without it

    # Orders --------------------------------------------------------------------------------------

    def routes(self) -> dict[str, Route]:
        """Return what may be wanted of the sidecar on its socket."""
        orders = {
            "/freeze": self._freeze,
            "/unfreeze": self._unfreeze,
            "/rollback": self._roll_back,
        }

        def order(question: Question) -> Answer:
            return self.orders.give(partial(orders[question.path], question.peer))

        return {
            "/ack": Route("POST", Standing.READER, self._acknowledge),
            **{path: Route("POST", Standing.OPERATOR, order) for path in orders},
        }

    def _acknowledge(self, question: Question) -> Answer:
        try:
            fields = question.fields()
            consumer, generation = fields["consumer"], fields["generation"]
            if not (isinstance(consumer, str) and isinstance(generation, str)):
                raise ValueError("no text")
        except (ValueError, KeyError, RecursionError):
            return Answer.of(400, {"error": 'send {"generation": "..gen-...", "consumer": "NAME"}'})
        peer = question.peer
        said = Acknowledged(generation, time.time(), peer.pid, peer.uid, peer.gid)
        is_operator = peer.standing is Standing.OPERATOR
        try:
            self._handovers.acknowledge(consumer, said, is_operator=is_operator)
        except AckRefused as refused:
            return Answer.of(refused.status, {"error": str(refused)})
        self._log.info("acknowledged", consumer=consumer, generation=generation, uid=peer.uid)
        self._wake.poke()
        return Answer.of(200, {"acknowledged": generation, "consumer": consumer})

    def _freeze(self, peer: Peer) -> Answer:
        if self.frozen is None:
            self._stop_publishing(peer, "freeze")
            self._log.warning("frozen", uid=peer.uid, generation=self._target.generation)
        return Answer.of(200, {"frozen": True, "generation": self._target.generation})

    def _unfreeze(self, peer: Peer) -> Answer:
        if self.frozen is not None:
            self.frozen = None
            forget(self._target.path)
            self._log.warning("unfrozen", uid=peer.uid)
            self._wake.set()
        return Answer.of(200, {"frozen": False, "generation": self._target.generation})

    def _roll_back(self, peer: Peer) -> Answer:
        try:
            going_on = self._handovers.going_on()
            if self._is_given_back or not all(each.unwanted.is_whole for each in going_on):
                raise NoWayBack("credentials of the former generation were given back already")
            files = self._history.former()
        except NoWayBack as error:
            self._log.error("not rolled back", uid=peer.uid, reason=str(error))
            return Answer.of(409, {"error": str(error)})
        published = self._target.publish(self._previous.beside(files), self._setup.config)
        if published is None:
            return Answer.of(503, {"error": self._target.problem})
        self._stop_publishing(peer, "rollback")
        # What the former generation needs must live for as long as that is the one in use.
        self._former += self._handovers.interrupt()
        self._follow(files, published, Unwanted())
        done = {
            "generation": published.generation,
            "files": [*published.changed, *published.removed],
        }
        self._log.warning("rolled back", uid=peer.uid, **done)
        return Answer.of(200, {"frozen": True, **done})

    def _stop_publishing(self, peer: Peer, after: str) -> None:
        self.frozen = Frozen(time.time(), peer.uid, after)
        reason = remember(self._target.path, self.frozen)
        if reason is not None:
            self._log.warning("frozen until a restart only", reason=reason)

    # What is going on ----------------------------------------------------------------------------

    def problems(self) -> dict[str, str]:
        """Return what is not as it should be, by name. None of it makes the files bad."""
        problems = {**self._notifier.problems(), **self._handovers.problems()}
        frozen = self.frozen
        if frozen is not None:
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(frozen.since))
            problems["frozen"] = f"nothing new is published since {since} ({frozen.after})"
        return problems

    def health(self) -> dict[str, object]:
        """Return hooks, transitions and consumers for the status."""
        frozen = self.frozen
        return {
            "frozen": None if frozen is None else frozen._asdict(),
            "hooks": self._notifier.rows(),
            "handovers": self._handovers.rows(),
            "consumers": self._handovers.consumers(),
        }

    # The end -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin nothing more, and end programs that run. Returns at once."""
        self._notifier.stop()

    def close(self, *, keep_leases: bool) -> None:
        """Close all brokers; those whose leases nobody can need any more give them back.

        ``keep_leases``: what is published is used on, so what it holds has to stay valid.
        """
        brokers = {
            setup.broker: keep_leases and self._handovers.is_waited_for(handover)
            for handover in self._handovers.going_on()
            for setup in handover.unwanted.setups
        }
        brokers |= {setup.broker: keep_leases for setup in (*self._former, self._setup)}
        end = time.monotonic() + _LAST
        # All at once, because each may wait for its stores as long as there is time at all.
        self._closing += [
            Asking(partial(broker.close, keep_leases=keeps), self._wake.poke)
            for broker, keeps in brokers.items()
        ]
        while not all(each.is_over for each in self._closing):
            self._wake.pause()
        self._notifier.join(max(0.1, end - time.monotonic()))
        for each in self._closing:
            each.answer()
