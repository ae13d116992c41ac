"""Compose files: ``environment`` in both forms, build arguments, commands, health checks.

Anchors and merge keys are followed: a slot stands where it is written, and names every service that
takes it over. Source: https://docs.docker.com/reference/compose-file/
"""

from __future__ import annotations

import re

from ..detect.lists import among
from ..finding import CARRIER
from .commands import COMPOSE, in_arguments, in_shell
from .compose_images import Images
from .interpolation import expand
from .slot import BUILD, ENVIRONMENT, Reading, Slot
from .yaml_nodes import Mapping, Node, Scalar, Sequence

__all__ = ["is_compose", "looks_like_compose", "read_compose"]

_NAME = re.compile(
    r"(?:docker-)?(?:compose|stack)(?:[._-][\w.-]+)?\.ya?ml|[\w.-]+[._-](?:compose|"
    r"stack)(?:[._-][\w.-]+)?\.ya?ml"
)
_SERVICE_KEYS = among(
    "image build environment env_file command entrypoint ports volumes depends_on networks "
    "restart extends healthcheck container_name"
)


def is_compose(name: str) -> bool:
    """Whether a file of this name is a compose file by custom."""
    return _NAME.fullmatch(name.lower()) is not None


def looks_like_compose(root: Node | None, name: str) -> bool:
    """Whether a document is one of Compose, by its name or by what it holds."""
    if not isinstance(root, Mapping):
        return False
    services = root.get("services")
    if isinstance(services, Mapping) and not root.get("kind"):
        return any(
            isinstance(node, Mapping) and _SERVICE_KEYS & {key.value for key, _ in node.all_pairs()}
            for _, node in services.pairs
        )
    if not is_compose(name):
        return False
    if root.get("include") is not None:
        return True
    # Version 1 has the services at the top, and a part that is included may have anything.
    return any(isinstance(node, Mapping) for _, node in root.pairs)


def read_compose(reading: Reading, text: str, root: Mapping, document: int = 0) -> None:
    """Add the slots of one compose document."""
    _Compose(reading, text, document).read(root)


