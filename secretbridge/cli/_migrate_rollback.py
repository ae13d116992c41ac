"""``secretbridge migrate rollback``: every file as it was, also after a crash."""

from __future__ import annotations

from . import output
from ._help import examples
from ._migrate_common import add_common, tree_and_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

__all__ = ["register", "run"]


def register(steps: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this step."""
    parser = steps.add_parser(
        "rollback",
        help="bring every file back as it was",
        description="Take the latest apply back: every file byte for byte as it was, and out of the "
        "store what it put there, if that is still the same. Also after a crash in the middle. Exit "
        "code: 0 done, or nothing to do; 1 a file was changed since, and nothing was touched.",
        epilog=examples(
            ("secretbridge migrate rollback --dry-run", "what would be brought back"),
            ("secretbridge migrate rollback --keep-values", "leave the store as it is"),
            (
                "secretbridge migrate rollback --discard",
                "remove the journals, which hold the values",
            ),
        ),
    )
    add_common(parser)
    parser.add_argument("--dry-run", action="store_true", help="show it, change nothing")
    parser.add_argument("--keep-values", action="store_true", help="leave the values in the store")
    parser.add_argument(
        "--force", action="store_true", help="also over files that were changed since"
    )
    parser.add_argument(
        "--discard",
        action="store_true",
        help="bring nothing back, and remove the journals of this project for good",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take the latest apply back. Raises :class:`IntegrityError`."""
    from ..errors import ConfigError
    from ..migrate.plan import Settings
    from ..migrate.rollback import roll_back
    from ..migrate.stores import Target

    tree, state = tree_and_state(args)
    with state.locked(tree.root):
        journal = state.latest(tree.root)
        if journal is None or (journal.state == "rolled back" and not args.discard):
            return _told(args, [], [], [])
        if args.discard:
            if journal.state == "open":
                raise ConfigError(
                    "an apply did not come to its end, and its journal is needed",
                    hint="run `secretbridge migrate rollback` first",
                )
            paths = state.journals(tree.root)
            for path in [] if args.dry_run else paths:
                path.unlink()
            return _told(args, [], [], [], discarded=len(paths))
        begins = journal.of("begin")
        if args.dry_run or not begins:
            if not args.dry_run:
                journal.write("rolled-back")
            files = [file["path"] for file in begins[0]["files"]] if begins else []
            return _told(args, files, [record["reference"] for record in journal.of("stored")], [])
        target = Target.recorded(Settings(**begins[0]["settings"]), begins[0]["store"])
        try:
            done = roll_back(journal, tree, target, keep_values=args.keep_values, force=args.force)
        finally:
            target.close()
    return _told(args, list(done.files), list(done.withdrawn), list(done.kept))


def _told(
    args: argparse.Namespace,
    files: list[str],
    withdrawn: list[str],
    kept: list[str],
    discarded: int = 0,
) -> int:
    if args.json:
        output.print_json(
            {
                "dry_run": args.dry_run,
                "files": files,
                "withdrawn": withdrawn,
                "kept": kept,
                "discarded": discarded,
            }
        )
    elif not args.quiet:
        would = "would be " if args.dry_run else ""
        if discarded:
            output.write_line(f"{discarded} journals {would}removed")
        elif not (files or withdrawn or kept):
            output.write_line("nothing to take back")
        else:
            output.write_line(
                f"{len(files)} files {would}brought back, {len(withdrawn)} values {would}withdrawn"
            )
        for reference in kept:
            output.write_line(f"{reference} was changed since and stays")
    return 0
