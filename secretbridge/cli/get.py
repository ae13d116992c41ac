"""``secretbridge get``: everything about one secret but its value, or the bare value alone."""

from __future__ import annotations

from . import output
from ._help import examples

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from typing import Any

    from ..secret import Secret

__all__ = ["register", "run"]


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = subparsers.add_parser(
        "get",
        help="look up one secret",
        description="Look up one secret and show its name, version and age. The value is shown only "
        "with --reveal, which writes it to standard output byte for byte.",
        epilog=examples(
            ("secretbridge get db_password", "everything about a secret but its value"),
            ("secretbridge get db_password --reveal", "the bare value, byte for byte"),
            ("secretbridge get file:/run/secrets/api_key --json", "by reference, for a machine"),
        ),
    )
    parser.add_argument(
        "key", metavar="NAME|REFERENCE", help="name in the configuration, or a reference"
    )
    parser.add_argument(
        "--reveal", action="store_true", help="write the bare value, and nothing else"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look up ``args.key``. Raises :class:`SecretBridgeError`."""
    # Here and not at the top: `get --help` needs no broker.
    from ..errors import SecretBridgeError
    from ._looking_up import look_up
    from .opening import configuration, open_broker

    with open_broker(configuration(args), args.key) as broker:
        progress = output.Progress(not args.json and not args.reveal)
        secret = look_up(broker, [args.key], progress)[args.key]
        if isinstance(secret, SecretBridgeError):
            raise secret
        status = next(row for row in broker.status() if row["name"] == args.key)
        if args.json:
            output.print_json(_fields(secret, status) | (_value(secret) if args.reveal else {}))
            broker.close(keep_leases=args.reveal)
        elif args.reveal:
            output.reveal(secret.reveal_bytes())
            # Whoever asked for a leased credential wants to use it: its lease runs out by itself.
            broker.close(keep_leases=True)
        else:
            output.write_line(output.table(_lines(secret, status)))
    return 0


def _fields(secret: Secret, status: Mapping[str, Any]) -> dict[str, object]:
    expires = secret.expires_at
    return {
        "name": secret.name,
        "reference": str(secret.reference),
        "version": secret.version,
        "state": status["state"],
        "age": None if status["age"] is None else round(status["age"], 3),
        "stale": secret.stale,
        "expires_at": None if expires is None else expires.isoformat(),
    }


def _value(secret: Secret) -> dict[str, object]:
    try:
        return {"value": secret.reveal_bytes().decode("utf-8")}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"value_base64": b64encode(secret.reveal_bytes()).decode("ascii")}


def _lines(secret: Secret, status: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = [
        ("name", secret.name),
        ("reference", str(secret.reference)),
        ("version", secret.version or "none"),
        ("state", str(status["state"])),
        ("age", "unknown" if status["age"] is None else output.duration(status["age"])),
    ]
    if secret.expires_at is not None:
        lines.append(("expires", secret.expires_at.isoformat(" ", "seconds")))
    return [*lines, ("value", f"{output.MASK}  (--reveal shows it)")]
