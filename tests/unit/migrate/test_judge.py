from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.migrate.detect.judge import THRESHOLD, Place, judge
from secretbridge.migrate.detect.names import by_name, words
from secretbridge.migrate.detect.shapes import entropy, look, looks_random

TELLING = """
DB_PASSWORD POSTGRES_PASSWORD RCONPW WEBPASSWORD DOMAINPASS dbPass APIKEY API_KEY SECRET_KEY
SECRET_KEY_BASE JWT_SECRET SECRET_JWT_SECRET AUTH_TOKEN authToken PGPASSWORD MYSQL_PWD
CLIENT_SECRET sonar.jdbc.password database__connection__password PASSWORD_SALT SIGNING_KEY
PRIVATE_KEY PLEX_CLAIM ACTIVATION_CODE ENCRYPTION_KEY SMTP_PASS DB_PASSWORD_PROD API_TOKEN_2
FERNET_KEY BORG_PASSPHRASE RABBITMQ_ERLANG_COOKIE VAULT_SECRET_ID AWS_SECRET_ACCESS_KEY
GITHUB_PAT HTPASSWD ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY DATABASE_URL
"""

HARMLESS = """
PASSWORD_FILE JWT_SECRET_KEY_PATH SECRETS_DIR PASSWORD_SCHEME AUTH_MODULE_VERSION TOKEN_EXPIRY
PASSWORD_ENABLED ALLOW_EMPTY_PASSWORD MYSQL_ALLOW_EMPTY_PASSWORD MYSQL_RANDOM_ROOT_PASSWORD
PUBLIC_KEY SSH_PUBLIC_KEY RECAPTCHA_SITE_KEY OAUTH_CLIENT_ID KEYBOARD PASSPORT_ISSUER
INSTALL_SSHPASS VALKEY_HOST KEYCLOAK_ADMIN AUTHENTIK_HOST MAX_TOKENS CASSANDRA_NUM_TOKENS NOAUTH
KMS_KEY_ALIAS CACHE_KEY PRIMARY_KEY SORT_KEY PASSWORD_MIN_LENGTH TOKEN_URL SECRET_NAME KEY_ID
PASSWORD_RESET_URL PWD OLDPWD COMPASS MONKEY API_KEY_HEADER SECRET_MANAGER_PROJECT AUTHOR
TOKENIZER
"""


@pytest.mark.parametrize(
    "name",
    TELLING.split(),
)  # fmt: skip
def test_names_that_tell(name: str) -> None:
    assert by_name(name).score >= 0.6


@pytest.mark.parametrize(
    "name",
    HARMLESS.split(),
)  # fmt: skip
def test_names_that_tell_nothing_or_the_contrary(name: str) -> None:
    assert by_name(name).score < THRESHOLD


def test_names_are_split_where_people_split_them() -> None:
    assert words("dbRootPassword2") == ("db", "root", "password", "2")
    assert words("database__connection.pass-word") == ("database", "connection", "pass", "word")


