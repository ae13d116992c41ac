"""Is a sidecar at work, and has it published everything? Needs no shell and no curl.

The sidecar is asked, on its socket or over HTTP. Where it has neither, the target tells: a running
sidecar holds its lock, and a published generation has a manifest.

A configuration that was broken while the sidecar runs is not judged here. The sidecar goes on with the
former one, and says so; an orchestrator that ended it for that would begin a crash loop.
"""

from __future__ import annotations

from secretbridge.config import admin_address

from .client import ask

__all__ = ["health"]


def health(config_path: str | None) -> tuple[bool, dict[str, str]]:
    """Return whether the sidecar is ready, and what is wrong by name."""
    address = admin_address(config_path)
    if address is None:
        from secretbridge.config import load_config

        from .render import Renderer, sidecar_of

        config = load_config(config_path)
        return _from_target(str(sidecar_of(config).target), Renderer(config).files())
    try:
        _, answer = ask(address, "/readyz")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no sensible answer"
        shown = address if isinstance(address, str) else f"{address[0]} port {address[1]}"
        return False, {"sidecar": f"does not answer at {shown} ({reason})"}
    is_ready, problems = bool(answer.get("ready")), answer.get("problems", {})
    if not isinstance(problems, dict):  # over HTTP nobody is told what is wrong
        told = f"{'is ready' if is_ready else 'is not ready'}, {problems} problems; its log tells"
        problems = {"sidecar": told} if problems else {}
    return is_ready, {str(name): str(text) for name, text in problems.items()}


def _from_target(target: str, files: list[str]) -> tuple[bool, dict[str, str]]:
    import fcntl
    import os

    from secretbridge.errors import SecretBridgeError
    from secretbridge.generation.reader import open_generation

    try:
        root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return False, {"target": f"{target} cannot be opened ({error.strerror})"}
    try:
        fcntl.flock(root, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass  # the lock is held: a sidecar runs
    else:
        return False, {"sidecar": f"none is running on {target}"}
    finally:
        os.close(root)
    try:
        with open_generation(target) as generation:
            missing = sorted(set(files) - set(generation.names()))
    except SecretBridgeError as error:
        return False, {"target": str(error)}
    return not missing, dict.fromkeys(missing, "has no file yet")
