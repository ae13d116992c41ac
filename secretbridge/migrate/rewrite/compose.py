"""Compose: variables with a secret become files of the sidecar, at the place where they are defined.

An entry that several services share by an anchor, a merge key or ``extends`` is edited where it
stands, and every service that has it gets what it then needs. Where the image takes a file, its
variable names one; where a program of the project reads the variable, the entry goes. Everything else
is reported and stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

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
    deepest_first,
    entries,
    scalar,
)
from ._compose_model import ComposeModel, Service, layers, own_child, rows_of
from ._compose_needs import ComposeNeeds
from ._redis_command import without_password
from ._removals import Removals
from ._shell_texts import ShellTexts, is_shell
from ._unread import Unread
from .compose_project import ComposeProject

__all__ = ["rewrite"]

_PWFILE = "POSTGRES_PASSWORD"
_SHIMS = "secretbridge.d/shims"
_PATH = "/opt/secretbridge/shims:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def rewrite(
    project: ComposeProject, findings: Mapping[str, list[Finding]], moves: Moves
) -> dict[str, list[Edit]]:
    """Return the edits of all compose files; what cannot be edited is blocked.

    They are rewritten together: what stands in one file may be for services of another.
    """
    needs = ComposeNeeds(project, moves)
    for path, reason in project.broken.items():
        needs.block(path, findings.get(path, []), NotEditable(reason))
    shells = {
        path: ShellTexts(model.file, _in_shell, "$$(cat {})")
        for path, model in project.models.items()
    }
    unread = Unread()
    rewriters = [
        _Rewriter(model, project, needs, shells, unread, moves)
        for _, model in sorted(project.models.items())
    ]
    for each in rewriters:
        each.look(findings.get(each.path, []))
    unread.settle(moves, needs)
    edits: dict[str, list[Edit]] = {}
    for each in rewriters:
        try:
            edits[each.path] = deepest_first([*each.edits(), *needs.edits(each.path)])
        except NotEditable as error:
            needs.block(each.path, findings.get(each.path, []), error)
    return edits


class _Rewriter:
    def __init__(
        self,
        model: ComposeModel,
        project: ComposeProject,
        needs: ComposeNeeds,
        shells: Mapping[str, ShellTexts],
        unread: Unread,
        moves: Moves,
    ) -> None:
        self.path = model.path
        self.file = model.file
        self.model = model
        self.project = project
        self.needs = needs
        self.moves = moves
        self.removals = Removals(model.file)
        self.shells = shells
        self.unread = unread
        self._edits: list[Edit] = []
        self._paths: set[object] = set()
        """Where a PATH stands already: blocks of variables, and dotenv files."""

    def look(self, findings: list[Finding]) -> None:
        """Decide what becomes of each finding, and who needs what for it."""
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

    def edits(self) -> list[Edit]:
        """Return the edits of what was found, when all files have been looked at."""
        return [*self._edits, *self.removals.edits(), *self.shells[self.path].edits()]

    def _rewrite(
        self, finding: Finding, entry: Entry, delivery: Delivery, done: set[tuple[int, str]]
    ) -> None:
        section = _section(entry)
        users = self.project.users(entry)
        if finding.kind == READER or section in ("command", "entrypoint", "healthcheck"):
            self._read_in_place(finding, entry, delivery, users, section)
            return
        mark = (entry.value.start_mark.index, finding.name)
        if mark in done:
            return
        done.add(mark)
        if section == "args":
            self._build_argument(finding, entry, delivery)
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
            for path, node in shells:
                self.shells[path].replace(node, finding.name, self.moves.place(delivery))
            if shells and not self._has_library(finding, service):
                self.needs.serve(service, delivery, image, finding, library=False)
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
            self.needs.serve(service, delivery, image, finding, library=image is None)
            if image is None:
                self.moves.use_in_code(finding.name, delivery)
            if image is not None and image.way == "shim":
                self._shim(finding, service, image)
                self._lead_to_shims(lines, id(entry.container), _variables(entry.container))
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

    def _shim(self, finding: Finding, service: Service, image: Image) -> None:
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
        self.needs.shim(service, image.program, finding)

    def _lead_to_shims(
        self, lines: dict[str, str] | None, place: object, given: Iterable[tuple[str, str]]
    ) -> None:
        """Add a PATH to ``lines`` that finds the scripts first, once for each ``place``."""
        if any(name == "PATH" for name, _ in given):
            raise NotEditable("PATH is set as well; put /opt/secretbridge/shims before it by hand")
        if lines is not None and place not in self._paths:
            self._paths.add(place)
            lines["PATH"] = _PATH

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

    def _build_argument(self, finding: Finding, entry: Entry, delivery: Delivery) -> None:
        """Turn a build argument into a build secret, which no layer of the image keeps."""
        for service in self.project.holders(entry):
            args = own_child(own_child(service.node, "build"), "args")
            is_own = any(layer is entry.container for layer in layers(args))
            self.needs.build_secret(service, delivery, finding, is_own=is_own)
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
        shells = self.shells[self.path]
        found = [name for name in names if shells.names(node, name)]
        if not found:
            self.moves.block(
                finding, delivery, "the value stands inside of a command", "read the file there"
            )
            return
        for name in found:
            shells.replace(node, name, self.moves.place(delivery))
        for service in users:
            row = next(iter(rows_of(service)), None)
            self.needs.serve(service, delivery, row, finding, library=False)

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

    def _shell_of(self, service: Service, name: str) -> list[tuple[str, ScalarNode]]:
        """Return the commands of ``service`` that name the variable, if a shell runs them all.

        Each with the file that it stands in: a service has those of what it extends.
        """
        found: list[tuple[str, ScalarNode]] = []
        for key in ("command", "entrypoint", "healthcheck"):
            for layer in (service, *service.inherits):
                top = own_child(layer.node, key)
                if top is not None:
                    break
            else:
                continue
            for entry in entries(MappingNode("", [(layer.key, top)])):
                node = entry.value
                if isinstance(node, ScalarNode) and self.shells[layer.path].names(node, name):
                    inner = Entry(entry.container, entry.key, node, (key, *entry.path[1:]))
                    if not self._is_shell(inner, key):
                        return []
                    found.append((layer.path, node))
        return found

    def _redis(
        self, finding: Finding, entry: Entry, delivery: Delivery, users: list[Service]
    ) -> bool:
        """Move ``--requirepass X`` of a server's command into a configuration file."""
        text = f"requirepass {{{{ {delivery.secrets[0]}|json }}}}\n"
        conf = Delivery(f"{users[0].name}.conf", delivery.secrets, text)
        if self.moves.needs.delivered.get(conf.name, conf) != conf:  # a service of another file
            conf = Delivery(f"{users[0].name}-{delivery.name}.conf", delivery.secrets, text)
        edits = without_password(self.file, entry, f"{self.moves.settings.target}/{conf.name}")
        self._edits += edits
        for service in users if edits else ():
            self.needs.serve(service, conf, rows_of(service)[0], finding, library=False)
        return bool(edits)

    # Variables of images that are built here ----------------------------------------------------

    def _from_images(self) -> None:
        """Give services the files whose variables their own image had in ENV."""
        for service in filter(self.project.stands_for_itself, self.model.services.values()):
            for finding in self.moves.findings if service.dockerfile else ():
                instruction = finding.context.get("instruction")
                if finding.path != service.dockerfile or instruction != "ENV":
                    continue
                delivery = self.moves.of(finding)
                if delivery is not None:
                    self.needs.serve(service, delivery, None, finding, library=True)

    # Variables of env_file ----------------------------------------------------------------------

    def _from_env_files(self) -> None:
        """Say what takes the place of variables that services have from a dotenv file."""
        for service in filter(self.project.stands_for_itself, self.model.services.values()):
            for dotenv in service.env_files:
                for finding in self.moves.literals(dotenv):
                    delivery = self.moves.of(finding)
                    if delivery is not None:
                        self._from_env_file(finding, service, delivery, dotenv)

    def _from_env_file(
        self, finding: Finding, service: Service, delivery: Delivery, dotenv: str
    ) -> None:
        try:
            image, lines = self._replacement(finding, service, delivery)
            readers = [each for each in self.project.services() if dotenv in each.env_files]
            # A PATH in the file would be that of every service that has it.
            if image is not None and image.way == "shim" and len(readers) == 1:
                self._shim(finding, service, image)
                self._lead_to_shims(lines, dotenv, ())
        except NotEditable as error:
            self.moves.block(finding, delivery, str(error), "edit it by hand")
            return
        if lines is not None:
            text = "\n".join(f"{name}={value.replace('$$', '$')}" for name, value in lines.items())
            self.moves.dotenv[dotenv, finding.name] = text
        elif not self._has_library(finding, service):
            # The file is for several services: only who reads the variable matters.
            if not self.moves.readers(finding.name):
                self.unread.add(dotenv, finding, delivery, service)
            return
        self.unread.is_read(dotenv, finding)
        self.needs.serve(service, delivery, image, finding, library=image is None)


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
