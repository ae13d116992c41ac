"""``secretbridge migrate plan``: which value goes where, and what every file becomes."""

from __future__ import annotations

import os

from . import output
from ._help import examples
from ._migrate_common import add_common, add_settings, make_plan, saved_plan, tree_and_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..migrate.plan import Plan

__all__ = ["register", "run"]


def register(steps: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this step."""
    parser = steps.add_parser(
        "plan",
        help="decide which secret goes where, and what each file becomes",
        description="Decide which value goes into the store under which name, and what every file "
        "becomes. Nothing is changed but the plan, secretbridge-plan.json, which holds no value: "
        "review it, edit names, `move` and answers, and plan again or apply. Exit code: 0 all can be "
        "moved; 1 something has to stay, which is listed.",
        epilog=examples(
            ("secretbridge migrate plan", "plan for the embedded store"),
            ("secretbridge migrate plan --store vault --prefix kv/shop", "plan for Vault"),
            ("secretbridge migrate plan --html plan.html", "also write a report to read"),
        ),
    )
    add_common(parser)
    add_settings(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan without saving it")
    parser.add_argument(
        "--fresh", action="store_true", help="forget what was decided in the saved plan"
    )
    parser.add_argument("--diff", action="store_true", help="show what every file becomes")
    parser.add_argument("--html", metavar="FILE", help="also write a report in one file of HTML")
    parser.add_argument("--sarif", metavar="FILE", help="also write the places as SARIF")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the plan, save it, and show it."""
    from ..migrate.plan import FILE_NAME

    tree, state = tree_and_state(args)
    saved = None if args.fresh else saved_plan(args)
    if saved is not None and _asks_for_other_settings(args):
        saved = None
    plan = make_plan(args, tree, state, saved)
    if not args.dry_run:
        path = args.plan or os.path.join(tree.root, FILE_NAME)
        _write(path, plan.text())
    if args.html:
        from ..migrate.plan_report import html

        _write(args.html, html(plan))
    if args.sarif:
        from ..migrate.plan_report import sarif

        _write(args.sarif, sarif(plan))
    if args.json:
        output.print_json(plan.to_json())
    elif not args.quiet:
        _print(plan, args.diff)
    return 1 if plan.open else 0


def _asks_for_other_settings(args: argparse.Namespace) -> bool:
    return any((args.store, args.prefix, args.delivery, args.target, args.unknown))


def _write(path: str, text: str) -> None:
    from ..errors import ConfigError

    reason = ""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    if reason:
        raise ConfigError(f"{path} cannot be written: {reason}", hint="name another file")


def _print(plan: Plan, is_diff: bool) -> None:
    moved = plan.moved
    rows = [
        (secret.name, secret.reference, _places(len(secret.origins)), secret.origins[0].path)
        for secret in moved
    ]
    if rows:
        output.write_line(output.table(rows, ("SECRET", "GOES TO", "FROM", "FIRST SEEN IN")))
    kept = [secret for secret in plan.secrets if not secret.goes]
    if kept:
        output.write_line(f"\nstay where they are: {', '.join(secret.name for secret in kept)}")
    if plan.files:
        output.write_line("")
        output.write_line(output.table([(file.kind, file.path) for file in plan.files]))
    if is_diff:
        for file in plan.files:
            output.write_line("\n" + "\n".join(map(output.clean, file.diff.splitlines())))
    for question in plan.questions:
        output.write_line(f"\nquestion {question.id}: {output.clean(question.text)}")
        output.write_line(f"  {' | '.join(question.options)}; for now: {question.answer}")
    for about in plan.open:
        place = f"{about.path}:{about.line}: {about.name}"
        output.write_line(f"\nstays: {output.clean(place)}: {output.clean(about.reason)}")
        output.write_line(f"  {output.clean(about.remedy)}")
    for note in plan.notes:
        output.write_line(f"\nnote: {output.clean(note)}")
    count = "1 secret" if len(moved) == 1 else f"{len(moved)} secrets"
    output.write_line(
        f"\n{count} to move, {len(plan.files)} files to change, {len(plan.open)} places stay"
    )
    if moved:
        output.write_line("next: read secretbridge-plan.json, then `secretbridge migrate apply`")


def _places(count: int) -> str:
    return "1 place" if count == 1 else f"{count} places"
