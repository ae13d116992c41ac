"""The decision about one place: secret or not, how sure, how bad, and for which reasons.

Three things are asked in this order. *Structure*: is it a place whose content becomes an environment
variable, or is kept as a secret? That was settled by who found the place. *Name*: what does it say?
*Value*: its shape can overrule the name in both directions. Entropy only lifts a doubt: of real
secrets in manifests a third reach the limit that scanners use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..finding import CARRIER, HIGH, LITERAL, LOW, MEDIUM, READER, Reason
from . import images, providers
from .lists import among
from .masks import MASK, has_mask, is_encrypted, is_reference, masked
from .names import Named, by_name, words
from .shapes import CLEAR, SURE, Inner, Shape, decoded, look, looks_random

__all__ = [
    "ARGUMENT",
    "CONFIG",
    "THRESHOLD",
    "Place",
    "Verdict",
    "is_harmless",
    "is_identifier",
    "judge",
]

THRESHOLD = 0.5
"""From this confidence on a place is reported."""

_SECRET, _CONFIG, _TREE, _CODE, _BUILD = "secret", "config", "tree", "code", "build"
CONFIG, ARGUMENT = _CONFIG, "argument"

_HARMLESS_KEYS = re.compile(
    r"(.*[._-])?(user(name)?s?|user_?id|login|account|host(name)?|server|port|database|dbname|db|"
    r"name|"
    r"email|mail|from|region|bucket|endpoint|url|uri|issuer|domain|namespace|realm|tenant(_?id)?|"
    r"client_?id|app_?id|project(_?id)?|key_?id|access_?key_?id|type|scheme|mode|enabled|version|"
    r"ca(\.crt|\.pem|cert)?|tls\.crt|cert(ificate)?(\.pem)?|public(_?key)?|.*\.pub|.*\.crt|.*\.cer|"
    r"config|application|sslmode|schema|role|path|comment|description|env(ironment)?)",
    re.IGNORECASE,
)
"""Keys of Secrets that hold what belongs to a credential without being one."""
_HARMLESS_LAST = among(
    "user username users login account email host hostname port database dbname name"
)
_FILE_NAME = re.compile(r".*\.(ini|ya?ml|json|conf|cfg|toml|properties|xml|txt|cnf|sh|py|js|sql)")
_PAIRED = (("auth",), ("users",), ("credentials",), ("creds",), ("userpass",))
_KEYS = (("secret", "key"), ("private", "key"), ("signing", "key"), ("encryption", "key"))
_FROM_FILE = re.compile(r"['\"]?\$?\$\((?:cat|<|head|tr)\b.*")


def is_harmless(name: str) -> bool:
    """Whether a key belongs to a credential without being one."""
    told = [
        word for word in words(name) if word not in ("in", "out", "ro", "rw") and not word.isdigit()
    ]
    last = told[-1] if told else ""
    glued = last.endswith(("username", "hostname", "accountname", "dbname"))
    return glued or last in _HARMLESS_LAST or _HARMLESS_KEYS.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Place:
    """What there is to judge: the slot's facts as far as they matter."""

    name: str
    value: str | None
    place: str = "environment"
    kind: str = LITERAL
    names: tuple[str, ...] = ()
    has_default: bool = False
    is_exact: bool = False
    images: tuple[str, ...] = ()
    is_example: bool = False
    is_comment: bool = False
    is_test: bool = False
    is_from_secret: bool = False
    key: str = ""
    parents: tuple[str, ...] = ()


@dataclass(slots=True)
class Verdict:
    """The decision. ``parts`` are the secrets inside a composed value."""

    confidence: float
    kind: str
    severity: str
    shape: str
    reasons: list[Reason] = field(default_factory=list)
    parts: tuple[Inner, ...] = ()


