"""``secretbridge completion``: the script with which a shell completes our command lines."""

from __future__ import annotations

import argparse
import re

from . import output
from ._help import examples

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ._completing import Candidate

__all__ = ["register", "run"]

_SHELLS = ("bash", "zsh", "fish")


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = subparsers.add_parser(
        "completion",
        help="print what makes a shell complete commands, options and names",
        description="Print the script that makes a shell complete commands, options, and the names "
        "of the configuration. Completing asks no store.",
        epilog=examples(
            ('eval "$(secretbridge completion bash)"', "in this bash; for good, in ~/.bashrc"),
            ("secretbridge completion zsh > _secretbridge", "in a directory of zsh's $fpath"),
            ("secretbridge completion fish > secretbridge.fish", "in ~/.config/fish/completions"),
        ),
    )
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help=", ".join(_SHELLS))
    # What the scripts ask: the words so far, or for bash the line up to the cursor.
    parser.add_argument("--line", help=argparse.SUPPRESS)
    parser.add_argument("--words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script for ``args.shell``, or what it asks for."""
    if args.line is None and args.words is None:
        return _print_script(args)
    from . import _parser
    from ._completing import candidates, words_of

    words = words_of(args.line) if args.line is not None else args.words or [""]
    found = candidates(_parser(words), words)
    if args.json:
        output.print_json([{"word": word, "purpose": purpose} for word, purpose in found])
    elif found:
        output.write_line("\n".join(_lines(args.shell, words[-1], found)))
    return 0


def _print_script(args: argparse.Namespace) -> int:
    from ._completion_scripts import SCRIPTS

    if args.json:
        output.print_json({"shell": args.shell, "script": SCRIPTS[args.shell]})
    else:
        output.write(SCRIPTS[args.shell])
    return 0


def _lines(shell: str, current: str, found: Sequence[Candidate]) -> list[str]:
    """Return the candidates as the script of ``shell`` expects them."""
    if shell == "fish":
        return [f"{word}\t{purpose}".rstrip("\t") for word, purpose in found]
    if shell == "zsh":
        # What is told of a word stands behind a colon; colons of the word itself are escaped.
        return [
            word if word.startswith(":") else f"{_escaped(word)}:{purpose}".rstrip(":")
            for word, purpose in found
        ]
    # Bash replaces what stands after the last character that it takes for the end of a word.
    typed = re.match(r"(.*[:=])?", current)
    begun = typed[0] if typed is not None else ""
    return [word.removeprefix(begun) for word, _ in found]


def _escaped(word: str) -> str:
    return word.replace(":", "\\:")
