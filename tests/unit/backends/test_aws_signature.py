"""Signatures: those of AWS's own test suite, and the same as botocore's for whatever is sent."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.backends._aws_credentials import Keys
from secretbridge.backends._aws_signature import Scope, signed

EXAMPLE = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
MOMENT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
SCOPE = Scope("us-east-1", "service")


def test_the_signature_of_awss_example_comes_out():
    # "post-vanilla" of the Signature Version 4 test suite that AWS publishes.
    sent = signed(EXAMPLE, SCOPE, "example.amazonaws.com", "/", {}, b"", MOMENT)
    assert sent == {
        "Host": "example.amazonaws.com",
        "X-Amz-Date": "20150830T123600Z",
        "Authorization": (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            "SignedHeaders=host;x-amz-date, "
            "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        ),
    }


TEXT = st.text("abcXYZ019+/=_-", min_size=1, max_size=60)


@given(
    TEXT,
    TEXT,
    st.none() | TEXT,
    st.sampled_from(["secretsmanager", "ssm", "sqs", "sts"]),
    st.sampled_from(["/", "/prefix/", "/a/b-c_d.e~f/"]),
    st.binary(max_size=200),
    st.integers(0, 4_000_000_000),
)
def test_it_is_the_same_as_botocores(access, secret, token, service, path, body, moment):
    auth = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "x.Get"}
    ours = signed(
        Keys(access, secret, token),
        Scope("eu-west-1", service),
        "host:81",
        path,
        headers,
        body,
        moment,
    )
    request = AWSRequest("POST", f"http://host:81{path}", headers, body)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment))
    request.context["timestamp"] = stamp
    request.headers["X-Amz-Date"] = stamp
    if token:
        request.headers["X-Amz-Security-Token"] = token
    signer = auth.SigV4Auth(Credentials(access, secret, token), service, "eu-west-1")
    theirs = signer.signature(
        signer.string_to_sign(request, signer.canonical_request(request)), request
    )
    assert ours["Authorization"].endswith(f"Signature={theirs}")
    assert ours.get("X-Amz-Security-Token") == token
