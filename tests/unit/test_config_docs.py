"""The reference page of the configuration knows every key, and its example is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from secretbridge.backends import backend_class
from secretbridge.config import _models, load_config
from secretbridge.errors import ConfigError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"


def section(title: str) -> str:
    """Return the text below the heading ``title``, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^#|\Z)", PAGE.read_text(), re.M | re.S)
    assert found, title
    return found[1]


def keys(model: type[BaseModel]) -> set[str]:
    """Return the keys of a model; those of a block within it as ``block.key``."""
    found = set()
    for name, field in model.model_fields.items():
        inner = [a for a in (field.annotation, *get_args(field.annotation)) if is_model(a)]
        name = field.alias or name
        found |= {f"{name}.{key}" for a in inner for key in keys(a)} or {name}
    return found


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


@pytest.mark.parametrize(
    ("title", "models"),
    [
        ("`secrets`", [_models.SecretEntry]),
        ("`cache`", [_models.CacheEntry]),
        ("`sidecar.files`", [_models.FileConfig]),
        ("`sidecar.on_change`", [_models.ExecHook, _models.SignalHook, _models.HttpHook]),
        ("`sidecar.wait_ack`", [_models.WaitAckConfig]),
        ("`sidecar.listen`", [_models.ListenConfig]),
        ("`sidecar.hardening`", [_models.HardeningConfig]),
        ("`sidecar.metrics`", [_models.MetricsConfig]),
        ("`sidecar.telemetry`", [_models.TelemetryConfig]),
        ("`sidecar.audit`", [_models.AuditConfig]),
    ],
)
def test_the_page_has_every_key_of_a_block_and_no_other(
    title: str, models: list[type[BaseModel]]
) -> None:
    expected = {key for model in models for key in keys(model)}
    assert documented(title) == expected


def test_the_page_has_every_key_of_the_sidecar_block() -> None:
    assert documented("`sidecar`") == set(_models.SidecarConfig.model_fields)


@pytest.mark.parametrize("backend", ["file", "vault", "aws-sm", "aws-ssm", "local"])
def test_the_page_has_every_key_of_a_backend(backend: str) -> None:
    try:
        model = backend_class(backend).options_model()
    except ConfigError as error:
        pytest.skip(str(error))
    assert documented(f"Backend `{backend}`") == keys(model)


def documented(title: str) -> set[str]:
    rows = re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


def test_the_example_of_the_page_is_a_configuration(tmp_path: Path) -> None:
    blocks = re.findall(r"^```(yaml|toml)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert [language for language, _ in blocks] == ["yaml", "toml"]
    for language, text in blocks:
        path = tmp_path / f"secretbridge.{language}"
        path.write_text(text)
        config = load_config(path)
        assert config.sidecar is not None
        assert config.secrets["db_password"].reference.selector == "password"
