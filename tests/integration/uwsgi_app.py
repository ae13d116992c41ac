"""What uWSGI loads in tests: a broker that is made, and used, before the workers are forked."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import secretbridge

broker = secretbridge.Broker(secrets={"x": f"file:{os.environ['SECRET_FILE']}"}, refresh=0.1)
broker.get("x")
told: list[str] = []
if os.environ.get("SUBSCRIBES"):
    broker.on_change("x", lambda secret: told.append(secret.reveal()))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    answer = {
        "pid": os.getpid(),
        "value": broker.get("x").reveal(),
        "told": told,
        "refreshing": sum(t.name == "secretbridge-refresh" for t in threading.enumerate()),
    }
    return [json.dumps(answer).encode()]