SECRET = [
    ("X", "postgres://app:hunter2x@db/app"),
    ("MESSAGE", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"),
    ("ANY", "ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"),
    ("NEO4J_AUTH", "neo4j/graphs-matter"),
    ("SMTP_AUTH", "robot:clank1"),
    ("HOST_USERS", '[{"name": "a", "password": "b-c-d-1"}]'),
    ("CONN", "Server=db;Database=a;User Id=sa;Password=Str0ng!x;"),
    ("GITLAB_OMNIBUS_CONFIG", "gitlab_rails['smtp_password'] = 'post-it-7'"),
    ("DATA_SOURCE_NAME", "exporter:ex-porter@(localhost:3306)/"),
    ("PASSWORD", "123456"),
    ("PASSWORD", "correct horse battery staple"),
    ("DB_PASSWORD", "user@example.com"),
    ("PASSWORD", "changeme"),
    ("REDIS_PASSWORD", "${REDIS_PASSWORD}"),
    ("DB_PASSWORD", ""),
]
CLEAR = [
    ("DB_PASSWORD", "/run/secrets/db"),
    ("JWT_SECRET_KEY", "%kernel.project_dir%/config/private.pem"),
    ("BASIC_AUTH", "False"),
    ("API_KEY", "true"),
    ("AUTH_TOKEN", "none"),
    ("SOME_URL", "https://example.com/path"),
    ("REDIS_URL", "redis://cache:6379/0"),
    ("LDAP_FILTER_PASS", "(&(objectClass=person)(uid=%u))"),
    ("TLS_KEY", "/etc/tls/tls.key"),
    ("PUBLIC_KEY", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2Qx ops@x"),
    ("STRIPE_KEY", "pk_live_51HxYzQ2eZvKYlo2C"),
    ("GIT_COMMIT", "3b1e8f0c5d7a92461e3b8f0c5d7a92461e3b8f0c"),
    ("APP_ID", "9f1c2d3e-aaaa-4bbb-8ccc-121212121212"),
    ("SIGNING_KEY", "ENC[AES256_GCM,data:abc,type:str]"),
    ("CACHE_KEY", "user_profile"),
]


@pytest.mark.parametrize(("name", "value"), SECRET)
def test_what_is_reported(name: str, value: str) -> None:
    assert judge(Place(name, value)) is not None


@pytest.mark.parametrize(("name", "value"), CLEAR)
def test_what_is_cleared(name: str, value: str) -> None:
    assert judge(Place(name, value)) is None


def test_an_image_that_knows_a_variable_lifts_it() -> None:
    assert judge(Place("PMA_CONTROLPASS", "x1y2")).reasons[-1].code == "name"  # type: ignore[union-attr]
    verdict = judge(Place("PMA_CONTROLPASS", "x1y2", images=("docker.io/library/phpmyadmin:5",)))
    assert verdict is not None
    assert [reason.code for reason in verdict.reasons] == ["name", "image"]


def test_severity_says_what_must_be_dealt_with_first() -> None:
    def severity(value: str | None, **fields: object) -> str:
        verdict = judge(Place("DB_PASSWORD", value, **fields))  # type: ignore[arg-type]
        assert verdict is not None
        return verdict.severity

    assert severity("j7!kQ-2") == "high"
    assert severity("postgres") == "medium"
    assert severity("<your password>") == "low"
    assert severity("${DB_PASSWORD}") == "medium"
    assert severity(None) == "medium"
    assert severity("") == "low"
    assert severity("j7!kQ-2", is_comment=True) == "low"
    assert severity("j7!kQ-2", is_example=True) == "medium"


def test_entropy_lifts_and_never_decides() -> None:
    value = "Xq7vKw2Lr9Tn5Zb1"
    assert judge(Place("BUILD_STAMP", value)) is None
    weak, strong = judge(Place("TLS_KEY", "words-and-more")), judge(Place("TLS_KEY", value))
    assert strong is not None
    assert weak is None or weak.confidence < strong.confidence


def test_the_secret_of_a_composed_value_is_pointed_at() -> None:
    value = "postgres://app:p%40ss@db/app"
    verdict = judge(Place("DATABASE_URL", value))
    assert verdict is not None
    (part,) = verdict.parts
    assert value[part.start : part.end] == "p%40ss"
    assert part.is_encoded


def test_shapes_tell_a_class_and_no_length() -> None:
    assert look("x" * 9 + "1").name == "text, under 16 characters"
    assert looks_random("Xq7vKw2Lr9Tn5Zb1")
    assert not looks_random("just-some-words-here")
    assert entropy("") == 0
    assert entropy("aabb") == 1


@given(
    st.text(max_size=60),
    st.text(max_size=120),
    st.sampled_from(["environment", "secret", "tree", "code"]),
)
def test_anything_can_be_judged(name: str, value: str, place: str) -> None:
    verdict = judge(Place(name, value, place))
    if verdict is not None:
        assert THRESHOLD <= verdict.confidence <= 1
        assert all(0 <= part.start < part.end <= len(value) for part in verdict.parts)
        assert verdict.reasons


@pytest.mark.parametrize(
    "value",
    ["a" * 50_000, "=" * 20_000, "://" * 9_000, "${" * 9_000, "{" * 9_000, "a:" * 9_000, "-a" * 9_000,
     "password=" * 5_000, "x@" * 9_000, " a" * 9_000, "'" * 9_000],
)  # fmt: skip
@pytest.mark.parametrize("name", ["PASSWORD", "SOME_URL", "API_KEY", "OTHER"])
def test_no_value_takes_long(name: str, value: str) -> None:
    judge(Place(name, value))
    judge(Place(name, value, "code"))
