"""What ``secretbridge-sidecar`` does: run, once, check, healthcheck, and orders to one that runs.

Exit codes: 0 done; 1 a check found something, or an order was not carried out; 2 usage or
configuration; 3 missing or denied; 4 a store, or the sidecar, is unavailable; 5 the target is unsafe.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from secretbridge.cli import Parser, guard

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from secretbridge.config.apart import Reader

__all__ = ["perform"]


def _run(parsed: Namespace) -> int:
    from secretbridge.config.apart import Reading

    reading = Reading(parsed.config, parsed.reader)  # goes on while the rest is loaded
    from .hardening import Hardening

    hardening = Hardening()
    hardening.begin()
    from .runner import Sidecar

    Sidecar(parsed.config, hardening=hardening).run(reading)
    return 0


def _once(parsed: Namespace) -> int:
    from .hardening import Hardening

    hardening = Hardening()
    hardening.begin()
    from .runner import Sidecar
    from .target import summary

    published = Sidecar(parsed.config, hardening=hardening).once()
    if parsed.json:
        print(json.dumps(summary(published)))
    return 0


def _check(parsed: Namespace) -> int:
    from .runner import Sidecar

    outcomes = Sidecar(parsed.config).check()
    if parsed.json:
        print(json.dumps({name: str(error) if error else None for name, error in outcomes.items()}))
    else:
        for name, error in outcomes.items():
            print(f"{name}: {'ok' if error is None else error}")
    return max((error.exit_code for error in outcomes.values() if error is not None), default=0)


def _healthcheck(parsed: Namespace) -> int:
    from .healthcheck import health

    is_ready, problems = health(parsed.config)
    if parsed.json:
        print(json.dumps({"ready": is_ready, "problems": problems}))
    else:
        for name, text in problems.items():
            print(f"{name}: {text}")
    return 0 if is_ready else 1


def _order(parsed: Namespace) -> int:
    from .ordering import order

    return _tell(parsed, *order(parsed.config, parsed.command, {}))


def _ack(parsed: Namespace) -> int:
    from .ordering import current_generation, order

    generation = parsed.generation or current_generation(parsed.config)
    fields = {"consumer": parsed.consumer, "generation": generation}
    return _tell(parsed, *order(parsed.config, "ack", fields))


def _tell(parsed: Namespace, is_done: bool, answer: dict[str, object]) -> int:
    if parsed.json:
        print(json.dumps(answer))
    elif is_done:
        for name, value in answer.items():
            print(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    else:
        print(f"error: not done: {answer.get('error')}", file=sys.stderr)
    return 0 if is_done else 1


_COMMANDS: dict[str, tuple[Callable[[Namespace], int], str]] = {
    "run": (_run, "keep the target fresh until told to stop"),
    "once": (_once, "publish one generation and exit (for init containers)"),
    "check": (_check, "resolve everything and look at the target, write nothing"),
    "healthcheck": (
        _healthcheck,
        "exit 0 if the sidecar has published everything, else say why not",
    ),
    "ack": (_ack, "tell the sidecar which generation a consumer uses"),
    "freeze": (_order, "have the sidecar publish nothing new until unfreeze"),
    "unfreeze": (_order, "have the sidecar publish again"),
    "rollback": (_order, "have the sidecar publish the generation before, and freeze"),
}


def _parser() -> Parser:
    parser = Parser(
        prog="secretbridge-sidecar",
        description="Materializes secrets as files on a tmpfs and keeps them fresh.",
        epilog="Signals: HUP reads the configuration again, TERM ends.",
    )
    parser.set_defaults(config=None, json=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (action, purpose) in _COMMANDS.items():
        command = commands.add_parser(
            name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}."
        )
        command.set_defaults(action=action)
        if action is _ack:
            command.add_argument(
                "--consumer",
                metavar="NAME",
                required=True,
                help="one of sidecar.wait_ack.consumers",
            )
            command.add_argument(
                "--generation",
                metavar="ID",
                help="what ..data led to when the files were read (default: what it leads to now)",
            )
    return parser


def _act(arguments: Sequence[str], reader: Reader | None) -> int:
    try:
        parsed = _parser().parse_args(arguments)
    except SystemExit:  # how argparse ends after --help
        return 0
    parsed.reader = reader
    status: int = parsed.action(parsed)
    return status


def perform(arguments: Sequence[str], reader: Reader | None = None) -> int:
    """Run the command and return its exit code. ``reader`` gets ready to read a configuration."""
    return guard(lambda: _act(arguments, reader), "--json" in arguments)
