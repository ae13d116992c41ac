"""HTTP: clients that send whatever token is current, and repeat a request whose token was refused.

    from secretbridge.adapters.http import httpx_client, requests_session

    api = httpx_client("api_token", base_url="https://api.example.com")
    api = requests_session("api_token")

Or, for a client that exists already, ``auth=HttpxAuth("api_token")`` and ``auth=RequestsAuth(...)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._httpx import HttpxAuth, httpx_async_client, httpx_client
    from ._requests import RequestsAuth, requests_session

__all__ = [
    "HttpxAuth",
    "RequestsAuth",
    "httpx_async_client",
    "httpx_client",
    "requests_session",
]


def __getattr__(name: str) -> object:
    # Whoever uses one of the two libraries need not have the other.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    library = "_httpx" if name.lower().startswith("httpx") else "_requests"
    return getattr(import_module(f".{library}", __package__), name)
