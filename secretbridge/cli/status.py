"""``secretbridge status``: how fresh every secret is, and who the stores take us for.

Where a sidecar of this configuration answers on its socket, it is asked, because what counts is the
state of the process that runs. Otherwise everything is looked up here and now.
"""

from __future__ import annotations

import json
import socket
import time

from ..errors import BackendUnavailable, ConfigError
from . import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..config import Config

__all__ = ["print_stores", "register", "run"]

_CLEAR = "\x1b[H\x1b[2J"
_ANSWER_LIMIT = 1 << 24


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = subparsers.add_parser(
        "status",
        help="show how fresh everything is, and who the stores take us for",
        description="Show for each secret its state, version and age, and for each store who it takes "
        "us for, until when, and what is due next. Asks the running sidecar if the configuration "
        "names its socket, else looks everything up. No value and no credential is shown.",
    )
    parser.add_argument(
        "--watch", action="store_true", help="show it again every second, until interrupted"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the status. Raises :class:`ConfigError`."""
    from .opening import configuration, open_broker

    config = configuration(args)
    if config.path is None:
        raise ConfigError("no configuration file was found", hint="give --config FILE")
    answer = _from_sidecar(config)
    if answer is not None:
        return _show(args, lambda: _from_sidecar(config) or {})
    with open_broker(config) as broker:
        broker.resolve(broker.names())
        if args.watch:
            broker.watch(broker.names(), lambda: None)
        return _show(args, lambda: {"secrets": broker.status(), "stores": broker.stores()})


def _show(args: argparse.Namespace, look: Any) -> int:
    while True:
        state = look()
        if args.json:
            output.print_json(state)
        else:
            if args.watch:
                output.write_line(_CLEAR)
            _print(state)
        if not args.watch:
            return 0 if all(_is_good(row) for row in state.get("secrets", ())) else 1
        time.sleep(1.0)


def _is_good(row: Mapping[str, Any]) -> bool:
    return row["state"] in ("fresh", "due")


def _print(state: Mapping[str, Any]) -> None:
    rows = [
        (
            row["name"],
            row["state"],
            row["version"] or "",
            "" if row["age"] is None else output.duration(row["age"]),
            "" if row["due_in"] is None else output.duration(max(0.0, row["due_in"])),
            row["error"] or "",
        )
        for row in state.get("secrets", ())
    ]
    header = ("secret", "state", "version", "age", "next", "")
    output.write_line(output.table(rows, header))
    for name, text in state.get("problems", {}).items():
        output.write_line(f"{output.clean(name)}: {output.clean(text)}")
    print_stores(state.get("stores", ()))


def print_stores(stores: Sequence[Mapping[str, Any]]) -> None:
    """Print who each store takes us for; stores without logins are left out."""
    rows = []
    for row in stores:
        if row["who"] is None and row["error"] is None:
            continue
        until = "" if row["until"] is None else f"for {output.duration(row['until'])} more"
        due = "" if row["due_in"] is None else f"next in {output.duration(max(0.0, row['due_in']))}"
        told = row["error"] or f"logged in as {row['who']}"
        rows.append((row["store"], told.replace("\n", " "), until, due, row.get("news") or ""))
    if rows:
        output.write_line("")
        output.write_line(output.table(rows))


def _from_sidecar(config: Config) -> dict[str, Any] | None:
    """Return what the sidecar says of itself, or None when none is to be asked or none answers."""
    if config.sidecar is None or config.sidecar.listen.socket is None:
        return None
    received = b""
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(5.0)
            asking.connect(str(config.sidecar.listen.socket))
            asking.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            while (part := asking.recv(65536)) and len(received) < _ANSWER_LIMIT:
                received += part
    except OSError:
        return None
    head, _, body = received.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise BackendUnavailable(
            "the sidecar does not answer this user", hint="ask as its user, its group, or root"
        )
    try:
        state: dict[str, Any] = json.loads(body)
    except ValueError:
        return None
    return state
