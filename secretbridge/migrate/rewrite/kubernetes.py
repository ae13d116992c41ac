"""Kubernetes: variables of containers become files of a native sidecar, wherever a pod is nested.

A key goes out of a Secret or ConfigMap only when everything that is seen to read it is rewritten with
it. What the cluster itself reads (TLS, pull secrets) and what is mounted as a volume stays: neither
is in an environment.
"""

from __future__ import annotations

import re

from ..edits import Edit
from ..finding import LITERAL, Finding
from ..images import Image, lookup
from ..moves import Delivery, Moves
from ..yaml_tree import (
    Entry,
    MappingNode,
    NotEditable,
    ScalarNode,
    SequenceNode,
    YamlFile,
    child,
    deepest_first,
    pairs,
    scalar,
    text_of,
)
from ._pod import Pods
from ._removals import Removals
from ._shell_texts import ShellTexts, is_shell

__all__ = ["rewrite"]

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_EXPANDED = re.compile(r"\$\((\w+)\)")


def rewrite(path: str, content: bytes, findings: list[Finding], moves: Moves) -> list[Edit]:
    """Return the edits of the manifests in ``path``; what cannot be edited is blocked."""
    try:
        file = YamlFile(content)
    except NotEditable as error:
        for finding in findings:
            delivery = moves.of(finding)
            if delivery is not None:
                moves.block(
                    finding, delivery, f"the file is left alone: {error}", "edit it by hand"
                )
        return []
    return _Rewriter(path, file, moves).edits(findings)


