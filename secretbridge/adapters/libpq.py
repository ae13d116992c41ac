"""libpq's password file, kept current: for every client of PostgreSQL that is built on libpq.

    from secretbridge.adapters.libpq import Passfile

    passfile = Passfile("db_password", host="db", dbname="orders", user="app")
    psycopg.connect("host=db dbname=orders user=app", passfile=passfile.path)

libpq reads the file for each connection, so a rotation needs nothing of the client, and its functions
never hold the password. Where a sidecar writes the file, no code is needed at all: see the how-to guide.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import TYPE_CHECKING

from ..errors import IntegrityError, UnsafeTarget
from ..secret import Secret
from ._login import Key, bound

if TYPE_CHECKING:
    from typing import Self

    from ..broker import Broker

__all__ = ["Passfile", "passfile_line"]


def passfile_line(host: str, port: str, dbname: str, user: str, password: str) -> str:
    r"""Return one line of a password file; ``*`` matches everything, ``\`` and ``:`` are escaped.

    Raises :class:`IntegrityError` for a password that no line can hold.

    >>> passfile_line("db", "*", "*", "app", r"a:b\c")
    'db:*:*:app:a\\:b\\\\c'
    """
    if any(char in password for char in "\n\r\0"):
        del password
        raise IntegrityError(
            "the password has more than one line, which libpq's password file cannot hold",
            hint="rotate it to one without line breaks",
        )
    fields = (host, port, dbname, user, password)
    return ":".join(field.replace("\\", r"\\").replace(":", r"\:") for field in fields)


class Passfile:
    """A private file with the current password, replaced as a whole after each rotation.

    ``password`` names the secret; ``host``, ``port``, ``dbname`` and ``user`` say which connections
    it is for, ``*`` all. The file is made in a new directory below ``directory``, which has to be in
    memory: ``$XDG_RUNTIME_DIR`` or ``/dev/shm`` by default. It goes with :meth:`close`, with the
    object, or at the end of the process.
    """

    path: str

    def __init__(
        self,
        password: Key,
        *,
        host: str = "*",
        port: int | str = "*",
        dbname: str = "*",
        user: str = "*",
        directory: str | os.PathLike[str] | None = None,
        broker: Broker | None = None,
    ) -> None:
        """Write the file. Raises :class:`UnsafeTarget` when there is no memory file system."""
        handle = bound(password, broker)
        self._match = (host, str(port), dbname, user)
        self._directory = tempfile.mkdtemp(prefix="secretbridge-", dir=directory or _memory())
        self.path: str = os.path.join(self._directory, "pgpass")
        self._finalizer = weakref.finalize(self, _remove, self._directory, self.path, os.getpid())
        self._write(handle.secret)
        ours = weakref.ref(self)

        def changed(secret: Secret) -> None:
            passfile = ours()
            if passfile is not None and passfile._finalizer.alive:
                passfile._write(secret)

        self._end = handle.on_change(changed)
        self._write(handle.secret)  # what changed before it was listened to

    def _write(self, secret: Secret) -> None:
        # A new name and a rename: a connection that is being made reads all of it or all of the other.
        # libpq ignores a file that others may read (mkstemp makes it 0600).
        descriptor, name = tempfile.mkstemp(dir=self._directory)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(passfile_line(*self._match, secret.reveal()) + "\n")
            os.rename(name, self.path)
        except BaseException:
            os.unlink(name)
            raise

    def close(self) -> None:
        """Stop following the secret, and remove the file."""
        self._end()
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Passfile({self.path!r})"


def _remove(directory: str, path: str, process: int) -> None:
    if os.getpid() != process:
        return  # a child that was forked: the file is its parent's
    for remove, name in ((os.unlink, path), (os.rmdir, directory)):
        try:
            remove(name)
        except OSError:
            continue


def _memory() -> str:
    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):  # noqa: S108 - a private one below it
        if place and os.access(place, os.W_OK | os.X_OK):
            return place
    raise UnsafeTarget(
        "there is no memory file system for the password file",
        hint="mount a tmpfs and pass it as directory",
    )
