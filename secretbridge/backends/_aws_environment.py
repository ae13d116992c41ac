"""AWS's own configuration where the environment says it all, as in a function or a container.

AWS's settings come from variables and from two files, its credentials from a chain of ten sources.
All of that is botocore's to know, and asking it costs 150 ms and 20 MiB. Where no such file exists
and the keys stand in the variables (a Lambda function, a CI job), what botocore would answer is
plain; this page answers it without loading botocore. The tests hold it against botocore.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from ._aws_credentials import Keys
from ._aws_endpoints import ca_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._aws_options import Options

__all__ = ["SERVICE_IDS", "Environment", "Settings", "is_enough"]

_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}
_PROFILES = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")
_TOKENS = ("AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
SERVICE_IDS = {
    "secretsmanager": "secrets_manager",
    "ssm": "ssm",
    "sqs": "sqs",
    "sts": "sts",
}
"""What a service is called in AWS's configuration."""


class Settings(Protocol):
    """What AWS's own configuration says where a store's options are silent."""

    region: str | None
    use_fips: bool
    use_dual_stack: bool
    files: Sequence[str]
    """The files that credentials may come from."""

    def endpoint_url(self, service: str) -> str | None:
        """Return the configured endpoint of ``service``, or None for AWS's."""

    def ca_file(self) -> str:
        """Return the file of trusted certificates."""

    def find(self) -> Callable[[], Keys]:
        """Look for credentials and return a source of keys; see :class:`Credentials`."""


def is_enough(options: Options, variables: Mapping[str, str] = os.environ) -> bool:
    """Whether :class:`Environment` can serve a store with ``options``."""
    asks_for_more = (
        options.profile is not None
        or options.role_arn is not None
        or any(name in variables for name in _PROFILES)
        or variables.get("AWS_CREDENTIAL_EXPIRATION")  # such keys are refreshed
    )
    return (
        not asks_for_more
        and bool(variables.get("AWS_ACCESS_KEY_ID") and variables.get("AWS_SECRET_ACCESS_KEY"))
        and not any(_says_something(path) for path in _paths(variables))
    )


class Environment:
    """:class:`Settings` of the environment alone."""

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        self._variables = variables
        self.region: str | None = variables.get("AWS_DEFAULT_REGION") or None
        self.use_fips = self._is_set("AWS_USE_FIPS_ENDPOINT")
        self.use_dual_stack = self._is_set("AWS_USE_DUALSTACK_ENDPOINT")
        self.files: Sequence[str] = _paths(variables)

    def endpoint_url(self, service: str) -> str | None:
        """See :class:`Settings`."""
        if self._is_set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
            return None
        specific = f"AWS_ENDPOINT_URL_{SERVICE_IDS[service].upper()}"
        read = self._variables.get
        return read(specific) or read("AWS_ENDPOINT_URL") or None

    def ca_file(self) -> str:
        """See :class:`Settings`."""
        return self._variables.get("AWS_CA_BUNDLE") or ca_bundle()

    def find(self) -> Callable[[], Keys]:
        """See :class:`Settings`. The variables are read now, and again when this is called again."""
        read = self._variables.get
        keys = Keys(
            read("AWS_ACCESS_KEY_ID", ""),
            read("AWS_SECRET_ACCESS_KEY", ""),
            next((token for name in _TOKENS if (token := read(name))), None),
            read("AWS_ACCOUNT_ID") or None,
        )
        return lambda: keys

    def _is_set(self, name: str) -> bool:
        return self._variables.get(name, "").lower() == "true"


def _paths(variables: Mapping[str, str]) -> list[str]:
    named = [variables.get(name, default) for name, default in _FILES.items()]
    return [os.path.expanduser(os.path.expandvars(path)) for path in named if path]


def _says_something(path: str) -> bool:
    # What is no plain file, such as /dev/null, botocore takes for no file at all.
    return os.path.isfile(path) and os.path.getsize(path) > 0
