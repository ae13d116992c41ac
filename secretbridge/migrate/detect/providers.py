"""Tokens that say themselves what they are, by the format that their issuer gives them.

They decide alone, whatever the name. The formats are published by the issuers or collected by the
scanners that are older than this one (the rules of gitleaks were read for most).
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["LITERALS", "Provider", "find"]


class Provider(NamedTuple):
    """A token of a known format: whose it is, and where it stands in the text."""

    name: str
    start: int
    end: int


_FORMATS: tuple[tuple[str, str, str], ...] = (
    # what every one begins with or holds, its name, its format
    ("ghp_", "GitHub token", r"gh[pousr]_[A-Za-z0-9]{36,251}"),
    ("gho_", "GitHub token", r"gh[pousr]_[A-Za-z0-9]{36,251}"),
    ("ghs_", "GitHub token", r"gh[pousr]_[A-Za-z0-9]{36,251}"),
    ("github_pat_", "GitHub token", r"github_pat_\w{22,255}"),
    ("glpat-", "GitLab token", r"glpat-[\w-]{20,60}"),
    ("glrt-", "GitLab runner token", r"glrt-[\w-]{20,60}"),
    ("xox", "Slack token", r"xox[abeoprs]-[\w-]{10,250}"),
    ("xapp-", "Slack token", r"xapp-\d-[\w-]{10,250}"),
    ("hooks.slack.com/", "Slack webhook", r"https://hooks\.slack\.com/(services|"
                                          r"workflows)/[\w/+-]{20,}"),
    ("discord", "Discord webhook", r"https://discord(app)?\.com/api/webhooks/\d{10,}/[\w-]{30,}"),
    ("webhook.office.com", "Teams webhook", r"https://[\w.-]+\.webhook\.office\.com/webhookb2/\S{40,}"),
    ("sk_live_", "Stripe key", r"[sr]k_live_[A-Za-z0-9]{10,247}"),
    ("rk_live_", "Stripe key", r"[sr]k_live_[A-Za-z0-9]{10,247}"),
    ("sk_test_", "Stripe key", r"[sr]k_test_[A-Za-z0-9]{10,247}"),
    ("whsec_", "Stripe webhook secret", r"whsec_[A-Za-z0-9+/=]{24,100}"),
    ("SG.", "SendGrid key", r"SG\.[\w-]{16,32}\.[\w-]{32,64}"),
    ("AIza", "Google API key", r"AIza[\w-]{35}"),
    ("GOCSPX-", "Google client secret", r"GOCSPX-[\w-]{24,40}"),
    ("ya29.", "Google token", r"ya29\.[\w-]{20,}"),
    ("npm_", "npm token", r"npm_[A-Za-z0-9]{36}"),
    ("pypi-", "PyPI token", r"pypi-AgEIcHlwaS5vcmc[\w-]{50,}"),
    ("hvs.", "Vault token", r"hv[sbr]\.[\w-]{24,}"),
    ("dop_v1_", "DigitalOcean token", r"do[opr]_v1_[a-f0-9]{64}"),
    ("dp.", "Doppler token", r"dp\.(pt|st|ct|sa|scim|audit)\.([\w-]+\.)?[A-Za-z0-9]{40,}"),
    ("dapi", "Databricks token", r"dapi[a-f0-9]{32}(-\d)?"),
    ("sk-ant-", "Anthropic key", r"sk-ant-(api|admin)\d\d-[\w-]{20,}"),
    ("T3BlbkFJ", "OpenAI key", r"sk-[\w-]*T3BlbkFJ[\w-]{20,}"),
    ("sk-proj-", "OpenAI key", r"sk-proj-[\w-]{20,}"),
    ("hf_", "Hugging Face token", r"hf_[A-Za-z]{34,40}"),
    ("AGE-SECRET-KEY-1", "age key", r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
    ("ops_eyJ", "1Password token", r"ops_eyJ[\w-]{100,}=*"),
    ("AccountKey=", "Azure storage key", r"(?<=AccountKey=)[A-Za-z0-9+/]{40,}={0,2}"),
    ("SharedAccessKey=", "Azure access key", r"(?<=SharedAccessKey=)[A-Za-z0-9+/]{40,}={0,2}"),
    ("shpat_", "Shopify token", r"shp(at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("tskey-", "Tailscale key", r"tskey-[\w-]{10,}"),
    ("sntrys_", "Sentry token", r"sntry[us]_[\w=/+.-]{60,}"),
    ("lin_api_", "Linear key", r"lin_api_[A-Za-z0-9]{40}"),
    ("rubygems_", "RubyGems key", r"rubygems_[a-f0-9]{48}"),
    ("PMAK-", "Postman key", r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    ("sl.", "Dropbox token", r"sl\.[\w-]{130,152}"),
    ("EAAA", "Square token", r"EAAA[\w-]{60}"),
    ("key-", "Mailgun key", r"key-[a-f0-9]{32}"),
    ("dckr_pat_", "Docker token", r"dckr_pat_[\w-]{27}"),
    ("pul-", "Pulumi token", r"pul-[a-f0-9]{40}"),
    ("nvapi-", "NVIDIA key", r"nvapi-[\w-]{50,}"),
    ("gsk_", "Groq key", r"gsk_[A-Za-z0-9]{50,}"),
    ("glsa_", "Grafana token", r"glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}"),
    ("NRAK-", "New Relic key", r"NRAK-[A-Z0-9]{27}"),
    ("fo1_", "Fly token", r"fo1_[\w-]{43}"),
    ("bot", "Telegram token", r"(?<=bot)\d{8,10}:AA[\w-]{33}"),
    (":AA", "Telegram token", r"\d{8,10}:AA[\w-]{33}"),
    ("8Q~", "Azure client secret", r"[\w~.-]{3}\dQ~[\w~.-]{31,34}"),
    ("eyJ", "JSON Web Token", r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
)  # fmt: skip
_AWS = re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Z0-9])")
_PATTERNS = tuple(
    (literal, name, re.compile(rf"(?<![A-Za-z0-9_]){pattern}(?![A-Za-z0-9_])"))
    if not pattern.startswith("(?<=")
    else (literal, name, re.compile(pattern))
    for literal, name, pattern in _FORMATS
)
LITERALS = tuple(dict.fromkeys(literal for literal, _, _ in _FORMATS if len(literal) > 3))
"""What a text without any of them cannot hold, for the quick look before the long one."""

_SHORTEST = 15
"""Characters of the shortest format."""
_EXAMPLE = re.compile(r"EXAMPLE|example|(.)\1{7}|1234567890|abcdefgh", re.IGNORECASE)


def find(text: str) -> Provider | None:
    """Return the first token of a known format in ``text``."""
    if len(text) < _SHORTEST:
        return None
    for literal, name, pattern in _PATTERNS:
        if literal in text and (found := pattern.search(text)):
            return Provider(name, found.start(), found.end())
    return None


def is_example(text: str) -> bool:
    """Whether a token is one of those that documentation shows."""
    return _EXAMPLE.search(text) is not None


def is_access_key_id(text: str) -> bool:
    """Whether ``text`` is an AWS access key id: half of a credential, and no secret alone."""
    return _AWS.fullmatch(text) is not None
