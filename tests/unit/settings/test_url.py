"""URLs with secrets in them: each value stands where it belongs and nowhere else."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.errors import ConfigError, IntegrityError
from secretbridge.reference import Reference
from secretbridge.secret import Secret
from secretbridge.settings._url import UrlTemplate, is_template


def secret(text, name="x", **more):
    return Secret(text.encode(), name=name, reference=Reference.parse(f"file:{name}"), **more)


def fill(template, **values):
    made = UrlTemplate(template)
    return made.fill({key: secret(text, key) for key, text in values.items()}).reveal()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_password_comes_out_of_the_url_as_it_went_in(password):
    parts = urlsplit(fill("postgresql://app:{p}@db.local:5432/orders?sslmode=disable", p=password))
    assert unquote(parts.password or "") == password
    assert (parts.username, parts.hostname, parts.port) == ("app", "db.local", 5432)
    assert (parts.path, parts.query) == ("/orders", "sslmode=disable")


@pytest.mark.parametrize("host", ["db.local", "db.local:5432", "10.0.0.1", "[::1]:5432"])
def test_a_host_stays_as_it_is(host):
    assert fill("postgresql://app@{h}/orders", h=host) == f"postgresql://app@{host}/orders"


@pytest.mark.parametrize("host", ["", "a@b", "a/b", "a b", "a#b", "a?b", "a,b", "::1", "a:b"])
def test_what_is_no_host_is_refused_where_one_is_needed(host):
    with pytest.raises(IntegrityError, match="cannot stand for the host"):
        fill("postgresql://app:x@{h}/orders", h=host)


def test_values_in_path_and_query_are_encoded():
    filled = fill("https://api.local/{a}/x?key={b}&n=1#{c}", a="a/b", b="k&v=1", c="#")
    assert filled == "https://api.local/a%2Fb/x?key=k%26v%3D1&n=1#%23"


def test_doubled_braces_are_braces():
    assert fill("https://u:{p}@h/{{id}}", p="x") == "https://u:x@h/{id}"


def test_a_reference_stands_in_braces_as_well_as_a_name():
    template = UrlTemplate("postgresql://{vault:kv/a@b/c#user}:{pw}@h1,{host}/db")
    assert template.keys == ("vault:kv/a@b/c#user", "pw", "host")
    values = {key: secret(text) for key, text in zip(template.keys, "uph", strict=True)}
    assert template.fill(values).reveal() == "postgresql://u:p@h1,h/db"


@pytest.mark.parametrize("text", ["{scheme}://h/", "host=h password={p}", "{whole_url}", "://{p}"])
def test_a_template_is_a_url_with_its_scheme_written_out(text):
    with pytest.raises(ConfigError, match="no URL"):
        UrlTemplate(text)


@pytest.mark.parametrize("key", ["db_password", "vault:kv/app/db#password", "a {{b}}"])
def test_what_has_no_placeholder_is_no_template(key):
    assert not is_template(key)


def test_the_url_lives_as_long_as_the_first_of_its_values_and_is_stale_with_any():
    template = UrlTemplate("x://{a}:{b}@h")
    values = {"a": secret("1", expires=2e9), "b": secret("2", expires=1e9, stale=True)}
    url = template.fill(values)
    assert url.expires_at == values["b"].expires_at
    assert url.stale
    assert url.name == "x://{a}:{b}@h"


def test_a_url_in_one_more_url_is_masked_everywhere():
    url = UrlTemplate("x://{a}@h").fill({"a": secret("canary")})
    assert "canary" not in f"{url!r} {url} {url.name} {url.reference}"
