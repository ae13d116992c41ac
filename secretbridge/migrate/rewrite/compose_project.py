"""The compose files of a project as Compose puts them together, over ``extends`` and ``include``.

A service takes over what it extends, wherever that stands, but for what has to be declared beside it:
volumes, secrets, other services. An included file is a part of the one that includes it: its services
may use what stands there, and what stands in both is a conflict.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from contextlib import suppress

from ...errors import UnsafeTarget
from ..yaml_tree import Entry, MappingNode, NotEditable, YamlFile
from ._compose_model import ComposeModel, Include, Service, extended, own_child

__all__ = ["ComposeProject"]

_RUN_BY_NAME = re.compile(r"(docker-)?compose.*\.ya?ml")
"""Files that Compose takes by themselves, or that people start by custom."""
_DEEPEST = 50
"""Services that extend one another: people have three, and a file that is made to hurt thousands."""
_MOST_WAYS = 20
"""In which one file is included; more are not told apart."""


class ComposeProject:
    """The models of compose files and of all that they name, by their paths from the root.

    ``broken`` says of the other files why they cannot be understood.
    """

    def __init__(self, paths: Iterable[str], read: Callable[[str], bytes | None]) -> None:
        """``read`` returns a file of the project, None where there is none."""
        self.models: dict[str, ComposeModel] = {}
        self.broken: dict[str, str] = {}
        self._content = read
        self._folders: dict[str, list[str]] = {}
        self._includers: dict[str, dict[str, list[str]]] = {}
        """For an included file: who includes it, and the dotenv files that are filled in then."""
        self._load(paths)
        for path, model in self.models.items():
            model.fill(self.folders(path)[0], self.read)
        for service in self.services():
            self._inherit(service)
        self._holders = self._by_node()
        self._bases = self._only_bases()
        self._templates: set[Service] = set()
        self._extenders: dict[str, set[str]] = {}
        for service in filter(self.runs, self.services()):
            self._templates.update(service.inherits)
            for base in service.inherits:
                if base.path != service.path:
                    self._extenders.setdefault(base.path, set()).add(service.path)

    def services(self) -> list[Service]:
        """Return all services of all files."""
        return [each for model in self.models.values() for each in model.services.values()]

    # Files --------------------------------------------------------------------------------------

    def read(self, path: str) -> bytes | None:
        """Return the content of a file of the project, or None where there is none."""
        if path.startswith(("../", "/")):
            return None
        # A directory, a link out of the project, a name that no file can have.
        with suppress(UnsafeTarget, OSError, ValueError):
            return self._content(path)
        return None

    def _load(self, paths: Iterable[str]) -> None:
        waiting = [(path, posixpath.dirname(path)) for path in sorted(paths, reverse=True)]
        seen: set[tuple[str, str]] = set()
        while waiting:
            path, folder = waiting.pop()
            if (path, folder) in seen or not self._parse(path):
                continue
            seen.add((path, folder))
            for include in self.models[path].includes():
                waiting += self._included(path, folder, include)
            for service in self.models[path].services.values():
                base = extended(service)
                if base is not None and base[0] is not None:
                    other = _joined(folder, base[0])
                    waiting.append((other, posixpath.dirname(other)))

    def _parse(self, path: str) -> bool:
        if path not in self.models and path not in self.broken:
            content = self.read(path)
            if content is None:
                return False
            try:
                self.models[path] = ComposeModel(YamlFile(content), path)
            except NotEditable as error:
                self.broken[path] = str(error)
        return path in self.models

    def _included(self, path: str, folder: str, include: Include) -> list[tuple[str, str]]:
        """Take note of the files that ``include``, of the file ``path``, is about; return them."""
        others = [_joined(folder, each) for each in include.paths]
        if not others:
            return []
        # Of several files, the first one says where they are; the others are laid over it.
        inner = posixpath.dirname(others[0])
        if include.project_directory is not None:
            inner = _joined(folder, include.project_directory)
        dotenv = [_joined(folder, each) for each in include.env_files]
        for other in others:
            self._includers.setdefault(other, {})[path] = dotenv or [_joined(inner, ".env")]
            known = self._folders.setdefault(other, [])
            if inner not in known:
                known.append(inner)
        # That there are two is all that is asked for; a circle may have a new one in every round.
        return [(other, inner) for other in others if inner in self._folders[other][:2]]

    def folders(self, path: str) -> list[str]:
        """Return what relative paths in the file ``path`` are relative to, by who includes it."""
        return self._folders.get(path) or [posixpath.dirname(path)]

    def roots(self, path: str) -> list[str]:
        """Return the outermost files that include the file ``path``: itself, where none does."""
        found: list[str] = []
        seen = {path}
        waiting = [path]
        while waiting:
            each = waiting.pop()
            above = self._includers.get(each, {})
            if not above:
                found.append(each)
            waiting += above.keys() - seen
            seen |= above.keys()
        return sorted(found) or [path]

    def environments(self, path: str) -> list[list[str]]:
        """Return the dotenv files that Compose fills in the file ``path`` from, surest first.

        There is a list for each way in which it comes to be run: who includes it, who extends it.
        """
        own = [] if path in self._bases else self._ways(path)
        others = sorted(self._extenders.get(path, ()))
        found = own + [way for other in others for way in self._ways(other)]
        return [list(way) for way in dict.fromkeys(map(tuple, found))]

    def _ways(self, path: str, inside: tuple[str, ...] = ()) -> list[list[str]]:
        found: list[list[str]] = []
        for includer, dotenv in self._includers.get(path, {}).items():
            if includer not in inside and includer != path:
                for way in self._ways(includer, (*inside, path)):
                    # What the includer has set stays as it is; of several files the last one counts.
                    found.append([*way, *reversed(dotenv)])
                    if len(found) == _MOST_WAYS:
                        return found
        return found or [[_joined(self.folders(path)[0], ".env")]]

    def is_named_to_run(self, path: str) -> bool:
        """Whether the file is called as Compose expects it."""
        return _RUN_BY_NAME.fullmatch(posixpath.basename(path)) is not None

    def has(self, root: str, section: str, name: str) -> bool:
        """Whether the project of the outermost file ``root`` declares ``name`` in ``section``."""
        return any(
            own_child(own_child(model.root, section), name) is not None
            for path, model in self.models.items()
            if root in self.roots(path)
        )

    # Services -----------------------------------------------------------------------------------

    def _inherit(self, service: Service) -> None:
        """Have ``service`` take over from what it extends; a circle ends where it began."""
        chain = [service]
        while len(chain) < _DEEPEST:
            base = self._base_of(chain[-1])
            if base is None or base in chain:
                break
            chain.append(base)
        service.inherits = chain[1:]
        for base in service.inherits:
            service.image = service.image or base.image
            service.dockerfile = service.dockerfile or base.dockerfile
            service.base = service.base or base.base
            service.containers += [c for c in base.containers if c not in service.containers]
            service.env_files += [f for f in base.env_files if f not in service.env_files]

    def _base_of(self, service: Service) -> Service | None:
        found = extended(service)
        if found is None:
            return None
        file, name = found
        path = service.path if file is None else _joined(self.folders(service.path)[0], file)
        model = self.models.get(path)
        return None if model is None else model.services.get(name)

    def _only_bases(self) -> set[str]:
        """Return the files that are there for others to extend from, and are not run by themselves.

        Nothing says so for sure: what is named as Compose expects, is included, or includes others
        (which is of no use to who extends from it), does run.
        """
        extended: dict[str, set[str]] = {path: set() for path in self.models}
        for service in self.services():
            extended[service.path] |= {base.path for base in service.inherits} - {service.path}
        includers = {path for above in self._includers.values() for path in above}
        candidates = {
            path
            for path in set().union(*extended.values()) - self._includers.keys() - includers
            if not self.is_named_to_run(path)
        }
        # Of files that extend only each other, nobody knows: they have to be of use to one that runs.
        found = {base for path in extended.keys() - candidates for base in extended[path]}
        while more := {base for path in found for base in extended[path]} - found:
            found |= more
        return found & candidates

    def runs(self, service: Service) -> bool:
        """Whether ``service`` is run, and not only there for others to extend."""
        return service.path not in self._bases

    def is_extended(self, service: Service) -> bool:
        """Whether another service that runs takes over from ``service``."""
        return service in self._templates

    def stands_for_itself(self, service: Service) -> bool:
        """Whether what ``service`` needs is not the matter of those that extend it."""
        return self.runs(service) or not self.is_extended(service)

    def users(self, entry: Entry) -> list[Service]:
        """Return the services that have ``entry``, directly or by a merge, an alias or extends."""
        return [each for each in self.holders(entry) if self.stands_for_itself(each)]

    def holders(self, entry: Entry) -> list[Service]:
        """Return those, and also those that are only there for others to extend."""
        places = (id(entry.container), id(entry.value))
        found = [service for place in places for service in self._holders.get(place, ())]
        return list(dict.fromkeys(found))

    def _by_node(self) -> dict[int, list[Service]]:
        """Return the services by what they have: an entry is there itself, or what it is in."""
        found: dict[int, list[Service]] = {}
        for service in self.services():
            for node in service.containers:
                inner = [value for _, value in node.value] if isinstance(node, MappingNode) else []
                for each in (node, *inner):
                    found.setdefault(id(each), []).append(service)
        return found


def _joined(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))
