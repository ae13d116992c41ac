"""Stores: whether their servers prove who they are, and whether they give what is configured."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Facts
from .findings import ERROR, NOTE, WARNING, Finding

__all__ = ["certificates", "reached"]

EXPIRES_SOON = 14.0
"""Days. A certificate that is renewed at two thirds of 45 days never comes so near to its end."""


def certificates(facts: Facts) -> Iterator[Finding]:
    """Judge the way to each server: TLS at all, its version, and the certificate."""
    for server in facts.servers:
        if not server.is_tls:
            yield Finding(
                *("tls.plaintext", NOTE if server.is_loopback else ERROR, server.store),
                f"{server.url} is asked without TLS"
                + (", on this machine" if server.is_loopback else ""),
                "give an https:// address",
            )
        if server.problem is not None:
            yield Finding(
                *("tls.failed", ERROR, server.store),
                f"{server.url}: {server.problem}",
                "look at the address, the authorities in ca_file, and the server",
            )
        if server.oldest is not None:
            yield Finding(
                *("tls.floor", WARNING, server.store),
                f"{server.url} still agrees to {server.oldest}; we do not, others may",
                "set the server's lowest version to TLS 1.2 (tls_min_version in Vault)",
            )
        left = server.expires_in
        if server.is_tls and left is not None and left < EXPIRES_SOON:
            yield Finding(
                *("tls.expiry", ERROR if left <= 0 else WARNING, server.store),
                f"the certificate of {server.url} "
                + ("has ended" if left <= 0 else f"ends in {left:.0f} days"),
                "renew it",
            )


def reached(facts: Facts) -> Iterator[Finding]:
    """Tell which stores and secrets cannot be had."""
    for failure in facts.failures:
        yield Finding(
            *(f"stores.{failure.kind}", ERROR, failure.subject),
            failure.message,
            failure.hint or "look at the store",
        )
