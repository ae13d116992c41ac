"""``secretbridge migrate verify``: nothing is left, and everything still works."""

from __future__ import annotations

import dataclasses

from . import output
from ._help import examples
from ._migrate_common import (
    add_common,
    add_settings,
    saved_plan,
    scanned,
    settings_of,
    tree_and_state,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..migrate.verify import Verified

__all__ = ["register", "run"]


def register(steps: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this step."""
    parser = steps.add_parser(
        "verify",
        help="prove that nothing is left behind",
        description="Look for every moved value in files, in git's index, in the environments of "
        "processes and containers; check that manifests parse, Python compiles and every reference "
        "can be had. Git's history is looked at and not rewritten: it tells which values to rotate. "
        "Exit code: 0 nothing is left; 1 something is.",
        epilog=examples(
            ("secretbridge migrate verify", "everything"),
            ("secretbridge migrate verify --no-running", "in CI, where nothing runs"),
        ),
    )
    add_common(parser)
    add_settings(parser)
    parser.add_argument(
        "--no-running",
        action="store_true",
        help="leave out processes and containers of this machine",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify. Raises what makes looking itself impossible."""
    from ..migrate.plan import Settings
    from ..migrate.verify import verify

    tree, state = tree_and_state(args)
    journal = state.latest(tree.root)
    if journal is not None and journal.of("begin"):
        settings = Settings(**journal.of("begin")[0]["settings"])
    else:
        saved = saved_plan(args)
        settings = saved.settings if saved is not None else settings_of(args, tree.root)
    scan = scanned(args, tree, state)
    result = verify(tree, settings, journal, scan, running=not args.no_running)
    if args.json:
        output.print_json(
            {
                "clean": result.is_clean,
                "left": [dataclasses.asdict(left) for left in result.left],
                "checked": result.checked,
                "history": [dataclasses.asdict(commit) for commit in result.history],
                "rotate": result.rotate,
            }
        )
    elif not args.quiet:
        _print(result)
    return 0 if result.is_clean else 1


def _print(result: Verified) -> None:
    if result.left:
        rows = [(left.check, left.where, left.what) for left in result.left]
        output.write_line(output.table(rows, ("CHECK", "WHERE", "WHAT")))
        for remedy in dict.fromkeys(left.remedy for left in result.left):
            output.write_line(f"  {output.clean(remedy)}")
        output.write_line("")
    output.write_line(output.table(list(result.checked.items())))
    if result.history:
        output.write_line("\ngit's history still has values, and cannot be trusted to forget them:")
        for commit in result.history[:20]:
            line = f"  {commit.number[:12]} {commit.path}: {output.clean(commit.subject)}"
            output.write_line(line)
        if len(result.history) > 20:
            output.write_line(f"  and {len(result.history) - 20} more (--json lists them)")
        output.write_line("rotate: " + ", ".join(result.rotate))
    output.write_line("\nnothing is left" if result.is_clean else f"\n{len(result.left)} left")
