"""What each form's reader finds: kind, name, and the value as the reader of that file sees it."""

from __future__ import annotations

import base64

import pytest

from tests.unit.migrate.scanning import found, told

LITERAL, CARRIER, READER = "literal", "carrier", "reader"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


COMPOSE = [
    ("map", "environment: {DB_PASSWORD: x1y2}", (LITERAL, "DB_PASSWORD", "x1y2")),
    ("list", "environment:\n      - DB_PASSWORD=x1y2", (LITERAL, "DB_PASSWORD", "x1y2")),
    ("quoted item", 'environment: ["DB_PASSWORD=x 1"]', (LITERAL, "DB_PASSWORD", "x 1")),
    ("passed on", "environment: [DB_PASSWORD]", (CARRIER, "DB_PASSWORD", None)),
    ("null", "environment:\n      DB_PASSWORD:", (CARRIER, "DB_PASSWORD", None)),
    ("empty", 'environment: {DB_PASSWORD: ""}', (CARRIER, "DB_PASSWORD", "")),
    ("reference", "environment: {DB_PASSWORD: '${PW}'}", (CARRIER, "DB_PASSWORD", "${PW}")),
    ("default", "environment: {DB_PASSWORD: '${PW:-x1y2}'}", (LITERAL, "DB_PASSWORD", "x1y2")),
    ("error", "environment: {DB_PASSWORD: '${PW:?no}'}", (CARRIER, "DB_PASSWORD", "${PW}")),
    ("dollar", "environment: {DB_PASSWORD: a$$b}", (LITERAL, "DB_PASSWORD", "a$b")),
    ("build", "build: {context: ., args: {NPM_TOKEN: x1y2}}", (LITERAL, "NPM_TOKEN", "x1y2")),
    ("command", "command: redis-server --requirepass x1y2", (LITERAL, "password", "x1y2")),
    ("array", "command: [redis-server, --requirepass, x1y2]", (LITERAL, "password", "x1y2")),
    ("health", "healthcheck: {test: 'echo $$DB_PASSWORD'}", (READER, "DB_PASSWORD", None)),
]


@pytest.mark.parametrize(
    ("line", "expected"), [c[1:] for c in COMPOSE], ids=[c[0] for c in COMPOSE]
)
def test_compose(line: str, expected: tuple[str, str, str | None]) -> None:
    text = f"services:\n  web:\n    image: web\n    {line}\n"
    assert told("compose.yaml", text) == [expected]


def test_compose_follows_anchors_and_names_every_service() -> None:
    text = (
        "x-env: &env {API_TOKEN: x1y2}\n"
        "services:\n"
        "  a: {image: a, environment: {<<: *env}}\n"
        "  b: {image: b, environment: *env}\n"
    )
    (finding,) = found("compose.yaml", text)
    assert finding.line == 1
    assert finding.context["services"] == ("a", "b")


def test_compose_without_services_and_in_several_documents() -> None:
    text = (
        "web:\n  image: x\n  environment: [A_TOKEN=x1]\n---\n"
        "services: {b: {image: x, environment: [B_TOKEN=x2]}}\n"
    )
    assert [name for _, name, _ in told("docker-compose.yml", text)] == ["A_TOKEN", "B_TOKEN"]


def test_a_password_in_a_url_is_one_part_of_it() -> None:
    text = "services: {a: {image: x, environment: {DATABASE_URL: 'pg://u:p%2Fw@h/d'}}}"
    (finding,) = found("compose.yaml", text)
    (part,) = finding.parts
    assert part.value.reveal() == "p/w"
    assert part.encoding == "percent"


