"""Text that stands for other text: ``${VAR}``, ``$(VAR)``, ``{{ template }}``, references to stores."""

from __future__ import annotations

import re

__all__ = ["MASK", "has_mask", "is_encrypted", "is_reference", "masked", "variables"]

MASK = "\ue000"
"""A character for private use: no value has it, and no rule for values takes it for a letter."""

_FORMS = (
    # Bounded, or a text of opening brackets would take time quadratic in its length.
    r"\$\{\{.{0,400}?\}\}|\{\{.{0,400}?\}\}|\{%.{0,400}?%\}|<%.{0,400}?%>|\$\{[^{}\n]*(?:\$\{[^{}\n]*\}[^{}\n]*)?\}|"
    r"\$\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)|`[^`\n]*`|"
    r"%\([A-Za-z_]\w*\)s|%[A-Za-z_][\w.]*%|#\{[^{}\n]*\}|"
    r"@[A-Z_][A-Z0-9_]{2,}@|__[A-Z][A-Z0-9_]+__|(?<![\w$])\{[A-Za-z_][\w.]*\}(?!\w)"
)
_BRACED = re.compile(_FORMS, re.DOTALL)
_EXPANSION = re.compile(rf"{_FORMS}|\$[A-Za-z_]\w*", re.DOTALL)
_VARIABLE = re.compile(r"\$\{?\{?\s*(?:(?:secrets|env|vars)\.)?([A-Za-z_]\w*)|\$\(([A-Za-z_]\w*)\)")
_REFERENCE = re.compile(
    r"(op|vault|aws-sm|awssm|ssm|ref\+\w+|gcp-?sm|azure-?kv|akv|keyvault|secretbridge|doppler|"
    r"infisical|keeper|bws|sops|local|secretsmanager|secret|secretref|credstash|chamber|berglas|sm)"
    r"(://|:(?=[\w./-]+[#/]))\S*|arn:aws[\w-]*:(secretsmanager|ssm):\S+|"
    r"projects/[^/\s]+/secrets/\S+|"
    r"@Microsoft\.KeyVault\(.*\)|\{\{resolve:.*\}\}|>>\S+|file:///\S+",
)
_ENCRYPTED = re.compile(
    r"ENC\[[\s\S]*\]|ENC\([\s\S]*\)|encrypted:[\s\S]+|AQICAH[\w+/=]+|\$ANSIBLE_VAULT;[\s\S]*|"
    r"-----BEGIN (PGP MESSAGE|AGE ENCRYPTED FILE)-----[\s\S]*|!vault[\s\S]*|arn:aws[\w-]*:\S+"
)


def masked(text: str, is_exact: bool = False) -> str:
    """Return ``text`` with every expansion replaced by as many masks.

    With ``is_exact`` a bare ``$word`` is no expansion: the reader of the text said so.
    """
    if not any(sign in text for sign in "$%{<`#@_"):
        return text
    return (_BRACED if is_exact else _EXPANSION).sub(lambda found: MASK * len(found[0]), text)


def has_mask(text: str) -> bool:
    """Whether something stands in ``text`` that is replaced before it is used."""
    return MASK in text


def is_reference(text: str) -> bool:
    """Whether ``text`` names a value that is kept in a store."""
    return _REFERENCE.fullmatch(text) is not None


def is_encrypted(text: str) -> bool:
    """Whether ``text`` can be read only with a key, or names something that is no value."""
    return _ENCRYPTED.fullmatch(text) is not None


def variables(text: str) -> tuple[str, ...]:
    """Return the names of the variables that ``text`` takes over, in order."""
    return tuple(dict.fromkeys(one or two for one, two in _VARIABLE.findall(text)))
