"""The command ``secretbridge-sidecar``: run, once, check and healthcheck.

Exit codes: 0 done; 1 a check found something; 2 usage or configuration; 3 missing or denied; 4 a
store is unavailable; 5 the target is unsafe.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from secretbridge.cli import Parser, guard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]


def _run(path: str | None, as_json: bool) -> int:
    from .hardening import Hardening

    hardening = Hardening()
    hardening.begin()
    from secretbridge.config.apart import Reading

    reading = Reading(path)  # which takes as long as loading the rest
    from .runner import Sidecar

    Sidecar(path, hardening=hardening).run(reading)
    return 0


def _once(path: str | None, as_json: bool) -> int:
    from .hardening import Hardening

    hardening = Hardening()
    hardening.begin()
    from .runner import Sidecar
    from .target import summary

    published = Sidecar(path, hardening=hardening).once()
    if as_json:
        print(json.dumps(summary(published)))
    return 0


def _check(path: str | None, as_json: bool) -> int:
    from .runner import Sidecar

    outcomes = Sidecar(path).check()
    if as_json:
        print(json.dumps({name: str(error) if error else None for name, error in outcomes.items()}))
    else:
        for name, error in outcomes.items():
            print(f"{name}: {'ok' if error is None else error}")
    return max((error.exit_code for error in outcomes.values() if error is not None), default=0)


def _healthcheck(path: str | None, as_json: bool) -> int:
    from .healthcheck import health

    is_ready, problems = health(path)
    if as_json:
        print(json.dumps({"ready": is_ready, "problems": problems}))
    else:
        for name, text in problems.items():
            print(f"{name}: {text}")
    return 0 if is_ready else 1


_COMMANDS: dict[str, tuple[Callable[[str | None, bool], int], str]] = {
    "run": (_run, "keep the target fresh until told to stop"),
    "once": (_once, "publish one generation and exit (for init containers)"),
    "check": (_check, "resolve everything and look at the target, write nothing"),
    "healthcheck": (
        _healthcheck,
        "exit 0 if the sidecar has published everything, else say why not",
    ),
}


def _restart() -> None:
    """Begin anew with an allocator that wipes what is freed, unless the environment names one.

    Somebody who sets ``PYTHONMALLOC`` has decided about that, and it shows in the status.
    """
    if "PYTHONMALLOC" in os.environ:
        return
    from secretbridge.harden import wipe_on_free

    with suppress(OSError):  # then the status says that nothing is wiped
        wipe_on_free()


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
    return parser


def _act(arguments: Sequence[str]) -> int:
    try:
        parsed = _parser().parse_args(arguments)
    except SystemExit:  # how argparse ends after --help
        return 0
    status: int = parsed.action(parsed.config, parsed.json)
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Without ``argv`` this is the program itself."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if argv is None and not {"run", "once"}.isdisjoint(arguments):
        _restart()
    return guard(lambda: _act(arguments), "--json" in arguments)


if __name__ == "__main__":
    sys.exit(main())
