from __future__ import annotations

import base64
import io
import json
import logging
import logging.config
import os
import re
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from secretbridge import Reference, Secret
from secretbridge import redact as module
from secretbridge._forms import forms
from secretbridge.redact import (
    FLOOR,
    MASK,
    RedactingFilter,
    install,
    redact,
    structlog_processor,
)

ROOT = Path(__file__).parents[2]
CANARY = "canary/7f3a+9c d2=é\"'\\&<x>"
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2
OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r
-----END PRIVATE KEY-----
"""

pytestmark = pytest.mark.reveals_secrets("log", "traceback")  # what is handed to the filters


def make(value: str | bytes = CANARY) -> Secret:
    raw = value.encode() if isinstance(value, str) else value
    return Secret(raw, name="x", reference=Reference.parse("file:x"))


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in Unicode": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "repr": lambda text: repr(text)[1:-1],
    "ascii": lambda text: ascii(text)[1:-1],
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    "percent, all": lambda text: urllib.parse.quote(text, safe=""),
    "percent, slash left": urllib.parse.quote,
    "percent, as in JavaScript": lambda text: urllib.parse.quote(text, safe="!'()*~"),
    "percent, lower case": lambda text: re.sub(
        "%..", lambda found: found[0].lower(), urllib.parse.quote(text, safe="")
    ),
    "form": urllib.parse.quote_plus,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, URL-safe": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}


@pytest.mark.parametrize(
    "value", [CANARY, "hunter2-hunter2", "pass word/with+sign", "ключ-от-всего"]
)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_value_is_masked_in_every_encoding(value: str, encoding: str) -> None:
    secret = make(value)
    encoded = ENCODINGS[encoding](value)
    masked = redact(f"before {encoded} after")
    if "base64" in encoding:
        start = masked.removeprefix(f"before {MASK}")
        assert start != masked
        # A last character that also depends on what follows the value may stay, and padding.
        assert len(start.removesuffix(" after").rstrip("=")) <= 1
    else:
        assert masked == f"before {MASK} after"
    assert secret


@given(st.binary(max_size=20), st.binary(max_size=20), st.sampled_from(["standard", "urlsafe"]))
def test_base64_of_something_longer_is_masked_wherever_the_value_stands_in_it(
    before: bytes, after: bytes, alphabet: str
) -> None:
    secret = make("correct horse battery staple")
    content = before + b"correct horse battery staple" + after
    encoded = getattr(base64, f"{alphabet}_b64encode")(content).decode()
    masked = redact(encoded)
    assert MASK in masked
    left = masked.partition(MASK)
    assert len(left[0]) <= len(before) * 8 // 6 + 2
    assert len(left[2]) <= len(after) * 8 // 6 + 4
    assert secret


@given(
    st.text(min_size=FLOOR, max_size=60).filter(lambda text: len(text.splitlines()) == 1),
    st.text(max_size=40),
    st.text(max_size=40),
    st.sampled_from([name for name in ENCODINGS if "base64" not in name]),
)
def test_no_text_of_any_kind_gets_through(
    value: str, before: str, after: str, encoding: str
) -> None:
    try:
        raw = value.strip("\r\n").encode()
        encoded = ENCODINGS[encoding](raw.decode())
    except UnicodeEncodeError:
        return  # half a surrogate pair is in no secret
    if len(raw.decode()) < FLOOR:
        return
    secret = make(raw)
    masked = redact(before + encoded + after)
    assert len(masked) < len(before + encoded + after) or MASK in masked
    assert encoded not in masked.replace(MASK, "\0")
    assert secret


def test_every_line_of_a_value_is_masked_by_itself() -> None:
    secret = make(KEY)
    lines = KEY.splitlines()
    indented = "\n".join(f"    {line}" for line in lines)
    assert redact(indented).split() == [*lines[0].split(), MASK, MASK, *lines[-1].split()]
    assert redact(json.dumps({"key": KEY})).count(MASK) == 2
    assert redact("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"
    assert redact(f"half of it: {lines[2]}") == f"half of it: {MASK}"
    assert secret


def test_a_binary_value_is_masked_as_it_is_printed() -> None:
    raw = bytes(range(200, 232))
    secret = make(raw)
    for shown in (raw.hex(), raw.hex().upper(), repr(raw)[2:-1], urllib.parse.quote(raw)):
        assert redact(f"<{shown}>") == f"<{MASK}>"
    assert secret


def test_what_is_too_short_is_left_alone() -> None:
    secrets = [make("1234567"), make("a\nb\nc")]
    assert redact("1234567 a b c") == "1234567 a b c"
    assert secrets
    longer = make("12345678")
    assert redact("x12345678x") == f"x{MASK}x"
    assert longer


def test_text_without_values_is_returned_as_the_same_object() -> None:
    secret = make()
    for text in ("", "a", "nothing here", "x" * 10_000, "\udcff half a pair", "ünïcödé ☃" * 9):
        assert redact(text) is text
    assert redact(f"\udcff {CANARY} \ud800") == f"\udcff {MASK} \ud800"
    assert secret


def test_values_that_overlap_or_follow_each_other_become_one_mask() -> None:
    secrets = [make("correct-horse"), make("horse-battery"), make("-staple-staple")]
    assert redact("<correct-horse-battery-staple-staple>") == f"<{MASK}>"
    assert secrets


def test_a_value_is_looked_for_as_long_as_there_is_a_secret_that_has_it() -> None:
    first, second = make("shared-value"), make("shared-value")
    assert redact("shared-value") == MASK
    del first
    assert redact("shared-value") == MASK
    del second
    assert redact("shared-value") == "shared-value"


def test_nothing_is_kept_of_values_that_are_gone() -> None:
    redact("")
    table = module._fingerprints
    assert table is not None
    secrets = [make(f"value-{number}-{number}") for number in range(200)]
    redact("")
    assert len(table._kept) >= 200
    del secrets
    redact("")
    before = len(table._kept), len(table._pieces), len(table._known)
    again = [make(f"other-{number}-{number}") for number in range(200)]
    redact("")
    again.clear()
    redact("")
    assert (len(table._kept), len(table._pieces), len(table._known)) == before


def test_a_thousand_values_are_all_found() -> None:
    secrets = [make(f"{number:04}-" + os.urandom(12).hex()) for number in range(1000)]
    for secret in secrets:
        assert redact(f"password={secret.reveal()};") == f"password={MASK};"


def test_the_forms_of_a_value_hold_nothing_but_what_gives_it_away() -> None:
    found = forms(b"correct horse")
    assert all(len(form) >= FLOOR for form in found)
    for shift, rest in ((0, b"x"), (1, b"yz"), (2, b"ab"), (0, b"\xff\xff")):
        encoded = base64.b64encode(b"q" * shift + b"correct horse" + rest)
        assert any(form in encoded for form in found)


def test_threads_that_log_while_others_make_and_drop_secrets_miss_nothing() -> None:
    missed: list[str] = []
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            make(os.urandom(12).hex())

    def work(number: int) -> None:
        for turn in range(150):
            value = f"{number}-{turn}-" + os.urandom(8).hex()
            secret = make(value)
            if redact(f"a {value} b") != f"a {MASK} b":
                missed.append(value)
            del secret

    churning = threading.Thread(target=churn)
    working = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in (churning, *working):
        thread.start()
    for thread in working:
        thread.join()
    stop.set()
    churning.join()
    assert missed == []


def test_a_forked_child_masks_what_it_inherits_and_what_it_makes() -> None:
    secret = make("made-by-the-parent")
    redact("")
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            make(os.urandom(12).hex())
            redact("")

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for _ in range(20):
            child = os.fork()  # at whatever the other thread is doing
            if child == 0:
                own = make("made-by-the-child")
                good = redact("made-by-the-parent, made-by-the-child") == f"{MASK}, {MASK}"
                os._exit(0 if good and own else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        churning.join()
    assert redact("made-by-the-child") == "made-by-the-child"
    assert secret


def test_a_fork_waits_for_nobody_who_is_learning_values() -> None:
    redact("")
    table = module._fingerprints
    assert table is not None
    secret = make("known-to-nobody-yet")
    done = threading.Event()

    def learn() -> None:
        assert table is not None
        with table._lock:
            table._is_busy = True
            done.wait(10)
            table._is_busy = False

    learning = threading.Thread(target=learn)
    learning.start()
    child = os.fork()
    if child == 0:
        os._exit(0 if redact("<known-to-nobody-yet>") == f"<{MASK}>" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    done.set()
    learning.join()
    assert secret


# Logging -----------------------------------------------------------------------------------------


@pytest.fixture
def log() -> Iterator[Callable[..., str]]:
    """Log with a filter on the handler and return what was written."""
    secret = make()
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test")
    logger.addHandler(handler)

    def write(*args: Any, form: str = "%(message)s", **kwargs: Any) -> str:
        out.seek(0)
        out.truncate()
        handler.setFormatter(logging.Formatter(form))
        logger.error(*args, **kwargs)
        return out.getvalue()

    yield write
    assert secret


def test_message_and_arguments_are_masked(log: Callable[..., str]) -> None:
    assert log(f"a {CANARY} b") == f"a {MASK} b\n"
    assert log("a %s b", CANARY) == f"a {MASK} b\n"
    assert log("a %(x)s b", {"x": CANARY}) == f"a {MASK} b\n"
    assert log("a %r b", [CANARY]) == f"a ['{MASK}'] b\n"
    assert log("nothing %s", "here") == "nothing here\n"


def test_an_argument_that_the_message_leaves_out_is_masked_as_well(log: Callable[..., str]) -> None:
    shown = log("a %(x)s", {"x": 1, "unused": CANARY}, form="%(message)s %(args)s")
    assert shown == f"a 1 {{'x': 1, 'unused': '{MASK}'}}\n"


def test_arguments_that_do_not_fit_are_not_printed_by_logging_itself(
    log: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert MASK in log("a %s %s b", CANARY)
    assert MASK in log("a b", CANARY, 1)
    assert capsys.readouterr().err == ""


def fail() -> None:
    try:
        raise ValueError(f"bad dsn postgresql://app:{CANARY}@db")
    except ValueError as error:
        raise RuntimeError("cannot connect") from error


def test_exceptions_and_their_causes_are_masked(log: Callable[..., str]) -> None:
    try:
        fail()
    except RuntimeError:
        shown = log("failed", exc_info=True)
    assert f"ValueError: bad dsn postgresql://app:{MASK}@db" in shown
    assert "RuntimeError: cannot connect" in shown


def test_an_exception_without_a_value_stays_what_it_is(log: Callable[..., str]) -> None:
    handler = logging.StreamHandler(io.StringIO())
    seen = []
    handler.emit = seen.append  # type: ignore[method-assign,assignment]
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise KeyError("x")
    except KeyError as error:
        logger.exception("failed")
        assert seen[0].exc_info[1] is error
        assert seen[0].exc_text is None


def test_the_stack_is_masked(log: Callable[..., str]) -> None:
    make_stack = eval(compile(f"lambda log: log('x', stack_info=True)  # {CANARY}", "a", "eval"))
    assert "Stack (most recent call last)" in make_stack(log)
    record = logging.makeLogRecord({"msg": "x", "stack_info": f"Stack: {CANARY}"})
    assert RedactingFilter().filter(record)
    assert record.stack_info == f"Stack: {MASK}"


class Shown:
    def __str__(self) -> str:
        return f"Shown({CANARY})"


def test_extras_are_masked_however_deep_they_are(log: Callable[..., str]) -> None:
    extra = {
        "a": CANARY,
        "b": {"k": [1, (CANARY, 2.5)], CANARY: None},
        "c": CANARY.encode(),
        "d": Shown(),
        "e": [[[[[[[[[[CANARY]]]]]]]]]],
    }
    shown = log("x", extra=extra, form="%(a)s|%(b)s|%(c)s|%(d)s|%(e)s")
    assert CANARY not in shown
    assert "7f3a" not in shown
    assert shown.startswith(f"{MASK}|{{'k': [1, ('{MASK}', 2.5)], '{MASK}': None}}|b'{MASK}'|")
    assert extra["a"] == CANARY  # the caller's objects are left alone


def test_extras_without_values_stay_the_same_objects() -> None:
    extra = {"k": [1, ("x", 2)], "s": {1, 2}}
    record = logging.makeLogRecord({"msg": "x", "more": extra})
    RedactingFilter().filter(record)
    assert record.__dict__["more"] is extra


def test_every_handler_is_covered_also_those_that_come_later() -> None:
    program = f"""
