"""Shows one application with three stores: an encrypted file, Docker's secret files, and Vault.

Each store gets a key of its own. The application runs three times with nothing but the name of its
configuration changed, and its signature tells whether the right key has reached it.

The Vault is a real one in dev mode when `bao` or `vault` is on the PATH, else a server in this process.
Everything happens in a private directory in memory, which is removed at the end.
"""

import hmac
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secretbridge.backends.local import LocalStore, create_key_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # the Vaults belong to the tests of this repository

ORDER = "order 4711: 3 umbrellas"
ADDRESS = "http://127.0.0.1:8200"
"""What stands in vault.yaml; the server is given a port that is free."""


def main() -> int:
    # As an exception it lets every `with` block below end what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("The same application, three stores. Only the configuration differs.\n")
    show(HERE / "app.py")
    with tempfile.TemporaryDirectory(prefix="secretbridge-three-stores.", dir=memory()) as name:
        place = Path(name)
        results = [embedded(place), docker(place), vault(place)]
    left = f"This is left behind: {place}" if place.exists() else "Nothing is left behind."
    print(f"{sum(results)} of 3 signatures are right. {left}")
    return 0 if all(results) and not place.exists() else 1


def embedded(place: Path) -> bool:
    account = new_account()
    create_key_file(place / "key")
    store = LocalStore.create(place / "secrets.sbx", key_file=place / "key")
    store.set("partner/user", account["user"].encode())
    store.set("partner/key", account["key"].encode())
    return run(place, "1. The embedded store: one encrypted file", "embedded.yaml", account)


def docker(place: Path) -> bool:
    account = new_account()
    mounted = place / "run" / "secrets"  # Docker and Swarm mount one file for each secret
    mounted.mkdir(parents=True)
    for field, value in account.items():
        (mounted / f"partner_{field}").write_text(value)
    return run(place, "2. Secret files as Docker mounts them", "docker.yaml", account)


def vault(place: Path) -> bool:
    account = new_account()
    with running_vault() as (kind, address, token, put):
        put("kv/partner/account", account)
        (place / "vault-token").touch(0o600)
        (place / "vault-token").write_text(token)
        return run(place, f"3. {kind}", "vault.yaml", account, address=address)


@contextmanager
def running_vault() -> Iterator[tuple]:
    from tests.servers.bao import find_binary, real_vault
    from tests.servers.vault import VaultServer

    binary = find_binary()
    if binary is not None:
        with real_vault(binary) as server:
            yield f"A real Vault: {binary}, in dev mode", server.address, server.token, server.put
    else:
        with VaultServer() as server:
            kind = "A Vault in this process, as neither bao nor vault is on the PATH"
            yield kind, server.address, server.token, server.put


def run(
    place: Path, title: str, config: str, account: dict[str, str], address: str = ADDRESS
) -> bool:
    """Run the application with ``config`` and tell whether it signs with the key of ``account``."""
    print(title)
    text = (HERE / config).read_text()
    (place / config).write_text(text.replace(ADDRESS, address))
    show(place / config)
    environment = {"PATH": os.defpath, "HOME": str(place), "SECRETBRIDGE_CONFIG": config}
    print(f"   $ SECRETBRIDGE_CONFIG={config} python app.py")
    result = subprocess.run(
        [sys.executable, str(HERE / "app.py")],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    message = f"{account['user']}, {ORDER}"
    signature = hmac.new(account["key"].encode(), message.encode(), "sha256").hexdigest()
    is_right = result.stdout == f"signed: {signature}\n"
    print(indented(result.stdout + result.stderr))
    print("   ok: signed with what this store holds\n" if is_right else "   FAILED\n")
    return is_right


def new_account() -> dict[str, str]:
    return {"user": f"user-{secrets.token_hex(3)}", "key": secrets.token_urlsafe(32)}


def memory() -> str:
    """Return a directory on a tmpfs: the Docker files hold values in clear."""
    for path in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if path and os.access(path, os.W_OK):
            return path
    sys.exit("neither $XDG_RUNTIME_DIR nor /dev/shm can be written: there is no memory to work in")


def show(path: Path) -> None:
    print(f"   $ cat {path.name}\n{indented(path.read_text())}\n")


def indented(text: str) -> str:
    return "\n".join(f"     {line}".rstrip() for line in text.rstrip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
