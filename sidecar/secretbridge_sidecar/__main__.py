"""The command ``secretbridge-sidecar``: run, once, check and healthcheck.

Exit codes: 0 done; 1 a check found something; 2 usage or configuration; 3 missing or denied; 4 a
store is unavailable; 5 the target is unsafe.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import NoReturn

from secretbridge.errors import ConfigError, SecretBridgeError

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # The usual message repeats unrecognised arguments, one of which may be a pasted secret.
        if message.startswith("unrecognized arguments"):
            message = "more arguments than this command takes (not repeated: they may be secret)"
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    common.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="configuration (default: $SECRETBRIDGE_CONFIG, ./secretbridge.yaml, "
        "/etc/secretbridge/secretbridge.yaml)",
    )
    common.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="machine-readable output"
    )
    parser = _Parser(
        prog="secretbridge-sidecar",
        parents=[common],
        description="Materializes secrets as files on a tmpfs and keeps them fresh.",
        epilog="Signals: HUP reads the configuration again, TERM ends.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "keep the target fresh until told to stop"),
        ("once", "publish one generation and exit (for init containers)"),
        ("check", "resolve everything and look at the target, write nothing"),
        ("healthcheck", "exit 0 if the sidecar has published everything, else say why not"),
    ):
        commands.add_parser(name, parents=[common], help=text, description=text.capitalize() + ".")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    path = getattr(arguments, "config", None)
    as_json = getattr(arguments, "json", False)
    try:
        return _COMMANDS[arguments.command](path, as_json)
    except SecretBridgeError as error:
        _fail(error, as_json)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _run(path: str | None, as_json: bool) -> int:
    from .runner import Sidecar

    Sidecar(path).run()
    return 0


def _once(path: str | None, as_json: bool) -> int:
    from .runner import Sidecar

    published = Sidecar(path).once()
    if as_json:
        print(
            json.dumps(
                {
                    "generation": published.generation,
                    "changed": list(published.changed),
                    "removed": list(published.removed),
                }
            )
        )
    return 0


def _check(path: str | None, as_json: bool) -> int:
    from .runner import Sidecar

    outcomes = Sidecar(path).check()
    problems = {name: error for name, error in outcomes.items() if error is not None}
    if as_json:
        print(json.dumps({name: str(error) if error else None for name, error in outcomes.items()}))
    else:
        for name, error in outcomes.items():
            print(f"{name}: {'ok' if error is None else error}")
    return max((error.exit_code for error in problems.values()), default=0)


def _healthcheck(path: str | None, as_json: bool) -> int:
    from .healthcheck import health

    is_ready, answer = health(path)
    if as_json:
        print(json.dumps({"ready": is_ready, "problems": answer}))
    else:
        for name, text in answer.items():
            print(f"{name}: {text}")
    return 0 if is_ready else 1


_COMMANDS = {"run": _run, "once": _once, "check": _check, "healthcheck": _healthcheck}


def _fail(error: SecretBridgeError, as_json: bool) -> None:
    if as_json:
        body = {
            "type": type(error).__name__,
            "message": error.message,
            "reference": str(error.reference) if error.reference is not None else None,
            "store": error.store,
            "hint": error.hint,
        }
        print(json.dumps({"error": body}), file=sys.stderr)
        return
    problems = error.problems if isinstance(error, ConfigError) else ()
    for line in problems or (str(error),):
        print(f"secretbridge-sidecar: error: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
