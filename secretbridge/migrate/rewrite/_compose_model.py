"""One compose file as its services see it: what each is made of, over anchors and merges."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ..images import Image, lookup
from ..scan.interpolation import expand
from ..yaml_tree import (
    MappingNode,
    Node,
    NotEditable,
    ScalarNode,
    SequenceNode,
    YamlFile,
    pairs,
    text_of,
)

__all__ = ["ComposeModel", "Include", "Service", "extended", "own_child", "rows_of"]


@dataclass(slots=True, eq=False)
class Service:
    """One service: its own node, what it is made of, and which containers of variables it uses.

    ``path`` is that of its file, ``env_files`` and ``context`` are as seen from the root.
    """

    path: str
    name: str
    key: ScalarNode
    node: MappingNode
    image: str | None = None
    containers: list[Node] = field(default_factory=list)
    env_files: list[str] = field(default_factory=list)
    dockerfile: str | None = None
    """The Dockerfile of its own image, where it is built here."""
    base: str | None = None
    """The image that its own one is built on, where it is built here."""
    inherits: list[Service] = field(default_factory=list)
    """What it extends, and what that extends, nearest first."""


@dataclass(frozen=True, slots=True)
class Include:
    """One item of ``include``, with paths as they are written."""

    paths: tuple[str, ...]
    project_directory: str | None
    env_files: tuple[str, ...]


class ComposeModel:
    """The services of one file, each for itself; a project adds what they extend."""

    def __init__(self, file: YamlFile, path: str) -> None:
        self.file = file
        self.path = path
        if len(file.documents) != 1 or not isinstance(file.documents[0], MappingNode):
            raise NotEditable("a compose file is one mapping")
        self.root: MappingNode = file.documents[0]
        self.services: dict[str, Service] = {}
        for name, key, node in pairs(own_child(self.root, "services")):
            if isinstance(node, MappingNode) and name != "<<":
                self.services[name] = Service(path, name, key, node)

    def includes(self) -> list[Include]:
        """Return what the file includes."""
        found = own_child(self.root, "include")
        made = []
        for item in found.value if isinstance(found, SequenceNode) else [found]:
            if isinstance(item, ScalarNode):
                made.append(Include(tuple(_texts(item)), None, ()))
            elif isinstance(item, MappingNode):
                made.append(
                    Include(
                        tuple(_texts(own_child(item, "path"))),
                        next(iter(_texts(own_child(item, "project_directory"))), None),
                        tuple(_texts(own_child(item, "env_file"))),
                    )
                )
        return made

    def fill(self, folder: str, read: Callable[[str], bytes | None]) -> None:
        """Find out what services are made of. Their paths are relative to ``folder``."""
        for service in self.services.values():
            for layer in layers(service.node):
                for name, _, value in pairs(layer):
                    if name == "image" and service.image is None:
                        service.image = text_of(value)
                    elif name == "build":
                        self._fill_build(service, value, folder, read)
                    elif name == "environment":
                        service.containers += layers(value)
                    elif name == "env_file":
                        names = [posixpath.join(folder, each) for each in _env_files(value)]
                        service.env_files += map(posixpath.normpath, names)
                for name, _, value in pairs(layer):
                    if name in ("command", "entrypoint", "healthcheck"):
                        service.containers.append(value)

    def _fill_build(
        self, service: Service, build: Node, folder: str, read: Callable[[str], bytes | None]
    ) -> None:
        if service.dockerfile is None:
            context = text_of(build) or text_of(own_child(build, "context")) or "."
            name = text_of(own_child(build, "dockerfile")) or "Dockerfile"
            service.dockerfile = posixpath.normpath(posixpath.join(folder, context, name))
            content = read(service.dockerfile) or b""
            found = re.findall(rb"(?mi)^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(\S+)", content)
            service.base = found[-1].decode("utf-8", "replace") if found else None
        args = own_child(build, "args")
        if args is not None:
            service.containers.append(args)


def extended(service: Service) -> tuple[str | None, str] | None:
    """Return the file and the name of what ``service`` extends, as they are written."""
    node = own_child(service.node, "extends")
    if isinstance(node, ScalarNode):
        return None, node.value
    name = text_of(own_child(node, "service"))
    file = next(iter(_texts(own_child(node, "file"))), None)
    return None if name is None else (file, name)


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


def _env_files(node: Node) -> list[str]:
    if isinstance(node, ScalarNode):
        return [node.value]
    found = []
    for item in node.value if isinstance(node, SequenceNode) else []:
        path = item.value if isinstance(item, ScalarNode) else text_of(own_child(item, "path"))
        if isinstance(path, str):
            found.append(path)
    return found


def _texts(node: Node | None) -> list[str]:
    """Return the text of a scalar, or those of a list, with the defaults of variables filled in."""
    items = node.value if isinstance(node, SequenceNode) else [node]
    return [
        expand(item.value).value for item in items if isinstance(item, ScalarNode) and item.value
    ]
