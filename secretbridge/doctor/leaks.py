"""Does a variable hold a secret? By its name, and by the shape of its value."""

from __future__ import annotations

import re

__all__ = ["suspicion"]

_NAME = re.compile(
    r"(^|_)(PASS(WORD|WD|PHRASE)?|PWD|SECRET|TOKEN|API_?KEY|APIKEY|PRIVATE_?KEY|ACCESS_?KEY|"
    r"(SECRET|SIGNING|ENCRYPTION|MASTER|AUTH|SESSION|DEPLOY|STORAGE)_KEY|CREDENTIALS?|DSN)S?($|_)",
    re.IGNORECASE,
)
_NO_SECRET_NAME = re.compile(
    r"(_(FILE|PATH|DIR|URL|URI|ID|NAME|ROLE|HOST|TTL|TYPE|VERSION|LENGTH|ENABLED|EXPIRATION|SOCK|CMD|"
    r"HELPER|PROMPT|POLICY|HEADER|ISSUER|ALGORITHM)S?$)|^(OLDPWD|PWD|SSH_AUTH_SOCK|SSH_ASKPASS)$",
    re.IGNORECASE,
)
_SHAPES = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "holds a private key"),
    (re.compile(r"\b(hv[sbr]|s|b)\.[A-Za-z0-9_-]{20,}"), "holds what looks like a Vault token"),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}"), "holds a GitHub token"),
    (re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"), "holds a GitLab token"),
    (re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"), "holds a Slack token"),
    (re.compile(r"\b[sr]k_live_[A-Za-z0-9]{16,}"), "holds a Stripe key"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"), "holds a JWT"),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/@:]*:[^\s/@]+@"), "holds a URL with a password"),
)
_HARMLESS_VALUE = re.compile(r"|true|false|yes|no|on|off|none|null|\d{1,4}|[./~].*|\*+", re.I)
_REFERENCE = re.compile(r"(vault|aws-sm|aws-ssm|file|local|azure-kv|gcp-sm):\S+")


def suspicion(name: str, value: str) -> str | None:
    """Return why ``value`` of the variable ``name`` is probably a secret, in words, or None."""
    for shape, why in _SHAPES:
        if shape.search(value):
            return why
    if _NO_SECRET_NAME.search(name) or not _NAME.search(name):
        return None
    if _HARMLESS_VALUE.fullmatch(value) or _REFERENCE.fullmatch(value):
        return None
    return "is named like a secret, and has a value"
