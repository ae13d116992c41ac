"""New secrets: every store that takes them keeps what it has, and gives back only what is ours."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from secretbridge.backends import Deadline, Occupied
from secretbridge.backends.aws import SecretsManagerBackend
from secretbridge.backends.local import LocalBackend, LocalStore, create_key_file
from secretbridge.backends.vault import VaultBackend
from secretbridge.config import StoreConfig
from secretbridge.document import Document, select
from secretbridge.errors import ConfigError, IntegrityError, SecretDeleted, SecretMissing
from secretbridge.migrate._tree import Tree
from secretbridge.migrate.apply import apply
from secretbridge.migrate.edits import Change
from secretbridge.migrate.journal import State
from secretbridge.migrate.plan import Plan, PlannedSecret, Settings
from secretbridge.migrate.rollback import roll_back
from secretbridge.migrate.stores import Target
from secretbridge.reference import Reference
from tests.servers.aws import REGION, clean_environment
from tests.servers.bao import find_binary, real_vault
from tests.servers.vault import VaultServer

VALUE = b"kestrel-Orbit-7741"


class Store:
    """One kind of store: its client, its options, and what a reference to it looks like."""

    def __init__(self, scheme: str, kind: type, options: dict[str, object], prefix: str) -> None:
        self.scheme = scheme
        self.options = options
        self.prefix = prefix
        self.selector = "#value" if scheme == "vault" else ""
        self.backend = kind.create(scheme, options)

    def locator(self) -> str:
        return f"{self.prefix}t-{uuid4().hex[:12]}"

    def read(self, locator: str) -> bytes | Exception:
        reference = Reference.parse(f"{self.scheme}:{locator}{self.selector}")
        [outcome] = self.backend.fetch([reference.document], Deadline(20))
        return select(outcome, reference) if isinstance(outcome, Document) else outcome


@pytest.fixture(scope="module")
def bao():
    if find_binary() is None:
        pytest.skip("neither bao nor vault on the PATH, and SECRETBRIDGE_VAULT_BIN is not set")
    with real_vault() as server:
        yield server


@pytest.fixture
def stand_in():
    with VaultServer() as server:
        yield server


@pytest.fixture(params=["local", "vault", "a real vault", "aws-sm"])
def store(
    request: pytest.FixtureRequest, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    clean_environment(monkeypatch)
    if request.param == "local":
        create_key_file(tmp_path / "key")
        LocalStore.create(tmp_path / "s.sbx", key_file=tmp_path / "key")
        options = {"path": str(tmp_path / "s.sbx"), "key_file": str(tmp_path / "key")}
        made = Store("local", LocalBackend, options, "app/")
    elif request.param == "aws-sm":
        url = request.getfixturevalue("moto")
        url = url if isinstance(url, str) else url.url
        options = {"region": REGION, "endpoint_url": url}
        made = Store("aws-sm", SecretsManagerBackend, options, "app/")
    else:
        is_real = request.param == "a real vault"
        server = request.getfixturevalue("bao" if is_real else "stand_in")
        auth = {"method": "token", "token_file": server.write_token_file(tmp_path / "token")}
        options = {"address": server.address, "auth": auth}
        made = Store("vault", VaultBackend, options, "kv/")
    yield made
    made.backend.close()


def test_a_new_secret_can_be_read(store: Store) -> None:
    locator = store.locator()
    version = store.backend.put_new(locator, VALUE, Deadline(20))
    assert version
    assert store.read(locator) == VALUE


def test_what_is_there_is_kept(store: Store) -> None:
    locator = store.locator()
    store.backend.put_new(locator, VALUE, Deadline(20))
    with pytest.raises(Occupied) as caught:
        store.backend.put_new(locator, b"another-Value-1", Deadline(20))
    assert caught.value.hint
    assert store.read(locator) == VALUE


def test_what_was_put_can_be_taken_back_and_put_again(store: Store) -> None:
    locator = store.locator()
    version = store.backend.put_new(locator, VALUE, Deadline(20))
    assert store.backend.withdraw(locator, version, Deadline(20)) is True
    assert isinstance(store.read(locator), SecretMissing | SecretDeleted)
    assert store.backend.withdraw(locator, version, Deadline(20)) is False
    store.backend.put_new(locator, b"second-Value-2", Deadline(20))
    assert store.read(locator) == b"second-Value-2"


def test_another_version_is_not_taken_back(store: Store) -> None:
    locator = store.locator()
    version = store.backend.put_new(locator, VALUE, Deadline(20))
    other = str(uuid4()) if store.scheme == "aws-sm" else str(int(version) + 1)
    assert store.backend.withdraw(locator, other, Deadline(20)) is False
    assert store.read(locator) == VALUE


def test_taking_back_what_never_was_is_nothing(store: Store) -> None:
    absent = str(uuid4()) if store.scheme == "aws-sm" else "1"
    assert store.backend.withdraw(store.locator(), absent, Deadline(20)) is False


def test_a_migration_stores_verifies_and_takes_back(store: Store, tmp_path) -> None:
    prefix = store.locator()
    root = tmp_path / "project"
    root.mkdir()
    (root / ".env").write_bytes(b"A=1\nPW=x\n")
    settings = Settings(store=store.scheme, backend=store.scheme, prefix=prefix)
    names = ["one", "two"]
    secrets = tuple(
        PlannedSecret(n, f"{store.scheme}:{prefix}/{n}{store.selector}", f"f-{n}", ())
        for n in names
    )
    values = {"one": VALUE, "two": b'{"json": "is a text as well"}\n'}
    plan = Plan(
        str(root),
        settings,
        secrets,
        changes=(Change(".env", b"A=1\nPW=x\n", b"A=1\n"),),
        values=values,
    )
    target = Target(settings, StoreConfig(store.scheme, store.scheme, store.options))
    tree, state = Tree(str(root)), State(tmp_path / "state")
    try:
        done = apply(plan, tree, target, state)
        assert done.stored == ("one", "two")
        assert store.read(f"{prefix}/two") == values["two"]
        journal = state.latest(str(root))
        assert journal is not None
        again = Target.recorded(settings, journal.of("begin")[0]["store"])
        undone = roll_back(journal, tree, again)
        again.close()
        assert len(undone.withdrawn) == 2
        assert isinstance(store.read(f"{prefix}/one"), SecretMissing | SecretDeleted)
        assert (root / ".env").read_bytes() == b"A=1\nPW=x\n"

        store.backend.put_new(f"{prefix}/two", b"somebody-elses-9", Deadline(20))
        with pytest.raises(IntegrityError, match="another value"):
            apply(plan, tree, target, state)
        assert store.read(f"{prefix}/two") == b"somebody-elses-9"
        assert isinstance(store.read(f"{prefix}/one"), SecretMissing | SecretDeleted)
        assert (root / ".env").read_bytes() == b"A=1\nPW=x\n"
    finally:
        target.close()


def test_vault_takes_texts_alone(tmp_path) -> None:
    with VaultServer() as server:
        auth = {"method": "token", "token_file": server.write_token_file(tmp_path / "token")}
        backend = VaultBackend.create("vault", {"address": server.address, "auth": auth})
        with pytest.raises(ConfigError, match="no UTF-8"):
            backend.put_new("kv/x", b"\xff\xfe\x00", Deadline(20))
        backend.close()


def test_a_store_that_cannot_be_written_to_says_so(tmp_path) -> None:
    target = Target(Settings(), StoreConfig("file", "file", {"roots": [str(tmp_path)]}))
    with pytest.raises(ConfigError, match="cannot be written to"):
        target.put("file:x", VALUE)
