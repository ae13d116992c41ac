"""Templates, from the configuration to the file."""

from __future__ import annotations

import os

import pytest

from .place import CANARY


@pytest.fixture
def template(place):
    path = place.root / "app.ini.j2"
    path.write_text("[db]\npassword = {{ db_password }}\ntoken = {{ api_token|json }}\n")
    place.configure(files={"app.ini": {"template": str(path), "mode": "0400"}})
    return path


def test_a_template_is_filled_and_follows_a_rotation(place, template):
    place.start()
    place.wait((place.target / "app.ini").exists)
    assert place.read("app.ini") == f'[db]\npassword = {CANARY}-1\ntoken = "{CANARY}-token"\n'
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: f"password = {CANARY}-2\n" in place.read("app.ini"))


def test_sighup_reads_the_template_again(place, template):
    process = place.start()
    template.write_text("only {{ db_password }}\n")
    process.send_signal(1)
    place.wait(lambda: place.read("app.ini") == f"only {CANARY}-1\n")


def test_a_broken_template_changes_nothing_and_is_reported(place, template):
    process = place.start()
    before = place.read("app.ini")
    template.write_text("{{ db_passwort }}\n")
    process.send_signal(1)
    place.wait(lambda: "configuration" in place.status()["problems"])
    assert "'db_passwort': no secret of this name" in place.status()["problems"]["configuration"]
    assert place.read("app.ini") == before


def test_mistakes_in_templates_are_mistakes_in_the_configuration(place, template):
    template.write_text("{{ db_password }}\n{% include '/etc/shadow' %}\n")
    for command in ("once", "check", "run"):
        result = place.call(command)
        assert result.returncode == 2, result.stderr
        assert f"{template}:2: Include is not available" in result.stderr


def test_a_value_that_would_bring_in_a_line_of_its_own_is_refused(place, template):
    place.put("db_password", f"{CANARY}\nadmin = yes")
    result = place.call("once")
    assert result.returncode != 0
    assert f"{template}:2: a value has a line break" in result.stderr
    assert CANARY not in result.stderr
    assert os.listdir(place.target) == []
