"""Documents and leases as bytes, so that another process can go on with them.

JSON, because a process of another version may read it. What a store's backend needs besides is its own
affair. Each store's part names the configuration that it belongs to: a lease, and above all a login,
must not be used at another address. The formats are specified in ``docs/formats/state.md``.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error
from typing import TYPE_CHECKING, Any

from secretbridge._digest import blake2b
from secretbridge.document import MAX_SIZE, Document, Lease
from secretbridge.errors import IntegrityError, SecretBridgeError
from secretbridge.holdings import Holding
from secretbridge.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from secretbridge.config import Config

__all__ = ["Part", "aged", "configured", "decode", "encode"]


class Part:
    """What there is of one store. ``configured`` is of the configuration that it was had with.

    ``backend`` is what the store's client needs to go on with the leases.
    """

    __slots__ = ("backend", "configured", "holdings")

    def __init__(
        self,
        configured: str,
        holdings: Iterable[Holding],
        backend: Mapping[str, object] | None = None,
    ) -> None:
        self.configured = configured
        self.holdings = list(holdings)
        self.backend: Mapping[str, object] = backend or {}


def configured(config: Config, store: str) -> str:
    """Return a digest of how ``store`` is configured. There is no secret in a configuration."""
    found = config.stores.get(store)
    words = [store] if found is None else [store, found.backend, _sorted(found.options)]
    return blake2b(json.dumps(words, default=str).encode(), digest_size=32).hexdigest()


def _sorted(options: object) -> object:
    if isinstance(options, dict):
        return {key: _sorted(options[key]) for key in sorted(options)}
    return options


def encode(format: str, head: Mapping[str, object], parts: Mapping[str, Part]) -> bytes:
    """Return one JSON object: ``format``, the keys of ``head``, and the ``parts`` by store."""
    stores = {
        store: {
            "configured": part.configured,
            "documents": [_shown(holding) for holding in part.holdings],
            "backend": dict(part.backend),
        }
        for store, part in parts.items()
    }
    return json.dumps({"format": format, **head, "stores": stores}).encode() + b"\n"


def _shown(holding: Holding) -> dict[str, object]:
    document, lease = holding.document, holding.lease
    return {
        "document": str(holding.id),
        "body": b64encode(document.body).decode(),
        "version": document.version,
        "is_line": document.is_line,
        "lifetime": document.lifetime,
        "refresh_after": document.refresh_after,
        "lease": None if lease is None else [lease.id, lease.duration, lease.renewable],
        "age": holding.age,
        "ends_in": holding.ends_in,
    }


def decode(body: bytes, format: str) -> tuple[dict[str, Any], dict[str, Part]]:
    """Return the head and the parts of what :func:`encode` made.

    Raises :class:`IntegrityError` for anything else; nothing of it is in the error.
    """
    problem = "it is no JSON of this format"
    try:
        found = json.loads(body)
        if not isinstance(found, dict) or found.get("format") != format:
            problem = f"its format is not {format}"
            raise ValueError
        parts = {
            str(store): Part(
                str(part["configured"]), map(_read, part["documents"]), dict(part["backend"])
            )
            for store, part in found.pop("stores").items()
        }
        return found, parts
    except (ValueError, LookupError, TypeError, AttributeError, Error, RecursionError):
        pass
    except SecretBridgeError:
        problem = "it names a document that cannot be"
    raise IntegrityError(f"what a former sidecar kept cannot be used: {problem}")


def _read(shown: Mapping[str, Any]) -> Holding:
    body = b64decode(shown["body"], validate=True)
    if len(body) > MAX_SIZE:
        raise ValueError("too large")
    lease = None
    if shown["lease"] is not None:
        id_, duration, renewable = shown["lease"]
        lease = Lease(_text(id_), _number(duration), renewable is True)
    version = shown["version"]
    document = Document(
        body,
        version=None if version is None else _text(version),
        lease=lease,
        lifetime=_optional(shown["lifetime"]),
        refresh_after=_optional(shown["refresh_after"]),
        is_line=shown["is_line"] is True,
    )
    id = Reference.parse(_text(shown["document"])).document
    return Holding(id, document, lease, _number(shown["age"]), _optional(shown["ends_in"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
        raise ValueError("number")
    return float(value)


def _optional(value: object) -> float | None:
    return None if value is None else _number(value)


def aged(part: Part, seconds: float) -> Part:
    """Return ``part`` as it is ``seconds`` later."""
    holdings = [
        Holding(
            each.id,
            each.document,
            each.lease,
            each.age + seconds,
            None if each.ends_in is None else each.ends_in - seconds,
        )
        for each in part.holdings
    ]
    return Part(part.configured, holdings, _aged_terms(part.backend, seconds))


def _aged_terms(value: Any, seconds: float) -> Any:
    """Return what a backend kept with every ``ends_in`` less by ``seconds``."""
    if isinstance(value, dict):
        return {
            key: item - seconds
            if key == "ends_in" and isinstance(item, int | float)
            else _aged_terms(item, seconds)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_aged_terms(item, seconds) for item in value]
    return value
