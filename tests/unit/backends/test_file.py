import os
import subprocess
import sys
from pathlib import Path

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends.file import FileBackend
from secretbridge.document import Document
from secretbridge.errors import AccessDenied, IntegrityError, SecretMissing, SecretTooLarge
from secretbridge.reference import DocumentId, Reference

NOBODY = 65534


@pytest.fixture
def root(directory):
    made = directory / "secrets"
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
def backend(root):
    return FileBackend("file", [root])


def test_a_relative_locator_is_found_in_the_first_root_that_has_it(directory, root, fetch):
    second = directory / "second"
    second.mkdir()
    (second / "both").write_bytes(b"second")
    (second / "only").write_bytes(b"only")
    (root / "both").write_bytes(b"first")
    backend = FileBackend("file", [directory / "absent", root, second])
    both, only = fetch(backend, "file:both", "file:only")
    assert (both.body, only.body) == (b"first", b"only")


def test_the_default_roots_are_docker_secrets_then_systemd_credentials():
    assert FileBackend(environ={}).roots == ("/run/secrets",)
    with_systemd = FileBackend(environ={"CREDENTIALS_DIRECTORY": "/run/credentials/app.service"})
    assert with_systemd.roots == ("/run/secrets", "/run/credentials/app.service")


def test_a_missing_file_lists_the_roots_that_were_searched(directory, root, fetch):
    absent = directory / "absent"
    [error] = fetch(FileBackend("file", [root, absent]), "file:db_password")
    assert type(error) is SecretMissing
    assert f"{root}, {absent} (no directory)" in str(error)


@pytest.mark.parametrize("name", ["file/deeper", "a" * 300, "/".join("a" * 1000)])
def test_a_path_that_cannot_exist_is_missing(backend, root, fetch, name):
    (root / "file").write_bytes(b"x")
    [error] = fetch(backend, f"file:{name}")
    assert type(error) is SecretMissing


def test_a_trailing_newline_is_kept_in_the_body_and_marked(backend, root, fetch):
    (root / "line").write_bytes(b"password\n")
    [document] = fetch(backend, "file:line")
    assert document.body == b"password\n"
    assert document.is_line


def test_an_absolute_locator_names_its_file(directory, fetch):
    (directory / "tls.key").write_bytes(b"key")
    [document] = fetch(FileBackend("file", []), f"file:{directory}/tls.key")
    assert document.body == b"key"


def test_an_absolute_locator_is_not_looked_up_in_the_roots(backend, root, fetch):
    (root / "absent").mkdir()
    (root / "absent" / "x").write_bytes(b"x")
    assert type(fetch(backend, "file:/absent/x")[0]) is SecretMissing


def test_absolute_locators_can_be_switched_off(directory, root, fetch):
    (root / "x").write_bytes(b"x")
    backend = FileBackend.create("file", {"roots": [root], "allow_absolute": False})
    refused, found = fetch(backend, f"file:{root}/x", "file:x")
    assert type(refused) is AccessDenied
    assert found.body == b"x"


def test_an_absolute_locator_below_a_root_may_use_links_within_that_root(directory, fetch):
    (directory / "archive").mkdir()
    (directory / "live").mkdir()
    (directory / "archive" / "key1.pem").write_bytes(b"key")
    (directory / "live" / "key.pem").symlink_to("../archive/key1.pem")
    name = f"file:{directory}/live/key.pem"
    assert fetch(FileBackend("file", [directory]), name)[0].body == b"key"
    [refused] = fetch(FileBackend("file", [directory / "live"]), name)
    assert type(refused) is IntegrityError
    assert "roots" in refused.hint


@pytest.mark.parametrize("target", ["../outside", "/etc/hostname", "sub/../../outside", "up"])
def test_a_symlink_that_leaves_the_root_is_refused(directory, backend, root, fetch, target):
    (directory / "outside").write_bytes(b"not for you")
    (root / "sub").mkdir()
    (root / "up").symlink_to("../outside")
    (root / "link").symlink_to(target)
    [error] = fetch(backend, "file:link")
    assert type(error) is IntegrityError
    assert "leads out" in str(error)


def test_a_directory_link_that_leaves_the_root_is_refused(directory, backend, root, fetch):
    (directory / "outside").mkdir()
    (directory / "outside" / "key").write_bytes(b"not for you")
    (root / "sub").symlink_to("../outside")
    [error] = fetch(backend, "file:sub/key")
    assert type(error) is IntegrityError


def test_symlinks_in_a_circle_are_refused(backend, root, fetch):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    [error] = fetch(backend, "file:a")
    assert "circle" in str(error)


