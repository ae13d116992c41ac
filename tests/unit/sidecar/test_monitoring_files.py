"""The alert rules and the dashboard: they ask for metrics that exist, and each alert is tried."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from secretbridge_sidecar.metrics import FAMILIES

SIDECAR = Path(__file__).parents[3] / "sidecar"
PROMETHEUS = SIDECAR / "prometheus"
DASHBOARD = SIDECAR / "grafana" / "dashboard.json"

ADDED = {"instance", "job", "le", "alertstate"}
"""Labels that come from the scrape, or from Prometheus itself."""

OF_OTHERS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool: on Debian 'apt install prometheus'"
)


@cache
def known():
    """Return the labels of each metric by the names under which it is exposed."""
    found = dict.fromkeys(OF_OTHERS, frozenset(ADDED))
    for name, family in FAMILIES.items():
        full = f"secretbridge_{name}"
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        for ending in endings.get(family.kind, [""]):
            found[full + ending] = frozenset(family.labels) | ADDED
    return found


def asked(expr):
    """Return the metrics that an expression asks for, each with the labels it selects by."""
    bare = re.sub(r"\[[^]]*\]", "", expr)
    found = re.findall(r"([a-z_]+)(?:\{([^}]*)\})?", re.sub(r'"[^"]*"', '""', bare))
    return [
        (name, set(re.findall(r"([a-z_]+)[=!]", inside)))
        for name, inside in found
        if name.startswith("secretbridge_") or name in OF_OTHERS
    ]


def grouped(expr):
    """Return the labels by which an expression groups or matches."""
    found = re.findall(r"\b(?:by|on|ignoring) \(([^)]*)\)", expr)
    return {label.strip() for labels in found for label in labels.split(",") if label.strip()}


def rules():
    return yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if "targets" in panel]


EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in rules()} | {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in panels()
    for target in panel["targets"]
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_asks_for_metrics_and_labels_that_exist(name):
    expr = EXPRESSIONS[name]
    metrics = asked(expr)
    assert metrics, expr
    for metric, labels in metrics:
        assert metric in known(), expr
        assert labels <= known()[metric], expr
    assert grouped(expr) <= set.union(*(set(known()[metric]) for metric, _ in metrics)), expr


def test_a_wrong_name_would_be_noticed():
    (metric, labels) = asked('rate(secretbridge_nothing_total{colour="red"}[5m])')[0]
    assert (metric, labels) == ("secretbridge_nothing_total", {"colour"})
    assert metric not in known()


def test_every_metric_has_a_place_on_the_dashboard():
    shown = {
        metric
        for panel in panels()
        for each in panel["targets"]
        for metric, _ in asked(each["expr"])
    }
    names = {name for name in FAMILIES if any(m.startswith(f"secretbridge_{name}") for m in shown)}
    assert set(FAMILIES) - names <= {"stale"}  # which is: stale_seconds > 0


def test_panels_do_not_cover_each_other_and_have_numbers_of_their_own():
    taken = set()
    every = json.loads(DASHBOARD.read_text())["panels"]
    for panel in every:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in every}) == len(every)


def test_an_alert_says_how_bad_it_is_and_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"].endswith(".")


def promtool(*arguments):
    return subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@needs_promtool
def test_promtool_takes_the_rules_and_their_tests_pass():
    for arguments in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        found = promtool(*arguments[:2], str(PROMETHEUS / arguments[2]))
        assert found.returncode == 0, found.stdout + found.stderr


@needs_promtool
@pytest.mark.parametrize("name", [rule["alert"] for rule in rules()])
def test_without_an_alert_the_tests_of_the_rules_fail(name, tmp_path):
    left = [rule for rule in rules() if rule["alert"] != name]
    shutil.copy(PROMETHEUS / "alerts_test.yml", tmp_path)
    text = yaml.safe_dump({"groups": [{"name": "secretbridge", "rules": left}]})
    (tmp_path / "alerts.yml").write_text(text)
    assert promtool("test", "rules", str(tmp_path / "alerts_test.yml")).returncode == 1


@needs_promtool
def test_promtool_takes_every_expression_of_the_dashboard(tmp_path):
    # As recording rules: promtool of Debian checks no bare expression without a server.
    made = []
    for number, panel in enumerate(panels()):
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
            made.append({"record": f"panel:{number}:{target['refId']}", "expr": expr})
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": made}]}))
    found = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_reference_lists_every_metric_with_its_labels():
    page = (SIDECAR.parent / "docs" / "reference" / "sidecar.md").read_text()
    rows = re.findall(r"^\| `secretbridge_(\w+)` \| (.*?) \|", page, re.MULTILINE)
    listed = {
        name.removesuffix("_total"): tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows
    }
    assert listed == {name: family.labels for name, family in FAMILIES.items()}
