"""``secretbridge local``: make, fill, look at and rekey the embedded encrypted store."""

from __future__ import annotations

import os
import time

from . import output
from ._help import HIDDEN, examples
from ._local_opening import key_path, open_store, plain_locator, store_options, usage_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

__all__ = ["register", "run"]

_EXAMPLES = {
    "init": [
        ("secretbridge local init", "./secrets.sbx, with the key in your home directory"),
        ("secretbridge local init --path app.sbx --key-file app.key --keep 3", "somewhere else"),
    ],
    "set": [
        ("printf %s s3cret | secretbridge local set app/db", "from another program"),
        ("secretbridge local set app/tls < key.pem", "from a file, byte for byte"),
    ],
    "get": [
        ("secretbridge local get app/db", "version and age"),
        ("secretbridge local get app/db --version 1 --reveal", "what it was before"),
    ],
    "list": [("secretbridge local list --json", "for a machine, with all versions")],
    "rm": [("secretbridge local rm app/tls", "every version of it")],
    "rekey": [
        ("secretbridge local rekey --new-key-file new.key", "after that, configure the new file")
    ],
    "import": [
        ("secretbridge local import .env --prefix app/", "every variable becomes a secret"),
        ("secretbridge local import secrets.json", "every member of an object"),
    ],
}


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command and of its actions."""
    parser = subparsers.add_parser(
        "local",
        help="manage the embedded encrypted store",
        description="Manage the embedded encrypted store: one file, and a key that is kept elsewhere.",
        epilog=examples(
            ("secretbridge local init", "make ./secrets.sbx, and a key if there is none"),
            ("printf %s s3cret | secretbridge local set app/db", "store a value"),
            ("secretbridge local list", "what there is, in which version"),
            ("secretbridge get local:app/db", "as an application reads it"),
        ),
    )
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)

    def action(name: str, purpose: str, description: str = "") -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = actions.add_parser(
            name,
            help=purpose,
            description=description or f"{purpose.capitalize()}.",
            epilog=examples(*_EXAMPLES[name]),
        )
        _add_store_options(made)
        return made

    init = action("init", "make an empty store, and a key file if there is none")
    init.add_argument("--passphrase", action="store_true", help="ask for a passphrase as the key")
    init.add_argument(
        "--keep", type=int, default=10, metavar="N", help="versions to keep (default: 10)"
    )
    setter = action(
        "set",
        "store a value as a new version",
        "Store standard input byte for byte as a new version of LOCATOR, or ask for a value without "
        "showing it. A value is never taken from the command line.",
    )
    setter.add_argument("locator", metavar="LOCATOR")
    setter.add_argument("refused", nargs="*", help=HIDDEN)
    getter = action("get", "show a secret's version and age, or reveal it")
    getter.add_argument("locator", metavar="LOCATOR")
    getter.add_argument("--version", type=int, metavar="N", help="this version, not the latest")
    getter.add_argument(
        "--reveal", action="store_true", help="write the bare value, and nothing else"
    )
    action("list", "list locators with their versions and ages")
    remover = action("rm", "destroy all versions of a secret")
    remover.add_argument("locator", metavar="LOCATOR")
    rekey = action("rekey", "encrypt the store under a new key")
    new = rekey.add_mutually_exclusive_group(required=True)
    new.add_argument("--new-key-file", metavar="FILE", help="made if it is not there")
    new.add_argument("--new-passphrase-file", metavar="FILE")
    new.add_argument("--new-passphrase", action="store_true", help="ask for a passphrase")
    importer = action(
        "import",
        "store all values of a JSON object or a .env file",
        "Store every member of a JSON object, or every variable of a .env file, under its name. All "
        "are stored in one write, or none.",
    )
    importer.add_argument("file", metavar="FILE", help="'-' is standard input")
    importer.add_argument(
        "--format", choices=("json", "dotenv"), help="default: JSON if FILE ends in .json"
    )
    importer.add_argument(
        "--prefix", default="", metavar="PATH/", help="put this before every name"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do ``args.action``. Raises :class:`SecretBridgeError` and :class:`UsageError`."""
    actions = {
        "init": _init,
        "set": _set,
        "get": _get,
        "list": _list,
        "rm": _rm,
        "rekey": _rekey,
        "import": _import,
    }
    return actions[args.action](args)


def _add_store_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", default="local", metavar="STORE", help="store of the configuration"
    )
    parser.add_argument("--path", metavar="FILE", help="the store (default: ./secrets.sbx)")
    key = parser.add_mutually_exclusive_group()
    key.add_argument(
        "--key-file", metavar="FILE", help="its key (default: ~/.config/secretbridge/key)"
    )
    key.add_argument("--passphrase-file", metavar="FILE", help="file with its passphrase")


# The actions. Each returns the exit code.


def _init(args: argparse.Namespace) -> int:
    from ..backends.local import LocalStore, Passphrase
    from ..errors import ConfigError
    from ._local_input import KeyFileToMake, new_passphrase

    options = store_options(args)
    store = open_store(options)
    if os.path.lexists(store.path):  # before a passphrase is asked for
        raise ConfigError(
            f"there is already a file at {store.path}",
            hint="a store is never overwritten; name another with --path",
        )
    key = KeyFileToMake(key_path(options))
    has_key_file = not (args.passphrase or options.get("passphrase_file"))
    if args.passphrase:
        if args.key_file or args.passphrase_file:
            raise usage_error("--passphrase asks for the key; leave out the file")
        store = LocalStore(store.path, Passphrase(new_passphrase()))
    elif has_key_file:
        store = LocalStore(store.path, key)
    store.initialize(args.keep)
    if args.json:
        output.print_json(
            {
                "path": store.path,
                "key_file": key.path if has_key_file else None,
                "key_file_is_new": key.is_new,
                "keep": args.keep,
            }
        )
        return 0
    output.write_line(f"made the store {store.path}")
    if key.is_new:
        output.write_line(f"made its key {key.path}")
        output.note("keep a copy of the key in another place: nothing opens the store without it")
    return 0


