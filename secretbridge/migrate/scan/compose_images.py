"""The image of a compose service: its own, or that of a service which it extends, in any file."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from .interpolation import expand
from .text import Text, Undecodable
from .yaml_nodes import Broken, Mapping, documents, parse, without_templates

__all__ = ["Images"]

_DEEPEST = 20
"""Services that extend one another; more than that go round in a circle."""


class Images:
    """Finds images, from the ``services`` of the file ``path``.

    ``beside`` returns another file of the tree, or None.
    """

    def __init__(self, path: str, services: Mapping, beside: Callable[[str], bytes | None]) -> None:
        self._path = path
        self._beside = beside
        self._services: dict[str, Mapping | None] = {path: services}

    def of(self, service: Mapping) -> str:
        """Return the image of ``service``, with defaults in place, or nothing."""
        path = self._path
        for _ in range(_DEEPEST):
            if image := service.text("image"):
                return expand(image).value
            extends = service.get("extends")
            name = service.text("extends")
            if isinstance(extends, Mapping):
                name = extends.text("service")
                if file := extends.text("file"):
                    path = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
            found = self._services_of(path)
            base = found.get(name) if found is not None else None
            if not isinstance(base, Mapping):
                return ""
            service = base
        return ""

    def _services_of(self, path: str) -> Mapping | None:
        if path not in self._services:
            self._services[path] = self._read(path)
        return self._services[path]

    def _read(self, path: str) -> Mapping | None:
        data = None if path.startswith(("../", "/")) else self._beside(path)
        if data is None:
            return None
        try:
            for document in documents(Text(data).text):
                root = parse(without_templates(document))
                services = root.get("services") if isinstance(root, Mapping) else None
                if isinstance(services, Mapping):
                    return services
        except (Undecodable, Broken):
            pass  # the scan of that file itself says so
        return None
