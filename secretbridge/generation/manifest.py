"""The manifest: what a generation consists of, written into it as the last file.

That it is there and whole is what tells a complete generation from one whose writer died. It holds no
digests: others than the owner may read it, and the digest of a short password is as good as the
password to whoever can guess offline. A writer that starts anew reads the files back instead.

Versions and expiry times are those of the moment of publication. A lease that is renewed without a
new value makes no new generation, and so does not touch them.

The format is specified in ``docs/formats/generation.md``.
"""

from __future__ import annotations

import json

from .._value import Value, assign
from ..errors import ConfigError, IntegrityError
from .layout import is_generation, validate_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["FORMAT", "MAX_SIZE", "Manifest", "decode", "encode", "listing"]

FORMAT = "secretbridge.generation/1"

MAX_SIZE = 64 << 20
"""Largest manifest that is read, in bytes: far beyond what fits the names of any real set."""


class Manifest(Value):
    """A generation's own description.

    ``generation``: the name of its directory. ``sequence``: counts publications into this target,
    from 1. ``created``: seconds since the epoch. ``files``: the names of all files, by mode.
    ``versions`` and ``expires``: the store's version, and the seconds since the epoch at which the
    value ends, for those files that have them.
    """

    __slots__ = ("created", "expires", "files", "generation", "sequence", "versions")

    generation: str
    sequence: int
    created: float
    files: Mapping[int, Sequence[str]]
    versions: Mapping[str, str]
    expires: Mapping[str, float]

    def __init__(
        self,
        generation: str,
        sequence: int,
        created: float,
        files: Mapping[int, Sequence[str]],
        versions: Mapping[str, str] | None = None,
        expires: Mapping[str, float] | None = None,
    ) -> None:
        assign(self, "generation", generation)
        assign(self, "sequence", sequence)
        assign(self, "created", created)
        assign(self, "files", files)
        assign(self, "versions", versions or {})
        assign(self, "expires", expires or {})

    def names(self) -> list[str]:
        """Return the names of all files."""
        return [name for names in self.files.values() for name in names]


def listing(files: Mapping[int, Sequence[str]]) -> str:
    """Return the text of ``files`` in a manifest."""
    # Names need no escaping, their characters are checked.
    each = [f'"{mode:04o}": {_list(names)}' for mode, names in files.items()]
    return "{" + ", ".join(each) + "}"


def encode(manifest: Manifest, files: str | None = None) -> bytes:
    """Return the bytes of ``manifest``: one line of JSON, in ASCII.

    ``files`` is the :func:`listing` of its files, for a writer that has it already.
    """
    if files is None:
        files = listing(manifest.files)
    versions = json.dumps(dict(manifest.versions)) if manifest.versions else "{}"
    expires = json.dumps(dict(manifest.expires)) if manifest.expires else "{}"
    return (
        f'{{"format": "{FORMAT}", "generation": "{manifest.generation}", '
        f'"sequence": {manifest.sequence}, "created": {manifest.created:.3f}, '
        f'"files": {files}, "versions": {versions}, "expires": {expires}}}\n'
    ).encode("ascii")


def _list(names: Sequence[str]) -> str:
    return '["' + '", "'.join(names) + '"]' if names else "[]"


def decode(body: bytes) -> Manifest:
    """Return the manifest in ``body``. Raises :class:`IntegrityError` for anything else."""
    try:
        found = json.loads(body.decode("ascii"))
        if found["format"] != FORMAT or not is_generation(found["generation"]):
            raise ValueError("another format")
        sequence: object = found["sequence"]
        if type(sequence) is not int or sequence < 1:
            raise ValueError("sequence")
        files = {_mode(mode): _names(names) for mode, names in found["files"].items()}
        known = {name for names in files.values() for name in names}
        validate_names(name for names in files.values() for name in names)
        return Manifest(
            found["generation"],
            sequence,
            _number(found["created"]),
            files,
            {_known(name, known): _text(version) for name, version in found["versions"].items()},
            {_known(name, known): _number(end) for name, end in found["expires"].items()},
        )
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        pass
    except ConfigError:
        pass  # a name that escapes: no writer of ours made this
    raise IntegrityError(
        "the manifest is cut short, damaged, or of another format",
        hint="publish again; the writer replaces what it cannot read",
    )


def _mode(text: str) -> int:
    if len(text) != 4 or text[0] != "0" or not set("01234567").issuperset(text):
        raise ValueError("mode")
    return int(text, 8)


def _names(value: object) -> list[str]:
    if not isinstance(value, list):
        raise ValueError("names")
    return [_text(name) for name in value]


def _known(name: str, files: Collection[str]) -> str:
    if name not in files:
        raise ValueError("no such file")
    return name


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("number")
    number = float(value)
    if number - number != 0:  # NaN, Infinity, and what is read as infinite, such as 1e999
        raise ValueError("number")
    return number
