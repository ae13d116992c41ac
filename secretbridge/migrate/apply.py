"""Does what a plan says: values into the store first, then the files; all of it or nothing.

The order is what makes a crash harmless. A value is in the store, and was read back, before the first
byte of a file changes; every step stands in the journal before it is done. Whatever goes wrong is
taken back at once, and after a crash by ``rollback``.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ConfigError, IntegrityError, SecretBridgeError
from ._tree import Status, Tree
from .edits import Change
from .journal import Journal, State
from .plan import Plan
from .rollback import roll_back
from .stores import Target

__all__ = ["Applied", "apply"]

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done: names of values that are new in the store, those that were there, files."""

    stored: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    journal: str | None = None


def apply(
    plan: Plan, tree: Tree, target: Target, state: State, step: Step = lambda name: None
) -> Applied:
    """Carry out ``plan``, which was made of what is there now; a plan without changes does nothing.

    ``step`` is called with a name before each step, for progress. Raises what a store refuses,
    :class:`IntegrityError` for a file that changed meanwhile, and :class:`ConfigError` after a run
    that did not end; in each case nothing has changed.
    """
    with state.locked(tree.root):
        former = state.latest(tree.root)
        if former is not None and former.state == "open":
            raise ConfigError(
                "a former `migrate apply` did not come to its end",
                hint="run `secretbridge migrate rollback` first, then plan again",
            )
        if not plan.changes and not plan.moved:
            return Applied()
        for change in plan.changes:
            tree.expect(change.path, change.before)
        run = _Run(plan, tree, target, state.begin(tree.root), step)
        failure: BaseException
        try:
            return run.carry_out()
        except BaseException as error:  # noqa: BLE001 - an interruption is taken back as well
            failure = error
        _take_back(run.journal, tree, target, failure)
        raise failure


def _take_back(journal: Journal, tree: Tree, target: Target, failure: BaseException) -> None:
    """Roll back; if that fails as well, the first error says so: it is the one to act on."""
    try:
        roll_back(journal, tree, target)
    except (SecretBridgeError, OSError) as second:
        reason = second.message if isinstance(second, SecretBridgeError) else second.strerror
        failure.add_note(
            f"not everything could be taken back ({reason}); run `secretbridge migrate rollback`"
        )


class _Run:
    def __init__(
        self, plan: Plan, tree: Tree, target: Target, journal: Journal, step: Step
    ) -> None:
        self.plan = plan
        self.tree = tree
        self.target = target
        self.journal = journal
        self.step = step

    def carry_out(self) -> Applied:
        self.step("journal")
        self._announce()
        stored, present = self._store()
        staged = self._stage()
        self._publish(staged)
        self.step("end")
        self.journal.write("done")
        return Applied(
            tuple(stored),
            tuple(present),
            tuple(change.path for change in self.plan.changes),
            str(self.journal.path),
        )

    def _announce(self) -> None:
        """Write down everything that is there now, and where new files and directories will be."""
        files = []
        for number, change in enumerate(self.plan.changes):
            seen = self.tree.seen(change.path)
            if (None if seen is None else seen[0]) != change.before:
                raise _changed(change)
            status = None if seen is None else seen[1]
            files.append(
                {
                    "path": change.path,
                    "before": _text(change.before),
                    "after": _text(change.after),
                    "status": None if status is None else _fields(status),
                    "temporary": f".secretbridge-{self.journal.path.stem}-{number}",
                }
            )
        self.journal.write(
            "begin",
            root=self.tree.root,
            settings=self.plan.to_json()["settings"],
            store=self.target.record,
            files=files,
            folders=self._new_folders(),
        )

    def _new_folders(self) -> list[str]:
        """Return the directories that will be made, the outermost first."""
        paths = [change.path for change in self.plan.changes]
        if self.target.path is not None:
            paths.append(os.path.relpath(self.target.path, self.tree.root))
        found: list[str] = []
        for path in paths:
            parts = path.split("/")[:-1]
            for end in range(1, len(parts) + 1):
                folder = "/".join(parts[:end])
                full = os.path.join(self.tree.root, folder)
                if ".." not in parts and folder not in found and not os.path.isdir(full):
                    found.append(folder)
        return found

    # Values -------------------------------------------------------------------------------------

    def _store(self) -> tuple[list[str], list[str]]:
        moved = [secret for secret in self.plan.moved if secret.is_stored]
        if moved and self.target.path is not None and not os.path.lexists(self.target.path):
            self.step("make the store")
            self.journal.write("make-store", path=self.target.path)
            self.target.prepare()
        stored: list[str] = []
        present: list[str] = []
        for secret in moved:
            value = self.plan.values[secret.name]
            self.step(f"look at {secret.reference}")
            found = self.target.look(secret.reference)
            if found is not None:
                if found != value:
                    raise IntegrityError(
                        "there is another value already, and it was not written over",
                        reference=secret.reference,
                        hint="give the secret another name in the plan, or choose another --prefix",
                    )
                self.journal.write("present", reference=secret.reference, value=_text(value))
                present.append(secret.name)
                continue
            self.journal.write("store", reference=secret.reference, value=_text(value))
            self.step(f"store {secret.reference}")
            version = self.target.put(secret.reference, value)
            self.step(f"stored {secret.reference}")
            self.journal.write("stored", reference=secret.reference, version=version)
            stored.append(secret.name)
        self.step("read back")
        self.target.verify({s.reference: self.plan.values[s.name] for s in moved})
        return stored, present

    # Files --------------------------------------------------------------------------------------

    def _stage(self) -> dict[str, str]:
        (begin,) = self.journal.of("begin")
        staged = {}
        for change, file in zip(self.plan.changes, begin["files"], strict=True):
            if change.after is None:
                continue
            self.step(f"write {change.path}")
            status = None if file["status"] is None else Status(**file["status"])
            staged[change.path] = self.tree.stage(
                change.path, change.after, status, change.mode, file["temporary"]
            )
        return staged

    def _publish(self, staged: dict[str, str]) -> None:
        for change in self.plan.changes:
            self.tree.expect(change.path, change.before)
        self.step("change files")
        self.journal.write("change")
        for change in self.plan.changes:
            self.step(f"change {change.path}")
            self.tree.expect(change.path, change.before)
            if change.after is None:
                self.tree.remove(change.path)
            else:
                self.tree.publish(staged[change.path], change.path)


def _changed(change: Change) -> IntegrityError:
    return IntegrityError(
        f"{change.path} has changed since it was looked at",
        hint="nothing was changed; make the plan again",
    )


def _text(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()


def _fields(status: Status) -> dict[str, int]:
    return {
        "mode": status.mode,
        "owner": status.owner,
        "group": status.group,
        "modified": status.modified,
    }
