"""``secretbridge audit``: verify an audit log, and find out what stands for a name or a value in it."""

from __future__ import annotations

import os
import sys

from . import output
from ._help import HIDDEN, examples

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..audit import Head, Report

__all__ = ["register", "run"]


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command and of its actions."""
    parser = subparsers.add_parser(
        "audit",
        help="verify an audit log, or look up what stands in it for a name or a value",
        description="Verify an audit log, or look up what stands in it for a name or a value.",
        epilog=examples(
            ("secretbridge audit verify audit.log", "is it as it was written, to its end?"),
            (
                "printf %s db_password | secretbridge audit hash --key-file audit.log.key",
                "what to search for in the log",
            ),
        ),
    )
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    verify = actions.add_parser(
        "verify",
        help="find lines that were changed, removed, reordered or cut off",
        description="Find lines that were changed, removed, reordered, inserted or cut off. Several "
        "files are one log, the oldest first. Exit code: 0 nothing found; 1 something found; 2 the key "
        "or a file cannot be read.",
        epilog=examples(
            ("secretbridge audit verify audit.log", "with audit.log.key and audit.log.head"),
            ("secretbridge audit verify audit.log.1 audit.log --json", "rotated, for a machine"),
        ),
    )
    verify.add_argument("files", metavar="FILE", nargs="+")
    verify.add_argument(
        "--key-file", metavar="FILE", help="default: FILE.key, else that of the configuration"
    )
    verify.add_argument(
        "--head-file", metavar="FILE", help="what the log has to reach (default: FILE.head)"
    )
    verify.add_argument(
        "--expect-head", metavar="SEQ:MAC", help="the same as text, as the sidecar's status has it"
    )
    verify.add_argument(
        "--syslog", action="store_true", help="there are other things before and between the lines"
    )
    lookup = actions.add_parser(
        "hash",
        help="show what stands in the log for a name, a reference or a value",
        description="Show what stands in the log for what is read from standard input, byte for byte, "
        "or typed at a prompt that does not show it.",
        epilog=examples(
            (
                "printf %s vault:kv/app/db | secretbridge audit hash --key-file audit.log.key",
                "of a reference",
            ),
            ("secretbridge audit hash --key-file audit.log.key < key.pem", "of a value"),
        ),
    )
    lookup.add_argument(
        "--key-file", metavar="FILE", help="default: that of the configuration's audit log"
    )
    lookup.add_argument("refused", nargs="*", help=HIDDEN)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do ``args.action``. Raises :class:`ConfigError` and :class:`UsageError`."""
    return _verify(args) if args.action == "verify" else _hash(args)


def _verify(args: argparse.Namespace) -> int:
    from ..audit import verify
    from ..errors import ConfigError

    last = args.files[-1]
    key = _key(args, f"{last}.key")
    expected = _expected(args, f"{last}.head")
    try:
        report = verify(args.files, key, expected=expected, is_syslog=args.syslog)
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be read ({error.strerror})", hint="name a file that is there"
        ) from None
    if args.json:
        output.print_json(_fields(report))
    else:
        _print(report)
    return 1 if report.count else 0


def _expected(args: argparse.Namespace, usual: str) -> Head | None:
    from ..audit import Head, read_head
    from . import UsageError

    if args.expect_head is not None and args.head_file is not None:
        raise UsageError("--expect-head and --head-file exclude each other", "")
    if args.expect_head is not None:
        try:
            return Head.parse(args.expect_head)
        except ValueError as error:
            raise UsageError(f"argument --expect-head: {error}", "") from None
    return read_head(args.head_file or usual, must_exist=args.head_file is not None)


def _key(args: argparse.Namespace, usual: str | None = None) -> bytes:
    from ..audit import read_key

    if args.key_file is not None:
        return read_key(args.key_file)
    if usual is not None and os.path.exists(usual):
        return read_key(usual)
    return read_key(_configured(args))


def _configured(args: argparse.Namespace) -> str | os.PathLike[str]:
    from ..errors import ConfigError
    from .opening import configuration

    sidecar = configuration(args).sidecar
    audit = sidecar.audit if sidecar is not None else None
    if audit is not None and audit.key_file is not None:
        return audit.key_file
    if audit is not None and audit.path != "-" and not audit.path.startswith("syslog:"):
        return f"{audit.path}.key"
    raise ConfigError(
        "the configuration names no key of an audit log", hint="name its file with --key-file"
    )


def _fields(report: Report) -> dict[str, object]:
    return {
        "ok": report.count == 0,
        "lines": report.lines,
        "first": report.first,
        "head": None if report.head is None else str(report.head),
        "end": report.end,
        "found": report.count,
        "problems": [
            {"file": each.file, "line": each.line, "kind": each.kind, "message": each.text}
            for each in report.problems
        ],
        "notes": list(report.notes),
    }


_ENDS = {
    "checked": "up to the head that was expected",
    "closed": "closed by its writer; that nothing was cut off after it, only a head can tell",
    "open": "not closed; that nothing was cut off after it, only a head can tell",
}


def _print(report: Report) -> None:
    for each in report.problems:
        output.write_line(output.clean(f"{each.file}:{each.line}: {each.kind}: {each.text}"))
    for note in report.notes:
        output.write_line(output.clean(f"note: {note}"))
    lines = "1 line" if report.lines == 1 else f"{report.lines} lines"
    if report.count:
        output.write_line(f"{lines} as written, {report.count} found wrong")
    else:
        output.write_line(f"{lines} as written; {_ENDS[report.end]}")
    if report.head is not None:
        output.write_line(f"head  {report.head}")


def _hash(args: argparse.Namespace) -> int:
    from ..audit import Keys
    from . import UsageError
    from ._local_input import ask, read_value

    if args.refused:
        raise UsageError(
            "what to look up is never given on the command line; pipe it into the command", ""
        )
    keys = Keys(_key(args))
    if sys.stdin is not None and sys.stdin.isatty():
        content = ask("to look up: ").encode()
    else:
        content = read_value(is_json=args.json)
    identifier = keys.identify(content)
    if args.json:
        output.print_json({"identifier": identifier})
    else:
        output.write_line(identifier)
    return 0
