"""``secretbridge doctor``: looks for what weakens the protection of secrets, and says what to do."""

from __future__ import annotations

from . import output
from ._help import examples

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from ..broker import Broker
    from ..doctor.facts import Facts
    from ..doctor.findings import Finding, Result
    from ..errors import SecretBridgeError
    from ..secret import Secret

__all__ = ["register", "run"]


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = subparsers.add_parser(
        "doctor",
        help="look for what weakens the protection of secrets here",
        description="Look at the target, the files, the running sidecar, the processes and their "
        "environments, the clock and the stores, and tell what weakens the protection of secrets and "
        "what to do about it. No value is shown, nothing is changed. Ends 0 if nothing was found, 1 if "
        "something was, 2 if the configuration is wrong. Notes do not count.",
        epilog=examples(
            (
                "secretbridge doctor",
                "in the container of the sidecar, and in that of the application",
            ),
            ("secretbridge doctor --json --offline", "for a machine, without asking any store"),
            (
                "secretbridge doctor --accept namespace.shared",
                "what has been decided on does not count",
            ),
        ),
    )
    parser.add_argument("--offline", action="store_true", help="ask no store and no server")
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="ID",
        help="show findings of this kind as notes; may be repeated",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine everything. Raises :class:`ConfigError`."""
    from ..config import load_config
    from ..doctor.checks import CHECKS
    from ..doctor.collect import collect
    from ..doctor.findings import NOTE, examine
    from ._sidecar_answer import ask_sidecar

    config = load_config(args.config)  # its warnings are among the findings
    progress = output.Progress(not args.json)

    def look_up(broker: Broker) -> Mapping[str, Secret | SecretBridgeError]:
        from ._looking_up import look_up

        return look_up(broker, broker.names(), progress)

    facts = collect(config, is_offline=args.offline, ask=ask_sidecar, look_up=look_up)
    results = examine(facts, CHECKS)
    counted = [
        finding
        for result in results
        for finding in result.findings
        if finding.severity != NOTE and finding.id not in args.accept
    ]
    if args.json:
        output.print_json(_fields(results, facts, args.accept, is_good=not counted))
    else:
        _print(results, len(counted), args.accept)
    return 1 if counted else 0


def _severity(finding: Finding, accepted: Sequence[str]) -> str:
    return "accepted" if finding.id in accepted else finding.severity


def _fields(
    results: Iterable[Result], facts: Facts, accepted: Sequence[str], *, is_good: bool
) -> dict[str, object]:
    results = list(results)
    return {
        "ok": is_good,
        "findings": [
            {
                "id": finding.id,
                "severity": _severity(finding, accepted),
                "subject": finding.subject,
                "seen": finding.seen,
                "remedy": finding.remedy,
                "see": finding.see,
            }
            for result in results
            for finding in result.findings
        ],
        "checks": [
            {
                "id": result.check.id,
                "title": result.check.title,
                "state": _state(result, accepted),
                "skipped": result.skipped,
            }
            for result in results
        ],
        "enforced": facts.sidecar,
    }


def _state(result: Result, accepted: Sequence[str]) -> str:
    if result.skipped is not None:
        return "skipped"
    severities = {_severity(finding, accepted) for finding in result.findings}
    return next((each for each in ("error", "warning") if each in severities), "ok")


def _print(results: Sequence[Result], count: int, accepted: Sequence[str]) -> None:
    from ._terminal import Style

    style = Style()
    kinds = {"error": "bad", "warning": "odd", "ok": "good"}
    for result in results:
        state = _state(result, accepted)
        why = f" ({result.skipped})" if result.skipped is not None else ""
        shown = style.paint(state.ljust(8), kinds.get(state, ""))
        output.write_line(f"{shown} {result.check.id}: {result.check.title}{output.clean(why)}")
        for finding in result.findings:
            severity = _severity(finding, accepted)
            output.write_line(f"         {severity} {finding.id}: {output.clean(finding.subject)}")
            output.write_line(f"           {output.clean(finding.seen)}")
            output.write_line(f"           -> {output.clean(finding.remedy)}")
    skipped = sum(result.skipped is not None for result in results)
    told = "nothing found" if not count else "1 finding" if count == 1 else f"{count} findings"
    output.write_line(f"{told}, {skipped} checks skipped" if skipped else told)
