"""Reading a document from Vault: what to ask, and what the answer means.

When the server does not tell which engine is mounted (see :mod:`._vault_mounts`), the first segment
is taken for the mount and both forms of the path are tried. Version 2 of the key-value engine
answers in a form of its own, for secrets that exist and for those that were deleted, so it cannot be
mistaken; a path that is missing or denied in both forms is reported so.

The body of a document is the exact text in which the server wrote it: a number keeps its digits.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ..document import MAX_SIZE, Document, check_size, json_span
from ..errors import ConfigError, IntegrityError, SecretDeleted, SecretMissing, VersionMissing
from ._vault_api import Reply, api_path, refusal, unusable
from ._vault_login import number
from ._vault_mounts import KV1, KV2, OTHER, Mount, Mounts, no_secrets_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..errors import SecretBridgeError
    from ..reference import DocumentId
    from ._vault_call import Call
    from ._vault_leases import Leases
    from ._vault_login import Token

    _Found = Document | SecretBridgeError | None
    """What an engine has: the document, or why there is none; None when it is another engine."""

__all__ = ["Reader"]

MOUNT_SECONDS = 60.0
"""Age from which a mount is looked at again before a secret on it is reported missing: it may have
been upgraded to version 2, or replaced by another."""

ROTATION_SECONDS = 1.0
"""How long after its time a static role is looked at again: the server rotates a moment later."""

MANY = 10_000
"""Number of versions from events from which those that nobody reads are forgotten."""

NO_METADATA_SECONDS = 600.0
"""How long a mount whose metadata our policies hide is not probed again."""

ASKING = ""
"""In the place of a mount: that we may not ask what we may read (`sys/capabilities-self`)."""

MAX_PATHS = 100
"""Most paths of one such question: servers limit it (OpenBao 2.6 refuses a thousand)."""


class Reader:
    """Reads documents of one store. ``clock`` is monotonic, ``wall`` in seconds since the epoch."""

    def __init__(
        self,
        leases: Leases,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.mounts = Mounts(clock)
        self._leases = leases
        self._clock = clock
        self._wall = wall
        self._hidden: dict[str, float] = {}
        self._expected: dict[str, int] = {}
        """The version that an event told of, by locator, until a read has brought it."""

    def expect(self, locator: str, version: int) -> None:
        """Take an earlier version than this for the answer of a node that lags behind."""
        if len(self._expected) >= MANY:
            self._expected.clear()
        self._expected[locator] = version

    def document(self, request: DocumentId, call: Call) -> Document:
        """Read one document. Raises :class:`SecretBridgeError`."""
        mount = self._mount(request, call)
        if mount is None:
            return self._from_somewhere(request, call)
        found = self._from(mount, request, call)
        if self._may_have_moved(mount, found):
            self.mounts.forget(mount)
            moved = self._mount(request, call)
            if moved is not None:
                found = self._from(moved, request, call)
        if isinstance(found, Document):
            return found
        raise found or unusable("the mount is of another kind than the server says")

    def readable(self, requests: Iterable[DocumentId], call: Call) -> set[DocumentId]:
        """Return which of ``requests`` are key-value secrets that our policies let us read.

        The metadata has a policy of its own: without this question a secret that was taken from us
        would go on counting as unchanged. None of them when the server does not say.
        """
        paths: dict[str, list[DocumentId]] = {}
        for request in requests:
            with suppress(ConfigError):  # which a fetch explains
                mount = self._mount(request, call)
                if mount is not None and mount.kind == KV2 and not self._is_hidden(mount.path):
                    paths.setdefault(_kv2_path(mount, "data", request), []).append(request)
        found: set[DocumentId] = set()
        todo = list(paths)
        while todo and not self._is_hidden(ASKING):
            part, todo = todo[:MAX_PATHS], todo[MAX_PATHS:]
            body = {"paths": [unquote(path) for path in part]}
            reply, _ = call.ask("POST", "sys/capabilities-self", body=body)
            told = reply.section("data")
            if reply.status != 200 or told is None:
                self._hidden[ASKING] = self._clock() + NO_METADATA_SECONDS
                break
            for path in part:
                capabilities = told.get(unquote(path))
                if isinstance(capabilities, list) and not {"read", "root"}.isdisjoint(capabilities):
                    found.update(paths[path])
        return found

    def version(self, request: DocumentId, call: Call) -> str | None:
        """Return the current version of a document, None when only a fetch tells."""
        mount = self._mount(request, call)
        if mount is None or mount.kind != KV2 or self._is_hidden(mount.path):
            return None
        reply, _ = call.ask("GET", _kv2_path(mount, "metadata", request))
        if reply.status == 403 and reply.errors is not None:
            # Most policies grant data alone. Asking again would fill the server's audit log.
            self._hidden[mount.path] = self._clock() + NO_METADATA_SECONDS
            return None
        data = reply.section("data")
        if reply.status != 200 or data is None:
            raise refusal(reply) if reply.status != 200 else unusable("metadata without content")
        return self._current_version(request, data)

    def versioned_path(self, request: DocumentId, call: Call) -> str | None:
        """Return the path under which a secret's versions are written, None on another engine.

        A mount that the server does not tell about is taken for one with versions: the other kind
        knows no such path, and refuses.
        """
        mount = self._mount(request, call)
        if mount is None:
            mount = Mount(request.locator.partition("/")[0], KV2, self._clock())
        return _kv2_path(mount, "data", request) if mount.kind == KV2 else None

    def _is_hidden(self, path: str) -> bool:
        return self._hidden.get(path, 0.0) > self._clock()

    # The engines ---------------------------------------------------------------------------------

    def _mount(self, request: DocumentId, call: Call) -> Mount | None:
        locator = request.locator
        first, slash, _ = locator.partition("/")
        if first in ("sys", "auth"):
            raise no_secrets_here()
        mount = self.mounts.at(locator, call) if slash else None
        if not slash or (mount is not None and mount.path == locator):
            raise ConfigError(
                "the reference names a mount and no secret on it",
                hint="go on with the path of the secret, as in kv/app/db",
            )
        if mount is not None:
            _check_options(mount.kind, request)
        return mount

    def _from(self, mount: Mount, request: DocumentId, call: Call) -> _Found:
        if mount.kind == KV2:
            return self._from_kv2(mount, request, call)
        return self._from_engine(mount.kind, request, call)

    def _from_kv2(
        self, mount: Mount, request: DocumentId, call: Call
    ) -> Document | SecretBridgeError:
        path = _kv2_path(mount, "data", request)
        version = request.option("version")
        query = {"version": version} if version is not None else None
        if version is None and request.locator in self._expected:
            reply = self._as_expected(path, request.locator, call)
        else:
            reply, _ = call.ask("GET", path, query=query)
        if reply.status == 200:
            return self._kv2_document(reply, version)
        if reply.status == 404:
            gone = _deleted(reply)
            if gone is not None:
                return gone
            if version is not None and reply.errors == []:
                return self._without_version(path, version, call)
            if reply.errors == [] and request.locator.startswith(f"{mount.path}/data/"):
                return SecretMissing(
                    "there is no such secret",
                    hint="leave out `data/`: references name the logical path, as `vault kv get` "
                    "does",
                )
        return refusal(reply)

    def _as_expected(self, path: str, locator: str, call: Call) -> Reply:
        """Read until the version is there that an event told of; events overtake replication."""
        wanted = self._expected.get(locator, 0)

        def is_behind(reply: Reply) -> bool:
            metadata = (reply.section("data") or {}).get("metadata")
            version = metadata.get("version") if isinstance(metadata, dict) else None
            return isinstance(version, int) and version < wanted

        reply, _ = call.ask("GET", path, is_behind=is_behind)
        if reply.status < 500 and self._expected.get(locator) == wanted:
            self._expected.pop(locator, None)  # also unfulfilled: it is waited for once
        return reply

    def _without_version(self, path: str, version: str, call: Call) -> SecretBridgeError:
        """Tell a secret that lacks a version from one that is not there: the answer is the same."""
        reply, _ = call.ask("GET", path)
        if reply.status == 200 or (reply.status == 404 and _deleted(reply) is not None):
            return VersionMissing(
                f"the secret has no version {version}",
                hint="old versions are dropped beyond the mount's max_versions (10 by default)",
            )
        return refusal(reply)

    def _kv2_document(self, reply: Reply, wanted: str | None) -> Document:
        metadata = (reply.section("data") or {}).get("metadata")
        if not isinstance(metadata, dict):
            raise unusable("a secret without metadata")
        version = _version(metadata.get("version"))
        if wanted is not None and version != wanted:
            raise IntegrityError(
                f"version {wanted} was asked for and version {version} came back",
                hint="look for a cache between us and the server",
            )
        # `delete_version_after`: then is the time to look whether it has a successor.
        ends = _epoch(metadata.get("deletion_time"))
        refresh_after = None if ends is None else max(1.0, ends - self._wall())
        body = _slice(reply, ("data", "data"))
        return Document(body, version=version, refresh_after=refresh_after)

    def _from_engine(self, kind: str, request: DocumentId, call: Call) -> _Found:
        path = api_path(request.locator.split("/"))
        parameters = {name: value for name, value in request.options if name != "version"}
        is_issued = kind == OTHER
        if is_issued:
            call.keep_token()  # a credential made by a token near its end would end with it
        reply, token = call.ask(
            "POST" if parameters else "GET", path, body=parameters or None, is_fresh=is_issued
        )
        if reply.status == 200:
            return self._engine_document(kind, reply, token)
        if reply.status == 404 and reply.errors is None and "warnings" in (reply.content or {}):
            return None  # "Invalid path for a versioned K/V secrets engine"
        return refusal(reply)

    def _engine_document(self, kind: str, reply: Reply, token: Token) -> Document:
        body = _slice(reply, ("data",))
        data = reply.section("data") or {}
        lease = self._leases.granted(reply, token)
        if lease is not None:
            return Document(body, lease=lease, lifetime=lease.duration)
        if kind != OTHER:
            # A field `ttl` is advice to look again. Without one (or with one that is no duration)
            # the server fills in its default of 32 days, which is nobody's advice.
            advice = data.get("ttl", data.get("lease"))
            has_advice = isinstance(advice, int) or str(advice)[:1].isdigit()
            seconds = number((reply.content or {}).get("lease_duration"))
            return Document(body, refresh_after=seconds if has_advice and seconds > 0 else None)
        # A certificate without a lease says itself when it ends.
        ends = number(data.get("expiration")) or _certificate_end(data.get("certificate"))
        if ends:
            return Document(body, lifetime=self._time_left(ends))
        # A static role's password is another one when this time is over: the server rotates it.
        rotates = "last_vault_rotation" in data and number(data.get("ttl"))
        return Document(body, refresh_after=rotates + ROTATION_SECONDS if rotates else None)

    def _time_left(self, ends: float) -> float:
        left = ends - self._wall()
        if left <= 0:
            raise IntegrityError(
                "the certificate that was just issued has ended already by this machine's clock",
                hint="compare the clock with the server's",
            )
        return left

    def _from_somewhere(self, request: DocumentId, call: Call) -> Document:
        """Read from a mount that the server does not tell anything about."""
        first = request.locator.partition("/")[0]
        guess = Mount(first, KV2, self._clock())
        found: _Found = None
        is_write = any(name != "version" for name, _ in request.options)
        if not is_write:
            found = self._from_kv2(guess, request, call)
            if isinstance(found, (Document, SecretDeleted, VersionMissing)):
                self.mounts.remember(first, KV2)
        if not isinstance(found, (Document, SecretDeleted)) and not request.option("version"):
            plain = self._from_engine(OTHER if is_write else KV1, request, call)
            # Where one form is missing and the other denied, our policy is made for the first.
            if (plain is not None and type(found) is not SecretMissing) or isinstance(
                plain, Document
            ):
                found = plain
        if isinstance(found, Document):
            return found
        raise found or unusable("no engine answers at this path")

    def _may_have_moved(self, mount: Mount, found: _Found) -> bool:
        if found is None:
            return True
        return type(found) is SecretMissing and self._clock() - mount.since >= MOUNT_SECONDS

    def _current_version(self, request: DocumentId, data: dict[str, Any]) -> str:
        version = request.option("version") or _version(data.get("current_version"))
        versions = data.get("versions")
        state = versions.get(version) if isinstance(versions, dict) else None
        if not isinstance(state, dict):
            if request.option("version") is None:
                raise SecretMissing("the secret has no version yet", hint="write one")
            raise VersionMissing(
                f"the secret has no version {version}",
                hint="old versions are dropped beyond the mount's max_versions (10 by default)",
            )
        ends = _epoch(state.get("deletion_time"))
        if state.get("destroyed") is True or (ends is not None and ends <= self._wall()):
            raise _gone(version, is_destroyed=state.get("destroyed") is True)
        return version


def _certificate_end(text: object) -> float | None:
    if not isinstance(text, str) or "-----BEGIN CERTIFICATE-----" not in text:
        return None
    from ._vault_certificate import not_after

    return not_after(text)


def _check_options(kind: str, request: DocumentId) -> None:
    names = [name for name, _ in request.options]
    if kind != KV2 and "version" in names:
        raise ConfigError(
            f"a version is asked for, but this mount ({kind}) keeps none"
            if kind == KV1
            else "a version is asked for, but this engine keeps none",
            hint="leave out ?version, or upgrade the mount to version 2 of the key-value engine",
        )
    if kind != OTHER and any(name != "version" for name in names):
        raise ConfigError(
            "the options are parameters for an engine that issues credentials; this mount is "
            f"{kind}",
            hint="leave them out",
        )


def _kv2_path(mount: Mount, section: str, request: DocumentId) -> str:
    prefix = mount.path.split("/")
    rest = request.locator[len(mount.path) + 1 :].split("/")
    return api_path([*prefix, section, *rest])


def _slice(reply: Reply, path: tuple[str, ...]) -> bytes:
    span = json_span(reply.text, path)
    text = "null" if span is None else reply.text[span[0] : span[1]]
    if text == "null":
        raise SecretMissing("the path holds no data", hint="write a value")
    if not text.startswith("{"):
        raise unusable("a secret that is no object")
    body = text.encode()
    check_size(len(body), MAX_SIZE)
    return body


def _deleted(reply: Reply) -> SecretDeleted | None:
    """Return the error when a 404 says that the version was there, None when it says nothing."""
    metadata = (reply.section("data") or {}).get("metadata")
    if not isinstance(metadata, dict):
        return None
    return _gone(_version(metadata.get("version")), is_destroyed=metadata.get("destroyed") is True)


def _gone(version: str, *, is_destroyed: bool) -> SecretDeleted:
    if is_destroyed:
        return SecretDeleted(
            f"version {version} was destroyed, its data is gone", hint="write a new version"
        )
    return SecretDeleted(
        f"version {version} was deleted",
        hint="`vault kv undelete` brings it back, or write a new version",
    )


def _version(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    raise unusable("a version that is no number")


def _epoch(value: object) -> float | None:
    """Return a time of the API in seconds since the epoch; None when it is not set."""
    if not isinstance(value, str) or not value:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise unusable("a deletion time that is no time") from None
    return moment.timestamp() if moment.tzinfo is not None else None
