"""The manifests of sidecar/kubernetes and the chart: what they promise, read from what is rendered."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from secretbridge.config import load_config

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "sidecar/kubernetes"
CHART = ROOT / "sidecar/helm"
RENDERED = ROOT / "tests/vectors/chart/rendered.yaml"
DIGEST = "sha256:" + "0" * 64
VALUES: dict[str, Any] = {
    "sidecar": {
        "image": f"registry.example.com/secretbridge-sidecar@{DIGEST}",
        "pullPolicy": "Always",
        "vault": {"address": "https://vault.vault.svc:8200", "role": "app", "caCertificate": "PEM"},
        "secrets": {"db_password": "vault:kv/app/db#password"},
    },
    "app": {
        "image": f"registry.example.com/app@{DIGEST}",
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
        "livenessProbe": {"httpGet": {"path": "/alive", "port": 8080}},
    },
    "monitoring": {"enabled": True},
}


def program(name: str, variable: str) -> str:
    found = os.environ.get(variable) or shutil.which(name)
    if not found:
        pytest.skip(f"no {name} on the PATH, and ${variable} names none")
    return found


def kustomize(folder: Path) -> list[Any]:
    """Return what kustomize makes of a directory."""
    command = [program("kubectl", "SECRETBRIDGE_KUBECTL"), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def helm(tmp_path: Path, values: Any) -> subprocess.CompletedProcess[str]:
    """Let helm render the chart with ``values``."""
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    command = [program("helm", "SECRETBRIDGE_HELM"), "template", "web", str(CHART), "-n", "app"]
    command += ["--kube-version", "1.31.0"]
    return subprocess.run(
        [*command, "--values", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "HOME": str(tmp_path)},
    )


def fingerprint() -> str:
    """Return what tells one state of the chart from another."""
    digest = hashlib.sha256(yaml.safe_dump(VALUES).encode())
    for path in sorted(
        path for path in CHART.rglob("*") if path.is_file() and not path.is_symlink()
    ):
        digest.update(path.relative_to(CHART).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def rendered(tmp_path: Path, values: Any) -> list[Any]:
    """Return what helm makes of the chart.

    For :data:`VALUES` what helm made is kept in a file, with the fingerprint of the chart that it was
    made of, so that machines without helm can look at it, and notice when it is of another chart.
    """
    if values is VALUES and not has_helm():
        head, _, text = RENDERED.read_text().partition("\n")
        assert head == f"# helm template of {fingerprint()}", f"render {RENDERED} again, with helm"
        return list(yaml.safe_load_all(text))
    done = helm(tmp_path, values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def changed(**sidecar: Any) -> Any:
    values = copy.deepcopy(VALUES)
    values["sidecar"].update(sidecar)
    return values


def has_helm() -> bool:
    return bool(os.environ.get("SECRETBRIDGE_HELM") or shutil.which("helm"))


def test_the_kept_rendering_is_what_helm_makes_of_the_chart(tmp_path: Path) -> None:
    program("helm", "SECRETBRIDGE_HELM")
    documents = rendered(tmp_path, VALUES)
    if os.environ.get("SECRETBRIDGE_RENDER"):
        head = f"# helm template of {fingerprint()}\n"
        RENDERED.write_text(head + yaml.safe_dump_all(kept(documents), sort_keys=False))
    head, _, text = RENDERED.read_text().partition("\n")
    assert head == f"# helm template of {fingerprint()}"
    assert kept(documents) == list(yaml.safe_load_all(text))


def kept(documents: list[Any]) -> list[Any]:
    """Leave out the alerts, which change without the chart."""
    return [document for document in documents if document["kind"] != "PrometheusRule"]


def of_kind(documents: list[Any], kind: str) -> list[Any]:
    return [document for document in documents if document["kind"] == kind]


def pods(documents: list[Any]) -> Iterator[Any]:
    for deployment in of_kind(documents, "Deployment"):
        yield deployment["spec"]["template"]["spec"]


@pytest.fixture(params=["manifests", "chart"])
def documents(request: pytest.FixtureRequest, tmp_path: Path) -> list[Any]:
    if request.param == "manifests":
        return kustomize(MANIFESTS / "base")
    return rendered(tmp_path, VALUES)


def assert_restricted(pod: Any) -> None:
    """Assert the rules of the Pod Security Standard "restricted", as its page lists them."""
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    allowed = {"configMap", "emptyDir", "projected", "secret", "downwardAPI"}
    for volume in pod["volumes"]:
        assert set(volume) - {"name"} <= allowed, volume
    for container in [*pod["initContainers"], *pod["containers"]]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["readOnlyRootFilesystem"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any("hostPort" in port for port in container.get("ports", ()))


def test_the_pod_is_restricted(documents: list[Any]) -> None:
    (pod,) = pods(documents)
    assert_restricted(pod)


def test_the_sidecar_is_a_native_one_that_the_application_waits_for(documents: list[Any]) -> None:
    (pod,) = pods(documents)
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["exec"]["command"][-1] == "healthcheck"


def test_the_pod_may_do_nothing_in_the_cluster(documents: list[Any]) -> None:
    assert [role["rules"] for role in of_kind(documents, "Role")] == [[]]
    assert of_kind(documents, "ClusterRole") == of_kind(documents, "ClusterRoleBinding") == []
    (account,) = of_kind(documents, "ServiceAccount")
    (pod,) = pods(documents)
    assert account["automountServiceAccountToken"] is pod["automountServiceAccountToken"] is False


def test_the_token_is_for_vault_alone_and_only_the_sidecar_has_it(documents: list[Any]) -> None:
    (pod,) = pods(documents)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (source,) = volumes["vault-token"]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "vault"
    assert source["serviceAccountToken"]["expirationSeconds"] == 600
    (app,) = pod["containers"]
    assert [mount["name"] for mount in app["volumeMounts"]] == ["secretbridge"]
    assert app["volumeMounts"][0]["readOnly"] is True
    assert "subPath" not in app["volumeMounts"][0]


def test_the_files_are_in_memory_and_bounded(documents: list[Any]) -> None:
    (pod,) = pods(documents)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["secretbridge"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Mi"}


def test_the_configuration_is_one_that_the_sidecar_takes(
    documents: list[Any], tmp_path: Path
) -> None:
    (found,) = of_kind(documents, "ConfigMap")
    file = tmp_path / "secretbridge.yaml"
    file.write_text(found["data"]["secretbridge.yaml"])
    file.chmod(0o600)
    config = load_config(file)
    assert str(config.sidecar.target) == "/run/secretbridge/files"
    (pod,) = pods(documents)
    assert config.sidecar.group == pod["securityContext"]["fsGroup"]


def test_egress_is_to_the_store_and_to_names_alone(documents: list[Any]) -> None:
    policies = of_kind(documents, "NetworkPolicy")
    ports = {
        port["port"]
        for policy in policies
        for rule in policy["spec"].get("egress", ())
        for port in rule["ports"]
    }
    assert ports == {8200, 53}
    assert all(rule.get("to") for policy in policies for rule in policy["spec"].get("egress", ()))
    assert any(policy["spec"]["policyTypes"] == ["Ingress", "Egress"] for policy in policies)


def test_the_one_shot_variants_end(tmp_path: Path) -> None:
    for documents in (kustomize(MANIFESTS / "one-shot"), rendered(tmp_path, changed(mode="once"))):
        (pod,) = pods(documents)
        (sidecar,) = pod["initContainers"]
        assert sidecar["args"] == ["once"]
        assert not {"restartPolicy", "startupProbe", "livenessProbe", "ports"} & set(sidecar)
        assert_restricted(pod)


EXISTING = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  labels: {secretbridge.dev/sidecar: "true"}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
        - name: shop
          image: shop
          volumeMounts: [{name: scratch, mountPath: /scratch}]
      volumes: [{name: scratch, emptyDir: {}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other}
spec:
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec:
      containers: [{name: other, image: other}]
"""


