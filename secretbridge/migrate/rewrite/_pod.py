"""What a pod needs for its files: the sidecar, volumes, mounts; added once each."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..edits import Edit
from ..moves import Moves
from ..yaml_tree import (
    MappingNode,
    Node,
    NotEditable,
    ScalarNode,
    SequenceNode,
    YamlFile,
    child,
    pairs,
    text_of,
)
from .config import template_path

__all__ = ["Pods"]

NAME = "secretbridge"
_GROUP = "20001"


@dataclass(slots=True)
class _Wanted:
    pod: MappingNode
    containers: dict[int, tuple[MappingNode, bool]] = field(default_factory=dict)


class Pods:
    """Collects which containers need files, and makes the edits that bring them."""

    def __init__(self, file: YamlFile, moves: Moves) -> None:
        self._file = file
        self._moves = moves
        self._wanted: dict[int, _Wanted] = {}

    def serve(self, pod: MappingNode, container: MappingNode, *, library: bool) -> None:
        """Give ``container`` the files, and with ``library`` the names of secrets."""
        wanted = self._wanted.setdefault(id(pod), _Wanted(pod))
        known = wanted.containers.get(id(container))
        wanted.containers[id(container)] = container, library or bool(known and known[1])
        self._moves.needs.pods = True

    def edits(self) -> list[Edit]:
        """Return the edits for everything that was asked for."""
        made: list[Edit] = []
        for wanted in self._wanted.values():
            for container, is_app in wanted.containers.values():
                made += self._mount(container, is_app)
            made += self._pod(wanted.pod)
        return made

    def _mount(self, container: MappingNode, is_app: bool) -> list[Edit]:
        target = self._moves.settings.target
        mounts = [f"{{name: {NAME}, mountPath: {target}, subPath: files, readOnly: true}}"]
        if is_app:
            mounts.append(f"{{name: {NAME}-app, mountPath: /etc/secretbridge, readOnly: true}}")
        return self._items(container, "volumeMounts", [[mount] for mount in mounts])

    def _pod(self, pod: MappingNode) -> list[Edit]:
        settings = self._moves.settings
        present = {
            text_of(child(each, "name"))
            for key in ("volumes", "initContainers")
            for each in _listed(child(pod, key))
        }
        if NAME in present:
            return []
        made = self._items(pod, "initContainers", self._sidecar(), first=True)
        items = ["{key: secretbridge.yaml, path: secretbridge.yaml}"]
        items += [
            f"{{key: {name}.j2, path: {template_path(name)}}}"
            for name in sorted(self._moves.templates)
        ]
        sources = [f"- configMap: {{name: {NAME}, items: [{', '.join(items)}]}}"]
        if settings.backend == "local":
            store = "{key: secrets.sbx, path: secretbridge.d/secrets.sbx}, {key: key, path: key}"
            sources.append(f"- secret: {{name: {NAME}-store, items: [{store}]}}")
            self._moves.note(
                "the embedded store is for one machine: for pods, plan with --store vault or aws-sm"
            )
        volumes = [
            [f"name: {NAME}", "emptyDir: {medium: Memory, sizeLimit: 8Mi}"],
            [f"name: {NAME}-config", "projected:", "  sources:", *(f"    {s}" for s in sources)],
        ]
        if any(is_app for _, is_app in self._wanted[id(pod)].containers.values()):
            volumes.append([f"name: {NAME}-app", f"configMap: {{name: {NAME}-app}}"])
        made += self._items(pod, "volumes", volumes)
        made += self._groups(pod)
        return made

    def _sidecar(self) -> list[list[str]]:
        """Return the containers that make the directory, and that keep the files in it fresh.

        An emptyDir may be written to by everybody; a directory inside of it is the sidecar's own.
        """
        settings = self._moves.settings
        security = (
            f"securityContext: {{runAsUser: 1001, runAsGroup: {_GROUP}, runAsNonRoot: true, "
            "allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, "
            "capabilities: {drop: [ALL]}}"
        )
        image = "image: secretbridge-sidecar:0.1.0"
        make = "import os; os.makedirs('/mnt/files', 0o750, exist_ok=True)"
        sidecar = [
            f"name: {NAME}",
            image,
            "restartPolicy: Always  # a native sidecar (Kubernetes 1.29)",
            security,
        ]
        if settings.backend == "local":
            sidecar.append("env: [{name: XDG_CONFIG_HOME, value: /etc}]")
        sidecar += [
            "startupProbe:",
            "  exec: {command: [/opt/secretbridge/bin/secretbridge-sidecar, healthcheck]}",
            "  periodSeconds: 1",
            "  failureThreshold: 60",
            "volumeMounts:",
            f"  - {{name: {NAME}, mountPath: {settings.target}, subPath: files}}",
            f"  - {{name: {NAME}-config, mountPath: /etc/secretbridge, readOnly: true}}",
        ]
        return [
            [
                f"name: {NAME}-directory",
                image,
                f'command: [/usr/bin/python3, -c, "{make}"]',
                security,
                f"volumeMounts: [{{name: {NAME}, mountPath: /mnt}}]",
            ],
            sidecar,
        ]

    def _groups(self, pod: MappingNode) -> list[Edit]:
        found = self._own(pod, "securityContext")
        if found is None:
            line = f"securityContext: {{supplementalGroups: [{_GROUP}]}}"
            return [self._append(pod, [line])]
        value = found[1]
        if not isinstance(value, MappingNode):
            raise NotEditable("securityContext of the pod is no mapping")
        groups = child(value, "supplementalGroups")
        if isinstance(groups, SequenceNode):
            return [self._file.append_items(groups, [_GROUP])]
        line = f"supplementalGroups: [{_GROUP}]"
        return [self._file.append_pairs(value, [line], line)]

    # Lists --------------------------------------------------------------------------------------

    def _items(
        self, parent: MappingNode, key: str, items: list[list[str]], *, first: bool = False
    ) -> list[Edit]:
        """Add items, each as the lines of its mapping, to the list under ``key`` of ``parent``."""
        found = self._own(parent, key)
        if found is None:
            return [self._append(parent, [f"{key}:", *_lines(items, "  ")])]
        key_node, value = found
        if self._file.is_alias(key_node, value):
            raise NotEditable(f"`{key}` is an alias, which others use as well")
        if not isinstance(value, SequenceNode) or value.flow_style or not value.value:
            return [self._replaced(key_node, value, key, items)]
        dash = self._file.text.rindex("-", 0, value.value[0].start_mark.index)
        start = self._file.line_start(dash)
        indent = self._file.text[start:dash]
        if indent.strip():
            raise NotEditable(f"`{key}` has a list inside of a list")
        lines = _lines(items, indent)
        if first:  # before the others, which may need the files as well
            text = "".join(line + self._file.newline for line in lines)
            at = self._file.byte(start)
            return [Edit(at, at, text.encode())]
        return [self._file.insert_lines(self._file.end(value), lines)]

    def _replaced(
        self, key_node: ScalarNode, value: Node, key: str, items: list[list[str]]
    ) -> Edit:
        if isinstance(value, SequenceNode) and value.value:
            raise NotEditable(f"`{key}` is written in one line")
        indent = " " * self._file.column(key_node)
        text = self._file.newline.join([f"{key}:", *_lines(items, f"{indent}  ")])
        start = self._file.byte(key_node.start_mark.index)
        colon = self._file.text.index(":", self._file.end(key_node)) + 1
        end = self._file.span(value)[1] if isinstance(value, SequenceNode) else 0
        return Edit(start, max(end, self._file.byte(colon)), text.encode())

    def _append(self, parent: MappingNode, lines: list[str]) -> Edit:
        if parent.flow_style:
            raise NotEditable("the pod or container is written in one line")
        return self._file.append_pairs(parent, lines, "")

    def _own(self, parent: MappingNode, key: str) -> tuple[ScalarNode, Node] | None:
        for name, key_node, value in pairs(parent):
            if name == key:
                return key_node, value
        return None


def _lines(items: list[list[str]], indent: str) -> list[str]:
    made = []
    for first, *rest in items:
        made.append(f"{indent}- {first}")
        made += [f"{indent}  {line}" for line in rest]
    return made


def _listed(node: Node | None) -> list[Node]:
    return list(node.value) if isinstance(node, SequenceNode) else []
