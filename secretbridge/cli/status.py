"""``secretbridge status``: how fresh every secret is, and who the stores take us for.

Where a sidecar of this configuration answers on its socket, it is asked, because what counts is the
state of the process that runs. Otherwise everything is looked up here and now.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from ..errors import BackendUnavailable, ConfigError, SecretBridgeError
from . import output
from ._help import examples, seconds
from ._status_table import lines_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from typing import Any

    from ..config import Config
    from ._terminal import Live

    State = Mapping[str, Any]

__all__ = ["register", "run"]


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = subparsers.add_parser(
        "status",
        help="show how fresh everything is, and who the stores take us for",
        description="Show for each secret its state, version, age, the rest of its lease and when "
        "something is due next, and for each store who it takes us for. Asks the running sidecar if "
        "the configuration names its socket, else looks everything up. No value and no credential is "
        "shown. Ends 0 if every secret is fresh or due, else 1.",
        epilog=examples(
            ("secretbridge status", "how things are now"),
            ("secretbridge status --watch", "a table that stays up to date, until Ctrl-C"),
            (
                "secretbridge status --watch --json --interval 1m",
                "a line for a machine each minute",
            ),
        ),
    )
    parser.add_argument("--watch", action="store_true", help="go on showing it, until interrupted")
    parser.add_argument(
        "--interval",
        type=seconds,
        default=1.0,
        metavar="TIME",
        help="how often with --watch, as in 500ms, 5s or 1m (default: 1s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the status. Raises :class:`ConfigError`."""
    from .opening import configuration

    config = configuration(args)
    if config.path is None:
        raise ConfigError("no configuration file was found", hint="give --config FILE")
    with ExitStack() as opened:
        look, notice = _source(args, config, opened)
        return _watch(args, look, notice) if args.watch else _show(args, look)


def _source(
    args: argparse.Namespace, config: Config, opened: ExitStack
) -> tuple[Callable[[], State], Callable[[Callable[[], None]], object]]:
    """Return how to look, and how to be told of a change as soon as there is one."""
    from ._looking_up import look_up
    from ._sidecar_answer import ask_sidecar
    from .opening import open_broker

    if ask_sidecar(config) is not None:
        return lambda: _answer_of(ask_sidecar(config)), lambda wake: None
    broker = opened.enter_context(open_broker(config))
    look_up(broker, broker.names(), output.Progress(not args.json))
    return (
        lambda: {"secrets": broker.status(), "stores": broker.stores()},
        lambda wake: broker.watch(broker.names(), wake),
    )


def _answer_of(state: State | None) -> State:
    if state is None:
        raise BackendUnavailable(
            "the sidecar does not answer any more", hint="look whether it runs, and at its log"
        )
    return state


def _show(args: argparse.Namespace, look: Callable[[], State]) -> int:
    from ._terminal import Style, width

    state = look()
    if args.json:
        output.print_json(state)
    else:
        output.write_line("\n".join(lines_of(state, Style(), width())))
    return 0 if all(_is_good(row) for row in state.get("secrets", ())) else 1


def _is_good(row: Mapping[str, Any]) -> bool:
    return row["state"] in ("fresh", "due")


def _watch(
    args: argparse.Namespace,
    look: Callable[[], State],
    notice: Callable[[Callable[[], None]], object],
) -> int:
    from ._terminal import Ended, Live, can_move

    show = _as_json if args.json else _in_place if can_move() else _as_changes()
    try:
        with Live() as live:
            notice(live.wake)
            while True:
                try:
                    state = look()
                except SecretBridgeError as error:
                    # Somebody watches because something may go wrong: it is shown and gone on.
                    state = {"error": output.error_fields(error)}
                show(state, live)
                live.wait(args.interval)
    except Ended as ended:
        return 128 + ended.number  # as a shell reports it


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _as_json(state: State, live: Live) -> None:
    output.print_json({"time": _now(), **state}, one_line=True)


def _in_place(state: State, live: Live) -> None:
    import shutil

    from ._terminal import Style, width

    size = shutil.get_terminal_size()
    live.draw(_lines(state, Style(), width(), size.lines - 1))


def _as_changes() -> Callable[[State, Live], None]:
    """Return what shows a table whenever something besides the times has changed."""
    from ._terminal import Style

    last: object = None

    def show(state: State, live: Live) -> None:
        nonlocal last
        rows = [(r["name"], r["state"], r["version"], r["error"]) for r in state.get("secrets", ())]
        hooks = [(row["hook"], row["state"]) for row in state.get("hooks") or ()]
        sidecar = [state.get(key) for key in ("ready", "generation", "frozen")]
        told = rows, hooks, sidecar, state.get("problems"), state.get("error")
        if told != last:
            last = told
            output.write_line("\n".join([f"-- {_now()}", *_lines(state, Style(), None, None)]))

    return show


def _lines(state: State, style: Any, width: int | None, height: int | None) -> list[str]:
    error = state.get("error")
    if error is None:
        return lines_of(state, style, width, height)
    return [output.clean(f"{error['message']}; {error['hint']}")[:width]]
