"""What one model cannot see: the stores' own keys, references, names of files.

Each check works on the raw data and passes over what has the wrong shape, which the models report.
So one mistake is told once, and does not hide the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .._schemes import SCHEMES, find_scheme, is_name
from ..backends import backend_class, backend_names
from ..errors import ConfigError, ReferenceSyntaxError
from ..reference import Reference
from ._problems import add_model_problems, describe, did_you_mean
from ._source import Mistake, Place, Source
from ._values import resolve_path

__all__ = ["check_files", "check_secrets", "check_stores"]

_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_CREDENTIALS = {
    "access_key",
    "access_key_id",
    "api_key",
    "apikey",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "bearer",
    "client_secret",
    "credential",
    "credentials",
    "jwt",
    "key",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "root_token",
    "secret",
    "secret_access_key",
    "secret_id",
    "secret_key",
    "session_token",
    "token",
    "unseal_key",
}
_CREDENTIAL_ENDINGS = (
    "_passphrase",
    "_password",
    "_private_key",
    "_secret",
    "_secret_key",
    "_token",
)
_USER_IN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*@")

Stores = dict[str, tuple[str, dict[str, Any]]]


def check_stores(source: Source, mistakes: list[Mistake]) -> tuple[Stores, dict[str, str | None]]:
    """Return the stores as (backend, options), and of every store named its backend if known."""
    stores: Stores = {}
    backends: dict[str, str | None] = {}
    named = source.data.get("stores")
    for name, block in named.items() if isinstance(named, dict) else ():
        path: Place = ("stores", name)
        backends[name] = None
        if not is_name(name):
            mistakes.append(
                source.mistake(
                    path,
                    "no name of a store",
                    "use up to 63 lower-case letters, digits and '-', beginning with a letter",
                )
            )
        if block is None:
            block = {}  # every key of the store is left at its default
        if not isinstance(block, dict):
            mistakes.append(
                source.mistake(
                    path,
                    f"{describe(block)} where a mapping is needed",
                    "write the backend and its keys, as in {backend: vault, address: ...}",
                )
            )
            continue
        backends[name] = backend = _backend(source, mistakes, name, block)
        keys = {key: value for key, value in block.items() if key != "backend"}
        keys = _without_credentials(source, mistakes, path, keys)
        if backend is not None:
            stores[name] = backend, _options(source, mistakes, path, backend, keys)
    return stores, backends


def _backend(
    source: Source, mistakes: list[Mistake], name: str, block: Mapping[str, Any]
) -> str | None:
    """Return the backend of a store, if it can be used."""
    path: Place = ("stores", name, "backend") if "backend" in block else ("stores", name)
    backend = block.get("backend", name)
    if not isinstance(backend, str):
        cause, remedy = (
            f"{describe(backend)} where the name of a backend is needed",
            "write its name",
        )
    else:
        problem = _unusable(backend)
        if problem is not None:
            cause, remedy = problem
            if "backend" not in block and is_name(name):
                cause = "the backend is missing"
        elif name in SCHEMES and backend != name:
            cause = f"the default store of {name} with the backend {backend}"
            remedy = f"give the store another name: references write it as {backend}://NAME/..."
        else:
            return backend
    mistakes.append(source.mistake(path, cause, remedy))
    return None


def _unusable(backend: str) -> tuple[str, str] | None:
    """Return why no store can have this backend. The name may be a value that slipped: not shown."""
    try:
        if find_scheme(backend) is not None:
            backend_class(backend)
            return None
    except ConfigError as error:
        return error.message, error.hint or "install it"
    except Exception as error:  # noqa: BLE001 - importing a plugin runs a stranger's code
        return (
            f"the backend's plugin cannot be loaded ({type(error).__name__})",
            "update or remove it",
        )
    return "no such backend", did_you_mean(backend, backend_names(), "installed backends are")


def _without_credentials(
    source: Source, mistakes: list[Mistake], path: Place, keys: Mapping[str, Any]
) -> dict[str, Any]:
    """Report credentials that stand in the file, and return the keys without them."""
    kept: dict[str, Any] = {}
    for key, value in keys.items():
        here = (*path, key)
        name = key.lower().replace("-", "_")
        if name in _CREDENTIALS:
            file_key = "a key that ends in _file" if "access_key" in name else f"{name}_file"
            mistakes.append(
                source.mistake(
                    here,
                    "secrets never stand in the configuration",
                    f"give {file_key}, or let the platform provide the credential, and replace the "
                    "one that stood here",
                )
            )
        elif isinstance(value, str) and _USER_IN_URL.match(value):
            mistakes.append(
                source.mistake(
                    here,
                    "a user name or password in an address",
                    "give the address alone, and the credential as a *_file key",
                )
            )
        elif isinstance(value, dict):
            kept[key] = _without_credentials(source, mistakes, here, value)
        else:
            kept[key] = value
    return kept


def _options(
    source: Source, mistakes: list[Mistake], path: Place, backend: str, keys: dict[str, Any]
) -> dict[str, Any]:
    model = backend_class(backend).options_model()
    try:
        checked = model.model_validate(keys)
    except ValidationError as error:
        is_ours = model.__module__.startswith("secretbridge.")
        add_model_problems(mistakes, source, model, error, path, keys, is_ours=is_ours)
        return {}
    # Keys left out are the backend's to fill, which also runs without a configuration.
    found: dict[str, Any] = _with_paths(checked.model_dump(exclude_unset=True), source.directory)
    return found


def _with_paths(value: Any, directory: str) -> Any:
    """Resolve every value that a model declares as a path."""
    if isinstance(value, Path):
        return resolve_path(str(value), directory)
    if isinstance(value, dict):
        return {key: _with_paths(item, directory) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with_paths(item, directory) for item in value)
    return value


def check_secrets(
    source: Source, mistakes: list[Mistake], backends: Mapping[str, str | None]
) -> dict[str, Reference]:
    """Return the references of the secrets that are right."""
    found: dict[str, Reference] = {}
    named = source.data.get("secrets")
    for name, entry in named.items() if isinstance(named, dict) else ():
        path: Place = ("secrets", name)
        if not _SECRET_NAME.fullmatch(name):
            mistakes.append(
                source.mistake(
                    path,
                    "no name of a secret",
                    "use up to 128 letters, digits, '_', '-' and '.', beginning with a letter or '_'",
                )
            )
        if isinstance(entry, dict):
            path, entry = (*path, "reference"), entry.get("reference")
        if not isinstance(entry, str):
            continue
        try:
            reference = Reference.parse(entry)
        except ReferenceSyntaxError as error:
            mistakes.append(source.mistake(path, *_syntax(error)))
            continue
        problem = _wrong_store(reference, backends)
        if problem is None:
            found[name] = reference
        else:
            mistakes.append(source.mistake(path, *problem))
    return found


def _syntax(error: ReferenceSyntaxError) -> tuple[str, str]:
    shown = f"{error.reference}: " if error.reference is not None else ""
    return f"{shown}{error.message}", error.hint or "write SCHEME:LOCATOR#KEY"


def _wrong_store(
    reference: Reference, backends: Mapping[str, str | None]
) -> tuple[str, str] | None:
    name, scheme = reference.store, reference.scheme
    if name not in backends:
        if name == scheme:
            return None
        opaque = Reference(
            scheme, scheme, f"{name}/{reference.locator}", reference.options, reference.selector
        )
        same = [store for store, backend in backends.items() if backend == scheme != store]
        remedy = f"write {opaque}, or add {name} under stores"
        return (
            f"{reference}: there is no store {name}",
            did_you_mean(name, same, f"{remedy}; stores of {scheme} are") if same else remedy,
        )
    backend = backends[name]
    if backend not in (None, scheme):
        return (
            f"{reference}: the store {name} has the backend {backend}",
            f"write {backend}://{name}/..., or name a store of {scheme}",
        )
    return None


def check_files(source: Source, mistakes: list[Mistake]) -> None:
    """Check names of files and the names by which the sidecar block refers to secrets and files."""
    sidecar = source.data.get("sidecar")
    secrets = source.data.get("secrets")
    if not isinstance(sidecar, dict):
        return
    known: Mapping[str, Any] = secrets if isinstance(secrets, dict) else {}
    files = sidecar.get("files")
    if files is None:
        files = dict.fromkeys(known)
    if not isinstance(files, dict):
        return
    _check_file_names(source, mistakes, files)
    _check_directories(source, mistakes, sidecar.get("directories"), files)
    for name, entry in files.items():
        path: Place = ("sidecar", "files", name)
        _check_content(source, mistakes, path, name, {} if entry is None else entry, known)
        if isinstance(entry, dict):
            _check_pairs(source, mistakes, (*path, "validate"), entry.get("validate"), files)
    _check_previous(source, mistakes, files)
    hooks = sidecar.get("on_change")
    for index, hook in enumerate(hooks if isinstance(hooks, list) else ()):
        if isinstance(hook, dict):
            place: Place = ("sidecar", "on_change", index, "files")
            _check_names(source, mistakes, place, hook.get("files"), files, "file")


def _check_previous(source: Source, mistakes: list[Mistake], files: Mapping[str, Any]) -> None:
    """Refuse a file at the place of another one's former content."""
    for name, entry in files.items():
        if isinstance(entry, dict) and entry.get("previous") is True:
            taken = f"{name}.previous".casefold()
            for other in files:
                if taken not in (folded := other.casefold(), folded.partition("/")[0]):
                    continue
                mistakes.append(
                    source.mistake(
                        ("sidecar", "files", other),
                        f"the former content of {name!r} has this name",
                        "rename this file, or leave out previous there",
                    )
                )


