"""What a migration itself has written: its files, and the references that took the place of values."""

from __future__ import annotations

import re

from ..errors import SecretBridgeError
from ..reference import Reference
from .finding import LITERAL, Finding
from .foreign import is_foreign
from .plan import FILE_NAME, Settings
from .rewrite.config import DIRECTORY
from .rewrite.dotenv import REMOVED

__all__ = ["is_ours"]

_READS_A_FILE = re.compile(r"\$+\(\s*(cat|<)(\s|$)")
_SCHEMES = ("vault:", "aws-sm:", "aws-ssm:", "local:", "file:")


def is_ours(finding: Finding, settings: Settings) -> bool:
    """Whether ``finding`` is no secret but what a migration puts in the place of one."""
    if finding.path in (settings.config, FILE_NAME) or finding.path.startswith(f"{DIRECTORY}/"):
        return True
    value = finding.value.reveal() if finding.value is not None else ""
    if value == REMOVED.decode():
        return True
    if finding.kind == LITERAL and value and not value.strip("$"):
        return True  # the beginning of `$(cat FILE)`, cut into words
    if _READS_A_FILE.search(value) or value.startswith(("--pwfile=", "$__file{", "$$__file{")):
        return True
    if value.startswith(_SCHEMES) and not is_foreign(value):
        try:
            Reference.parse(value)
        except SecretBridgeError:
            return False
        return True
    return False
