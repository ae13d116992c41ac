"""What a store needs of the machine that it is used on, told before it is used.

A process that confines itself has to know beforehand what it will read and where it will connect; a
check of the machine looks at the same files and servers. A backend tells with its class method
``reach``. One that has none, a stranger's plugin, leaves both open.
"""

from __future__ import annotations

import os

from .._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["Reach", "aws_reach", "files_of", "port_of"]


class Reach(Value):
    """What one store reads and where it connects.

    ``credentials``: files that prove who we are. ``files``: other files and directories that are read.
    ``urls``: servers that get a credential. ``ports``: TCP ports of others that may be asked.
    ``ca_file``: whose authorities the servers' certificates are checked against, ``server_name``: the
    name that they are for, ``certificate``: the files of ours that they ask for; or None. ``loose``:
    why the rest cannot be told, or None where this is all.
    """

    __slots__ = (
        "ca_file",
        "certificate",
        "credentials",
        "files",
        "loose",
        "ports",
        "server_name",
        "urls",
    )

    credentials: tuple[str, ...]
    files: tuple[str, ...]
    urls: tuple[str, ...]
    ports: tuple[int, ...]
    ca_file: str | None
    server_name: str | None
    certificate: tuple[str, str | None] | None
    loose: str | None

    def __init__(
        self,
        *,
        credentials: Iterable[str] = (),
        files: Iterable[str] = (),
        urls: Iterable[str] = (),
        ports: Iterable[int] = (),
        ca_file: str | None = None,
        server_name: str | None = None,
        certificate: tuple[str, str | None] | None = None,
        loose: str | None = None,
    ) -> None:
        assign(self, "credentials", tuple(dict.fromkeys(credentials)))
        assign(self, "files", tuple(dict.fromkeys(files)))
        assign(self, "urls", tuple(dict.fromkeys(urls)))
        known = (port_of(url) for url in self.urls)
        assign(self, "ports", tuple(sorted({*ports, *(port for port in known if port)})))
        assign(self, "ca_file", ca_file)
        assign(self, "server_name", server_name)
        assign(self, "certificate", certificate)
        assign(self, "loose", loose)


def port_of(url: str) -> int | None:
    """Return the port of an ``http`` or ``https`` URL, or None if it is none."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return port or (443 if parts.scheme == "https" else 80)


def files_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Return by key what ends in ``_file`` among ``options``, those of blocks within included."""
    found: dict[str, str] = {}
    for key, value in options.items():
        if isinstance(value, dict):
            found.update(files_of(value))
        elif key.endswith("_file") and isinstance(value, str | os.PathLike):
            found[key] = os.path.abspath(os.path.expanduser(os.fspath(value)))
    return found


_AWS_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}
_PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


def aws_reach(options: Mapping[str, Any], environ: Mapping[str, str], urls: Iterable[str]) -> Reach:
    """Return what AWS's chain of credentials reads and asks, and ``urls`` beside it.

    AWS's own configuration file may name further files, programs and ports.
    """
    own = [os.path.expanduser(environ.get(name, usual)) for name, usual in _AWS_FILES.items()]
    # Of an instance, a task and a pod: port 80 of a link-local address.
    ports = {443, 80}
    read = []
    for name, value in environ.items():
        if name.startswith("AWS_") or name in _PROXIES:
            if os.path.isabs(value) and name not in _AWS_FILES:
                read.append(value)
            port = port_of(value)
            if port is not None:
                ports.add(port)
    given = [value for value in options.values() if isinstance(value, str) and port_of(value)]
    says_more = os.path.isfile(own[0]) and os.path.getsize(own[0]) > 0
    return Reach(
        credentials=[path for path in own[1:] if os.path.isfile(path)],
        files=[*own, *read],
        urls=[*given, *urls],
        ports=ports,
        ca_file=environ.get("AWS_CA_BUNDLE"),
        loose=f"{own[0]} may name files, programs and ports of its own" if says_more else None,
    )
