"""What AWS's refusals mean in the words of :mod:`secretbridge.errors`.

The service names its errors by code; where one code has several meanings only the text tells them
apart (a deleted secret, a missing version). That text is read and never passed on: a message of ours
holds nothing that a server wrote but the code and the ARN of the caller, and these only when they
look like one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    ConfigError,
    RateLimited,
    SecretBridgeError,
    SecretDeleted,
    SecretMissing,
    VersionMissing,
)
from ._http1 import retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..reference import DocumentId

EXPIRED = frozenset(
    (
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
    )
)
"""Credentials that were good once, or were replaced: looking for newer ones may help."""

BAD_SIGNATURE = frozenset(
    (
        "InvalidSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    )
)
"""A wrong secret key or a wrong clock."""

_UNAUTHENTICATED = (
    EXPIRED
    | BAD_SIGNATURE
    | {
        "AuthFailure",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
    }
)
_DENIED = frozenset(("AccessDenied", "AccessDeniedException", "NotAuthorized"))
_THROTTLED = frozenset(
    (
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
    )
)
_FAILED = frozenset(
    (
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "InternalServiceError",
        "InternalServiceErrorException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    )
)
_INVALID = frozenset(("InvalidParameterException", "InvalidParameterValue", "ValidationException"))

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,63}")
_CALLER = re.compile(r"User: (arn:[A-Za-z0-9:/+=,.@_-]{1,512}) is not authorized")


class Refused(Exception):
    """The service answered with an error. Never leaves this backend: see :func:`error_for`.

    ``operation`` is what was called, ``headers`` have lower-case names.
    """

    def __init__(
        self,
        operation: str,
        code: str,
        text: str,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(operation, code)
        self.operation = operation
        self.code = code
        self.text = text
        self.status = status
        self.headers = headers or {}

    @property
    def is_denial(self) -> bool:
        """The caller is known and may not do this.

        A 403 without a code is a proxy's or a firewall's: it must not withdraw a password.
        """
        is_other = self.status == 403 and self.code != "" and not self.is_about_credentials
        return self.code in _DENIED or is_other

    @property
    def is_about_credentials(self) -> bool:
        """The caller is not known."""
        return self.code in _UNAUTHENTICATED

    @property
    def is_throttle(self) -> bool:
        """Too many requests at the moment."""
        return self.code in _THROTTLED or self.status == 429

    @property
    def is_failure(self) -> bool:
        """The service or something before it is not working at the moment."""
        return self.code in _FAILED or self.status >= 500

    @property
    def server_time(self) -> float | None:
        """The server's clock in seconds since the epoch, or None when the answer did not tell."""
        from email.utils import parsedate_to_datetime

        try:
            return parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        except (TypeError, ValueError):
            return None


_KEY_OFF = re.compile(
    r"kms.*(?:is disabled|disabledexception|pending ?deletion|invalidstate)", re.S
)
"""How refusals of several codes speak of a KMS key that is there and does not work."""

_SERVICES = {
    "BatchGetSecretValue": ("AWS Secrets Manager", "secretsmanager"),
    "CreateSecret": ("AWS Secrets Manager", "secretsmanager"),
    "DeleteMessageBatch": ("SQS", "sqs"),
    "DeleteSecret": ("AWS Secrets Manager", "secretsmanager"),
    "DescribeSecret": ("AWS Secrets Manager", "secretsmanager"),
    "GetParameter": ("AWS Parameter Store", "ssm"),
    "GetCallerIdentity": ("AWS STS", "sts"),
    "GetParameters": ("AWS Parameter Store", "ssm"),
    "GetSecretValue": ("AWS Secrets Manager", "secretsmanager"),
    "ReceiveMessage": ("SQS", "sqs"),
}
"""The service of each operation that we call, in words and as the prefix of its permissions."""


def is_outage(error: SecretBridgeError) -> bool:
    """Whether the region is out of order, as far as ``error`` tells: another one may do better."""
    return (
        isinstance(error, BackendUnavailable)
        and not isinstance(error, RateLimited)
        and error.concerns_store
    )


def error_for(refused: Refused, request: DocumentId | None = None) -> SecretBridgeError:
    """Return the error that ``refused`` stands for when ``request`` was asked for."""
    if refused.operation not in _SERVICES:
        return _role_error(refused)
    if refused.is_about_credentials:
        return _credential_error(refused)
    if refused.is_throttle or refused.is_failure:
        return _transient(refused)
    if _is_key_trouble(refused):
        return _undecryptable()
    if refused.is_denial:
        return _denial(refused)
    if refused.code == "ResourceNotFoundException":
        return _missing(refused, request)
    if refused.code in ("ParameterNotFound", "ParameterVersionNotFound"):
        return _missing_parameter(refused, request)
    if refused.code == "InvalidRequestException":
        return _invalid_request(refused)
    if refused.code in _INVALID:
        return ConfigError(
            f"{_SERVICES[refused.operation][0]} does not accept the name or version",
            hint="compare the reference with what the AWS console shows",
        )
    return _unknown(refused)


def _role_error(refused: Refused) -> SecretBridgeError:
    """Return the error for a call that was to obtain credentials, such as ``AssumeRole``."""
    if refused.is_throttle or refused.is_failure:
        return _transient(refused)
    return AuthenticationFailed(
        f"{_named(refused.operation)} was refused{_in_brackets(refused)}, so there are no "
        "credentials",
        hint="check role_arn and external_id, the role's trust policy, and the base credentials",
    )


