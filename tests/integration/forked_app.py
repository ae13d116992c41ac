"""What gunicorn preloads in tests: one broker, made and used before the workers are forked.

Each worker reads COUNT secrets of each store, which nobody has cached, from four threads at once, and
notes in the folder OUT what it got. While they do so the parent goes on reading, over the connections
that it had before. Subscriptions are the parent's too; each worker notes what it is told.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import secretbridge

OUT = Path(os.environ["FORKED_OUT"])
COUNT = int(os.environ["FORKED_COUNT"])
REFERENCES = {
    "vault-plain": "vault://vault-plain/kv/app/{}#password",
    "vault-tls": "vault://vault-tls/kv/app/{}#password",
    "aws-plain": "aws-sm://aws-plain/app/{}",
    "aws-tls": "aws-sm://aws-tls/app/{}",
}


def expected(store: str, name: str) -> str:
    return f"value of {name} in {store}"


broker = secretbridge.Broker.from_config()
for store, reference in REFERENCES.items():
    assert broker.get(reference.format("parents")).reveal() == expected(store, "parents")
snapshot = broker.snapshot()


def told(name: str) -> Callable[[secretbridge.Secret], None]:
    return lambda secret: (OUT / f"{os.getpid()} {name} {secret.reveal()}").touch()


for name in broker.names():
    broker.on_change(name, told(name))


def go_on_reading() -> None:
    number = 0
    while True:
        for reference in REFERENCES.values():
            broker.resolve([reference.format(f"parents-{number % COUNT}")])
        number += 1


threading.Thread(target=go_on_reading, daemon=True).start()


def read_all(worker: Any) -> None:
    """Read everything; gunicorn calls it in each worker (``post_worker_init``)."""

    def read(number: int) -> tuple[int, list[str]]:
        wrong, errors = 0, []
        for store, reference in REFERENCES.items():
            try:
                found = broker.get(reference.format(f"s{number}")).reveal()
                wrong += found != expected(store, f"s{number}")
            except secretbridge.SecretBridgeError as error:
                errors.append(str(error))
        return wrong, errors

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(read, range(COUNT)))
    report = {
        "reads": COUNT * len(REFERENCES),
        "wrong": sum(wrong for wrong, _ in results),
        "errors": [error for _, errors in results for error in errors],
        "refreshing": sum(t.name == "secretbridge-refresh" for t in threading.enumerate()),
    }
    unfinished = OUT / f".{os.getpid()}"
    unfinished.write_text(json.dumps(report))
    unfinished.rename(OUT / f"{os.getpid()}.json")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []
