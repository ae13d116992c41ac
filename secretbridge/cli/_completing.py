"""What may follow on an unfinished command line, found from the commands' own parsers.

No store is ever asked: names come from the configuration file, which is read as any command reads it.
A word that is being typed may be a value that was pasted by mistake, so nothing here repeats it.
"""

from __future__ import annotations

import argparse
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..config import Config

__all__ = ["FILES", "Candidate", "candidates", "words_of"]

FILES = ":files"
"""Stands in the place of candidates where the shell completes names of files by itself."""

Candidate = tuple[str, str]
"""A word, and what it is in a few more."""

_HARMLESS = re.compile(r"[A-Za-z0-9_@%+=:,./#-]+")
"""What no shell has to quote. Anything else is not offered."""


def candidates(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[Candidate]:
    """Return what the last of ``words`` (which may be empty) can become.

    ``words`` are those after the program's name; ``parser`` knows the commands among them.
    """
    *done, current = words
    here = _Position(parser)
    for word in done:
        here.pass_by(word)
    found = [
        (word, purpose)
        for word, purpose in here.expected(current)
        if word.startswith(current) or word == FILES
    ]
    return [(word, purpose) for word, purpose in found if word == FILES or _is_harmless(word)]


def words_of(line: str) -> list[str]:
    """Return the words of a command line up to the cursor, the program's name left out.

    The last one is being typed; it is empty after a space. A quote may still be open.
    """
    words = [""]
    quote = ""
    escaped = False
    for char in line:
        if escaped or (quote and char != quote and not (char == "\\" and quote == '"')):
            words[-1] += char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in "'\"":
            quote = "" if quote else char
        elif char.isspace():
            if words[-1]:
                words.append("")
        else:
            words[-1] += char
    return words[1:] or [""]


def _is_harmless(word: str) -> bool:
    return _HARMLESS.fullmatch(word) is not None


class _Position:
    """Where on the command line the next word stands."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._config: str | None = None
        self._used: set[str] = set()
        self._awaited: argparse.Action | None = None
        self._only_positionals = False
        self._enter(parser)

    def _enter(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser
        actions = parser._actions
        self._options = {name: a for a in actions for name in a.option_strings}
        self._positionals = [a for a in actions if not a.option_strings]

    def pass_by(self, word: str) -> None:
        """Take in a word that is complete."""
        if self._awaited is not None:
            self._take(self._awaited, word)
            self._awaited = None
        elif word == "--" and not self._only_positionals:
            self._only_positionals = True
        elif word.startswith("-") and len(word) > 1 and not self._only_positionals:
            name, equals, value = word.partition("=")
            action = self._options.get(name)
            self._used.update(action.option_strings if action is not None else ())
            if action is not None and action.nargs is None:
                if equals:
                    self._take(action, value)
                else:
                    self._awaited = action
        elif self._positionals:
            action = self._positionals[0]
            if action.nargs not in ("*", "+"):
                del self._positionals[0]
            if isinstance(action, argparse._SubParsersAction) and word in action.choices:
                self._enter(action.choices[word])

    def _take(self, action: argparse.Action, value: str) -> None:
        if action.dest == "config":
            self._config = value

    def expected(self, current: str) -> Iterator[Candidate]:
        """Yield what the word may be of which ``current`` has been typed."""
        if self._awaited is not None:
            yield from self._values(self._awaited, current)
            return
        if current.startswith("-") and not self._only_positionals:
            name, equals, _ = current.partition("=")
            action = self._options.get(name)
            if equals and action is not None:
                found = self._values(action, current.partition("=")[2])
                yield from ((w if w == FILES else f"{name}={w}", p) for w, p in found)
                return
            for option, action in self._options.items():
                is_offered = option.startswith("--") and action.help != argparse.SUPPRESS
                if is_offered and option not in self._used:
                    yield option, (action.help or "").partition(" (default")[0]
            return
        if self._positionals:
            yield from self._values(self._positionals[0], current)

    def _values(self, action: argparse.Action, current: str) -> Iterator[Candidate]:
        if action.help == argparse.SUPPRESS:
            return
        if isinstance(action, argparse._SubParsersAction):
            yield from ((a.dest, a.help or "") for a in action._choices_actions)
        elif action.choices is not None:
            yield from ((str(choice), "") for choice in action.choices)
        elif action.metavar == "FILE":
            yield FILES, ""
        elif action.metavar == "NAME|REFERENCE":
            configured = self._configured()
            yield from ((name, str(reference)) for name, reference in configured.items())
            if not any(name.startswith(current) for name in configured):
                yield from ((str(reference), name) for name, reference in configured.items())
        elif action.metavar == "STORE":
            yield from ((name, "") for name in self._stores())

    def _configured(self) -> Mapping[str, object]:
        config = self._load()
        return {n: e.reference for n, e in config.secrets.items()} if config is not None else {}

    def _stores(self) -> list[str]:
        config = self._load()
        return list(config.stores) if config is not None else []

    def _load(self) -> Config | None:
        from os.path import expanduser

        from ..config import load_config
        from ..errors import SecretBridgeError

        try:
            return load_config(None if self._config is None else expanduser(self._config))
        except SecretBridgeError:
            return None  # the command itself will say what is wrong with it
