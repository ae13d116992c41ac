"""What may be a target: every refusal and every warning, on facts and on real directories."""

from __future__ import annotations

import os

import pytest

from secretbridge.errors import UnsafeTarget
from secretbridge.generation._facts import TargetFacts, examine
from secretbridge.generation.preflight import Preflight, check_target, judge

from .places import IS_ROOT, bind, needs_root, open_writer, refusals

BEST = {
    "mode": 0o750,
    "owner": 10001,
    "who": 10001,
    "filesystem": "tmpfs",
    "options": ("rw", "nosuid", "nodev", "noexec", "noswap", "size=16384k"),
}


def found(**facts):
    """Return the codes for the best target there is, but for ``facts``."""
    findings = judge(TargetFacts("/target", **(BEST | facts)))
    assert all(finding.remedy for finding in findings)
    return {("refuse" if f.is_refusal else "warn", f.code) for f in findings}


def without(*options):
    return tuple(option for option in BEST["options"] if option not in options)


def test_nothing_speaks_against_the_best_target():
    assert found() == set()


CASES = {
    "on a disk": ({"filesystem": "ext4"}, "refuse", "filesystem"),
    "on an overlay": ({"filesystem": "overlay"}, "refuse", "filesystem"),
    "on something unknown": ({"filesystem": None}, "refuse", "filesystem"),
    "swap without noswap": (
        {"options": without("noswap"), "swaps": ["/dev/sda2"]},
        "refuse",
        "swap",
    ),
    "read-only": ({"options": (*without("rw"), "ro")}, "refuse", "read-only"),
    "a mount inside": ({"mounts_inside": ["/target/password"]}, "refuse", "mount"),
    "open to all": ({"mode": 0o777}, "refuse", "mode"),
    "like /tmp": ({"mode": 0o1777}, "refuse", "mode"),
    "listed by others": ({"mode": 0o754}, "refuse", "mode"),
    "entered by others": ({"mode": 0o751}, "refuse", "mode"),
    "written by others": ({"mode": 0o752}, "refuse", "mode"),
    "somebody else's": ({"owner": 0}, "refuse", "owner"),
    "ours, seen by root": ({"who": 0}, "refuse", "owner"),
    "its group writes": ({"mode": 0o770}, "warn", "group-write"),
    "others may move it": ({"is_parent_open": True}, "warn", "parent"),
    "set-id files": ({"options": without("nosuid")}, "warn", "flags"),
    "devices": ({"options": without("nodev")}, "warn", "flags"),
    "programs": ({"options": without("noexec")}, "warn", "flags"),
    "without a limit": ({"options": without("size=16384k")}, "warn", "size"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_found_and_nothing_else(case):
    facts, severity, code = CASES[case]
    assert found(**facts) == {(severity, code)}


@pytest.mark.parametrize("mode", [0o700, 0o710, 0o750, 0o2750, 0o2710])
def test_a_target_for_one_group_is_fine(mode):
    assert found(mode=mode) == set()


def test_noswap_makes_swap_harmless():
    assert found(swaps=["/dev/sda2"]) == set()


def test_a_ramfs_is_never_swapped_but_has_no_limit():
    facts = {"filesystem": "ramfs", "options": without("noswap"), "swaps": ["/dev/sda2"]}
    assert found(**facts) == {("warn", "size")}


def test_an_empty_dir_of_kubernetes_gets_one_remedy_for_its_mode_and_its_owner():
    result = Preflight(
        "/secrets", judge(TargetFacts("/secrets", **BEST | {"mode": 0o777, "who": 1}))
    )
    with pytest.raises(UnsafeTarget) as raised:
        result.require()
    assert raised.value.hint.count("mkdir -m 0750 /secrets/secrets") == 1
    assert "emptyDir" in raised.value.message
    assert "uid 10001 and not to uid 1" in raised.value.message


def test_a_refused_target_says_everything_at_once():
    facts = TargetFacts("/target", **BEST | {"filesystem": "ext4", "mode": 0o755, "owner": 7})
    with pytest.raises(UnsafeTarget) as raised:
        Preflight("/target", judge(facts)).require()
    for part in ("ext4", "0755", "uid 7"):
        assert part in raised.value.message
    assert raised.value.exit_code == 5


# Real directories ---------------------------------------------------------------------------------


def test_a_private_directory_on_a_tmpfs_passes(target):
    assert refusals(target) <= {"swap"}
    check_target(target, allow_unsafe=True)


def test_a_directory_on_a_disk_is_refused(tmp_path):
    tmp_path.chmod(0o700)
    if "filesystem" not in refusals(tmp_path):
        pytest.skip("pytest's directory is on a tmpfs here")
    with pytest.raises(UnsafeTarget, match="would be stored"):
        check_target(tmp_path)
    with pytest.raises(UnsafeTarget, match="would be stored"):
        open_writer(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o755, 0o701])
def test_a_directory_that_others_may_enter_is_refused(target, mode):
    target.chmod(mode)
    assert "mode" in refusals(target)
    with pytest.raises(UnsafeTarget, match=f"{mode:04o}"):
        check_target(target)


def test_a_directory_that_is_unsafe_can_be_allowed(target):
    target.chmod(0o777)
    assert check_target(target, allow_unsafe=True).refusals


@needs_root
def test_a_directory_of_somebody_else_is_refused(target):
    os.chown(target, 10001, -1)
    assert refusals(target) - {"swap"} == {"owner"}


def test_a_missing_directory_is_refused_whatever_is_allowed(target):
    with pytest.raises(UnsafeTarget, match="does not exist") as raised:
        check_target(target / "missing", allow_unsafe=True)
    assert "mount -t tmpfs" in raised.value.hint


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_a_symlink_is_refused_whatever_is_allowed(place, target, end):
    (place / "link").symlink_to(target)
    with pytest.raises(UnsafeTarget, match="symlink"):
        check_target(f"{place}/link{end}", allow_unsafe=True)


def test_a_file_is_refused_with_what_single_file_mounts_cannot_do(place):
    (place / "file").touch()
    with pytest.raises(UnsafeTarget, match="single file") as raised:
        check_target(place / "file", allow_unsafe=True)
    assert "mount the directory" in raised.value.hint


@pytest.mark.skipif(IS_ROOT, reason="root may open every directory")
def test_a_directory_that_we_may_not_open_is_refused(target):
    target.chmod(0)
    with pytest.raises(UnsafeTarget, match="may not open"):
        check_target(target, allow_unsafe=True)


def test_a_file_mounted_at_a_visible_name_is_refused(place, target, mounted):
    (place / "other").touch()
    (target / "password").touch()
    bind(place / "other", target / "password")
    try:
        assert "mount" in refusals(target)
    finally:
        os.system(f"umount {target}/password")


def test_what_a_mount_was_given_is_seen(mounted):
    strict = mounted("size=1m", "mode=0700", "nosuid", "nodev", "noexec")
    plain = mounted("mode=0700")
    assert {finding.code for finding in check_target(strict, allow_unsafe=True).warnings} == set()
    plain_warnings = {finding.code for finding in check_target(plain, allow_unsafe=True).warnings}
    assert plain_warnings == {"flags", "size"}


def test_a_ramfs_passes(mounted):
    assert refusals(mounted(kind="ramfs")) == set()


# What the kernel says, on files that say it -------------------------------------------------------


@pytest.fixture
def kernel(place, target):
    """A proc and a sys of our own, and what they say about the target."""
    descriptor = os.open(target, os.O_RDONLY)
    proc, sys = place / "proc", place / "sys"
    (proc / "self" / "fdinfo").mkdir(parents=True)
    (proc / "self" / "fd").mkdir()
    (proc / "self" / "fd" / str(descriptor)).symlink_to("/run/my secrets")
    (proc / "self" / "fdinfo" / str(descriptor)).write_text("pos:\t0\nflags:\t0\nmnt_id:\t36\n")
    device = os.fstat(descriptor).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    (proc / "self" / "mountinfo").write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"36 22 {number} / /run/my\\040secrets rw,nosuid - tmpfs tmpfs rw,size=1024k,noswap\n"
        "37 36 0:9 / /run/my\\040secrets/a\\134b rw - tmpfs tmpfs rw\n"
        "38 22 0:10 / /run/my\\040secrets-beside rw - tmpfs tmpfs rw\n"
    )
    (proc / "swaps").write_text("Filename\t\tType\t\tSize\tUsed\tPriority\n")

    def look():
        return examine(descriptor, "/run/my secrets", proc=str(proc), sys=str(sys))

    look.proc, look.sys, look.descriptor = proc, sys, descriptor
    yield look
    os.close(descriptor)


