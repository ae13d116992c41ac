"""What the services of a project turn out to need, and in which file each of it has to stand.

What a service itself needs stands where the service does; what all services of a project share, the
sidecar and its volume, stands once, in the outermost file that includes the others.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from ..edits import Edit
from ..finding import Finding
from ..images import Image
from ..moves import Delivery, Moves
from ..yaml_tree import NotEditable
from ._compose_model import Service
from ._compose_parts import FileParts, Wanted
from .compose_project import ComposeProject

__all__ = ["ComposeNeeds"]


@dataclass(slots=True)
class _OfFile:
    """What has to stand in one file, and the findings that it is for."""

    own: list[Wanted] = field(default_factory=list)
    hosted: list[Wanted] = field(default_factory=list)
    causes: list[Finding] = field(default_factory=list)


class ComposeNeeds:
    """Collects what each service needs, and makes the edits of each file that add it."""

    def __init__(self, project: ComposeProject, moves: Moves) -> None:
        self.project = project
        self.moves = moves
        self._wanted: dict[Service, Wanted] = {}
        self._files: dict[str, _OfFile] = defaultdict(_OfFile)

    def serve(
        self,
        service: Service,
        delivery: Delivery,
        image: Image | None,
        finding: Finding,
        *,
        library: bool,
    ) -> None:
        """Give ``service`` the file of ``delivery``; with ``library`` also the names of secrets."""
        self.moves.use(delivery, library=library)
        needs = self.moves.needs
        if image is not None and image.users:
            needs.readers.setdefault(delivery.name, set()).update(image.users)
        if image is not None and image.mode:
            needs.modes[delivery.name] = image.mode
        if not self.project.runs(service):
            self.moves.note(
                f"{service.path}: no service here extends {service.name}; one that does needs the "
                f"sidecar's files at {self.moves.settings.target}"
            )
            return
        wanted = self._of(service, finding)
        wanted.deliveries[delivery.name] = delivery
        wanted.is_app |= library

    def shim(self, service: Service, program: str, finding: Finding) -> None:
        """Mount the script that stands before ``program``."""
        if self.project.runs(service):
            self._of(service, finding).shims.add(program)

    def build_secret(
        self, service: Service, delivery: Delivery, finding: Finding, *, is_own: bool
    ) -> None:
        """Give the build of ``service`` the secret for the argument that was found.

        ``is_own``: the argument stands in its own ``build``, and not in that of what it extends.
        """
        self.moves.note(f"{service.path}: secrets of a build need Docker Compose 2.5 or later")
        wanted = self._of(service, finding)
        wanted.build[finding.name.lower()] = delivery.name
        if is_own:
            wanted.own_build.add(finding.name.lower())
        self.moves.use(delivery)

    def edits(self, path: str) -> list[Edit]:
        """Return the edits of the file ``path`` for everything that was asked for."""
        if path not in self._files:
            return []
        of_file = self._files[path]
        apps = {service for service, wanted in self._wanted.items() if wanted.is_app}
        parts = FileParts(self.project, path, self.moves, apps)
        return [*parts.services(of_file.own), *parts.top(of_file.hosted)]

    def block(self, path: str, findings: list[Finding], error: NotEditable) -> None:
        """Leave ``findings`` alone, and all else that the file ``path`` would have to be edited for."""
        causes = self._files[path].causes if path in self._files else []
        for finding in [*findings, *causes]:
            delivery = self.moves.of(finding) or self.moves.of_variable(finding.path, finding.name)
            if delivery is not None:
                named = "the file" if finding.path == path else path
                self.moves.block(
                    finding, delivery, f"{named} is left alone: {error}", "edit it by hand"
                )

    def _of(self, service: Service, finding: Finding) -> Wanted:
        roots = self.project.roots(service.path) if self.project.runs(service) else []
        for path in {service.path, *roots}:
            self._files[path].causes.append(finding)
        if service not in self._wanted:
            wanted = self._wanted[service] = Wanted(service)
            self._files[service.path].own.append(wanted)
            for root in roots:
                self._files[root].hosted.append(wanted)
                if root != service.path and self.project.is_named_to_run(service.path):
                    self.moves.note(
                        f"{service.path} no longer runs by itself: {root}, which includes it, has "
                        "what both need"
                    )
        return self._wanted[service]
