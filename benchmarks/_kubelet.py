"""The path-based writer that most of the field has, in Python: what ours is measured against.

Written anew after the published description of the kubelet's algorithm, with its steps in its order,
and with its ten weaknesses. It deletes the old generation when asked, so that this is not measured.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime


class PathWriter:
    def __init__(self, target: str) -> None:
        self.target = target

    def write(self, payload: Mapping[str, tuple[bytes, int]]) -> str | None:
        """Publish ``payload`` (name -> content and mode); return the generation it replaced."""
        for name in payload:
            self._validate(name)
        link = os.path.join(self.target, "..data")
        try:
            old = os.path.join(self.target, os.readlink(link))
        except FileNotFoundError:
            old = None
        gone = self._gone(old, payload) if old else set()
        if old and not gone and not self._is_different(old, payload):
            self._show(payload)
            return None
        stamp = datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S.")
        new = tempfile.mkdtemp(prefix=stamp, dir=self.target)
        os.chmod(new, 0o755)
        for name, (content, mode) in payload.items():
            path = os.path.join(new, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, mode)
        temporary = os.path.join(self.target, "..data_tmp")
        os.symlink(os.path.basename(new), temporary)
        os.rename(temporary, link)
        self._show(payload)
        for name in gone:
            if "/" not in name:
                os.unlink(os.path.join(self.target, name))
        return old

    @staticmethod
    def discard(old: str | None) -> None:
        if old:
            shutil.rmtree(old)

    @staticmethod
    def _validate(name: str) -> None:
        if not name or os.path.isabs(name) or len(name) > 4096:
            raise ValueError(name)
        parts = name.split("/")
        if ".." in parts or parts[0].startswith("..") or any(len(part) > 255 for part in parts):
            raise ValueError(name)

    @staticmethod
    def _gone(old: str, payload: Mapping[str, object]) -> set[str]:
        found = set()
        for folder, _, names in os.walk(old):
            found.update(os.path.relpath(os.path.join(folder, name), old) for name in names)
        return found - set(payload)

    @staticmethod
    def _is_different(old: str, payload: Mapping[str, tuple[bytes, int]]) -> bool:
        for name, (content, _) in payload.items():
            try:
                with open(os.path.join(old, name), "rb") as file:
                    if file.read() != content:
                        return True
            except FileNotFoundError:
                return True
        return False

    def _show(self, payload: Mapping[str, object]) -> None:
        for name in dict.fromkeys(name.split("/")[0] for name in payload):
            visible = os.path.join(self.target, name)
            try:
                os.readlink(visible)
            except FileNotFoundError:
                os.symlink(os.path.join("..data", name), visible)
            except OSError:
                pass  # no link stands there: the usual writer leaves it alone and reports success