def _credential_error(refused: Refused) -> SecretBridgeError:
    if refused.code in BAD_SIGNATURE:
        return AuthenticationFailed(
            f"the signature was not accepted{_in_brackets(refused)}",
            hint="check the secret access key, and this machine's clock (at most 5 minutes off)",
        )
    return AuthenticationFailed(
        f"the AWS credentials are expired or unknown{_in_brackets(refused)}",
        hint="renew them where they come from; `aws sts get-caller-identity` shows what is used",
    )


def _transient(refused: Refused) -> SecretBridgeError:
    if refused.is_throttle:
        return RateLimited(
            f"AWS asks for fewer requests{_in_brackets(refused)}",
            retry_after=retry_after(refused.headers),
            hint="spread the start of instances, or ask for a higher quota",
        )
    return BackendUnavailable(
        f"the service is not working at the moment (status {refused.status})",
        hint="see the AWS health dashboard, and proxies on the way to the endpoint",
    )


def _denial(refused: Refused) -> SecretBridgeError:
    caller = _CALLER.search(refused.text)
    who = caller[1] if caller else "the caller"
    service = _SERVICES[refused.operation][1]
    told = refused.text.lower()
    if "kms" in told or "customer master key" in told:
        return AccessDenied(
            f"{who} may not decrypt with the secret's KMS key",
            hint="allow kms:Decrypt for the caller in the key's policy",
        )
    return AccessDenied(
        f"{who} may not call {service}:{_named(refused.operation)} for it",
        hint="allow the action in the caller's IAM policy and in the secret's resource policy; "
        "AWS answers the same for a secret that does not exist when the caller may not know that",
    )


def _is_key_trouble(refused: Refused) -> bool:
    if refused.code.startswith(("DecryptionFailure", "KMS", "InvalidKeyId")):
        return True
    return bool(_KEY_OFF.search(refused.text.lower()))


def _undecryptable() -> SecretBridgeError:
    # Not AccessDenied: the caller may read the secret, its value was not withdrawn, and an outage of
    # KMS looks the same. So the last good value serves on, marked and bounded. Nor does it say
    # anything about the store, which reads everything else.
    return BackendUnavailable(
        "the secret cannot be decrypted with its KMS key",
        concerns_store=False,
        hint="check that the secret's KMS key exists, is enabled, and allows kms:Decrypt",
    )


def _missing(refused: Refused, request: DocumentId | None) -> SecretBridgeError:
    if "secret value for" not in refused.text.lower():
        return SecretMissing(
            "AWS Secrets Manager has no secret of this name in this account and region",
            hint="check the name (a leading '/' belongs to it), the store's region and account",
        )
    version = request.option("version") if request is not None else None
    stage = request.option("stage") if request is not None else None
    if version is None and stage is None:
        return VersionMissing(
            "the secret exists but has no current value",
            hint="store a value: `aws secretsmanager put-secret-value`",
        )
    which = " and ".join(
        f"{name} {value}" for name, value in (("version", version), ("stage", stage)) if value
    )
    return VersionMissing(
        f"the secret has no {which}",
        hint="`aws secretsmanager list-secret-version-ids` shows those it has",
    )


def _missing_parameter(refused: Refused, request: DocumentId | None) -> SecretBridgeError:
    if refused.code == "ParameterNotFound":
        # GetParameters does not tell a missing version from a missing parameter.
        is_unclear = (
            refused.operation == "GetParameters" and request is not None and request.options
        )
        return SecretMissing(
            "AWS Parameter Store has no parameter of this name in this account and region"
            + (", or it has no such version" if is_unclear else ""),
            hint="check the name (a leading '/' belongs to it), the store's region and account",
        )
    pinned = request.options if request is not None else ()
    which = " or ".join(f"{name} {value}" for name, value in pinned) or "such version"
    return VersionMissing(
        f"the parameter has no {which}",
        hint="`aws ssm get-parameter-history` shows the versions and labels it has",
    )


def _invalid_request(refused: Refused) -> SecretBridgeError:
    text = refused.text.lower()
    if "marked" in text and "delet" in text:
        return SecretDeleted(
            "the secret is scheduled for deletion",
            hint="`aws secretsmanager restore-secret` brings it back until its recovery window ends",
        )
    if "not associated" in text:
        return ConfigError(
            "the version does not carry this stage",
            hint="give only one of ?version= and ?stage=, or a pair that belongs together",
        )
    return ConfigError(
        "AWS Secrets Manager cannot do this with the secret as it is (InvalidRequestException)",
        hint="look at the secret's state in the AWS console: replication, rotation, KMS key",
    )


def _unknown(refused: Refused) -> SecretBridgeError:
    if 300 <= refused.status < 400:
        return BackendUnavailable(
            f"the endpoint redirects elsewhere (status {refused.status}), which is not followed",
            hint="check that endpoint_url is an endpoint of this service of AWS",
        )
    return BackendUnavailable(
        f"the answer is no answer of {_SERVICES[refused.operation][0]} (status {refused.status}"
        + (f", {refused.code})" if _CODE.fullmatch(refused.code) else ")"),
        hint="check region and endpoint_url, and proxies on the way to the endpoint",
    )


def _named(operation: str) -> str:
    return operation if _CODE.fullmatch(operation) else "a call"


def _in_brackets(refused: Refused) -> str:
    return f" ({refused.code})" if _CODE.fullmatch(refused.code) else ""
