"""What a broker does at its stores, as events."""

from __future__ import annotations

from secretbridge import Broker
from secretbridge.audit import AuditLog, Keys, LogWitness
from secretbridge.audit.witness import reason_of
from secretbridge.errors import AccessDenied, BackendUnavailable, VersionMissing
from secretbridge.testing import FakeBackend

from .places import KEY, Memory


def short(sink: Memory) -> list[tuple[object, object, object]]:
    return [(told["event"], told["outcome"], told.get("reason_code")) for told in sink.told()[1:]]


def broker_on(store: FakeBackend) -> tuple[Broker, Memory]:
    sink = Memory()
    witness = LogWitness(AuditLog(sink, Keys(KEY)))
    return Broker({"fake": store}, {"db": "fake:app/db"}, witness=witness), sink


def test_looking_up_is_told_with_what_it_came_to() -> None:
    store = FakeBackend()
    broker, sink = broker_on(store)
    with broker:
        store.put("app/db", "hunter2-one")
        broker.get("db")
        broker.get("db")  # from memory: no event, and no cost
        broker.refresh(timeout=20)
        store.put("app/db", "hunter2-two")
        broker.refresh(timeout=20)
        store.deny("app/db")
        broker.refresh(timeout=20)
    assert short(sink) == [
        ("resolve", "success", "new"),
        ("resolve", "success", "unchanged"),
        ("resolve", "success", "changed"),
        ("rotate", "success", None),
        ("deny", "denied", "access_denied"),
    ]
    first = sink.told()[1]
    keys = Keys(KEY)
    assert first["reference_id"] == keys.identify("fake:app/db")
    assert first["backend_version"] == keys.identify("1")
    assert first["provider"] == "fake"
    assert b"hunter2" not in b"".join(sink.lines)


def test_a_lease_that_is_given_back_at_the_end_is_told() -> None:
    store = FakeBackend()
    broker, sink = broker_on(store)
    with broker:
        store.put("app/db", "hunter2-one")
        store.lease("app/db", 600.0)
        broker.get("db")
    assert short(sink)[-1] == ("revoke", "success", None)
    assert sink.told()[1]["lease_ttl"] == 600.0
    assert sink.told()[-1]["reference_id"] == Keys(KEY).identify(store.revoked[0])


def test_a_witness_that_fails_keeps_nobody_from_the_value() -> None:
    class Careless:
        def fetched(self, *_: object) -> None:
            raise RuntimeError("no")

        def revoked(self, *_: object) -> None:
            raise RuntimeError("no")

    store = FakeBackend()
    store.put("app/db", "hunter2-one")
    store.lease("app/db", 600.0)
    with Broker({"fake": store}, {"db": "fake:app/db"}, witness=Careless()) as broker:
        assert broker.get("db").reveal() == "hunter2-one"


def test_reasons_are_the_names_of_errors() -> None:
    assert reason_of(AccessDenied("x")) == "access_denied"
    assert reason_of(BackendUnavailable("x")) == "backend_unavailable"
    assert reason_of(VersionMissing("x")) == "version_missing"
