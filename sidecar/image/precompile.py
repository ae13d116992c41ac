"""Compiles, in the image itself, what the sidecar loads, the standard library's part included.

    python3 precompile.py           with $PYTHONPYCACHEPREFIX set, as somebody who may write there

Nothing can be compiled later on a read-only file system, and images such as distroless come without
the bytecode of the standard library: a start would take a second, and a health check half of one, every
time. Bytecode belongs to one patch level, so the interpreter of the image has to make it. It is never
compared with its source, because not every tool keeps the times of files.
"""

from __future__ import annotations

import compileall
import importlib
import py_compile
import sys

LOADED = [
    *["botocore.session", "botocore.credentials", "botocore.client", "botocore.handlers"],
    *["hvac", "jinja2", "cryptography.x509", "pydantic_core", "pydantic_settings", "yaml"],
    *["prometheus_client", "http.server", "opentelemetry.sdk.trace.export"],
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    *["secretbridge.config._models", "secretbridge_sidecar.healthcheck"],
    *["secretbridge_sidecar.runner", "secretbridge.backends.aws", "secretbridge.backends.vault"],
    "secretbridge.backends.local",
]
"""What leads to everything that is loaded when a sidecar runs. A name that is missing ends the build."""

UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def main() -> None:
    """Compile our own packages, and every module of others that they have loaded."""
    for name in LOADED:
        importlib.import_module(name)
    for name in ("secretbridge", "secretbridge_sidecar"):
        (folder,) = sys.modules[name].__path__
        compileall.compile_dir(folder, quiet=1, invalidation_mode=UNCHECKED)
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None) or ""
        if path.endswith(".py"):
            py_compile.compile(path, invalidation_mode=UNCHECKED, doraise=True)


if __name__ == "__main__":
    main()
