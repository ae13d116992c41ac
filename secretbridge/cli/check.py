"""``secretbridge check``: looks up every configured secret, and shows no value.

The exit code is that of the failure that needs a person first: 3 if any secret is missing or denied,
else 4 if any store is unavailable, else 2 if a store cannot be used as it is configured, else 1.
"""

from __future__ import annotations

from ..errors import ConfigError, SecretBridgeError, SecretMissing
from . import output
from ._help import examples
from ._looking_up import look_up
from ._status_table import stores_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ..reference import Reference
    from ..secret import Secret

    Outcome = Secret | SecretBridgeError

__all__ = ["exit_code", "register", "run"]

_WORST_FIRST = (3, 4, 2, 5)


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = subparsers.add_parser(
        "check",
        help="look up every configured secret and report what fails",
        description="Look up every secret of the configuration and report for each whether it can be "
        "had. No value is shown. Exit code: 0 all can be had; 3 any is missing or denied; else 4 any "
        "store is unavailable; else 2 or 1.",
        epilog=examples(
            ("secretbridge check", "before a deployment: is everything there, and may we read it?"),
            ("secretbridge check --json", "the same for a machine, with the reasons"),
        ),
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look up everything. Raises :class:`ConfigError`."""
    from .opening import configuration, open_broker

    config = configuration(args)
    if config.path is None:
        raise ConfigError("no configuration file was found", hint="give --config FILE")
    with open_broker(config) as broker:
        outcomes = look_up(broker, broker.names(), output.Progress(not args.json))
        stores = broker.stores()
    references = {name: entry.reference for name, entry in config.secrets.items()}
    failures = [
        outcome
        for name, outcome in outcomes.items()
        if isinstance(outcome, SecretBridgeError) and not _is_absent(outcome, references[name])
    ]
    if args.json:
        secrets = [_fields(name, outcomes[name], references[name]) for name in references]
        output.print_json(
            {"secrets": secrets, "total": len(secrets), "failed": len(failures), "stores": stores}
        )
    else:
        _print(outcomes, references, len(failures))
        for line in stores_of(stores):
            output.write_line(line)
    return exit_code(failures)


def exit_code(failures: Iterable[SecretBridgeError]) -> int:
    """Return the exit code for ``failures``: 0 for none, else that of the worst one."""
    codes = {failure.exit_code for failure in failures}
    return next((code for code in _WORST_FIRST if code in codes), min(codes, default=0))


def _is_absent(outcome: Outcome, reference: Reference) -> bool:
    """Say whether a secret is missing that its reference allows to be missing."""
    return isinstance(outcome, SecretMissing) and reference.optional


def _fields(name: str, outcome: Outcome, reference: Reference) -> dict[str, object]:
    fields: dict[str, object] = {"name": name, "reference": str(reference)}
    if isinstance(outcome, SecretBridgeError):
        is_absent = _is_absent(outcome, reference)
        return {**fields, "ok": is_absent, "version": None, "error": output.error_fields(outcome)}
    return {**fields, "ok": True, "version": outcome.version, "error": None}


def _print(
    outcomes: Mapping[str, Outcome], references: Mapping[str, Reference], failures: int
) -> None:
    rows = []
    for name, reference in references.items():
        outcome = outcomes[name]
        if not isinstance(outcome, SecretBridgeError):
            state, told = "ok", "" if outcome.version is None else f"version {outcome.version}"
        elif _is_absent(outcome, reference):
            state, told = "ok", "missing, which is allowed"
        else:
            state = "failed"
            told = outcome.message + (f"; {outcome.hint}" if outcome.hint else "")
        rows.append((state, name, str(reference), told.replace("\n", " ")))
    if rows:
        output.write_line(output.table(rows))
    count = "1 secret" if len(rows) == 1 else f"{len(rows)} secrets"
    output.write_line(f"{count}, {failures} failed" if failures else f"{count}, all can be had")
