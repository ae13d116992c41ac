"""Compose files that extend services of others: who is edited, and who gets what is then needed."""

from __future__ import annotations

import posixpath
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from secretbridge.migrate.finding import HIGH
from secretbridge.migrate.plan import Plan

from .projects import after, plan_of, stays, write
from .scanning import scan_tree

VALUE = "kestrel-Orbit-7741"
OTHER = "lantern-Quarry-1902"
READER = 'import os\nkey = os.environ["SECRET_KEY"]\n'
VOLUME = "secretbridge:/run/secretbridge"
BASE = (
    "services:\n  db:\n    image: mongo:7\n    environment:\n"
    f"      MONGO_INITDB_ROOT_PASSWORD: {VALUE}\n"
)
EXTENDS = "services:\n  database:\n    extends: {file: common.yml, service: db}\n    init: true\n"
NAMED = "MONGO_INITDB_ROOT_PASSWORD_FILE"
FILE = "/run/secretbridge/mongo_initdb_root_password"


def yaml_of(plan: Plan, path: str) -> Any:
    return yaml.safe_load(after(plan, path))


def is_served(service: Any) -> bool:
    return VOLUME in service.get("volumes", ()) and "secretbridge" in service.get("depends_on", ())


def config(root: Path, plan: Plan, path: str) -> Any:
    """Return what docker-compose makes of ``path`` when the plan is carried out."""
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    write(root, {change.path: change.after or b"" for change in plan.changes})
    done = subprocess.run(
        ["docker-compose", "-f", path, "config"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def test_the_variable_is_edited_in_the_base_and_who_extends_it_is_served(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"common.yml": BASE, "docker-compose.yml": EXTENDS})
    assert stays(plan) == []
    assert after(plan, "common.yml") == BASE.replace(
        f"MONGO_INITDB_ROOT_PASSWORD: {VALUE}", f"{NAMED}: {FILE}"
    )
    found = yaml_of(plan, "docker-compose.yml")
    assert is_served(found["services"]["database"])
    assert "secretbridge" in found["services"]
    assert "secretbridge" in found["volumes"]
    made = config(tmp_path, plan, "docker-compose.yml")["services"]["database"]
    assert made["environment"] == {NAMED: FILE}
    assert made["image"] == "mongo:7"


def test_a_chain_over_three_files_serves_its_end(tmp_path: Path) -> None:
    files = {
        "common.yml": BASE,
        "middle.yml": EXTENDS,
        "compose.yaml": (
            "services:\n  last:\n    extends:\n      file: middle.yml\n      service: database\n"
        ),
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    assert after(plan, "middle.yml") == EXTENDS
    assert set(yaml_of(plan, "common.yml")) == {"services"}
    assert is_served(yaml_of(plan, "compose.yaml")["services"]["last"])
    made = config(tmp_path, plan, "compose.yaml")["services"]["last"]
    assert made["environment"] == {NAMED: FILE}


def test_all_that_extend_one_base_are_served_each_in_its_file(tmp_path: Path) -> None:
    files = {
        "shared/common.yml": BASE,
        "a/docker-compose.yml": EXTENDS.replace("common.yml", "../shared/common.yml"),
        "b/docker-compose.yml": EXTENDS.replace("common.yml", "../shared/common.yml")
        + "  second:\n    extends:\n      file: ../shared/common.yml\n      service: db\n",
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    for path, names in (("a", {"database"}), ("b", {"database", "second"})):
        services = yaml_of(plan, f"{path}/docker-compose.yml")["services"]
        assert {name for name, service in services.items() if is_served(service)} == names
        assert (
            "../secretbridge.yaml:/etc/secretbridge/secretbridge.yaml:ro"
            in (services["secretbridge"]["volumes"])
        )
        config(tmp_path, plan, f"{path}/docker-compose.yml")


def test_a_file_that_has_no_telling_name_and_no_secret_is_served_as_well(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"common.yml": BASE, "dev.yml": EXTENDS, "notes.yml": "a: extends\n"})
    assert stays(plan) == []
    assert is_served(yaml_of(plan, "dev.yml")["services"]["database"])


def test_a_base_that_is_run_by_itself_gets_all_of_it_too(tmp_path: Path) -> None:
    files = {
        "docker-compose.base.yml": BASE,
        "docker-compose.yml": EXTENDS.replace("common.yml", "docker-compose.base.yml"),
    }
    plan = plan_of(tmp_path, files)
    for path, name in (("docker-compose.base.yml", "db"), ("docker-compose.yml", "database")):
        found = yaml_of(plan, path)
        assert is_served(found["services"][name])
        assert "secretbridge" in found["services"]
        assert "secretbridge" in found["volumes"]
    assert [note for note in plan.notes if "db is extended" in note]


def test_a_base_that_nobody_extends_is_edited_and_told_of(tmp_path: Path) -> None:
    more = f"  spare:\n    image: mongo:7\n    environment:\n      - {NAMED[:-5]}={VALUE}\n"
    plan = plan_of(tmp_path, {"common.yml": BASE + more, "docker-compose.yml": EXTENDS})
    assert stays(plan) == []
    assert set(yaml_of(plan, "common.yml")) == {"services"}
    assert "volumes" not in yaml_of(plan, "common.yml")["services"]["spare"]
    assert [note for note in plan.notes if "no service here extends spare" in note]


def test_a_file_whose_services_extend_each_other_is_run(tmp_path: Path) -> None:
    again = "  second:\n    extends: {service: database}\n    init: true\n"
    plan = plan_of(tmp_path, {"common.yml": BASE, "dev.yml": EXTENDS + again})
    services = yaml_of(plan, "dev.yml")["services"]
    assert is_served(services["database"])
    assert is_served(services["second"])


def test_files_that_only_extend_each_other_are_taken_to_run(tmp_path: Path) -> None:
    text = BASE + "  x:\n    extends: {file: OTHER, service: db}\n    init: true\n"
    plan = plan_of(
        tmp_path, {"a.yml": text.replace("OTHER", "b.yml"), "b.yml": text.replace("OTHER", "a.yml")}
    )
    assert is_served(yaml_of(plan, "a.yml")["services"]["db"])
    assert is_served(yaml_of(plan, "b.yml")["services"]["x"])


def test_what_only_a_base_extends_is_a_base_too(tmp_path: Path) -> None:
    files = {
        "common.yml": BASE,
        "middle.yml": EXTENDS + "  other:\n    image: busybox\n",
        "docker-compose.yml": (
            "services:\n  web:\n    extends: {file: middle.yml, service: other}\n    init: true\n"
        ),
    }
    plan = plan_of(tmp_path, files)
    assert set(yaml_of(plan, "common.yml")) == {"services"}
    assert after(plan, "middle.yml") == files["middle.yml"]
    assert after(plan, "docker-compose.yml") == files["docker-compose.yml"]
    assert [note for note in plan.notes if "no service here extends database" in note]


def test_a_base_that_extends_itself_over_another_file_ends(tmp_path: Path) -> None:
    files = {
        "common.yml": BASE + "    extends: {file: docker-compose.yml, service: database}\n",
        "docker-compose.yml": EXTENDS,
    }
    plan = plan_of(tmp_path, files)
    assert is_served(yaml_of(plan, "docker-compose.yml")["services"]["database"])


def test_who_extends_says_which_image_it_is(tmp_path: Path) -> None:
    files = {
        "common.yml": BASE.replace("    image: mongo:7\n", ""),
        "docker-compose.yml": EXTENDS + "    image: mongo:6\n",
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    assert f"{NAMED}: {FILE}" in after(plan, "common.yml")


def test_what_cannot_be_given_to_who_extends_stays_in_the_base(tmp_path: Path) -> None:
    short = "services:\n  database: {extends: {file: common.yml, service: db}}\n"
    plan = plan_of(tmp_path, {"common.yml": BASE, "docker-compose.yml": short})
    assert plan.changes == ()
    assert [about.path for about in plan.open] == ["common.yml"]
    assert "docker-compose.yml is left alone: the service database is written in one line" in (
        plan.open[0].reason
    )


def test_a_program_gets_the_names_of_secrets_where_it_is_run(tmp_path: Path) -> None:
    files = {
        "base/common.yml": f"services:\n  web:\n    build: .\n    environment:\n"
        f"      SECRET_KEY: {VALUE}\n      TZ: UTC\n",
        "run/docker-compose.yml": (
            "services:\n  web:\n    extends: {file: ../base/common.yml, service: web}\n"
            "    init: true\n"
        ),
        "base/app.py": READER,
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    assert yaml_of(plan, "base/common.yml")["services"]["web"]["environment"] == {"TZ": "UTC"}
    web = yaml_of(plan, "run/docker-compose.yml")["services"]["web"]
    assert is_served(web)
    assert web["group_add"] == ["20001"]
    assert "../secretbridge.d/app.yaml:/etc/secretbridge/secretbridge.yaml:ro" in web["volumes"]


def test_a_group_is_not_added_to_what_takes_it_over(tmp_path: Path) -> None:
    text = (
        f"services:\n  web:\n    build: .\n    environment:\n      SECRET_KEY: {VALUE}\n"
        "      TZ: UTC\n  worker:\n    extends: {service: web}\n    init: true\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text, "app.py": READER})
    services = yaml_of(plan, "docker-compose.yml")["services"]
    assert services["web"]["group_add"] == ["20001"]
    assert "group_add" not in services["worker"]


def test_a_dotenv_file_of_a_base_is_beside_the_base(tmp_path: Path) -> None:
    files = {
        "base/common.yml": "services:\n  db:\n    image: mongo\n    env_file: [db.env]\n",
        "base/db.env": f"MONGO_INITDB_ROOT_PASSWORD={VALUE}\n",
        "docker-compose.yml": EXTENDS.replace("common.yml", "base/common.yml"),
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    assert after(plan, "base/db.env") == f"{NAMED}={FILE}\n"
    assert is_served(yaml_of(plan, "docker-compose.yml")["services"]["database"])
    made = config(tmp_path, plan, "docker-compose.yml")["services"]["database"]
    assert made["environment"] == {NAMED: FILE}


def test_a_command_of_one_file_reads_a_variable_of_the_other(tmp_path: Path) -> None:
    base = f"services:\n  job:\n    image: busybox\n    environment:\n      JOB_TOKEN: {VALUE}\n"
    more = (
        "services:\n  job:\n    extends: {file: common.yml, service: job}\n"
        '    command: [sh, -c, "use $$JOB_TOKEN"]\n'
    )
    plan = plan_of(tmp_path, {"common.yml": base, "docker-compose.yml": more})
    assert stays(plan) == []
    assert VALUE not in after(plan, "common.yml")
    job = yaml_of(plan, "docker-compose.yml")["services"]["job"]
    assert job["command"][2] == "use $$(cat /run/secretbridge/job_token)"
    assert is_served(job)
    # And the other way round: the command stands in the base, and the variable with who extends it.
    base = 'services:\n  job:\n    image: busybox\n    command: [sh, -c, "use $$JOB_TOKEN"]\n'
    more = (
        "services:\n  job:\n    extends: {file: common.yml, service: job}\n"
        f"    environment:\n      JOB_TOKEN: {OTHER}\n      TZ: UTC\n"
    )
    plan = plan_of(tmp_path / "2", {"common.yml": base, "docker-compose.yml": more})
    assert stays(plan) == []
    command = yaml_of(plan, "common.yml")["services"]["job"]["command"]
    assert command[2] == "use $$(cat /run/secretbridge/job_token)"


def test_top_level_secrets_are_where_the_service_is_run(tmp_path: Path) -> None:
    files = {"common.yml": BASE, "docker-compose.yml": EXTENDS}
    plan = plan_of(tmp_path, files, delivery="secrets", target="/run/secrets")
    name = "mongo_initdb_root_password"
    assert set(yaml_of(plan, "common.yml")) == {"services"}
    found = yaml_of(plan, "docker-compose.yml")
    assert found["services"]["database"]["secrets"] == [name]
    assert set(found["secrets"]) == {name}
    config(tmp_path, plan, "docker-compose.yml")


def test_a_build_in_a_base_has_its_secret_there_and_its_source_where_it_is_run(
    tmp_path: Path,
) -> None:
    files = {
        "common.yml": f"services:\n  web:\n    build:\n      context: .\n      args:\n"
        f"        NPM_TOKEN: {VALUE}\n        A: b\n",
        "docker-compose.yml": EXTENDS.replace("service: db", "service: web"),
        "Dockerfile": "FROM node\nARG NPM_TOKEN\nRUN ./install\n",
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    base = yaml_of(plan, "common.yml")
    assert base["services"]["web"]["build"]["secrets"] == ["npm_token"]
    assert "secrets" not in base
    found = yaml_of(plan, "docker-compose.yml")
    assert "build" not in found["services"]["database"]
    assert set(found["secrets"]) == {"npm_token"}


def test_a_scan_knows_an_image_by_what_a_service_extends(tmp_path: Path) -> None:
    neo = "services:\n  graph:\n    image: ${IMAGE:-neo4j:5}\n    labels: [x]\n"
    extends = "services:\n  a:\n    extends: {file: FILE, service: SERVICE}\n"
    auth = f"    environment:\n      NEO4J_AUTH: {VALUE}\n"
    files: dict[str, str | bytes] = {
        "common/neo.yml": neo,
        "docker-compose.yml": extends.replace("FILE", "b.yml").replace("SERVICE", "a") + auth,
        "b.yml": extends.replace("FILE", "common/neo.yml").replace("SERVICE", "graph"),
        "one/compose.yml": neo + "  b:\n    extends: graph\n" + auth,
        "circle/compose.yml": "services:\n  c:\n    extends: c\n" + auth,
        "gone/compose.yml": extends.replace("FILE", "../../x.yml").replace("SERVICE", "c") + auth,
        "broken/compose.yml": extends.replace("FILE", "x.yml").replace("SERVICE", "c") + auth,
        "broken/x.yml": "services: [\n",
    }
    found = scan_tree(tmp_path, files).findings
    known = {f.path for f in found if f.severity == HIGH}
    assert known == {"docker-compose.yml", "one/compose.yml"}


def test_who_extends_a_base_fills_in_its_variables(tmp_path: Path) -> None:
    files = {
        "base/common.yml": BASE.replace(VALUE, f"${{PW:-{OTHER}}}"),
        "base/.env": "PW=never-Read-5521\n",
        "docker-compose.yml": EXTENDS.replace("common.yml", "base/common.yml"),
        ".env": f"PW={VALUE}\n",
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    found = yaml_of(plan, "base/common.yml")["services"]["db"]["environment"][NAMED]
    assert plan.values[posixpath.basename(found)] == VALUE.encode()
    assert OTHER.encode() not in plan.values.values()


@pytest.mark.parametrize("url", ["${PW}", "mongodb://u:${PW}@h/"])
def test_a_base_that_means_another_value_to_each_who_extends_it_stays(
    url: str, tmp_path: Path
) -> None:
    files = {"common.yml": BASE.replace(VALUE, url)}
    for name, value in (("a", VALUE), ("b", OTHER)):
        files[f"{name}/compose.yml"] = EXTENDS.replace("common.yml", "../common.yml")
        files[f"{name}/.env"] = f"PW={value}\n"
    plan = plan_of(tmp_path, files)
    assert plan.changes == ()
    assert [about.path for about in plan.open] == ["common.yml"]
    assert "fill it in with different values" in plan.open[0].reason
    # One value for both is one secret.
    plan = plan_of(tmp_path, {**files, "b/.env": f"PW={VALUE}\n"})
    assert stays(plan) == []
    assert after(plan, "a/.env") == after(plan, "b/.env") == ""


def test_servers_of_one_name_in_two_files_have_their_own_passwords(tmp_path: Path) -> None:
    files = {
        f"{name}/compose.yml": "services:\n  cache:\n    image: redis:7\n"
        f"    command: redis-server --requirepass {value}\n"
        for name, value in (("a", VALUE), ("b", OTHER))
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    for name, value in (("a", VALUE), ("b", OTHER)):
        command = yaml_of(plan, f"{name}/compose.yml")["services"]["cache"]["command"]
        conf = after(plan, f"secretbridge.d/{posixpath.basename(command)}.j2")
        secret = conf.split()[2].partition("|")[0]
        assert plan.values[secret] == value.encode()
