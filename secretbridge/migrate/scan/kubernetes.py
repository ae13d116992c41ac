"""Kubernetes manifests: containers wherever they are nested, Secrets, ConfigMaps.

Containers are found by what they have (``env``, ``envFrom``) and not by the kind of their object, so
that CronJobs, init containers, templates of operators and custom resources all count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..detect.lists import among
from ..detect.shapes import from_base64
from ..finding import CARRIER
from .commands import KUBERNETES, in_arguments
from .content import read_content
from .slot import CONFIG, ENVIRONMENT, SECRET, Reading, Slot
from .yaml_nodes import Mapping, Node, Scalar, Sequence

__all__ = ["is_manifest", "read_manifest"]

_SEALED = among(
    "SealedSecret ExternalSecret ClusterExternalSecret SecretStore ClusterSecretStore "
    "SopsSecret SecretProviderClass VaultStaticSecret VaultDynamicSecret VaultAuth PushSecret "
    "OnePasswordItem InfisicalSecret DopplerSecret CustomResourceDefinition "
    "AzureKeyVaultSecret BitwardenSecret VaultSecret GCPSecretManagerSecret"
)
"""Kinds that hold encrypted values, or the names of secrets and not their values."""

_CONTAINER = frozenset({"env", "envFrom", "command", "args"})
_CERTIFICATES = re.compile(r"(.*[._-])?(ca\.crt|tls\.crt|ca-bundle.*|.*\.crt|ca\.pem|cert\.pem)")


def is_manifest(root: Node | None) -> bool:
    """Whether a document is an object of Kubernetes."""
    if not isinstance(root, Mapping):
        return False
    return bool(root.text("kind")) and (
        root.get("apiVersion") is not None or root.get("metadata") is not None
    )


def read_manifest(reading: Reading, text: str, root: Mapping, document: int = 0) -> None:
    """Add the slots of one manifest."""
    _Manifest(reading, text, document).read(root)


class _Manifest:
    def __init__(self, reading: Reading, text: str, document: int) -> None:
        self._reading = reading
        self._text = text
        self._document = document
        self._seen: set[int] = set()

    def read(self, root: Mapping) -> None:
        kind = root.text("kind")
        items = root.get("items")
        if kind.endswith("List") and isinstance(items, Sequence):
            for item in items.items:
                if isinstance(item, Mapping):
                    self.read(item)
            return
        if kind in _SEALED or root.get("sops") is not None:
            return
        metadata = root.get("metadata")
        name = metadata.text("name") if isinstance(metadata, Mapping) else ""
        context: dict[str, object] = {"kind": kind, "object": name, "document": self._document}
        if kind == "Secret":
            self._secret(root, context)
        elif kind == "ConfigMap":
            self._config_map(root, context)
        else:
            self._walk(root, context)

    def _secret(self, root: Mapping, context: dict[str, object]) -> None:
        if root.text("type").startswith(("bootstrap.kubernetes.io", "helm.sh")):
            return
        context = {**context, "type": root.text("type")}
        for field in ("data", "stringData"):
            node = root.get(field)
            for key, value in node.all_pairs() if isinstance(node, Mapping) else ():
                if not isinstance(value, Scalar) or _CERTIFICATES.fullmatch(key.value):
                    continue
                self._keyed(key, value, SECRET, {**context, "field": field}, field == "data")

    def _config_map(self, root: Mapping, context: dict[str, object]) -> None:
        node = root.get("data")
        for key, value in node.all_pairs() if isinstance(node, Mapping) else ():
            if isinstance(value, Scalar):
                if value.style in ("|", ">") or "\n" in value.value:
                    read_content(self._reading, "kubernetes", self._text, value, key.value, context)
                else:
                    self._keyed(key, value, CONFIG, {**context, "field": "data"}, False)

    def _keyed(
        self, key: Scalar, value: Scalar, place: str, context: dict[str, object], is_base64: bool
    ) -> None:
        told = value.value
        if value.is_null:
            told = ""
        elif is_base64 and "{{" not in told and "${" not in told:
            plain = from_base64(told)
            if plain is None:
                binary = re.fullmatch(r"[A-Za-z0-9+/\s]{16,}=*\s*", told) is not None
                context = {**context, "binary" if binary else "not_base64": True}
            else:
                told = plain
                context = {**context, "encoding": "base64"}
        slot = Slot("kubernetes", key.value, value.start, value.end, place, told)
        slot.entry = (key.start, value.end)
        slot.context = context
        self._reading.slots.append(slot)

    def _walk(self, root: Mapping, context: dict[str, object]) -> None:
        """Find containers, one level after the other; aliases are visited once."""
        todo: list[Node] = [root]
        while todo:
            node = todo.pop()
            if id(node) in self._seen:
                continue
            self._seen.add(id(node))
            if isinstance(node, Sequence):
                todo += reversed(node.items)
            elif isinstance(node, Mapping):
                todo += reversed([value for _, value in node.all_pairs()])
                if not _CONTAINER.isdisjoint(key.value for key, _ in node.all_pairs()):
                    self._container(node, context)

    def _container(self, node: Mapping, context: dict[str, object]) -> None:
        image = node.text("image")
        told: dict[str, object] = {**context, "container": node.text("name")}
        if image:
            told["image"] = image
        for slot in self._environment(node.get("env")):
            slot.context = {**told, **slot.context}
            slot.images = (image,) if image else ()
            self._reading.slots.append(slot)
        self._env_from(node.get("envFrom"), told)
        for arguments, place in _commands(node):
            scalars = [item for item in arguments.items if isinstance(item, Scalar)]
            for slot in in_arguments("kubernetes", self._text, scalars, KUBERNETES):
                slot.context = {**told, **slot.context, "place": place}
                self._reading.slots.append(slot)

    def _environment(self, node: Node | None) -> Iterator[Slot]:
        if isinstance(node, Mapping):  # as operators and Helm values write it
            for key, value in node.all_pairs():
                if isinstance(value, Scalar) and not value.is_null:
                    slot = Slot(
                        "kubernetes", key.value, value.start, value.end, ENVIRONMENT, value.value
                    )
                    slot.entry = (key.start, value.end)
                    yield slot
            return
        for item in node.items if isinstance(node, Sequence) else ():
            if not isinstance(item, Mapping) or id(item) in self._seen:
                continue
            slot_found = variable("kubernetes", item)
            if slot_found is not None:
                yield slot_found

    def _env_from(self, node: Node | None, context: dict[str, object]) -> None:
        for item in node.items if isinstance(node, Sequence) else ():
            source = item.get("secretRef") if isinstance(item, Mapping) else None
            if isinstance(source, Mapping):
                name = source.get("name")
                told = source.text("name")
                slot = Slot(
                    "kubernetes",
                    "secretRef" if "{{" in told else told,
                    source.start,
                    source.end,
                    kind=CARRIER,
                )
                if isinstance(name, Scalar):
                    slot.start, slot.end = name.start, name.end
                slot.entry = (item.start, item.end)
                slot.context = {**context, "source": "secretRef", "secret": source.text("name")}
                self._reading.slots.append(slot)


def variable(form: str, item: Mapping) -> Slot | None:
    """Return the slot of one entry of a container's ``env``."""
    name = item.get("name")
    if not isinstance(name, Scalar):
        return None
    value = item.get("value")
    if isinstance(value, Scalar):
        text = "" if value.is_null else value.value
        slot = Slot(form, name.value, value.start, value.end, ENVIRONMENT, text)
    else:
        source = item.get("valueFrom")
        reference = source if isinstance(source, Mapping) else item
        kind = next(
            (k for k in ("secretKeyRef", "fileKeyRef", "configMapKeyRef") if reference.get(k)), ""
        )
        if not kind and isinstance(source, Mapping):
            return None  # fieldRef and resourceFieldRef hold no secret
        slot = Slot(form, name.value, item.start, item.end, ENVIRONMENT, kind=CARRIER)
        for key, node in item.pairs:
            if key.value == "valueFrom":
                slot.start, slot.end = key.start, node.end
        inner = reference.get(kind) if kind else None
        if isinstance(inner, Mapping):
            slot.context = {
                "source": kind,
                "object_name": inner.text("name"),
                "key": inner.text("key"),
            }
        elif not isinstance(source, Mapping):
            slot.value, slot.start, slot.end = "", name.end, name.end
    slot.entry = (item.start, item.end)
    return slot


def _commands(node: Mapping) -> Iterator[tuple[Sequence, str]]:
    for key in ("command", "args"):
        found = node.get(key)
        if isinstance(found, Sequence):
            yield found, key
    for key in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
        probe = node.get(key)
        todo: list[Node | None] = [probe]
        for _ in range(16):
            if not todo:
                break
            each = todo.pop()
            if isinstance(each, Mapping):
                found = each.get("command")
                if isinstance(found, Sequence):
                    yield found, key
                todo += [value for _, value in each.pairs if isinstance(value, Mapping)]
