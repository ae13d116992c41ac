"""Who else may write the configuration, and what that forbids it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secretbridge.config import load_config
from secretbridge.errors import ConfigError

RUNS = "sidecar: {target: /run/x, on_change: [{exec: [/bin/true]}]}\n"
SIGNALS = "sidecar: {target: /run/x, on_change: [{signal: HUP, pid_file: /run/x.pid}]}\n"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "secretbridge.yaml"
    path.write_text(RUNS)
    path.chmod(0o640)
    return path


def test_a_file_of_ones_own_may_run_programs(file: Path) -> None:
    assert load_config(file).warnings == ()


def test_a_file_that_all_may_write_is_refused_when_it_runs_programs(file: Path) -> None:
    file.chmod(0o646)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value) == (
        f"{file}: every user may write it (mode 0646, owner {os.geteuid()}, group "
        f"{file.stat().st_gid}), and it runs programs; chmod o-w"
    )
    assert caught.value.problems


def test_a_file_that_all_may_write_is_refused_when_it_sends_signals(file: Path) -> None:
    file.write_text(SIGNALS)
    file.chmod(0o646)
    with pytest.raises(
        ConfigError, match=r"every user may write it .* it sends signals or requests"
    ):
        load_config(file)


def test_a_file_that_all_may_write_is_warned_of_when_it_can_do_nothing(file: Path) -> None:
    file.write_text("sidecar: {target: /run/x}\n")
    file.chmod(0o646)
    (warning,) = load_config(file).warnings
    assert "every user may write it (mode 0646" in warning


@needs_root
def test_a_strangers_file_is_refused_when_it_runs_programs(file: Path) -> None:
    os.chown(file, 4242, 0)
    with pytest.raises(ConfigError, match=r"belongs to another user .*owner 4242.*chown it"):
        load_config(file)


@needs_root
def test_a_file_that_a_foreign_group_may_write_is_refused(file: Path) -> None:
    os.chown(file, 0, 4242)
    file.chmod(0o640)
    load_config(file)
    file.chmod(0o660)
    with pytest.raises(ConfigError, match=r"a group that is not the process's own.*chmod g-w"):
        load_config(file)


def test_a_file_that_the_own_group_may_write_is_allowed(file: Path) -> None:
    file.chmod(0o660)
    assert load_config(file).warnings == ()


def test_a_file_that_all_may_exchange_in_its_directory_is_refused(file: Path) -> None:
    file.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="every user may replace it in its directory"):
        load_config(file)
    file.parent.chmod(0o1777)
    load_config(file)


def test_a_link_is_judged_by_the_directory_of_its_file_too(file: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "real.yaml").write_text(RUNS)
    link = tmp_path / "link.yaml"
    link.symlink_to("open/real.yaml")
    with pytest.raises(ConfigError, match="every user may replace it"):
        load_config(link)


def test_what_is_found_in_the_working_directory_is_refused_whatever_it_says(file: Path) -> None:
    # Whoever writes it would decide to which server our token is sent.
    file.write_text("secrets: {a: 'file:a'}\n")
    file.chmod(0o646)
    with pytest.raises(ConfigError, match="it was found in the working directory"):
        load_config(environ={})
    assert load_config("secretbridge.yaml").warnings
    assert load_config(environ={"SECRETBRIDGE_CONFIG": "secretbridge.yaml"}).warnings


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_says_who_tried_to_read_it(file: Path) -> None:
    file.chmod(0)
    with pytest.raises(
        ConfigError, match=f"Permission denied; the process runs as uid {os.geteuid()}"
    ):
        load_config(file)


@needs_root
def test_an_unreadable_file_says_who_tried_to_read_it_in_a_process_without_rights(
    file: Path,
) -> None:
    read, write = os.pipe()
    file.chmod(0o600)
    child = os.fork()
    if child == 0:
        try:
            os.setgid(4242)
            os.setuid(4242)
            load_config(file)
        except BaseException as error:
            os.write(write, f"{type(error).__name__} {error}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read) as pipe:
        message = pipe.read()
    assert message.startswith("ConfigError")
    assert "Permission denied; the process runs as uid 4242, gid 4242" in message