def pod(*lines: str) -> str:
    body = "\n".join("          " + line for line in lines)
    return (
        "apiVersion: batch/v1\nkind: CronJob\nspec:\n jobTemplate:\n  spec:\n   template:\n    spec:\n"
        f"     initContainers:\n        - name: a\n          image: x\n{body}\n"
    )


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["env:", "- name: DB_PASSWORD", "  value: x1y2"], [(LITERAL, "DB_PASSWORD", "x1y2")]),
        (
            ["env:", "- name: PW1", "  valueFrom: {secretKeyRef: {name: s, key: k}}"],
            [(CARRIER, "PW1", None)],
        ),
        (["env:", "- name: DB_USER", "  valueFrom: {secretKeyRef: {name: s, key: user}}"], []),
        (["envFrom: [{secretRef: {name: creds}}]"], [(CARRIER, "creds", None)]),
        (["args: ['--token=x1y2']"], [(LITERAL, "token", "x1y2")]),
        (["args: ['sh', '-c', 'run $(DB_PASSWORD)']"], [(READER, "DB_PASSWORD", None)]),
        (
            ["livenessProbe: {exec: {command: [sh, -c, 'ping $DB_PASSWORD']}}"],
            [(READER, "DB_PASSWORD", None)],
        ),
    ],
)
def test_kubernetes_containers(
    lines: list[str], expected: list[tuple[str, str, str | None]]
) -> None:
    assert told("app.yaml", pod(*lines)) == expected


def test_a_secret_is_decoded_and_what_belongs_to_a_credential_is_left_out() -> None:
    text = (
        f"apiVersion: v1\nkind: Secret\ndata:\n  main: {b64('x1-y2-z3')}\n"
        f"  username: {b64('app')}\n  ca.crt: QQ==\n"
    )
    (finding,) = found("s.yaml", text)
    assert finding.value is not None
    assert finding.value.reveal() == "x1-y2-z3"
    assert finding.context["encoding"] == "base64"


@pytest.mark.parametrize("kind", ["SealedSecret", "ExternalSecret", "SopsSecret"])
def test_objects_that_only_name_secrets_are_left_alone(kind: str) -> None:
    assert told("s.yaml", f"apiVersion: x/v1\nkind: {kind}\ndata: {{password: x1y2}}\n") == []


def test_a_file_that_sops_encrypted_is_left_alone() -> None:
    text = "apiVersion: v1\nkind: Secret\nstringData: {password: 'ENC[AES,x]'}\nsops: {mac: x}\n"
    assert told("s.yaml", text) == []


def test_settings_inside_a_config_map() -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  app.properties: |\n"
        "    db.password=x1y2\n    db.user=a\n"
    )
    (finding,) = found("c.yaml", text)
    assert text.encode()[finding.start : finding.end] == b"x1y2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ENV API_TOKEN=x1y2", [(LITERAL, "API_TOKEN", "x1y2")]),
        ("ENV A=1 \\\n  # note\n\n  API_TOKEN='x y'", [(LITERAL, "API_TOKEN", "x y")]),
        ("ENV API_TOKEN x1 y2", [(LITERAL, "API_TOKEN", "x1 y2")]),
        ("ARG API_TOKEN", [(CARRIER, "API_TOKEN", None)]),
        ("ARG API_TOKEN=x1y2", [(LITERAL, "API_TOKEN", "x1y2")]),
        ("ENV API_TOKEN=$OTHER", [(CARRIER, "API_TOKEN", "${OTHER}")]),
        ("ENV API_TOKEN=${OTHER:-x1y2}", [(LITERAL, "API_TOKEN", "x1y2")]),
        ("ENV API_TOKEN=a\\ b\\$c", [(LITERAL, "API_TOKEN", "a b$c")]),
        ("ONBUILD ENV API_TOKEN=x1y2", [(LITERAL, "API_TOKEN", "x1y2")]),
        (
            "RUN <<X\nexport API_TOKEN=x1y2\nX\nENV B_TOKEN=z3",
            [(LITERAL, "API_TOKEN", "x1y2"), (LITERAL, "B_TOKEN", "z3")],
        ),
        (
            "COPY <<'X' /a\nENV API_TOKEN=no-instruction\nX\nENV B_TOKEN=z3",
            [(LITERAL, "B_TOKEN", "z3")],
        ),
        ("RUN curl -u me:x1y2 http://a", [(LITERAL, "curl_basic_auth", "me:x1y2")]),
        ('CMD ["redis-server", "--requirepass", "x1y2"]', [(LITERAL, "password", "x1y2")]),
        ("RUN --mount=type=secret,id=t cat /run/secrets/t", []),
        ("ENV TOKEN_FILE=/run/secrets/t", []),
    ],
)
def test_dockerfile(text: str, expected: list[tuple[str, str, str | None]]) -> None:
    found_values = [each for each in told("Dockerfile", f"FROM x\n{text}\n") if each[1] != "X"]
    if text.startswith("COPY"):
        found_values = [each for each in found_values if each[2] != "no-instruction"]
    assert found_values == expected


