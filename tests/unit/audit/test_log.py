"""Events in, lines out, and what happens when lines cannot be written."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from secretbridge.audit import (
    AuditFailed,
    AuditLog,
    FileSink,
    Head,
    HeadFile,
    Keys,
    StreamSink,
    SyslogSink,
    open_log,
    places,
    read_head,
    read_key,
    verify,
)
from secretbridge.audit import log as log_module
from secretbridge.errors import ConfigError
from secretbridge.testing import FakeClock

from .places import KEY, Memory, checked, kinds, open_at, resolve, told


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder, "audit.log")


def reasons(path: Path) -> list[object]:
    return [line.get("reason_code") for line in told(path) if line["event"] == "checkpoint"]


# Lines ------------------------------------------------------------------------------------------


def test_a_log_is_made_with_mode_0600_whatever_the_umask_is(path: Path) -> None:
    mask = os.umask(0)
    try:
        with open_at(path) as log:
            resolve(log, 1)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(f"{path}.head").stat().st_mode) == 0o600


def test_lines_are_numbered_and_linked_and_the_log_is_closed(path: Path) -> None:
    with open_at(path) as log:
        for number in range(3):
            assert resolve(log, number)
    lines = told(path)
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["prev"] for line in lines[1:]] == [line["mac"] for line in lines[:-1]]
    assert reasons(path) == ["created", "closed"]
    assert checked(path).end == "closed"
    assert read_head(f"{path}.head") == Head(5, str(lines[-1]["mac"]))


def test_times_are_utc_with_microseconds_also_when_the_clock_goes_back() -> None:
    sink, times = Memory(), iter([10.9999996, 0.25, 2_000_000_000.5, -0.5])
    log = AuditLog(sink, Keys(KEY), wall=lambda: next(times))
    resolve(log, 1)
    log.close()
    assert [line["time"] for line in sink.told()] == [
        "1970-01-01T00:00:00.250000Z",
        "1970-01-01T00:00:10.999999Z",
        "2033-05-18T03:33:20.500000Z",
    ]


def test_a_checkpoint_follows_so_many_events_and_so_much_time(path: Path) -> None:
    clock = FakeClock()
    with open_at(path, checkpoint_events=3, checkpoint_interval=60.0, clock=clock) as log:
        for number in range(7):
            resolve(log, number)
        assert reasons(path) == ["created", "periodic", "periodic"]
        clock.advance(59)
        log.tick()
        assert len(reasons(path)) == 3
        clock.advance(1)
        log.tick()
        assert len(reasons(path)) == 4
    log = open_at(path, checkpoint_events=3)
    log.record_all(("resolve", {"outcome": "success"}) for _ in range(6))
    assert reasons(path)[-3:] == ["resumed", "periodic", "periodic"]


def test_a_restart_goes_on_with_the_chain(path: Path) -> None:
    for number in range(3):
        with open_at(path) as log:
            resolve(log, number)
    assert reasons(path) == ["created", "closed", *["resumed", "closed"] * 2]
    report = checked(path, expected=read_head(f"{path}.head"))
    assert (report.count, report.lines, report.end) == (0, 9, "checked")


def test_a_rotated_log_goes_on_in_a_new_file_and_both_are_one_chain(path: Path) -> None:
    old = path.with_suffix(".log.1")
    with open_at(path) as log:
        resolve(log, 1)
        path.rename(old)
        resolve(log, 2)
        path.unlink()
        path.touch(mode=0o600)  # as logrotate's `create` does
        resolve(log, 3)
    assert reasons(path) == ["reopened", "closed"]
    assert kinds(checked(old, path)) == [(1, "removed")]  # the one that was unlinked
    assert checked(path).notes


def test_a_rotated_set_verifies(path: Path) -> None:
    files = [path.with_suffix(f".log.{number}") for number in (2, 1)]
    with open_at(path) as log:
        for file in files:
            resolve(log, 1)
            path.rename(file)
        resolve(log, 2)
    report = checked(*files, path, expected=read_head(f"{path}.head"))
    assert (report.count, report.notes, report.end) == (0, (), "checked")


# Torn, cut and changed ends ---------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 2, 40, 70, 200])
def test_a_torn_last_line_is_recorded_and_breaks_nothing(path: Path, cut: int) -> None:
    log = open_at(path)
    for number in range(3):
        resolve(log, number)
    head = Path(f"{path}.head").read_bytes()
    resolve(log, 4)
    log._sink.close()
    # What SIGKILL leaves in the middle of a write: a part of the line, and the head before it.
    path.write_bytes(path.read_bytes()[:-cut])
    Path(f"{path}.head").write_bytes(head)
    with open_at(path) as again:
        resolve(again, 5)
    report = checked(path, expected=read_head(f"{path}.head"))
    assert (report.count, report.end) == (0, "checked")
    if cut == 1:
        assert "resumed" in reasons_of_good(path)  # the line was there, but for its newline
    else:
        assert "torn_line" in reasons_of_good(path)
        assert "torn line" in report.notes[0]


def reasons_of_good(path: Path) -> str:
    return path.read_text()


def test_a_torn_line_that_is_changed_afterwards_is_found(path: Path) -> None:
    log = open_at(path)
    resolve(log, 1)
    log._sink.close()
    with path.open("ab") as file:
        file.write(b'{"schema_version":1,"seq":3,"ti')
    with open_at(path):
        pass
    text = path.read_bytes()
    assert checked(path).count == 0
    path.write_bytes(text.replace(b'"seq":3,"ti\n', b'"seq":3,"tu\n'))
    assert [kind for _, kind in kinds(checked(path))] == ["inserted"]


def test_a_log_that_was_cut_while_no_writer_ran_is_found_at_the_next_start(path: Path) -> None:
    with open_at(path) as log:
        for number in range(3):
            resolve(log, number)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    with open_at(path) as log:
        resolve(log, 4)
    assert "truncated" in reasons(path)
    assert (4, "removed") in kinds(checked(path))
    assert (4, "truncated") in kinds(checked(path))


def test_a_log_whose_last_line_was_changed_is_found_at_the_next_start(path: Path) -> None:
    with open_at(path) as log:
        resolve(log, 1)
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"reason_code":"closed"', b'"reason_code":"closer"'))
    with open_at(path) as log:
        resolve(log, 2)
    assert "truncated" in reasons(path)
    assert (3, "changed") in kinds(checked(path))


def test_another_key_is_noticed(path: Path) -> None:
    with open_at(path) as log:
        resolve(log, 1)
    keys = Keys(bytes(32))
    with AuditLog(FileSink(path, keys), keys) as log:
        resolve(log, 2)
    assert "chain_broken" in reasons(path)
    assert checked(path).count > 0


def test_a_log_that_is_truncated_under_the_writer_is_noticed(path: Path) -> None:
    with open_at(path) as log:
        resolve(log, 1)
        os.truncate(path, 0)
        resolve(log, 2)
    assert reasons(path) == ["truncated", "closed"]
    assert kinds(checked(path)) == [(1, "removed"), (1, "truncated")]


def test_what_somebody_else_appends_is_told_of(path: Path) -> None:
    with open_at(path) as log:
        resolve(log, 1)
        with path.open("ab") as file:
            file.write(b"hello\n")
        resolve(log, 2)
    report = checked(path)
    assert any("torn" in note for note in report.notes)


# Files that are refused -------------------------------------------------------------------------


def test_a_symbolic_link_is_not_followed(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.touch()
    path.symlink_to(elsewhere)
    log = open_at(path)
    assert not resolve(log, 1)
    assert log.problem == os.strerror(errno.ELOOP)
    assert elsewhere.read_bytes() == b""


def test_a_file_that_others_may_write_is_refused(path: Path) -> None:
    path.touch()
    path.chmod(0o666)
    log = open_at(path)
    assert not resolve(log, 1)
    assert "0666" in str(log.problem)


def test_a_directory_and_a_pipe_are_refused(path: Path) -> None:
    os.mkfifo(path)
    log = open_at(path)
    assert not resolve(log, 1)
    assert "regular" in str(log.problem)


def test_a_second_writer_is_refused(path: Path) -> None:
    with open_at(path) as log:
        resolve(log, 1)
        other = open_at(path)
        assert not resolve(other, 2)
        assert other.problem == "another process writes to it"
    assert other.tick()  # and goes on when the first has ended
    assert checked(path).count == 0


def test_a_forked_child_does_not_write_to_its_parents_chain(path: Path) -> None:
    with open_at(path) as log:
        resolve(log, 1)
        child = os.fork()
        if not child:
            os._exit(resolve(log, 2))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        resolve(log, 3)
    assert checked(path).count == 0
    assert len(told(path)) == 4


# Failing and healing ----------------------------------------------------------------------------


def test_what_has_happened_waits_until_it_can_be_written() -> None:
    sink = Memory()
    log = AuditLog(sink, Keys(KEY))
    resolve(log, 0)
    sink.room = 0
    assert not resolve(log, 1)
    assert not resolve(log, 2)
    assert (log.failures, log.problem, log.lost) == (2, "full", 0)
    sink.room = None
    assert log.tick()
    assert log.problem is None
    assert [line["seq"] for line in sink.told()] == [1, 2, 3, 4]


def test_what_is_about_to_happen_is_refused_where_the_log_is_required() -> None:
    sink = Memory()
    log = AuditLog(sink, Keys(KEY), required=True)
    sink.room = 0
    for _ in range(3):
        with pytest.raises(AuditFailed, match=r"cannot be written \(full\)"):
            log.require([("materialize", {"outcome": "success"})])
    sink.room = None
    log.require([("materialize", {"outcome": "success"})])
    assert [line["event"] for line in sink.told()] == ["checkpoint", "materialize"]


def test_what_was_partly_written_is_not_written_twice() -> None:
    sink = Memory()
    log = AuditLog(sink, Keys(KEY), required=True)
    resolve(log, 0)
    sink.room = 2
    with pytest.raises(AuditFailed):
        log.require([("materialize", {"outcome": "success", "consumer": n}) for n in "abc"])
    sink.room = None
    resolve(log, 1)
    lines = sink.told()
    assert [line["event"] for line in lines] == [
        "checkpoint",
        "resolve",
        "materialize",
        "materialize",
        "resolve",
    ]
    assert [line["prev"] for line in lines[1:]] == [line["mac"] for line in lines[:-1]]


def test_best_effort_goes_on_and_tells_how_much_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "BACKLOG", 3)
    sink = Memory()
    log = AuditLog(sink, Keys(KEY))
    resolve(log, 0)
    sink.room = 0
    for number in range(5):
        log.require([("resolve", {"outcome": "success", "reference_id": number})])
    assert log.lost == 2
    sink.room = None
    log.tick()
    lost = [line for line in sink.told() if line.get("reason_code") == "events_lost"]
    assert [line["lost"] for line in lost] == [2]
    assert len(sink.lines) == 2 + 1 + 3


def test_a_full_disk_loses_no_line_and_leaves_none_in_pieces() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        program = SMALL_DISK.format(folder=folder)
        done = subprocess.run(
            ["unshare", "--mount", sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no right to mount")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["full", "healed", "0", "torn", "0"]


SMALL_DISK = """
import subprocess, sys
mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", {folder!r}]
if subprocess.run(mount, check=False).returncode:
    sys.exit(77)
