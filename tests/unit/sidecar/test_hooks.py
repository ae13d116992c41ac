"""How hooks tell: a program, a signal, a request, each with real processes and servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import UnixStreamServer

import pytest

from secretbridge import Reference, Secret
from secretbridge.config import ExecHook, HttpHook, SignalHook
from secretbridge_sidecar.notify import News, needs, untrusted_programs
from secretbridge_sidecar.notify.deliver import HookFailed
from secretbridge_sidecar.notify.notifier import deliver
from secretbridge_sidecar.program import others_may_write

CANARY = "canary-4b1f77-hook"
NEWS = News("/run/target", "..gen-5f1c0a", ("app.ini", "tls/key"), ("gone",))
WAIT = 30.0

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def execute(script, *, timeout=WAIT, unwanted=None, news=NEWS):
    hook = ExecHook(exec=["/bin/sh", "-c", script], files=None, timeout=timeout)
    return deliver(hook, news, unwanted or threading.Event())


# exec -------------------------------------------------------------------------------------------


def test_a_program_is_told_names_by_its_environment_which_has_nothing_else(monkeypatch):
    monkeypatch.setenv("OUR_OWN", "x")
    shown = dict(
        line.split("=", 1)
        for line in execute("env -u PWD -u SHLVL -u _ | tr '\\n' ';'; pwd").split(";")[:-1]
    )
    assert set(shown) == {
        "PATH",
        "LANG",
        "SECRETBRIDGE_TARGET",
        "SECRETBRIDGE_GENERATION",
        "SECRETBRIDGE_CHANGED",
        "SECRETBRIDGE_REMOVED",
    }
    assert shown["SECRETBRIDGE_CHANGED"] == "app.ini tls/key"
    assert shown["SECRETBRIDGE_REMOVED"] == "gone"
    assert shown["SECRETBRIDGE_GENERATION"] == "..gen-5f1c0a"
    assert execute("pwd") == "/"


def test_a_program_inherits_no_descriptor_and_no_input():
    inherited = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        assert execute("ls /proc/self/fd | tr '\\n' ' '; cat").split() == ["0", "1", "2", "3"]
    finally:
        os.close(inherited)


def test_a_program_leads_a_process_group_of_its_own():
    group = int(execute("cut -d' ' -f5 /proc/self/stat"))
    assert group != os.getpgrp()


def test_what_a_program_prints_is_masked_and_cut(tmp_path):
    secret = Secret(CANARY.encode(), name="x", reference=Reference.parse("file:x"))
    file = tmp_path / "materialized"
    file.write_bytes(secret.reveal_bytes())
    with pytest.raises(HookFailed) as failed:
        execute(f"seq 100000; echo got $(cat {file}) >&2; exit 3")
    assert CANARY not in str(failed.value)
    assert str(failed.value).startswith("it ended with status 3: ")
    assert str(failed.value).endswith("got **********")
    assert len(str(failed.value)) < 600


def test_a_program_that_takes_too_long_is_asked_to_end_and_then_ended_with_its_children(tmp_path):
    pids = tmp_path / "pids"
    script = f"trap 'echo asked' TERM; sleep 600 & echo $$ $! > {pids}; while :; do wait; done"
    begun = time.monotonic()
    with pytest.raises(HookFailed, match=r"it took longer than 0\.3 s: asked"):
        execute(script, timeout=0.3)
    assert time.monotonic() - begun < WAIT
    for pid in pids.read_text().split():
        assert_gone(int(pid))


def test_what_a_program_leaves_running_in_its_group_ends_with_it(tmp_path):
    pids = tmp_path / "pids"
    execute(f"sleep 600 & echo $! > {pids}")
    assert_gone(int(pids.read_text()))


def assert_gone(pid):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    return  # dead, and not yet noticed by whoever inherits it
        except OSError:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} lives on")


def test_a_program_is_ended_with_the_sidecar():
    unwanted = threading.Event()
    threading.Timer(0.2, unwanted.set).start()
    with pytest.raises(HookFailed, match="was ended with the sidecar"):
        execute("sleep 600", unwanted=unwanted)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [(["/nonexistent/program"], "No such file"), (["/etc/passwd"], "Permission denied")],
)
def test_a_program_that_cannot_be_run_is_a_failure(argv, reason):
    with pytest.raises(HookFailed, match=f"it cannot be run .*{reason}"):
        deliver(ExecHook(exec=argv, files=None, timeout=1.0), NEWS, threading.Event())


def test_news_that_are_too_long_for_an_environment_are_left_out_there():
    many = NEWS._replace(changed=tuple(f"file-{n}-{'x' * 200}" for n in range(1000)))
    assert execute("echo ${SECRETBRIDGE_CHANGED-none}/$SECRETBRIDGE_GENERATION", news=many) == (
        "none/..gen-5f1c0a"
    )


# Who may write the program ----------------------------------------------------------------------


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "bin" / "reload"
    path.parent.mkdir(mode=0o755)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_program_of_ones_own_or_of_roots_is_trusted(script):
    assert others_may_write(str(script)) is None
    assert others_may_write("/bin/sh") is None


def test_a_program_that_all_may_write_is_not_run(script):
    script.chmod(0o757)
    assert others_may_write(str(script)) == f"every user may write {script}"
    with pytest.raises(HookFailed, match="every user may write"):
        deliver(ExecHook(exec=[str(script)], files=None, timeout=1.0), NEWS, threading.Event())


def test_a_program_in_a_directory_that_all_may_write_is_not_run(script):
    script.parent.chmod(0o777)
    assert others_may_write(str(script)) == f"every user may write {script.parent}"
    script.parent.chmod(0o1777)
    assert others_may_write(str(script)) is None


def test_a_directory_that_all_may_write_is_fine_where_nobody_can(script, monkeypatch):
    """The root of a Kubernetes volume has mode 0777, and is mounted read-only."""
    script.parent.chmod(0o777)
    mounted = os.statvfs_result([*os.statvfs(script)[:8], os.ST_RDONLY, 255])
    monkeypatch.setattr(os, "statvfs", lambda path: mounted)
    assert others_may_write(str(script)) is None


def test_a_link_on_the_way_counts_with_the_directory_that_it_is_in(script, tmp_path):
    open_directory = tmp_path / "open"
    open_directory.mkdir()
    open_directory.chmod(0o777)
    (open_directory / "between").symlink_to(script)
    first = tmp_path / "first"
    first.symlink_to(open_directory / "between")
    assert others_may_write(str(first)) == f"every user may write {open_directory}"


@needs_root
@pytest.mark.parametrize(
    ("uid", "gid", "mode", "reason"),
    [(4242, 0, 0o755, "belongs to another user"), (0, 4242, 0o775, "the group 4242 may write")],
)
def test_a_program_of_somebody_elses_is_not_run(script, uid, gid, mode, reason):
    os.chown(script, uid, gid)
    script.chmod(mode)
    assert reason in others_may_write(str(script))
    assert untrusted_programs([str(script), "/nonexistent"]) == [
        f"{script}: {others_may_write(str(script))}, and the sidecar would run it"
    ]


# signal -----------------------------------------------------------------------------------------

LISTENER = """
import os, signal, sys
signal.signal(signal.SIGHUP, lambda *_: print("told", flush=True))
if len(sys.argv) > 1: os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
print("ready", flush=True)
while True: signal.pause()
"""


@contextmanager
def listening(*arguments, program=None):
    """A process that says when it gets SIGHUP."""
    process = subprocess.Popen(
        [program or sys.executable, "-c", LISTENER, *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def hang_up(**names):
    fields = {"pid_file": None, "process": None, "user": None, "files": None, "timeout": 1.0}
    return deliver(SignalHook(signal=signal.SIGHUP, **{**fields, **names}), NEWS, threading.Event())


@pytest.fixture
def pid_file(tmp_path):
    path = tmp_path / "app.pid"
    path.touch(mode=0o644)
    path.chmod(0o644)
    return path


def test_the_process_of_a_pid_file_is_told(pid_file):
    with listening() as process:
        pid_file.write_text(f"{process.pid}\n")
        hang_up(pid_file=pid_file)
        assert process.stdout.readline() == "told\n"
        hang_up(pid_file=pid_file, user=os.getuid())
        assert process.stdout.readline() == "told\n"


@pytest.mark.parametrize("text", ["", "0", "-1", "12 34", "0x10", "9" * 40, "1\0", "app"])
def test_what_is_no_number_of_a_process_is_refused(pid_file, text):
    pid_file.write_text(text)
    with pytest.raises(HookFailed, match="holds no number of a process"):
        hang_up(pid_file=pid_file)


def test_a_process_that_is_gone_is_a_failure(pid_file):
    with listening() as process:
        pid_file.write_text(str(process.pid))
    with pytest.raises(HookFailed, match="which is gone"):
        hang_up(pid_file=pid_file)


def test_a_pid_file_that_is_missing_is_a_failure(tmp_path):
    with pytest.raises(HookFailed, match=r"cannot be opened \(No such file"):
        hang_up(pid_file=tmp_path / "none")


@pytest.mark.parametrize("mode", [0o646, 0o664])
def test_a_pid_file_that_others_may_write_is_refused(pid_file, mode):
    with listening() as process:
        pid_file.write_text(str(process.pid))
        pid_file.chmod(mode)
        with pytest.raises(HookFailed, match="may be written by others"):
            hang_up(pid_file=pid_file)


def test_a_pid_file_that_is_a_link_is_refused(pid_file, tmp_path):
    with listening() as process:
        pid_file.write_text(str(process.pid))
        soft, hard = tmp_path / "soft", tmp_path / "hard"
        soft.symlink_to(pid_file)
        with pytest.raises(HookFailed, match="cannot be opened"):
            hang_up(pid_file=soft)
        os.link(pid_file, hard)
        with pytest.raises(HookFailed, match="no file of its own"):
            hang_up(pid_file=hard)


def test_a_pid_file_that_is_a_pipe_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(HookFailed, match="no file of its own"):
        hang_up(pid_file=tmp_path / "fifo")


@needs_root
def test_another_users_pid_file_names_processes_of_that_user_alone(pid_file):
    with listening() as ours, listening("4242") as theirs:
        pid_file.write_text(str(theirs.pid))
        os.chown(pid_file, 4242, 4242)
        hang_up(pid_file=pid_file)
        assert theirs.stdout.readline() == "told\n"
        pid_file.write_text(str(ours.pid))
        with pytest.raises(HookFailed, match="must not choose whose process"):
            hang_up(pid_file=pid_file)


@needs_root
def test_a_process_of_another_user_than_wanted_is_left_alone(pid_file):
    with listening() as process:
        pid_file.write_text(str(process.pid))
        with pytest.raises(HookFailed, match="belongs to user 0, and not to 4242"):
            hang_up(pid_file=pid_file, user=4242)


def test_a_process_is_found_by_its_name_and_its_children_of_that_name_are_left_to_it(tmp_path):
    name = f"listener-{os.getpid()}"
    program = tmp_path / name  # longer than the kernel's own memory of it
    program.symlink_to(sys.executable)
    parent = (
        f"import subprocess, sys; child = subprocess.Popen([{str(program)!r}, '-c', {LISTENER!r}], "
        "stdout=subprocess.PIPE, text=True); child.stdout.readline();"
        f"sys.argv = ['x']; exec({LISTENER!r})"
    )
    with subprocess.Popen(
        [str(program), "-c", parent], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            hang_up(process=name)
            assert process.stdout.readline() == "told\n"
            children = f"/proc/{process.pid}/task/{process.pid}/children"
            with open(children) as file:
                (child,) = file.read().split()
            os.kill(int(child), 0)  # SIGHUP would have been printed into a pipe that nobody reads
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_name_that_nobody_has_is_a_failure():
    with pytest.raises(HookFailed, match="no process 'no-such-program' of user 4242 is seen here"):
        hang_up(process="no-such-program", user=4242)


# http -------------------------------------------------------------------------------------------


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is told, and answers as the path says: /200, /302 and so on."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append((self.path, dict(self.headers), json.loads(body)))
        status = int(self.path.strip("/").partition("?")[0] or 200)
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/200")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

    def address_string(self):
        return "x"


@contextmanager
def serving(server):
    server.told = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server():
    with serving(HTTPServer(("127.0.0.1", 0), Receiver)) as server:
        yield server


def post(url, timeout=WAIT, unwanted=None):
    hook = HttpHook(http=url, files=None, timeout=timeout)
    return deliver(hook, NEWS, unwanted or threading.Event())


def test_a_server_is_told_names_by_a_request(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for host in ("127.0.0.1", "localhost"):
        post(f"http://{host}:{server.server_port}/200?force=1")
    (path, headers, body), (_, other, _) = server.told
    assert path == "/200?force=1"
    assert headers["Host"] == f"127.0.0.1:{server.server_port}"
    assert other["Host"] == f"localhost:{server.server_port}"
    assert headers["Content-Type"] == "application/json"
    assert body == {
        "generation": "..gen-5f1c0a",
        "changed": ["app.ini", "tls/key"],
        "removed": ["gone"],
    }


def test_a_unix_socket_is_told_too(tmp_path):
    path = tmp_path / "app.sock"
    with serving(UnixStreamServer(str(path), Receiver)) as server:
        post(f"unix:{path}:/204")
        post(f"unix:{path}")
        assert [path for path, _, _ in server.told] == ["/204", "/"]


@pytest.mark.parametrize("status", [302, 307, 400, 404, 500, 503])
def test_any_other_answer_is_a_failure_and_redirects_are_not_followed(server, status):
    with pytest.raises(HookFailed, match=f"the answer was {status}"):
        post(f"http://127.0.0.1:{server.server_port}/{status}")
    assert len(server.told) == 1


@contextmanager
def answering(data, *, then=0.0):
    """A server that sends ``data`` to whoever connects, and goes on slowly."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                try:
                    connection.sendall(data)
                    while not stop.wait(then or 0.01):
                        connection.sendall(b"x" if then else b"x" * 65536)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def test_an_answer_that_drips_ends_with_the_time():
    begin = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"
    with (
        answering(begin, then=0.05) as port,
        pytest.raises(HookFailed, match=r"no answer within 0\.5 s"),
    ):
        post(f"http://127.0.0.1:{port}/", timeout=0.5)


