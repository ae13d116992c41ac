"""Reloading: all new values at once, or the old ones."""

from __future__ import annotations

import queue
import threading

import pytest
from pydantic import BaseModel, PrivateAttr, ValidationError

from secretbridge import AccessDenied, BackendUnavailable, Secret
from secretbridge.settings import BaseSettings, SettingsConfigDict, from_secret


class Database(BaseModel):
    password: Secret = from_secret("fake:db#password")


class Settings(BaseSettings):
    host: str = "localhost"
    token: Secret = from_secret("token")
    port: int = from_secret("db_port")
    database: Database


def database(store, password, port):
    store.put("db", f'{{"password": "{password}", "port": "{port}"}}')


@pytest.fixture
def settings(broker, store) -> Settings:
    store.put("token", "t-1")
    database(store, "p-1", 1)
    return Settings(_broker=broker)


def test_reload_takes_the_newest_values_in_place(settings, store):
    store.put("token", "t-2")
    database(store, "p-2", 2)
    assert settings.reload() == {"token", "port", "database"}
    assert settings.token.reveal() == "t-2"
    assert settings.port == 2
    assert settings.database.password.reveal() == "p-2"


def test_reload_says_what_changed(settings, store):
    assert settings.reload() == frozenset()
    store.put("token", "t-2")
    assert settings.reload() == {"token"}


def test_what_is_the_same_stays_the_same_object(settings):
    before = settings.database
    settings.reload()
    assert settings.database is before


def test_reload_counts_the_environment_anew(settings, monkeypatch):
    monkeypatch.setenv("HOST", "db.local")
    assert settings.reload() == {"host"}


def test_reload_keeps_the_arguments(broker, store):
    store.put("token", "t-1")
    database(store, "p-1", 1)
    settings = Settings(_broker=broker, token="given", host="given")
    store.put("token", "t-2")
    settings.reload()
    assert (settings.token.reveal(), settings.host) == ("given", "given")


def test_reload_works_on_a_frozen_class(broker, store):
    class Frozen(BaseSettings):
        model_config = SettingsConfigDict(frozen=True)
        token: Secret = from_secret("token")

    store.put("token", "t-1")
    settings = Frozen(_broker=broker)
    store.put("token", "t-2")
    assert settings.reload() == {"token"}


def test_a_class_with_a_constructor_of_its_own_reloads(broker, store):
    class Own(BaseSettings):
        token: Secret = from_secret("token")
        _uses: int = PrivateAttr(0)

        def __init__(self, uses: int) -> None:
            super().__init__(_broker=broker)
            self._uses = uses

    store.put("token", "t-1")
    settings = Own(3)
    store.put("token", "t-2")
    settings.reload()
    assert (settings.token.reveal(), settings._uses) == ("t-2", 3)


def test_values_that_do_not_fit_leave_the_settings_as_they_were(settings, store):
    store.put("token", "t-2")
    database(store, "p-2", "no number")
    with pytest.raises(ValidationError):
        settings.reload()
    assert (settings.token.reveal(), settings.port) == ("t-1", 1)


def test_a_secret_that_is_denied_meanwhile_leaves_the_settings_as_they_were(settings, store):
    store.deny("db")
    with pytest.raises(AccessDenied):
        settings.reload()
    assert settings.port == 1


def test_a_store_that_is_away_serves_from_the_cache(settings, store):
    store.fail(BackendUnavailable("away"))
    assert settings.reload() == frozenset()
    assert settings.token.reveal() == "t-1"


def test_a_reload_during_a_fetch_does_not_take_what_that_one_brings(settings, store, broker):
    with store.hold():
        broker.refresh(["token"])
        store.wait_for_calls(1)
        store.put("token", "t-2")
        reloading = threading.Thread(target=settings.reload)
        reloading.start()
    reloading.join()
    assert settings.token.reveal() == "t-2"


def test_a_rotation_reloads_by_itself_when_it_is_asked_to(settings, store, broker):
    changes: queue.Queue[frozenset[str]] = queue.Queue()
    end = settings.reload_on_change(changes.put)
    store.put("token", "t-2")
    broker.refresh()
    assert changes.get(timeout=10) == {"token"}
    assert settings.token.reveal() == "t-2"
    end()


def test_two_values_of_one_document_change_at_once(settings, store, broker):
    changes: queue.Queue[frozenset[str]] = queue.Queue()
    end = settings.reload_on_change(changes.put)
    database(store, "p-2", 2)
    broker.refresh()
    assert changes.get(timeout=10) == {"database", "port"}
    end()
    assert changes.empty()


def test_after_the_end_nothing_reloads(settings, store, broker):
    end = settings.reload_on_change()
    end()
    store.put("token", "t-2")
    broker.refresh(["token"], timeout=10)
    assert settings.token.reveal() == "t-1"


class Files(BaseSettings):
    text: str


def put(path, text):
    fresh = path.with_name(".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_reload_reads_the_files_of_secrets_dir_again(tmp_path):
    put(tmp_path / "text", "one")
    settings = Files(_secrets_dir=tmp_path)
    put(tmp_path / "text", "two")
    assert settings.reload() == {"text"}
    assert settings.text == "two"


def test_the_files_of_secrets_dir_are_followed_too(tmp_path):
    put(tmp_path / "text", "one")
    settings = Files(_secrets_dir=tmp_path)
    changes: queue.Queue[frozenset[str]] = queue.Queue()
    end = settings.reload_on_change(changes.put)
    put(tmp_path / "text", "two")
    assert changes.get(timeout=20) == {"text"}
    end()
    assert settings.text == "two"


def test_a_broker_can_be_given_in_a_form_that_type_checkers_know(broker, store):
    store.put("token", "t-1")

    class One(BaseSettings):
        token: Secret = from_secret("token")
        host: str = "localhost"

    settings = One.from_broker(broker, host="given")
    assert (settings.token.reveal(), settings.host) == ("t-1", "given")
