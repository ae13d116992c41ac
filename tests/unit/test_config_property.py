"""Whatever stands in the file: it is a configuration or a ConfigError, and no value is shown."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from traceback import TracebackException

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from secretbridge.config import load_config
from secretbridge.errors import ConfigError

CANARY = "zq7$canary"
"""Part of every value. With the dollar it is no name, so not even as a key may it be shown."""

KEYS = st.sampled_from(
    [
        "stores", "secrets", "cache", "sidecar", "backend", "file", "roots", "reference", "refresh",
        "max_stale", "target", "mode", "group", "owner", "files", "template", "concat", "format",
        "secret", "on_change", "exec", "signal", "pid_file", "http", "timeout", "listen", "socket",
        "audit", "path", "required", "on_exit", "grace", "token", "allow_unsafe_target", "a", "b",
        "address", "auth", "method", "vault", "aws-sm", "local", "region", "endpoint_url", "role_arn",
        "namespace", "ca_file", "mount", "token_file", "role_id_file", "secret_id_wrapped", "key_file",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.just(CANARY),
    st.text(max_size=6).map(lambda text: f"{text}{CANARY}"),
    st.sampled_from(
        [
            f"/{CANARY}", f"../{CANARY}", f"https://{CANARY}@h", f"{CANARY}://x", f"{CANARY}:x#y",
            f"!{CANARY}", f"{CANARY}\0", f"\ud800{CANARY}", f"{CANARY} 5m", f"SIG{CANARY}",
            f"{CANARY}\n{CANARY}: {CANARY}",
        ]
    ),
)  # fmt: skip
SCALARS = st.one_of(
    TEXTS,
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["file", "json", "keep", "0440", "HUP", "30s", "-", "a", "file:a", "/bin/x"]),
)
STORES = st.fixed_dictionaries(
    {},
    optional={
        "vault": st.dictionaries(KEYS, SCALARS | st.dictionaries(KEYS, SCALARS, max_size=4)),
        "aws-sm": st.dictionaries(KEYS, SCALARS),
        "local": st.dictionaries(KEYS, SCALARS),
    },
)
DOCUMENTS = STORES.map(lambda stores: {"stores": stores}) | st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)
        ),
        max_leaves=15,
    ),
    max_size=4,
)


def loaded(path: Path) -> ConfigError | None:
    try:
        load_config(path)
    except ConfigError as error:
        return error
    return None


def check(text: str, suffix: str) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, f"c.{suffix}")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        error = loaded(path)
    if error is not None:
        assert error.problems
        assert CANARY not in f"{error} {error!r} {error.problems} {error.hint}"
        assert error.__context__ is None
        assert CANARY not in "".join(
            TracebackException.from_exception(error, capture_locals=True).format()
        )
        assert all(line.startswith(str(path)) for line in error.problems)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(DOCUMENTS, st.booleans())
@example({"stores": {"aws-sm": {"endpoint_url": f"http://\u2100{CANARY}/"}}}, False)
@example({"stores": {"vault": {"address": f"http://\u2100{CANARY}/"}}}, False)
@example({"secrets": {"a": f"vault:kv/app\0{CANARY}"}}, False)
@example({"sidecar": {"target": "/x", "on_change": [{"http": f"http://[{CANARY}"}]}}, False)
def test_any_yaml_document_is_a_configuration_or_a_config_error(
    document: dict[str, object], is_json: bool
) -> None:
    if is_json:
        check(json.dumps(document, ensure_ascii=True), "yaml")
    else:
        check(yaml.safe_dump(document, allow_unicode=True), "yaml")


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.one_of(
            KEYS.map(lambda key: f"{key}: "),
            TEXTS.map(repr),
            st.just(CANARY),
            st.sampled_from(
                ["\n", "\n  ", "\n- ", "{", "}", "[", "]", ", ", ": ", "&a ", "*a ", "<<: ", "!!int ",
                 "!x ", "? ", "'", '"', "|\n", "\t", "#", "%TAG ", "---\n", "\\", "= ", "[[", "]]",
                 '"""', "'''", "0x", "1_", "2024-99-99", "~", "@", "`"]
            ),
        ),
        max_size=12,
    ).map("".join),
    st.sampled_from(["yaml", "toml"]),
)  # fmt: skip
def test_any_text_is_a_configuration_or_a_config_error(text: str, suffix: str) -> None:
    check(text, suffix)
