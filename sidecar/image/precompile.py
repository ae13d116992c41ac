"""Compiles, in the image itself, what the sidecar loads: its packages, and the standard library's part.

    python3 precompile.py           with $PYTHONPYCACHEPREFIX set, as somebody who may write there

Nothing can be compiled later on a read-only file system, and images such as distroless come without
the bytecode of the standard library: a start would take a second, and a health check half of one, every
time. Bytecode belongs to one patch level, so the interpreter of the image has to make it. It is never
compared with its source, because not every tool keeps the times of files.
"""

from __future__ import annotations

import compileall
import importlib
import os
import py_compile
import sys

LOADED = [
    *["botocore.session", "botocore.credentials", "hvac", "jinja2", "cryptography.x509"],
    *["pydantic_core", "pydantic_settings", "yaml", "prometheus_client", "http.server"],
    *[
        "secretbridge.config._models",
        "secretbridge_sidecar.healthcheck",
        "secretbridge_sidecar.runner",
    ],
    *["secretbridge.backends.aws", "secretbridge.backends.vault", "secretbridge.backends.local"],
]
"""What leads to everything that is loaded when a sidecar runs. A name that is missing ends the build."""

UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def main() -> None:
    """Compile all packages, and every other module that they have loaded."""
    for name in LOADED:
        importlib.import_module(name)
    packages = os.path.dirname(os.path.dirname(os.path.abspath(sys.modules["hvac"].__file__ or "")))
    # Some packages carry sources for other versions, which do not compile here and are never loaded.
    compileall.compile_dir(packages, quiet=2, invalidation_mode=UNCHECKED)
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None) or ""
        if path.endswith(".py") and not path.startswith(packages):
            py_compile.compile(path, invalidation_mode=UNCHECKED, doraise=True)


if __name__ == "__main__":
    main()
