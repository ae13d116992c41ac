"""The command ``secretbridge``: a frame that finds the subcommand, runs it and ends as documented.

A subcommand is a module with ``register(subparsers)``, which adds a parser and sets its default
``run``, a function that takes the parsed arguments and returns the exit code. Only the module of the
command that is called is imported, so that ``--help`` and ``--version`` answer at once.

Whatever goes wrong ends here, in one of three ways: our own errors as one readable block, usage
errors without the arguments that were not understood (one of them may be a pasted secret), and
anything unexpected by its type and place alone, because its text may hold a value.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec

from ..errors import SecretBridgeError
from . import output
from ._help import Formatter, examples

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

__all__ = ["COMMANDS", "Parser", "UsageError", "guard", "main"]

COMMANDS = {
    "demo": "see a secret travel from a store into an application and rotate",
    "get": "look up one secret",
    "check": "look up every configured secret and report what fails",
    "status": "show how fresh everything is, and who the stores take us for",
    "doctor": "look for what weakens the protection of secrets here",
    "local": "manage the embedded encrypted store",
    "audit": "verify an audit log, or look up what stands in it for a name or a value",
    "migrate": "find secrets in the environment, and move them into a store",
    "completion": "print what makes a shell complete commands, options and names",
}
"""The subcommands, each in the module of its name, and what they do in a line."""

INTERRUPTED = 130
PIPE_CLOSED = 141
# What a shell reports for a process that SIGINT or SIGPIPE ended.


class UsageError(Exception):
    """The arguments are not understood. The text repeats none of them."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """A parser whose errors do not repeat values, and which takes the common options anywhere.

    Subcommands inherit it, so ``--config`` and ``--json`` may stand before or after their names.
    """

    def __init__(self, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("conflict_handler", "resolve")
        options.setdefault("formatter_class", Formatter)
        super().__init__(**options)
        # Without a default of its own, a subcommand's parser does not undo what was given before it.
        self.add_argument(
            "--config",
            metavar="FILE",
            default=argparse.SUPPRESS,
            help="configuration file (default: $SECRETBRIDGE_CONFIG, ./secretbridge.yaml, "
            "/etc/secretbridge/secretbridge.yaml)",
        )
        self.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="machine-readable output",
        )

    def error(self, message: str) -> NoReturn:
        """Raise :class:`UsageError` instead of ending the process."""
        raise UsageError(_without_values(message), self.format_usage())


def _without_values(message: str) -> str:
    """Return argparse's message without what the user typed."""
    if message.startswith("unrecognized arguments"):
        return "an argument that is not understood (a value is never given on the command line)"
    if message.startswith("ambiguous option"):
        return "an ambiguous option"
    choice = re.match(
        r"(?:argument (\S+): )?invalid choice: (.*) \(choose from (.*)\)$", message, re.S
    )
    if choice:
        known = re.findall(r"[A-Za-z0-9_-]+", choice[3])
        close = get_close_matches(choice[2].strip("'\""), known, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        return (
            f"{choice[1] or 'an argument'}: no such choice; {meant}choose from {', '.join(known)}"
        )
    harmless = (
        r"the following arguments are required: .*",
        r"(argument \S+: )?expected .* arguments?",
        r"argument \S+: not allowed with argument \S+",
        r"one of the arguments .* is required",
    )
    if any(re.fullmatch(pattern, message) for pattern in harmless):
        return message
    # "ignored explicit argument 'x'", "invalid int value: 'x'", and what argparse learns to say.
    name = re.match(r"argument [^\s:]+", message)
    return f"{name[0] if name else 'an argument'}: not a value that it takes"


class _Version(argparse.Action):
    """Shows the version; ``const`` says whether as JSON, wherever ``--json`` stands."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from .._version import __version__

        if self.const:
            output.print_json({"version": __version__})
        else:
            output.write_line(f"secretbridge {__version__}")
        parser.exit()


def _parser(arguments: Sequence[str]) -> Parser:
    """Return the parser, with the module of every command that ``arguments`` may mean."""
    parser = Parser(
        prog="secretbridge",
        description="Secrets from where they are kept to who needs them.",
        epilog=examples(
            ("secretbridge demo", "a secret's way into an application, in one minute"),
            ("secretbridge check --config secretbridge.yaml", "can everything be had?"),
            ("secretbridge get --help", "what a command takes, with examples"),
        ),
    )
    parser.set_defaults(config=None, json=False)
    is_json = "--json" in arguments
    parser.add_argument(
        "--version", action=_Version, nargs=0, const=is_json, help="show the version and end"
    )
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, purpose in COMMANDS.items():
        module = f"{__name__}.{name}"
        if find_spec(module) is None:
            continue
        if name in arguments:
            import_module(module).register(commands)
        else:
            commands.add_parser(name, help=purpose)
    return parser


def _run(arguments: Sequence[str]) -> int:
    try:
        args = _parser(arguments).parse_args(arguments)
    except SystemExit:  # how argparse ends after --help and --version
        return 0
    status: int = args.run(args)
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: that of the process) and return the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return guard(lambda: _run(arguments), "--json" in arguments)


def guard(action: Callable[[], int], is_json: bool) -> int:
    """Return what ``action`` returns, or report what it raises and return the exit code for that.

    The sidecar's command line ends through here as well.
    """
    try:
        output.prepare()
        status = action()
        output.flush()
    except UsageError as error:
        output.show_usage_error(str(error), error.usage, is_json)
        return 2
    except SecretBridgeError as error:
        output.show_error(error, is_json)
        return error.exit_code
    except KeyboardInterrupt:
        output.show_interruption(is_json)
        return INTERRUPTED
    except BrokenPipeError:
        output.drop()
        return PIPE_CLOSED
    except output.OutputError as error:
        output.drop()
        output.show_usage_error(str(error), "", is_json)
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort of the process
        output.show_crash(error, is_json, os.environ.get("SECRETBRIDGE_DEBUG"))
        return 1
    return status
