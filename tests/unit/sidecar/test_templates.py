"""Templates: what they may do, what they may not, and what their errors say."""

import json
import shlex
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.errors import ConfigError, IntegrityError, SecretTooLarge
from secretbridge_sidecar.templates import (
    FILTERS,
    MAX_OUTPUT,
    MAX_TEMPLATE,
    Template,
    Value,
    read_template,
)

CANARY = "canary-4b1f77"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def rendered(source, **secrets):
    values = {name: Value(value) for name, value in secrets.items()}
    return Template("t.j2", source).render("f", values).decode()


def test_a_value_stands_where_its_name_stood():
    assert rendered("[db]\npassword = {{ db }}\n", db="x y") == "[db]\npassword = x y\n"


def test_a_name_that_is_no_word_of_jinja_is_written_in_brackets():
    template = Template("t.j2", '{{ secrets["db-password"] }}{{ secrets.user }}')
    assert template.names == {"db-password", "user"}
    assert template.render("f", {"db-password": "1", "user": "2"}) == b"12"


def test_conditions_and_lists_that_are_written_out():
    source = '{% for h in ["a", "b"] %}{{ h }}:{{ pw }}{{ "," if not loop.last }}{% endfor %}'
    assert rendered(source, pw="x") == "a:x,b:x"
    assert rendered("{% if mode == 'on' %}yes{% else %}no{% endif %}", mode="on") == "yes"


def test_what_is_tested_or_has_a_default_may_be_missing():
    template = Template(
        "t.j2", "{{ a }}{% if b is defined %}{{ b }}{% endif %}{{ c|default('-') }}"
    )
    assert template.needed() == {"a"}
    assert template.render("f", {"a": "1"}) == b"1-"
    assert template.render("f", {"a": "1", "b": "2", "c": "3"}) == b"123"


def test_the_filters_are_these_and_no_other():
    """A new filter is a decision about what templates can do; it belongs into the documentation."""
    assert sorted(FILTERS) == [
        "b64encode",
        "default",
        "indent",
        "json",
        "lower",
        "multiline",
        "shell",
        "trim",
        "upper",
        "urlencode",
    ]


@given(TEXT)
def test_a_quoting_filter_carries_every_text(value):
    assert json.loads(rendered("{{ v|json }}", v=value)) == value
    assert shlex.split(rendered("{{ v|shell }}", v=value)) == [value]
    assert rendered("{{ v|multiline }}", v=value) == value


@pytest.mark.parametrize("filters", ["", "|trim", "|lower", "|upper", "|default('x')"])
@pytest.mark.parametrize("end", ["\n", "\r", "\0"])
def test_a_value_with_a_line_break_is_not_written_as_it_stands(filters, end):
    with pytest.raises(IntegrityError, match=r"'f': t\.j2:2: a value has a line break") as caught:
        rendered("# first\nx={{ v" + filters + " }}\n", v=f"{CANARY}{end}admin=1")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("{{ p", "this is no Jinja2"),
        ("{% endif %}", "this is no Jinja2"),
        ("{{ p() }}", "Call is not available"),
        ("{{ range(9) }}", "Call is not available"),
        ("{{ p.upper() }}", "Call is not available"),
        ("{{ p.__class__ }}", "a value has no members"),
        ("{{ p[0] }}", "a value has no members"),
        ("{{ secrets[p] }}", "a value has no members"),
        ("{{ secrets }}", "secrets is no value by itself"),
        ("{{ secrets|json }}", "secrets is no value by itself"),
        ("{{ loop }}", "loop is no value by itself"),
        ("{{ p|attr('x') }}", "there is no such filter"),
        ("{{ p|safe }}", "there is no such filter"),
        ("{% if p is callable %}{% endif %}", "there is no such test"),
        ("{% include '/etc/passwd' %}", "Include is not available"),
        ("{% import 'x' as y %}", "Import is not available"),
        ("{% from 'x' import y %}", "FromImport is not available"),
        ("{% extends 'x' %}", "Extends is not available"),
        ("{% block b %}{% endblock %}", "Block is not available"),
        ("{% macro m() %}{% endmacro %}", "Macro is not available"),
        ("{% set x = p %}", "Assign is not available"),
        ("{% filter upper %}{% endfilter %}", "FilterBlock is not available"),
        ("{{ 9 ** 9 }}", "Pow is not available"),
        ("{{ 'x' * 9 }}", "Mul is not available"),
        ("{{ p ~ p }}", "Concat is not available"),
        ("{% for x in p %}{% endfor %}", "a loop needs a list that is written out"),
        ("{% for x in [1] %}{% for y in [1] %}{% endfor %}{% endfor %}", "a loop within a loop"),
    ],
)
def test_what_a_template_may_not_do_is_refused_with_its_line(source, cause):
    with pytest.raises(ConfigError) as caught:
        Template("t.j2", "text\n" + source)
    assert f"t.j2:2: {cause}" in str(caught.value)


def test_all_mistakes_are_told_at_once_and_the_text_of_the_template_is_not():
    with pytest.raises(ConfigError) as caught:
        Template("t.j2", f"{{{{ '{CANARY}'|foo }}}}\n{{{{ bar() }}}}")
    assert len(caught.value.problems) == 2
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ v|indent(99) }}",
        "{{ v|indent('x') }}",
        "{{ [v] }}",
        "{{ v if v < 1 }}",
        "{{ v|json(1) }}",
    ],
)
def test_an_error_shows_no_value_anywhere(source):
    with pytest.raises(IntegrityError) as caught:
        rendered(f"\n{source}", v=CANARY)
    error = caught.value
    assert "t.j2:2" in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame.locals for frame in shown.stack if frame.filename != __file__]
    assert len(ours) == 1
    assert CANARY not in str(ours)


def test_the_size_of_the_file_is_bounded():
    with pytest.raises(SecretTooLarge):
        rendered("{{ v }}" * 20, v="x" * (MAX_OUTPUT // 10))


def test_a_template_file_that_cannot_be_used_is_named(tmp_path):
    path = tmp_path / "t.j2"
    with pytest.raises(ConfigError, match=r"t\.j2: the template cannot be read"):
        read_template(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"t\.j2: the template is no UTF-8"):
        read_template(path)
    path.write_bytes(b"x" * (MAX_TEMPLATE + 1))
    with pytest.raises(ConfigError, match="longer than"):
        read_template(path)
    path.write_text("{{ a }}{{ b }}")
    with pytest.raises(ConfigError, match="'b': no secret of this name"):
        read_template(path).refuse_unknown(["a"])