def test_the_escape_character_of_windows() -> None:
    text = "# escape=`\nFROM x\nENV A=1 `\n  API_TOKEN=x\\1\n"
    assert told("Dockerfile", text) == [(LITERAL, "API_TOKEN", "x\\1")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("os.environ['API_TOKEN']", [(READER, "API_TOKEN")]),
        ("os.environ.get('API_TOKEN')", [(READER, "API_TOKEN")]),
        ("os.getenv('API_TOKEN')", [(READER, "API_TOKEN")]),
        ("'API_TOKEN' in os.environ", [(READER, "API_TOKEN")]),
        ("import os as o\no.environ['API_TOKEN']", [(READER, "API_TOKEN")]),
        ("from os import environ as e\ne['API_TOKEN']", [(READER, "API_TOKEN")]),
        ("from os import getenv as g\ng('API_TOKEN')", [(READER, "API_TOKEN")]),
        ("env = os.environ\nenv['API_TOKEN']", [(READER, "API_TOKEN")]),
        ("env = {**os.environ}\nenv['API_TOKEN']", [(READER, "API_TOKEN")]),
        ("def f(x=os.environ['API_TOKEN']): pass", [(READER, "API_TOKEN")]),
        ("class A:\n  t = os.environ['API_TOKEN']", [(READER, "API_TOKEN")]),
        ("x = f\"{os.environ['API_TOKEN']}\"", [(READER, "API_TOKEN")]),
        ("def need(n): return os.environ[n]\nneed('API_TOKEN')", [(READER, "API_TOKEN")]),
        (
            "def a(n): return os.getenv(n)\ndef b(n): return a(n)\nb('API_TOKEN')",
            [(READER, "API_TOKEN")],
        ),
        ("from decouple import config\nconfig('API_TOKEN')", [(READER, "API_TOKEN")]),
        ("from environs import Env\nenv = Env()\nenv.str('API_TOKEN')", [(READER, "API_TOKEN")]),
        ("import environ\nenv = environ.Env()\nenv('API_TOKEN')", [(READER, "API_TOKEN")]),
        ("os.environ.get('API_TOKEN', 'x1y2')", [(READER, "API_TOKEN"), (LITERAL, "API_TOKEN")]),
        ("os.environ.get('API_TOKEN') or 'x1y2'", [(READER, "API_TOKEN"), (LITERAL, "API_TOKEN")]),
        ("os.environ['API_TOKEN'] = 'x1y2'", [(LITERAL, "API_TOKEN")]),
        ("API_TOKEN = 'x1-y2-z3'", [(LITERAL, "API_TOKEN")]),
        ("connect(password='x1y2')", [(LITERAL, "password")]),
        ("def f(password='x1y2'): pass", [(LITERAL, "password")]),
        ("D = {'default': {'PASSWORD': 'x1y2'}}", [(LITERAL, "PASSWORD")]),
        ("os.environ['LANG']", []),
        ("LABELS = {'password': 'Password'}", []),
        ("TOKEN_FIELD = 'csrf'", []),
    ],
)
def test_python(text: str, expected: list[tuple[str, str]]) -> None:
    assert [each[:2] for each in told("app.py", f"import os\n{text}\n")] == expected


def test_a_settings_class_reads_by_its_prefix_and_aliases() -> None:
    text = (
        "from pydantic_settings import BaseSettings\n"
        "class S(BaseSettings):\n"
        "    model_config = dict(env_prefix='APP_')\n"
        "    db_password: str\n"
        "    token: str = Field('x1y2', alias='API_TOKEN')\n"
    )
    assert [(each.form, each.kind, each.name) for each in found("s.py", text)] == [
        ("settings", READER, "APP_DB_PASSWORD"),
        ("settings", READER, "API_TOKEN"),
        ("settings", LITERAL, "API_TOKEN"),
    ]