def swap(kernel, *areas):
    lines = ["Filename Type Size Used Priority", *(f"{a}\tpartition\t1\t0\t-2" for a in areas)]
    (kernel.proc / "swaps").write_text("\n".join(lines) + "\n")


def test_the_mount_is_found_by_its_number(kernel):
    facts = kernel()
    assert facts.filesystem == "tmpfs"
    assert facts.options == {"rw", "nosuid", "size=1024k", "noswap"}
    assert facts.swaps == ()
    assert facts.who == facts.owner == os.geteuid()


def test_mounts_inside_are_found_with_odd_characters_in_their_names(kernel):
    assert kernel().mounts_inside == ("/run/my secrets/a\\b",)


def test_without_a_mount_number_the_device_tells(kernel):
    (kernel.proc / "self" / "fdinfo" / str(kernel.descriptor)).write_text("pos:\t0\n")
    assert kernel().filesystem == "tmpfs"


def test_without_a_mount_number_a_device_that_is_mounted_twice_tells_nothing(kernel):
    (kernel.proc / "self" / "fdinfo" / str(kernel.descriptor)).write_text("pos:\t0\n")
    mounts = kernel.proc / "self" / "mountinfo"
    lines = mounts.read_text().splitlines()
    mounts.write_text("\n".join([*lines, lines[1].replace("36 ", "99 ", 1)]) + "\n")
    assert kernel().filesystem is None