class _Rewriter:
    def __init__(self, path: str, file: YamlFile, moves: Moves) -> None:
        self.path = path
        self.file = file
        self.moves = moves
        self.pods = Pods(file, moves)
        self.removals = Removals(file)
        self.shells = ShellTexts(file, _in_shell, "$(cat {})")
        self._edits: list[Edit] = []

    def edits(self, findings: list[Finding]) -> list[Edit]:
        for finding in findings:
            entry = self.file.entry_at(finding.start)
            if entry is None:
                continue
            try:
                self._rewrite(finding, entry)
            except NotEditable as error:
                for delivery in self._concerned(finding):
                    self.moves.block(finding, delivery, str(error), "edit this entry by hand")
        return deepest_first(
            [
                *self._edits,
                *self.removals.edits(),
                *self.shells.edits(),
                *self._pod_edits(findings),
            ]
        )

    def _pod_edits(self, findings: list[Finding]) -> list[Edit]:
        try:
            return self.pods.edits()
        except NotEditable as error:
            for finding in findings:
                for delivery in self._concerned(finding):
                    self.moves.block(finding, delivery, str(error), "edit this pod by hand")
            return []

    def _concerned(self, finding: Finding) -> list[Delivery]:
        if finding.context.get("source") == "secretRef":
            return [d for _, d in self._keys_of(str(finding.context.get("secret")))]
        found = self.moves.of(finding)
        return [] if found is None else [found]

    def _rewrite(self, finding: Finding, entry: Entry) -> None:
        if finding.context.get("source") == "secretRef":
            self._env_from(finding, entry)
        elif "field" in finding.context:
            delivery = self.moves.of(finding)
            if delivery is not None:
                self._key(finding, entry, delivery)
        elif finding.context.get("place") or "option" in finding.context:
            self._argument(finding, entry)
        else:
            delivery = self.moves.of(finding)
            if delivery is not None:
                self._variable(finding, entry, delivery)

    # Containers ---------------------------------------------------------------------------------

    def _owners(self, entry: Entry) -> tuple[MappingNode, MappingNode]:
        """Return the pod and the container that ``entry`` is in."""
        path = entry.path
        for at in range(len(path) - 1, -1, -1):
            if path[at] in _CONTAINERS and at + 2 < len(entry.above):
                pod, container = entry.above[at], entry.above[at + 2]
                if isinstance(pod, MappingNode) and isinstance(container, MappingNode):
                    return pod, container
        raise NotEditable("it is in no container of a pod")

    def _item(self, entry: Entry) -> Entry:
        """Return the item of ``env`` or ``envFrom`` that ``entry`` is in."""
        for at in range(len(entry.path) - 1, 0, -1):
            if entry.path[at - 1] in ("env", "envFrom"):
                items = entry.above[at]
                number = int(entry.path[at])
                assert isinstance(items, SequenceNode)
                return Entry(
                    items, None, items.value[number], entry.path[: at + 1], entry.above[: at + 1]
                )
        raise NotEditable("it is no entry of a list of variables")

    def _variable(self, finding: Finding, entry: Entry, delivery: Delivery) -> None:
        pod, container = self._owners(entry)
        item = self._item(entry)
        image, lines = self._replacement(finding.name, container, delivery)
        shells = [] if lines is not None else self._shell_of(container, finding.name)
        for node in shells:
            self.shells.replace(node, finding.name, self.moves.place(delivery))
        has_library = self._has_library(finding.name, container)
        if shells and not has_library:
            self._serve(pod, container, delivery, image, library=False)
            self.removals.add(item)
            return
        if image is None and not has_library:
            if self.moves.settings.unknown != "file":
                self._unknown(finding, container, delivery)
                return
            lines = {f"{finding.name}_FILE": self.moves.place(delivery)}
        self._serve(pod, container, delivery, image, library=lines is None)
        if lines is None:
            self.removals.add(item)
        else:
            self._replace(item, lines)

    def _replacement(
        self, name: str, container: MappingNode, delivery: Delivery
    ) -> tuple[Image | None, dict[str, str] | None]:
        for image in lookup(text_of(child(container, "image"))):
            variable = image.file_variable(name)
            if variable is None:
                continue
            place = self.moves.place(delivery)
            if image.way == "pwfile" and name == "POSTGRES_PASSWORD" and self._may_drop(container):
                return image, {
                    "POSTGRES_INITDB_ARGS": f"--pwfile={place}",
                    "POSTGRES_PASSWORD_FILE": "/etc/hostname",
                }
            if image.way == "grafana":
                return image, {name: f"$__file{{{place}}}"}
            if image.leaks:
                self.moves.note(
                    f"{self.path}: {text_of(child(container, 'name'))}: {variable} is read from the "
                    "file, and the image may export the value again; look into /proc of what runs"
                )
            return image, {variable: image.value.format(place)}
        return None, None

    def _may_drop(self, container: MappingNode) -> bool:
        """Whether nothing else in ``container`` reads the password or sets initdb's arguments."""
        start, end = self.file.span(container)
        text = self.file.content[start:end].decode()
        return "POSTGRES_INITDB_ARGS" not in text and not re.search(
            _in_shell("POSTGRES_PASSWORD"), text
        )

    def _has_library(self, name: str, container: MappingNode) -> bool:
        if lookup(text_of(child(container, "image"))):
            return False
        readers = self.moves.readers(name, ("python", "settings"))
        return bool(readers) and not self.moves.readers(name, ("other", "shell"))

    def _unknown(self, finding: Finding, container: MappingNode, delivery: Delivery) -> None:
        name = text_of(child(container, "name")) or "the container"
        rows = lookup(text_of(child(container, "image")))
        remedy = rows[0].note if rows else ""
        self.moves.block(
            finding,
            delivery,
            f"nothing here tells how {name} reads {finding.name} from a file",
            remedy or f"if it takes {finding.name}_FILE, plan with --unknown file",
        )

    def _serve(
        self,
        pod: MappingNode,
        container: MappingNode,
        delivery: Delivery,
        image: Image | None,
        *,
        library: bool,
    ) -> None:
        self.pods.serve(pod, container, library=library)
        self.moves.use(delivery, library=library)
        if image is not None and image.users:
            self.moves.needs.readers.setdefault(delivery.name, set()).update(image.users)
        if image is not None and image.mode:
            self.moves.needs.modes[delivery.name] = image.mode

    def _replace(self, item: Entry, lines: dict[str, str]) -> None:
        """Put variables with plain values in the place of the item of one."""
        node = item.value
        if not isinstance(node, MappingNode):
            raise NotEditable("the variable is no mapping")
        (name, value), *more = lines.items()
        found = {key: (key_node, each) for key, key_node, each in pairs(node)}
        name_node = found["name"][1]
        key_node, old = found.get("value") or found.get("valueFrom") or (None, None)
        if not isinstance(name_node, ScalarNode) or key_node is None or old is None:
            raise NotEditable("the variable has neither value nor valueFrom")
        self._edits.append(self.file.replace(name_node, self.file.quoted_like(name_node, name)))
        start, end = self.file.byte(key_node.start_mark.index), self.file.span(old)[1]
        if self.file.is_alias(key_node, old):
            raise NotEditable("the value is an alias")
        self._edits.append(Edit(start, end, f"value: {scalar(value)}".encode()))
        container = item.container
        if more and isinstance(container, SequenceNode):
            extra = [f"{{name: {each}, value: {scalar(text)}}}" for each, text in more]
            if container.flow_style:
                self._edits.append(self.file.append_items(container, extra))
            else:
                dash = self.file.text.rindex("-", 0, node.start_mark.index)
                indent = " " * (dash - self.file.line_start(dash))
                made = [f"{indent}- {each}" for each in extra]
                self._edits.append(self.file.insert_lines(self.file.end(node), made))

    # Secrets and ConfigMaps ---------------------------------------------------------------------

    def _keys_of(self, name: str) -> list[tuple[str, Delivery]]:
        """Return the keys of the Secret ``name`` that move."""
        return [
            (other.name, delivery)
            for other in self.moves.findings
            if other.kind == LITERAL
            and "field" in other.context
            and other.context.get("object") == name
            and other.context.get("kind") == "Secret"
            and (delivery := self.moves.of(other)) is not None
        ]

    def _key(self, finding: Finding, entry: Entry, delivery: Delivery) -> None:
        kind, name = str(finding.context["kind"]), str(finding.context["object"])
        if str(finding.context.get("type", "")).startswith("kubernetes.io/"):
            self.moves.block(
                finding, delivery, "the cluster itself reads this Secret", "leave it, or use ESO"
            )
            return
        readers = [
            other
            for other in self.moves.findings
            if (other.context.get("object_name"), other.context.get("key")) == (name, finding.name)
            or (other.context.get("source") == "secretRef" and other.context.get("secret") == name)
        ]
        if not readers:
            self.moves.block(
                finding,
                delivery,
                f"nobody in this tree is seen to read this key of the {kind} {name}",
                "give the directory that also has its readers",
            )
            return
        for path, content in self.moves.contents.items():
            if path.endswith((".yaml", ".yml")) and re.search(
                rf"secretName:\s*[\"']?{re.escape(name)}\b", content.decode("utf-8", "replace")
            ):
                self.moves.block(
                    finding,
                    delivery,
                    f"{path} mounts the {kind} {name} as a volume",
                    "mount the files of the sidecar there",
                )
                return
        self.removals.add(entry)

    def _env_from(self, finding: Finding, entry: Entry) -> None:
        """Give the container all keys of a Secret that move, in the ways of its image."""
        pod, container = self._owners(entry)
        extra: list[str] = []
        for name, delivery in self._keys_of(str(finding.context.get("secret"))):
            image, lines = self._replacement(name, container, delivery)
            if image is None and not self._has_library(name, container):
                if self._is_for_another(finding, name):
                    self.moves.note(
                        f"{self.path}:{finding.line}: {name} was given to this container as well, and "
                        "nobody is seen to read it there; it no longer is"
                    )
                    continue
                if self.moves.settings.unknown != "file":
                    self._unknown(finding, container, delivery)
                    continue
                lines = {f"{name}_FILE": self.moves.place(delivery)}
            self._serve(pod, container, delivery, image, library=lines is None)
            extra += [f"{{name: {k}, value: {scalar(v)}}}" for k, v in (lines or {}).items()]
        if not extra:
            return
        env = child(container, "env")
        if isinstance(env, SequenceNode):
            self._edits.append(self.file.append_items(env, extra))
        elif env is None and not container.flow_style:
            lines_of = ["env:", *(f"  - {each}" for each in extra)]
            self._edits.append(self.file.append_pairs(container, lines_of, ""))
        else:
            raise NotEditable("`env` of the container cannot be extended")

    def _is_for_another(self, finding: Finding, key: str) -> bool:
        """Whether a key of a whole Secret is one that another container asks for by its name."""
        wanted = (finding.context.get("secret"), key)
        asked = any(
            (other.context.get("object_name"), other.context.get("key")) == wanted
            for other in self.moves.findings
        )
        return asked and not self.moves.readers(key)

    # Arguments ----------------------------------------------------------------------------------

    def _argument(self, finding: Finding, entry: Entry) -> None:
        node = entry.value
        if not isinstance(node, ScalarNode):
            return
        names = [*_EXPANDED.findall(node.value), *re.findall(r"\$\{?(\w+)\}?", node.value)]
        found = {
            name: delivery
            for name in names
            if (delivery := self.moves.of_variable(self.path, name)) is not None
        }
        own = self.moves.of(finding)
        if not found:
            if own is not None:
                self.moves.block(
                    finding, own, "the value is an argument of a command", "have it read a file"
                )
            return
        pod, container = self._owners(entry)
        if not self._is_shell(entry):
            for delivery in found.values():
                self.moves.block(
                    finding,
                    delivery,
                    "a command without a shell has the value as an argument",
                    "have the program read a file, or start it by a shell",
                )
            return
        for name, delivery in found.items():
            self.shells.replace(node, name, self.moves.place(delivery))
            self._serve(pod, container, delivery, None, library=False)

    def _is_shell(self, entry: Entry) -> bool:
        return is_shell(self._words(self._owners(entry)[1]))

    def _words(self, container: MappingNode) -> list[str]:
        return [node.value for node in self._command(container)]

    def _command(self, container: MappingNode) -> list[ScalarNode]:
        found: list[ScalarNode] = []
        for key in ("command", "args"):
            node = child(container, key)
            if isinstance(node, SequenceNode):
                found += [each for each in node.value if isinstance(each, ScalarNode)]
        return found

    def _shell_of(self, container: MappingNode, name: str) -> list[ScalarNode]:
        """Return the words of the container's command that name the variable, if a shell runs it."""
        if not is_shell(self._words(container)):
            return []
        return [node for node in self._command(container) if self.shells.names(node, name)]


def _in_shell(name: str) -> str:
    """Return how a command names a variable: as the shell does, or as Kubernetes expands it."""
    each = re.escape(name)
    return rf"\$\({each}\)|\$\{{{each}\}}|\${each}\b"
