"""The leak guard is red for every way in which a value can get out, and green for everything else."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

# All of it now: what an inner run of pytest imports is forgotten with it, and would be there twice.
import secretbridge.broker
import secretbridge.testing._leak_watch
import secretbridge.testing._taps
import secretbridge.testing.fake  # noqa: F401
from secretbridge.testing import LeakGuard, look_at, watch_for
from secretbridge.testing._leak_watch import LeakWatch
from secretbridge.testing._spellings import cores, spellings

pytest_plugins = "pytester"
pytestmark = pytest.mark.reveals_secrets  # for the leaky examples run in this process

APP = """
    import logging, os, subprocess, sys, threading, warnings

    def fail(value):
        raise RuntimeError("login failed")

    def fail_with(value):
        raise RuntimeError(f"login with {value} failed")

    def fail_and_log(value):
        try:
            fail(value)
        except RuntimeError:
            logging.getLogger("app").exception("it failed")

    def fail_behind(value):
        try:
            fail(value)
        except RuntimeError:
            pass
        raise RuntimeError("it failed") from None

    class Unraisable:
        def __init__(self, value):
            self.value = value
        def __del__(self):
            fail(self.value)

    def in_a_thread(value):
        thread = threading.Thread(target=fail, args=(value,))
        thread.start()
        thread.join()

    def child(program, *arguments, **options):
        return subprocess.run([sys.executable, "-c", program, *arguments], **options)

    ECHO = "import sys; print(sys.stdin.read())"
"""

LEAKS = {
    "printed": ("stdout", "print(value)"),
    "printed to standard error": ("stderr", "print(value, file=sys.stderr)"),
    "taken by capsys": ("stdout", "print(value); capsys.readouterr()"),
    "left in capsys": ("stdout", "print(value); capsys"),
    "written to a descriptor": ("stdout", "os.write(1, value.encode())"),
    "written to the descriptor of errors": ("stderr", "os.write(2, value.encode())"),
    "in base64": ("stdout", "print(base64.b64encode(value.encode()).decode())"),
    "within base64": ("stdout", "print(base64.b64encode(b'user:' + value.encode()).decode())"),
    "in base64 for URLs": ("stdout", "print(base64.urlsafe_b64encode(b'1' + value.encode()))"),
    "in hex": ("stdout", "print(value.encode().hex())"),
    "quoted for a URL": ("stdout", "print('https://x?' + urllib.parse.urlencode({'key': value}))"),
    "in JSON": ("stdout", "print(json.dumps({'password': value}))"),
    "as a repr of bytes": ("stdout", "print({'password': value.encode()})"),
    "its first 20 characters": ("stdout", "print(value[:20] + '...')"),
    "logged at DEBUG": ("log", "logging.getLogger('app.db').debug('with %s', value)"),
    "logged as an extra": ("log", "logging.info('login', extra={'password': value})"),
    "logged as a wrong argument": ("log", "logging.getLogger('x').debug('no place', value)"),
    "in a logged traceback": ("traceback", "app.fail_and_log(value)"),
    "in the text of an error": (
        "traceback",
        "with pytest.raises(RuntimeError): app.fail_with(value)",
    ),
    "in a frame of an error": ("traceback", "with pytest.raises(RuntimeError): app.fail(value)"),
    "behind an error": ("traceback", "with pytest.raises(RuntimeError): app.fail_behind(value)"),
    "in an error that was checked": ("traceback", "no_secret_leaks.check(ValueError(value))"),
    "in an error of a thread": ("traceback", "app.in_a_thread(value)"),
    "in an error of a finalizer": ("traceback", "app.Unraisable(value)"),
    "in a warning": ("warnings", "warnings.warn(f'old password {value}', stacklevel=1)"),
    "in an expected warning": (
        "warnings",
        "with pytest.warns(UserWarning): warnings.warn(value, stacklevel=1)",
    ),
    "in a variable": ("environ", "monkeypatch.setenv('DB_PASSWORD', value)"),
    "as an argument": ("child cmdline", "app.child('pass', value)"),
    "as an argument of a shell": ("child cmdline", "os.system('true ' + shlex.quote(value))"),
    "as a variable of a child": ("child environ", "app.child('pass', env={'PASSWORD': value})"),
    "in what a child prints": ("stdout", "app.child('print(input())', input=value, text=True)"),
    "in what a child answers": (
        "child output",
        "app.child(app.ECHO, input=value, capture_output=True, text=True)",
    ),
    "in what is read from a child": (
        "child output",
        "p = subprocess.Popen([sys.executable, '-c', app.ECHO], stdin=-1, stdout=-1, text=True);"
        "p.stdin.write(value); p.stdin.close(); assert p.stdout.readline(); p.stdout.close(); p.wait()",
    ),
    "in what is awaited from a child": (
        "child output",
        "async def ask():\n"
        "        p = await asyncio.create_subprocess_exec(\n"
        "            sys.executable, '-c', app.ECHO, stdin=-1, stdout=-1)\n"
        "        await p.communicate(value.encode())\n"
        "    asyncio.run(ask())",
    ),
    "in a file": ("files", "(tmp_path / 'state').write_text(value)"),
    "in the name of a file": ("files", "(tmp_path / value.replace('/', '_')).touch()"),
}

TEST = """
    import asyncio, base64, json, logging, os, shlex, subprocess, sys, urllib.parse, warnings
    import pytest, app

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_it({fixtures}, monkeypatch, tmp_path, no_secret_leaks):
        planted = no_secret_leaks.canary("the canary"{plain})
        no_secret_leaks.scan_files(tmp_path)
        value = {value}
        {body}
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Load our plugin alone: looking for those of every package costs a second for each run."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "secretbridge.testing.plugin")


