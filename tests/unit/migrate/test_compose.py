"""Compose: each trap that real files have, and what becomes of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from .projects import after, plan_of, stays

VALUE = "kestrel-Orbit-7741"
OTHER = "lantern-Quarry-1902"
READER = 'import os\nkey = os.environ["SECRET_KEY"]\n'


def compose(root: Path, text: str, **more: str) -> tuple[str, object]:
    plan = plan_of(root, {"docker-compose.yml": text}, **more)
    return after(plan, "docker-compose.yml"), yaml.safe_load(after(plan, "docker-compose.yml"))


def test_an_image_with_a_file_variable_gets_the_file_in_both_forms(tmp_path: Path) -> None:
    text = (
        "services:\n  a:\n    image: mongo:7\n    environment:\n"
        f"      - MONGO_INITDB_ROOT_PASSWORD={VALUE} # root\n      - TZ=UTC\n"
        f"  b:\n    image: mongo\n    environment:\n      MONGO_INITDB_ROOT_PASSWORD: {VALUE}\n"
    )
    shown, _ = compose(tmp_path, text)
    path = "/run/secretbridge/mongo_initdb_root_password"
    assert f"      - MONGO_INITDB_ROOT_PASSWORD_FILE={path} # root\n      - TZ=UTC\n" in shown
    assert f"      MONGO_INITDB_ROOT_PASSWORD_FILE: {path}\n" in shown
    assert VALUE not in shown


def test_postgres_reads_the_password_by_initdb_and_never_has_it_in_its_environment(
    tmp_path: Path,
) -> None:
    text = (
        f"services:\n  db:\n    image: postgis/postgis:16\n    environment:\n"
        f"      POSTGRES_PASSWORD: {VALUE}\n"
    )
    _, found = compose(tmp_path, text)
    assert found["services"]["db"]["environment"] == {
        "POSTGRES_INITDB_ARGS": "--pwfile=/run/secretbridge/postgres_password",
        "POSTGRES_PASSWORD_FILE": "/etc/hostname",
    }


def test_postgres_with_arguments_of_its_own_is_left_to_a_person(tmp_path: Path) -> None:
    text = (
        "services:\n  db:\n    image: postgres\n    environment:\n      POSTGRES_INITDB_ARGS: -k\n"
        f"      POSTGRES_PASSWORD: {VALUE}\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text})
    assert stays(plan) == [
        ("POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS is set as well; add --pwfile to it by hand")
    ]
    assert plan.changes == ()


def test_grafana_expands_a_file_itself(tmp_path: Path) -> None:
    text = (
        f"services:\n  g:\n    image: grafana/grafana\n    environment:\n"
        f"      GF_SECURITY_ADMIN_PASSWORD: {VALUE}\n"
    )
    _, found = compose(tmp_path, text)
    assert found["services"]["g"]["environment"] == {
        "GF_SECURITY_ADMIN_PASSWORD": "$$__file{/run/secretbridge/gf_security_admin_password}"
    }


def test_mysql_starts_through_a_script_that_drops_what_was_exported(tmp_path: Path) -> None:
    text = (
        f"services:\n  db:\n    image: mysql:8\n    environment:\n"
        f"      MYSQL_ROOT_PASSWORD: {VALUE}\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text})
    found = yaml.safe_load(after(plan, "docker-compose.yml"))["services"]["db"]
    assert found["environment"]["MYSQL_ROOT_PASSWORD_FILE"].endswith("/mysql_root_password")
    assert found["environment"]["PATH"].startswith("/opt/secretbridge/shims:")
    (shim,) = [c for c in plan.changes if c.path == "secretbridge.d/shims/mysqld"]
    assert shim.mode == 0o755
    # It really drops the variable, and starts the program of its own name further down the path.
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mysqld").write_text('#!/bin/sh\necho "[$MYSQL_ROOT_PASSWORD] $*"\n')
    (programs / "mysqld").chmod(0o755)
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "mysqld").write_bytes(shim.after or b"")
    (shims / "mysqld").chmod(0o755)
    done = subprocess.run(
        ["mysqld", "--datadir", "x"],
        env={"PATH": f"{shims}:{programs}:/usr/bin:/bin", "MYSQL_ROOT_PASSWORD": "x"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[] --datadir x\n"


@pytest.mark.parametrize(
    "environment",
    [
        f"      - MYSQL_ROOT_PASSWORD={VALUE}\n      - MYSQL_PASSWORD={VALUE}2\n",
        f"      MYSQL_ROOT_PASSWORD: {VALUE}\n      MYSQL_PASSWORD: {VALUE}2\n",
    ],
)
def test_two_passwords_of_one_server_give_it_one_path(tmp_path: Path, environment: str) -> None:
    text = f"services:\n  db:\n    image: mysql:8\n    environment:\n{environment}"
    plan = plan_of(tmp_path, {"docker-compose.yml": text})
    assert plan.open == ()
    shown = after(plan, "docker-compose.yml")
    assert shown.count("PATH") == 1
    (shim,) = [c for c in plan.changes if c.path == "secretbridge.d/shims/mysqld"]
    assert b" MYSQL_PASSWORD MYSQL_ROOT_PASSWORD\n" in (shim.after or b"")


def test_a_server_whose_path_is_set_is_left_to_a_person(tmp_path: Path) -> None:
    text = (
        "services:\n  db:\n    image: mysql:8\n    environment:\n"
        f"      PATH: /opt/mysql/bin:/bin\n      MYSQL_ROOT_PASSWORD: {VALUE}\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text})
    (stays,) = plan.open
    assert "PATH is set as well" in stays.reason
    assert plan.changes == ()


@pytest.mark.parametrize("others", [0, 1])
def test_a_server_whose_passwords_are_in_a_file_starts_through_the_script_too(
    tmp_path: Path, others: int
) -> None:
    text = "services:\n" + "".join(
        f"  {name}:\n    image: {image}\n    env_file: db.env\n"
        for name, image in [("db", "mysql:8"), ("admin", "example/admin")][: 1 + others]
    )
    dotenv = f"MYSQL_ROOT_PASSWORD={VALUE}\nMYSQL_PASSWORD={VALUE}2\nMYSQL_USER=shop\n"
    plan = plan_of(tmp_path, {"docker-compose.yml": text, "db.env": dotenv})
    shown = after(plan, "db.env")
    assert "MYSQL_ROOT_PASSWORD_FILE=" in shown
    # A PATH there would be that of both.
    assert shown.count("PATH=") == 1 - others
    assert ("shims/mysqld:ro" in after(plan, "docker-compose.yml")) == (not others)


UNREAD = {
    "docker-compose.yml": "services:\n"
    "  cache:\n    image: redis:7\n    env_file: shared.env\n"
    "  web:\n    image: example/web\n    env_file: shared.env\n",
    "shared.env": f"WEB_TOKEN={VALUE}\n",
}


def test_a_variable_of_a_dotenv_file_that_nobody_is_seen_to_read_stays(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, UNREAD)
    (stays,) = plan.open
    assert (stays.path, stays.name) == ("shared.env", "WEB_TOKEN")
    assert stays.reason == "nothing here tells how cache reads WEB_TOKEN"
    assert plan.changes == ()


def test_one_becomes_a_file_for_all_that_have_it_when_that_is_asked_for(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, UNREAD, unknown="file")
    assert plan.open == ()
    assert after(plan, "shared.env") == "WEB_TOKEN_FILE=/run/secretbridge/web_token\n"
    services = yaml.safe_load(after(plan, "docker-compose.yml"))["services"]
    for name in ("cache", "web"):
        assert "secretbridge:/run/secretbridge" in services[name]["volumes"]


def test_one_that_a_program_of_the_project_reads_goes(tmp_path: Path) -> None:
    files = {
        "docker-compose.yml": "services:\n"
        "  cache:\n    image: redis:7\n    env_file: shared.env\n"
        "  web:\n    build: .\n    env_file: shared.env\n",
        "shared.env": f"SECRET_KEY={VALUE}\nDEBUG=1\n",
        "app.py": READER,
    }
    plan = plan_of(tmp_path, files)
    assert plan.open == ()
    assert after(plan, "shared.env") == "DEBUG=1\n"


def test_a_program_of_the_project_asks_the_broker_and_loses_the_variable(tmp_path: Path) -> None:
    text = (
        f"services:\n  web:\n    build: .\n    environment:\n      - SECRET_KEY={VALUE}\n"
        f"      - DEBUG=1\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text, "app.py": READER})
    shown = after(plan, "docker-compose.yml")
    assert "SECRET_KEY" not in shown
    assert "      - DEBUG=1\n" in shown
    assert 'secretbridge.get("secret_key").reveal()' in after(plan, "app.py")


def test_an_environment_of_which_nothing_is_left_goes_with_its_key(tmp_path: Path) -> None:
    text = (
        f"services:\n  web:\n    build: .\n    environment:  # all of it\n"
        f"      SECRET_KEY: {VALUE}\n    init: true\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text, "app.py": READER})
    shown = after(plan, "docker-compose.yml")
    assert "environment" not in yaml.safe_load(shown)["services"]["web"]
    assert "# all of it" in shown


def test_an_anchor_is_edited_where_it_is_defined_and_all_its_users_are_served(
    tmp_path: Path,
) -> None:
    text = (
        f"x-env: &env\n  SECRET_KEY: {VALUE}\n  TZ: UTC\nservices:\n"
        "  one:\n    build: .\n    environment: *env\n"
        "  two:\n    build: .\n    environment:\n      <<: *env\n      MORE: '1'\n"
        "  three:\n    image: busybox\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text, "app.py": READER})
    found = yaml.safe_load(after(plan, "docker-compose.yml"))
    assert found["x-env"] == {"TZ": "UTC"}
    assert found["services"]["two"]["environment"] == {"TZ": "UTC", "MORE": "1"}
    for name in ("one", "two"):
        assert "secretbridge:/run/secretbridge" in found["services"][name]["volumes"]
    assert "volumes" not in found["services"]["three"]


def test_what_a_service_merges_as_a_whole_is_kept_beside_what_is_added(tmp_path: Path) -> None:
    text = (
        "x-base: &base\n  build: .\n  restart: always\n  volumes: [data:/data]\n"
        "  depends_on: [db]\n"
        f"services:\n  web:\n    <<: *base\n    environment:\n      SECRET_KEY: {VALUE}\n"
        "      TZ: UTC\n  db:\n    image: busybox\nvolumes:\n  data:\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text, "app.py": READER})
    web = yaml.safe_load(after(plan, "docker-compose.yml"))["services"]["web"]
    assert web["volumes"][0] == "data:/data"
    assert "secretbridge:/run/secretbridge" in web["volumes"]
    assert set(web["depends_on"]) == {"db", "secretbridge"}


def test_a_list_that_others_share_by_an_alias_is_left_to_a_person(tmp_path: Path) -> None:
    text = (
        "x-volumes: &volumes\n  - data:/data\nservices:\n  web:\n    build: .\n"
        "    volumes: *volumes\n"
        f"    environment:\n      SECRET_KEY: {VALUE}\n  other:\n    image: busybox\n"
        f"    volumes: *volumes\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text, "app.py": READER})
    assert "`volumes` of web is an alias, which others use as well" in stays(plan)[0][1]
    assert plan.moved == ()
    assert plan.changes == ()


def test_extends_serves_who_inherits_the_image(tmp_path: Path) -> None:
    text = (
        "services:\n  base:\n    image: mongo:7\n"
        f"  db:\n    extends: {{service: base}}\n    environment:\n"
        f"      MONGO_INITDB_ROOT_PASSWORD: {VALUE}\n"
    )
    _, found = compose(tmp_path, text)
    assert "MONGO_INITDB_ROOT_PASSWORD_FILE" in found["services"]["db"]["environment"]


def test_a_default_goes_with_the_variable_that_it_is_for(tmp_path: Path) -> None:
    text = (
        "services:\n  web:\n    build: .\n    environment:\n"
        f"      SECRET_KEY: ${{SECRET_KEY:-{OTHER}}}\n      TZ: UTC\n"
    )
    files = {"docker-compose.yml": text, ".env": f"SECRET_KEY={VALUE}\nA=1\n", "app.py": READER}
    plan = plan_of(tmp_path, files)
    assert plan.values["secret_key"] == VALUE.encode()  # what .env sets is what the program had
    assert OTHER.encode() not in plan.values.values()
    assert OTHER not in after(plan, "docker-compose.yml")
    assert after(plan, ".env") == "A=1\n"


def test_a_default_that_nothing_overrides_is_the_value(tmp_path: Path) -> None:
    text = (
        f"services:\n  web:\n    build: .\n    environment:\n"
        f"      SECRET_KEY: ${{SECRET_KEY:-{OTHER}}}\n      A: b\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text, "app.py": READER})
    assert plan.values["secret_key"] == OTHER.encode()


def test_a_composed_value_is_a_template_and_its_password_one_secret(tmp_path: Path) -> None:
    text = (
        "services:\n  db:\n    image: postgres\n    environment:\n      POSTGRES_PASSWORD: ${PW}\n"
        "  web:\n    build: .\n    environment:\n"
        "      DATABASE_URL: postgres://app:${PW}@${DB_HOST:-db}/app?x={{y}}\n      A: b\n"
    )
    files = {
        "docker-compose.yml": text,
        ".env": f"PW={VALUE}\n",
        "app.py": 'import os\nurl = os.environ["DATABASE_URL"]\n',
    }
    plan = plan_of(tmp_path, files)
    assert [secret.name for secret in plan.moved] == ["pw"]
    template = after(plan, "secretbridge.d/database_url.j2")
    assert template == (
        "postgres://app:{{ pw|urlencode }}@db/{% raw %}app?x={{y}}{% endraw %}"
        if "{% raw %}app" in template
        else "postgres://app:{{ pw|urlencode }}@db{% raw %}/app?x={{y}}{% endraw %}"
    )


def test_one_value_under_many_names_is_one_secret_and_a_placeholder_is_not(tmp_path: Path) -> None:
    files = {
        ".env": f"DB_PASS={VALUE}\nPOSTGRES_PASSWORD={VALUE}\nA_TOKEN=changeme\nB_SECRET=changeme\n"
        f"DATABASE_URL=postgres://u:{VALUE}@h/d\n"
    }
    plan = plan_of(tmp_path, files)
    names = {secret.name: len(secret.origins) for secret in plan.secrets}
    assert names.pop("a_token") == names.pop("b_secret") == 1
    assert list(names.values()) == [3]
    (question,) = plan.questions
    assert question.options == ("apart", "one")


def test_redis_gets_a_configuration_file_and_a_shell_reads_the_file(tmp_path: Path) -> None:
    text = (
        f"services:\n  cache:\n    image: redis:7\n"
        f"    command: ['redis-server', '--requirepass', '{VALUE}', '--save', '']\n"
        f"    healthcheck:\n      test: redis-cli -a {VALUE} ping\n"
    )
    plan = plan_of(tmp_path, {"docker-compose.yml": text})
    shown = after(plan, "docker-compose.yml")
    found = yaml.safe_load(shown)["services"]["cache"]
    if not stays(plan):
        assert found["command"][:2] == ["redis-server", "/run/secretbridge/cache.conf"]
        assert VALUE not in shown
    else:  # a literal inside of a command line is nothing that can be replaced by name
        assert all("command" in reason for _, reason in stays(plan))
        assert plan.moved == ()


def test_a_command_without_a_shell_is_left_to_a_person(tmp_path: Path) -> None:
    text = "services:\n  x:\n    image: busybox\n    command: [tool, --password, '${PW}']\n"
    plan = plan_of(tmp_path, {"docker-compose.yml": text, ".env": f"PW={VALUE}\n"})
    assert [reason for _, reason in stays(plan)] == [
        "a command without a shell has the value as an argument"
    ]
    assert after(plan, ".env") == f"PW={VALUE}\n"  # and what it needs stays with it


def test_an_unknown_image_is_left_alone_unless_somebody_knows_better(tmp_path: Path) -> None:
    text = f"services:\n  x:\n    image: team/thing\n    environment:\n      API_TOKEN: {VALUE}\n"
    plan = plan_of(tmp_path, {"docker-compose.yml": text})
    assert plan.changes == ()
    assert "nothing here tells how x reads API_TOKEN" in stays(plan)[0][1]
    again = plan_of(tmp_path, {"docker-compose.yml": text}, unknown="file")
    assert "API_TOKEN_FILE: /run/secretbridge/api_token" in after(again, "docker-compose.yml")


def test_variables_of_an_env_file_name_files_there(tmp_path: Path) -> None:
    text = "services:\n  db:\n    image: mongo\n    env_file: [db.env]\n"
    files = {
        "docker-compose.yml": text,
        "db.env": f"# db\nMONGO_INITDB_ROOT_PASSWORD={VALUE}\nTZ=UTC\n",
    }
    plan = plan_of(tmp_path, files)
    path = "/run/secretbridge/mongo_initdb_root_password"
    assert after(plan, "db.env") == f"# db\nMONGO_INITDB_ROOT_PASSWORD_FILE={path}\nTZ=UTC\n"


def test_delivery_by_top_level_secrets(tmp_path: Path) -> None:
    text = (
        f"services:\n  db:\n    image: mongo\n    environment:\n"
        f"      MONGO_INITDB_ROOT_PASSWORD: {VALUE}\n"
    )
    _, found = compose(tmp_path, text, delivery="secrets", target="/run/secrets")
    name = "mongo_initdb_root_password"
    assert found["services"]["db"]["secrets"] == [name]
    assert found["services"]["db"]["environment"] == {
        "MONGO_INITDB_ROOT_PASSWORD_FILE": f"/run/secrets/{name}"
    }
    assert found["secrets"] == {name: {"file": f"/run/secrets/{name}"}}
    assert "secretbridge" not in found["services"]


@pytest.mark.parametrize(
    "text",
    [
        "services: [1, 2]\n",
        f"services:\n  x: {{image: mongo, environment: {{MONGO_INITDB_ROOT_PASSWORD: {VALUE}}}}}\n",
        f"services:\n  x:\n    image: mongo\n"
        f"    environment: {{MONGO_INITDB_ROOT_PASSWORD: {VALUE}\n",
    ],
)
def test_what_cannot_be_edited_is_left_as_it_is_and_named(text: str, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"docker-compose.yml": text})
    assert all(change.path != "docker-compose.yml" for change in plan.changes)
    assert plan.moved == ()


@pytest.mark.skipif(
    shutil.which("docker-compose") is None, reason="docker-compose is not installed"
)
@pytest.mark.parametrize("delivery", ["sidecar", "secrets"])
def test_docker_compose_reads_the_result(delivery: str, tmp_path: Path) -> None:
    text = (
        'version: "3.8"\nservices:\n  db:\n    image: postgres\n    environment:\n'
        f"      - POSTGRES_PASSWORD={VALUE}\n  g:\n    image: grafana/grafana\n"
        f"    depends_on:\n    - db\n"
        f"    environment:\n      GF_DATABASE_PASSWORD: {OTHER}\n"
    )
    shown, _ = compose(tmp_path, text, delivery=delivery)
    done = subprocess.run(
        ["docker-compose", "-f", "-", "config"],
        input=shown,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "/run/secretbridge/gf_database_password" in done.stdout


def test_extends_of_another_file_tells_the_image(tmp_path: Path) -> None:
    text = (
        "services:\n  db:\n    extends: {file: common/base.yml, service: mongo}\n    environment:\n"
        f"      MONGO_INITDB_ROOT_PASSWORD: {VALUE}\n"
    )
    files = {
        "docker-compose.yml": text,
        "common/base.yml": "services:\n  mongo:\n    image: mongo:7\n",
    }
    plan = plan_of(tmp_path, files)
    assert "MONGO_INITDB_ROOT_PASSWORD_FILE: /run/" in after(plan, "docker-compose.yml")


def test_files_that_extend_each_other_in_a_circle_end(tmp_path: Path) -> None:
    text = "services:\n  x:\n    extends: {file: OTHER, service: x}\n    environment:\n"
    text += f"      API_TOKEN: {VALUE}\n"
    files = {
        "docker-compose.yml": text.replace("OTHER", "b.compose.yml"),
        "b.compose.yml": text.replace("OTHER", "docker-compose.yml"),
    }
    plan = plan_of(tmp_path, files)
    assert plan.changes == ()
    assert len(stays(plan)) == 2


def test_a_container_gets_its_own_url_under_the_name_that_code_has(tmp_path: Path) -> None:
    text = (
        "services:\n  web:\n    build: .\n    environment:\n"
        "      DATABASE_URL: postgres://app:${PW}@db/app\n      A: b\n"
    )
    files = {
        "docker-compose.yml": text,
        ".env": f"PW={VALUE}\nDATABASE_URL=postgres://app:${{PW}}@localhost/app\n",
        "app.py": 'import os\nurl = os.environ["DATABASE_URL"]\n',
    }
    plan = plan_of(tmp_path, files)
    assert stays(plan) == []
    names = yaml.safe_load(after(plan, "secretbridge.d/app.yaml"))["secrets"]
    code = after(plan, "app.py")
    (name,) = [each for each in names if f'get("{each}")' in code]
    file = names[name].removeprefix("file:")
    assert after(plan, f"secretbridge.d/{file}.j2") == "postgres://app:{{ pw|urlencode }}@db/app"


def test_an_image_that_is_built_here_is_known_by_what_it_is_built_on(tmp_path: Path) -> None:
    text = (
        "services:\n  db:\n    build: {context: ./mongo}\n    environment:\n"
        f"      - MONGO_INITDB_ROOT_PASSWORD={VALUE}\n"
    )
    dockerfile = "ARG V=7\nFROM mongo:${V}\nCOPY x /x\n"
    plan = plan_of(tmp_path, {"docker-compose.yml": text, "mongo/Dockerfile": dockerfile})
    assert "MONGO_INITDB_ROOT_PASSWORD_FILE=/run/" in after(plan, "docker-compose.yml")


def test_a_pipeline_with_a_store_of_its_own_keeps_nothing_from_moving(tmp_path: Path) -> None:
    files = {
        ".env": f"SECRET_KEY={VALUE}\n",
        "app.py": READER,
        ".github/workflows/ci.yml": (
            "on: push\njobs:\n  a:\n    runs-on: x\n    env:\n"
            "      SECRET_KEY: ${{ secrets.SECRET_KEY }}\n    steps: []\n"
        ),
    }
    plan = plan_of(tmp_path, files)
    assert [secret.name for secret in plan.moved] == ["secret_key"]
    assert any("pipeline" in reason for _, reason in stays(plan))
