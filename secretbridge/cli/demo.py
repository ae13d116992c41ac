"""``secretbridge demo``: the whole story on the embedded store, checked at every step.

Nothing is left behind, whether the story ends well, a check fails, or somebody presses Ctrl-C: every
process that was started is ended by its id, and the private directory is removed. Only SIGKILL can
prevent that.
"""

from __future__ import annotations

import time

from . import output
from ._help import examples

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ._demo_screen import Screen
    from ._demo_stage import Stage
    from ._demo_story import Story

__all__ = ["register", "run"]


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = subparsers.add_parser(
        "demo",
        help="see a secret travel from a store into an application and rotate",
        description="Show a secret's way from the embedded store through the sidecar into an "
        "application, a rotation, a killed sidecar and an outage, in a private directory in memory. "
        "Takes about ten seconds and leaves nothing behind. Ends 0 if every check along "
        "the way held, else 1.",
        epilog=examples(
            ("secretbridge demo", "the whole story"),
            ("secretbridge demo --json", "which steps held, for a machine"),
        ),
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the directory, and say where it is"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell the story. Raises :class:`UnsafeTarget` where there is no private memory."""
    # Here and not at the top: `demo --help` needs none of this.
    from ._demo_processes import Interrupted, Signals, StepFailed
    from ._demo_screen import Screen
    from ._demo_stage import Stage
    from ._demo_story import Story

    screen = Screen(is_silent=args.json)
    told: list[dict[str, object]] = []
    failure: str | None = None
    begin = time.monotonic()
    with Signals() as signals:
        stage = Stage(screen, signals, keeps=args.keep)
        story = Story(stage)
        try:
            _tell(story, screen, told)
        except StepFailed as error:
            failure = str(error)
        except Interrupted as error:
            failure = f"interrupted by {error}"
        finally:
            stage.clean_up()  # silent: standard output may be what has just failed
        if stage.left and failure is None:
            failure = "something could not be removed"
        if args.json:
            output.print_json(_result(stage, story, told, failure, time.monotonic() - begin))
        else:
            _close(stage, len(told), failure, time.monotonic() - begin)
        if signals.number is not None:
            return 128 + signals.number  # as a shell reports it
    return 0 if failure is None else 1


def _tell(story: Story, screen: Screen, told: list[dict[str, object]]) -> None:
    screen.title("secretbridge demo")
    screen.say(
        "A password travels from a store into an application, and changes while both run. This takes "
        "about ten seconds. Lines with $ show what is done; lines with ok, what has been checked."
    )
    for number, (name, title, act) in enumerate(story.steps, 1):
        screen.heading(number, title)
        begin = time.monotonic()
        entry: dict[str, object] = {"step": name, "title": title, "ok": False}
        told.append(entry)
        try:
            act()
            entry["ok"] = True
        finally:
            entry["seconds"] = round(time.monotonic() - begin, 3)


def _result(
    stage: Stage, story: Story, told: list[dict[str, object]], failure: str | None, seconds: float
) -> dict[str, object]:
    return {
        "ok": failure is None,
        "failure": failure,
        "seconds": round(seconds, 3),
        "steps": told,
        **story.facts,
        "kept": stage.place,
        "left_behind": stage.left,
    }


def _close(stage: Stage, steps: int, failure: str | None, seconds: float) -> None:
    screen = stage.screen
    screen.gap()
    if failure is None:
        screen.say(f"All {steps} steps held, in {seconds:.0f} seconds.")
        screen.say("To do this yourself:  docs/tutorial.md")
        screen.say("To copy from:         examples/orders/app.py")
        return
    screen.failed(failure)
    screen.say("All processes that the demo had started have been ended.")
    if stage.left:
        screen.say(f"This could not be removed: {', '.join(stage.left)}")
    elif stage.place is not None:
        screen.say(f"As --keep asks, its directory is still there: {stage.place}")
        screen.say("What each process has printed stands below log/ in it.")
    else:
        screen.say("Its directory has been removed; --keep leaves it, with all output below log/.")
