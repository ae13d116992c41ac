"""What services need for their files: mounts, the sidecar, an order of start; added once each."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field

from ..edits import Edit
from ..moves import Delivery, Moves
from ..yaml_tree import (
    MappingNode,
    Node,
    NotEditable,
    ScalarNode,
    SequenceNode,
    pairs,
    scalar,
    text_of,
)
from ._compose_model import Service, own_child
from .compose_project import ComposeProject

__all__ = ["DIRECTORY", "FileParts", "Wanted"]

SIDECAR = "secretbridge"
"""The name of the service and of the volume."""
DIRECTORY = "secretbridge.d"
"""What the sidecar needs besides its configuration, beside that."""
_GROUP = "20001"
_KEY = "    - ${SECRETBRIDGE_KEY_DIR:-~/.config/secretbridge}:/run/bootstrap/secretbridge:ro"
"""The mount of the key of an embedded store."""


@dataclass(slots=True)
class Wanted:
    """What one service needs."""

    service: Service
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    is_app: bool = False
    shims: set[str] = field(default_factory=set)
    build: dict[str, str] = field(default_factory=dict)
    """The secrets that its image is built with, by their names there."""
    own_build: set[str] = field(default_factory=set)
    """Those that its own ``build`` has to name; the others come with what it extends."""


class FileParts:
    """Makes the edits of one file that add what services need."""

    def __init__(
        self, project: ComposeProject, path: str, moves: Moves, apps: Set[Service]
    ) -> None:
        """``apps`` are the services, of all files, whose programs read with the library."""
        self.project = project
        self.path = path
        self.model = project.models[path]
        self.file = self.model.file
        self.moves = moves
        self.apps = apps

    def services(self, wanted: Iterable[Wanted]) -> list[Edit]:
        """Return the edits of the services themselves."""
        made: list[Edit] = []
        for each in wanted:
            additions: list[str] = []
            if each.deliveries or each.shims:
                made += self._mounts(each, additions)
            if each.own_build:
                made += self._builds(each)
            if additions:
                made.append(self._add_keys(each.service, additions))
        return made

    def top(self, wanted: Sequence[Wanted]) -> list[Edit]:
        """Return the edits for what the services of a whole project share."""
        made: list[Edit] = []
        runs = any(each.deliveries for each in wanted)
        if runs and self.moves.settings.delivery == "sidecar":
            made += self._sidecar()
        return made + self._top_level_secrets(wanted)

    # One service --------------------------------------------------------------------------------

    def _mounts(self, wanted: Wanted, additions: list[str]) -> list[Edit]:
        service, settings = wanted.service, self.moves.settings
        made: list[Edit] = []
        volumes: list[str] = []
        if wanted.is_app:
            here = self._beside(f"{DIRECTORY}/app.yaml")
            volumes.append(f"{here}:/etc/secretbridge/secretbridge.yaml:ro")
        for program in sorted(wanted.shims):
            here = self._beside(f"{DIRECTORY}/shims/{program}")
            volumes.append(f"{here}:/opt/secretbridge/shims/{program}:ro")
        if settings.delivery == "sidecar":
            if wanted.deliveries:
                volumes.append(f"{SIDECAR}:{settings.target}")
                made += self._depend(service, additions)
                # Lists add up over extends, and this one may have nothing twice.
                if wanted.is_app and self.apps.isdisjoint(service.inherits):
                    made += self._items(service, "group_add", [f'"{_GROUP}"'], additions)
        else:
            names = sorted(wanted.deliveries)
            made += self._items(service, "secrets", names, additions)
        if volumes:
            made += self._items(service, "volumes", volumes, additions)
        return made

    def _items(
        self, service: Service, key: str, items: list[str], additions: list[str]
    ) -> list[Edit]:
        """Add ``items`` to the list under ``key``, or have it added with the service's other keys."""
        found = self._own(service, key)
        if found is None:
            # A list that a merge brings would be hidden by one of our own.
            merged = own_child(service.node, key)
            if isinstance(merged, SequenceNode):
                items = [*self._copied(merged), *items]
            additions += [f"{key}:", *(f"  - {item}" for item in items)]
            return []
        key_node, value = found
        if self.file.is_alias(key_node, value):
            raise NotEditable(f"`{key}` of {service.name} is an alias, which others use as well")
        if isinstance(value, MappingNode):
            raise NotEditable(f"`{key}` of {service.name} is a mapping")
        if isinstance(value, ScalarNode):  # nothing stands there
            colon = self.file.text.index(":", self.file.end(key_node)) + 1
            indent = " " * (self.file.column(key_node) + 2)
            return [self.file.insert_lines(colon, [f"{indent}- {item}" for item in items])]
        assert isinstance(value, SequenceNode)
        present = {text_of(item) for item in value.value}
        missing = [item for item in items if item.strip('"') not in present]
        return [self.file.append_items(value, missing)] if missing else []

    def _copied(self, sequence: SequenceNode) -> list[str]:
        copied = []
        for item in sequence.value:
            if not isinstance(item, ScalarNode):
                raise NotEditable("a merged list has more than plain items")
            copied.append(scalar(item.value))
        return copied

    def _own(self, service: Service, key: str) -> tuple[ScalarNode, Node] | None:
        for name, key_node, value in pairs(service.node):
            if name == key:
                return key_node, value
        return None

    def _depend(self, service: Service, additions: list[str]) -> list[Edit]:
        file = self.file
        if self.project.is_extended(service):
            self.moves.note(
                f"{self.path}: {service.name} is extended, and now depends on {SIDECAR}: Docker "
                "Compose 2 takes that, and 1 does not"
            )
        found = self._own(service, "depends_on")
        healthy = "{condition: service_healthy}"
        if found is None:
            merged = own_child(service.node, "depends_on")
            lines = ["depends_on:"]
            if isinstance(merged, SequenceNode):
                lines += [
                    f"  {name}: {{condition: service_started}}" for name in self._copied(merged)
                ]
            elif isinstance(merged, MappingNode):
                raise NotEditable(f"`depends_on` of {service.name} is merged from elsewhere")
            additions += [*lines, f"  {SIDECAR}: {healthy}"]
            return []
        key, value = found
        if file.is_alias(key, value):
            raise NotEditable(f"`depends_on` of {service.name} is an alias")
        if isinstance(value, MappingNode):
            if any(name == SIDECAR for name, _, _ in pairs(value)):
                return []
            line = f"{SIDECAR}: {healthy}"
            return [file.append_pairs(value, [line], line)]
        if not isinstance(value, SequenceNode):
            raise NotEditable(f"`depends_on` of {service.name} is empty")
        names = self._copied(value)
        started = [f"{name}: {{condition: service_started}}" for name in names]
        if value.flow_style:
            start, end = file.span(value)
            joined = ", ".join([*started, f"{SIDECAR}: {healthy}"])
            return [Edit(start, end, f"{{{joined}}}".encode())]
        made = []
        column = file.column(key) + 2
        for item, line in zip(value.value, started, strict=True):
            dash = file.text.rindex("-", 0, item.start_mark.index)
            begin = file.line_start(dash)
            made.append(
                Edit(file.byte(begin), file.span(item)[1], f"{' ' * column}{line}".encode())
            )
        made.append(file.insert_lines(file.end(value), [f"{' ' * column}{SIDECAR}: {healthy}"]))
        return made

    def _builds(self, wanted: Wanted) -> list[Edit]:
        build = own_child(wanted.service.node, "build")
        assert isinstance(build, MappingNode)
        names = sorted(wanted.own_build)
        for name, _, value in pairs(build):
            if name == "secrets":
                if not isinstance(value, SequenceNode):
                    raise NotEditable("`secrets` of the build is no list")
                return [self.file.append_items(value, names)]
        lines = ["secrets:", *(f"  - {name}" for name in names)]
        return [self.file.append_pairs(build, lines, f"secrets: [{', '.join(names)}]")]

    def _add_keys(self, service: Service, lines: list[str]) -> Edit:
        node = service.node
        if node.flow_style:
            raise NotEditable(f"the service {service.name} is written in one line")
        if node.start_mark.index < service.key.start_mark.index:
            raise NotEditable(f"the service {service.name} is an alias")
        return self.file.append_pairs(node, lines, "")

    # The whole file -----------------------------------------------------------------------------

    def _beside(self, path: str) -> str:
        """Return how this file names ``path``, which is below the root of the project."""
        folder, *others = self.project.folders(self.path)
        if others:
            raise NotEditable("it is included with several project directories")
        found = posixpath.relpath(path, folder or ".")
        return found if found.startswith("../") else f"./{found}"

    def _sidecar(self) -> list[Edit]:
        self.moves.needs.has_sidecar = True
        made: list[Edit] = []
        if not self.project.has(self.path, "services", SIDECAR):
            made += self._top_level("services", self._service())
        volume = [
            f"{SIDECAR}:  # in memory, and gone when the last container that uses it ends",
            "  driver: local",
            "  driver_opts:",
            "    type: tmpfs",
            "    device: tmpfs",
            "    # noswap needs Linux 6.4. On an older kernel: SECRETBRIDGE_NOSWAP= and no active swap.",
            "    o: size=8m,mode=2750,uid=${SECRETBRIDGE_UID:-1001},"
            f"gid={_GROUP},noexec,nosuid,nodev"
            "${SECRETBRIDGE_NOSWAP-,noswap}",
        ]
        if not self.project.has(self.path, "volumes", SIDECAR):
            made += self._top_level("volumes", volume)
        return made

    def _service(self) -> list[str]:
        settings = self.moves.settings
        config = self._beside(settings.config)
        is_local = settings.backend == "local"
        lines = [
            f"{SIDECAR}:",
            "  image: ${SECRETBRIDGE_IMAGE:-secretbridge-sidecar:0.1.0}",
            '  user: "${SECRETBRIDGE_UID:-1001}:1001"',
            f'  group_add: ["{_GROUP}"]',
            "  read_only: true",
            "  cap_drop: [ALL]",
            '  security_opt: ["no-new-privileges:true"]',
            "  mem_limit: 128m",
            "  memswap_limit: 128m  # the same as mem_limit: none of it may be swapped out",
            "  pids_limit: 64",
            "  ulimits: {core: 0}",
            "  restart: unless-stopped",
            "  stop_grace_period: 5s",
            "  volumes:",
            f"    - {config}:/etc/secretbridge/secretbridge.yaml:ro",
            f"    - {self._beside(DIRECTORY)}:/etc/secretbridge/{DIRECTORY}:ro",
            *([_KEY] if is_local else []),
            f"    - {SIDECAR}:{settings.target}",
        ]
        if is_local:
            self.moves.note(
                f"{self.path}: the sidecar reads the store and its key as the user who owns them: "
                "have SECRETBRIDGE_UID=$(id -u) in the environment of docker-compose, or in its .env"
            )
            lines += [
                "  network_mode: none  # the store is a file",
                "  environment:",
                "    XDG_CONFIG_HOME: /run/bootstrap  # where the key of the store is, see volumes",
            ]
        lines += [
            "  healthcheck:",
            "    test: [CMD, /opt/secretbridge/bin/secretbridge-sidecar, healthcheck]",
            "    interval: 5s",
            "    timeout: 5s",
            "    retries: 3",
            "    start_period: 30s",
        ]
        return lines

    def _top_level_secrets(self, hosted: Sequence[Wanted]) -> list[Edit]:
        settings = self.moves.settings
        files: dict[str, str] = {}
        for wanted in hosted:
            if settings.delivery == "secrets":
                files |= {name: f"{settings.target}/{name}" for name in wanted.deliveries}
            for variable, name in wanted.build.items():
                # A build runs before any container: its file is written by `secretbridge-sidecar once`.
                files[variable] = "${SECRETBRIDGE_BUILD_DIR:-/run/secretbridge}/" + name
        missing = {n: f for n, f in files.items() if not self.project.has(self.path, "secrets", n)}
        if not missing:
            return []
        lines = [f"{name}: {{file: {scalar(file)}}}" for name, file in sorted(missing.items())]
        return self._top_level("secrets", lines)

    def _top_level(self, key: str, lines: list[str]) -> list[Edit]:
        """Add ``lines`` below the top-level ``key``."""
        file = self.file
        for found, key_node, value in pairs(self.model.root):
            if found != key:
                continue
            if isinstance(value, MappingNode) and value.value and not value.flow_style:
                return [file.append_pairs(value, lines, "")]
            if isinstance(value, ScalarNode) or not value.value:
                colon = file.text.index(":", file.end(key_node)) + 1
                if isinstance(value, MappingNode | SequenceNode):
                    start, end = file.span(value)
                    body = "".join(f"{file.newline}  {line}" for line in lines)
                    return [Edit(start, end, body.encode())]
                return [file.insert_lines(colon, [f"  {line}" for line in lines])]
            raise NotEditable(f"`{key}` is written in one line")
        return [file.append_document_lines([f"{key}:", *(f"  {line}" for line in lines)])]