import io, logging, sys
from secretbridge import Reference, Secret, redact
secret = Secret({CANARY!r}.encode(), name="x", reference=Reference.parse("file:x"))
first, second, third = io.StringIO(), io.StringIO(), io.StringIO()
inner = logging.getLogger("a.b")
inner.addHandler(logging.StreamHandler(first))
logging.getLogger().addHandler(logging.StreamHandler(second))
uninstall = redact.install()
redact.install()
logging.getLogger("later").addHandler(logging.StreamHandler(third))
inner.error("1 %s", {CANARY!r})
logging.getLogger("later").error("2 %s", {CANARY!r})
for out in (first, second, third):
    assert {CANARY!r} not in out.getvalue() and redact.MASK in out.getvalue()
assert all(len(h.filters) == 1 for h in logging.root.handlers)
"""
    assert run(program) == ("", "")


def test_it_can_be_named_in_the_configuration_of_logging() -> None:
    secret = make()
    out = io.StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"redact": {"()": "secretbridge.redact.RedactingFilter"}},
            "handlers": {
                "out": {"class": "logging.StreamHandler", "stream": out, "filters": ["redact"]}
            },
            "loggers": {"test.redact": {"handlers": ["out"], "propagate": False}},
        }
    )
    logging.getLogger("test.redact").error("x %s", CANARY)
    assert out.getvalue() == f"x {MASK}\n"
    assert secret


def test_installing_can_be_undone() -> None:
    secret = make()
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    before = sys.excepthook, threading.excepthook, logging.Logger.addHandler
    uninstall = install(handler)
    assert len(handler.filters) == 1
    uninstall()
    assert handler.filters == []
    install()()
    assert (sys.excepthook, threading.excepthook, logging.Logger.addHandler) == before
    assert secret


def run(program: str) -> tuple[str, str]:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    return result.stdout, result.stderr


@pytest.mark.parametrize("where", ["main", "thread"])
def test_the_report_of_an_uncaught_exception_is_masked(where: str) -> None:
    program = f"""