def test_python_that_this_interpreter_cannot_parse_is_searched_by_line() -> None:
    assert ("reader", "API_TOKEN", None) in told(
        "old.py", "import os\nprint os.environ['API_TOKEN']\n"
    )


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "a.service",
            "[Service]\nEnvironment=A=1 'API_TOKEN=x y'\n",
            (LITERAL, "API_TOKEN", "x y"),
        ),
        ("a.service", "[Service]\nPassEnvironment=API_TOKEN\n", (CARRIER, "API_TOKEN", None)),
        (
            "a.service.d/b.conf",
            "[Service]\nEnvironment=API_TOKEN=x\\x20y\n",
            (LITERAL, "API_TOKEN", "xx20y"),
        ),
        ("run.sh", "export API_TOKEN='x y'\n", (LITERAL, "API_TOKEN", "x y")),
        ("run.sh", "API_TOKEN=x1y2 ./run\n", (LITERAL, "API_TOKEN", "x1y2")),
        ("run.sh", "docker run -e API_TOKEN=x1y2 img\n", (LITERAL, "API_TOKEN", "x1y2")),
        (
            "run.sh",
            "docker build --build-arg 'API_TOKEN=x1 y2' .\n",
            (LITERAL, "API_TOKEN", "x1 y2"),
        ),
        ("run.sh", "mysql -uroot -px1y2 db\n", (LITERAL, "password", "x1y2")),
        ("run.ps1", "$env:API_TOKEN = 'x1y2'\n", (LITERAL, "API_TOKEN", "x1y2")),
        ("Makefile", "API_TOKEN ?= x1y2\n", (LITERAL, "API_TOKEN", "x1y2")),
        (".gitlab-ci.yml", "variables: {API_TOKEN: x1y2}\n", (LITERAL, "API_TOKEN", "x1y2")),
        (".github/workflows/a.yml", "env: {API_TOKEN: x1y2}\n", (LITERAL, "API_TOKEN", "x1y2")),
        (
            ".github/workflows/a.yml",
            "env: {API_TOKEN: '${{ secrets.T }}'}\n",
            (CARRIER, "API_TOKEN", "${{ secrets.T }}"),
        ),
        (
            "kustomization.yaml",
            "secretGenerator: [{name: a, literals: [pw=x1y2]}]\n",
            (LITERAL, "pw", "x1y2"),
        ),
        ("chart/values.yaml", "auth: {password: x1y2}\n", (LITERAL, "password", "x1y2")),
        ("app.properties", "db.password=x1y2\n", (LITERAL, "db.password", "x1y2")),
        ("application.yml", "db: {password: '${PW:x1y2}'}\n", (LITERAL, "password", "x1y2")),
        ("a.js", "const t = process.env.API_TOKEN;\n", (READER, "API_TOKEN", None)),
        ("a.go", 'os.Getenv("API_TOKEN")\n', (READER, "API_TOKEN", None)),
        ("a.rb", "ENV.fetch('API_TOKEN')\n", (READER, "API_TOKEN", None)),
        ("A.java", 'System.getenv("API_TOKEN")\n', (READER, "API_TOKEN", None)),
        ("a.php", "getenv('API_TOKEN');\n", (READER, "API_TOKEN", None)),
        ("a.rs", 'std::env::var("API_TOKEN")\n', (READER, "API_TOKEN", None)),
    ],
)
def test_other_forms(path: str, text: str, expected: tuple[str, str, str | None]) -> None:
    assert told(path, text) == [expected]


def test_a_template_is_named_and_its_places_stay() -> None:
    lines = [
        "apiVersion: v1",
        "kind: Pod",
        "spec:",
        " containers:",
        " - env:",
        "   {{- if .Values.x }}",
        "   - name: API_TOKEN",
        "     value: {{ .Values.t | quote }}",
        "   {{- end }}",
    ]
    (finding,) = found("chart/templates/a.yaml", "\n".join(lines))
    assert finding.kind == CARRIER
    assert finding.context["template"] is True


def test_a_remedy_stands_beside_what_other_languages_read() -> None:
    (finding,) = found("a.go", 'os.Getenv("API_TOKEN")\n')
    assert finding.context["remedy"]
