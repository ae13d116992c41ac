"""Varied files through scan, plan and rewrite: every byte outside the edits stays, and the rest fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from .generator import Made, compose, manifest
from .projects import plan_of

COUNT = 70
"""Files of each kind."""

KEYS = {"environment:", "env:", "data:", "stringData:", "depends_on:"}
OURS = {"POSTGRES_INITDB_ARGS", "PATH"}


def lines_of(data: bytes) -> list[bytes]:
    return [line.rstrip(b"\r\n") for line in data.splitlines(keepends=True)]


def is_subsequence(few: list[bytes], many: list[bytes]) -> bool:
    found = iter(many)
    return all(line in found for line in few)


def untouched(before: bytes, made: Made) -> list[bytes]:
    """Return the lines of ``before`` that no edit has a reason to touch."""
    touched = [
        *made.values,
        *made.names,
        "depends_on",
        "svc0",
        "creds",
        "valueFrom",
        "secretKeyRef",
    ]
    touched += [
        "securityContext",
        "environment:",
        "env:",
        "data:",
        "stringData:",
        "volumeMounts",
        "key:",
    ]
    texts = [text.encode() for text in touched]
    return [line for line in lines_of(before) if line and not any(t in line for t in texts)]


def check_bytes(before: bytes, after: bytes, made: Made) -> None:
    assert [value for value in made.values if value.encode() in after] == []
    assert before.startswith(b"\xef\xbb\xbf") == after.startswith(b"\xef\xbb\xbf")
    assert (b"\r\n" in before) == (b"\r\n" in after)
    if b"\r\n" in before:
        assert after.count(b"\n") == after.count(b"\r\n")
    kept = untouched(before, made)
    assert len(kept) >= 3
    assert is_subsequence(kept, lines_of(after))
    comments = [line.partition(b"#")[2] for line in lines_of(before) if b"#" in line]
    assert [c for c in comments if b"#" + c not in after] == []


def variables(node: Any) -> dict[str, str]:
    if isinstance(node, list):
        return {str(item).partition("=")[0]: str(item).partition("=")[2] for item in node}
    return {str(key): str(value) for key, value in (node or {}).items()}


def compose_meaning(data: bytes, secrets: set[str]) -> Any:
    """Return what a file says, without secrets and without what a migration adds."""
    found = yaml.safe_load(data.decode("utf-8-sig"))
    found["services"].pop("secretbridge", None)
    volumes = found.get("volumes")
    if volumes:
        volumes.pop("secretbridge", None)
    if not volumes:
        found.pop("volumes", None)
    for service in found["services"].values():
        env = variables(service.pop("environment", None))
        service["environment"] = {
            name: value
            for name, value in env.items()
            if name.removesuffix("_FILE") not in secrets and name not in OURS
        }
        mounts = [m for m in service.pop("volumes", []) if "secretbridge" not in m]
        service["volumes"] = mounts
        depends = service.pop("depends_on", [])
        service["depends_on"] = sorted(name for name in depends if name != "secretbridge")
        service.pop("group_add", None)
    return found


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_compose_file(seed: int, tmp_path: Path) -> None:
    made = compose(seed)
    plan = plan_of(tmp_path, {"docker-compose.yml": made.text}, unknown="file")
    assert plan.open == ()
    assert {secret.name for secret in plan.moved} >= {name.lower() for name in made.names}
    (change,) = [c for c in plan.changes if c.path == "docker-compose.yml"]
    assert change.before == made.text
    assert change.after is not None
    check_bytes(made.text, change.after, made)
    assert compose_meaning(change.after, made.names) == compose_meaning(made.text, made.names)
    found = yaml.safe_load(change.after.decode("utf-8-sig"))
    for name, service in found["services"].items():
        before = yaml.safe_load(made.text.decode("utf-8-sig"))["services"].get(name, {})
        if made.names & variables(before.get("environment")).keys():
            assert any("secretbridge:" in mount for mount in service["volumes"])
            assert service["depends_on"]["secretbridge"] == {"condition": "service_healthy"}
            env = variables(service["environment"])
            text = " ".join(env.values())
            for wanted in made.names & variables(before.get("environment")).keys():
                assert f"/run/secretbridge/{wanted.lower()}" in text


def pod_of(found: Any) -> Any:
    while "containers" not in found:
        found = found.get("spec") or found.get("template") or found.get("jobTemplate")
    return found


def manifest_meaning(data: bytes, secrets: set[str]) -> list[Any]:
    documents = [d for d in yaml.safe_load_all(data.decode("utf-8-sig")) if d]
    for found in documents:
        if found["kind"] == "Secret":
            for field in ("data", "stringData"):
                left = {k: v for k, v in found.pop(field, {}).items() if k not in secrets}
                if left:
                    found[field] = left
            continue
        pod = pod_of(found)
        pod.pop("initContainers", None)
        pod["volumes"] = [v for v in pod.pop("volumes", []) if "secretbridge" not in v["name"]]
        security = pod.pop("securityContext", {})
        security.pop("supplementalGroups", None)
        pod["securityContext"] = security
        for container in pod["containers"]:
            mounts = container.pop("volumeMounts", [])
            container["volumeMounts"] = [m for m in mounts if "secretbridge" not in m["name"]]
            container["env"] = [
                variable
                for variable in container.pop("env", [])
                if variable["name"].removesuffix("_FILE").removesuffix("_") not in secrets
                and variable["name"] not in OURS
            ]
    return documents


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_manifest(seed: int, tmp_path: Path) -> None:
    made = manifest(seed + 1000)
    plan = plan_of(
        tmp_path, {"app.yaml": made.text}, unknown="file", store="vault", backend="vault"
    )
    assert plan.open == ()
    (change,) = [c for c in plan.changes if c.path == "app.yaml"]
    assert change.after is not None
    check_bytes(made.text, change.after, made)
    assert manifest_meaning(change.after, made.names) == manifest_meaning(made.text, made.names)
    pods = [
        pod_of(d)
        for d in yaml.safe_load_all(change.after.decode("utf-8-sig"))
        if "spec" in (d or {})
    ]
    for pod in pods:
        assert "secretbridge" in {c["name"] for c in pod["initContainers"]}
        assert "secretbridge" in {v["name"] for v in pod["volumes"]}
        (container,) = pod["containers"]
        text = " ".join(str(v.get("value")) for v in container["env"])
        for name in made.names:
            assert f"/run/secretbridge/{name.lower()}" in text
