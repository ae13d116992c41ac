"""What a value looks like. Its shape can say that it is a secret, or that it is none."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from typing import NamedTuple
from urllib.parse import unquote

from . import providers
from .clearing import CLEARING, MAY_CLEAR
from .lists import among
from .masks import MASK
from .names import by_name, words

__all__ = ["Inner", "Shape", "entropy", "look", "looks_random"]

SURE, OPEN, CLEAR = "sure", "open", "clear"


class Inner(NamedTuple):
    """A secret inside a value: what it is, where it stands, and whether percent-encoded."""

    what: str
    start: int
    end: int
    is_encoded: bool = False


class Shape(NamedTuple):
    """What a value looks like: ``says`` is ``sure``, ``open`` (the name decides) or ``clear``."""

    name: str
    says: str
    text: str
    inner: tuple[Inner, ...] = ()


_URL = re.compile(r"(?<![\w+.-])[A-Za-z][A-Za-z0-9+.-]*://")
_USERINFO = re.compile(
    r"([^:/?#\s@'\"]*):([^\s'\"]+?)@(?=[\w\ue000\[][\w.\ue000\[\]:-]*(?:[/?#,;'\"\s]|$)|/|$)"
)
_USER_ONLY = re.compile(r"([^:/?#\s@'\"]{16,})@(?=[\w\ue000])")
_QUERY = re.compile(
    r"[?&;]((?:[\w.-]*(?:password|passwd|pwd|secret|token|api_?key|access_?key|sig|signature|"
    r"auth)))="
    r"([^&\s'\";]+)",
    re.IGNORECASE,
)
_PAIR = re.compile(
    r"(?:^|[;,\s])((?:[\w ]*(?:password|passwd|pwd|secret|accountkey|sharedaccesskey))|pass)\s*=\s*"
    r"('[^']+'|\"[^\"]+\"|[^;,\s'\"]+)",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    r"([\w.-]*(?:password|passwd|passphrase|secret|token|api_?key|private_?key)[\w.-]*)"
    r"['\"]?\]?\s*(?:=>|=|:)\s*(['\"])((?:(?!\2)[^\\]|\\.)+)\2",
    re.IGNORECASE,
)
# The drivers of Go: user:password@tcp(host)/database.
_LOGIN = re.compile(r"[\w.-]+:([^\s@]+)@(?:tcp|unix)?\([^()\s]*\)/")
_LONGEST = 1 << 16
"""Characters of the longest text that is looked through for settings."""
_PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")
_PUBLIC_PEM = re.compile(
    r"\s*-----BEGIN (?:CERTIFICATE|PUBLIC KEY|RSA PUBLIC KEY|CERTIFICATE REQUEST|X509 CRL|"
    r"DH PARAMETERS|EC PARAMETERS|TRUSTED CERTIFICATE|SSH2 PUBLIC KEY|PGP PUBLIC KEY BLOCK)-----"
)
_HASH = re.compile(
    r"(?:\S+:)?(?:\$(?:2[abxy]?|1|5|6|y|7|argon2(?:id|i|d)|apr1|pbkdf2(?:-\w+)?|scrypt|md5|P|"
    r"H)\$\S{8,}|"
    r"pbkdf2_sha(?:256|1)\$\S+|bcrypt(?:_sha256)?\$\S+|argon2\$\S+|\{S?SHA(?:256|512)?\}\S+|"
    r"\{(?:ARGON2|BCRYPT|CRYPT|SSHA)[^}]*\}\S+|SCRAM-SHA-256\$\S+|\*[0-9A-F]{40}|md5[0-9a-f]{32})"
)
_SSH_PUBLIC = re.compile(r"(?:ssh-(?:rsa|ed25519|dss)|ecdsa-sha2-\S+|sk-ssh-\S+) AAAA\S+")

_FILL = re.compile(
    r"(?:x{3,}|\*{3,}|\.{3,}|-{3,}|_{3,}|\?{3,}|0{3,}|n/a|todo.*|tbd|fixme.*|…)|"
    r"<[^<>]*>|\[[a-z][^\[\]]*\]|\{[a-z][^{}]*\}|"
    r"(?:change|replace|insert|enter|put|add|set|fill|paste|provide|use|choose|pick|generate|"
    r"create|"
    r"define|update|configure|edit|modify)[-_ ]?"
    r"(?:me|this|it|in|with|your|the|a|an|here|value|something|secret|password|key|own|strong|"
    r"random|"
    r"securely?|before|to|by|and)(?:[-_ !.:,'()/].*|\d*|[a-z]{0,16})|"
    r"(?:(?:please|pls)[-_ ]?)(?:change|replace|set).*|"
    r"(?:my|the|a|an|some|any|your|our|super|very|ultra|this|that|is|so|not|really)+[-_ ]"
    r"(?:.*(?:here|goes|value|placeholder)|(?:[a-z]+[-_ ]){0,4}(?:key|secret|token|password|pass|"
    r"passphrase|credential|id|string))|"
    r"(?:insert|enter|paste|fill[-_ ]?in)[-_ ].*|"
    r"your[-_ .].*|.*[-_ ](?:goes[-_ ])?here|yours?(?:key|secret|token|password|pass)\w*|"
    r"(?:example|sample|dummy|fake|placeholder|mock|foo|bar|foobar|baz|invalid|redacted|removed|"
    r"hidden|"
    r"masked|secret[-_]?placeholder|not[-_]?(?:a[-_]?)?(?:real|secret|set|needed|used).*)"
    r"(?:[-_ .]?(?:key|secret|token|password|value|\d+))*|"
    r"(?:.+[-_ ])?(?:placeholder|change[-_ ]?me|replace[-_ ]?me|to[-_]?be[-_]?\w+)(?:[-_ !].*)?|"
    r".*(?:change|replace)[-_ ](?:this|me|in|before|it)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_FILLERS = among("dummy fake placeholder changeme redacted todo fixme replaceme")
_WEAK = re.compile(
    r"(?:password|passwd|passw0rd|p@ssw0rd|pass|secret|admin|administrator|root|toor|test|tests|"
    r"testing|"
    r"demo|guest|user|default|postgres|mysql|mariadb|mongo|redis|rabbit(?:mq)?|minio(?:admin)?|"
    r"elastic|letmein|qwerty|welcome|abc123|changeit|1234+5*6*7*8*9*0*|0+|1+|dev|development|"
    r"django|"
    r"laravel|symfony|wordpress|nextcloud|grafana|keycloak|example|hunter2|s3cr3t|token|key|apikey|"
    r"app|api|db|database|web|local|sa|magento|drupal|joomla|odoo|homestead|vagrant|docker)"
    r"(?:[-_!@.]?(?:password|passwd|pass|pwd|secret|key|token|\d{1,4}|admin|root|user|db))*[!.]*",
    re.IGNORECASE,
)
_RANDOM = re.compile(r"[A-Za-z0-9+/_=.~-]{16,}|[0-9a-fA-F-]{32,}")
_WORDY = re.compile(r"[A-Za-z]+(?:[-_. ][A-Za-z]+)*")


def look(value: str, family: str = "", is_sure: bool = False) -> Shape:
    """Return the shape of ``value``; masks stand for what is not known.

    ``family`` is that of the name: a password may be a number or a host's name, a key is neither.
    ``is_sure`` says that the name leaves no doubt; then it may be a passphrase of several words.
    """
    text = value.strip()
    if not text:
        return Shape("empty", OPEN, "nothing stands there")
    return (
        _structured(value)
        or _clearing(text, family, is_sure)
        or _placeholder(text)
        or Shape(_size(text), OPEN, "the value has no known format")
    )


def _structured(value: str) -> Shape | None:
    """Return the shape of a value that says by itself what it holds."""
    if "-----BEGIN " in value:
        if _PEM.search(value):
            return Shape("private key", SURE, "a private key in PEM")
        if _PUBLIC_PEM.match(value):
            return Shape("certificate or public key", CLEAR, "it is a certificate or public key")
    found = providers.find(value)
    if found is not None:
        inner = (Inner(found.name, found.start, found.end),)
        is_all = found.start == 0 and found.end == len(value)
        says = f"the format of a {found.name}"
        if found.name.endswith("webhook") or is_all or len(value) < 4 * (found.end - found.start):
            return Shape(found.name, SURE, says, () if is_all else inner)
        return Shape(found.name, SURE, says, inner)
    if providers.is_access_key_id(value.strip()):
        return Shape("AWS access key id", OPEN, "an access key id: half of a credential")
    if _HASH.fullmatch(value.strip()):
        return Shape("password hash", OPEN, "a password's hash: what is checked against")
    return _composed(value)


def _composed(value: str) -> Shape | None:
    if "://" in value:
        shape = _url(value)
        if shape is not None:
            return shape
    login = _LOGIN.match(value)
    if login is not None and login[1].strip(MASK):
        part = Inner("password", login.start(1), login.end(1))
        return Shape("connection string", SURE, "a connection string with a password", (part,))
    if "=" in value and (inner := _pairs(value)):
        return Shape("connection string", SURE, "a connection string with a password", inner)
    stripped = value.lstrip()
    if stripped[:1] in "{[" and '"' in value and len(value) <= _LONGEST:
        return _json(value)
    if ("=" in value or ":" in value) and len(value) <= _LONGEST:
        assigned = tuple(
            Inner(found[1], found.start(3), found.end(3))
            for found in _ASSIGNED.finditer(value)
            if by_name(found[1]).score >= 0.8 and not _means_nothing(found[3])
        )
        if assigned:
            return Shape("settings with a secret", SURE, "settings with a secret in them", assigned)
    return None


def _url(value: str) -> Shape | None:
    """Return the shape of one URL or several, if there is one at all."""
    inner: list[Inner] = []
    count = 0
    for found in _URL.finditer(value):
        count += 1
        user = _USERINFO.match(value, found.end())
        if user and user[2]:
            inner.append(Inner("password", user.start(2), user.end(2), True))
    for found in _QUERY.finditer(value):
        if not _means_nothing(found[2]) and not found[2].isdigit():
            inner += [Inner(found[1], found.start(2), found.end(2), True)]
    known = [each for each in inner if value[each.start : each.end].strip(MASK)]
    if known:
        return Shape("URL with password", SURE, "a URL with a password in it", tuple(known))
    if inner:
        return Shape("URL with password", OPEN, "a URL that takes over a password", tuple(inner))
    if count and (first := _URL.match(value.strip())) is not None:
        only = _USER_ONLY.match(value.strip(), first.end())
        if only and MASK not in only[1]:
            return Shape("URL with key", OPEN, "a URL with a key in it, as those of Sentry are")
        if " " not in value.strip():
            return Shape("URL", CLEAR, "it is a URL without a password")
    return None


def _pairs(value: str) -> tuple[Inner, ...]:
    if "\n" in value.strip() or not re.search(r"(?i)(pass|pwd|secret|key)[\w ]*=", value):
        return ()
    if value.count("=") < 2 and ";" not in value:
        return ()
    found = []
    for pair in _PAIR.finditer(value):
        start, end = pair.span(2)
        if value[start] in "'\"":
            start, end = start + 1, end - 1
        if value[start:end].strip(MASK) and not _means_nothing(value[start:end]):
            found.append(Inner(pair[1].strip(), start, end))
    return tuple(found)


def _json(value: str) -> Shape | None:
    try:
        data = json.loads(value)
    except (ValueError, RecursionError):
        return None
    inner = []
    todo: list[tuple[str, object]] = [("", data)]
    for _ in range(2000):
        if not todo:
            break
        name, node = todo.pop()
        if isinstance(node, dict):
            todo += node.items()
        elif isinstance(node, list):
            todo += [(name, item) for item in node]
        elif isinstance(node, str) and node:
            is_secret = by_name(name).score >= 0.8 and not _means_nothing(node)
            if (is_secret or "PRIVATE KEY" in node) and node.strip(MASK):
                written = json.dumps(node, ensure_ascii=False)[1:-1]
                at = value.find(written)
                if at >= 0:
                    inner.append(Inner(name, at, at + len(written)))
    if inner:
        inner.sort(key=lambda each: each.start)
        return Shape("JSON with a secret", SURE, "JSON with a secret in it", tuple(inner))
    return Shape("JSON", OPEN, "JSON")


def _means_nothing(text: str) -> bool:
    return any(
        pattern.fullmatch(text) for name, pattern in CLEARING if name in ("boolean", "nothing", "path")
    )  # fmt: skip


def _clearing(text: str, family: str, is_sure: bool) -> Shape | None:
    if len(text) > 400 and family:
        return None
    for name, pattern in CLEARING if MAY_CLEAR.fullmatch(text) else ():
        if pattern.fullmatch(text):
            if _may_be(name, text, family):
                return None
            return Shape(name, CLEAR, f"the value is a {name}".replace("a algo", "an algo"))
    if " " in text and family != "password" and not is_sure and _is_prose(text):
        return Shape("sentence", CLEAR, "the value is a sentence")
    return None


def _may_be(name: str, text: str, family: str) -> bool:
    """Whether a value that looks harmless may still be a secret of ``family``."""
    if name == "path":
        # Base64 has slashes as well.
        last = text.rsplit("/", 1)[-1]
        return len(text) >= 24 and looks_random(text.replace("/", "")) and "." not in last
    if name == "number":
        shortest = {"password": 1, "key": 3 if not text.strip("0") else 5}.get(family, 99)
        return len(text) >= shortest and text.isdigit()
    if family != "password":
        return False
    if name in ("e-mail address", "version", "duration or size", "date"):
        return True
    return name in ("algorithm", "nothing") and text.lower() in (
        "default",
        "plain",
        "login",
        "basic",
    )


def _is_prose(text: str) -> bool:
    spoken = text.split()
    return len(spoken) >= 4 and sum(word.strip(".,;:!?()'\"").isalpha() for word in spoken) >= 4


def _placeholder(text: str) -> Shape | None:
    if _FILL.fullmatch(text) or (len(text) < 80 and _FILLERS & set(words(text))):
        return Shape("placeholder", OPEN, "a placeholder that was never meant to be used")
    if len(text) < 40 and _WEAK.fullmatch(text):
        return Shape("weak value", OPEN, "a value that everybody tries first")
    return None


def _size(text: str) -> str:
    """Return what may be told of a value of no known format: its class and a range of its length."""
    if MASK in text:
        return "text with variables"
    kind = "random text" if looks_random(text) else "text"
    for bound in (8, 16, 32, 64, 128, 512, 4096):
        if len(text) < bound:
            return f"{kind}, under {bound} characters"
    return f"{kind}, 4096 characters or more"


def entropy(text: str) -> float:
    """Return the bits per character of ``text``, taken as a sample of independent characters."""
    if not text:
        return 0.0
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values())


def looks_random(text: str) -> bool:
    """Whether ``text`` looks drawn by lot. It lifts a doubt and never decides alone."""
    if not _RANDOM.fullmatch(text) or _WORDY.fullmatch(text):
        return False
    kinds = sum(
        (any(map(str.isdigit, text)), any(map(str.islower, text)), any(map(str.isupper, text)))
    )
    longest_word = max(map(len, re.findall(r"[a-z]+|[A-Z]+", text)), default=0)
    return kinds >= 2 and entropy(text) >= 3.0 and longest_word <= max(7, len(text) // 3)


def decoded(text: str, is_encoded: bool) -> str:
    """Return what a part of a value means: percent-decoded where it stands in a URL."""
    return unquote(text) if is_encoded and "%" in text else text


def from_base64(text: str) -> str | None:
    """Return the text that ``text`` is the base64 of, or None."""
    packed = "".join(text.split())
    if len(packed) < 8 or len(packed) % 4:
        return None
    try:
        return base64.b64decode(packed, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
