"""``from_secret``: what a field becomes, and where its value may come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pydantic_settings
import pytest
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PostgresDsn,
    SecretBytes,
    SecretStr,
    field_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass

import secretbridge
from secretbridge import (
    AccessDenied,
    BackendUnavailable,
    ConfigError,
    Secret,
    SecretDeleted,
    SecretMissing,
)
from secretbridge.settings import (
    BaseSettings,
    SecretSettingsSource,
    SettingsConfigDict,
    from_secret,
)

DATABASE = '{"password": "p@ss/word", "port": "5432", "hosts": ["a", "b"], "pool": {"size": 3}}'


@pytest.fixture(autouse=True)
def _filled(store):
    store.put("db", DATABASE)
    store.put("token", "t-1")


class Pool(BaseModel):
    size: int


@dataclass
class PoolData:
    size: int


# Types ------------------------------------------------------------------------------------------


def test_the_type_of_the_field_decides_what_becomes_of_the_secret(broker):
    class Settings(BaseSettings):
        wrapped: Secret = from_secret("db_password")
        masked: SecretStr = from_secret("db_password")
        masked_bytes: SecretBytes = from_secret("db_password")
        text: str = from_secret("db_password")
        raw: bytes = from_secret("db_password")
        number: int = from_secret("fake:db#port")
        maybe: int | None = from_secret("fake:db#port")
        many: list[str] = from_secret("fake:db#hosts")
        model: Pool = from_secret("fake:db#pool")
        data: PoolData = from_secret("fake:db#pool")
        open: dict[str, int] = from_secret("fake:db#pool")

    settings = Settings(_broker=broker)
    assert isinstance(settings.wrapped, Secret)
    assert settings.wrapped.reveal() == settings.text == "p@ss/word"
    assert settings.masked == SecretStr("p@ss/word")
    assert settings.masked_bytes == SecretBytes(b"p@ss/word")
    assert settings.raw == b"p@ss/word"
    assert (settings.number, settings.maybe) == (5432, 5432)
    assert settings.many == ["a", "b"]
    assert settings.model == Pool(size=3)
    assert settings.data == PoolData(3)
    assert settings.open == {"size": 3}


def test_text_that_looks_like_a_number_stays_text(broker, store):
    store.put("token", "1e5")

    class Settings(BaseSettings):
        token: str = from_secret("token")

    assert Settings(_broker=broker).token == "1e5"


def test_a_url_is_filled_in_and_validated(broker):
    class Settings(BaseSettings):
        url: PostgresDsn = from_secret("postgresql://app:{db_password}@h:{db_port}/orders")
        wrapped: Secret = from_secret("postgresql://app:{db_password}@h/orders")

    settings = Settings(_broker=broker)
    assert str(settings.url) == "postgresql://app:p%40ss%2Fword@h:5432/orders"
    assert settings.wrapped.reveal() == "postgresql://app:p%40ss%2Fword@h/orders"


def test_constraints_of_the_field_hold(broker):
    class Settings(BaseSettings):
        port: int = from_secret("db_port", gt=9000)

    with pytest.raises(ValueError, match="greater than 9000"):
        Settings(_broker=broker)


def test_all_secrets_of_one_document_are_fetched_at_once(broker, store):
    class Settings(BaseSettings):
        password: Secret = from_secret("db_password")
        port: int = from_secret("db_port")
        url: str = from_secret("x://{db_password}@h")
        token: Secret = from_secret("token")

    Settings(_broker=broker)
    assert sorted(store.batches) == [("db", "token")]


# Models -----------------------------------------------------------------------------------------


class Database(BaseModel):
    host: str = "localhost"
    password: Secret = from_secret("db_password")


@pytest.mark.parametrize("how", ["required", "default_factory", "optional", "list"])
def test_nested_models_are_filled_too(broker, how, monkeypatch):
    kind: Any = {"optional": Database | None, "list": list[Database]}.get(how, Database)
    field = Field(default_factory=Database) if how == "default_factory" else Field()

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_nested_delimiter="__")
        database: kind = field

    if how != "list":
        monkeypatch.setenv("DATABASE__HOST", "db.local")
    given = {"database": [{"host": "db.local"}]} if how == "list" else {}
    found = Settings(_broker=broker, **given).database
    database = found[0] if how == "list" else found
    assert (database.host, database.password.reveal()) == ("db.local", "p@ss/word")


def test_a_nested_model_two_levels_down_is_filled(broker):
    class Outer(BaseModel):
        inner: Database

    class Settings(BaseSettings):
        outer: Outer

    assert Settings(_broker=broker).outer.inner.password.reveal() == "p@ss/word"


def test_an_optional_model_that_nothing_asks_for_stays_none(broker, store):
    class Settings(BaseSettings):
        database: Database | None = None

    assert Settings(_broker=broker).database is None
    assert store.fetch_calls == 0


def test_aliases_are_what_pydantic_says(broker):
    class Settings(BaseSettings):
        model_config = SettingsConfigDict(alias_generator=str.upper)
        password: Secret = from_secret("db_password")
        port: int = from_secret("db_port", validation_alias=AliasChoices("PORT", "P"))

    settings = Settings(_broker=broker)
    assert (settings.password.reveal(), settings.port) == ("p@ss/word", 5432)


def test_a_frozen_class_is_filled(broker):
    class Settings(BaseSettings):
        model_config = SettingsConfigDict(frozen=True)
        token: Secret = from_secret("token")

    assert Settings(_broker=broker).token.reveal() == "t-1"


@pytest.fixture
def process_wide(broker, monkeypatch):
    monkeypatch.setattr(secretbridge, "_default", broker)


@pytest.mark.usefixtures("process_wide")
def test_plain_models_and_dataclasses_fill_themselves():
    @pydantic_dataclass
    class Data:
        token: Secret = from_secret("token")

    assert Database().password.reveal() == "p@ss/word"
    assert Data().token.reveal() == "t-1"


@pytest.mark.usefixtures("process_wide")
def test_the_class_of_pydantic_settings_takes_the_fields_too():
    class Settings(pydantic_settings.BaseSettings):
        token: Secret = from_secret("token")

    assert Settings().token.reveal() == "t-1"


@pytest.mark.usefixtures("process_wide")
def test_the_class_of_pydantic_settings_takes_the_source_too(monkeypatch):
    monkeypatch.setenv("TOKEN", "from the environment")

    class Settings(pydantic_settings.BaseSettings):
        token: Secret = from_secret("token")

        @classmethod
        def settings_customise_sources(cls, settings_cls, init_settings, **others):
            return (init_settings, SecretSettingsSource(settings_cls), *others.values())

    assert Settings().token.reveal() == "t-1"


def test_declaring_a_field_asks_no_store(store):
    class Settings(BaseSettings):
        token: Secret = from_secret("token")

    assert Settings.model_json_schema()["properties"]["token"]["format"] == "password"
    assert store.fetch_calls == 0


# Where a value may come from --------------------------------------------------------------------


def test_the_environment_is_never_asked_for_a_secret(broker, monkeypatch, tmp_path):
    (tmp_path / "env").write_text("TOKEN=from the file\nDATABASE__PASSWORD=from the file\n")
    monkeypatch.setenv("TOKEN", "from the environment")
    monkeypatch.setenv("GONE", "from the environment")
    monkeypatch.setenv("DATABASE__PASSWORD", "from the environment")

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_nested_delimiter="__", env_file=tmp_path / "env")
        token: str = from_secret("token")
        gone: str | None = from_secret("fake:gone", default=None)
        database: Database

    settings = Settings(_broker=broker)
    assert (settings.token, settings.gone) == ("t-1", None)
    assert settings.database.password.reveal() == "p@ss/word"


def test_plain_fields_still_come_from_the_environment(broker, monkeypatch):
    monkeypatch.setenv("HOST", "db.local")

    class Settings(BaseSettings):
        host: str = "localhost"
        token: Secret = from_secret("token")

    assert Settings(_broker=broker).host == "db.local"


def test_an_argument_counts_more_than_the_store_and_is_wrapped(broker, store):
    class Settings(BaseSettings):
        token: Secret = from_secret("token")
        port: int = from_secret("db_port")
        database: Database

    settings = Settings(
        _broker=broker, token="given", port=1, database={"password": SecretStr("given too")}
    )
    assert (settings.token.reveal(), settings.port) == ("given", 1)
    assert settings.database.password.reveal() == "given too"
    assert store.fetch_calls == 0


@pytest.mark.usefixtures("process_wide")
@pytest.mark.parametrize("value", ["plain", b"plain", 1, 1.5])
def test_plain_text_from_elsewhere_is_refused_and_not_shown(value):
    class Settings(pydantic_settings.BaseSettings):
        token: Secret = from_secret("token")

    with pytest.raises(ConfigError, match="plain text") as caught:
        Settings(token=value)
    assert "plain'" not in str(caught.value)
    assert "BaseSettings" in (caught.value.hint or "")


@pytest.mark.usefixtures("process_wide")
def test_a_leftover_environment_variable_is_told_of_and_not_used(monkeypatch):
    monkeypatch.setenv("TOKEN", "left over")

    class Settings(pydantic_settings.BaseSettings):
        token: Secret = from_secret("token")

    with pytest.raises(ConfigError, match="unset the environment variable"):
        Settings()


# Missing, denied, unreachable -------------------------------------------------------------------


class Optional(BaseSettings):
    token: str = from_secret("token", default="development")


def test_a_default_is_for_a_missing_secret(broker, store):
    store.remove("token")
    assert Optional(_broker=broker).token == "development"


def test_a_deleted_secret_is_missing(broker, store):
    store.delete("token")
    assert Optional(_broker=broker).token == "development"


def test_a_denied_secret_has_no_default(broker, store):
    store.deny("token")
    with pytest.raises(AccessDenied):
        Optional(_broker=broker)


def test_a_secret_that_cannot_be_asked_for_has_no_default(broker, store):
    store.fail(BackendUnavailable("the store is away"))
    with pytest.raises(BackendUnavailable):
        Optional(_broker=broker)


def test_a_name_that_is_not_configured_has_no_default(broker):
    class Settings(BaseSettings):
        token: str = from_secret("tokne", default="development")

    with pytest.raises(ConfigError, match="did you mean 'token'"):
        Settings(_broker=broker)


def test_a_url_without_one_of_its_secrets_takes_its_default(broker):
    class Settings(BaseSettings):
        url: str = from_secret("x://{db_password}:{fake:gone}@h", default="x://h")

    assert Settings(_broker=broker).url == "x://h"


def test_a_url_with_a_secret_that_is_denied_has_no_default(broker, store):
    class Settings(BaseSettings):
        url: str = from_secret("x://{db_password}:{fake:gone}@h", default="x://h")

    store.deny("gone")
    with pytest.raises(AccessDenied):
        Settings(_broker=broker)


class Maybe(BaseSettings):
    token: Secret | None = from_secret("fake:gone?optional")


def test_an_optional_reference_gives_none(broker):
    assert Maybe(_broker=broker).token is None


def test_an_optional_reference_that_is_denied_is_an_error(broker, store):
    store.deny("gone")
    with pytest.raises(AccessDenied):
        Maybe(_broker=broker)


def test_without_a_default_a_missing_secret_is_an_error(broker, store):
    store.delete("token")

    class Settings(BaseSettings):
        token: Secret = from_secret("token")

    with pytest.raises(SecretDeleted):
        Settings(_broker=broker)


def test_every_field_that_lacks_its_secret_is_named(broker, store):
    store.remove("token")
    store.deny("db")

    class Settings(BaseSettings):
        token: Secret = from_secret("token")
        database: Database

    with pytest.raises(SecretMissing) as caught:
        Settings(_broker=broker)
    assert [note.partition(":")[0] for note in caught.value.__notes__] == [
        "Settings.token",
        "Settings.database.password",
    ]


# The application's own validators ---------------------------------------------------------------


def test_a_validator_of_the_application_sees_the_converted_value(broker):
    seen = []

    class Settings(BaseSettings):
        port: int = from_secret("db_port")

        @field_validator("port")
        @classmethod
        def note(cls, value: int) -> int:
            seen.append(value)
            return value

    Settings(_broker=broker)
    assert seen == [5432]


def test_assignment_is_validated_as_construction_is(broker):
    class Model(BaseModel):
        model_config = ConfigDict(validate_assignment=True)
        port: int = from_secret("db_port")

    class Settings(BaseSettings):
        model: Model

    settings = Settings(_broker=broker)
    with pytest.raises(ConfigError, match="plain text"):
        settings.model.port = 3
    settings.model.port = SecretStr("3")
    assert settings.model.port == 3


# The environment is looked at only where it can have something --------------------------------


@pytest.mark.parametrize(
    ("variable", "config", "alias"),
    [
        ("APP_HOST", {"env_prefix": "app_"}, None),
        ("ANOTHER", {}, "another"),
        ("APP_ANOTHER", {"env_prefix": "app_", "env_prefix_target": "all"}, "another"),
        ("second", {}, AliasChoices("first", "second")),
    ],
)
def test_a_variable_is_found_by_every_name_that_it_may_have(
    monkeypatch, broker, variable, config, alias
):
    monkeypatch.setenv(variable, "db.local")
    field: Any = Field("localhost") if alias is None else Field("localhost", validation_alias=alias)

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(**config)
        host: str = field
        token: Secret = from_secret("token")

    assert Settings(_broker=broker).host == "db.local"


def test_a_variable_of_a_nested_field_is_found(monkeypatch, broker):
    monkeypatch.setenv("APP_OUTER__POOL__SIZE", "3")

    class Outer(BaseModel):
        pool: Pool

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="app_", env_nested_delimiter="__")
        outer: Outer

    assert Settings(_broker=broker).outer.pool.size == 3
