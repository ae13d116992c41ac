"""Documents of a fake store as references see them: the whole, or one field of a JSON object."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

from ..reference import Reference

__all__ = ["changed"]

_ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "base64": b64encode,
    "base64url": urlsafe_b64encode,
    "hex": lambda value: value.hex().encode(),
}


def changed(body: bytes | None, reference: Reference, value: str | bytes) -> bytes:
    """Return ``body`` (None: there is none yet) so that ``reference`` finds ``value`` in it.

    The other fields of the document stay. Raises :class:`ValueError` when the document is no JSON
    object, but has to be one.
    """
    raw = value.encode() if isinstance(value, str) else value
    if reference.decode is not None:
        raw = _ENCODERS[reference.decode](raw)
    if reference.selector is None:
        return raw
    try:
        document = {} if body is None else json.loads(body)
        text = raw.decode("utf-8")
    except ValueError:
        document = text = None
    if not isinstance(document, dict) or text is None:
        raise ValueError(
            f"{reference}: a field is text in a document that is a JSON object; put the whole "
            "document at the reference without its selector"
        )
    *path, last = _steps(reference.selector)
    place: Any = document
    for step in path:
        place = place.setdefault(step, {})
    place[last] = text
    return json.dumps(document).encode()


def _steps(selector: str) -> list[str]:
    if not selector.startswith("/"):
        return [selector]
    # RFC 6901, section 4: first ~1, then ~0.
    return [step.replace("~1", "/").replace("~0", "~") for step in selector[1:].split("/")]
