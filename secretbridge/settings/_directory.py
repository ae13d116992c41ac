"""A directory in which each file is named as a field: pydantic-settings' ``secrets_dir``, done anew.

Every directory is listed once and every file read once, where pydantic-settings lists the directory
again for each field. All files of a Kubernetes volume come from one generation of it. A file that is
there and cannot be read is an error and not a missing value.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from .._announce import announce
from ..backends import Deadline
from ..backends.file import FileBackend
from ..document import Document
from ..errors import AccessDenied, SecretBridgeError
from ..reference import Reference
from ..secret import Secret
from ._convert import model_in
from ._field import source_of
from ._paths import Path, input_key, put, raise_first
from ._reading import current_reading

__all__ = ["SecretDirectorySource"]

Outcome = Secret | SecretBridgeError

_SECONDS = 30.0


class SecretDirectorySource(PydanticBaseSettingsSource):
    """Fills fields from files of their names. ``secrets_dir`` in ``model_config`` brings it.

    Without ``case_sensitive`` the case of names does not matter. A file of a nested model's field is
    ``model/field``, or ``model__field`` where ``env_nested_delimiter`` is ``__``. Of several directories
    the last that has a file wins. The one newline that ends a file is left out of its text.
    """

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        secrets_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        case_sensitive: bool = False,
        env_prefix: str = "",
        env_nested_delimiter: str | None = None,
    ) -> None:
        """Arguments are those of pydantic-settings' configuration of the same names."""
        super().__init__(settings_cls)
        if isinstance(secrets_dir, (str, os.PathLike)):
            secrets_dir = [secrets_dir]
        self.directories: list[str] = [
            os.path.abspath(os.path.expanduser(path)) for path in secrets_dir
        ]
        self._case_sensitive = case_sensitive
        self._prefix = env_prefix
        self._delimiter = env_nested_delimiter

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the secret in the file of one field. Raises :class:`SecretBridgeError`."""
        key = input_key(field_name, field)
        return self().get(key), key, False

    def __call__(self) -> dict[str, Any]:
        """Return the secrets by field. Raises :class:`SecretBridgeError`."""
        values: dict[str, Any] = {}
        for directory in self.directories:
            if not os.path.isdir(directory):
                warnings.warn(f"secrets_dir: there is no directory {directory}", stacklevel=6)
                continue
            files = dict(self._files(self.settings_cls, (), _Folder(directory), self._prefix))
            found = _read(directory, files.values())
            current_reading().directories[directory] = tuple(str(ref) for ref, _ in found)
            failures: list[tuple[Path, SecretBridgeError]] = []
            for path, (_, outcome) in zip(files, found, strict=True):
                if isinstance(outcome, Secret):
                    put(values, path, outcome)
                else:
                    failures.append((path, outcome))
            raise_first(self.settings_cls.__name__, failures)
        return values

    def _files(
        self, model: type[BaseModel], path: Path, folder: _Folder, prefix: str
    ) -> Iterator[tuple[Path, str]]:
        """Yield the files for the fields of ``model``: keys that lead there, name beneath the root."""
        for name, field in model.model_fields.items():
            if source_of(field) is not None:
                continue
            inner = model_in(field.annotation)
            here = (*path, input_key(name, field))
            for candidate in self._names(name, field, prefix):
                found = folder.find(candidate, self._case_sensitive)
                if found is not None and (inner is None or os.path.isfile(folder.path(found))):
                    yield here, folder.below + found
                    break
                if found is not None and inner is not None:
                    within = _Folder(folder.root, f"{folder.below}{found}/")
                    yield from self._files(inner, here, within, "")
                elif inner is not None and self._delimiter:
                    yield from self._files(inner, here, folder, candidate + self._delimiter)

    def _names(self, name: str, field: FieldInfo, prefix: str) -> list[str]:
        """Return the names that a file for ``field`` may have. An alias takes no prefix."""
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        names = [choice for choice in choices if isinstance(choice, str)]
        return names or [f"{prefix}{name}"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.directories!r})"


class _Folder:
    """One directory, listed once. ``below`` is its path beneath ``root``: empty, or ends in a slash."""

    def __init__(self, root: str, below: str = "") -> None:
        self.root = root
        self.below = below
        try:
            names = os.listdir(self.path(""))
        except PermissionError:
            raise AccessDenied(
                f"uid {os.geteuid()} may not list {self.path('')}",
                hint="mount it with the process's group, or give its names with from_secret",
            ) from None
        self._names = {name: name for name in names if not name.startswith(".")}
        self._folded = {name.lower(): name for name in self._names}

    def path(self, name: str) -> str:
        return f"{self.root}/{self.below}{name}"

    def find(self, name: str, case_sensitive: bool) -> str | None:
        """Return how the file that ``name`` means is called here, or None without one."""
        return self._names.get(name) if case_sensitive else self._folded.get(name.lower())


def _read(directory: str, files: Iterable[str]) -> list[tuple[Reference, Outcome]]:
    """Return the references of ``files``, names beneath ``directory``, and what they hold."""
    references = [Reference("file", "file", name) for name in files]
    requests = [reference.document for reference in references]
    answers = FileBackend("file", [directory]).fetch(requests, Deadline(_SECONDS))
    return [
        (reference, _secret(reference, answer))
        for reference, answer in zip(references, answers, strict=True)
    ]


def _secret(reference: Reference, answer: Document | SecretBridgeError) -> Outcome:
    if isinstance(answer, SecretBridgeError):
        return answer
    secret = Secret(
        answer.held,
        name=reference.locator,
        reference=reference,
        version=answer.version,
        is_line=answer.is_line,
    )
    announce(secret)
    return secret