def judge(place: Place) -> Verdict | None:
    """Return the decision about ``place``, or None where it is no matter for a report."""
    named = by_name(place.name)
    if place.kind == READER:
        return _reader(place, named)
    # Nearly all places are settled here: a harmless name with a value that cannot be a secret alone.
    is_short = place.value is None or len(place.value) < 8
    if named.score < 0.1 and is_short and place.place != _SECRET and not place.is_from_secret:
        known = max((images.score(image, place.name) for image in place.images), default=0.0)
        if not known:
            return None
    verdict = _decide(place, named)
    if verdict is None or verdict.confidence < THRESHOLD:
        return None
    return verdict


def _reader(place: Place, named: Named) -> Verdict | None:
    if named.score < THRESHOLD:
        return None
    reasons = [Reason("name", named.text), Reason("reader", "the variable is read here")]
    return Verdict(named.score, READER, LOW, "", reasons)


def _decide(place: Place, named: Named) -> Verdict | None:
    score, reasons = _prior(place, named)
    value = place.value
    if value is None:
        return _passed(place, named, score, reasons)
    if not value.strip():
        if score < THRESHOLD or (place.place == _TREE and score < 0.9):
            return None
        reasons.append(Reason("empty", "the value is left empty, to be filled in"))
        return Verdict(score - 0.05, CARRIER, LOW, "empty", reasons)
    text = masked(value, place.is_exact)
    if has_mask(text) and not text.strip(MASK + " \t\r\n'\"\\"):
        if place.place == ARGUMENT and _FROM_FILE.fullmatch(value):
            return None  # it comes from a file already
        reasons.append(Reason("reference", "it takes over the value of something else"))
        return Verdict(score, CARRIER, _carried(place), "reference", reasons)
    if is_encrypted(value.strip()):
        return None
    if is_reference(value.strip()):
        reasons.append(Reason("store", "it names a value that is kept in a store"))
        return Verdict(score, CARRIER, LOW, "reference to a store", reasons)
    return _by_value(place, named, score, reasons, value, text)


def _passed(place: Place, named: Named, score: float, reasons: list[Reason]) -> Verdict | None:
    """Judge a variable whose value comes from somewhere else."""
    if place.is_from_secret:
        key = by_name(place.key) if place.key else named
        if named.family == "about" or is_harmless(place.name):
            score = min(score, 0.3)
        elif place.key and is_harmless(place.key) and score < 0.6:
            score = 0.3
        else:
            score = max(score, key.score, 0.6)
        reasons.append(Reason("from-secret", "it is filled from an object for secrets"))
    else:
        reasons.append(Reason("passed", "the variable is passed on from outside"))
    return Verdict(score, CARRIER, _carried(place), "", reasons)


def _prior(place: Place, named: Named) -> tuple[float, list[Reason]]:
    """Return what name and place say before the value is looked at."""
    score, reasons = named.score, []
    if score >= 0.1:
        reasons.append(Reason("name", named.text))
    known = max((images.score(image, place.name) for image in place.images), default=0.0)
    if known > score:
        score = known
        reasons.append(Reason("image", "the image takes a secret from this variable"))
    if place.place == _SECRET and score < 0.9:
        if named.family == "about" or is_harmless(place.name):
            score = min(score, 0.3) if named.score < 0.6 else score
        else:
            score = max(score, 0.72)
            reasons.append(Reason("secret-object", "it is a key of an object for secrets"))
    elif place.place in (_TREE, _CODE) and score < 0.9:
        score = _in_a_tree(place, score)
    return score, reasons


def _in_a_tree(place: Place, score: float) -> float:
    """Return the score of a key of settings or a name in code, where names mean more things."""
    told = words(place.name)
    if told in (("key",), ("auth",), ("secret",), ("token",), ("pass",)) and place.place == _TREE:
        above = " ".join(place.parents[-1:])
        if told == ("key",) and by_name(f"{above}_key").score >= 0.9:
            return 0.8
    return score - 0.12 if score < 0.8 else score