def test_waiting_for_an_answer_ends_with_the_sidecar():
    unwanted = threading.Event()
    threading.Timer(0.2, unwanted.set).start()
    begin = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"
    with (
        answering(begin, then=WAIT) as port,
        pytest.raises(HookFailed, match="no answer before the sidecar ended"),
    ):
        post(f"http://127.0.0.1:{port}/", unwanted=unwanted)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"SSH-2.0-x\r\n\r\n"]
)
def test_an_answer_without_end_or_of_another_kind_is_a_failure(data):
    with answering(data) as port, pytest.raises(HookFailed, match="no sensible answer"):
        post(f"http://127.0.0.1:{port}/")


def test_nobody_there_is_a_failure(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(HookFailed, match=r"no connection \(Connection refused"):
        post(f"http://127.0.0.1:{port}/")
    with pytest.raises(HookFailed, match=r"no connection \(No such file"):
        post(f"unix:{tmp_path}/none")


# Needs ------------------------------------------------------------------------------------------


def test_what_hooks_need_is_known_beforehand(pid_file):
    hooks = [
        ExecHook(exec=["/usr/bin/reload", "x"], files=None, timeout=1.0),
        ExecHook(exec=["/usr/bin/reload", "y"], files=None, timeout=1.0),
        SignalHook(signal=1, pid_file=pid_file, process=None, user=None, files=None, timeout=1.0),
        HttpHook(http="http://[::1]:8080/x", files=None, timeout=1.0),
        HttpHook(http="http://localhost/x", files=None, timeout=1.0),
        HttpHook(http="unix:/run/app.sock:/x", files=None, timeout=1.0),
    ]
    found = needs(hooks)
    assert found.programs == ("/usr/bin/reload",)
    assert found.files == (str(pid_file),)
    assert (found.ports, found.sockets) == ((8080, 80), ("/run/app.sock",))
    assert found.processes
    assert not any(needs([]))
