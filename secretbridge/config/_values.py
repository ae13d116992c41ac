"""Scalars of the configuration that mean more than their type: times, permissions, users, signals.

Each function takes what stands in the file and returns the value, or raises :class:`ValueError` with
a text of the form ``cause; remedy`` that does not repeat what it was given.
"""

from __future__ import annotations

import os
import re
import signal as signals
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

__all__ = [
    "argv",
    "consumer",
    "host_name",
    "is_loopback",
    "label",
    "listen_address",
    "local_url",
    "mode",
    "not_zero",
    "principal",
    "process",
    "resolve_path",
    "seconds",
    "section",
    "service_url",
    "signal",
    "url",
]

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 10 * 365 * 86400.0
_MODE = re.compile(r"(?:0o?)?[0-7]{3}")
_PRINCIPAL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_CONSUMER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PROCESS = re.compile(r"[\x21-\x2e\x30-\x7e]{1,64}")
_SOCKET = re.compile(r"unix:(/[\x21-\x39\x3b-\x7e]{1,106})(:/[\x21-\x22\x24-\x7e]*)?")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SECTION = re.compile(r"[A-Za-z0-9_.-]+")
_HIGHEST_ID = 2**32 - 2


def resolve_path(text: str, directory: str) -> Path:
    """Return ``text`` as an absolute path: ``~`` expanded, relative to ``directory``."""
    # Not normalized: behind a symbolic link, '..' is not what the text before it says.
    return Path(directory, os.path.expanduser(text))


def seconds(value: object) -> float:
    """Return a length of time in seconds."""
    remedy = "write for example 30s, 5m, 1h, 2d or 500ms, or a number of seconds"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"no length of time; {remedy}")
    if isinstance(value, str):
        found = _DURATION.fullmatch(value)
        if found is None:
            raise ValueError(f"no length of time; {remedy}")
        value = float(found[1]) * _SECONDS[found[2]]
    if not 0 <= value <= _LONGEST:
        raise ValueError(f"not between 0 and 10 years; {remedy}")
    return float(value)


def not_zero(value: float) -> float:
    """Refuse a time of zero where it would mean: all the time."""
    if value == 0:
        raise ValueError("zero; give a longer time, for example 30s")
    return value


def mode(value: object) -> int:
    """Return the permissions of a file, never open to all users."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        # YAML reads 0440 as 288 and 440 as 440; there is no telling which was meant.
        raise ValueError('file permissions as a bare number; quote them: mode: "0440"')
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise ValueError('no file permissions; write three octal digits in quotes: mode: "0440"')
    bits = int(value[-3:], 8)
    if bits & 0o007:
        raise ValueError(
            "the file would be open to every user; the last digit has to be 0, and readers join "
            "the group"
        )
    if not bits & 0o400:
        raise ValueError('the owner may not read the file; begin with 4 or 6, for example "0440"')
    return bits


def principal(value: object) -> int | str:
    """Return a user or group by number or name; whether it exists is seen when it is used."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _HIGHEST_ID:
        return value
    if isinstance(value, str) and _PRINCIPAL.fullmatch(value):
        return value
    raise ValueError("no user or group; write its number or its name")


def section(value: str) -> str:
    """Return the name of a section of an option file."""
    if not _SECTION.fullmatch(value):
        raise ValueError("no name of a section; use letters, digits, '_', '.' and '-'")
    return value


def label(value: str) -> str:
    """Return a word by which others know something."""
    if not _LABEL.fullmatch(value):
        raise ValueError("no plain word; use up to 64 letters, digits, '_', '.' and '-'")
    return value


def signal(value: object) -> int:
    """Return the number of a signal."""
    if isinstance(value, str):
        name = value if value.startswith("SIG") else f"SIG{value}"
        if name in signals.Signals.__members__:
            return signals.Signals[name].value
    elif isinstance(value, int) and not isinstance(value, bool) and value in set(signals.Signals):
        return value
    raise ValueError("no signal; write its name, for example HUP")


def argv(value: list[str]) -> list[str]:
    """Return a command line whose program is an absolute path."""
    if not value:
        raise ValueError("no program; write [/usr/bin/NAME, ARGUMENT]")
    if not value[0].startswith("/"):
        # A bare name would be looked up in a PATH that somebody else may have set.
        raise ValueError("the program is not an absolute path; write it in full, as /usr/bin/NAME")
    if any("\0" in argument for argument in value):
        raise ValueError("an argument holds a NUL; remove it")
    return value


def process(value: str) -> str:
    """Return the name of a process, as ``ps -o comm`` shows it."""
    if not _PROCESS.fullmatch(value):
        raise ValueError("no name of a process; write the name of its program, without directories")
    return value


def consumer(value: str) -> str:
    """Return the name by which a program acknowledges."""
    if not _CONSUMER.fullmatch(value):
        raise ValueError("no name of a consumer; use up to 64 letters, digits, '_', '.' and '-'")
    return value


def local_url(value: str) -> str:
    """Return the address of a web server on this machine: loopback, or a Unix socket."""
    remedy = "write http://127.0.0.1:PORT/PATH, or unix:/run/app.sock:/PATH"
    if value.startswith("unix:"):
        if not _SOCKET.fullmatch(value):
            raise ValueError(f"no address of a Unix socket; {remedy}")
        return value
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"no URL of a web server; {remedy}") from None
    if parts.username is not None:
        raise ValueError(f"a URL that holds a user name; {remedy}")
    is_plain = value.isascii() and value.isprintable() and " " not in value and "#" not in value
    if parts.scheme != "http" or not is_plain or port == 0:
        raise ValueError(f"no URL of a web server that is asked without TLS; {remedy}")
    if not is_loopback(host):
        # From anywhere else somebody could answer, or listen; and a name could lead anywhere.
        raise ValueError(f"a web server on another machine; {remedy}, or use exec")
    return value


def service_url(value: str) -> str:
    """Return the address of a service: with TLS, or on this machine, and without credentials."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", 0
    is_known = bool(host) and port != 0 and value.isascii() and value.isprintable()
    if not is_known or parts.username is not None:
        raise ValueError("no address of a service; write https://HOST")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError("an address without TLS; write https://HOST")
    return value


def url(value: str) -> str:
    """Return an http or https URL without credentials, a query or a fragment."""
    try:
        parts = urlsplit(value)
        is_plain = value.isascii() and value.isprintable() and not set(" ?#") & set(value)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_plain = is_url = False
    else:
        if is_url and is_plain and parts.username is None:
            return value
    cause = "a URL that holds more than a place" if is_url else "no URL of a web server"
    raise ValueError(f"{cause}; write http://HOST:PORT or https://HOST")


def listen_address(value: object) -> tuple[str, int]:
    """Return an address, in its usual spelling, and a port. ``localhost`` is 127.0.0.1."""
    found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < int(found[2]) < 65536:
        raise ValueError(
            'no address to listen on; write ADDRESS:PORT, for example "127.0.0.1:9100"'
        )
    host = "127.0.0.1" if found[1] == "localhost" else found[1].strip("[]")
    try:
        return str(ip_address(host)), int(found[2])
    except ValueError:
        # What a name means is for others to say, and may change.
        raise ValueError("a name where an address is needed; write it in digits") from None


def is_loopback(host: str) -> bool:
    """Whether ``host`` is an address that only this machine reaches, or ``localhost``."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(value: str) -> str:
    """Return a name of a machine, without a port."""
    if not _HOST_NAME.fullmatch(value):
        raise ValueError("no name of a machine; write it without a port, as in metrics.example.com")
    return value.lower()