def _check_content(
    source: Source,
    mistakes: list[Mistake],
    path: Place,
    name: str,
    entry: Any,
    known: Mapping[str, Any],
) -> None:
    if not isinstance(entry, dict):
        return
    for key in ("concat", "secrets"):
        _check_names(source, mistakes, (*path, key), entry.get(key), known, "secret")
    _check_constants(source, mistakes, (*path, "values"), entry.get("values"))
    if entry.get("secret") is not None:
        _check_names(source, mistakes, (*path, "secret"), [entry["secret"]], known, "secret")
    elif name.rpartition("/")[2] not in known and not any(
        entry.get(key) and entry[key] != "raw"
        for key in ("template", "concat", "format", "secrets")
    ):
        mistakes.append(
            source.mistake(
                path,
                "no secret has the name of this file",
                "say what the file holds with secret, template, concat or format; "
                + did_you_mean(name, known, "secrets are"),
            )
        )


def _check_pairs(
    source: Source, mistakes: list[Mistake], path: Place, checks: object, files: Mapping[str, Any]
) -> None:
    for check in checks if isinstance(checks, list) else [checks]:
        if isinstance(check, dict) and "key_matches_certificate" in check:
            other = check["key_matches_certificate"]
            _check_names(source, mistakes, path, [other], files, "file")


