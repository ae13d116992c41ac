"""What the steps of ``secretbridge migrate`` share: where the project is, its settings, its scan."""

from __future__ import annotations

import os

from . import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ..migrate._tree import Tree
    from ..migrate.finding import Scan
    from ..migrate.journal import State
    from ..migrate.plan import Plan, Settings

__all__ = [
    "add_common",
    "add_settings",
    "make_plan",
    "place",
    "saved_plan",
    "scanned",
    "settings_of",
    "tree_and_state",
]


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every step takes."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="root of the project, or parts of it: what they have in common is the root (default: .)",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument(
        "--state", metavar="DIR", help="journals and key (default: ~/.local/state/secretbridge)"
    )
    parser.add_argument(
        "--plan",
        metavar="FILE",
        help="the saved plan (default: secretbridge-plan.json in PATH, if it is there)",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what a plan is made with."""
    parser.add_argument("--store", metavar="NAME", help="store for the values (default: local)")
    parser.add_argument(
        "--prefix", metavar="PATH", help="put this before every name in the store (default: PATH's)"
    )
    parser.add_argument(
        "--delivery",
        choices=("sidecar", "secrets"),
        help="how files come to compose services: a sidecar's volume, or top-level secrets",
    )
    parser.add_argument(
        "--target", metavar="DIR", help="where files are in containers (default: /run/secretbridge)"
    )
    parser.add_argument(
        "--unknown",
        choices=("leave", "file"),
        help="a variable that nobody is seen to read from a file: leave it, or make it NAME_FILE",
    )


def place(args: argparse.Namespace) -> str:
    """Return the root of the project. Raises :class:`ConfigError`."""
    from ..errors import ConfigError

    real = [os.path.realpath(path) for path in args.paths or ["."]]
    missing = [
        given for given, path in zip(args.paths, real, strict=False) if not os.path.exists(path)
    ]
    if missing:
        raise ConfigError(f"{missing[0]}: there is no such directory", hint="check PATH")
    folders = [path if os.path.isdir(path) else os.path.dirname(path) for path in real]
    root: str = os.path.commonpath(folders)
    return root


def tree_and_state(args: argparse.Namespace) -> tuple[Tree, State]:
    """Return the files and the journals of the project."""
    from ..migrate._tree import Tree
    from ..migrate.journal import State

    return Tree(place(args)), State(args.state)


def saved_plan(args: argparse.Namespace) -> Plan | None:
    """Return the plan that was saved, or None when there is none."""
    from ..errors import ConfigError
    from ..migrate.plan import FILE_NAME, read_plan

    root = place(args)
    path = args.plan or os.path.join(root, FILE_NAME)
    reason = ""
    try:
        with open(path, encoding="utf-8") as file:
            return read_plan(file.read(), root)
    except FileNotFoundError:
        if args.plan is None:
            return None
        reason = "there is no such file"
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "") if isinstance(error, OSError) else "it is no UTF-8"
    raise ConfigError(f"the plan {path} cannot be read: {reason}", hint="check --plan")


def settings_of(args: argparse.Namespace, root: str) -> Settings:
    """Return the settings that the command line and the configuration name."""
    from ..config import load_config
    from ..errors import ConfigError
    from ..migrate.naming import project_name
    from ..migrate.plan import Settings

    config = "secretbridge.yaml" if args.config is None else os.path.relpath(args.config, root)
    path = os.path.join(root, config)
    stores = load_config(path).stores if os.path.exists(path) else {}
    store = args.store or "local"
    found = stores.get(store)
    backend = found.backend if found is not None else store
    if backend not in ("local", "vault", "aws-sm"):
        raise ConfigError(
            f"there is no store {store!r} that can be written to",
            hint=f"describe it under 'stores:' in {config}; vault, aws-sm and local take values",
        )
    prefix = args.prefix if args.prefix is not None else project_name(root)
    if backend == "vault" and args.prefix is None:
        prefix = f"secret/{prefix}"
    return Settings(
        store=store,
        backend=backend,
        prefix=prefix.strip("/"),
        delivery=args.delivery or "sidecar",
        target=(args.target or "/run/secretbridge").rstrip("/"),
        unknown=args.unknown or "leave",
        config=config,
    )


def scanned(args: argparse.Namespace, tree: Tree, state: State) -> Scan:
    """Scan the project, with progress on a terminal."""
    from ..migrate.scan.project import Options, scan

    progress = output.Progress(not args.json and not args.quiet)

    def show(files: int, size: int) -> None:
        progress.show(f"scanning: {files} files, {size >> 20} MiB")

    try:
        return scan(args.paths or [tree.root], Options(state.fingerprint_key(), on_progress=show))
    finally:
        progress.clear()


def make_plan(args: argparse.Namespace, tree: Tree, state: State, saved: Plan | None) -> Plan:
    """Scan and build; with a saved plan its settings and decisions hold."""
    from ..migrate.build import build
    from ..migrate.plan import Decisions

    settings = saved.settings if saved is not None else settings_of(args, tree.root)
    decisions = saved.decisions() if saved is not None else Decisions()
    return build(scanned(args, tree, state), tree, settings, decisions)