from secretbridge.audit import AuditFailed, open_log, read_key, read_head, verify
path = {folder!r} + "/audit.log"
log = open_log(path, required=True)
ballast = open({folder!r} + "/ballast", "wb", buffering=0)
log.record("startup", outcome="success")
ballast.write(bytes(30000))
try:
    for number in range(1000):
        log.require([("resolve", dict(outcome="success", age_s=number))])
except AuditFailed:
    print("full")
ballast.truncate(0)
log.require([("resolve", dict(outcome="success"))])
print("healed")
log.close()
report = verify([path], read_key(path + ".key"), expected=read_head(path + ".head"))
print(report.count)
print("torn" if b'"torn_line"' not in open(path, "rb").read() else "pieces")
print(len(report.notes))
"""


def test_a_stream_whose_disk_is_full_fails_and_heals() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    log = AuditLog(StreamSink(full), Keys(KEY), required=True)
    with pytest.raises(AuditFailed, match="No space"):
        log.require([("startup", {"outcome": "success"})])
    os.close(full)


def test_a_closed_pipe_and_a_reader_that_does_not_read_are_failures() -> None:
    read, write = os.pipe()
    log = AuditLog(StreamSink(write, patience=0.01), Keys(KEY))
    while resolve(log, 1):
        pass
    assert log.problem == "its reader does not read"
    held = os.read(read, 1 << 20)
    assert log.tick()
    os.set_blocking(read, False)
    held += os.read(read, 1 << 20)
    os.close(read)
    assert not resolve(log, 2)
    assert log.problem == os.strerror(errno.EPIPE)
    os.close(write)
    with tempfile.NamedTemporaryFile() as file:
        file.write(held)
        file.flush()
        assert verify([file.name], KEY).count == 0


def test_a_stream_that_took_half_a_line_tells_of_it() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "out")
        sink = StreamSink(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        log = AuditLog(sink, Keys(KEY))
        resolve(log, 1)
        half_write = HalfWrites(sink)
        assert not resolve(log, 2)
        assert not resolve(log, 3)
        half_write.end()
        assert resolve(log, 4)
        report = checked(path)
        assert report.count == 0, report.problems
        assert len(report.notes) == 1
        assert report.lines == 6


class HalfWrites:
    """Lets a stream take only the first half of what it is given."""

    def __init__(self, sink: StreamSink) -> None:
        self._file = sink._descriptor
        self._write = os.write
        os.write = self._half  # type: ignore[assignment]

    def _half(self, file: int, content: bytes) -> int:
        return self._write(file, content[: len(content) // 2] if file == self._file else content)

    def end(self) -> None:
        os.write = self._write


# syslog -----------------------------------------------------------------------------------------


def test_syslog_gets_messages_of_rfc_5424_and_one_that_comes_back_is_found(tmp_path: Path) -> None:
    address = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        log = AuditLog(SyslogSink(address, host="web-1"), Keys(KEY))
        resolve(log, 1)
        log.record("deny", outcome="denied", reason_code="access_denied")
        messages = [server.recv(4096) for _ in range(3)]
    stamp = messages[1].split()[1]
    assert messages[1].startswith(b"<110>1 " + stamp + b" web-1 secretbridge ")
    assert messages[1].split(b" ", 7)[5:7] == [b"audit", b"-"]
    assert messages[2].startswith(b"<108>1 ")
    assert not resolve(log, 2)
    os.unlink(address)
    assert not resolve(log, 3)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        assert log.tick()
        messages += [server.recv(4096) for _ in range(2)]
    file = tmp_path / "syslog"
    file.write_bytes(b"<13>1 - - cron - - - hi\n" + b"\n".join(messages) + b"\n")
    report = verify([file], KEY, is_syslog=True)
    assert (report.count, report.lines) == (0, 5)


def test_a_syslog_that_does_not_read_is_waited_for_once(tmp_path: Path) -> None:
    address = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        log = AuditLog(SyslogSink(address, patience=0.01), Keys(KEY))
        while resolve(log, 1):
            pass
        assert not resolve(log, 2)
        assert log.problem == "its reader does not read"
        server.setblocking(False)
        with suppress(BlockingIOError):
            while server.recv(4096):
                pass
        assert log.tick()
        assert log.problem is None


# Opening ----------------------------------------------------------------------------------------


def test_a_file_gets_a_key_and_a_head_beside_it(path: Path) -> None:
    with open_log(str(path)) as log:
        resolve(log, 1)
    key = Path(f"{path}.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert verify([path], read_key(key), expected=read_head(f"{path}.head")).count == 0


def test_a_key_that_is_named_is_made_only_when_that_is_asked_for(path: Path) -> None:
    key = path.with_name("key")
    with pytest.raises(ConfigError, match="create_key"):
        open_log(str(path), key_file=key)
    assert not key.exists()
    open_log(str(path), key_file=key, create_key=True).close()
    assert key.stat().st_size == 32
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="0640"):
        open_log(str(path), key_file=key)


def test_a_head_file_carries_a_stream_over_a_restart(path: Path) -> None:
    keys = Keys(KEY)
    for number in range(2):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with AuditLog(StreamSink(file), keys, head_file=HeadFile(f"{path}.head")) as log:
            resolve(log, number)
        os.close(file)
    assert checked(path).count == 0
    assert len(told(path)) == 6


def test_a_damaged_head_file_is_an_error_and_an_empty_one_is_none(path: Path) -> None:
    head = Path(f"{path}.head")
    head.touch()
    open_at(path).close()
    for text in ("{}", "x", '{"seq":-1,"mac":""}', "[]"):
        head.write_text(text)
        with pytest.raises(ConfigError, match="no head"):
            open_at(path)


def test_a_log_says_where_it_reads_and_writes() -> None:
    assert places("/var/log/a.log", "/keys/k", "/heads/h") == (["/keys/k"], ["/var/log", "/heads"])
    assert places("-") == ([], [])
    assert places("syslog:/run/log") == ([], [])
