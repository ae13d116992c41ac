"""What each refusal of AWS Secrets Manager becomes."""

import pytest

from secretbridge.backends._aws_errors import Refused, error_for
from secretbridge.backends._aws_library_errors import library_error
from secretbridge.errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    ConfigError,
    RateLimited,
    SecretDeleted,
    SecretMissing,
    VersionMissing,
)
from secretbridge.reference import Reference
from secretbridge.testing._leaks import assert_no_leak
from tests.servers.aws import DENIED, MARKED, MISSING, MISSING_VALUE

MOTO_MARKED = (
    "An error occurred (InvalidRequestException) when calling the GetSecretValue operation: You "
    "tried to perform the operation on a secret that's currently marked deleted."
)
DISAGREE = "You provided a VersionStage that is not associated to the provided VersionId."


def refused(code, text="", status=400, *, operation="GetSecretValue", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refused(operation, code, text, status, named)


@pytest.mark.parametrize(
    ("code", "text", "status", "kind"),
    [
        ("ResourceNotFoundException", MISSING, 400, SecretMissing),
        ("ResourceNotFoundException", MISSING, 404, SecretMissing),
        ("ResourceNotFoundException", MISSING_VALUE.format("VersionId: x"), 400, VersionMissing),
        ("InvalidRequestException", MARKED, 400, SecretDeleted),
        ("InvalidRequestException", MOTO_MARKED, 400, SecretDeleted),
        ("InvalidRequestException", DISAGREE, 400, ConfigError),
        ("InvalidRequestException", "something new", 400, ConfigError),
        ("InvalidParameterException", "", 400, ConfigError),
        ("ValidationException", "", 400, ConfigError),
        ("AccessDeniedException", DENIED, 400, AccessDenied),
        ("AccessDeniedException", "Access to KMS is not allowed", 400, AccessDenied),
        ("DecryptionFailure", "", 400, BackendUnavailable),
        ("KMSDisabledException", "", 400, BackendUnavailable),
        ("ThrottlingException", "Rate exceeded", 400, RateLimited),
        ("ThrottlingException", "", 400, RateLimited),
        ("TooManyRequestsException", "", 400, RateLimited),
        ("RequestLimitExceeded", "", 503, RateLimited),
        ("", "", 429, RateLimited),
        ("InternalServiceError", "", 500, BackendUnavailable),
        ("InternalServiceError", "", 400, BackendUnavailable),
        ("", "", 502, BackendUnavailable),
        ("", "", 503, BackendUnavailable),
        ("ExpiredTokenException", "", 400, AuthenticationFailed),
        ("ExpiredToken", "", 403, AuthenticationFailed),
        ("UnrecognizedClientException", "", 400, AuthenticationFailed),
        ("InvalidClientTokenId", "", 403, AuthenticationFailed),
        ("InvalidSignatureException", "", 400, AuthenticationFailed),
        ("RequestTimeTooSkewed", "", 403, AuthenticationFailed),
        ("Forbidden", "", 403, AccessDenied),
        ("", "", 401, BackendUnavailable),
        ("", "", 403, BackendUnavailable),
        ("", "", 407, BackendUnavailable),
        ("", "", 307, BackendUnavailable),
        ("", "<html>", 404, BackendUnavailable),
        ("SomethingNew", "", 400, BackendUnavailable),
    ],
)
def test_a_refusal_becomes_an_error_of_exactly_one_kind(code, text, status, kind):
    error = error_for(refused(code, text, status))
    assert type(error) is kind
    assert error.hint


def test_a_page_that_is_not_found_at_a_wrong_address_is_no_missing_secret():
    # An optional secret would silently take its default while endpoint_url points at a web server.
    assert not isinstance(error_for(refused("", "", 404)), SecretMissing)


def test_only_throttles_failures_and_kms_trouble_are_transient():
    transient = {
        code
        for code in ("ThrottlingException", "InternalServiceError", "DecryptionFailure")
        if error_for(refused(code)).is_transient
    }
    lasting = {
        code
        for code in ("AccessDeniedException", "ExpiredTokenException", "ValidationException")
        if not error_for(refused(code)).is_transient
    }
    assert len(transient) == len(lasting) == 3


def test_the_seconds_of_retry_after_are_kept():
    error = error_for(refused("ThrottlingException", status=429, retry_after="7"))
    assert error.retry_after == 7.0


@pytest.mark.parametrize(
    "value", ["", "soon", "-1", "1e9", "9999999", "Wed, 21 Oct 2026 07:28 GMT"]
)
def test_a_retry_after_that_is_no_count_of_seconds_is_ignored(value):
    assert error_for(refused("", status=429, retry_after=value)).retry_after is None


def test_a_denial_names_the_caller_and_the_action():
    error = error_for(refused("AccessDeniedException", DENIED.format("GetSecretValue", "app/db")))
    assert "arn:aws:sts::123456789012:assumed-role/app/i-1" in error.message
    assert "secretsmanager:GetSecretValue" in error.message


def test_a_denial_by_the_key_speaks_of_the_key_and_does_not_name_it():
    text = "Access to KMS is not allowed: arn:aws:kms:eu-west-1:123456789012:key/0000-1111"
    error = error_for(refused("AccessDeniedException", text))
    assert "kms:Decrypt" in error.hint
    assert "0000-1111" not in str(error)


def test_a_missing_version_and_a_missing_stage_are_named():
    text = MISSING_VALUE.format("VersionId: x")
    version = Reference.parse(f"aws-sm:app/db?version={'0' * 32}").document
    stage = Reference.parse("aws-sm:app/db?stage=BLUE").document
    assert "version 0000" in error_for(refused("ResourceNotFoundException", text), version).message
    assert "stage BLUE" in error_for(refused("ResourceNotFoundException", text), stage).message


def test_a_secret_without_a_current_value_is_told_from_one_that_does_not_exist():
    text = MISSING_VALUE.format("staging label: AWSCURRENT")
    request = Reference.parse("aws-sm:app/db").document
    error = error_for(refused("ResourceNotFoundException", text), request)
    assert "has no current value" in error.message


def test_a_refused_role_is_no_denied_secret():
    error = error_for(refused("AccessDenied", status=403, operation="AssumeRole"))
    assert type(error) is AuthenticationFailed
    assert "AssumeRole" in error.message


def test_a_throttled_role_is_transient():
    assert error_for(refused("Throttling", operation="AssumeRole")).is_transient


def test_nothing_that_the_server_wrote_freely_is_in_an_error():
    canary = "canary-5b1d"
    for code in (canary, f"X {canary}", "AccessDeniedException", "InvalidRequestException"):
        for status in (307, 400, 403, 404, 429, 500):
            error = error_for(refused(code if code != canary else f"{canary}!", canary, status))
            assert_no_leak(error, canary)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NoCredentialsError", AuthenticationFailed),
        ("PartialCredentialsError", AuthenticationFailed),
        ("CredentialRetrievalError", AuthenticationFailed),
        ("UnauthorizedSSOTokenError", AuthenticationFailed),
        ("NoRegionError", ConfigError),
        ("ProfileNotFound", ConfigError),
        ("EndpointProviderError", ConfigError),
        ("InfiniteLoopConfigError", ConfigError),
        ("ParamValidationError", ConfigError),
        ("MD5UnavailableError", BackendUnavailable),
    ],
)
def test_an_error_of_the_library_is_told_by_its_class(name, kind):
    exceptions = pytest.importorskip("botocore.exceptions")
    raised = getattr(exceptions, name).__new__(getattr(exceptions, name))
    error = library_error(raised)
    assert type(error) is kind
    assert error.hint


def test_the_text_of_a_library_error_is_not_used():
    exceptions = pytest.importorskip("botocore.exceptions")
    raised = exceptions.CredentialRetrievalError(provider="process", error_msg="canary-77aa")
    assert_no_leak(library_error(raised), "canary-77aa")
