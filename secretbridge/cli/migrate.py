"""``secretbridge migrate``: finds secrets in the environment and moves them into a store.

Each subcommand is a module ``_migrate_NAME`` with ``register(subparsers)``, as a command of the
whole program is; only the one that is called is imported.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from ._help import examples

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

__all__ = ["STEPS", "register"]

STEPS = {
    "scan": "find secrets in files, containers and git history",
    "plan": "decide which secret goes where, and what each file becomes",
    "apply": "store the values, then rewrite the files",
    "verify": "prove that nothing is left behind",
    "rollback": "bring every file back as it was",
    "import": "turn references of other tools into ours",
}
"""The subcommands in the order in which they are used, and what they do in a line."""


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command and of its subcommands."""
    parser = subparsers.add_parser(
        "migrate",
        help="find secrets in the environment, and move them into a store",
        description="Find the secrets that a project has in environment variables, move them into a "
        "store, rewrite what used them, and prove that nothing is left.",
        epilog=examples(
            ("secretbridge migrate scan --help", "what a step takes, with examples"),
        ),
    )
    steps = parser.add_subparsers(metavar="STEP", dest="step", required=True)
    for name in STEPS:
        module = f"{__package__}._migrate_{name}"
        if find_spec(module) is not None:
            import_module(module).register(steps)