def _carried(place: Place) -> str:
    if place.is_comment or place.is_test:
        return LOW
    return MEDIUM if place.place not in (_TREE, _CODE) else LOW


def _by_value(
    place: Place, named: Named, score: float, reasons: list[Reason], value: str, text: str
) -> Verdict | None:
    is_code = place.place in (_CODE, _TREE)
    shape = look(text, named.family, named.score >= 0.9 and not is_code)
    if place.is_test and (place.place == _CODE or named.score < THRESHOLD):
        return None  # what tests make up is no secret, and there is a lot of it
    if shape.says == SURE:
        return _sure(place, named, score, reasons, value, shape)
    if shape.name == "URL with password":
        # The password is a variable, and maybe one with a default.
        reasons.append(Reason("shape", shape.text))
        return Verdict(max(score, 0.9), CARRIER, _carried(place), shape.name, reasons, shape.inner)
    if shape.says == CLEAR:
        if place.place == _SECRET and named.score >= 0.9 and shape.name == "host":
            pass
        else:
            return None
    if shape.name in ("URL with key", "AWS access key id"):
        reasons.append(Reason("ask", f"{shape.text}: a person must say whether it is secret"))
        return Verdict(max(score, 0.55), LITERAL, LOW, shape.name, reasons)
    if shape.name == "password hash":
        reasons.append(Reason("hash", f"{shape.text}; it must not be rotated blindly"))
        return Verdict(max(score, 0.8), LITERAL, MEDIUM, shape.name, reasons)
    if named.family == "auth" or words(place.name)[-1:] in _PAIRED:
        paired = _pair(text)
        if paired is not None:
            reasons.append(Reason("pair", "a name and a password in one value"))
            return _literal(place, max(score, 0.9), reasons, shape, (paired,))
    if is_code and words(place.name) == ("pass",) and "/" in text:
        return None  # where a proxy passes requests on to
    if is_code and (_says_its_name(place.name, text) or _is_label(place.name, text)):
        return None
    if place.place == _CODE and ("\n" in text or (named.family != "password" and " " in text)):
        return None
    if shape.name in ("placeholder", "weak value"):
        least = (
            0.85
            if is_code
            else 0.75
            if named.family == "key" and shape.name == "weak value"
            else 0.6
        )
        is_address = named.family in ("url", "auth")
        if place.place != _SECRET and (score < least or is_address):
            return None
        code = "placeholder" if shape.name == "placeholder" else "weak"
        reasons.append(Reason(code, f"it is {shape.text}"))
        return _literal(place, score, reasons, shape)
    if named.family in ("url", "auth") and not place.is_from_secret:
        score -= 0.3
    return _unknown(place, named, score, reasons, shape, text)


def _names_a_key(name: str, value: str) -> bool:
    """Whether a constant holds the name under which something is kept, and not a key."""
    if "{" in value or (MASK in value and is_identifier(value.replace(MASK, "x"))):
        return True
    before = words(name)[-2:-1]
    is_about = before in (("token",), ("tokens",), ("cred",), ("credential",), ("credentials",))
    return words(name)[-1:] == ("key",) and is_about and is_identifier(value)


def _is_label(name: str, value: str) -> bool:
    """Whether a value is what people read beside a field, or a message about it."""
    if " " in value and (value[:1].isupper() or value.endswith((".", ":", "?"))):
        return len(value.split()) >= 3 or value.endswith(":")
    return name.islower() and re.fullmatch(r"[A-Z][a-z]+", value) is not None


def _says_its_name(name: str, value: str) -> bool:
    """Whether a value only repeats its name, as constants and labels do."""
    told, spoken = words(name), words(value)
    if len(spoken) > 1 and set(spoken) <= set(told) and is_identifier(value):
        return True
    return name == value or (value[:1].isupper() and value.lower() == "".join(told))


