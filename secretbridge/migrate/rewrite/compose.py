"""Compose: variables with a secret become files of the sidecar, at the place where they are defined.

An entry that several services share by an anchor, a merge key or ``extends`` is edited where it
stands, and every service that has it gets what it then needs. Where the image takes a file, its
variable names one; where a program of the project reads the variable, the entry goes. Everything else
is reported and stays.
"""

from __future__ import annotations

import posixpath
import re

from ..edits import Edit
from ..finding import READER, Finding
from ..images import Image
from ..moves import Delivery, Moves
from ..yaml_tree import (
    Entry,
    MappingNode,
    NotEditable,
    ScalarNode,
    SequenceNode,
    YamlFile,
    deepest_first,
    entries,
    scalar,
    text_of,
)
from ._compose_model import ComposeModel, Service, own_child, rows_of
from ._compose_parts import ServiceParts
from ._removals import Removals
from ._shell_texts import ShellTexts, is_shell

__all__ = ["rewrite"]

_PWFILE = "POSTGRES_PASSWORD"
_SHIMS = "secretbridge.d/shims"


def rewrite(path: str, content: bytes, findings: list[Finding], moves: Moves) -> list[Edit]:
    """Return the edits of the compose file ``path``; what cannot be edited is blocked."""
    try:
        file = YamlFile(content)
        return _Rewriter(path, file, ComposeModel(file, path, moves.read), moves).edits(findings)
    except NotEditable as error:
        for finding in findings:
            delivery = moves.of(finding) or moves.of_variable(path, finding.name)
            if delivery is not None:
                moves.block(
                    finding, delivery, f"the file is left alone: {error}", "edit it by hand"
                )
        return []


