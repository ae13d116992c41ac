"""What the configuration knows of formats, so that a mistake is found before a secret is fetched.

The sidecar writes them; a test holds both to the same names and keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

__all__ = ["DIALECTS", "FORMATS", "KEYS", "PRIVATE", "problem_of"]

FORMATS = (
    "raw",
    "json",
    "yaml",
    "toml",
    "dotenv",
    "properties",
    "pgpass",
    "my.cnf",
    "netrc",
    "docker-config",
    "pkcs12",
)
"""Formats of a file. All but ``raw`` put several secrets into one."""

DIALECTS = ("portable", "shell", "docker", "python-dotenv")
"""Readers that an environment file can be written for."""

KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pgpass": (("password",), ("host", "port", "database", "username")),
    "netrc": (("machine", "login", "password"), ("account",)),
    "docker-config": (("registry", "username", "password"), ()),
    "pkcs12": (("key", "certificate", "password"), ("chain", "alias")),
}
"""Keys of the formats that have a fixed set of them: those that are needed, and the others."""

PRIVATE = ("pgpass", "netrc")
"""Formats whose readers ignore a file that its group or others may read (libpq, ftp, Python)."""


def problem_of(format: str, secrets: Collection[str], values: Collection[str]) -> str | None:
    """Return what is wrong with the keys of a file as ``cause; remedy``, or None."""
    if both := [key for key in secrets if key in values]:
        return f"{both[0]!r} is a secret and a value; keep one of them"
    if format not in KEYS:
        return None
    needed, others = KEYS[format]
    known = (*needed, *others)
    given = (*secrets, *values)
    if unknown := [key for key in given if key not in known]:
        return (
            f"{format} has no {unknown[0]!r}; say which secret is what, as in secrets: "
            f"{{{needed[-1]}: NAME}}; the keys are {', '.join(known)}"
        )
    if missing := [key for key in needed if key not in given]:
        return f"{format} needs {missing[0]!r}; add it under secrets (or values, if it is none)"
    return None