class _Compose:
    def __init__(self, reading: Reading, text: str, document: int) -> None:
        self._reading = reading
        self._text = text
        self._document = document
        self._seen: dict[int, Slot] = {}

    def read(self, root: Mapping) -> None:
        self._includes(root.get("include"))
        services = root.get("services")
        self._images = Images(
            self._reading.path,
            services if isinstance(services, Mapping) else root,
            self._reading.beside,
        )
        if isinstance(services, Mapping):
            for key, node in services.pairs:
                self._service(key.value, node)
        else:
            for key, node in root.pairs:
                if not key.value.startswith("x-") and isinstance(node, Mapping):
                    self._service(key.value, node)
        for key, node in root.pairs:
            if key.value.startswith("x-"):
                self._extension(key.value, node)
        self._secrets(root)

    def _service(self, name: str, service: Node) -> None:
        if not isinstance(service, Mapping):
            return
        context: dict[str, object] = {"service": name, "document": self._document}
        if image := self._images.of(service):
            context["image"] = image
        self._environment(service.get("environment"), context)
        build = service.get("build")
        if isinstance(build, Mapping):
            self._entries(build.get("args"), BUILD, {**context, "build": True})
        self._env_files(service.get("env_file"), context)
        for key in ("command", "entrypoint"):
            self._command(service.get(key), {**context, "place": key})
        for key in ("healthcheck", "post_start", "pre_stop"):
            hook = service.get(key)
            for each in hook.items if isinstance(hook, Sequence) else [hook]:
                if isinstance(each, Mapping):
                    inner = each.get("test") or each.get("command")
                    self._command(inner, {**context, "place": key})
                    self._environment(each.get("environment"), context)
        develop = service.get("labels")
        self._labels(develop, context)

    def _environment(self, node: Node | None, context: dict[str, object]) -> None:
        self._entries(node, ENVIRONMENT, context)

    def _entries(self, node: Node | None, place: str, context: dict[str, object]) -> None:
        if isinstance(node, Mapping):
            for key, value in node.all_pairs():
                if isinstance(value, Scalar):
                    self._pair(key, value, place, context)
        elif isinstance(node, Sequence):
            for item in node.items:
                if isinstance(item, Scalar):
                    self._item(item, place, context)
                elif isinstance(item, Mapping):  # `- NAME: value`, which Compose refuses
                    for key, value in item.pairs:
                        if isinstance(value, Scalar):
                            self._pair(key, value, place, context)

    def _pair(self, key: Scalar, value: Scalar, place: str, context: dict[str, object]) -> None:
        if value.is_null:
            slot = Slot("compose", key.value, value.start, value.end, place, kind=CARRIER)
            slot.names = (key.value,)
        else:
            slot = self._literal(key.value, value.value, value.start, value.end, place)
        slot.entry = (key.start, value.end)
        self._add(slot, context)

    def _item(self, item: Scalar, place: str, context: dict[str, object]) -> None:
        name, equals, value = item.value.partition("=")
        name = name.strip()
        if not equals:
            slot = Slot("compose", name, item.start, item.end, place, kind=CARRIER)
            slot.names = (name,)
        else:
            at = self._text.find("=", item.start, item.end) + 1
            end = item.end
            if item.style in ("'", '"'):
                end -= 1
            elif item.style:
                at, end = item.start, item.end
            slot = self._literal(name, value, at, end, place)
            slot.context["quote"] = item.style
        dash = self._text.rfind("-", 0, item.start)
        is_block = dash >= 0 and not self._text[dash + 1 : item.start].strip(" \t")
        slot.entry = (dash if is_block else item.start, item.end)
        slot.context["list"] = "block" if is_block else "flow"
        self._add(slot, context)

    def _literal(self, name: str, value: str, start: int, end: int, place: str) -> Slot:
        told = expand(value)
        slot = Slot("compose", name, start, end, place, told.value)
        slot.names, slot.has_default = told.names, told.uses_default
        slot.is_exact = not told.names
        return slot

    def _add(self, slot: Slot, context: dict[str, object]) -> None:
        """Add a slot once, whatever number of services it comes to by anchors."""
        known = self._seen.get(slot.start)
        service = str(context.get("service", ""))
        if known is not None:
            users = known.context.get("services", ())
            assert isinstance(users, tuple)
            if service not in users and not context.get("extension"):
                known.context["services"] = (*users, service)
                known.images = (*known.images, str(context.get("image", "")))
            return
        slot.context.update(context)
        slot.context["services"] = (service,)
        slot.images = (str(context["image"]),) if "image" in context else ()
        self._seen[slot.start] = slot
        self._reading.slots.append(slot)

    def _command(self, node: Node | None, context: dict[str, object]) -> None:
        if isinstance(node, Scalar):
            slots = list(in_shell("compose", self._text, node.start, node.end, COMPOSE))
        elif isinstance(node, Sequence):
            scalars = [item for item in node.items if isinstance(item, Scalar)]
            slots = list(in_arguments("compose", self._text, scalars, COMPOSE))
        else:
            return
        for slot in slots:
            if slot.value is not None:
                told = expand(self._text[slot.start : slot.end].strip("'\""))
                slot.value, slot.names = told.value, told.names
                slot.has_default = told.uses_default
            self._add(slot, context)

    def _env_files(self, node: Node | None, context: dict[str, object]) -> None:
        for item in node.items if isinstance(node, Sequence) else [node]:
            told = {"read_by": f"compose service {context['service']}"}
            if "image" in context:
                told["image"] = str(context["image"])
            if isinstance(item, Scalar) and item.value:
                self._reading.hints.append((expand(item.value).value, "compose", dict(told)))
            elif isinstance(item, Mapping) and item.text("path"):
                dialect = "docker" if item.text("format") == "raw" else "compose"
                self._reading.hints.append((item.text("path"), dialect, dict(told)))

    def _includes(self, node: Node | None) -> None:
        """Say which dotenv files fill in included files, and where the paths in those begin."""
        for item in node.items if isinstance(node, Sequence) else [node]:
            if isinstance(item, Mapping):
                for path in _texts(item.get("env_file")):
                    self._reading.hints.append((path, "compose", {"read_by": "compose include"}))
                for directory in _texts(item.get("project_directory")):
                    for path in _texts(item.get("path")):
                        self._reading.hints.append((path, "", {"directory": directory}))

    def _labels(self, node: Node | None, context: dict[str, object]) -> None:
        """Labels are no environment, but a password's hash or a token may stand there."""
        pairs: list[tuple[str, str, int, int]] = []
        if isinstance(node, Mapping):
            pairs = [
                (key.value, value.value, value.start, value.end)
                for key, value in node.all_pairs()
                if isinstance(value, Scalar)
            ]
        elif isinstance(node, Sequence):
            for item in node.items:
                if isinstance(item, Scalar) and "=" in item.value:
                    name, _, value = item.value.partition("=")
                    at = self._text.find("=", item.start, item.end) + 1
                    end = item.end - 1 if item.style in ("'", '"') else item.end
                    pairs.append((name, value, at, end))
        for name, value, start, end in pairs:
            if re.search(r"(?i)password$|basicauth\.users$", name):
                slot = self._literal(name, value, start, end, "tree")
                slot.context["quote"] = ""
                self._add(slot, {**context, "place": "label"})

    def _extension(self, name: str, node: Node, depth: int = 0) -> None:
        """Read what no service took over: a fragment's environment is one all the same."""
        if not isinstance(node, Mapping) or depth > 4:
            return
        is_env = re.search(r"env", name) is not None
        context: dict[str, object] = {"document": self._document, "extension": True}
        for key, value in node.pairs:
            if key.value in ("environment", "args"):
                place = BUILD if key.value == "args" else ENVIRONMENT
                self._entries(value, place, {**context, "service": name})
            elif isinstance(value, Mapping):
                self._extension(key.value, value, depth + 1)
            elif is_env and isinstance(value, Scalar):
                self._pair(key, value, ENVIRONMENT, {**context, "service": name})

    def _secrets(self, root: Mapping) -> None:
        for kind in ("secrets", "configs"):
            node = root.get(kind)
            for key, value in node.pairs if isinstance(node, Mapping) else ():
                source = value.get("environment") if isinstance(value, Mapping) else None
                if isinstance(source, Scalar):
                    slot = Slot("compose", source.value, source.start, source.end, kind=CARRIER)
                    slot.names = (source.value,)
                    slot.entry = (key.start, value.end)
                    self._add(slot, {"service": f"{kind}.{key.value}", "document": self._document})
                content = value.get("content") if isinstance(value, Mapping) else None
                if isinstance(content, Scalar):
                    place = "secret" if kind == "secrets" else "config"
                    slot = self._literal(
                        key.value, content.value, content.start, content.end, place
                    )
                    self._add(slot, {"service": f"{kind}.{key.value}", "document": self._document})


def _texts(node: Node | None) -> list[str]:
    items = node.items if isinstance(node, Sequence) else [node]
    return [expand(item.value).value for item in items if isinstance(item, Scalar)]