def example(vector, value):
    body = LEAKS[vector][1].replace("\n", "\n    ")
    return TEST.format(
        fixtures="capsys" if "capsys" in body else "request",
        plain=", plain=True" if "name of a file" in vector else "",
        value=value,
        body=body,
    )


@pytest.mark.parametrize("vector", LEAKS)
def test_a_leaky_example_is_red(vector, pytester):
    pytester.makepyfile(app=APP, test_it=example(vector, "planted"))
    result = pytester.runpytest_inprocess()
    channel = LEAKS[vector][0]
    result.stdout.fnmatch_lines([f"*the canary was seen, *in {channel}*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("vector", LEAKS)
def test_the_same_without_the_value_is_green(vector, pytester):
    pytester.makepyfile(
        app=APP, test_it=example(vector, "'A/+%\"other value of forty characters, no'")
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_the_arguments_of_the_own_process_are_looked_at(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_it(no_secret_leaks):
            no_secret_leaks.watch(sys.orig_argv[0], "an argument")
        """
    )
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(["*an argument was seen*in cmdline: /proc/self/cmdline"])


def test_a_child_that_still_runs_is_looked_at(pytester):
    # By fork and exec, of which no audit event tells in this process.
    pytester.makepyfile(
        """
        import os, signal, sys

        def test_it(no_secret_leaks, request):
            value = no_secret_leaks.canary("the canary")
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.dup2(writing, 1)
                program = "import time; print(1, flush=True); time.sleep(60)"
                os.execve(sys.executable, ["python", "-c", program, value], {"KEY": value})
            def end():
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            request.addfinalizer(end)
            assert os.read(reading, 1) == b"1"
        """
    )
    result = pytester.runpytest_inprocess("-W", "ignore:.*fork.*:DeprecationWarning")
    result.stdout.fnmatch_lines(["*in child environ: python*", "*in child cmdline: python*"])


def test_what_a_store_hands_out_is_looked_for_without_a_word(pytester):
    pytester.makepyfile(
        """
        import secretbridge
        from secretbridge.testing import FakeBackend

        def test_it(no_secret_leaks):
            store = FakeBackend()
            store.put("app/db", "correct horse")
            with secretbridge.Broker({"fake": store}, {"db_password": "fake:app/db"}) as broker:
                print(broker.get("db_password"))
                print(broker.get("db_password").reveal())
        """
    )
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(["*db_password was seen, as it is, in stdout*"])


LEAKY = """
    import pytest, secretbridge
    from secretbridge.testing import FakeBackend

    def reveal(print=print, value="correct horse"):
        store = FakeBackend()
        store.put("app/db", value)
        with secretbridge.Broker({"fake": store}, {"db_password": "fake:app/db"}) as broker:
            print(broker.get("db_password").reveal())
"""


def test_every_test_is_guarded_on_demand(pytester):
    pytester.makepyfile(LEAKY + "\n    def test_it():\n        reveal()\n")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    result = pytester.runpytest_inprocess("--secret-leaks")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["secret leaks: 1 tests guarded, 1 with leaks"])
    pytester.makeini("[pytest]\nsecret_leaks = true\n")
    pytester.runpytest_inprocess().assert_outcomes(failed=1)
    pytester.runpytest_inprocess("-o", "secret_leaks=false").assert_outcomes(passed=1)


def test_what_may_be_seen_is_left_out_by_name_or_reference(pytester):
    pytester.makepyfile(LEAKY + "\n    def test_it():\n        reveal()\n")
    for pattern in ("db_*", "fake:app/db"):
        pytester.makeini(f"[pytest]\nsecret_leaks = true\nsecret_leaks_ignore = {pattern}\n")
        pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_test_may_say_where_it_shows_values_on_purpose(pytester):
    pytester.makepyfile(
        LEAKY
        + """
    @pytest.mark.reveals_secrets("stdout")
    def test_allowed():
        reveal()

    @pytest.mark.reveals_secrets("stderr")
    def test_elsewhere():
        reveal()

    @pytest.mark.reveals_secrets
    def test_anywhere():
        reveal()
"""
    )
    result = pytester.runpytest_inprocess("--secret-leaks")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["FAILED *::test_elsewhere*"])


def test_a_channel_that_does_not_exist_is_refused(pytester):
    pytester.makepyfile(
        LEAKY
        + "\n    @pytest.mark.reveals_secrets('stdin')\n    def test_it():\n        reveal()\n"
    )
    result = pytester.runpytest_inprocess("--secret-leaks")
    result.stderr.fnmatch_lines(["*the marker reveals_secrets knows no *stdin*; write some of *"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_the_value_of_a_fixture_that_lasts_is_looked_for_in_later_tests_too(pytester):
    pytester.makepyfile(
        LEAKY
        + """
    @pytest.fixture(scope="module")
    def password():
        found = []
        reveal(found.append)
        return found[0]

    def test_first(password):
        pass

    def test_second(password):
        print(password)
"""
    )
    result = pytester.runpytest_inprocess("--secret-leaks")
    result.assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    "test",
    [
        "def test_it():\n        reveal(); assert not 'equal'",
        "def test_it():\n        reveal(); pytest.skip('later')",
        "@pytest.fixture\n    def leaky():\n        reveal()\n    def test_it(leaky):\n        pass",
        "@pytest.fixture\n    def leaky():\n        yield\n        reveal()\n"
        "    def test_it(leaky):\n        pass",
    ],
    ids=["that fails", "that is skipped", "whose fixture leaks", "whose fixture leaks at its end"],
)
def test_a_leak_of_a_test_is_told(test, pytester):
    pytester.makepyfile(f"{LEAKY}\n    {test}\n")
    result = pytester.runpytest_inprocess("--secret-leaks")
    result.stdout.fnmatch_lines(["*db_password was seen*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_without_capturing_the_summary_says_what_was_not_looked_at(pytester):
    pytester.makepyfile(LEAKY + "\n    def test_it():\n        reveal(lambda value: None)\n")
    result = pytester.runpytest_inprocess("--secret-leaks", "-s")
    result.stdout.fnmatch_lines(["secret leaks: 1 tests guarded, 0 with leaks; *leave out -s*"])


def test_a_report_never_repeats_the_value(pytester):
    pytester.makepyfile(
        LEAKY
        + "\n    import logging\n    def test_it():\n        reveal(logging.getLogger().debug)\n"
    )
    result = pytester.runpytest_inprocess("--secret-leaks")
    result.assert_outcomes(failed=1)
    assert "correct horse" not in result.stdout.str().replace('value="correct horse"', "")


@pytest.fixture
def guard():
    with LeakGuard() as made:
        yield made


@pytest.fixture
def log():
    """A logger of an application that has not asked for DEBUG, and what its handler gets."""
    logger = logging.getLogger("some.application")
    got = []

    class Handler(logging.Handler):
        def emit(self, record):
            got.append(record.getMessage())

    handler = Handler()
    logger.addHandler(handler)
    yield logger, got
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_the_applications_own_log_stays_as_it_is(guard, log):
    logger, got = log
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.DEBUG, logging.ERROR):
        logger.log(level, "%s", logging.getLevelName(level))
    assert got == ["WARNING", "ERROR"]
    assert logger.getEffectiveLevel() == logging.WARNING


def test_a_record_that_a_filter_drops_is_not_taken_for_seen(guard, log):
    logger, _ = log
    canary = guard.canary()

    def refuse(record):
        return False

    logger.addFilter(refuse)
    logger.debug(canary)
    assert guard.leaks() == []
    logger.removeFilter(refuse)
    logger.debug(canary)
    assert len(guard.leaks()) == 1


def test_a_record_that_every_handler_redacts_is_seen_as_they_show_it(guard, log):
    from secretbridge import Reference, Secret, redact

    logger, got = log
    name, reference = "db", Reference.parse("file:db")
    secret = Secret(b"correct horse battery staple", name=name, reference=reference)
    undo = redact.install()
    logger.debug("with %s", secret.reveal())
    logger.warning("with %s", secret.reveal())
    assert guard.leaks() == []
    assert got == ["with **********"]
    undo()
    logger.debug("with %s", secret.reveal())
    assert [leak.channel for leak in guard.leaks()] == ["log"]


def test_a_record_that_one_handler_does_not_redact_is_seen_as_it_is(guard, log):
    from secretbridge.redact import RedactingFilter

    logger, _ = log
    logger.handlers[0].addFilter(RedactingFilter())
    plain = logging.NullHandler()
    logger.addHandler(plain)
    logger.debug(guard.canary())
    logger.removeHandler(plain)
    assert [leak.channel for leak in guard.leaks()] == ["log"]


def test_a_level_that_the_application_has_set_is_respected(guard, log):
    logger, _ = log
    canary = guard.canary()
    logger.setLevel(logging.INFO)
    logger.debug(canary)
    logging.getLogger("some.application.part").debug(canary)
    assert guard.leaks() == []


def test_a_filter_after_a_dropped_record_loses_nothing(guard, log):
    logger, got = log
    logger.addFilter(lambda record: record.levelno > logging.DEBUG)
    logger.debug("dropped")
    logger.setLevel(logging.DEBUG)
    logger.filters.clear()
    logger.debug("kept")
    assert got == ["kept"]


def test_everything_is_as_it_was_when_the_guard_has_stopped():
    import asyncio.subprocess
    import threading
    import warnings

    def state():
        return [
            logging.Logger.isEnabledFor,
            logging.Logger.callHandlers,
            threading.excepthook,
            sys.unraisablehook,
            warnings.showwarning,
            subprocess.Popen.__init__,
            subprocess.Popen.communicate,
            asyncio.subprocess.Process.communicate,
            pytest.RaisesExc.__exit__,
            pytest.CaptureFixture.readouterr,
        ]

    before = state()
    with LeakGuard():
        assert all(now is not then for now, then in zip(state(), before, strict=True))
    assert state() == before


def test_pipes_to_children_work_as_ever(guard):
    echo = [sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read())"]
    for options in ({}, {"text": True}, {"bufsize": 0}, {"encoding": "latin-1"}):
        text = "one\ntwo\n" if "text" in options or "encoding" in options else b"one\ntwo\n"
        answer = subprocess.run(echo, input=text, capture_output=True, check=True, **options)
        assert answer.stdout == text
        with subprocess.Popen(echo, stdin=-1, stdout=-1, **options) as process:
            process.stdin.write(text)
            process.stdin.close()
            assert list(process.stdout) == text.splitlines(keepends=True)


def test_planting_works_with_every_kind_of_store(guard, tmp_path):
    from secretbridge.backends.local import LocalStore, create_key_file
    from secretbridge.testing import FakeBackend

    create_key_file(tmp_path / "key")
    local = LocalStore.create(tmp_path / "secrets.sbx", key_file=tmp_path / "key")
    fake = FakeBackend()
    planted = [
        guard.plant((tmp_path / "db_password").write_text, "the file"),
        guard.plant(lambda value: local.set("app/db", value.encode()), "the local store"),
        guard.plant(lambda value: fake.put("app/db", value), "the fake"),
    ]
    assert (tmp_path / "db_password").read_text() == planted[0]
    assert local.get("app/db").value.decode() == planted[1]
    guard.saw("stdout", "", " ".join(planted))
    assert [leak.value for leak in guard.leaks()] == ["the file", "the local store", "the fake"]
    guard.scan_files(tmp_path, but=[tmp_path / "db_password"])
    assert "files" not in {leak.channel for leak in guard.leaks()}  # the store is encrypted


def test_a_stand_in_tells_the_guard_what_it_stores(guard):
    watch_for("correct horse", "app/db")
    guard.saw("stdout", "", "correct horse")
    assert [leak.value for leak in guard.leaks()] == ["app/db"]
    guard.stop()
    watch_for("battery staple", "app/db")
    guard.saw("stdout", "", "battery staple")
    assert len(guard.leaks()) == 1


def test_what_a_process_has_written_elsewhere_can_be_looked_at(guard):
    canary = guard.canary("the canary")
    look_at(f"connected with {canary}", "the log of the worker")
    [leak] = guard.leaks()
    assert str(leak) == "the canary was seen, as it is, in child output: the log of the worker"


def test_workers_of_a_distributed_run_are_counted_together(pytestconfig):
    from types import SimpleNamespace

    watch = LeakWatch(pytestconfig, everywhere=True)
    for guarded, leaking in ((3, 1), (4, 0)):
        config = SimpleNamespace(workeroutput={})
        worker = LeakWatch(pytestconfig, everywhere=True)
        worker._guarded, worker._leaking = guarded, leaking
        worker.pytest_sessionfinish(SimpleNamespace(config=config))
        watch.pytest_testnodedown(config)
    told = []
    watch.pytest_terminal_summary(SimpleNamespace(write_line=told.append))
    assert told[0].startswith("secret leaks: 7 tests guarded, 1 with leaks")


def test_a_test_that_shows_very_much_is_looked_through_on_the_way(guard, monkeypatch):
    monkeypatch.setattr("secretbridge.testing.guard._BEARABLE", 1000)
    canary = guard.canary()
    guard.saw("stdout", "", canary)
    for _ in range(10):
        guard.saw("stdout", "", "x" * 500)
    assert sum(len(raw) for _, _, raw in guard._seen) <= 1000
    assert [leak.channel for leak in guard.leaks()] == ["stdout"]


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        (b"correct horse\n", [b"correct horse"]),
        (b"short", []),
        (b'{"host": "db", "password": "correct horse", "n": [["battery staple"]]}', None),
        (b"postgres://app:correct%20horse@db/app", [b"correct%20horse", b"correct horse"]),
        (b"https://vault:8200/v1", []),
        (b"\xff\xfe\x00binary value", [b"\xff\xfe\x00binary value"]),
    ],
)
def test_of_a_value_that_is_looked_for_which_is_secret(value, secret):
    expected = [b"battery staple", b"correct horse"] if secret is None else secret
    assert sorted(cores(value)) == sorted(expected)


def test_of_a_key_its_own_part_is_looked_for_and_of_a_certificate_nothing():
    lines = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "the part that differs from key to key", "=="]
    key = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(lines).replace(" ", "") + "\n"
    key += "-----END PRIVATE KEY-----\n"
    public = key.replace("PRIVATE KEY", "CERTIFICATE")
    assert list(cores((public + key).encode())) == [lines[1].replace(" ", "").encode()]


def test_every_spelling_is_long_enough_not_to_be_found_by_chance():
    for value in (b"eight888", b"correct horse battery staple", bytes(range(200, 230))):
        assert min(map(len, spellings(value))) >= 8


def test_a_project_that_does_not_use_the_plugin_pays_nothing():
    program = (
        "import sys, pytest; before = set(sys.modules); import secretbridge.testing.plugin as plugin;"
        "print(*sorted(set(sys.modules) - before));"
        "print(*sorted(name for name in vars(plugin) if name.startswith('pytest_')))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded, hooks = result.stdout.splitlines()
    assert set(loaded.split()) == {
        "secretbridge",
        "secretbridge.testing",
        "secretbridge.testing.plugin",
    }
    assert hooks.split() == ["pytest_addoption", "pytest_configure"]  # none that runs for each test