def test_without_proc_nothing_is_known_and_the_target_refused(kernel):
    (kernel.proc / "self" / "mountinfo").unlink()
    facts = kernel()
    assert facts.filesystem is None
    assert ("filesystem", True) in {(f.code, f.is_refusal) for f in judge(facts)}


def test_active_swap_is_seen(kernel):
    swap(kernel, "/dev/sda2", "/swap\\040file")
    assert kernel().swaps == ("/dev/sda2", "/swap file")


def test_a_kernel_without_swap_has_none(kernel):
    (kernel.proc / "swaps").unlink()
    assert kernel().swaps == ()


def test_swaps_that_cannot_be_read_count_as_swap(kernel):
    (kernel.proc / "swaps").unlink()
    (kernel.proc / "swaps").mkdir()
    assert len(kernel().swaps) == 1


@pytest.mark.parametrize(
    ("backing", "counts"),
    [("none\n", False), ("/dev/sda3\n", True), (None, False)],
)
def test_compressed_memory_counts_as_swap_only_with_a_disk_behind_it(kernel, backing, counts):
    swap(kernel, "/dev/zram0")
    block = kernel.sys / "block" / "zram0"
    block.mkdir(parents=True)
    if backing is not None:
        (block / "backing_dev").write_text(backing)
    assert bool(kernel().swaps) is counts


@pytest.mark.parametrize("area", ["/dev/zram0", "/dev/zram/evil", "/zram0"])
def test_what_only_looks_like_compressed_memory_counts_as_swap(kernel, area):
    swap(kernel, area)
    assert kernel().swaps == (area,)
