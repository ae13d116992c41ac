"""Which directories are refused, which are warned about, and that each finding says what to do."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from secretbridge.errors import UnsafeTarget
from secretbridge.generation.preflight import check_target, examine, judge
from secretbridge.generation.writer import GenerationWriter

from .places import IS_ROOT, bind, needs_root, open_writer, refusals, specs, unmount

HARDENED = ("rw", "nosuid", "nodev", "noexec", "noswap", "size=16384k")


def facts(**changes):
    """Return the facts about a good target, with changes."""
    from secretbridge.generation._facts import TargetFacts

    good = {"mode": 0o750, "owner": 10001, "who": 10001, "filesystem": "tmpfs", "options": HARDENED}
    return TargetFacts("/run/app", **(good | changes))


def without(*options):
    return [o for o in HARDENED if o.partition("=")[0] not in options]


def test_a_hardened_private_tmpfs_has_no_finding():
    assert judge(facts()) == []


REFUSED = {
    "on a disk": (facts(filesystem="ext4"), "filesystem", "it lies on ext4", "use a tmpfs"),
    "on an overlay": (facts(filesystem="overlay"), "filesystem", "lies on overlay", "use a tmpfs"),
    "unknown file system": (facts(filesystem=None), "filesystem", "cannot be told", "mount /proc"),
    "swap": (
        facts(swaps=["/dev/sda2"], options=without("noswap")),
        "swap",
        "swap is active (/dev/sda2)",
        "noswap",
    ),
    "read-only": (facts(options=[*without("rw"), "ro"]), "read-only", "read-only", "read-write"),
    "mount inside": (
        facts(mounts_inside=["/run/app/key"]),
        "mount",
        "/run/app/key is a mount point inside",
        "beside the target",
    ),
    "others may enter": (facts(mode=0o751), "mode", "others may enter it: mode 0751", "chmod 0750"),
    "others may list": (facts(mode=0o754), "mode", "others may enter it: mode 0754", "chmod 0750"),
    "others may write": (facts(mode=0o752), "mode", "others may enter it: mode 0752", "chmod 0750"),
    "everybody": (facts(mode=0o777), "mode", "mode 0777, as Kubernetes", "directory of your own"),
    "sticky": (facts(mode=0o1777), "mode", "mode 1777 (sticky)", "mkdir -m 0750 /run/app/secrets"),
    "another's": (facts(owner=0), "owner", "belongs to uid 0 and not to uid 10001", "chown 10001"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_says_why_and_what_to_do(case):
    bad, code, message, remedy = REFUSED[case]
    (found,) = judge(bad)
    assert found.is_refusal
    assert found.code == code
    assert message in found.message
    assert remedy in found.remedy
    assert str(found) == f"{found.message}; {found.remedy}"


WARNED = {
    "no nosuid": (facts(options=without("nosuid")), "flags", "without nosuid", "add nosuid"),
    "no nodev": (facts(options=without("nodev")), "flags", "without nodev", "add nodev"),
    "no noexec": (facts(options=without("noexec")), "flags", "without noexec", "add noexec"),
    "none of them": (
        facts(options=without("nosuid", "nodev", "noexec")),
        "flags",
        "without nosuid, nodev, noexec",
        "add nosuid,nodev,noexec",
    ),
    "no size": (facts(options=without("size")), "size", "nothing limits", "size=16m"),
    "ramfs": (facts(filesystem="ramfs"), "size", "nothing limits", "mount a tmpfs"),
    "group may write": (facts(mode=0o770), "group-write", "group may replace", "chmod g-w"),
    "parent": (facts(is_parent_open=True), "parent", "move it away", "sticky bit"),
}


@pytest.mark.parametrize("case", WARNED)
def test_a_warning_says_why_and_what_to_do(case):
    bad, code, message, remedy = WARNED[case]
    (found,) = judge(bad)
    assert not found.is_refusal
    assert found.code == code
    assert message in found.message
    assert remedy in found.remedy


FINE = {
    "swap, but not for this tmpfs": facts(swaps=["/dev/sda2"]),
    "swap, but a ramfs is never swapped": facts(swaps=["/dev/sda2"], filesystem="ramfs"),
    "no swap, so noswap is not needed": facts(options=without("noswap")),
    "set-gid": facts(mode=0o2750),
    "search only": facts(mode=0o710),
}


@pytest.mark.parametrize("case", FINE)
def test_what_is_safe_is_not_refused(case):
    assert not [found for found in judge(FINE[case]) if found.is_refusal]


def test_an_empty_dir_of_kubernetes_has_one_remedy_for_its_two_faults():
    found = judge(facts(mode=0o777, owner=0))
    assert {f.code for f in found} == {"mode", "owner"}
    assert len({f.remedy for f in found}) == 1


def test_all_refusals_are_told_at_once(target):
    os.chmod(target, 0o777)
    result = check_target(target, allow_unsafe=True)
    assert [f.code for f in result.findings if f.is_refusal] == [f.code for f in result.refusals]
    assert list(result.findings) == [*result.refusals, *result.warnings]
    with pytest.raises(UnsafeTarget) as caught:
        result.require()
    assert all(f.message in caught.value.message for f in result.refusals)
    assert all(f.remedy in caught.value.hint for f in result.refusals)


SWAPS = "Filename\t\tType\t\tSize\t\tUsed\t\tPriority\n"


@pytest.fixture
def kernel(tmp_path):
    """Makes /proc and /sys as the kernel of another machine shows them."""

    def make(*, mountinfo="", swaps=None, zram=None):
        (tmp_path / "self/fdinfo").mkdir(parents=True)
        (tmp_path / "self/mountinfo").write_text(mountinfo)
        if swaps is not None:
            (tmp_path / "swaps").write_text(SWAPS + swaps)
        if zram is not None:
            (tmp_path / "block/zram0").mkdir(parents=True)
            (tmp_path / "block/zram0/backing_dev").write_text(zram)
        return {"proc": str(tmp_path), "sys": str(tmp_path)}

    return make


@pytest.fixture
def descriptor(target):
    opened = os.open(target, os.O_RDONLY)
    yield opened
    os.close(opened)


def test_a_mount_is_found_by_its_number(kernel, descriptor, target, tmp_path):
    lines = (
        "20 1 0:9 / / rw - ext4 /dev/sda rw\n"
        "77 20 0:77 / /some\\040where rw,nosuid - tmpfs none rw,size=64k,noswap\n"
    )
    where = kernel(mountinfo=lines)
    (tmp_path / f"self/fdinfo/{descriptor}").write_text("pos:\t0\nflags:\t0\nmnt_id:\t77\n")
    found = examine(descriptor, str(target), **where)
    assert found.filesystem == "tmpfs"
    assert {"nosuid", "size=64k", "noswap"} <= found.options


def test_a_mount_is_found_by_its_device_where_it_has_no_number(kernel, descriptor, target):
    device = os.fstat(descriptor).st_dev
    line = f"77 20 {os.major(device)}:{os.minor(device)} / / rw - tmpfs none rw\n"
    assert examine(descriptor, str(target), **kernel(mountinfo=line)).filesystem == "tmpfs"


def test_two_mounts_of_one_device_are_not_told_apart_by_guessing(kernel, descriptor, target):
    device = os.fstat(descriptor).st_dev
    line = f"77 20 {os.major(device)}:{os.minor(device)} / / rw - tmpfs none rw\n"
    assert examine(descriptor, str(target), **kernel(mountinfo=line * 2)).filesystem is None


def test_without_proc_nothing_is_known_and_the_target_is_refused(descriptor, target, tmp_path):
    found = examine(descriptor, str(target), proc=str(tmp_path / "none"))
    assert found.filesystem is None
    assert "filesystem" in {f.code for f in judge(found) if f.is_refusal}


AREAS = {
    "none": ("", None, ()),
    "a disk": ("/dev/sda2 partition 1 0 -2\n", None, ("/dev/sda2",)),
    "a file": ("/my\\040swap file 1 0 -2\n", None, ("/my swap",)),
    "compressed memory": ("/dev/zram0 partition 1 0 -2\n", "none\n", ()),
    "compressed memory before a disk": ("/dev/zram0 partition 1 0 -2\n", "/dev/sda3\n", None),
    "compressed memory of which nothing is known": ("/dev/zram0 partition 1 0 -2\n", None, None),
    "a table that cannot be read": ("\n", None, ("unknown, because /proc/swaps cannot be read",)),
}


@pytest.mark.parametrize("case", AREAS)
def test_swap_counts_if_it_can_reach_a_disk(case, kernel, descriptor, target):
    swaps, zram, areas = AREAS[case]
    found = examine(descriptor, str(target), **kernel(swaps=swaps, zram=zram))
    assert found.swaps == (("/dev/zram0",) if areas is None else areas)


def test_a_kernel_without_swap_has_none(kernel, descriptor, target):
    assert examine(descriptor, str(target), **kernel()).swaps == ()


def test_a_private_directory_on_a_tmpfs_is_taken(target):
    assert refusals(target) <= {"swap"}


def test_a_directory_on_a_disk_is_refused():
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as disk:
        kind = check_target(disk, allow_unsafe=True)
        if not any(f.code == "filesystem" for f in kind.findings):
            pytest.skip("the sources lie in memory here")
        with pytest.raises(UnsafeTarget, match="would be stored"):
            GenerationWriter(disk)
        assert os.listdir(disk) == []


@pytest.mark.parametrize(("mode", "why"), [(0o777, "mode 0777"), (0o1777, r"1777 \(sticky\)")])
def test_a_directory_open_to_all_is_refused(target, mode, why):
    os.chmod(target, mode)
    with pytest.raises(UnsafeTarget, match=why):
        GenerationWriter(target)
    assert os.listdir(target) == []


def test_a_refused_directory_is_taken_when_that_is_asked_for(target):
    os.chmod(target, 0o777)
    with GenerationWriter(target, allow_unsafe=True) as writer:
        writer.publish(specs({"a": b"1"}))
        assert "mode" in {f.code for f in writer.preflight.refusals}
    assert (target / "a").read_bytes() == b"1"


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_symlink_is_refused_even_to_a_good_directory(target, place, slash):
    (place / "link").symlink_to(target)
    for ask in (check_target, GenerationWriter):
        with pytest.raises(UnsafeTarget, match="is a symlink"):
            ask(f"{place}/link{slash}")


def test_a_symlink_is_refused_whatever_is_allowed(target, place):
    (place / "link").symlink_to(target)
    with pytest.raises(UnsafeTarget, match="is a symlink"):
        GenerationWriter(place / "link", allow_unsafe=True)


def test_a_missing_target_is_refused_with_a_way_to_make_it(place):
    with pytest.raises(UnsafeTarget, match="does not exist") as caught:
        GenerationWriter(place / "missing", allow_unsafe=True)
    assert "mount -t tmpfs" in caught.value.hint


def test_a_file_is_refused(place):
    (place / "file").touch()
    with pytest.raises(UnsafeTarget, match="is a file"):
        GenerationWriter(place / "file", allow_unsafe=True)


def test_a_single_mounted_file_is_refused_because_it_can_never_change(place):
    (place / "source").touch()
    (place / "file").touch()
    bind(place / "source", place / "file")
    try:
        with pytest.raises(UnsafeTarget, match="can never be replaced"):
            GenerationWriter(place / "file", allow_unsafe=True)
    finally:
        unmount(place / "file")


def test_a_file_mounted_into_the_target_is_refused(target, place):
    (place / "source").touch()
    (target / "key").touch()
    bind(place / "source", target / "key")
    try:
        with pytest.raises(UnsafeTarget, match=r"target/key is a mount point inside"):
            GenerationWriter(target)
    finally:
        unmount(target / "key")


def test_a_read_only_target_is_refused(mounted):
    point = mounted("size=64k", "mode=0700", "ro")
    with pytest.raises(UnsafeTarget, match="mounted read-only"):
        GenerationWriter(point)


def test_a_real_ramfs_is_taken_with_a_warning(mounted):
    result = check_target(mounted("mode=0700", kind="ramfs"))
    assert "size" in {f.code for f in result.warnings}


def test_a_real_hardened_tmpfs_has_no_finding(mounted):
    point = mounted("size=64k", "mode=0700", "nosuid", "nodev", "noexec")
    assert {f.code for f in check_target(point, allow_unsafe=True).findings} <= {"swap"}


def test_a_parent_that_others_may_write_to_is_warned_about(target, place):
    os.chmod(place, 0o777)
    assert "parent" in {f.code for f in check_target(target, allow_unsafe=True).warnings}
    os.chmod(place, 0o1777)
    assert "parent" not in {f.code for f in check_target(target, allow_unsafe=True).warnings}


@needs_root
def test_a_target_of_another_user_is_refused(target):
    os.chown(target, 10001, -1)
    with pytest.raises(UnsafeTarget, match="belongs to uid 10001 and not to uid 0"):
        GenerationWriter(target)


def test_a_target_that_may_not_be_opened_is_refused(place, target):
    if IS_ROOT:
        os.chmod(place, 0o755)
        os.seteuid(10001)
    else:
        os.chmod(target, 0)
    try:
        with pytest.raises(UnsafeTarget, match="may not open the target"):
            GenerationWriter(target, allow_unsafe=True)
    finally:
        if IS_ROOT:
            os.seteuid(0)
        os.chmod(target, 0o700)


def test_a_second_writer_is_refused_until_the_first_has_ended(target):
    first = open_writer(target)
    with pytest.raises(UnsafeTarget, match="another writer is at work"):
        open_writer(target)
    first.close()
    open_writer(target).close()


def test_a_refused_writer_keeps_no_descriptor(target):
    os.chmod(target, 0o777)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(UnsafeTarget):
        GenerationWriter(target)
    assert os.listdir("/proc/self/fd") == before


def test_a_volume_of_the_kubelet_is_refused(target):
    (target / "..2026_01_01_00_00_00.1").mkdir()
    (target / "..data").symlink_to("..2026_01_01_00_00_00.1")
    with pytest.raises(UnsafeTarget, match="belongs to another writer"):
        open_writer(target)
