"""Ways in which an object that holds a value can spill it: what shows, stores or takes objects apart.

Each takes the object and returns all that came out, as text or bytes. One that is refused returns the
error, with everything that a handler could print of it. The object is never called by a name of its
own (``reveal``), since that is what reveals it.
"""

from __future__ import annotations

import configparser
import contextlib
import copy
import copyreg
import csv
import dataclasses
import enum
import faulthandler
import functools
import gc
import io
import json
import logging
import marshal
import multiprocessing.reduction
import pickle
import pprint
import reprlib
import shelve
import sqlite3
import string
import sys
import tempfile
import traceback
import types
import unittest
import urllib.parse
import warnings
import xml.sax.saxutils
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import cloudpickle
import dill
import jsonpickle
import pydantic
import rich.console
import rich.pretty
import rich.traceback
import sentry_sdk
import sentry_sdk.transport
import sentry_sdk.utils
import structlog
import yaml

VECTORS: dict[str, Callable[[Any], object]] = {}
REVEALING = {"reveal", "reveal_bytes", "get_secret_value", "open", "body", "held", "previous"}
"""Names that are documented to lead to the value."""


def vector(spill: Callable[[Any], object]) -> Callable[[Any], object]:
    VECTORS[spill.__name__.replace("_", " ").strip()] = spill
    return spill


