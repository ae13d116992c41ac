"""Files that are believed: who else may read or replace them."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import CREDENTIAL, PROGRAM, STORE, Facts, File
from .findings import ERROR, WARNING, Finding

__all__ = ["files", "single_mounts"]

_GIVES_SECRETS = "/run/secrets/kubernetes.io/"


def files(facts: Facts) -> Iterator[Finding]:
    """Judge modes and owners of the configuration and of what it names."""
    for file in facts.files:
        if file.problem is not None or file.kind is None:
            yield from _missing(file)
            continue
        who = f"mode {file.mode:04o}, owner {file.owner}, group {file.group}"
        if file.mode & 0o002:
            yield Finding(
                *("files.world-writable", ERROR, file.path),
                f"every user may write this {file.role} ({who})",
                f"chmod o-w {file.path}",
            )
        elif file.mode & 0o020 and file.group not in (0, facts.gid):
            yield Finding(
                *("files.group-writable", WARNING, file.path),
                f"a group that is not ours may write this {file.role} ({who})",
                f"chmod g-w {file.path}",
            )
        if file.owner not in (0, facts.uid):
            yield Finding(
                *("files.stranger", ERROR, file.path),
                f"this {file.role} belongs to another user ({who})",
                f"chown it to uid {facts.uid} or to root",
            )
        if file.open_parent is not None:
            yield Finding(
                *("files.replaceable", ERROR, file.path),
                f"every user may replace this {file.role} in {file.open_parent}",
                f"chmod o-w {file.open_parent}",
            )
        if file.role == CREDENTIAL and file.kind == "file" and file.mode & 0o004:
            yield _readable(file, who)


def _missing(file: File) -> Iterator[Finding]:
    if file.role not in (CREDENTIAL, STORE, PROGRAM) and file.problem is None:
        return
    yield Finding(
        *("files.missing", ERROR, file.path),
        file.problem or f"this {file.role} is not there",
        "put it there, or correct its path in the configuration",
    )


def _readable(file: File, who: str) -> Finding:
    remedy = f"chmod o-r {file.path}, and give its group to those who need it"
    if _GIVES_SECRETS in file.path:
        remedy = "set fsGroup in the securityContext of the pod: the token then has mode 0640"
    return Finding(
        *("files.credential-readable", ERROR, file.path),
        f"every user may read this credential ({who})",
        remedy,
    )


def single_mounts(facts: Facts) -> Iterator[Finding]:
    """Find files that something is mounted on: a new version of them is never seen."""
    named = [file.path for file in facts.files if file.is_mount and file.kind == "file"]
    for path in dict.fromkeys((*named, *facts.single_mounts)):
        yield Finding(
            *("mounts.single-file", WARNING, path),
            "it is mounted as a single file, so that a new version, which is another file of the same "
            "name, is never seen here",
            "mount the directory that it lies in (Compose mounts every secret this way: recreate the "
            "container after a rotation, or mount the directory)",
        )
