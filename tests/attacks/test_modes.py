"""With no umask at all, nothing that the sidecar writes is ever open to more users than asked.

``strace`` shows what the kernel is asked for, so also what is true for a moment only.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.place import Place, memory_directory

READER, GROUP = 10002, 20001
CALLS = (
    "openat,?openat2,?open,?creat,?mkdir,mkdirat,?mknod,mknodat,?chmod,fchmod,fchmodat,?fchmodat2,"
    "?chown,fchown,fchownat,?lchown,write,pwrite64,writev,setxattr,fsetxattr,lsetxattr,umask"
)
WANTED = {"db_password": 0o440, "keys/token": 0o400, "both.json": 0o640, "pgpass": 0o400}


@dataclass
class Life:
    """What happens to one path, in order: ("mode", 0o400), ("write", 6), ("owner", (1, 2))."""

    steps: list[tuple[str, object]] = field(default_factory=list)

    def modes(self) -> list[object]:
        return [value for kind, value in self.steps if kind == "mode"]

    def last(self, kind: str) -> int:
        return max((n for n, step in enumerate(self.steps) if step[0] == kind), default=-1)


@pytest.fixture(scope="module")
def published():
    """Publish twice with umask 000; return the place and the lives of the paths in the target."""
    if shutil.which("strace") is None:
        pytest.skip("no strace")
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    with tempfile.TemporaryDirectory(dir=memory_directory()) as root:
        place = Place(Path(root))
        place.configure(
            group=GROUP,
            files={
                "db_password": {},
                "keys/token": {"secret": "api_token", "mode": "0400", "owner": READER},
                "both.json": {"format": "json", "secrets": ["db_password"], "mode": "0640"},
                "pgpass": {"format": "pgpass", "secrets": {"password": "db_password"}},
            },
        )
        log = place.root / "strace"
        text = ""
        for password in ("first", "a value of more than two pages, " * 300):
            place.put("db_password", password)
            command = ["strace", "-f", "-y", "-q", "-o", str(log), f"-etrace={CALLS}"]
            done = subprocess.run(
                [*command, *place.command("once")],
                capture_output=True,
                text=True,
                check=False,
                umask=0,
            )
            if done.returncode and "PTRACE" in done.stderr:
                pytest.skip("strace cannot trace here")
            assert done.returncode == 0, done.stderr
            text += log.read_text()
        yield place, lives(text, str(place.target))


def whole_lines(text):
    """Return the lines of strace; one that another thread's call has split is one again."""
    begun: dict[str, str] = {}
    for line in text.splitlines():
        if line.endswith(" <unfinished ...>"):
            begun[line.split()[0]] = line.removesuffix(" <unfinished ...>")
        elif resumed := re.match(r"(\d+) +<\.\.\. \w+ resumed>(.*)", line):
            yield begun.pop(resumed[1], "") + resumed[2]
        else:
            yield line


def lives(text, target):
    found: dict[str, Life] = {}

    def step(path, kind, value):
        if path.startswith(f"{target}/"):
            found.setdefault(path.removeprefix(f"{target}/"), Life()).steps.append((kind, value))

    for line in whole_lines(text):
        call = re.match(r"\d+ +(\w+)\((.*)\) += (-?\d+)", line)
        if call is None or call[3].startswith("-"):
            continue
        name, arguments = call[1], call[2]
        made = re.match(r'\w+<([^>]*)>, "([^"]*)"(?:, (.*))?$', arguments)
        on = re.match(r"\d+<([^>]*)>, (.*)$", arguments)
        if name == "openat" and made and "O_CREAT" in made[3]:
            path = f"{made[1]}/{made[2]}"
            assert "O_EXCL" in made[3], line
            assert "O_NOFOLLOW" in made[3], line
            step(path, "mode", int(made[3].rpartition(", ")[2], 8))
        elif name == "mkdirat" and made:
            step(f"{made[1]}/{made[2]}", "mode", int(made[3], 8))
        elif name == "fchmod" and on:
            step(on[1], "mode", int(on[2], 8))
        elif name == "fchown" and on:
            step(on[1], "owner", on[2])
        elif name == "write" and on:
            step(on[1], "write", int(call[3]))
        elif name == "umask":
            assert arguments == "077", (
                line
            )  # it narrows what the test has widened, never the reverse
        elif target in arguments:
            reads = name == "openat" and "O_CREAT" not in arguments
            assert reads, f"a call that this test does not know: {line}"
    return found


def files_of(published, name):
    pattern = re.compile(rf"\.\.gen-[0-9a-f]+/{re.escape(name)}")
    return [life for path, life in published[1].items() if pattern.fullmatch(path)]


@pytest.mark.parametrize("name", WANTED)
def test_a_file_is_for_its_writer_alone_until_it_is_whole_and_given_away(published, name):
    found = files_of(published, name)
    assert found
    for life in found:
        assert life.modes() == [0o400, WANTED[name]]
        # The group and the owner come before the mode, the last byte before both.
        assert life.last("write") < life.last("owner") < life.last("mode") == len(life.steps) - 1


def test_a_directory_is_closed_until_everything_in_it_is_there(published):
    found = [*files_of(published, "keys"), *generations(published)]
    assert len(found) >= 4
    for life in found:
        assert set(life.modes()[:-1]) == {0o700}
        assert life.modes()[-1] in (0o750, 0o751)
        assert life.last("mode") == len(life.steps) - 1


def generations(published):
    return [life for path, life in published[1].items() if re.fullmatch(r"\.\.gen-[0-9a-f]+", path)]


def test_nothing_else_is_written_than_the_files_and_the_manifest(published):
    written = {
        path.partition("/")[2]
        for path, life in published[1].items()
        if life.last("write") >= 0 and path.startswith("..gen-")
    }
    assert written == {*WANTED, "..manifest"}
    assert all(path.startswith("..gen-") for path in published[1])


def test_every_mode_is_exactly_the_one_that_was_asked_for(published):
    place = published[0]
    modes = {name: stat.S_IMODE((place.target / name).stat().st_mode) for name in WANTED}
    assert modes == WANTED
    token = (place.target / "keys/token").stat()
    assert (token.st_uid, token.st_gid) == (READER, GROUP)