def everything(spill: Callable[[Any], object], holder: Any) -> bytes:
    """Return what ``spill`` returned, printed and raised."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        try:
            found = spill(holder)
        except BaseException as error:  # what is refused must not show it either
            found = f"{error} {error!r} {error.args} {''.join(_traceback(error))}"
    raw = found if isinstance(found, bytes) else str(found).encode("utf-8", "backslashreplace")
    told = " ".join(str(warning.message) for warning in warned)
    return raw + printed.getvalue().encode() + told.encode()


def _traceback(error: BaseException) -> Iterator[str]:
    try:
        yield from traceback.TracebackException.from_exception(error, capture_locals=True).format()
    except Exception as broken:  # the repr of an object that a copier left half made
        yield from traceback.format_exception(broken)


# Shown ------------------------------------------------------------------------------------------

VECTORS |= {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": format,
    "format spec": lambda held: f"{held:>60}",
    "f-string": lambda held: f"{held} {held!r} {held!s} {held!a}",
    "percent s": lambda held: "%s" % (held,),  # noqa: UP031
    "percent r": lambda held: "%r %a" % (held, held),  # noqa: UP031
    "str.format": lambda held: f"{held} {held!r} {held}",
    "template": lambda held: string.Template("$x").substitute(x=held),
    "containers": lambda held: repr([held, (held,), {"k": held}, {1: [held]}]),
    "pprint": lambda held: pprint.pformat({"k": [held]}),
    "reprlib": lambda held: reprlib.repr([held]),
    "namespace": lambda held: repr(types.SimpleNamespace(password=held)),
    "partial": lambda held: repr(functools.partial(print, held, password=held)),
    "exception args": lambda held: repr(KeyError(held)) + str(ValueError("x", held)),
    "enum": lambda held: repr(enum.Enum("Members", {"PASSWORD": held}).PASSWORD),  # type: ignore[attr-defined]
    "url encoding": lambda held: urllib.parse.urlencode({"password": held}),
    "xml escape": lambda held: xml.sax.saxutils.escape(str(held)),
    "display hook": lambda held: sys.displayhook(held),
    "print": lambda held: print(held, [held]),
    "warning": lambda held: warnings.warn(f"{held} {held!r}", stacklevel=1),
    "rich pretty": lambda held: rich.pretty.pretty_repr({"k": held}),
}


@vector
def _csv(held: Any) -> object:
    out = io.StringIO()
    csv.writer(out).writerow([held])
    return out.getvalue()


@vector
def _config_file(held: Any) -> object:
    parser = configparser.ConfigParser()
    parser["x"] = {"password": held}
    out = io.StringIO()
    parser.write(out)
    return out.getvalue()


@vector
def _failed_assertion(held: Any) -> object:
    return unittest.TestCase().assertEqual([held], ["x"])  # noqa: PT009 - for its message


@vector
def _rich_inspect(held: Any) -> object:
    from rich._inspect import Inspect

    console = rich.console.Console(file=io.StringIO(), record=True, width=200)
    console.print(Inspect(held, private=True, dunder=True, value=True, docs=False))
    return console.export_text()


# Taken apart ------------------------------------------------------------------------------------

VECTORS |= {
    "vars": vars,
    "dict": lambda held: held.__dict__,
    "attributes": lambda held: repr([value for _, value in attributes(held)]),
    "dir": lambda held: repr(dir(held)),
    "walk of attributes": lambda held: repr(list(walk(held))),
    "referents": lambda held: repr(list(referents(held))),
    "getstate": lambda held: held.__getstate__(),
    "reduce of object": lambda held: object.__reduce_ex__(held, 4),
    "reduce of copyreg": lambda held: copyreg.__reduce_ex__(held, 1),
    "copy": lambda held: repr(copy.copy(held)),
    "deep copy": lambda held: repr(copy.deepcopy([held])),
    "iteration": lambda held: repr([list(held)]),
    "length": lambda held: f"{len(held)}",
    "index": lambda held: held[0],
    "bytes": bytes,
    "buffer": lambda held: bytes(memoryview(held)),
    "number": lambda held: f"{int(held)}",
    "concatenation": lambda held: held + "",
    "repetition": lambda held: held * 1,
    "containment": lambda held: b"x" in held,
    "order": lambda held: f"{sorted([held, 'x'])}",
    "join": "".join,
    "encoding": lambda held: held.encode(),
}


def attributes(held: Any) -> Iterator[tuple[str, Any]]:
    """What ``inspect.getmembers`` sees, apart from what is meant to reveal."""
    for name in dir(held):
        if name not in REVEALING:
            with contextlib.suppress(Exception):
                yield name, getattr(held, name)


def walk(held: Any, depth: int = 3) -> Iterator[object]:
    """Every attribute of every attribute, as a curious serializer would find them."""
    for name, value in attributes(held):
        if name.startswith("__") or callable(value):
            continue
        yield bytes(value) if isinstance(value, memoryview) else value
        if depth:
            yield from walk(value, depth - 1)


def referents(held: Any) -> Iterator[object]:
    """What the garbage collector finds in the object, two levels down, types left out."""
    for value in gc.get_referents(held):
        if not isinstance(value, type):
            yield value
            yield from (v for v in gc.get_referents(value) if not isinstance(v, type))


# Stored and sent --------------------------------------------------------------------------------

VECTORS |= {
    **{f"pickle {n}": functools.partial(pickle.dumps, protocol=n) for n in range(6)},
    "pickle in a list": lambda held: pickle.dumps([held]),
    "pickle in python": lambda held: pickle._dumps(held),  # type: ignore[attr-defined]
    "multiprocessing": lambda held: bytes(multiprocessing.reduction.ForkingPickler.dumps(held)),
    "cloudpickle": cloudpickle.dumps,
    "cloudpickle of a closure": lambda held: cloudpickle.dumps(lambda: held),
    "dill": lambda held: dill.dumps(held, recurse=True),
    "jsonpickle": jsonpickle.encode,
    "jsonpickle of parts": lambda held: jsonpickle.encode(held, unpicklable=False, max_depth=5),
    "marshal": marshal.dumps,
    "json": json.dumps,
    "json default str": lambda held: json.dumps({"k": held}, default=str),
    "json default vars": lambda held: json.dumps({"k": held}, default=vars),
    "json default repr": lambda held: json.dumps({"k": held}, default=repr),
    "yaml": yaml.dump,
    "yaml safe": yaml.safe_dump,
    "pydantic to json": lambda held: pydantic.TypeAdapter(Any).dump_json(held),
    "pydantic fallback": lambda held: pydantic.TypeAdapter(Any).dump_json(held, fallback=repr),
}


@vector
def _shelve(held: Any) -> object:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with shelve.open(f"{folder}/x") as file:
                file["x"] = held
        finally:
            stored = b"".join(path.read_bytes() for path in Path(folder).iterdir())
        return stored


@vector
def _sqlite(held: Any) -> object:
    base = sqlite3.connect(":memory:")
    try:
        return base.execute("select ?", (held,)).fetchall()
    finally:
        base.close()


@vector
def _dataclass(held: Any) -> object:
    @dataclasses.dataclass
    class Holder:
        password: Any

    made = Holder(held)
    return f"{made} {dataclasses.asdict(made)} {dataclasses.astuple(made)} {vars(made)}"


@vector
def _attrs(held: Any) -> object:
    @attrs.define
    class Holder:
        password: Any

    return f"{Holder(held)} {attrs.asdict(Holder(held))} {attrs.astuple(Holder(held))}"


@vector
def _pydantic_model(held: Any) -> object:
    class Holder(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        password: type(held)  # type: ignore[valid-type]
        number: int = 0

    made = Holder(password=held)
    parts = [repr(made), str(made), repr(made.model_dump()), repr(made.model_copy(deep=True))]
    for more in (lambda: made.model_dump_json(), lambda: repr(made.model_dump(mode="json"))):
        with contextlib.suppress(pydantic.PydanticUserError, pydantic.ValidationError, ValueError):
            parts.append(more())
    return "\n".join(parts)


@vector
def _pydantic_error(held: Any) -> object:
    class Holder(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        password: type(held)  # type: ignore[valid-type]
        number: int

    try:
        Holder(password=held, number=held)
    except pydantic.ValidationError as error:
        return f"{error} {error!r} {error.errors()} {error.json(include_input=False)}"
    return "accepted"


@vector
def _pydantic_schema(held: Any) -> object:
    class Holder(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        password: type(held) = held  # type: ignore[valid-type]

    return json.dumps(Holder.model_json_schema())


# Reported ---------------------------------------------------------------------------------------


def fail(password: Any) -> None:
    held = [password, {"k": password}]
    raise RuntimeError("failed with", password, held)


@vector
def _logging(held: Any) -> object:
    out = io.StringIO()
    logger = logging.Logger("vector")
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(message)s %(extra)s %(args)s"))
    logger.addHandler(handler)
    try:
        fail(held)
    except RuntimeError:
        logger.exception("%s %r", held, held, extra={"extra": held}, stack_info=True)
    return out.getvalue()


@vector
def _log_record(held: Any) -> object:
    record = logging.LogRecord("x", 10, "x.py", 1, "%s", (held,), None)
    record.password = held
    return f"{record.getMessage()} {vars(record)} {json.dumps(vars(record), default=repr)}"


@vector
def _structlog(held: Any) -> object:
    event: dict[str, Any] = {"event": "x", "password": held, "more": {"k": [held]}}
    console = structlog.dev.ConsoleRenderer(colors=False)(None, "info", dict(event))
    return f"{console} {structlog.processors.JSONRenderer()(None, 'info', dict(event))!r}"


@vector
def _structlog_traceback(held: Any) -> object:
    try:
        fail(held)
    except RuntimeError:
        return structlog.processors.dict_tracebacks(None, "info", {"exc_info": True})


@vector
def _traceback_with_locals(held: Any) -> object:
    try:
        fail(held)
    except RuntimeError as error:
        made = traceback.TracebackException.from_exception(error, capture_locals=True)
        return "".join(made.format())


@vector
def _rich_traceback(held: Any) -> object:
    console = rich.console.Console(file=io.StringIO(), record=True, width=200)
    try:
        fail(held)
    except RuntimeError:
        console.print(rich.traceback.Traceback(show_locals=True))
    return console.export_text()


@vector
def _sentry(held: Any) -> object:
    client = sentry_sdk.Client(default_integrations=False, include_local_variables=True)
    try:
        fail(held)
    except RuntimeError as error:
        event, _ = sentry_sdk.utils.event_from_exception(error, client_options=client.options)
    event["extra"] = {"password": held, "more": [held]}
    sent = sentry_sdk.serializer.serialize(event, max_request_body_size="always")
    return json.dumps(sent, default=repr)


@vector
def _faulthandler(held: Any) -> object:
    with tempfile.TemporaryFile("w+") as file:

        def dump(password: Any) -> None:
            faulthandler.dump_traceback(file)

        dump(held)
        file.seek(0)
        return file.read()