class _Rewriter:
    def __init__(self, path: str, file: YamlFile, model: ComposeModel, moves: Moves) -> None:
        self.path = path
        self.file = file
        self.model = model
        self.moves = moves
        self.parts = ServiceParts(path, file, model, moves)
        self.removals = Removals(file)
        self.shells = ShellTexts(file, _in_shell, "$$(cat {})")
        self._edits: list[Edit] = []

    def edits(self, findings: list[Finding]) -> list[Edit]:
        done: set[tuple[int, str]] = set()
        for finding in sorted(findings, key=lambda each: each.start):
            entry = self.file.entry_at(finding.start)
            delivery = self.moves.of(finding) or self.moves.of_variable(self.path, finding.name)
            if entry is None or delivery is None:
                continue
            try:
                self._rewrite(finding, entry, delivery, done)
            except NotEditable as error:
                self.moves.block(finding, delivery, str(error), "edit this entry by hand")
        self._from_env_files()
        self._from_images()
        self._edits += self.removals.edits()
        self._edits += self.shells.edits()
        self._edits += self.parts.edits()
        return deepest_first(self._edits)

    def _rewrite(
        self, finding: Finding, entry: Entry, delivery: Delivery, done: set[tuple[int, str]]
    ) -> None:
        section = _section(entry)
        users = self.model.users(entry)
        if finding.kind == READER or section in ("command", "entrypoint", "healthcheck"):
            self._read_in_place(finding, entry, delivery, users, section)
            return
        mark = (entry.value.start_mark.index, finding.name)
        if mark in done:
            return
        done.add(mark)
        if section == "args":
            self._build_argument(finding, entry, delivery, users)
        elif section == "secrets":
            return
        else:
            self._variable(finding, entry, delivery, users)

    # Variables ----------------------------------------------------------------------------------

    def _variable(
        self, finding: Finding, entry: Entry, delivery: Delivery, users: list[Service]
    ) -> None:
        lines: dict[str, str] | None = None
        used: list[tuple[Service, Image | None]] = []
        for service in users:
            image, found = self._replacement(finding, service, delivery)
            shells = self._shell_of(service, finding.name) if found is None else []
            for node in shells:
                self.shells.replace(node, finding.name, self.moves.place(delivery))
            if shells and not self._has_library(finding, service):
                self.parts.serve(service, delivery, image, library=False)
                continue
            if found is None and image is None and not self._has_library(finding, service):
                if self.moves.settings.unknown == "file":
                    found = {f"{finding.name}_FILE": self.moves.place(delivery)}
                else:
                    self._unknown(finding, service, delivery)
                    return
            used.append((service, image))
            lines = lines or found
        for service, image in used:
            self.parts.serve(service, delivery, image, library=image is None)
            if image is None:
                self.moves.use_in_code(finding.name, delivery)
            if image is not None and image.way == "shim":
                self._shim(finding, service, image, lines)
        if lines is None:
            self.removals.add(entry)
        else:
            self._replace(entry, lines)

    def _replacement(
        self, finding: Finding, service: Service, delivery: Delivery
    ) -> tuple[Image | None, dict[str, str] | None]:
        """Return the row of the image and the variables that take the place of the one, or None."""
        for image in rows_of(service):
            name = image.file_variable(finding.name)
            if name is None:
                continue
            place = self.moves.place(delivery)
            if image.way == "pwfile" and finding.name == _PWFILE and self._may_drop(finding):
                return image, self._pwfile(service, place)
            if image.way == "grafana":
                return image, {finding.name: f"$$__file{{{place}}}"}
            if image.leaks and image.way != "shim":
                self.moves.note(
                    f"{self.path}: {service.name}: {name} is read from the file, and the image "
                    f"{'exports the value again' if image.leak == 'environ' else 'may export it'}; "
                    "`migrate verify --running` looks into /proc"
                )
            return image, {name: image.value.format(place)}
        return None, None

    def _may_drop(self, finding: Finding) -> bool:
        """Whether nothing else in the container is seen to read the variable."""
        return not self.moves.readers(finding.name, ("shell", "compose"))

    def _pwfile(self, service: Service, place: str) -> dict[str, str]:
        given = ""
        for container in service.containers:
            for name, value in _variables(container):
                if name == "POSTGRES_INITDB_ARGS":
                    given = value
        if given:
            raise NotEditable("POSTGRES_INITDB_ARGS is set as well; add --pwfile to it by hand")
        # The entrypoint wants a password before it starts initdb, where the last --pwfile wins.
        # Any file that is there will do for it, so it gets one without a secret.
        return {
            "POSTGRES_INITDB_ARGS": f"--pwfile={place}",
            "POSTGRES_PASSWORD_FILE": "/etc/hostname",
        }

    def _shim(
        self, finding: Finding, service: Service, image: Image, lines: dict[str, str] | None
    ) -> None:
        """Have the server start through a script that drops what the entrypoint has exported."""
        path = f"{_SHIMS}/{image.program}"
        before = self.moves.needs.files.get(path)
        names = (
            set(re.findall(r"^unset (.*)$", before[0].decode(), re.M)[0].split())
            if before
            else set()
        )
        other = "MARIADB_" if finding.name.startswith("MYSQL_") else "MYSQL_"
        names |= {finding.name, other + finding.name.partition("_")[2]}
        script = (
            "#!/bin/sh\n"
            "# Starts the server of the same name without what the entrypoint exported from files.\n"
            f"unset {' '.join(sorted(names))}\n"
            'PATH="${PATH#*:}"\n'
            'exec "${0##*/}" "$@"\n'
        )
        self.moves.needs.files[path] = script.encode(), 0o755
        self.parts.shim(service, image.program)
        if lines is not None:
            lines.setdefault(
                "PATH",
                "/opt/secretbridge/shims:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )

    def _has_library(self, finding: Finding, service: Service) -> bool:
        """Whether programs of this project read the variable, all of them in ways that are rewritten."""
        if rows_of(service):
            return False
        others = self.moves.readers(finding.name, ("other", "shell"))
        return bool(self.moves.readers(finding.name, ("python", "settings"))) and not others

    def _unknown(self, finding: Finding, service: Service, delivery: Delivery) -> None:
        rows = rows_of(service)
        others = self.moves.readers(finding.name, ("other", "shell"))
        if rows:
            reason = f"the image of {service.name} reads {finding.name} from no file"
            remedy = rows[0].note or "render a configuration file for it"
        elif others:
            where = others[0]
            reason = f"{where.path}:{where.line} reads it, and is not rewritten"
            remedy = f"read the file {self.moves.settings.target}/{delivery.name} there"
        else:
            reason = f"nothing here tells how {service.name} reads {finding.name}"
            remedy = f"if it takes {finding.name}_FILE, plan with --unknown file"
        self.moves.block(finding, delivery, reason, remedy)

    def _replace(self, entry: Entry, lines: dict[str, str]) -> None:
        file = self.file
        items = list(lines.items())
        if entry.key is not None:
            assert isinstance(entry.container, MappingNode)
            quoted = [f"{name}: {self._quoted(entry, value)}" for name, value in items]
            start, end = file.byte(entry.key.start_mark.index), file.span(entry.value)[1]
            if (
                isinstance(entry.value, ScalarNode)
                and entry.value.value == ""
                and not entry.value.style
            ):
                end = file.byte(file.text.index(":", file.end(entry.key)) + 1)
            if file.is_alias(entry.key, entry.value):
                raise NotEditable("the value is an alias")
            if entry.value.start_mark.index > 0 and self._anchored(entry):
                raise NotEditable("the value has an anchor that others use")
            indent = " " * file.column(entry.key)
            joined = (
                ", ".join(quoted)
                if entry.container.flow_style
                else (f"{file.newline}{indent}".join(quoted))
            )
            self._edits.append(Edit(start, end, joined.encode()))
            return
        node = entry.value
        assert isinstance(node, ScalarNode)
        texts = [file.quoted_like(node, f"{name}={value}") for name, value in items]
        start, end = file.span(node)
        flow = isinstance(entry.container, SequenceNode) and entry.container.flow_style
        dash = file.text.rindex("-", 0, node.start_mark.index) if not flow else 0
        indent = " " * (dash - file.line_start(dash))
        joined = ", ".join(texts) if flow else f"{file.newline}{indent}- ".join(texts)
        self._edits.append(Edit(start, end, joined.encode()))

    def _anchored(self, entry: Entry) -> bool:
        between = self.file.text[
            self.file.end(entry.key) if entry.key else 0 : entry.value.start_mark.index
        ]
        return "&" in between

    def _quoted(self, entry: Entry, value: str) -> str:
        node = entry.value
        return (
            self.file.quoted_like(node, value)
            if isinstance(node, ScalarNode) and (node.style in ("'", '"'))
            else scalar(value)
        )

    # Build arguments ----------------------------------------------------------------------------

    def _build_argument(
        self, finding: Finding, entry: Entry, delivery: Delivery, users: list[Service]
    ) -> None:
        """Turn a build argument into a build secret, which no layer of the image keeps."""
        for service in users:
            build = own_child(service.node, "build")
            if not isinstance(build, MappingNode):
                raise NotEditable("the build has no mapping of its own")
            self.parts.build_secret(service, build, finding.name, delivery)
        self.removals.add(entry)

    # Commands and health checks -----------------------------------------------------------------

    def _read_in_place(
        self,
        finding: Finding,
        entry: Entry,
        delivery: Delivery,
        users: list[Service],
        section: str,
    ) -> None:
        node = entry.value
        if not isinstance(node, ScalarNode):
            return
        redis = [u for u in users if any(row.way == "redis-conf" for row in rows_of(u))]
        if redis and section == "command" and self._redis(finding, entry, delivery, redis):
            return
        if not self._is_shell(entry, section):
            self.moves.block(
                finding,
                delivery,
                f"a {section} without a shell has the value as an argument",
                "have the program read a file, or start it by a script that does",
            )
            return
        names = finding.names or (finding.name,)
        found = [name for name in names if self.shells.names(node, name)]
        if not found:
            self.moves.block(
                finding, delivery, "the value stands inside of a command", "read the file there"
            )
            return
        for name in found:
            self.shells.replace(node, name, self.moves.place(delivery))
        for service in users:
            row = next(iter(rows_of(service)), None)
            self.parts.serve(service, delivery, row, library=False)

    def _is_shell(self, entry: Entry, section: str) -> bool:
        if section == "healthcheck":
            if entry.key is not None:  # test: "a string", which is run by a shell
                return True
            first = entry.container.value[0]
            return isinstance(first, ScalarNode) and first.value == "CMD-SHELL"
        if entry.key is None:
            return is_shell(w.value for w in entry.container.value if isinstance(w, ScalarNode))
        text = entry.value.value if isinstance(entry.value, ScalarNode) else ""
        return is_shell(text.split())

    def _shell_of(self, service: Service, name: str) -> list[ScalarNode]:
        """Return the commands of ``service`` that name the variable, if a shell runs them all."""
        found: list[ScalarNode] = []
        for key in ("command", "entrypoint", "healthcheck"):
            top = own_child(service.node, key)
            if top is None:
                continue
            for entry in entries(MappingNode("", [(service.key, top)])):
                node = entry.value
                if isinstance(node, ScalarNode) and self.shells.names(node, name):
                    inner = Entry(entry.container, entry.key, node, (key, *entry.path[1:]))
                    if not self._is_shell(inner, key):
                        return []
                    found.append(node)
        return found

    def _redis(
        self, finding: Finding, entry: Entry, delivery: Delivery, users: list[Service]
    ) -> bool:
        """Move ``--requirepass X`` of a server's command into a configuration file."""
        conf = self._conf(f"{users[0].name}.conf", delivery)
        if entry.key is not None:
            assert isinstance(entry.value, ScalarNode)
            start, end = self.file.span(entry.value)
            raw = self.file.content[start:end].decode()
            found = re.search(r"\s*--requirepass[ =]+(\"[^\"]*\"|'[^']*'|\S+?)(?=[\s\"']|$)", raw)
            server = re.search(r"\b(redis|valkey)-server\b", raw)
            if not found or not server:
                return False
            place = self.moves.place(conf)
            changed = raw[: found.start()] + raw[found.end() :]
            at = server.end()
            changed = f"{changed[:at]} {place}{changed[at:]}"
            self._edits.append(Edit(start, end, changed.encode()))
        else:
            items = [i for i in entry.container.value if isinstance(i, ScalarNode)]
            words = [item.value for item in items]
            if "--requirepass" not in words or not words[0].endswith("-server"):
                return False
            at = words.index("--requirepass")
            if at + 1 >= len(words) or items[at + 1] is not entry.value:
                return False
            place = self.moves.place(conf)
            container = entry.container
            assert isinstance(container, SequenceNode)
            flag_start, flag_end = self.file.span(items[at])
            # The flag becomes the file's path where it is the first argument, else both are replaced.
            if at == 1:
                self._edits.append(
                    Edit(flag_start, flag_end, self.file.quoted_like(items[at], place).encode())
                )
            else:
                return False
            self._edits.append(self.file.remove_entry(Entry(container, None, items[at + 1], ())))
        for service in users:
            self.parts.serve(service, conf, rows_of(service)[0], library=False)
        return True

    def _conf(self, name: str, delivery: Delivery) -> Delivery:
        text = f"requirepass {{{{ {delivery.secrets[0]}|json }}}}\n"
        return Delivery(name, delivery.secrets, text)

    # Variables of images that are built here ----------------------------------------------------

    def _from_images(self) -> None:
        """Give services the files whose variables their own image had in ENV."""
        folder = posixpath.dirname(self.path)
        for service in self.model.services.values():
            build = own_child(service.node, "build")
            if build is None:
                continue
            context = text_of(build) or text_of(own_child(build, "context")) or "."
            name = text_of(own_child(build, "dockerfile")) or "Dockerfile"
            path = posixpath.normpath(posixpath.join(folder, context, name))
            for finding in self.moves.findings:
                if finding.path != path or finding.context.get("instruction") != "ENV":
                    continue
                delivery = self.moves.of(finding)
                if delivery is not None:
                    self.parts.serve(service, delivery, None, library=True)

    # Variables of env_file ----------------------------------------------------------------------

    def _from_env_files(self) -> None:
        """Say what takes the place of variables that services have from a dotenv file."""
        folder = posixpath.dirname(self.path)
        for service in self.model.services.values():
            for name in service.env_files:
                dotenv = posixpath.normpath(posixpath.join(folder, name))
                for finding in self.moves.literals(dotenv):
                    delivery = self.moves.of(finding)
                    if delivery is not None:
                        self._from_env_file(finding, service, delivery, dotenv)

    def _from_env_file(
        self, finding: Finding, service: Service, delivery: Delivery, dotenv: str
    ) -> None:
        try:
            image, lines = self._replacement(finding, service, delivery)
        except NotEditable as error:
            self.moves.block(finding, delivery, str(error), "edit it by hand")
            return
        if lines is not None:
            text = "\n".join(f"{name}={value.replace('$$', '$')}" for name, value in lines.items())
            self.moves.dotenv[dotenv, finding.name] = text
        elif not self._has_library(finding, service) and not rows_of(service):
            # The file is for several services: only who reads the variable matters.
            return
        self.parts.serve(service, delivery, image, library=image is None)


def _in_shell(name: str) -> str:
    """Return how a compose file names a variable of the container, or one that it fills in."""
    each = re.escape(name)
    return rf"\$\$\{{{each}\}}|\$\$?{each}\b|\$\{{{each}(?::?[-?][^}}]*)?\}}"


def _section(entry: Entry) -> str:
    """Return what kind of block ``entry`` is in, by the names above it."""
    for name in reversed(entry.path[:-1] if entry.key is not None else entry.path):
        if name in ("environment", "args", "healthcheck", "command", "entrypoint", "secrets"):
            return name
    return entry.path[-1] if entry.path[-1] in ("command", "entrypoint") else "environment"


def _variables(container: object) -> list[tuple[str, str]]:
    found = []
    if isinstance(container, MappingNode):
        for key, value in container.value:
            if isinstance(key, ScalarNode) and isinstance(value, ScalarNode):
                found.append((key.value, value.value))
    elif isinstance(container, SequenceNode):
        for item in container.value:
            if isinstance(item, ScalarNode):
                name, _, value = item.value.partition("=")
                found.append((name, value))
    return found
