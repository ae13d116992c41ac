"""Dotenv files, Python, Dockerfiles and manifests: what becomes of them, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from .projects import after, plan_of, stays

VALUE = "kestrel-Orbit-7741"
OTHER = "lantern-Quarry-1902"


# Dotenv ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (f"A=1\nDB_PASSWORD={VALUE}\nB=2\n", "A=1\nB=2\n"),
        (f"A=1\r\nDB_PASSWORD='{VALUE}'\r\nB=2\r\n", "A=1\r\nB=2\r\n"),
        (f"\ufeffDB_PASSWORD={VALUE}\nB=2\n", "\ufeffB=2\n"),
        (f"# x\nexport DB_PASSWORD={VALUE}", "# x\n"),
        (f'DB_PASSWORD="{VALUE}" # why\nA=1\n', "# why\nA=1\n"),
        (f"DB_PASSWORD={VALUE}\n", ""),
        (f"DB_PASSWORD=old-{OTHER}\nA=1\nDB_PASSWORD={VALUE}\n", "A=1\n"),
    ],
)
def test_a_dotenv_file_loses_the_entry_and_nothing_else(
    before: str, expected: str, tmp_path: Path
) -> None:
    plan = plan_of(tmp_path, {".env": before})
    (change,) = [c for c in plan.changes if c.path == ".env"]
    assert change.after == expected.encode()
    assert plan.values["db_password"] == VALUE.encode()  # the last of two counts


def test_what_is_commented_out_is_moved_as_well_and_the_comment_stays(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {".env": f"# DB_PASSWORD={VALUE}\nA=1\n"})
    assert after(plan, ".env") == "# DB_PASSWORD=<moved by secretbridge>\nA=1\n"


# Python ------------------------------------------------------------------------------------------


def python(root: Path, text: str, name: str = "SECRET_KEY", **more: str) -> str:
    plan = plan_of(root, {".env": f"{name}={VALUE}\n", "app.py": text, **more})
    assert stays(plan) == []
    return after(plan, "app.py")


CALL = 'secretbridge.get("secret_key").reveal()'


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (
            'import os\nk = os.environ["SECRET_KEY"]\n',
            f"import os\nimport secretbridge\nk = {CALL}\n",
        ),
        (
            "from os import environ as e, getenv as g\nk = [e['SECRET_KEY'], g('SECRET_KEY', 'x')]\n",
            "from os import environ as e, getenv as g\nimport secretbridge\n"
            f"k = [{CALL}, {CALL}]\n",
        ),
        (
            "import os\nk = int(os.environ.get('SECRET_KEY', 0))  # a number\n",
            f"import os\nimport secretbridge\nk = int({CALL})  # a number\n",
        ),
        (
            '"""Doc."""\nfrom __future__ import annotations\n\nimport os\n\n\n'
            'def f(k=os.getenv("SECRET_KEY")):\n    return k\n',
            '"""Doc."""\nfrom __future__ import annotations\n\nimport os\nimport secretbridge\n\n\n'
            f"def f(k={CALL}):\n    return k\n",
        ),
        (
            "#!/usr/bin/env python\nenv = __import__('os').environ\nimport os\n"
            "env = os.environ\nk = env['SECRET_KEY']\n",
            "#!/usr/bin/env python\nimport secretbridge\nenv = __import__('os').environ\nimport os\n"
            f"env = os.environ\nk = {CALL}\n",
        ),
        (
            "import os\nimport secretbridge as sb\nk = os.environ['SECRET_KEY']\n",
            'import os\nimport secretbridge as sb\nk = sb.get("secret_key").reveal()\n',
        ),
        (
            "import os\r\nk = os.environ['SECRET_KEY']",
            f"import os\r\nimport secretbridge\r\nk = {CALL}",
        ),
        (
            "from decouple import config\nk = config('SECRET_KEY', cast=str)\n",
            f"from decouple import config\nimport secretbridge\nk = {CALL}\n",
        ),
        (
            "import environ\nenv = environ.Env()\nk = env('SECRET_KEY')\nn = env.int('SECRET_KEY')\n",
            f"import environ\nimport secretbridge\nenv = environ.Env()\nk = {CALL}\nn = int({CALL})\n",
        ),
        (
            "import os\nk = f\"{os.environ['SECRET_KEY']}\"\n",
            "import os\nimport secretbridge\nk = f\"{secretbridge.get('secret_key').reveal()}\"\n",
        ),
    ],
)
def test_python_asks_the_broker(before: str, expected: str, tmp_path: Path) -> None:
    assert python(tmp_path, before) == expected.replace(
        "\r\n", "\n" if "\r" not in before else "\r\n"
    )


def test_a_settings_field_is_filled_from_a_secret(tmp_path: Path) -> None:
    text = (
        "from pydantic import SecretStr, Field\nfrom pydantic_settings import BaseSettings\n\n\n"
        "class S(BaseSettings):\n    model_config = {'env_prefix': 'app_'}\n    port: int = 1\n"
        "    db_password: SecretStr\n    other: str = Field('x', alias='API_TOKEN')\n"
    )
    files = {".env": f"APP_DB_PASSWORD={VALUE}\nAPI_TOKEN={OTHER}\n", "app.py": text}
    plan = plan_of(tmp_path, files)
    shown = after(plan, "app.py")
    assert "from secretbridge.settings import from_secret\n" in shown
    assert '    other: str = from_secret("api_token")\n' in shown
    assert "db_password: SecretStr = from_secret(" in shown
    compile(shown, "app.py", "exec")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("os.environ['SECRET_KEY'] = 'x'", "it is assigned here"),
        ("os.environ.setdefault('SECRET_KEY', 'x-y-z-0')", "it is set here"),
        ("ok = 'SECRET_KEY' in os.environ", "whether it is set decides something here"),
        ("del os.environ['SECRET_KEY']", "it is deleted here"),
    ],
)
def test_what_does_more_than_read_is_left_to_a_person(
    line: str, reason: str, tmp_path: Path
) -> None:
    text = f"import os\nk = os.environ['SECRET_KEY']\n{line}\n"
    plan = plan_of(tmp_path, {".env": f"SECRET_KEY={VALUE}\n", "app.py": text})
    assert reason in [told for _, told in stays(plan)]
    assert plan.changes == ()


def test_another_language_that_reads_the_variable_keeps_it(tmp_path: Path) -> None:
    files = {
        ".env": f"SECRET_KEY={VALUE}\n",
        "app.js": "const key = process.env.SECRET_KEY;\n",
        "app.py": "import os\nk = os.environ['SECRET_KEY']\n",
    }
    plan = plan_of(tmp_path, files)
    assert plan.changes == ()
    assert any("is not rewritten" in reason for _, reason in stays(plan))


# Dockerfiles -------------------------------------------------------------------------------------

READER = "import os\nk = os.environ['SECRET_KEY']\n"


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (f"FROM a\nENV SECRET_KEY={VALUE}\nUSER 1\n", "FROM a\nUSER 1\n"),
        (f"FROM a\nENV SECRET_KEY {VALUE}\nUSER 1\n", "FROM a\nUSER 1\n"),
        (f"FROM a\nENV A=1 SECRET_KEY={VALUE} B=2\n", "FROM a\nENV A=1 B=2\n"),
        (f"FROM a\nENV A=1 \\\n    SECRET_KEY={VALUE}\n", "FROM a\nENV A=1\n"),
        (f"FROM a\nENV SECRET_KEY={VALUE} \\\n    A=1\n", "FROM a\nENV A=1\n"),
        (
            f"FROM a\nENV A=1 \\\n    # the key\n    SECRET_KEY='{VALUE}' \\\n    B=2\n",
            "FROM a\nENV A=1 \\\n    # the key\n    B=2\n",
        ),
        (
            f"FROM a\nRUN <<END\nENV DEBUG=1\nEND\nENV SECRET_KEY={VALUE}\n",
            "FROM a\nRUN <<END\nENV DEBUG=1\nEND\n",
        ),
    ],
)
def test_env_of_an_image_goes(before: str, expected: str, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"Dockerfile": before, "app.py": READER})
    assert stays(plan) == []
    assert after(plan, "Dockerfile") == expected


def test_a_build_argument_becomes_a_secret_of_the_commands_that_use_it(tmp_path: Path) -> None:
    before = (
        f'FROM a\nARG NPM_TOKEN={VALUE}\nRUN echo 1\nRUN curl -H "$NPM_TOKEN" x && \\\n    # c\n    y\n'
        "FROM b\nRUN echo $NPM_TOKEN\n"
    )
    plan = plan_of(tmp_path, {"Dockerfile": before})
    assert after(plan, "Dockerfile") == (
        "FROM a\nRUN echo 1\nRUN --mount=type=secret,id=npm_token,env=NPM_TOKEN "
        'curl -H "$NPM_TOKEN" x && \\\n    # c\n    y\nFROM b\nRUN echo $NPM_TOKEN\n'
    )
    assert any("rotate" in note for note in plan.notes)


def test_a_build_argument_outside_of_run_is_left_to_a_person(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"Dockerfile": f"FROM a\nARG API_TOKEN={VALUE}\nLABEL x=$API_TOKEN\n"})
    assert "uses it where no secret can be mounted" in stays(plan)[0][1]
    assert plan.changes == ()


# Kubernetes --------------------------------------------------------------------------------------

POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n    - name: a\n"
    "      image: mongo:7\n      env:\n"
)


def test_a_secret_that_somebody_mounts_stays(tmp_path: Path) -> None:
    secret = (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData:\n  API_TOKEN: {VALUE}\n"
    )
    pod = (
        POD + "        - {name: API_TOKEN, valueFrom: {secretKeyRef: {name: s, key: API_TOKEN}}}\n"
    )
    mount = (
        "apiVersion: v1\nkind: Pod\nspec:\n  volumes:\n    - {name: x, secret: {secretName: s}}\n"
    )
    files = {"s.yaml": secret, "p.yaml": pod, "m.yaml": f"{mount}  containers: []\n---\n{pod}"}
    plan = plan_of(tmp_path, files, unknown="file")
    assert any("mounts the Secret s as a volume" in reason for _, reason in stays(plan))
    assert after(plan, "s.yaml") == secret


def test_a_secret_without_a_reader_in_the_tree_stays(tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  x: y\n"
    secret += f"stringData:\n  API_TOKEN: {VALUE}\n"
    plan = plan_of(tmp_path, {"s.yaml": secret}, unknown="file")
    assert "nobody in this tree is seen to read" in stays(plan)[0][1]
    assert plan.changes == ()


def test_a_secret_of_the_cluster_itself_stays(tmp_path: Path) -> None:
    secret = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/basic-auth\n"
        f"stringData:\n  password: {VALUE}\n"
    )
    plan = plan_of(tmp_path, {"s.yaml": secret}, unknown="file")
    assert plan.changes == ()


def test_an_argument_that_kubernetes_expands_is_read_by_the_shell(tmp_path: Path) -> None:
    pod = (
        POD.replace("mongo:7", "team/tool")
        + f"        - name: API_TOKEN\n          value: {VALUE}\n      command: [sh, -c]\n"
        "      args: ['tool --token $(API_TOKEN) -v']\n"
    )
    plan = plan_of(tmp_path, {"p.yaml": pod})
    assert stays(plan) == []
    (container,) = yaml.safe_load(after(plan, "p.yaml"))["spec"]["containers"]
    assert container["args"] == ["tool --token $(cat /run/secretbridge/api_token) -v"]
    assert "env" not in container


def test_helm_values_are_reported_and_not_edited(tmp_path: Path) -> None:
    files = {
        "chart/Chart.yaml": "apiVersion: v2\nname: x\nversion: 1.0.0\n",
        "chart/values.yaml": f"env:\n  API_TOKEN: {VALUE}\n",
        ".env": f"API_TOKEN={VALUE}\n",
    }
    plan = plan_of(tmp_path, files)
    assert all(not change.path.startswith("chart/") for change in plan.changes)
    assert any("helm is not rewritten" in reason for _, reason in stays(plan))


# The configuration -------------------------------------------------------------------------------


def test_a_configuration_that_is_there_is_extended(tmp_path: Path) -> None:
    before = (
        "# ours\nstores:\n  vault: {backend: vault, address: 'https://vault:8200'}\n"
        "secrets:\n  a: vault:kv/a#b  # kept\ncache: {refresh: 5m}\n"
    )
    files = {"secretbridge.yaml": before, ".env": f"SECRET_KEY={VALUE}\n", "app.py": READER}
    plan = plan_of(tmp_path, files, store="vault", backend="vault", prefix="kv/app")
    shown = after(plan, "secretbridge.yaml")
    assert shown.startswith(before[: before.index("cache:")])
    assert yaml.safe_load(shown)["secrets"] == {
        "a": "vault:kv/a#b",
        "secret_key": "vault:kv/app/secret_key#value",
    }


def test_names_and_moves_of_a_plan_can_be_edited(tmp_path: Path) -> None:
    files = {".env": f"SECRET_KEY={VALUE}\nAPI_TOKEN={OTHER}\n", "app.py": READER}
    first = plan_of(tmp_path, files)
    by_name = {secret.name: secret.fingerprint for secret in first.secrets}
    decisions = first.decisions()
    names = {**decisions.names, by_name["secret_key"]: "signing_key"}
    moves = {**decisions.moves, by_name["api_token"]: False}
    plan = plan_of(tmp_path, files, type(decisions)(names, moves, decisions.answers))
    assert [secret.name for secret in plan.moved] == ["signing_key"]
    assert 'get("signing_key")' in after(plan, "app.py")
    assert after(plan, ".env") == f"API_TOKEN={OTHER}\n"


def test_a_reference_of_another_tool_is_taken_over_and_nothing_is_stored(tmp_path: Path) -> None:
    files = {
        ".env": "DB_PASSWORD=vault:secret/data/app/db#password\nAPI_TOKEN=op://team/item/field\nA=1\n",
        "app.py": 'import os\npw = os.environ["DB_PASSWORD"]\n',
    }
    plan = plan_of(tmp_path, files)
    (secret,) = plan.moved
    assert (secret.reference, secret.is_stored) == ("vault:secret/app/db#password", False)
    assert after(plan, ".env") == "API_TOKEN=op://team/item/field\nA=1\n"
    assert 'secretbridge.get("db_password")' in after(plan, "app.py")
    assert any("1Password" in note for note in plan.notes)
