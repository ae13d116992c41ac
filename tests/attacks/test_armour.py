"""Each guard of the transport: first the library as it comes falls, then ours holds.

docs/explanation/transport.md has the table of guards, and names this test for each of them. What a
library does by itself may change with its versions: when it does not fall any more, it has learnt
something, and its name goes from the attack.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest
from hvac.exceptions import VaultError

from secretbridge.backends import Deadline, backend_class, backend_names
from secretbridge.backends._vault_aws import signed_identity
from secretbridge.errors import SecretBridgeError
from tests.servers import hostile
from tests.servers.certificates import Authority
from tests.servers.hostile import HostileServer, response
from tests.servers.stands import STANDS, VaultStand, stand

from .armour import ATTACKS, VALUE, World
from .clients import BARE, OURS, TOKEN, Target, through_backend, through_hvac

FALLING = [(name, library) for name, attack in ATTACKS.items() for library in attack.falls]
HOLDING = [
    (name, way)
    for name, attack in ATTACKS.items()
    for way, (kind, _) in OURS.items()
    if kind in STANDS and kind not in attack.spares
]

pytestmark = [
    # Libraries show here what they show, and old TLS is what it is.
    pytest.mark.reveals_secrets,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Unverified HTTPS request"),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def world(
    tmp_path: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., World]]:
    opened: list[Any] = []

    def make(kind: str, attack: str, **options: Any) -> World:
        context = stand(kind)
        store = context.__enter__()
        opened.append(context)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.ca_file))
        store.put(VALUE)
        made = World(store, tmp_path, authority, monkeypatch, caplog, capsys, options)
        tls = ATTACKS[attack].tls
        if tls is not None:
            store.gate.speak_tls(tls(made))
        return made

    yield make
    for context in opened:
        context.__exit__(None, None, None)


@pytest.mark.parametrize(("name", "library"), FALLING, ids=str)
def test_the_library_as_it_comes_falls(
    world: Callable[..., World], name: str, library: str
) -> None:
    kind, client = BARE[library]
    made = world(kind, name, **ATTACKS[name].falls[library])
    if isinstance(made.store, VaultStand):
        made.store.know(TOKEN)
    assert ATTACKS[name].trap(made, client), f"it held, with {made.outcome!r}"


@pytest.mark.parametrize(("name", "way"), HOLDING, ids=str)
def test_ours_holds(world: Callable[..., World], name: str, way: str) -> None:
    kind, client = OURS[way]
    made = world(kind, name)
    assert not ATTACKS[name].trap(made, client), f"it fell, with {made.outcome!r}"
    if "value" in ATTACKS[name].holds_with:
        assert made.outcome == VALUE
    else:
        kinds = (SecretBridgeError, VaultError) if client is through_hvac else SecretBridgeError
        assert isinstance(made.outcome, kinds), repr(made.outcome)


def test_every_guard_of_the_page_has_its_attack_and_every_attack_its_guard() -> None:
    page = (Path(__file__).parents[2] / "docs/explanation/transport.md").read_text()
    table = page.partition("| attack |")[2].partition("\n\n")[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in table] == list(ATTACKS)
    for name in re.findall(r"`(test_\w+)`", page):
        assert name in globals()


# Where AWS's credentials come from ---------------------------------------------------------------


def metadata_service(connection: hostile.Connection) -> None:
    """Answer as an instance does that has a role."""
    while head := connection.read_request():
        path = head.split(b" ")[1].rpartition(b"/latest/")[2]
        if path == b"api/token":
            connection.send(response("canary-metadata-token"))
        elif path.endswith(b"security-credentials/"):
            connection.send(response("app-role"))
        else:
            keys = {"AccessKeyId": "AKIAEXAMPLE1", "SecretAccessKey": "x", "Token": TOKEN}
            life = {"Code": "Success", "Expiration": "2099-01-01T00:00:00Z"}
            connection.send(response({**keys, **life}))


@pytest.fixture
def instance(world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> World:
    """A machine that gets its credentials from the metadata service alone."""
    made = world("aws-sm", "a proxy of the environment")
    (made.store.folder / "credentials").unlink()
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    return made


def test_the_metadata_service_is_not_asked_through_a_proxy(
    instance: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.session import Session

    with HostileServer(metadata_service) as service, HostileServer(metadata_service) as proxy:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.address)
        monkeypatch.setenv("http_proxy", proxy.address)
        found = Session().get_credentials()
        assert found is not None
        assert found.token == TOKEN
        assert proxy.heads, "botocore asked through the proxy"
        assert not service.heads

        proxy.heads.clear()
        assert through_backend(Target(instance.store)) == VALUE
        assert signed_identity("eu-west-1", None, Deadline(20))
        assert service.heads
        assert not proxy.heads


def test_a_metadata_service_that_drips_ends_with_the_deadline(
    instance: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.session import Session

    with HostileServer(hostile.drip(response("x" * 300), 0.01)) as service:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.address)
        start = time.monotonic()
        assert Session().get_credentials() is None
        assert time.monotonic() - start > 3.0, "a timeout of a second did not end the two requests"

        start = time.monotonic()
        with pytest.raises(SecretBridgeError):
            through_backend(Target(instance.store, seconds=0.5))
        assert time.monotonic() - start < 1.5


def test_no_key_of_a_store_switches_verifying_off() -> None:
    for backend in backend_names():
        keys = backend_class(backend).options_model().model_fields
        assert not [key for key in keys if re.search("verif|insecure|skip|trust", key)]


def test_an_address_and_a_token_of_the_environment_are_not_used(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world("vault", "a proxy of the environment")
    with HostileServer(hostile.answer(made.planted())) as stranger:
        monkeypatch.setenv("VAULT_ADDR", stranger.address)
        monkeypatch.setenv("VAULT_TOKEN", TOKEN)
        monkeypatch.setenv("VAULT_NAMESPACE", "elsewhere")
        assert hvac.Client().read("kv/data/app/db") is not None
        assert any(TOKEN.encode() in head for head in stranger.heads)

        stranger.heads.clear()
        for client in (through_backend, through_hvac):
            assert client(Target(made.store)) == VALUE
        assert not stranger.heads
        for head in made.store.gate.heads:
            assert TOKEN.encode() not in head
            assert b"x-vault-namespace" not in head.lower()
