"""What Vault answers, as a function: no socket, no thread, no clock of its own.

Statuses and bodies are those measured on OpenBao 2.6 and, where ``dialect`` is "vault", on Vault. It
holds what a client can meet: tokens that end, AppRole, response wrapping, both versions of the
key-value engine, an engine with leases, a certificate issuer, policies, a rate limit, the seal,
namespaces. Those are whole servers of their own, known to the one that they are made in; where
``dialect`` is "vault" the header is ignored, as an open-source Vault does, unless ``enterprise``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

from secretbridge.testing import watch_for

from ._vault_engines import Certificates, Dynamic, Engine, KeyValue1, KeyValue2
from ._vault_events import PATH as EVENTS
from ._vault_events import event_of
from ._vault_logins import Method
from ._vault_state import (
    DAY,
    Answer,
    Lease,
    Refused,
    Request,
    Role,
    Token,
    matches,
    ok,
    policy,
    seconds,
    time_text,
)

__all__ = ["Core"]

DENIED = "1 error occurred:\n\t* permission denied\n\n"
UNKNOWN = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"

DEFAULT_POLICY = {
    "auth/token/lookup-self": {"read"},
    "auth/token/renew-self": {"update"},
    "auth/token/revoke-self": {"update"},
    "sys/leases/renew": {"update"},
    "sys/capabilities-self": {"update"},
}


class Core:
    def __init__(
        self,
        clock: Callable[[], float],
        *,
        dialect: str = "openbao",
        enterprise: bool = False,
        parent: Core | None = None,
        name: str = "",
    ) -> None:
        self.clock = clock
        self.dialect = dialect
        self.enterprise = enterprise
        self.parent = parent
        self.name = name
        self.namespaces: dict[str, Core] = {}
        self.methods: dict[str, Method] = {}
        self.has_events = enterprise
        self.publish: Callable[[dict[str, Any]], None] = lambda event: None
        self.sealed = False
        self.root = "s.root" + secrets.token_hex(8)
        self.policies: dict[str, dict[str, set[str]]] = {"default": DEFAULT_POLICY}
        self.roles: dict[str, Role] = {}
        self.leases: dict[str, Lease] = {}
        self.limits: dict[str, tuple[str, float]] = {}
        self.shows_retry_after = False
        self._spent: dict[str, tuple[int, int]] = {}
        self.engines: dict[str, Engine] = {
            "secret": KeyValue2(clock),
            "kv": KeyValue2(clock),
            "kv1": KeyValue1(),
        }
        root = Token(self.root, ["root"], None, None, 0, clock(), False)
        self.tokens = {self.root: root}

    @property
    def has_namespaces(self) -> bool:
        return self.dialect == "openbao" or self.enterprise

    def answer(self, request: Request) -> Answer:
        namespace = request.headers.get("x-vault-namespace", "").strip("/")
        try:
            if namespace and self.has_namespaces and self.parent is None:
                if request.path == "sys/health" and not self.enterprise:
                    raise Refused(400, "operation unavailable in namespaces")
                if request.path != "sys/health":
                    if namespace not in self.namespaces:
                        raise Refused(404, "namespace not found")
                    return self.namespaces[namespace].answer(request)
            answer = self._answer(request)
        except Refused as refused:
            return refused.answer
        ttl = request.headers.get("x-vault-wrap-ttl")
        if ttl and answer.status == 200:
            return self._wrapped(request.path, answer, seconds(ttl))
        return answer

    def _answer(self, request: Request) -> Answer:
        path = request.path
        if path in ("sys/health", "sys/seal-status"):
            return self._health(path)
        if path == "sys/unseal":
            self.sealed = False
            return Answer(200, {"sealed": False})
        if self.sealed:
            raise Refused(503, "Vault is sealed")
        self._limit(path)
        if found := re.fullmatch(r"auth/([^/]+)/login(?:/(.+))?", path):
            return self._log_in(found[1], found[2] or "", request)
        if path == "sys/wrapping/lookup":
            token = self._wrapping(request)
            created = time_text(token.created)
            data = {"creation_path": token.origin, "creation_time": created}
            return ok({**data, "creation_ttl": int(token.ttl)})
        if path == "sys/wrapping/unwrap":
            return self._unwrap(request)
        token = self._token(request)
        if ".." in path.split("/"):
            raise Refused(400, "relative paths not supported")
        if path.startswith("sys/internal/ui/mounts/"):
            return self._mount_probe(path.removeprefix("sys/internal/ui/mounts/"), token)
        if not self._allowed(token, path, request.capability):
            raise Refused(403, DENIED)
        if path.startswith(EVENTS):
            if not self.has_events:
                raise Refused(404, "1 error occurred:\n\t* unsupported path\n\n")
            return Answer(101)
        if path.startswith(("sys/", "auth/")):
            return self._system(request, token)
        return self._engine(request, token)

    # Who asks ------------------------------------------------------------------------------------

    def _token(self, request: Request) -> Token:
        id_ = request.headers.get("x-vault-token", "")
        if not id_ and self.dialect == "vault":
            raise Refused(400, "missing client token")
        token = self.live_token(id_)
        if token is None:
            raise Refused(403, UNKNOWN if self.dialect == "vault" else "permission denied")
        if token.wraps is not None:
            raise Refused(403, DENIED)
        return token

    def live_token(self, id_: str) -> Token | None:
        token = self.tokens.get(id_)
        if token is not None and token.ends is not None and token.ends <= self.clock():
            self.drop_token(id_)
            return None
        if token is None and self.parent is not None:
            return self.parent.live_token(id_)
        return token

    def drop_token(self, id_: str) -> None:
        """Forget a token, and every lease that it made."""
        self.tokens.pop(id_, None)
        for lease in [lease for lease in self.leases.values() if lease.token == id_]:
            del self.leases[lease.id]

    def _allowed(self, token: Token, path: str, capability: str) -> bool:
        if "root" in token.policies:
            return True
        best: tuple[int, set[str]] | None = None
        for name in token.policies:
            for pattern, capabilities in self.policies.get(name, {}).items():
                if matches(pattern, path) and (best is None or len(pattern) > best[0]):
                    best = (len(pattern), capabilities)
        return best is not None and "deny" not in best[1] and capability in best[1]

    def _capabilities(self, token: Token, paths: list[str]) -> Answer:
        if len(paths) > 128:
            raise Refused(400, "too many paths")
        kinds = ("create", "read", "update", "delete", "list", "subscribe")
        found = {
            path: [kind for kind in kinds if self._allowed(token, path, kind)] or ["deny"]
            for path in paths
        }
        if "root" in token.policies:
            found = {path: ["root"] for path in paths}
        return ok(found, **found)

    def may_be_told(self, id_: str, path: str) -> bool:
        """Whether the events of a secret are for the holder of a token."""
        token = self.live_token(id_)
        return token is not None and self._allowed(token, path, "subscribe")

    def _limit(self, path: str) -> None:
        for prefix, rate in self.limits.values():
            if not path.startswith(prefix):
                continue
            second = int(self.clock())
            since, count = self._spent.get(prefix, (second, 0))
            count = count + 1 if since == second else 1
            self._spent[prefix] = (second, count)
            if count > rate:
                headers = {"Retry-After": "1"} if self.shows_retry_after else {}
                text = f'request path "{path}": rate limit quota exceeded'
                raise Refused(429, text, headers=headers)

    # Tokens --------------------------------------------------------------------------------------

    def make_token(
        self,
        policies: list[str],
        ttl: float,
        *,
        max_ttl: float = 0,
        renewable: bool = True,
        origin: str = "auth/token/create",
        display: str = "token",
        meta: dict[str, str] | None = None,
        id_: str | None = None,
    ) -> Token:
        now = self.clock()
        maximum = now + (max_ttl or 32 * DAY)
        id_ = id_ or "s." + secrets.token_urlsafe(18)
        watch_for(id_, f"a token of Vault ({display})")
        ends = min(now + ttl, maximum)
        token = Token(id_, policies, ends, maximum, ttl, now, renewable, origin=origin)
        token.display, token.meta = display, meta or {}
        self.tokens[id_] = token
        return token

    def _auth(self, token: Token) -> dict[str, Any]:
        return {
            "client_token": token.id,
            "accessor": token.accessor,
            "policies": token.policies,
            "token_policies": token.policies,
            "metadata": token.meta or None,
            "lease_duration": token.ttl_left(self.clock()),
            "renewable": token.renewable,
            "entity_id": "",
            "token_type": "service",
            "orphan": False,
            "mfa_requirement": None,
            "num_uses": 0,
        }

    def _lookup(self, token: Token) -> Answer:
        return ok(
            {
                "accessor": token.accessor,
                "creation_time": int(token.created),
                "creation_ttl": int(token.ttl),
                "display_name": token.display,
                "entity_id": "",
                "expire_time": None if token.ends is None else time_text(token.ends),
                "explicit_max_ttl": 0,
                "id": token.id,
                "issue_time": time_text(token.created),
                "meta": token.meta or None,
                "num_uses": 0,
                "orphan": False,
                "path": token.origin,
                "policies": token.policies,
                "renewable": token.renewable,
                "ttl": token.ttl_left(self.clock()),
                "type": "service",
                **(
                    {"namespace_path": f"{self.name}/"}
                    if token.id in self.tokens and self.name
                    else {}
                ),
            }
        )

    def _renew_token(self, token: Token, body: dict[str, Any]) -> Answer:
        if not token.renewable or token.ends is None or token.max_ends is None:
            raise Refused(400, "lease is not renewable")
        now = self.clock()
        # What a renewal asks for is what is left afterwards, even where that is less.
        asked = seconds(body.get("increment")) or token.ttl
        token.ends = min(now + asked, token.max_ends)
        warnings = None
        if token.ends < now + asked:
            warnings = [f'TTL of "{asked:g}s" exceeded the effective max_ttl; TTL value is capped']
        return ok(None, auth=self._auth(token), warnings=warnings)

    def _create_token(self, body: dict[str, Any]) -> Answer:
        policies = list(body.get("policies", ["root"]))
        if not body.get("no_default_policy"):
            policies = sorted({*policies, "default"})
        token = self.make_token(
            policies,
            seconds(body.get("ttl")) or 32 * DAY,
            max_ttl=seconds(body.get("explicit_max_ttl")),
            renewable=body.get("renewable", True),
            id_=body.get("id"),
        )
        return ok(None, auth=self._auth(token))

    # AppRole -------------------------------------------------------------------------------------

    def _log_in(self, mount: str, name: str, request: Request) -> Answer:
        if mount in self.methods:
            method = self.methods[mount]
            role, meta, display = method.log_in(name, request, self.clock())
            policies, ttl = role.get("token_policies", []), seconds(role.get("token_ttl"))
            max_ttl = seconds(role.get("token_max_ttl"))
        elif mount == "approle":
            found = self._approle(request.body)
            policies, ttl, max_ttl = found.policies, found.ttl, found.max_ttl
            meta, display = {"role_name": found.name}, "approle"
        elif self.dialect == "vault":
            raise Refused(403, "permission denied")
        else:
            raise self._no_route(request.path)
        token = self.make_token(
            sorted({*policies, "default"}),
            ttl or 32 * DAY,
            max_ttl=max_ttl,
            origin=request.path,
            display=display,
            meta=meta,
        )
        return ok(None, auth=self._auth(token))

    def _approle(self, body: dict[str, Any]) -> Role:
        role = next((role for role in self.roles.values() if role.id == body.get("role_id")), None)
        secret_id = body.get("secret_id")
        if not secret_id:
            raise Refused(400, "missing secret_id")
        if role is None or secret_id not in role.secret_ids:
            is_vault = self.dialect == "vault"
            raise Refused(400, "invalid secret id" if is_vault else "invalid role or secret ID")
        uses = role.secret_ids[secret_id]
        if uses == 1:
            del role.secret_ids[secret_id]
        elif uses:
            role.secret_ids[secret_id] = uses - 1
        return role

    def _role(self, parts: list[str], body: dict[str, Any]) -> Answer:
        name = parts[0]
        if len(parts) == 1:
            self.roles[name] = Role(
                name,
                secrets.token_hex(16),
                list(body.get("token_policies", [])),
                seconds(body.get("token_ttl")) or 32 * DAY,
                seconds(body.get("token_max_ttl")),
            )
            return Answer(204)
        role = self.roles.get(name)
        if role is None:
            raise Refused(404)
        if parts[1] == "role-id":
            return ok({"role_id": role.id})
        secret_id = secrets.token_hex(16)
        role.secret_ids[secret_id] = int(body.get("num_uses", 0))
        return ok(
            {
                "secret_id": secret_id,
                "secret_id_accessor": secrets.token_hex(16),
                "secret_id_num_uses": role.secret_ids[secret_id],
                "secret_id_ttl": 0,
            }
        )

    # Wrapping ------------------------------------------------------------------------------------

    def _wrapped(self, path: str, answer: Answer, ttl: float) -> Answer:
        token = self.make_token(["response-wrapping"], ttl, renewable=False, origin=path)
        token.wraps = answer
        wrap_info = {
            "token": token.id,
            "accessor": secrets.token_urlsafe(18),
            "ttl": int(ttl),
            "creation_time": time_text(token.created),
            "creation_path": path,
        }
        return ok(None, request_id="", wrap_info=wrap_info)

    def _wrapping(self, request: Request) -> Token:
        id_ = request.body.get("token") or request.headers.get("x-vault-token", "")
        token = self.live_token(id_)
        if token is None or token.wraps is None:
            raise Refused(400, "wrapping token is not valid or does not exist")
        return token

    def _unwrap(self, request: Request) -> Answer:
        token = self._wrapping(request)
        self.drop_token(token.id)
        assert token.wraps is not None
        return token.wraps

    # The server's own paths ----------------------------------------------------------------------

    def _health(self, path: str) -> Answer:
        content: dict[str, Any] = {
            "initialized": True,
            "sealed": self.sealed,
            "standby": self.sealed,
            "version": "2.6.2" if self.dialect == "openbao" else "1.21.0",
        }
        if self.dialect == "vault":
            content["enterprise"] = self.enterprise
            content["version"] += "+ent" if self.enterprise else ""
        return Answer(503 if self.sealed and path == "sys/health" else 200, content)

    def _mount_probe(self, locator: str, token: Token) -> Answer:
        found = self._find(locator)
        if found is None or not self._has_access_below(token, found[0]):
            raise Refused(
                403,
                "preflight capability check returned 403, please ensure client's policies grant "
                f'access to path "{locator}/"',
            )
        path, engine = found
        return ok(
            {
                "accessor": f"{engine.type}_{secrets.token_hex(4)}",
                "description": "",
                "options": engine.options,
                "path": f"{path}/",
                "type": engine.type,
            }
        )

    def _has_access_below(self, token: Token, mount: str) -> bool:
        return "root" in token.policies or any(
            pattern.startswith(f"{mount}/") and capabilities != {"deny"}
            for name in token.policies
            for pattern, capabilities in self.policies.get(name, {}).items()
        )

    def _system(self, request: Request, token: Token) -> Answer:
        method, path, body = request.method, request.path, request.body
        if path == "auth/token/lookup-self" and method == "GET":
            return self._lookup(token)
        if path == "auth/token/renew-self":
            return self._renew_token(token, body)
        if path == "auth/token/create":
            return self._create_token(body)
        if path == "auth/token/accessors" and method == "LIST":
            return ok({"keys": [token.accessor for token in self.tokens.values()]})
        if path.startswith("sys/leases/lookup/") and method == "LIST":
            return self._list_leases(path.removeprefix("sys/leases/lookup/").strip("/"))
        if path.startswith("auth/approle/role/"):
            return self._role(path.split("/")[3:], body)
        if path == "sys/capabilities-self":
            return self._capabilities(token, body["paths"])
        if path == "sys/leases/renew":
            return self._renew_lease(body)
        if path.startswith("sys/mounts/"):
            return self._mount(path.removeprefix("sys/mounts/"), method, body)
        area, _, name = path.rpartition("/")
        if (found := re.match(r"auth/([^/]+)/(.+)", path)) and found[1] in self.methods:
            self.methods[found[1]].write(found[2], body)
            return Answer(204)
        if area == "sys/auth":
            self.methods[name] = Method(body["type"])
            if body["type"] == "approle":
                del self.methods[name]  # there from the start
        elif path.startswith("sys/namespaces/") and self.has_namespaces:
            inner = path.removeprefix("sys/namespaces/")
            options = {"dialect": self.dialect, "enterprise": self.enterprise}
            self.namespaces[inner] = Core(self.clock, parent=self, name=inner, **options)
        elif path in ("auth/token/revoke-self", "auth/token/revoke"):
            self.drop_token(body.get("token", token.id))
        elif path == "sys/seal":
            self.sealed = True
        elif path == "sys/leases/revoke":
            self.leases.pop(body.get("lease_id", ""), None)
        elif area == "sys/policies/acl":
            self.policies[name] = policy(body["policy"])
        elif area == "sys/quotas/rate-limit":
            self.limits.pop(name, None)
            if method != "DELETE":
                self.limits[name] = (body["path"], float(body["rate"]))
        elif path == "sys/quotas/config":
            self.shows_retry_after = bool(body.get("enable_rate_limit_response_headers"))
        else:
            raise self._no_route(path)
        return Answer(204)

    # Engines -------------------------------------------------------------------------------------

    def _mount(self, path: str, method: str, body: dict[str, Any]) -> Answer:
        if method == "DELETE":
            self.engines.pop(path.rstrip("/"), None)
            return Answer(204)
        version = str((body.get("options") or {}).get("version", "1"))
        engine: Engine
        if body["type"] == "kv":
            engine = KeyValue2(self.clock) if version == "2" else KeyValue1()
        elif body["type"] == "pki":
            engine = Certificates(self.clock)
        else:
            engine = Dynamic(body["type"], self.clock)
        self.engines[path.rstrip("/")] = engine
        return Answer(204)

    def _find(self, locator: str) -> tuple[str, Engine] | None:
        for path, engine in self.engines.items():
            if f"{locator}/".startswith(f"{path}/"):
                return path, engine
        return None

    def _no_route(self, path: str) -> Refused:
        if self.dialect == "vault":
            return Refused(404, f"no handler for route '{path}'")
        return Refused(404, f'no handler for route "{path}". route entry not found.')

    def _engine(self, request: Request, token: Token) -> Answer:
        found = self._find(request.path)
        if found is None:
            raise self._no_route(request.path)
        path, engine = found
        rest = request.path[len(path) + 1 :]
        status, content, granted = engine.answer(request.method, rest, request.query, request.body)
        if status < 300 and self.has_events:
            event = event_of(path, engine, request, content, self.clock())
            if event is not None:
                self.publish(event)
        if content is None or "errors" in content:
            return Answer(status, content)
        if granted is not None:
            ttl, max_ttl, renewable = granted
            now = self.clock()
            id_ = f"{request.path}/{secrets.token_urlsafe(18)}"
            self.leases[id_] = Lease(id_, token.id, ttl, now + ttl, now + max_ttl, renewable)
            lease = {"lease_id": id_, "lease_duration": int(ttl), "renewable": renewable}
            content = {**content, **lease}
        return Answer(status, {**(ok(None).content or {}), **content})

    def _list_leases(self, prefix: str) -> Answer:
        keys = [
            lease.id.removeprefix(f"{prefix}/")
            for lease in list(self.leases.values())
            if lease.id.startswith(f"{prefix}/")
            and lease.ends > self.clock()
            and self.live_token(lease.token) is not None
        ]
        if not keys:
            raise Refused(404)
        return ok({"keys": sorted(keys)})

    def _renew_lease(self, body: dict[str, Any]) -> Answer:
        now = self.clock()
        lease = self.leases.get(body.get("lease_id", ""))
        if lease is None or self.live_token(lease.token) is None or lease.ends <= now:
            raise Refused(400, "lease not found")
        if not lease.renewable:
            raise Refused(400, "lease is not renewable")
        asked = seconds(body.get("increment")) or lease.ttl
        lease.ends = min(now + asked, lease.max_ends)
        left = int(lease.ends - now)
        return ok(None, lease_id=lease.id, lease_duration=left, renewable=True)