import threading
from secretbridge import Reference, Secret, redact
secret = Secret({CANARY!r}.encode(), name="x", reference=Reference.parse("file:x"))
redact.install()
def work():
    password = secret.reveal()
    raise ValueError(f"bad {{password}} here")
if {where!r} == "thread":
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    work()
"""
    _, shown = run(program)
    assert f"ValueError: bad {MASK} here" in shown
    assert "7f3a" not in shown.replace(program, "")
    assert "Traceback (most recent call last)" in shown


# structlog ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["after the renderer", "before the renderer"])
def test_events_of_structlog_are_masked(last: str) -> None:
    secret = make()
    out = io.StringIO()
    renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    ends: list[Any] = [renderer, structlog_processor]
    logger = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=[
            structlog.processors.format_exc_info,
            *(ends if last == "after the renderer" else reversed(ends)),
        ],
    )
    try:
        fail()
    except RuntimeError:
        logger.error(f"a {CANARY}", password=CANARY, more={"k": [CANARY]}, exc_info=True)
    event = json.loads(out.getvalue())
    assert event["event"] == f"a {MASK}"
    assert (event["password"], event["more"]) == (MASK, {"k": [MASK]})
    assert f"app:{MASK}@db" in event["exception"]
    assert secret


def test_an_exception_that_structlog_has_not_formatted_yet_is_masked() -> None:
    secret = make()
    try:
        fail()
    except RuntimeError as error:
        for given in (True, error, (RuntimeError, error, error.__traceback__)):
            event = structlog_processor(None, "error", {"event": "x", "exc_info": given})
            assert "exc_info" not in event
            assert f"app:{MASK}@db" in event["exception"]
    harmless = {"event": "x", "exc_info": ValueError("harmless")}
    assert structlog_processor(None, "error", harmless) is harmless
    assert structlog_processor(None, "error", b"a " + CANARY.encode()) == b"a " + MASK.encode()
    assert secret


class Failing(dict[str, str]):
    def items(self) -> Any:
        raise RuntimeError(f"changed while it was looked at: {CANARY}")


def test_what_cannot_be_searched_is_withheld_and_is_no_error_for_who_logs(
    log: Callable[..., str],
) -> None:
    shown = log(
        f"a {CANARY}", extra={"a": CANARY, "b": Failing(x=CANARY)}, form="%(message)s %(a)s"
    )
    assert shown == (
        "a record is withheld, because it could not be searched for secrets (RuntimeError) "
        f"{MASK}\n"
    )
    event = structlog_processor(None, "error", {"event": CANARY, "b": Failing(x=CANARY)})
    assert "withheld" in event["event"]
    assert CANARY not in str(event)


def test_an_object_that_cannot_be_printed_hides_nothing_else() -> None:
    secret = make()

    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError

    record = logging.makeLogRecord({"msg": "x", "password": CANARY, "broken": Broken()})
    assert RedactingFilter().filter(record)
    assert (record.__dict__["password"], record.msg) == (MASK, "x")
    assert secret
