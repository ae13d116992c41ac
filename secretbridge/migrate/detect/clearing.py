"""Shapes of values that are no secret, whatever the name: switches, numbers, places, addresses."""

from __future__ import annotations

import re

__all__ = ["CLEARING", "MAY_CLEAR"]

_BOOLEAN = (r"true|false|yes|no|on|off|enabled?|disabled?|required|optional|always|never|y|n|t|f",)
_NOTHING = (r"none|null|nil|undefined|n/?a|~|unset|empty|default|auto|automatic|\(none\)|void",)
_NUMBER = (r"[+-]?\d+(?:[.,]\d+)?|0x[0-9a-f]{1,8}",)
_UNIT = (
    r"ns|us|ms|s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?|d|days?|w|weeks?|y|k|"
    r"kb|mb|gb|tb|ki|mi|gi|kib|mib|gib|b|bytes|%"
)
_AMOUNT = (rf"\d+(?:\.\d+)?\s?(?:{_UNIT})(?:\s?\d+(?:{_UNIT}))*",)
_PART = r"[\w.@+ \ue000-]+"
_FILE = (
    r"pem|key|crt|cer|p12|pfx|jks|pub|der|json|ya?ml|txt|toml|ini|conf|cfg|env|gpg|asc|keystore|jwk|"
    r"jwks|csr|kdbx"
)
_TOP = (
    r"run|etc|var|opt|usr|home|srv|mnt|tmp|root|data|app|vault|secrets?|config|certs?|ssl|proc|dev|"
    r"keys?|https?|mnt|cache|pass|models"
)
_PATH = (
    rf"(?:~|\.{{1,2}})?/(?:{_PART}/)*[\w.@+ \ue000*-]+\.[A-Za-z][\w-]{{0,9}}",
    r"(?:~|\.{1,2})/(?:[\w.@+\ue000-]+/?)*",
    r"[A-Z]:\\[^\n]*",
    rf"/(?:{_TOP})(?:/[\w.@+\ue000-]+)*/?",
    rf"(?:[\w.@+\ue000-]+/)*[\w.@+\ue000-]+\.(?:{_FILE})",
    r"classpath:\S+",
)
_MAIL = (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",)
_ADDRESS = (
    r"\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2}|:\d+)?",
    r"\[?[0-9a-f:]*::[0-9a-f:]*\]?(?:/\d+|:\d+)?",
)
_DOMAIN = (
    r"com|org|net|io|local|internal|svc|dev|app|cloud|localhost|lan|test|example|cluster\.local|co|eu|"
    r"de|uk|us|fr|nl|ch|at"
)
_HOST = (
    r"localhost(?::\d+)?",
    rf"(?:[a-z0-9-]+\.)+(?:{_DOMAIN})(?::\d+)?(?:/[\w./-]*)?",
    r"[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)*:\d{2,5}(?:,[a-z][a-z0-9.-]*:\d{2,5})*",
)
_ALGORITHM = (
    r"(?:hs|rs|es|ps)(?:256|384|512)|eddsa",
    r"aes(?:-?\d{3})?(?:-?(?:gcm|cbc|ctr))?(?:-\w+)?",
    r"(?:hmac-?)?sha-?\d+(?:-\w+)?|md5|bcrypt|scrypt|argon2(?:id|i|d)?|pbkdf2\w*",
    r"rsa(?:-?\d+)?|ed25519|ecdsa|ssha|crypt|plain|login|cram-md5|xoauth2|oauth2|bearer|basic|digest",
    r"jwt|saml|ldap|oidc|md5-crypt|sha512-crypt|sha256-crypt|blf-crypt|trust|peer|scram-sha-\d+(?:-plus)?",
)
_VERSION = (r"[\^~]?(?:[<>=]=?\s?)?v?\d+\.\d+(?:\.\d+)*(?:[-+][\w.]+)?",)
_PUBLIC = (r"(?:ssh-(?:rsa|ed25519|dss)|ecdsa-sha2-\S+)\s+AAAA[\s\S]*",)
_LDAP = (
    r"\([&|!]?\(?[\w-]+=[\s\S]*\)",
    r"(?:(?:cn|ou|dc|uid|o)=[^,]+,\s*)+\w+=[^,]+",
)
_DATE = (r"\d{4}-\d\d-\d\d(?:[T ][\d:.]+(?:Z|[+-]\d\d:?\d\d)?)?",)
_PUBLISHABLE = (r"pk_(?:test|live)_\w+|pk-(?:lf-)?[\w-]+",)

CLEARING: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile("|".join(patterns), re.IGNORECASE))
    for name, patterns in (
        ("boolean", _BOOLEAN),
        ("nothing", _NOTHING),
        ("number", _NUMBER),
        ("duration or size", _AMOUNT),
        ("path", _PATH),
        ("e-mail address", _MAIL),
        ("network address", _ADDRESS),
        ("host", _HOST),
        ("algorithm", _ALGORITHM),
        ("version", _VERSION),
        ("public key", _PUBLIC),
        ("LDAP filter or name", _LDAP),
        ("date", _DATE),
        ("publishable key", _PUBLISHABLE),
    )
)
"""What a shape is called, and what matches all of such a value."""

MAY_CLEAR = re.compile("|".join(pattern.pattern for _, pattern in CLEARING), re.IGNORECASE)
"""What none of them matches, this does not match either: one look instead of one for each."""
