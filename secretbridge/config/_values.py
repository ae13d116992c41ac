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
    "host_name",
    "is_loopback",
    "listen_address",
    "mode",
    "not_zero",
    "principal",
    "resolve_path",
    "seconds",
    "section",
    "signal",
    "url",
]

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 10 * 365 * 86400.0
_MODE = re.compile(r"(?:0o?)?[0-7]{3}")
_PRINCIPAL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
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


def url(value: str) -> str:
    """Return an http or https URL without credentials."""
    try:
        parts = urlsplit(value)
        has_host = parts.scheme in ("http", "https") and bool(parts.hostname)
        has_host = has_host and (parts.port is None or parts.port > 0)
    except ValueError:
        has_host = False
    else:
        if has_host and parts.username is None and value.isascii() and value.isprintable():
            return value
    cause = "a URL that holds a user name" if has_host else "no URL of a web server"
    raise ValueError(f"{cause}; write http://HOST:PORT/PATH or https://HOST/PATH")


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
    """Whether only this machine reaches the address ``host``."""
    return ip_address(host).is_loopback


def host_name(value: str) -> str:
    """Return a name of a machine, without a port."""
    if not _HOST_NAME.fullmatch(value):
        raise ValueError("no name of a machine; write it without a port, as in metrics.example.com")
    return value.lower()
