"""``secretbridge migrate import``: references of other tools become ours."""

from __future__ import annotations

import dataclasses
import os

from . import output
from ._help import examples

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..migrate.foreign import Imported

__all__ = ["register", "run"]


def register(steps: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this step."""
    parser = steps.add_parser(
        "import",
        help="turn references of other tools into ours",
        description="Find references of vals, bank-vaults, ECS, CloudFormation, External Secrets and "
        "1Password in a file, and print the block `secrets:` with the same references in our words. "
        "Nothing is changed and no store is asked. Exit code: 0 all have a counterpart; 1 some have "
        "none, which says why.",
        epilog=examples(
            ("secretbridge migrate import helm/values.yaml", "references of vals"),
            (
                "secretbridge migrate import task-definition.json --json",
                "an ECS task, for a machine",
            ),
        ),
    )
    parser.add_argument("files", metavar="FILE", nargs="+")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Translate. Raises :class:`ConfigError` for a file that cannot be read."""
    from ..migrate.foreign import references_in

    found: list[Imported] = []
    for name in args.files:
        found += references_in(_read(name), name)
    if args.json:
        output.print_json([dataclasses.asdict(each) for each in found])
    else:
        _print(found)
    return 1 if any(each.refusal for each in found) else 0


def _read(name: str) -> bytes:
    from ..errors import ConfigError

    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    raise ConfigError(f"{name} cannot be read: {reason}", hint="check the path")


def _print(found: list[Imported]) -> None:
    if not found:
        output.note("no reference of another tool was found")
        return
    lines = ["secrets:"]
    names: set[str] = set()
    for each in found:
        if each.reference and each.name not in names:
            names.add(each.name)
            lines.append(f'  {each.name}: "{each.reference}"')
    if names:
        output.write_line("\n".join(lines))
    for each in found:
        if each.refusal:
            output.note(f"{each.name}: {each.refusal}; {each.remedy}")
        elif each.note:
            output.note(f"{each.name}: {each.note}")
