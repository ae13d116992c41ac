"""References of other tools, in our words; or a clear refusal.

    vals             ref+vault://secret/app#/password     (github.com/helmfile/vals)
    bank-vaults      vault:secret/data/app#password       (bank-vaults.dev)
    ECS              valueFrom: arn:aws:secretsmanager:...:secret:app-AbCdEf:password::
    CloudFormation   {{resolve:secretsmanager:app:SecretString:password}}
    ESO              ExternalSecret: remoteRef: {key, property}
    1Password        op://vault/item/field

A reference of ours names no address, role or region: where one of theirs does, that belongs into the
store's configuration, and a note says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote

from ..errors import ConfigError, SecretBridgeError
from ..reference import Reference
from .naming import secret_name
from .yaml_tree import MappingNode, Node, NotEditable, ScalarNode, SequenceNode, YamlFile

__all__ = ["Imported", "is_foreign", "references_in", "translate"]

_BEGINS = re.compile(
    r"(?:secret)?ref\+[a-z0-9]+://|>>vault:|vault:(?!//)[^\s#]*/data/|\{\{resolve:|op://|"
    r"arn:aws[a-z-]*:(?:secretsmanager|ssm):"
)
_RESOLVE = re.compile(r"\{\{resolve:([a-z-]+):([^}]*)\}\}")
_SECRET_ARN = re.compile(
    r"(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^:]+)(?::([^:]*))?(?::([^:]*))?(?::([^:]*))?"
)


@dataclass(frozen=True, slots=True)
class Imported:
    """One reference that was found: a name for it, and ours or why there is none."""

    name: str
    found: str
    reference: str = ""
    refusal: str = ""
    remedy: str = ""
    note: str = ""


def is_foreign(text: str) -> bool:
    """Whether ``text`` is, or begins with, a reference of another tool."""
    return _BEGINS.match(text.strip()) is not None


def translate(text: str) -> tuple[str, str]:
    """Return ``text`` as a reference of ours, and a note for people or nothing.

    Raises :class:`ConfigError` with the reason for what has no counterpart.
    """
    text = text.strip()
    for begin, convert in (
        ("secretref+", lambda t: _vals(t.removeprefix("secret"))),
        ("ref+", _vals),
        (">>vault:", lambda t: _bank_vaults(t.removeprefix(">>"))),
        ("vault:", _bank_vaults),
        ("{{resolve:", _resolve),
        ("arn:", _arn),
        ("op://", _one_password),
    ):
        if text.startswith(begin):
            reference, note = convert(text)
            return str(_parsed(reference)), note
    raise ConfigError("this is no reference of a tool that is known", hint="write it by hand")


def references_in(content: bytes, path: str) -> list[Imported]:
    """Return the references of other tools in a file: YAML, JSON, or lines NAME=value."""
    try:
        file = YamlFile(content)
        found = [each for document in file.documents for each in _in_document(document, file)]
        if found or (file.documents and not isinstance(file.documents[0], ScalarNode)):
            return found
    except NotEditable:
        pass
    return list(_in_lines(content.decode("utf-8", "replace")))


# One reference -----------------------------------------------------------------------------------


def _vals(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"ref\+([a-z0-9]+)://([^?#]*)(?:\?([^#]*))?(?:#(.*?))?\+?", text)
    if match is None:
        raise ConfigError(
            "it is no complete reference of vals", hint="see github.com/helmfile/vals"
        )
    provider, path, query, fragment = match[1], match[2].strip("/"), match[3] or "", match[4] or ""
    options = dict(parse_qsl(query))
    selector = _selector(fragment)
    where = sorted(
        options.keys() & {"address", "region", "profile", "role_arn", "namespace", "proto"}
    )
    note = f"{', '.join(where)}: belongs into the configuration of the store" if where else ""
    if provider == "vault":
        version = f"?version={options['version']}" if "version" in options else ""
        return f"vault:{path}{version}{selector}", note
    if provider in ("awssecrets", "awssm"):
        stage, identity = options.get("version_stage"), options.get("version_id")
        chosen = f"?version={identity}" if identity else f"?stage={stage}" if stage else ""
        return f"aws-sm:{path}{chosen}{selector}", note
    if provider in ("awsssm", "ssm"):
        return f"aws-ssm:/{path}{selector}", note
    if provider == "file":
        return f"file:{match[2]}{selector}", note
    raise ConfigError(
        f"there is no backend for the provider {provider!r} of vals",
        hint="store the value: vals eval prints it, `secretbridge local set` or Vault takes it",
    )


def _bank_vaults(text: str) -> tuple[str, str]:
    path, _, rest = text.removeprefix("vault:").partition("#")
    key, _, version = rest.partition("#")
    if "${" in text or "{{" in text:
        raise ConfigError(
            "a template of bank-vaults has no counterpart in a reference",
            hint="name each field, and put them together in a template of the sidecar",
        )
    mount, slash, inner = path.partition("/data/")
    chosen = f"?version={version}" if version and version != "latest" else ""
    if not slash:  # the first version of the engine, or a dynamic one
        return f"vault:{path}{_selector(key)}", ""
    return f"vault:{mount}/{inner}{chosen}{_selector(key)}", ""


def _resolve(text: str) -> tuple[str, str]:
    match = _RESOLVE.fullmatch(text)
    if match is None:
        raise ConfigError(
            "a dynamic reference with text around it is no reference of ours",
            hint="put it together in a template of the sidecar",
        )
    service, rest = match[1], match[2]
    if service == "secretsmanager":
        if rest.startswith("arn:"):
            head = rest.split(":")
            name, more = ":".join(head[:7]), head[7:]
        else:
            name, *more = rest.split(":")
        part, key, stage, version = (*more, "", "", "", "")[:4]
        if part not in ("", "SecretString"):
            raise ConfigError(f"{part} is no part that is read", hint="use SecretString")
        return _secrets_manager(name, key, stage, version), ""
    if service in ("ssm", "ssm-secure"):
        name, _, version = rest.partition(":")
        return f"aws-ssm:{_parameter(name)}" + (f"?version={version}" if version else ""), ""
    raise ConfigError(
        f"there is no backend for {service!r}", hint="secretsmanager and ssm are read"
    )


def _arn(text: str) -> tuple[str, str]:
    match = _SECRET_ARN.fullmatch(text)
    if match is not None:
        key, stage, version = match[2] or "", match[3] or "", match[4] or ""
        return _secrets_manager(match[1], key, stage, version), ""
    if re.match(r"arn:aws[a-z-]*:ssm:[^:]*:[^:]*:parameter/", text):
        return f"aws-ssm:{text}", ""
    raise ConfigError("it is no ARN of a secret or a parameter", hint="check the resource part")


def _secrets_manager(name: str, key: str, stage: str, version: str) -> str:
    chosen = f"?version={version}" if version else f"?stage={stage}" if stage else ""
    return f"aws-sm:{name}{chosen}{_selector(key)}"


def _parameter(name: str) -> str:
    return name if name.startswith("/") else f"/{name}" if "/" in name else name


def _one_password(text: str) -> tuple[str, str]:
    raise ConfigError(
        "1Password is no store that secretbridge reads",
        hint="store the value instead: op read op://... | secretbridge local set NAME",
    )


def _selector(key: str) -> str:
    if not key or key == "/":
        return ""
    if key.startswith("/") and "/" not in key[1:]:
        key = key[1:]  # one level: the key itself
    return "#" + quote(key, safe="/._-~!$'()*+,;=:@")


def _parsed(text: str) -> Reference:
    reason = hint = ""
    try:
        return Reference.parse(text)
    except SecretBridgeError as error:
        reason, hint = error.message, error.hint or ""
    raise ConfigError(f"it does not make a reference: {reason}", hint=hint or "write it by hand")


# Files -------------------------------------------------------------------------------------------


def _imported(name: str, text: str) -> Imported:
    try:
        reference, note = translate(text)
    except ConfigError as error:
        return Imported(secret_name(name), text, "", error.message, error.hint or "")
    return Imported(secret_name(name), text, reference, note=note)


def _in_lines(text: str) -> Iterator[Imported]:
    for line in text.splitlines():
        match = re.match(r"\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*=\s*[\"']?(.*?)[\"']?\s*$", line)
        if match and is_foreign(match[2]):
            yield _imported(match[1], match[2])


def _plain(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return {k.value: _plain(v) for k, v in node.value if isinstance(k, ScalarNode)}
    if isinstance(node, SequenceNode):
        return [_plain(item) for item in node.value]
    return node.value


def _in_document(document: Node, file: YamlFile) -> Iterator[Imported]:
    data = _plain(document)
    if isinstance(data, Mapping) and str(data.get("kind")) in (
        "ExternalSecret",
        "ClusterExternalSecret",
    ):
        yield from _external_secret(data, _stores(file))
        return
    yield from _anywhere(data, "")


def _anywhere(data: Any, name: str) -> Iterator[Imported]:
    """Yield what is foreign in a tree, under the nearest name: a key, or ``name:`` beside it."""
    if isinstance(data, Mapping):
        own = data.get("name") or data.get("Name")
        for key, value in data.items():
            inner = own if key in ("value", "valueFrom", "Value", "ValueFrom") and own else key
            yield from _anywhere(value, str(inner))
    elif isinstance(data, list):
        for item in data:
            yield from _anywhere(item, name)
    elif isinstance(data, str) and is_foreign(data):
        yield _imported(name, data)
    elif isinstance(data, str) and "=" in data and is_foreign(data.partition("=")[2]):
        key, _, value = data.partition("=")
        yield _imported(key, value)


def _stores(file: YamlFile) -> dict[str, Any]:
    """Return the providers of the SecretStores in the file, by name."""
    found = {}
    for document in file.documents:
        data = _plain(document)
        if isinstance(data, Mapping) and str(data.get("kind", "")).endswith("SecretStore"):
            found[data["metadata"]["name"]] = data.get("spec", {}).get("provider", {})
    return found


def _external_secret(data: Mapping[str, Any], stores: Mapping[str, Any]) -> Iterator[Imported]:
    spec = data.get("spec") or {}
    spec = spec.get("externalSecretSpec") or spec
    store = (spec.get("secretStoreRef") or {}).get("name", "")
    for each in spec.get("data") or []:
        remote = each.get("remoteRef") or {}
        key, field = str(remote.get("key", "")), str(remote.get("property", ""))
        told = json.dumps({"key": key, "property": field})
        name = secret_name(str(each.get("secretKey", field or key)))
        try:
            reference = _remote(stores.get(store), key, field, str(remote.get("version", "")))
            yield Imported(name, told, str(_parsed(reference)))
        except ConfigError as error:
            yield Imported(name, told, "", error.message, error.hint or "")
    for each in spec.get("dataFrom") or []:
        yield Imported(
            secret_name(store or "all"),
            json.dumps(each),
            "",
            "all fields of a document at once have no counterpart",
            "name each field that is used",
        )


def _remote(provider: Any, key: str, field: str, version: str) -> str:
    if not provider:
        raise ConfigError(
            "its SecretStore is not in this file",
            hint="give the file with both, one after the other",
        )
    if "vault" in provider:
        mount = str(provider["vault"].get("path", "")).strip("/")
        path = key.removeprefix(f"{mount}/").removeprefix("data/") if mount else key
        chosen = f"?version={version}" if version else ""
        return (
            f"vault:{mount}/{path}{chosen}{_selector(field)}"
            if mount
            else (f"vault:{path}{chosen}{_selector(field)}")
        )
    if "aws" in provider:
        if provider["aws"].get("service") == "ParameterStore":
            return f"aws-ssm:{_parameter(key)}{_selector(field)}"
        stage = version if version.startswith("AWS") else ""
        identity = version.removeprefix("uuid/") if version and not stage else ""
        return _secrets_manager(key, field, stage, identity)
    kind = next(iter(provider), "?")
    raise ConfigError(f"there is no backend for the provider {kind!r}", hint="move the value")