def test_what_is_no_regular_file_is_refused_without_waiting(backend, root, fetch):
    os.mkfifo(root / "fifo")
    (root / "directory").mkdir()
    outcomes = fetch(backend, "file:fifo", "file:directory", "file:/dev/null")
    assert [type(outcome) for outcome in outcomes] == [IntegrityError] * 3
    for outcome, kind in zip(outcomes, ("a FIFO", "a directory", "a device"), strict=True):
        assert f"is {kind}" in str(outcome)


def test_a_file_beyond_the_cap_names_its_size_and_the_limit(root, fetch):
    (root / "big").write_bytes(b"x" * 1001)
    (root / "fits").write_bytes(b"x" * 1000)
    big, fits = fetch(FileBackend("file", [root], max_size=1000), "file:big", "file:fits")
    assert type(big) is SecretTooLarge
    assert "1001" in str(big)
    assert "1000" in str(big)
    assert len(fits.body) == 1000


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_denied_file_says_who_may_not_read_what_and_is_not_looked_for_elsewhere(
    directory, root, fetch
):
    second = directory / "second"
    second.mkdir()
    (second / "key").write_bytes(b"another")
    (root / "key").write_bytes(b"mine")
    (root / "key").chmod(0o400)
    os.seteuid(NOBODY)
    try:
        [error] = fetch(FileBackend("file", [root, second]), "file:key")
    finally:
        os.seteuid(0)
    assert type(error) is AccessDenied
    assert f"uid {NOBODY}" in str(error)
    assert "mode 0400, owner 0:0" in str(error)
    assert "group_add" in error.hint


def test_the_version_follows_the_content_and_not_the_times(backend, root, fetch):
    path = root / "x"
    path.write_bytes(b"one")
    [first] = fetch(backend, "file:x")
    path.write_bytes(b"two")
    [second] = fetch(backend, "file:x")
    path.write_bytes(b"one")
    [third] = fetch(backend, "file:x")
    assert first.version == third.version != second.version


def test_the_version_cannot_be_computed_from_the_value(root, fetch):
    (root / "x").write_bytes(b"guessable")
    versions = {fetch(FileBackend("file", [root]), "file:x")[0].version for _ in range(2)}
    assert len(versions) == 2


class CountingBackend(FileBackend):
    digests = 0

    def _mark(self, body, seen):
        self.digests += 1
        return super()._mark(body, seen)


@pytest.mark.parametrize(("age", "reads"), [(3600, 1), (0, 3)])
def test_a_probe_reads_again_only_what_was_written_moments_ago(root, fetch, age, reads):
    (root / "x").write_bytes(b"x")
    written = (root / "x").stat().st_ctime
    backend = CountingBackend("file", [root], clock=lambda: written + age)
    [document] = fetch(backend, "file:x")
    request = Reference.parse("file:x").document
    for _ in range(2):
        assert backend.probe([request], Deadline(10)) == [document.version]
    assert backend.digests == reads


def test_no_descriptor_is_left_open(backend, root, fetch):
    os.mkfifo(root / "fifo")
    (root / "a").mkdir()
    (root / "a" / "b").write_bytes(b"x")
    (root / "a" / "out").symlink_to("../../..")
    (root / "link").symlink_to("a/b")
    before = os.listdir("/proc/self/fd")
    names = ("a/b", "link", "fifo", "a", "absent", "a/absent", "a/out", "a/out/x", "link/x")
    fetch(backend, *(f"file:{name}" for name in names))
    assert os.listdir("/proc/self/fd") == before


def test_a_deadline_that_passes_on_the_way_fails_only_the_rest(backend, root):
    (root / "x").write_bytes(b"x")
    ticks = iter([0.0, 0.0, 0.0, 9.0])
    outcomes = backend.fetch(
        [DocumentId("file", "file", "x")] * 2, Deadline(5, clock=lambda: next(ticks))
    )
    assert isinstance(outcomes[0], Document)
    assert type(outcomes[1]).__name__ == "DeadlineExceeded"


def test_a_first_file_secret_loads_nothing_heavy(root):
    (root / "x").write_bytes(b"x")
    code = f"""
import sys
before = set(sys.modules)
from secretbridge.backends import Deadline
from secretbridge.backends.file import FileBackend
from secretbridge.reference import Reference
backend = FileBackend("file", [{str(root)!r}])
[document] = backend.fetch([Reference.parse("file:x").document], Deadline(5))
assert document.body == b"x"
heavy = {{"re", "typing", "dataclasses", "logging", "pydantic", "hashlib", "pathlib", "json"}}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    source = str(Path(__file__).parents[3])
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {source!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"
