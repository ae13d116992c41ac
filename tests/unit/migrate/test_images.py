"""The table of images: complete rows with sources, and the page that is made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from secretbridge.migrate.images import lookup, repository, rows

SCRIPT = Path(__file__).parents[3] / "docs" / "images_table.py"


def test_the_page_is_that_of_the_table() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_row_says_where_it_is_from_and_what_leaks() -> None:
    assert len(rows()) > 40
    for image in rows():
        assert image.source.startswith("https://"), image.names
        assert image.leak in ("environ", "first", "no", "unknown")
        assert image.basis in ("read", "docs", "report")
        assert image.way in ("", "pwfile", "shim", "grafana", "redis-conf")
        assert bool(image.program) == (image.way == "shim")
        # Whoever has no file form tells what to do instead.
        assert image.variables or image.note


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("postgres", "postgres"),
        ("docker.io/library/postgres:16@sha256:0f", "postgres"),
        ("registry.local:5000/team/app:2", "registry.local:5000/team/app"),
        ("ghcr.io/linuxserver/sonarr", "ghcr.io/linuxserver/sonarr"),
    ],
)
def test_an_image_is_found_whatever_its_tag(image: str, name: str) -> None:
    assert repository(image) == name


@pytest.mark.parametrize(
    ("image", "variable", "file"),
    [
        ("postgres:16-alpine", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE"),
        ("${DB_IMAGE:-mysql:8}", "MYSQL_PASSWORD", "MYSQL_PASSWORD_FILE"),
        ("postgres:${VERSION}", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE"),
        ("lscr.io/linuxserver/x:latest", "API_KEY", "FILE__API_KEY"),
        ("grafana/grafana", "GF_SMTP_PASSWORD", "GF_SMTP_PASSWORD__FILE"),
        ("qmcgaw/gluetun", "OPENVPN_PASSWORD", "OPENVPN_PASSWORD_SECRETFILE"),
        ("nextcloud:29", "REDIS_HOST_PASSWORD", "REDIS_HOST_PASSWORD_FILE"),
    ],
)
def test_a_variable_has_its_file_form(image: str, variable: str, file: str) -> None:
    assert file in [row.file_variable(variable) for row in lookup(image)]


@pytest.mark.parametrize(
    ("image", "variable"), [("redis:7", "REDIS_PASSWORD"), ("rabbitmq", "RABBITMQ_DEFAULT_PASS")]
)
def test_who_dropped_it_has_none(image: str, variable: str) -> None:
    assert lookup(image)
    assert all(row.file_variable(variable) is None for row in lookup(image))


def test_an_unknown_image_is_unknown() -> None:
    assert lookup("team/postgres-tools") == ()
    assert lookup(None) == ()
