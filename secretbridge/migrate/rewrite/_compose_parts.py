"""What services need for their files: mounts, the sidecar, an order of start; added once each."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field

from ..edits import Edit
from ..images import Image
from ..moves import Delivery, Moves
from ..yaml_tree import (
    MappingNode,
    Node,
    NotEditable,
    ScalarNode,
    SequenceNode,
    YamlFile,
    pairs,
    scalar,
    text_of,
)
from ._compose_model import ComposeModel, Service, own_child

__all__ = ["DIRECTORY", "ServiceParts"]

SIDECAR = "secretbridge"
"""The name of the service and of the volume."""
DIRECTORY = "secretbridge.d"
"""What the sidecar needs besides its configuration, beside that."""
_GROUP = "20001"


@dataclass(slots=True)
class _Wanted:
    service: Service
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    is_app: bool = False
    shims: set[str] = field(default_factory=set)
    build: dict[str, str] = field(default_factory=dict)


class ServiceParts:
    """Collects what each service needs, and makes the edits that add it."""

    def __init__(self, path: str, file: YamlFile, model: ComposeModel, moves: Moves) -> None:
        self.path = path
        self.file = file
        self.model = model
        self.moves = moves
        self._wanted: dict[str, _Wanted] = {}

    def serve(
        self, service: Service, delivery: Delivery, image: Image | None, *, library: bool
    ) -> None:
        """Give ``service`` the file of ``delivery``; with ``library`` also the names of secrets."""
        wanted = self._wanted.setdefault(service.name, _Wanted(service))
        wanted.deliveries[delivery.name] = delivery
        wanted.is_app |= library
        self.moves.use(delivery, library=library)
        needs = self.moves.needs
        if image is not None and image.users:
            needs.readers.setdefault(delivery.name, set()).update(image.users)
        if image is not None and image.mode:
            needs.modes[delivery.name] = image.mode

    def shim(self, service: Service, program: str) -> None:
        """Mount the script that stands before ``program``."""
        self._wanted[service.name].shims.add(program)

    def build_secret(
        self, service: Service, build: MappingNode, variable: str, delivery: Delivery
    ) -> None:
        """Give the build of ``service`` the secret for ``variable``."""
        self.moves.note(f"{self.path}: secrets of a build need Docker Compose 2.5 or later")
        self._wanted.setdefault(service.name, _Wanted(service)).build[variable.lower()] = (
            delivery.name
        )
        self.moves.use(delivery)

    def edits(self) -> list[Edit]:
        """Return the edits for everything that was asked for."""
        if not self._wanted:
            return []
        made: list[Edit] = []
        for wanted in self._wanted.values():
            additions: list[str] = []
            if wanted.deliveries or wanted.shims:
                made += self._mounts(wanted, additions)
            if wanted.build:
                made += self._builds(wanted)
            if additions:
                made.append(self._add_keys(wanted.service, additions))
        runs = any(wanted.deliveries for wanted in self._wanted.values())
        if runs and self.moves.settings.delivery == "sidecar":
            made += self._sidecar()
        made += self._top_level_secrets()
        return made

    # One service --------------------------------------------------------------------------------

    def _mounts(self, wanted: _Wanted, additions: list[str]) -> list[Edit]:
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
                if wanted.is_app:
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

    def _builds(self, wanted: _Wanted) -> list[Edit]:
        build = own_child(wanted.service.node, "build")
        assert isinstance(build, MappingNode)
        names = sorted(wanted.build)
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
        found = posixpath.relpath(path, posixpath.dirname(self.path) or ".")
        return found if found.startswith("../") else f"./{found}"

    def _sidecar(self) -> list[Edit]:
        services = self.model.services_node
        if not isinstance(services, MappingNode) or not services.value:
            raise NotEditable("the file has no services")
        self.moves.needs.has_sidecar = True
        made: list[Edit] = []
        if SIDECAR not in self.model.services:
            indent = " " * self.file.column(services.value[0][0])
            lines = [indent + line for line in self._service()]
            made.append(self.file.insert_lines(self.file.end(services), lines))
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
        made += self._top_level("volumes", SIDECAR, volume)
        return made

    def _service(self) -> list[str]:
        settings = self.moves.settings
        config = self._beside(settings.config)
        lines = [
            f"{SIDECAR}:",
            "  image: ${SECRETBRIDGE_IMAGE:-secretbridge-sidecar:0.1.0}",
            '  user: "${SECRETBRIDGE_UID:-1001}:1001"',
            f'  group_add: ["{_GROUP}"]',
            "  read_only: true",
            "  cap_drop: [ALL]",
            '  security_opt: ["no-new-privileges:true"]',
            "  restart: unless-stopped",
            "  volumes:",
            f"    - {config}:/etc/secretbridge/secretbridge.yaml:ro",
            f"    - {self._beside(DIRECTORY)}:/etc/secretbridge/{DIRECTORY}:ro",
            f"    - {SIDECAR}:{settings.target}",
        ]
        if settings.backend == "local":
            self.moves.note(
                f"{self.path}: the sidecar reads the store and its key as the user who owns them: "
                "have SECRETBRIDGE_UID=$(id -u) in the environment of docker-compose, or in its .env"
            )
            lines += [
                "  environment:",
                "    XDG_CONFIG_HOME: /run/bootstrap  # where the key of the store is, see volumes",
            ]
            lines.insert(
                -3,
                "    - ${SECRETBRIDGE_KEY_DIR:-~/.config/secretbridge}:/run/bootstrap/secretbridge:ro",
            )
        lines += [
            "  healthcheck:",
            "    test: [CMD, /opt/secretbridge/bin/secretbridge-sidecar, healthcheck]",
            "    interval: 5s",
            "    timeout: 5s",
            "    retries: 3",
            "    start_period: 30s",
        ]
        return lines

    def _top_level_secrets(self) -> list[Edit]:
        settings = self.moves.settings
        files: dict[str, str] = {}
        for wanted in self._wanted.values():
            if settings.delivery == "secrets":
                files |= {name: f"{settings.target}/{name}" for name in wanted.deliveries}
            for variable, name in wanted.build.items():
                # A build runs before any container: its file is written by `secretbridge-sidecar once`.
                files[variable] = "${SECRETBRIDGE_BUILD_DIR:-/run/secretbridge}/" + name
        made: list[Edit] = []
        missing = {
            n: f
            for n, f in files.items()
            if own_child(own_child(self.model.root, "secrets"), n) is None
        }
        if missing:
            lines = [f"{name}: {{file: {scalar(file)}}}" for name, file in sorted(missing.items())]
            made += self._top_level("secrets", None, lines)
        return made

    def _top_level(self, key: str, name: str | None, lines: list[str]) -> list[Edit]:
        """Add ``lines`` below the top-level ``key``, unless ``name`` is there."""
        file = self.file
        for found, key_node, value in pairs(self.model.root):
            if found != key:
                continue
            if name is not None and any(each == name for each, _, _ in pairs(value)):
                return []
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
