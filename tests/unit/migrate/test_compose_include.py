"""Compose files that include others are one project: what all share stands there once."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

import pytest
import yaml

from secretbridge.migrate.plan import Plan

from .projects import after, plan_of, stays
from .scanning import scan_tree

VALUE = "kestrel-Orbit-7741"
OTHER = "lantern-Quarry-1902"
READER = 'import os\nkey = os.environ["SECRET_KEY"]\n'
VOLUME = "secretbridge:/run/secretbridge"
PART = (
    "services:\n  db:\n    image: mongo:7\n    environment:\n"
    f"      MONGO_INITDB_ROOT_PASSWORD: {VALUE}\n"
)
ROOT = "include:\n  - parts/db.yml\nservices:\n  web:\n    image: busybox\n"
KINDS = ("services", "volumes", "secrets")


def yaml_of(plan: Plan, path: str) -> Any:
    return yaml.safe_load(after(plan, path))


def merged(plan: Plan, path: str) -> dict[str, dict[str, Any]]:
    """Return the model of the project of ``path``; what is in two files of it is refused."""
    model: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}

    def take(path: str, folder: str) -> None:
        found = yaml_of(plan, path)
        for item in found.get("include", ()):
            include = item if isinstance(item, dict) else {"path": item}
            paths = include["path"] if isinstance(include["path"], list) else [include["path"]]
            for each in paths:
                other = posixpath.normpath(posixpath.join(folder, each))
                inner = posixpath.dirname(posixpath.join(folder, paths[0]))
                if "project_directory" in include:
                    inner = posixpath.join(folder, include["project_directory"])
                take(other, posixpath.normpath(inner))
        for kind in KINDS:
            for name, node in (found.get(kind) or {}).items():
                assert name not in model[kind], f"{kind}.{name} conflicts with imported resource"
                model[kind][name] = node
                for mount in node.get("volumes", ()) if kind == "services" else ():
                    source = mount.partition(":")[0]
                    if source.startswith("."):
                        assert is_ours(plan, posixpath.normpath(posixpath.join(folder, source)))

    take(path, posixpath.dirname(path))
    for service in model["services"].values():
        assert set(service.get("depends_on", ())) <= model["services"].keys()
        assert set(service.get("secrets", ())) <= model["secrets"].keys()
        names = {mount.partition(":")[0] for mount in service.get("volumes", ())}
        assert {n for n in names if n[0] not in "./$~"} <= model["volumes"].keys()
    return model


def is_ours(plan: Plan, path: str) -> bool:
    made = {change.path for change in plan.changes}
    return (
        path in made
        or any(each.startswith(f"{path}/") for each in made)
        or (path == "secretbridge.d")
    )


def is_served(service: Any) -> bool:
    return VOLUME in service["volumes"] and "secretbridge" in service["depends_on"]


def test_the_sidecar_stands_once_in_the_file_that_includes(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"docker-compose.yml": ROOT, "parts/db.yml": PART})
    assert stays(plan) == []
    part = yaml_of(plan, "parts/db.yml")
    assert set(part) == {"services"}
    assert set(part["services"]) == {"db"}
    assert is_served(part["services"]["db"])
    root = yaml_of(plan, "docker-compose.yml")
    assert set(root["services"]) == {"web", "secretbridge"}
    assert root["services"]["web"] == {"image": "busybox"}
    assert set(root["volumes"]) == {"secretbridge"}
    merged(plan, "docker-compose.yml")


def test_both_may_have_secrets(tmp_path: Path) -> None:
    root = "include: [parts/db.yml]\n" + PART.replace("db:", "other:").replace(VALUE, OTHER)
    plan = plan_of(tmp_path, {"compose.yaml": root, "parts/db.yml": PART})
    assert stays(plan) == []
    services = merged(plan, "compose.yaml")["services"]
    assert is_served(services["db"])
    assert is_served(services["other"])


@pytest.mark.parametrize(
    "include",
    [
        "include: parts/db.yml\n",
        "include:\n- path: parts/db.yml\n",
        "include:\n- path: [parts/db.yml, parts/more.yml]\n",
        "include:\n- {path: parts/db.yml, project_directory: .}\n",
        "include:\n- path: ${PARTS:-parts}/db.yml\n  env_file: [prod.env]\n",
    ],
)
def test_a_file_that_only_includes_gets_the_sidecar_all_the_same(
    include: str, tmp_path: Path
) -> None:
    files = {"compose.yaml": include, "parts/db.yml": PART, "parts/more.yml": "services: {}\n"}
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    assert after(plan, "compose.yaml").startswith(include)
    assert set(yaml_of(plan, "compose.yaml")) == {"include", "services", "volumes"}
    assert set(yaml_of(plan, "parts/db.yml")) == {"services"}


@pytest.mark.parametrize("delivery", ["sidecar", "secrets"])
def test_it_stands_in_the_outermost_file(delivery: str, tmp_path: Path) -> None:
    files = {
        "docker-compose.yml": "include:\n  - a/compose.yml\n",
        "a/compose.yml": "include:\n  - b/part.yml\n" + PART.replace("db:", "a:"),
        "a/b/part.yml": PART.replace(VALUE, OTHER),
    }
    plan = plan_of(tmp_path, files, delivery=delivery)
    assert stays(plan) == []
    model = merged(plan, "docker-compose.yml")
    assert len(model["volumes"] if delivery == "sidecar" else model["secrets"]) > 0
    for path in ("a/compose.yml", "a/b/part.yml"):
        assert yaml_of(plan, path).keys() <= {"include", "services"}
    notes = [note for note in plan.notes if "no longer runs by itself" in note]
    assert [note.partition(" ")[0] for note in notes] == ["a/compose.yml"]


def test_two_that_include_the_same_file_both_get_the_sidecar(tmp_path: Path) -> None:
    files = {
        "docker-compose.yml": ROOT,
        "ci/all.yml": "include: [../parts/db.yml]\n",
        "parts/db.yml": PART,
    }
    plan = plan_of(tmp_path, files)
    for path in ("docker-compose.yml", "ci/all.yml"):
        assert "secretbridge" in merged(plan, path)["services"]


def test_a_file_beside_that_is_laid_over_another_keeps_its_own_sidecar(tmp_path: Path) -> None:
    files = {
        "docker-compose.yml": ROOT,
        "docker-compose.override.yml": PART.replace("db:", "web:").replace(VALUE, OTHER),
        "parts/db.yml": PART,
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    both = [yaml_of(plan, p) for p in ("docker-compose.yml", "docker-compose.override.yml")]
    assert both[0]["services"]["secretbridge"] == both[1]["services"]["secretbridge"]
    assert both[0]["volumes"] == both[1]["volumes"]


@pytest.mark.parametrize(("directory", "expected"), [("", ".."), ("project_directory: .", ".")])
def test_paths_are_relative_to_the_directory_that_the_file_is_included_with(
    directory: str, expected: str, tmp_path: Path
) -> None:
    files = {
        "compose.yaml": f"include:\n  - path: parts/web.yml\n    {directory}\n",
        "parts/web.yml": (
            f"services:\n  web:\n    build: .\n    environment:\n      SECRET_KEY: {VALUE}\n"
            "      TZ: UTC\n"
        ),
        "app.py": READER,
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    mounts = merged(plan, "compose.yaml")["services"]["web"]["volumes"]
    assert f"{expected}/secretbridge.d/app.yaml:/etc/secretbridge/secretbridge.yaml:ro" in mounts


def test_a_file_that_is_included_with_two_directories_is_left_to_a_person(tmp_path: Path) -> None:
    files = {
        "compose.yaml": "include:\n  - {path: parts/web.yml, project_directory: .}\n",
        "ci/compose.yaml": "include:\n  - ../parts/web.yml\n",
        "parts/web.yml": (
            f"services:\n  web:\n    build: .\n    environment:\n      SECRET_KEY: {VALUE}\n"
        ),
        "app.py": READER,
    }
    plan = plan_of(tmp_path, files)
    assert plan.changes == ()
    assert "it is included with several project directories" in stays(plan)[0][1]


def test_files_that_include_each_other_in_a_circle_end(tmp_path: Path) -> None:
    again = "include:\n  - {path: ../parts/db.yml, project_directory: sub}\n"
    files = {
        "docker-compose.yml": ROOT,
        "parts/db.yml": "include: [../docker-compose.yml]\n" + PART,
        "parts/sub/x.yml": "",
        "x.yml": again + PART.replace("db:", "x:"),
    }
    plan = plan_of(tmp_path, files)
    assert VALUE not in after(plan, "parts/db.yml")


def test_what_cannot_be_declared_in_the_outermost_file_stays(tmp_path: Path) -> None:
    files = {"compose.yaml": ROOT + "volumes: {data: {}}\n", "parts/db.yml": PART}
    plan = plan_of(tmp_path, files)
    assert plan.changes == ()
    assert [about.path for about in plan.open] == ["parts/db.yml"]
    assert "compose.yaml is left alone: `volumes` is written in one line" in plan.open[0].reason


def test_the_sidecar_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    files = {"compose.yaml": ROOT, "parts/db.yml": PART}
    first = plan_of(tmp_path, files)
    again = {
        "compose.yaml": after(first, "compose.yaml"),
        "parts/db.yml": after(first, "parts/db.yml"),
        "parts/more.yml": PART.replace("db:", "more:").replace(VALUE, OTHER),
    }
    again["compose.yaml"] = again["compose.yaml"].replace(
        "  - parts/db.yml\n", "  - parts/db.yml\n  - parts/more.yml\n"
    )
    second = plan_of(tmp_path / "2", again)
    assert after(second, "compose.yaml") == again["compose.yaml"]
    assert is_served(merged(second, "compose.yaml")["services"]["more"])


def test_an_included_file_extends_from_another_directory(tmp_path: Path) -> None:
    files = {
        "compose.yaml": "include: [parts/db.yml]\n",
        "parts/db.yml": (
            "services:\n  db:\n    extends: {file: ../common/base.yml, service: mongo}\n"
            "    init: true\n"
        ),
        "common/base.yml": PART.replace("db:", "mongo:"),
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    assert is_served(merged(plan, "compose.yaml")["services"]["db"])
    assert set(yaml_of(plan, "common/base.yml")) == {"services"}


def test_what_the_including_project_sets_fills_in_the_included_file(tmp_path: Path) -> None:
    files = {
        "compose.yaml": "include:\n  - {path: parts/db.yml, env_file: conf/prod.env}\n",
        "parts/db.yml": (
            "services:\n  db:\n    image: mongo:7\n    environment:\n"
            f"      MONGO_INITDB_ROOT_PASSWORD: ${{MONGO_PASSWORD:-{OTHER}}}\n"
            "  web:\n    build: .\n    environment:\n"
            "      DATABASE_URL: mongodb://app:${MONGO_PASSWORD}@${HOST:-db}:${PORT}/app\n"
        ),
        ".env": "HOST=mongo.internal\n",
        "conf/prod.env": f"MONGO_PASSWORD={VALUE}\nHOST=other\nPORT=27017\n",
        "parts/.env": "PORT=1\n",
        "app.py": 'import os\nurl = os.environ["DATABASE_URL"]\n',
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    assert OTHER.encode() not in plan.values.values()
    template = after(plan, "secretbridge.d/database_url.j2")
    assert template.endswith("|urlencode }}@mongo.internal:27017/app")


def test_a_dotenv_file_that_an_include_names_is_read_as_one(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "compose.yaml": "include:\n  - {path: parts/db.yml, env_file: [conf/settings]}\n",
        "conf/settings": f"MONGO_PASSWORD={VALUE}\n",
    }
    (finding,) = scan_tree(tmp_path, files).findings
    assert (finding.path, finding.form) == ("conf/settings", "dotenv")
    assert finding.context["read_by"] == "compose include"


def test_a_dotenv_file_of_an_included_service_is_in_its_project_directory(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "compose.yaml": "include:\n  - {path: parts/db.yml, project_directory: run}\n",
        "parts/db.yml": "services:\n  db:\n    image: mongo\n    env_file: settings\n",
        "parts/settings": f"MONGO_PASSWORD={OTHER}\n",
        "run/settings": f"MONGO_PASSWORD={VALUE}\n",
    }
    (finding,) = scan_tree(tmp_path, files).findings
    assert (finding.path, finding.form) == ("run/settings", "dotenv")


@pytest.mark.parametrize(
    "text",
    [
        "include:\n",
        "include: []\n",
        "include: [[a], {b: c}, {path: }, {path: [ ]}, 1]\n",
        "include: {path: parts, project_directory: [x]}\n",
        "include: [., .., /etc/passwd, 'https://h/x.git', \"a\\0b\"]\n",
        "include: &a [*a]\n",
        "services:\n  x:\n    extends: {file: parts, service: x}\n",
        'services:\n  x:\n    extends: {file: "a\\0b", service: [y]}\n    env_file: "a\\0b"\n',
        'services:\n  x:\n    extends: {file: "a\\0b", service: y}\n    image:\n',
        "services:\n  x:\n    extends: [a, b]\n",
        "services: {" + ", ".join(f"s{n}: {{extends: s{n + 1}}}" for n in range(3000)) + "}\n",
    ],
)
def test_nothing_that_stands_there_breaks_the_plan(text: str, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"compose.yaml": text, "parts/docker-compose.yml": PART})
    assert is_served(yaml_of(plan, "parts/docker-compose.yml")["services"]["db"])
    assert after(plan, "compose.yaml") == text


def test_a_part_that_means_another_value_to_each_who_includes_it_stays(tmp_path: Path) -> None:
    part = (
        "services:\n  web:\n    build: .\n    environment:\n"
        "      DATABASE_URL: postgres://app:${PW}@${HOST:-db}/app\n"
    )
    files = {
        "parts/web.yml": part,
        "parts/app.py": 'import os\nurl = os.environ["DATABASE_URL"]\n',
        "compose.yaml": "include: [parts/web.yml]\n",
        ".env": f"PW={VALUE}\nHOST=a\n",
        "ci/compose.yaml": "include: [../parts/web.yml]\n",
        "ci/.env": f"PW={VALUE}\nHOST=b\n",
    }
    plan = plan_of(tmp_path, files)
    assert plan.changes == ()
    assert "fill it in with different values" in plan.open[0].reason
    plan = plan_of(tmp_path, {**files, "ci/.env": "HOST=a\n"})  # the rest comes from elsewhere
    assert stays(plan) == []
