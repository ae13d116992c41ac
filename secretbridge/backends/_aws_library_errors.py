"""What botocore raises, in the words of :mod:`secretbridge.errors`.

Errors are told apart by the names of their classes: not every version of botocore has them all, and
this page need not load it. Their texts are never used, because some quote what was sent or received.
"""

from __future__ import annotations

from typing import Any

from ..errors import AuthenticationFailed, ConfigError, SecretBridgeError
from . import unexpected
from ._aws_errors import Refused

_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError"}
_SOURCE_FAILED = {
    "CredentialRetrievalError",
    "LoginError",
    "MetadataRetrievalError",
    "SSOError",
    "TokenRetrievalError",
}
_CONFIGURATION = {
    "BaseEndpointResolverError",
    "ConfigParseError",
    "EndpointProviderError",
    "InvalidConfigError",
    "InvalidEndpointConfigurationError",
    "ParamValidationError",
    "ProfileNotFound",
}


def refusal(error: Any) -> Refused:
    """Take from botocore's ``ClientError`` what tells the service's errors apart."""
    told = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode")
    headers = metadata.get("HTTPHeaders") or {}
    code = str(told.get("Code") or "")
    if not code or code.isdecimal():
        # botocore puts the status in place of a code that it did not find in the body.
        code = headers.get("x-amzn-errortype", "").partition(":")[0].rpartition("#")[2]
    return Refused(
        str(error.operation_name),
        code,
        str(told.get("Message") or ""),
        status if isinstance(status, int) else 400,
        headers,
    )


def library_error(error: Exception) -> SecretBridgeError:
    """Translate what botocore raises when it looks for credentials."""
    name = type(error).__name__
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _NO_CREDENTIALS:
        return AuthenticationFailed(
            f"AWS's credential chain has no complete credentials ({name})",
            hint="attach a role to the pod, task or instance, or configure a profile",
        )
    if names & _SOURCE_FAILED:
        return AuthenticationFailed(
            f"the source of the AWS credentials did not give any ({name})",
            hint="check credential_process, `aws sso login`, or the metadata service",
        )
    if names & _CONFIGURATION:
        return configuration_error(error)
    return unexpected(error, "looking for AWS credentials")


def configuration_error(error: Exception) -> ConfigError:
    """Translate what botocore raises when AWS's own configuration is wrong."""
    name = type(error).__name__
    if name == "NoRegionError":
        return ConfigError(
            "no AWS region is configured", hint="set region: in the store's configuration"
        )
    if name == "ProfileNotFound":
        return ConfigError(
            "the profile is not in AWS's configuration files",
            hint="`aws configure list-profiles` shows those that are; see profile: of the store",
        )
    return ConfigError(
        f"AWS's configuration cannot be used ({name})",
        hint="check region and endpoint_url of the store, ~/.aws/config and the AWS_ variables",
    )
