"""A tamper-evident log of what happened to secrets: one JSON object a line, and never a value.

Fields are allow-listed, names are hashed with a key, and each line is linked to the one before it with
that key. The form is specified in ``docs/formats/audit-log.md``.

>>> import os, tempfile
>>> from secretbridge.audit import open_log, read_key, verify
>>> with tempfile.TemporaryDirectory() as folder:
...     with open_log(f"{folder}/audit.log") as log:
...         done = log.record("purge", outcome="success", generation="..gen-5f1c0a9be2d47788")
...     report = verify([f"{folder}/audit.log"], read_key(f"{folder}/audit.log.key"))
>>> report.count, report.lines, report.end
(0, 3, 'closed')
"""

from __future__ import annotations

from .chain import GENESIS, Head, Keys
from .faults import AuditFailed, SinkFailed
from .file import FileSink
from .head import HeadFile, read_head
from .key import read_key
from .line import EVENTS, FIELDS, OUTCOMES, SCHEMA_VERSION, Actor
from .log import AuditLog
from .opening import open_log, places
from .sinks import Sink, StreamSink, SyslogSink
from .verify import Problem, Report, verify
from .witness import LogWitness

__all__ = [
    "EVENTS",
    "FIELDS",
    "GENESIS",
    "OUTCOMES",
    "SCHEMA_VERSION",
    "Actor",
    "AuditFailed",
    "AuditLog",
    "FileSink",
    "Head",
    "HeadFile",
    "Keys",
    "LogWitness",
    "Problem",
    "Report",
    "Sink",
    "SinkFailed",
    "StreamSink",
    "SyslogSink",
    "open_log",
    "places",
    "read_head",
    "read_key",
    "verify",
]
