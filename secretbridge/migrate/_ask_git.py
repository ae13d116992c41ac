"""Asking git, in a tree that may be anybody's.

Nothing of the repository's own configuration may make git run anything, and nothing of our environment
leads it elsewhere.
"""

from __future__ import annotations

import os
import subprocess

from ..errors import ConfigError

__all__ = ["ask_git"]

_SAFE = (
    *(
        "--no-pager",
        "--literal-pathspecs",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
    ),
    *("-c", "log.showSignature=false", "-c", "diff.external=", "-c", "core.quotePath=false"),
)


def ask_git(root: str, *arguments: str, seconds: float, given: bytes | None = None) -> bytes:
    """Return what git prints in the directory ``root``, with ``given`` on its standard input.

    Raises :class:`ConfigError` where there is no git, no repository, or no answer within ``seconds``.
    """
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C",
    }
    try:
        done = subprocess.run(
            ["git", *_SAFE, "-C", root, *arguments],  # noqa: S607 - the user's own git
            input=b"" if given is None else given,
            capture_output=True,
            timeout=seconds,
            env=environ,
            check=False,
        )
    except FileNotFoundError:
        raise ConfigError("git is not installed", hint="install git, or leave out --git") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{root}: git did not answer in {seconds:.0f} s") from None
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().split("\n")[0][:200]
        raise ConfigError(f"{root}: git cannot read it: {told}", hint="is it a git repository?")
    return done.stdout
