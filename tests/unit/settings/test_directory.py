"""``secrets_dir``: files named as fields, read once each."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
from pydantic import AliasChoices, BaseModel, Field, SecretStr, ValidationError

from secretbridge import AccessDenied, IntegrityError, Secret
from secretbridge.settings import BaseSettings, SettingsConfigDict, from_secret

from .conftest import CANARY


class Pool(BaseModel):
    size: int
    password: SecretStr
    token: Secret | None = None


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_nested_delimiter="__")
    text: str
    number: int = 0
    masked: SecretStr = SecretStr("")
    wrapped: Secret | None = None
    raw: bytes = b""
    many: list[int] = Field(default=[])
    pool: Pool | None = None


def put(directory: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        body = content.encode() if isinstance(content, str) else content
        (directory / name).write_bytes(body)
    return directory


def as_volume(directory: Path, generation: str, **files: str) -> None:
    (directory / generation).mkdir()
    put(directory / generation, **files)
    (directory / "..new").symlink_to(generation)
    (directory / "..new").rename(directory / "..data")
    for name in files:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")


def test_each_field_takes_the_file_of_its_name(tmp_path):
    put(tmp_path, text="hello\n", number="3\n", masked="x\n", wrapped="y\n", raw="z\n")
    put(tmp_path, many="[1, 2]", ignored="w")
    settings = Settings(_secrets_dir=tmp_path)
    assert (settings.text, settings.number, settings.raw) == ("hello", 3, b"z\n")
    assert settings.masked == SecretStr("x")
    assert settings.wrapped is not None
    assert settings.wrapped.reveal() == "y"
    assert settings.many == [1, 2]


def test_the_class_may_say_where_the_files_are(tmp_path):
    put(tmp_path, text="hello")

    class Here(Settings):
        model_config = SettingsConfigDict(secrets_dir=tmp_path)

    assert Here().text == "hello"


def test_only_the_one_newline_of_the_file_is_left_out(tmp_path):
    put(tmp_path, text="  two lines\n\n")
    assert Settings(_secrets_dir=tmp_path).text == "  two lines\n"


def test_case_does_not_matter_unless_it_is_said_to(tmp_path):
    put(tmp_path, TEXT="hello")
    assert Settings(_secrets_dir=tmp_path).text == "hello"
    with pytest.raises(ValidationError, match="Field required"):
        Settings(_secrets_dir=tmp_path, _case_sensitive=True)


def test_a_prefix_and_aliases_count(tmp_path):
    class Prefixed(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="app_")
        text: str
        other: str = Field(validation_alias=AliasChoices("first", "second"))

    put(tmp_path, app_text="hello", second="there")
    settings = Prefixed(_secrets_dir=tmp_path)
    assert (settings.text, settings.other) == ("hello", "there")


def test_of_several_directories_the_last_that_has_a_file_wins(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        put(tmp_path / name, text=name)
    put(tmp_path / "a", number="1")
    settings = Settings(_secrets_dir=(tmp_path / "a", tmp_path / "b"))
    assert (settings.text, settings.number) == ("b", 1)


def test_arguments_and_the_environment_count_more(tmp_path, monkeypatch):
    put(tmp_path, text="file", number="1")
    monkeypatch.setenv("NUMBER", "2")
    settings = Settings(_secrets_dir=tmp_path, text="argument")
    assert (settings.text, settings.number) == ("argument", 2)


@pytest.mark.parametrize("how", ["folder", "delimiter", "document"])
def test_a_nested_model_has_files_of_its_own(tmp_path, how):
    put(tmp_path, text="x")
    if how == "folder":
        (tmp_path / "pool").mkdir()
        put(tmp_path / "pool", size="3", password="p", token="t")
    elif how == "delimiter":
        put(tmp_path, pool__size="3", pool__password="p", POOL__TOKEN="t")
    else:
        put(tmp_path, pool='{"size": 3, "password": "p"}')
    pool = Settings(_secrets_dir=tmp_path).pool
    assert pool is not None
    assert (pool.size, pool.password) == (3, SecretStr("p"))
    assert how == "document" or (pool.token is not None and pool.token.reveal() == "t")


def test_a_field_from_a_secret_is_left_to_its_store(tmp_path, broker, store):
    class Mixed(BaseSettings):
        token: Secret = from_secret("token")
        text: str

    store.put("token", "from the store")
    put(tmp_path, token="from the file", text="x")
    settings = Mixed(_broker=broker, _secrets_dir=tmp_path)
    assert (settings.token.reveal(), settings.text) == ("from the store", "x")


def test_the_files_of_a_volume_are_read_from_one_generation(tmp_path):
    as_volume(tmp_path, "..1", text="one", number="1")
    as_volume(tmp_path, "..2", text="two", number="2")
    settings = Settings(_secrets_dir=tmp_path)
    assert (settings.text, settings.number) == ("two", 2)


def test_each_directory_is_listed_once(tmp_path, monkeypatch):
    put(tmp_path, text="x", number="1", masked="y")
    listed = []
    listdir = os.listdir

    def note(path):
        listed.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", note)
    Settings(_secrets_dir=tmp_path)
    assert len(listed) == 1


def test_a_directory_that_is_not_there_is_told_of(tmp_path):
    with pytest.warns(UserWarning, match="no directory"):
        settings = Settings(_secrets_dir=tmp_path / "gone", text="x")
    assert settings.number == 0


def test_a_file_that_cannot_be_read_is_an_error_and_no_default(tmp_path):
    put(tmp_path, text="x")
    (tmp_path / "number").mkdir()
    with pytest.raises(IntegrityError, match="a directory") as caught:
        Settings(_secrets_dir=tmp_path)
    assert caught.value.__notes__[0].startswith("Settings.number: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every directory")
def test_a_directory_that_may_not_be_listed_is_an_error(tmp_path):
    tmp_path.chmod(0o300)
    with pytest.raises(AccessDenied, match="may not list"):
        Settings(_secrets_dir=tmp_path)


def test_a_link_that_leads_out_of_the_directory_is_refused(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    put(tmp_path, outside="x")
    (inside / "text").symlink_to("../outside")
    with pytest.raises(IntegrityError, match="leads out"):
        Settings(_secrets_dir=inside)


@pytest.mark.parametrize(
    ("files", "wrong"),
    [
        ({"number": "VALUE"}, "number"),
        ({"many": "VALUE"}, "many"),
        ({"pool__size": "VALUE", "pool__password": "VALUE"}, "pool.size"),
        ({"pool__password": "VALUE"}, "pool.size"),
        ({"pool": '{"size": "VALUE", "password": "VALUE"}'}, "pool.**********"),
    ],
)
def test_a_value_that_does_not_fit_is_not_shown(tmp_path, files, wrong):
    # The value itself stands in no local variable here, which the traceback would show.
    put(tmp_path, text=CANARY, masked=CANARY)
    put(tmp_path, **{name: text.replace("VALUE", CANARY) for name, text in files.items()})
    with pytest.raises(ValidationError) as caught:
        Settings(_secrets_dir=tmp_path)
    error = caught.value
    shown = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )
    assert CANARY not in f"{shown}{error!r}{error.errors()}{error.json()}"
    assert [".".join(map(str, line["loc"])) for line in error.errors()] == [wrong]
