"""``secretbridge migrate scan``: finds secrets in the environment, and shows no value.

The exit code is 1 if there is a finding as severe as ``--fail-on`` says or worse, else 0.
"""

from __future__ import annotations

from . import output
from ._help import examples

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..migrate.finding import Scan

__all__ = ["register", "run"]

_LEVELS = ("high", "medium", "low", "never")


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this step."""
    parser = subparsers.add_parser(
        "scan",
        help="find secrets in files, containers and git history",
        description="Find secrets that reach programs by environment variables: in .env and compose "
        "files, Dockerfiles, Kubernetes manifests, charts, units, pipelines, scripts and code. "
        "Values are never shown; equal ones have the same <fingerprint>. Exit code: 1 if anything "
        "is found that is as severe as --fail-on says or worse, else 0.",
        epilog=examples(
            ("secretbridge migrate scan --fail-on never .", "what is there in this directory?"),
            ("secretbridge migrate scan --fail-on never --explain .", "and why is it a finding?"),
            ("secretbridge migrate scan --fail-on high secrets", "in a pipeline: fail on values"),
        ),
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="files or directories (default: here)"
    )
    parser.add_argument(
        "--fail-on",
        choices=_LEVELS,
        default="low",
        help="the least severity that ends with 1 (default: low)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--table", action="store_true", help="a table for people (the default)")
    form.add_argument("--sarif", action="store_true", help="SARIF 2.1.0 for code hosts")
    parser.add_argument(
        "--running",
        action="store_true",
        help="also look at the environments of running processes and containers",
    )
    parser.add_argument(
        "--git", action="store_true", help="also look into git's index and all of its history"
    )
    parser.add_argument(
        "--explain", action="store_true", help="say why for each finding, and what no scan can see"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing; the exit code tells")
    parser.add_argument(
        "--jobs", type=int, metavar="N", default=0, help="processes to use (default: all cores)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Scan. Raises :class:`ConfigError` for a path that is not there or a mistake in the rules."""
    from os import urandom

    found = _scan(args, urandom(32))
    if not args.quiet:
        _print(found, args)
    counts = found.counts()
    failing = _LEVELS[: _LEVELS.index(args.fail_on) + 1]
    if args.fail_on == "never":
        return 0
    return 1 if any(counts[level] for level in failing) else 0


def _scan(args: argparse.Namespace, key: bytes) -> Scan:
    from dataclasses import replace

    from ..migrate.scan.project import Options, load_overrides, scan

    progress = output.Progress(not args.quiet)

    def show(files: int, size: int) -> None:
        progress.show(f"{files} files, {size / 1e6:.0f} MB")

    try:
        found = scan(args.paths or ["."], Options(key, max(0, args.jobs), on_progress=show))
        if args.git:
            from ..migrate.scan.git_history import history, with_history

            def show_git(done: int, total: int) -> None:
                progress.show(f"{done} of {total} versions in git")

            rules = load_overrides(found.root)
            found = with_history(found, history(found.root, key, rules, show_git))
    finally:
        progress.clear()
    if args.running:
        from ..migrate.scan.running import containers, processes

        for look in (processes, containers):
            running, problems = look(key)
            found = replace(
                found,
                findings=(*found.findings, *running),
                problems=(*found.problems, *problems),
            )
    return found


def _print(found: Scan, args: argparse.Namespace) -> None:
    from ..migrate.report import fields, lines, sarif

    if args.sarif:
        output.print_json(sarif.of_scan(found))
        return
    if args.json:
        output.print_json(fields.of_scan(found))
        return
    header = lines.HEADER if args.explain else lines.HEADER[:-1]
    rows = [row[: len(header)] for row in lines.rows(found)]
    if rows:
        output.write_line(output.table(rows, header))
        output.write_line("")
    for line in lines.summary(found):
        output.write_line(output.clean(line))
    if args.explain:
        output.write_line("no scan of files can see:")
        for limit in lines.LIMITS:
            output.write_line(f"  {limit}")
