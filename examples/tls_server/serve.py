"""uvicorn with a certificate that is replaced while it serves: ``python serve.py PORT``."""

from __future__ import annotations

import sys

import uvicorn

from secretbridge.adapters.tls import uvicorn_ssl_context_factory

if __name__ == "__main__":
    uvicorn.run(
        "app:app",
        port=int(sys.argv[1]),
        ssl_context_factory=uvicorn_ssl_context_factory("tls_cert", "tls_key"),
    )
