"""Apply is all or nothing, whatever fails and wherever it is killed; rollback brings every byte back."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from secretbridge.backends.local import LocalStore
from secretbridge.config import StoreConfig
from secretbridge.errors import BackendUnavailable, ConfigError, IntegrityError
from secretbridge.migrate._tree import Tree
from secretbridge.migrate.apply import apply
from secretbridge.migrate.edits import Change
from secretbridge.migrate.journal import State
from secretbridge.migrate.plan import Plan, PlannedSecret, Settings
from secretbridge.migrate.rollback import roll_back
from secretbridge.migrate.stores import Target

ENV = b"# the database\r\nDB_PASSWORD='north-star-9321'\r\nDEBUG=1"
AFTER = b"# the database\r\nDEBUG=1"
COMPOSE = b"services: {}\n"
MODIFIED = 1_600_000_000_123_456_789


def plan(root: Path) -> Plan:
    secrets = [PlannedSecret(f"s{n}", f"local:app/s{n}", f"f{n}", ()) for n in range(3)]
    return Plan(
        str(root),
        Settings(),
        tuple(secrets),
        changes=(
            Change(".env", ENV, AFTER),
            Change("deploy/compose.yaml", COMPOSE, COMPOSE + b"# more\n"),
            Change("secretbridge.d/x.j2", None, b"{{ s0 }}\n"),
            Change("old.yaml", b"gone\n", None),
        ),
        values={f"s{n}": f"north-star-{n}-9321".encode() for n in range(3)},
    )


class Project:
    def __init__(self, root: Path, state: Path) -> None:
        self.root = root
        self.state = State(state)
        self.tree = Tree(str(root))
        self.key = state.parent / "key"
        options = {"path": str(root / "secretbridge.d/secrets.sbx"), "key_file": str(self.key)}
        self.target = Target(Settings(), StoreConfig("local", "local", options))

    def fill(self) -> None:
        (self.root / "deploy").mkdir(parents=True)
        (self.root / ".env").write_bytes(ENV)
        (self.root / ".env").chmod(0o640)
        os.utime(self.root / ".env", ns=(MODIFIED, MODIFIED))
        (self.root / "deploy/compose.yaml").write_bytes(COMPOSE)
        (self.root / "old.yaml").write_bytes(b"gone\n")

    def snapshot(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            status = path.stat()
            found[name] = (
                stat.S_IMODE(status.st_mode),
                path.read_bytes() if path.is_file() else None,
                status.st_mtime_ns if name == ".env" else 0,
            )
        return found

    def values(self) -> dict[str, bytes]:
        path = self.root / "secretbridge.d/secrets.sbx"
        if not path.exists():
            return {}
        store = LocalStore.open(path, key_file=self.key)
        return {
            each.locator: store.get(each.locator).value for each in store.list() if each.versions
        }

    def roll_back(self, **options: bool) -> object:
        journal = self.state.latest(str(self.root))
        assert journal is not None
        return roll_back(journal, self.tree, self.target, **options)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project", tmp_path / "state")
    made.root.mkdir()
    made.fill()
    return made


def test_values_come_before_files_and_all_is_done(project: Project) -> None:
    steps: list[str] = []
    done = apply(plan(project.root), project.tree, project.target, project.state, steps.append)
    assert done.stored == ("s0", "s1", "s2")
    assert project.values() == {f"app/s{n}": f"north-star-{n}-9321".encode() for n in range(3)}
    assert (project.root / ".env").read_bytes() == AFTER
    assert stat.S_IMODE((project.root / ".env").stat().st_mode) == 0o640
    assert not (project.root / "old.yaml").exists()
    first_change = next(n for n, step in enumerate(steps) if step.startswith("change "))
    assert steps.index("read back") < first_change
    assert not list(project.root.rglob(".secretbridge-*"))


def test_rollback_brings_back_every_byte_mode_and_time(project: Project) -> None:
    before = project.snapshot()
    apply(plan(project.root), project.tree, project.target, project.state)
    project.roll_back()
    assert project.snapshot() == before
    project.roll_back()  # again: nothing to do
    assert project.snapshot() == before


def test_a_second_apply_of_nothing_is_nothing(project: Project) -> None:
    apply(plan(project.root), project.tree, project.target, project.state)
    before = project.snapshot()
    empty = Plan(str(project.root), Settings())
    assert apply(empty, project.tree, project.target, project.state).changed == ()
    assert project.snapshot() == before


def test_rollback_can_leave_the_values(project: Project) -> None:
    apply(plan(project.root), project.tree, project.target, project.state)
    project.roll_back(keep_values=True)
    assert len(project.values()) == 3
    assert (project.root / ".env").read_bytes() == ENV


def test_rollback_leaves_a_value_that_somebody_replaced(project: Project) -> None:
    apply(plan(project.root), project.tree, project.target, project.state)
    store = LocalStore.open(project.root / "secretbridge.d/secrets.sbx", key_file=project.key)
    store.set("app/s1", b"a-newer-value-5521")
    project.roll_back()
    assert project.values() == {"app/s1": b"a-newer-value-5521"}


def test_rollback_stops_at_a_file_that_was_changed_afterwards(project: Project) -> None:
    apply(plan(project.root), project.tree, project.target, project.state)
    (project.root / ".env").write_bytes(b"EDITED=1\n")
    before = project.snapshot()
    with pytest.raises(IntegrityError, match=r"\.env"):
        project.roll_back()
    assert project.snapshot() == before
    project.roll_back(force=True)
    assert (project.root / ".env").read_bytes() == ENV


def test_a_foreign_value_is_never_written_over(project: Project) -> None:
    project.target.prepare()
    LocalStore.open(project.target.path or "", key_file=project.key).set(
        "app/s1", b"somebody-elses"
    )
    before = project.snapshot()
    with pytest.raises(IntegrityError, match="another value"):
        apply(plan(project.root), project.tree, project.target, project.state)
    assert project.values() == {"app/s1": b"somebody-elses"}
    after = project.snapshot()
    assert {k: v for k, v in after.items() if ".sbx" not in k} == {
        k: v for k, v in before.items() if ".sbx" not in k
    }


def test_an_equal_value_is_taken_as_it_is_and_stays_at_rollback(project: Project) -> None:
    project.target.prepare()
    LocalStore.open(project.target.path or "", key_file=project.key).set(
        "app/s1", b"north-star-1-9321"
    )
    done = apply(plan(project.root), project.tree, project.target, project.state)
    assert done.present == ("s1",)
    project.roll_back()
    assert project.values() == {"app/s1": b"north-star-1-9321"}


class _Full(Target):
    """A store that has room for one value."""

    def put(self, reference: str, value: bytes) -> str:
        if reference != "local:app/s0":
            raise BackendUnavailable("the disk is full", hint="make room")
        return super().put(reference, value)


def test_a_store_that_refuses_in_the_middle_is_rolled_back(project: Project) -> None:
    before = project.snapshot()
    target = _Full(Settings(), project.target._store)
    with pytest.raises(BackendUnavailable, match="full"):
        apply(plan(project.root), project.tree, target, project.state)
    assert project.snapshot() == before


def test_a_file_that_changes_during_apply_is_named_and_all_is_rolled_back(project: Project) -> None:
    compose = project.root / "deploy/compose.yaml"
    before = project.snapshot()

    def meddle(step: str) -> None:
        if step == "change deploy/compose.yaml":
            compose.write_bytes(b"services: {a: 1}\n")

    with pytest.raises(IntegrityError, match=r"compose\.yaml") as caught:
        apply(plan(project.root), project.tree, project.target, project.state, meddle)
    assert caught.value.__notes__ == [
        "not everything could be taken back (changed after the migration: deploy/compose.yaml); "
        "run `secretbridge migrate rollback`"
    ]
    # Nothing was touched, since somebody's change is in the way; with it out of the way all goes.
    compose.write_bytes(COMPOSE)
    project.roll_back()
    assert project.snapshot() == before


def test_an_apply_that_did_not_end_has_to_be_rolled_back_first(project: Project) -> None:
    project.state.begin(str(project.tree.root)).write("begin", files=[], folders=[])
    with pytest.raises(ConfigError, match="did not come to its end"):
        apply(plan(project.root), project.tree, project.target, project.state)


def test_a_link_out_of_the_tree_is_not_followed(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(ENV)
    (project.root / ".env").unlink()
    (project.root / ".env").symlink_to(outside)
    with pytest.raises(Exception, match="leads out"):
        apply(plan(project.root), project.tree, project.target, project.state)
    assert outside.read_bytes() == ENV


def test_a_link_within_the_tree_stays_a_link(project: Project) -> None:
    (project.root / ".env").rename(project.root / "real.env")
    (project.root / ".env").symlink_to("real.env")
    apply(plan(project.root), project.tree, project.target, project.state)
    assert (project.root / ".env").is_symlink()
    assert (project.root / "real.env").read_bytes() == AFTER


def run_until(project: Project, fatal: int) -> int:
    """Apply in a child that is killed at the step number ``fatal``; return how it ended."""
    child = os.fork()
    if child == 0:
        count = 0

        def step(name: str) -> None:
            nonlocal count
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            apply(plan(project.root), project.tree, project.target, project.state, step)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_at_every_step_it_can_be_taken_back_and_done_again(tmp_path: Path) -> None:
    fatal = 1
    while True:
        folder = tmp_path / str(fatal)
        project = Project(folder / "project", folder / "state")
        project.root.mkdir(parents=True)
        project.fill()
        before = project.snapshot()
        ended = run_until(project, fatal)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        journal = project.state.latest(str(project.root))
        if journal is not None:
            assert journal.state == "open"
            project.roll_back()
        assert project.snapshot() == before, f"killed at step {fatal}"
        assert project.values() == {}
        apply(plan(project.root), project.tree, project.target, project.state)
        assert len(project.values()) == 3
        fatal += 1
    assert fatal > 15


def test_rollback_that_fails_halfway_can_be_repeated(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.snapshot()
    apply(plan(project.root), project.tree, project.target, project.state)
    calls = iter(range(100))
    publish = Tree.publish

    def failing(self: Tree, staged: str, path: str) -> None:
        if next(calls) == 1:
            raise OSError(28, "No space left on device")
        publish(self, staged, path)

    monkeypatch.setattr(Tree, "publish", failing)
    with pytest.raises(OSError, match="No space"):
        project.roll_back()
    project.roll_back()
    assert project.snapshot() == before
