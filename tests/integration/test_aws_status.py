"""``secretbridge check`` and ``status`` on stores of AWS: who we are, for how long, what is next."""

import json

import pytest

from secretbridge.cli import main
from tests.servers.aws import CALLER, REGION, FaultServer, Reply, clean_environment, sts_answer

pytest.importorskip("botocore")

ROLE = "arn:aws:iam::123456789012:role/app"
VALUE = "corr3ct horse battery staple"


@pytest.fixture
def server(monkeypatch, tmp_path):
    clean_environment(monkeypatch)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-token")
    monkeypatch.chdir(tmp_path)
    with FaultServer() as server:
        server.put("app/db", json.dumps({"password": VALUE}))
        server.parameters.put("/app/key", VALUE)
        yield server


@pytest.fixture
def told(server, tmp_path, capsys):
    """Run a command and return its exit code, what it prints, and that as JSON."""
    at = {"region": REGION, "endpoint_url": server.url}
    config = {
        "stores": {"aws-sm": {**at, "role_arn": ROLE}, "aws-ssm": at},
        "secrets": {"password": "aws-sm:app/db#password", "key": "aws-ssm:/app/key"},
        "cache": {"refresh": "5m"},
    }
    path = tmp_path / "secretbridge.yaml"
    path.write_text(json.dumps(config))

    def told(command):
        code = main([command, "--config", str(path)])
        text = capsys.readouterr().out
        main([command, "--config", str(path), "--json"])
        state = capsys.readouterr().out
        for word in (VALUE, "canary-token", "not-a-real-key", "ASIAEXAMPLE"):
            assert word not in text + state
        return code, text, json.loads(state)

    return told


@pytest.mark.parametrize("command", ["check", "status"])
def test_each_store_tells_who_until_when_and_what_is_next(told, command):
    code, text, state = told(command)
    assert code == 0
    assert f"logged in as {CALLER}" in text
    rows = {row["store"]: row for row in state["stores"]}
    assert set(rows) == {"aws-sm", "aws-ssm"}
    for row in rows.values():
        assert (row["who"], row["error"]) == (CALLER, None)
        assert 0 < row["due_in"] <= 300
    assert rows["aws-sm"]["until"] > 3600  # a role ends
    assert rows["aws-ssm"]["until"] is None  # keys of the environment do not


def test_where_sts_is_out_of_reach_the_secrets_are_checked_all_the_same(server, told):
    server.answer_form = lambda form: (
        Reply(b"", 503) if form["Action"] == "GetCallerIdentity" else sts_answer(form)
    )
    code, text, state = told("check")
    assert code == 0
    assert "all can be had" in text
    assert [row["who"] for row in state["stores"]] == [None, None]
    assert all("not working" in row["error"] for row in state["stores"])


def test_a_role_that_may_not_be_assumed_is_told_at_the_store_and_the_secret(server, told):
    server.answer_form = lambda form: Reply(
        b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>", 403
    )
    code, text, state = told("check")
    assert code == 3
    assert "AssumeRole was refused" in text
    rows = {row["store"]: row for row in state["stores"]}
    assert "AssumeRole was refused" in rows["aws-sm"]["error"]
    secrets = {row["name"]: row for row in state["secrets"]}
    assert (secrets["password"]["ok"], secrets["key"]["ok"]) == (False, True)
