"""Walking beneath a directory, compared with the kernel's own walk, and reading without tearing."""

import ctypes
import errno
import os
import shutil
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretbridge.backends._beneath import DIRECTORY, open_beneath, read_whole, wipe
from secretbridge.errors import BackendUnavailable, IntegrityError, SecretTooLarge

_OPENAT2 = 437  # the same number on every architecture of Linux
_RESOLVE_BENEATH = 0x08
_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


def kernel_open(base, path):
    how = _How(os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, 0, _RESOLVE_BENEATH)
    found = _libc.syscall(_OPENAT2, base, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    if found < 0:
        raise OSError(ctypes.get_errno(), "openat2")
    return found


def kernel_has_openat2():
    base = os.open("/", DIRECTORY)
    try:
        os.close(kernel_open(base, "."))
    except OSError:
        return False
    finally:
        os.close(base)
    return True


names = st.sampled_from(["a", "b", "c"])
steps = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=4)
entries = st.tuples(
    st.lists(names, min_size=1, max_size=3),
    st.one_of(st.just("directory"), st.just("file"), steps.map("/".join)),
)


def build(base, tree):
    for path, what in tree:
        full = os.path.join(base, *path)
        if not f"{os.path.realpath(os.path.dirname(full))}/".startswith(f"{base}/"):
            continue  # through a link of this very tree to the outside
        try:
            if what == "directory":
                os.makedirs(full)
            elif what == "file":
                with open(full, "x") as file:
                    file.write("/".join(path))
            else:
                os.symlink(what, full)
        except OSError:
            continue  # a parent is missing or no directory: the tree stays as it is


@pytest.mark.skipif(not kernel_has_openat2(), reason="no openat2 here (kernel < 5.6 or seccomp)")
@settings(max_examples=300, deadline=None)
@given(tree=st.lists(entries, max_size=8), asked=st.lists(names, min_size=1, max_size=3))
def test_the_walk_opens_what_the_kernel_opens_beneath_a_directory(tree, asked):
    top = tempfile.mkdtemp(dir="/dev/shm")
    inner = os.path.join(top, "inner")
    os.mkdir(inner)
    for name in ("a", "b", "c"):  # what a link that escapes would find
        with open(os.path.join(top, name), "x") as file:
            file.write("outside")
    build(inner, tree)
    path = "/".join(asked)
    base = os.open(inner, DIRECTORY)
    try:
        assert _opened(open_beneath, base, path) == _opened(kernel_open, base, path)
    finally:
        os.close(base)
        shutil.rmtree(top)


def _opened(opener, base, path):
    try:
        found = opener(base, path)
    except (OSError, IntegrityError):
        return None
    try:
        return os.read(found, 100)
    except IsADirectoryError:
        return None
    finally:
        os.close(found)


@pytest.fixture
def file(directory):
    path = directory / "file"
    path.write_bytes(b"old-1 old-2")
    descriptor = os.open(path, os.O_RDONLY)
    yield path, descriptor
    os.close(descriptor)


def test_a_file_that_changes_while_it_is_read_is_read_again(file):
    path, descriptor = file
    calls = []

    def read(fd, buffers):
        calls.append(buffers)
        if len(calls) == 2:
            path.write_bytes(b"new-1 new-2")
        return os.readv(fd, [buffers[0][:6]])

    body, _ = read_whole(descriptor, 100, read)
    assert body == b"new-1 new-2"


def test_a_file_that_never_holds_still_is_unavailable(file):
    path, descriptor = file

    def read(fd, buffers):
        size = os.readv(fd, buffers)
        path.write_bytes(bytes(buffers[0][:size]) + b"!" if size < 50 else b"")
        return size

    with pytest.raises(BackendUnavailable, match="keeps changing"):
        read_whole(descriptor, 100, read)


def test_a_file_beyond_the_cap_is_refused_before_a_byte_is_read(file):
    path, descriptor = file
    os.truncate(path, 1 << 40)  # sparse: claims a terabyte and holds nothing
    with pytest.raises(SecretTooLarge):
        read_whole(descriptor, 100, read=None)


def test_a_file_of_unknown_size_is_read_to_its_end(directory):
    descriptor = os.open("/proc/self/status", os.O_RDONLY)  # says that it has 0 bytes
    try:
        body, _ = read_whole(descriptor, 100_000)
        assert bytes(body).startswith(b"Name:")
        assert b"\nnonvoluntary_ctxt_switches:" in bytes(body)
    finally:
        os.close(descriptor)


def test_content_can_be_wiped_where_it_was_read(file):
    body, _ = read_whole(file[1], 100)
    assert body == b"old-1 old-2"
    wipe(body)
    assert body.obj[:11] == bytes(11)


def test_a_file_that_grows_beyond_the_cap_while_it_is_read_is_refused(file):
    path, descriptor = file

    def read(fd, buffers):
        with path.open("ab") as writer:
            writer.write(b"x" * 60)
        return os.readv(fd, [buffers[0][:40]])

    with pytest.raises(SecretTooLarge):
        read_whole(descriptor, 100, read)


def test_a_directory_that_may_be_entered_but_not_listed_is_enough(directory):
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    inner = directory / "inner"
    inner.mkdir()
    (inner / "key").write_bytes(b"x")
    inner.chmod(0o711)
    os.seteuid(65534)
    try:
        base = os.open(inner, DIRECTORY)
        found = open_beneath(base, "key")
        with pytest.raises(OSError) as refused:
            os.listdir(inner)
        assert refused.value.errno == errno.EACCES
    finally:
        os.seteuid(0)
    os.close(found)
    os.close(base)