def _unknown(
    place: Place, named: Named, score: float, reasons: list[Reason], shape: Shape, text: str
) -> Verdict | None:
    """Judge a value whose shape says nothing: the name decides, and chance-like text lifts."""
    value = text.strip()
    if place.place == _SECRET and _FILE_NAME.fullmatch(place.name) and named.score < 0.6:
        return None  # a file of settings, and there is nothing of a secret in it
    if place.place == _CODE and named.family == "key" and _names_a_key(place.name, value):
        return None
    if looks_random(value) and named.family != "url":
        if 0.35 <= score < 0.9:
            score = min(0.92, score + 0.2)
            reasons.append(Reason("random", "the value looks drawn by lot"))
    elif named.family == "key" and score < 0.9 and is_identifier(value):
        # CACHE_KEY=user_profile: a key in the other sense of the word.
        score -= 0.3 if place.place in (_CODE, _TREE, _CONFIG) else 0.2
    elif named.family == "key" and place.place in (_CODE, _TREE) and is_identifier(value):
        is_known = place.name.isupper() or words(place.name)[-2:] in _KEYS
        score -= 0.45 if len(value) < 24 and not is_known else 0.3
    if named.family == "hash" and not looks_random(value):
        score -= 0.3
    return _literal(place, score, reasons, shape)


def is_identifier(value: str) -> bool:
    """Whether a value is made of words, as names of things are."""
    return re.fullmatch(r"[A-Za-z]+(?:[-_.:/ ][A-Za-z]+)*\d{0,2}", value) is not None


def _pair(text: str) -> Inner | None:
    """Return the password of ``user:password`` or ``user/password``."""
    found = re.fullmatch(r"\s*([\w.@+-]+)[:/]([^\s:/][^\s]*)\s*", text)
    if found is None or found[2].strip(MASK) == "" or (found[2].isdigit() and len(found[2]) < 6):
        return None
    return Inner("password", found.start(2), found.end(2))


def _sure(
    place: Place, named: Named, score: float, reasons: list[Reason], value: str, shape: Shape
) -> Verdict | None:
    inner = shape.inner
    reasons.append(Reason("shape", shape.text))
    told = [decoded(value[each.start : each.end], each.is_encoded) for each in inner] or [value]
    if shape.name == "JSON Web Token" and named.score < 0.2 and place.place == _CODE:
        score = 0.4
    if named.family == "about" and shape.name in ("settings with a secret", "JSON with a secret"):
        return None
    confidence = max(score, 0.95)
    fillers = {look(each, "password").name for each in told}
    if fillers <= {"placeholder", "weak value"}:
        code = "weak" if "weak value" in fillers else "placeholder"
        reasons.append(Reason(code, "the secret in it is a placeholder or a weak value"))
        confidence = max(score, 0.75)
    elif all(providers.is_example(each) for each in told) and shape.name != "URL with password":
        reasons.append(Reason("placeholder", "it is the issuer's example"))
        confidence = max(score, 0.6)
    return _literal(place, confidence, reasons, shape, inner)


def _literal(
    place: Place,
    confidence: float,
    reasons: list[Reason],
    shape: Shape,
    parts: Iterable[Inner] = (),
) -> Verdict:
    codes = {reason.code for reason in reasons}
    severity = HIGH if confidence >= 0.7 else MEDIUM
    if "placeholder" in codes:
        severity = LOW
    elif "weak" in codes:
        severity = MEDIUM
    if place.is_comment or place.is_test:
        severity = LOW
        reasons.append(
            Reason("comment", "it stands in a comment")
            if place.is_comment
            else Reason("test", "it stands in a test")
        )
    elif place.is_example and severity == HIGH:
        severity = MEDIUM
        reasons.append(Reason("example", "the file is an example for others"))
    if place.has_default:
        reasons.append(Reason("default", "it is what holds when the variable is not set"))
    if confidence < 0.62 and severity == HIGH:
        severity = MEDIUM
    return Verdict(round(confidence, 2), LITERAL, severity, shape.name, reasons, tuple(parts))
