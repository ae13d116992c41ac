"""What ``secretbridge local`` is given that must not stand on the command line: values and keys.

Arguments are visible to every user of the machine (``ps``), and stay in the shell's history. A value
comes from standard input, byte for byte, or from a prompt without echo.
"""

from __future__ import annotations

import os
import sys
import warnings
from getpass import GetPassWarning, getpass

from ..backends.local import KeyFile, Passphrase, create_key_file
from ..document import MAX_SIZE
from ..errors import ConfigError
from . import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..backends._local.format import Argon2

__all__ = ["KeyFileOrPrompt", "KeyFileToMake", "ask", "new_passphrase", "read_value"]


class KeyFileOrPrompt(KeyFile):
    """The key file; for a store that has a passphrase, and on a terminal, a prompt for that."""

    _passphrase: Passphrase | None = None

    def master(self, argon2: Argon2 | None) -> bytes:
        """Return the key of the store, asking once at most."""
        if argon2 is None or not _is_terminal():
            return super().master(argon2)
        if self._passphrase is None:
            self._passphrase = Passphrase(ask("passphrase: "))
        return self._passphrase.master(argon2)


class KeyFileToMake(KeyFile):
    """A key file that is made when it is first needed, unless there is one."""

    is_new = False

    def master(self, argon2: Argon2 | None) -> bytes:
        """Return the key."""
        if not os.path.lexists(self.path):
            create_key_file(self.path)
            self.is_new = True
        return super().master(argon2)


def read_value(*, is_json: bool) -> bytes:
    """Return what stands on standard input, or what is typed twice at a prompt."""
    if sys.stdin is None:
        raise ConfigError("standard input is closed", hint="pipe the value into the command")
    if _is_terminal():
        value = _ask_twice("value: ", "value again: ").encode()
        if not value:
            raise ConfigError(
                "nothing was typed", hint="to store an empty value, redirect /dev/null into set"
            )
        return value
    # One byte beyond the cap is enough for the store to refuse it.
    value = sys.stdin.buffer.read(MAX_SIZE + 1)
    if not value:
        output.warn(["the value is empty"], is_json)
    elif value.endswith(b"\n") and value.count(b"\n") == 1:
        output.warn(
            ["the value ends with a newline, which is stored too; `printf %s` leaves it out"],
            is_json,
        )
    return value


def new_passphrase() -> str:
    """Return a passphrase that was typed twice."""
    if not _is_terminal():
        raise ConfigError(
            "there is no terminal to ask for a passphrase", hint="give --passphrase-file"
        )
    return _ask_twice("new passphrase: ", "new passphrase again: ")


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _ask_twice(prompt: str, again: str) -> str:
    typed = ask(prompt)
    if typed != ask(again):
        raise ConfigError("the two do not match", hint="nothing was changed; try again")
    return typed


def ask(prompt: str) -> str:
    """Return what is typed at a prompt that does not show it."""
    with warnings.catch_warnings():
        # Where the echo cannot be switched off, getpass warns and reads on: refuse instead.
        warnings.simplefilter("error", GetPassWarning)
        try:
            return getpass(prompt)
        except EOFError:
            reason = "the input ended before anything was typed"
        except GetPassWarning:
            reason = "this terminal would show what is typed"
    raise ConfigError(reason, hint="pipe the value into the command, or use a file")