def _set(args: argparse.Namespace) -> int:
    from ._local_input import read_value

    if args.refused:
        raise usage_error(
            "a value is never taken from the command line, where every user of this machine can see "
            "it; pipe it into the command, or type it at the prompt"
        )
    locator = plain_locator(args.locator)
    store = open_store(store_options(args))
    store.contents()  # a wrong key is told before anything has to be typed
    version = store.set(locator, read_value(is_json=args.json))
    if args.json:
        output.print_json({**_named(args, locator), "version": version})
    else:
        output.write_line(f"{_reference(args, locator)}: version {version} is stored")
    return 0


def _get(args: argparse.Namespace) -> int:
    locator = plain_locator(args.locator)
    found = open_store(store_options(args)).get(locator, args.version)
    if args.json:
        fields: dict[str, object] = {
            **_named(args, locator),
            "version": found.number,
            "time": _iso(found.time),
            "age": round(_age(found.time), 3),
        }
        output.print_json(fields | (_value(found.value) if args.reveal else {}))
    elif args.reveal:
        output.reveal(found.value)
    else:
        lines = [
            ("locator", locator),
            ("reference", _reference(args, locator)),
            ("version", str(found.number)),
            ("age", output.duration(_age(found.time))),
            ("value", f"{output.MASK}  (--reveal shows it)"),
        ]
        output.write_line(output.table(lines))
    return 0


def _list(args: argparse.Namespace) -> int:
    listed = open_store(store_options(args)).list()
    if args.json:
        output.print_json(
            [
                {
                    **_named(args, item.locator),
                    "versions": [{"version": n, "time": _iso(t)} for n, t in item.versions],
                    "deleted": None if item.deleted is None else _iso(item.deleted),
                }
                for item in listed
            ]
        )
        return 0
    rows = []
    for item in listed:
        if item.deleted is not None:
            rows.append((item.locator, "removed", "-", output.duration(_age(item.deleted))))
            continue
        last, changed = item.versions[-1]
        age = output.duration(_age(changed))
        rows.append((item.locator, str(last), str(len(item.versions)), age))
    if rows:
        output.write_line(output.table(rows, ("LOCATOR", "VERSION", "KEPT", "AGE")))
    else:
        output.note("the store is empty; `secretbridge local set LOCATOR` adds a secret")
    return 0


def _rm(args: argparse.Namespace) -> int:
    locator = plain_locator(args.locator)
    open_store(store_options(args)).remove(locator)
    if args.json:
        output.print_json({**_named(args, locator), "removed": True})
    else:
        output.write_line(f"{_reference(args, locator)}: all versions are destroyed")
    return 0


def _rekey(args: argparse.Namespace) -> int:
    from ..backends.local import create_key_file
    from ._local_input import new_passphrase

    store = open_store(store_options(args))
    store.contents()  # before a key is made that nothing would use
    if args.new_key_file:
        path = os.path.abspath(args.new_key_file)
        # Never the old path: a crash between two writes would leave the store without its key.
        if not os.path.lexists(path):
            create_key_file(path)
        store.rekey(key_file=path)
        setting = f"key_file: {path}"
    elif args.new_passphrase_file:
        path = os.path.abspath(args.new_passphrase_file)
        store.rekey(passphrase_file=path)
        setting = f"passphrase_file: {path}"
    else:
        store.rekey(passphrase=new_passphrase())
        setting = "passphrase_file: FILE"
    if args.json:
        name, _, value = setting.partition(": ")
        output.print_json({"path": store.path, name: None if args.new_passphrase else value})
        return 0
    output.write_line(f"{store.path} is encrypted under the new key")
    output.note(f"set `{setting}` in the configuration of the store")
    output.note("old copies of the store open with the old key: rotate the secrets if it leaked")
    return 0


def _import(args: argparse.Namespace) -> int:
    from ._local_import import parse_dotenv, parse_json, read_text

    is_json = args.format == "json" if args.format else args.file.endswith(".json")
    if args.file == "-" and args.format is None:
        raise usage_error("standard input has no name to tell its format; give --format")
    text = read_text(args.file)
    found = parse_json(text) if is_json else parse_dotenv(text)
    values = {plain_locator(args.prefix + name): value for name, value in found.items()}
    versions = open_store(store_options(args)).set_many(values) if values else {}
    if args.json:
        output.print_json(
            {"imported": [{**_named(args, name), "version": n} for name, n in versions.items()]}
        )
    elif versions:
        rows = [(_reference(args, name), str(number)) for name, number in versions.items()]
        output.write_line(output.table(rows, ("IMPORTED", "VERSION")))
    else:
        output.note("there was nothing to import")
    return 0


# What the actions share.


def _reference(args: argparse.Namespace, locator: str) -> str:
    from ..reference import Reference

    return str(Reference("local", args.store, locator))


def _named(args: argparse.Namespace, locator: str) -> dict[str, object]:
    return {"locator": locator, "reference": _reference(args, locator)}


def _value(value: bytes) -> dict[str, object]:
    try:
        return {"value": value.decode("utf-8")}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"value_base64": b64encode(value).decode("ascii")}


def _age(milliseconds: int) -> float:
    return max(0.0, time.time() - milliseconds / 1000)


def _iso(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
