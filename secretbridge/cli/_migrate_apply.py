"""``secretbridge migrate apply``: stores the values, then rewrites the files; all or nothing."""

from __future__ import annotations

import sys

from . import output
from ._help import examples
from ._migrate_common import add_common, add_settings, make_plan, saved_plan, tree_and_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..migrate.apply import Applied
    from ..migrate.plan import Plan

__all__ = ["register", "run"]


def register(steps: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this step."""
    parser = steps.add_parser(
        "apply",
        help="store the values, then rewrite the files",
        description="Store every value of the plan, read it back, and then rewrite the files: all of "
        "it, or nothing. What is there must be what was planned. Again, it does nothing. Exit code: 0 "
        "done; 1 done, and places are left for a person, or the project is not as it was planned; 2 "
        "no plan; 3 and 4 the store refused, and nothing has changed.",
        epilog=examples(
            ("secretbridge migrate apply --dry-run", "what would be done"),
            ("secretbridge migrate apply --yes", "without asking"),
        ),
    )
    add_common(parser)
    add_settings(parser)
    parser.add_argument("--dry-run", action="store_true", help="check everything, change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask before anything changes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Apply the saved plan, or one that is made now."""
    from ..errors import IntegrityError
    from ..migrate.apply import apply
    from ..migrate.stores import open_target

    tree, state = tree_and_state(args)
    saved = saved_plan(args)
    plan = make_plan(args, tree, state, saved)
    if not plan.changes and not plan.moved:
        return _nothing(args, plan)
    if saved is not None:
        reason = saved.differs_from(plan)
        if reason is not None:
            raise IntegrityError(
                f"the project is not as it was planned: {reason}",
                hint="nothing was changed; run `secretbridge migrate plan` and look at it again",
            )
    if args.dry_run:
        return _told(args, plan, None)
    if not args.yes and not _is_agreed(args, plan):
        output.note("nothing was changed")
        return 1
    target = open_target(tree.root, plan.settings)
    progress = output.Progress(not args.json and not args.quiet)
    try:
        done = apply(plan, tree, target, state, progress.show)
    finally:
        progress.clear()
        target.close()
    return _told(args, plan, done)


def _nothing(args: argparse.Namespace, plan: Plan) -> int:
    if args.json:
        output.print_json({"stored": [], "present": [], "changed": [], "open": len(plan.open)})
    elif not args.quiet:
        output.write_line("nothing to do")
    return 1 if plan.open else 0


def _is_agreed(args: argparse.Namespace, plan: Plan) -> bool:
    from . import UsageError

    if args.json or not sys.stdin.isatty():
        raise UsageError("there is nobody to ask: give --yes, or --dry-run to look first", "")
    count = f"{len(plan.moved)} values into the store {plan.settings.store!r}"
    output.note(f"{count}, then {len(plan.files)} files. Go on? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _told(args: argparse.Namespace, plan: Plan, done: Applied | None) -> int:
    changed = list(done.changed) if done is not None else [file.path for file in plan.files]
    stored = list(done.stored) if done is not None else [secret.name for secret in plan.moved]
    if args.json:
        output.print_json(
            {
                "dry_run": done is None,
                "stored": stored,
                "present": list(done.present) if done is not None else [],
                "changed": changed,
                "open": len(plan.open),
                "journal": done.journal if done is not None else None,
            }
        )
    elif not args.quiet:
        would = "would be " if done is None else ""
        output.write_line(
            f"{len(stored)} values {would}stored, {len(changed)} files {would}changed"
        )
        for path in changed:
            output.write_line(f"  {output.clean(path)}")
        if plan.open:
            output.write_line(f"{len(plan.open)} places stay as they are; see the plan")
        if done is not None:
            for note in plan.notes:
                output.write_line(f"note: {output.clean(note)}")
            output.write_line("next: restart what runs, then `secretbridge migrate verify`")
    return 1 if plan.open else 0
