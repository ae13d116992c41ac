"""A compose file as its services see it: who uses which mapping, over anchors, merges and extends."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ..images import Image, lookup
from ..yaml_tree import (
    Entry,
    MappingNode,
    Node,
    NotEditable,
    ScalarNode,
    SequenceNode,
    YamlFile,
    pairs,
    text_of,
)

__all__ = ["ComposeModel", "Service", "own_child", "rows_of"]


@dataclass(slots=True)
class Service:
    """One service: its own node, what it is made of, and which containers of variables it uses."""

    name: str
    key: ScalarNode
    node: MappingNode
    image: str | None = None
    is_built: bool = False
    has_extends: bool = False
    containers: list[Node] = field(default_factory=list)
    env_files: list[str] = field(default_factory=list)
    base: str | None = None
    """The image that its own one is built on, where it is built here."""


class ComposeModel:
    """The services of one file."""

    def __init__(
        self,
        file: YamlFile,
        path: str = "",
        read: Callable[[str], bytes | None] = lambda path: None,
        known: dict[str, ComposeModel | None] | None = None,
    ) -> None:
        """``path`` is the file's, ``read`` returns another one of the project: for ``extends``.

        ``known`` are the models of files that were read on the way here; None for those that are
        being read, which ends a circle.
        """
        self.file = file
        self._path = path
        self._read = read
        self._known: dict[str, ComposeModel | None] = {path: None} if known is None else known
        if len(file.documents) != 1 or not isinstance(file.documents[0], MappingNode):
            raise NotEditable("a compose file is one mapping")
        self.root: MappingNode = file.documents[0]
        services = own_child(self.root, "services")
        self.services_node = services
        self.services: dict[str, Service] = {}
        for name, key, node in pairs(services):
            if isinstance(node, MappingNode) and name != "<<":
                self.services[name] = Service(name, key, node)
        for service in self.services.values():
            self._fill(service)
        for service in self.services.values():
            self._inherit(service, {service.name})

    def _fill(self, service: Service) -> None:
        for layer in layers(service.node):
            for name, _, value in pairs(layer):
                if name == "image" and service.image is None:
                    service.image = text_of(value)
                elif name == "build":
                    service.is_built = True
                    service.base = service.base or self._base(value)
                    args = own_child(value, "args")
                    if args is not None:
                        service.containers.append(args)
                elif name == "environment":
                    service.containers += layers(value)
                elif name == "env_file":
                    service.env_files += _env_files(value)
                elif name == "extends":
                    service.has_extends = True
            for name, _, value in pairs(layer):
                if name in ("command", "entrypoint", "healthcheck"):
                    service.containers.append(value)

    def _base(self, build: Node) -> str | None:
        """Return the image of the last stage of the Dockerfile of ``build``."""
        context = text_of(build) or text_of(own_child(build, "context")) or "."
        name = text_of(own_child(build, "dockerfile")) or "Dockerfile"
        path = posixpath.normpath(posixpath.join(posixpath.dirname(self._path), context, name))
        content = None if path.startswith("..") else self._read(path)
        found = re.findall(rb"(?mi)^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(\S+)", content or b"")
        return found[-1].decode("utf-8", "replace") if found else None

    def _inherit(self, service: Service, seen: set[str]) -> None:
        """Take over from a service of the same file that ``service`` extends."""
        extends = own_child(service.node, "extends")
        name = (
            text_of(extends)
            if isinstance(extends, ScalarNode)
            else text_of(own_child(extends, "service"))
        )
        if name is None or name in seen:
            return
        other = text_of(own_child(extends, "file"))
        base = self.services.get(name) if other is None else self._elsewhere(other, name)
        if base is None:
            return
        if other is None:
            self._inherit(base, seen | {name})
        service.image = service.image or base.image
        service.is_built = service.is_built or base.is_built
        service.base = service.base or base.base
        service.containers += [c for c in base.containers if c not in service.containers]
        service.env_files += [f for f in base.env_files if f not in service.env_files]

    def _elsewhere(self, other: str, name: str) -> Service | None:
        """Return a service of another file; of it, image and variables of files are taken over."""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(self._path), other))
        if path not in self._known:
            self._known[path] = None
            content = None if path.startswith("..") else self._read(path)
            if content is not None:
                with suppress(NotEditable):
                    file = YamlFile(content)
                    self._known[path] = ComposeModel(file, path, self._read, self._known)
        model = self._known[path]
        return None if model is None else model.services.get(name)

    def users(self, entry: Entry) -> list[Service]:
        """Return the services that have ``entry``, directly or by a merge, an alias or extends."""
        inside = {id(entry.container)}
        return [
            service
            for service in self.services.values()
            if any(id(node) in inside or _holds(node, entry) for node in service.containers)
        ]


def rows_of(service: Service) -> tuple[Image, ...]:
    """Return what is known of the image of ``service``, or of the one that it is built on."""
    return lookup(service.image) or lookup(service.base)


def layers(node: Node | None) -> list[Node]:
    """Return ``node`` and the mappings that are merged into it by ``<<``, nearest first."""
    if node is None:
        return []
    found = [node]
    for name, _, value in pairs(node):
        if name == "<<":
            merged = value.value if isinstance(value, SequenceNode) else [value]
            for each in merged:
                found += layers(each)
    return found


def own_child(node: Node | None, key: str) -> Node | None:
    """Return the value under ``key`` of a mapping or of what is merged into it."""
    for layer in layers(node):
        for name, _, value in pairs(layer):
            if name == key:
                return value
    return None


def _holds(node: Node, entry: Entry) -> bool:
    """Whether ``entry`` is ``node`` itself (a command of one scalar) or one level inside of it."""
    if node is entry.value:
        return True
    if isinstance(node, MappingNode):
        return any(value is entry.container or value is entry.value for _, value in node.value)
    return False


def _env_files(node: Node) -> list[str]:
    if isinstance(node, ScalarNode):
        return [node.value]
    found = []
    for item in node.value if isinstance(node, SequenceNode) else []:
        path = item.value if isinstance(item, ScalarNode) else text_of(own_child(item, "path"))
        if isinstance(path, str):
            found.append(path)
    return found