def _check_constants(source: Source, mistakes: list[Mistake], path: Place, values: object) -> None:
    """Refuse constants of a file that look like credentials."""
    for key, value in values.items() if isinstance(values, dict) else ():
        name = key.lower().replace("-", "_").replace(".", "_")
        is_credential = name in _CREDENTIALS or name.endswith(_CREDENTIAL_ENDINGS)
        if is_credential or (isinstance(value, str) and _USER_IN_URL.match(value)):
            mistakes.append(
                source.mistake(
                    (*path, key),
                    "secrets never stand in the configuration",
                    "keep it in a store, name it under secrets, and replace the one that stood "
                    "here",
                )
            )


def _check_names(
    source: Source,
    mistakes: list[Mistake],
    path: Place,
    names: object,
    known: Mapping[str, Any],
    what: str,
) -> None:
    steps: Any = enumerate(names) if isinstance(names, list) else ()
    if isinstance(names, dict):
        steps = names.items()
    for step, name in steps:
        if isinstance(name, str) and name not in known:
            remedy = did_you_mean(name, known, f"{what}s are")
            mistakes.append(
                source.mistake(
                    (*path, step) if (*path, step) in source.lines else path,
                    f"no {what} of this name",
                    remedy,
                )
            )


def _check_directories(
    source: Source, mistakes: list[Mistake], directories: object, files: Mapping[str, Any]
) -> None:
    """Report directories in which there is no file, for they would not be made."""
    known = {
        name[:end] for name in files for end in range(len(name)) if name[end] == "/" and end > 0
    }
    for name in directories if isinstance(directories, dict) else ():
        if name not in known:
            cause = "no file lies in this directory"
            remedy = f"name a file {name.strip('/')}/NAME, or leave the directory out"
            mistakes.append(source.mistake(("sidecar", "directories", name), cause, remedy))


def _check_file_names(source: Source, mistakes: list[Mistake], files: Mapping[str, Any]) -> None:
    from ..generation.layout import validate_names

    problems: tuple[str, ...] = ()
    try:
        validate_names(files)
    except ConfigError as error:
        problems = error.problems
    for problem in problems:
        place: Place = ("sidecar", "files")
        for name in files:
            if problem.startswith(start := f"file name {name!a} "):
                place, problem = (*place, name), f"the name {problem.removeprefix(start)}"
                break
        cause, _, remedy = problem.partition("; ")
        mistakes.append(source.mistake(place, cause, remedy))
