"""References of other tools become ours, or are refused with a reason."""

from __future__ import annotations

import pytest

from secretbridge.errors import ConfigError
from secretbridge.migrate.foreign import is_foreign, references_in, translate

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/db-AbCdEf"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("ref+vault://secret/app#/password", "vault:secret/app#password"),
        ("secretref+vault://kv/app/db?version=3#/user", "vault:kv/app/db?version=3#user"),
        ("ref+vault://kv/app#/nested/key", "vault:kv/app#/nested/key"),
        ("ref+awssecrets://app/db#/password", "aws-sm:app/db#password"),
        ("ref+awssecrets://app?version_stage=AWSPREVIOUS", "aws-sm:app?stage=AWSPREVIOUS"),
        ("ref+awsssm://app/db", "aws-ssm:/app/db"),
        ("ref+file:///etc/creds.json#/db/password", "file:/etc/creds.json#/db/password"),
        ("vault:secret/data/app#password", "vault:secret/app#password"),
        ("vault:secret/data/app#password#4", "vault:secret/app?version=4#password"),
        (">>vault:secret/data/team/app#key", "vault:secret/team/app#key"),
        ("vault:database/creds/app#username", "vault:database/creds/app#username"),
        (ARN, f"aws-sm:{ARN}"),
        (f"{ARN}:password::", f"aws-sm:{ARN}#password"),
        (f"{ARN}:password:AWSPREVIOUS:", f"aws-sm:{ARN}?stage=AWSPREVIOUS#password"),
        (
            "arn:aws:ssm:eu-west-1:123456789012:parameter/app/db",
            "aws-ssm:arn:aws:ssm:eu-west-1:123456789012:parameter/app/db",
        ),
        ("{{resolve:secretsmanager:app/db:SecretString:password}}", "aws-sm:app/db#password"),
        (f"{{{{resolve:secretsmanager:{ARN}:SecretString:user}}}}", f"aws-sm:{ARN}#user"),
        ("{{resolve:ssm-secure:/app/db:3}}", "aws-ssm:/app/db?version=3"),
    ],
)
def test_a_reference_of_theirs_is_one_of_ours(theirs: str, ours: str) -> None:
    assert translate(theirs)[0] == ours


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ("op://vault/item/field", "1Password"),
        ("ref+gcpsecrets://project/secret", "gcpsecrets"),
        ("ref+sops://file.yaml#/a", "sops"),
        ("vault:secret/data/app#${.USER}", "template"),
        ("x{{resolve:ssm:a}}", "no reference"),
        ("{{resolve:ssm:a}}/b", "text around"),
        ("{{resolve:secretsmanager:a:SecretBinary}}", "SecretBinary"),
        ("arn:aws:s3:::bucket", "no ARN"),
        ("ref+vault://../etc#/a", "does not make"),
    ],
)
def test_what_has_no_counterpart_says_why(theirs: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        translate(theirs)
    assert caught.value.hint


def test_an_address_belongs_into_the_store() -> None:
    reference, note = translate("ref+vault://kv/app?address=https://vault:8200#/a")
    assert reference == "vault:kv/app#a"
    assert "address" in note


def test_an_ordinary_value_is_not_foreign() -> None:
    assert not any(map(is_foreign, ["hunter2", "vault:kv/app#a", "https://x", "", "reference"]))


def test_an_external_secret_is_read_with_its_store() -> None:
    content = b"""
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: vault}
spec: {provider: {vault: {server: "https://vault:8200", path: kv, version: v2}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: app}
spec:
  secretStoreRef: {name: vault, kind: SecretStore}
  data:
    - secretKey: DB_PASSWORD
      remoteRef: {key: app/db, property: password}
    - secretKey: token
      remoteRef: {key: kv/data/app/api, property: token, version: "2"}
  dataFrom:
    - extract: {key: app/all}
"""
    found = references_in(content, "eso.yaml")
    assert [(each.name, each.reference) for each in found[:2]] == [
        ("db_password", "vault:kv/app/db#password"),
        ("token", "vault:kv/app/api?version=2#token"),
    ]
    assert "no counterpart" in found[2].refusal


def test_an_ecs_task_a_helm_file_and_a_dotenv_file_are_read() -> None:
    task = (
        f'{{"containerDefinitions": [{{"secrets": [{{"name": "DB", "valueFrom": "{ARN}:k::"}}]}}]}}'
    )
    assert [each.reference for each in references_in(task.encode(), "t.json")] == [
        f"aws-sm:{ARN}#k"
    ]
    values = b"db:\n  password: ref+vault://kv/app#/password\nother: plain\n"
    assert [each.name for each in references_in(values, "values.yaml")] == ["password"]
    lines = b"# x\nexport API_KEY='op://team/api/key'\nDB=vault:secret/data/db#pw\nPORT=1\n"
    found = references_in(lines, ".env")
    assert [(each.name, each.reference) for each in found] == [
        ("api_key", ""),
        ("db", "vault:secret/db#pw"),
    ]