def test_the_component_puts_the_sidecar_into_a_deployment_that_exists(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(EXISTING)
    shutil.copytree(MANIFESTS / "component", tmp_path / "component")
    own = {"resources": ["shop.yaml"], "components": ["component"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
    found = {d["metadata"]["name"]: d["spec"]["template"]["spec"] for d in kustomize(tmp_path)}
    shop = found["shop"]
    assert [container["name"] for container in shop["initContainers"]] == ["secretbridge"]
    assert shop["initContainers"][0]["restartPolicy"] == "Always"
    mounts = {mount["name"]: mount for mount in shop["containers"][0]["volumeMounts"]}
    assert mounts["secretbridge"]["readOnly"] is True
    assert set(mounts) == {"scratch", "secretbridge"}
    assert {"scratch", "secretbridge", "vault-token"} <= {v["name"] for v in shop["volumes"]}
    assert "initContainers" not in found["other"]


def test_component_and_manifests_have_the_same_sidecar() -> None:
    base = yaml.safe_load((MANIFESTS / "base/deployment.yaml").read_text())
    component = yaml.safe_load((MANIFESTS / "component/sidecar.yaml").read_text())
    here, there = (d["spec"]["template"]["spec"] for d in (base, component))
    assert here["initContainers"] == there["initContainers"]
    assert here["volumes"] == there["volumes"]


def test_the_operators_rules_are_those_of_the_alerts(tmp_path: Path) -> None:
    alerts = yaml.safe_load((ROOT / "sidecar/prometheus/alerts.yml").read_text())
    manifest = yaml.safe_load((MANIFESTS / "monitoring/rule.yaml").read_text())
    assert manifest["spec"] == alerts, (
        "put the rules of alerts.yml below spec of monitoring/rule.yaml"
    )
    program("helm", "SECRETBRIDGE_HELM")
    (rule,) = of_kind(rendered(tmp_path, VALUES), "PrometheusRule")
    assert rule["spec"] == alerts


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ({"image": "secretbridge-sidecar:latest"}, "sidecar.image"),
        ({"secrets": {}}, "sidecar.secrets"),
        ({"secrets": {"db": "hunter2"}}, "sidecar.secrets.db"),
        ({"mode": "always"}, "sidecar.mode"),
        ({"nonsense": 1}, "nonsense"),
        ({"vault": {"address": "http://vault:8200"}}, "sidecar.vault.address"),
        ({"vault": {"address": "https://vault:8200"}}, "sidecar.vault.role: the role to log in"),
    ],
)
def test_a_mistake_in_the_values_is_named(tmp_path: Path, mistake: Any, said: str) -> None:
    done = helm(tmp_path, changed(**mistake))
    assert done.returncode != 0
    assert said in done.stderr.replace("/", ".")


def test_the_schema_knows_every_value_of_the_chart() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(values: Any, rules: Any, where: str) -> None:
        if "$ref" in rules or "properties" not in rules:
            return
        assert set(values) <= set(rules["properties"]), where
        assert rules["additionalProperties"] is False, where
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, rules["properties"][name], f"{where}.{name}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "values")
