from __future__ import annotations

import ctypes
import errno
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secretbridge import _hub, watch
from secretbridge._inotify import Inotify
from secretbridge._watchfiles_hub import WatchfilesHub
from secretbridge.watch import Watch

ROOT = Path(__file__).parents[2]
SOON = 10.0
"""Seconds by which an event has long arrived."""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir=os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm"))
    yield made
    shutil.rmtree(made, ignore_errors=True)
    for thread in threading.enumerate():
        if thread.name == "secretbridge-watch":
            thread.join(SOON)  # each test begins without one, or it is somebody's who left it


@pytest.fixture
def last(folder: Path) -> Path:
    """A directory to change after what is tried: events come in order, so all has arrived with it."""
    made = folder / "last"
    made.mkdir()
    return made


def arrived(watching: Watch, last: Path) -> set[str]:
    """Return the paths that were told of until now, relative to the folder of the test."""
    mark = tempfile.mkdtemp(dir=last)  # one event, whereas writing a file would be two
    found: set[str] = set()
    while mark not in found and str(last) not in found:
        told = watching.wait(SOON)
        assert told, "nothing arrived"
        found |= told
    others = {path for path in found if not path.startswith(str(last))}
    return {os.path.relpath(path, last.parent) for path in others}


def replace(path: Path, text: str = "x") -> None:
    new = path.with_name(".new")
    new.write_text(text)
    new.rename(path)


def swap(volume: Path, text: str) -> None:
    """Publish as the kubelet does."""
    generation = Path(tempfile.mkdtemp(prefix="..", dir=volume))
    (generation / "key").write_text(text)
    (volume / "..data_tmp").symlink_to(generation.name)
    (volume / "..data_tmp").rename(volume / "..data")


def written_in_place(path: Path) -> None:
    path.write_text("in place")


def removed(path: Path) -> None:
    path.unlink()


def moved_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.write_text("again")


@pytest.mark.parametrize("change", [replace, written_in_place, removed, moved_away])
def test_what_happens_to_a_name_is_told(
    folder: Path, last: Path, change: Callable[[Path], None]
) -> None:
    (folder / "key").write_text("old")
    with Watch({str(folder): ["key"], str(last): None}) as watching:
        change(folder / "key")
        assert arrived(watching, last) == {"key"}


def test_each_new_generation_of_a_volume_is_told(folder: Path, last: Path) -> None:
    swap(folder, "one")
    with Watch({str(folder): ["..data"], str(last): None}) as watching:
        for text in ("two", "three", "four"):
            swap(folder, text)
            assert arrived(watching, last) == {"..data"}


def test_other_names_and_other_directories_wake_nobody(folder: Path, last: Path) -> None:
    (folder / "inner").mkdir()
    with Watch({str(folder): ["key"], str(last): None}) as watching:
        for number in range(20):
            (folder / f"other{number}").write_text("x")
            (folder / "inner" / "key").write_text("x")
        assert arrived(watching, last) == set()


def test_several_events_are_one_hint(folder: Path, last: Path) -> None:
    with Watch({str(folder): ["key"], str(last): None}) as watching:
        for number in range(50):
            (folder / "key").write_text(f"{number}")
        assert arrived(watching, last) == {"key"}
        assert watching.wait(0) == frozenset()


def test_what_is_looked_at_can_change(folder: Path, last: Path) -> None:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    with Watch({str(folder / "a"): None, str(last): None}) as watching:
        watching.look_at({str(folder / "b"): None, str(last): None})
        (folder / "a" / "x").write_text("")
        (folder / "b" / "x").write_text("")
        assert arrived(watching, last) == {"b/x"}
        watching.look_at({str(folder / "b"): ["y"], str(last): None})
        (folder / "b" / "x").write_text("")
        assert arrived(watching, last) == set()


# Directories that come and go --------------------------------------------------------------------


def test_a_directory_that_is_made_later_is_watched_from_then_on(folder: Path, last: Path) -> None:
    wanted = folder / "a" / "b" / "c"
    with Watch({str(wanted): ["key"], str(last): None}) as watching:
        for part in (folder / "a", folder / "a" / "b", wanted):
            part.mkdir()
        assert arrived(watching, last) == {"a/b/c"}
        replace(wanted / "key")
        assert arrived(watching, last) == {"a/b/c/key"}


def test_a_directory_that_appears_whole_is_not_missed(folder: Path, last: Path) -> None:
    hidden = folder / ".hidden"
    (hidden / "b").mkdir(parents=True)
    wanted = folder / "a" / "b"
    with Watch({str(wanted): ["key"], str(last): None}) as watching:
        hidden.rename(folder / "a")
        assert arrived(watching, last) == {"a/b"}
        replace(wanted / "key")
        assert arrived(watching, last) == {"a/b/key"}


@pytest.mark.parametrize("times", range(3))
def test_a_directory_that_is_removed_and_made_again_is_watched_again(
    folder: Path, last: Path, times: int
) -> None:
    wanted = folder / "wanted"
    wanted.mkdir()
    with Watch({str(wanted): ["key"], str(last): None}) as watching:
        for _ in range(times + 1):
            shutil.rmtree(wanted)
            wanted.mkdir()
            assert arrived(watching, last) == {"wanted"}
        replace(wanted / "key")
        assert arrived(watching, last) == {"wanted/key"}


def test_a_directory_that_is_moved_away_is_no_longer_watched_but_its_successor_is(
    folder: Path, last: Path
) -> None:
    wanted = folder / "wanted"
    wanted.mkdir()
    with Watch({str(wanted): ["key"], str(last): None}) as watching:
        wanted.rename(folder / "old")
        assert arrived(watching, last) == {"wanted"}
        replace(folder / "old" / "key")
        assert arrived(watching, last) == set()
        wanted.mkdir()
        assert arrived(watching, last) == {"wanted"}
        replace(wanted / "key")
        assert arrived(watching, last) == {"wanted/key"}


def test_two_directories_that_change_places_are_watched_by_their_paths(
    folder: Path, last: Path
) -> None:
    one, two = folder / "one", folder / "two"
    one.mkdir()
    two.mkdir()
    with Watch({str(one): ["key"], str(last): None}) as watching:
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(two), 2)  # exchange
        assert result == 0, os.strerror(ctypes.get_errno())
        assert arrived(watching, last) == {"one"}
        replace(two / "key")
        assert arrived(watching, last) == set()
        replace(one / "key")
        assert arrived(watching, last) == {"one/key"}


def test_two_paths_to_one_directory_are_told_of_both(folder: Path, last: Path) -> None:
    real, link = folder / "real", folder / "link"
    real.mkdir()
    link.symlink_to("real")
    with Watch({str(real): None, str(link): None, str(last): None}) as watching:
        (real / "x").write_text("")
        assert arrived(watching, last) == {"real/x", "link/x"}
        watching.look_at({str(link): None, str(last): None})
        (real / "y").write_text("")
        assert arrived(watching, last) == {"link/y"}


@pytest.fixture
def mounted(folder: Path) -> Iterator[Path]:
    """A directory with a file system of its own."""
    place = folder / "mounted"
    place.mkdir()
    mount(place)
    yield place
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def mount(place: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "test", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount")


def test_after_an_unmount_the_directory_below_is_watched(mounted: Path, last: Path) -> None:
    with Watch({str(mounted): ["key"], str(last): None}) as watching:
        replace(mounted / "key")
        assert arrived(watching, last) == {"mounted/key"}
        subprocess.run(["umount", str(mounted)], check=True)
        assert arrived(watching, last) == {"mounted"}
        replace(mounted / "key")
        assert arrived(watching, last) == {"mounted/key"}


def test_a_mount_that_covers_a_directory_is_found_when_it_is_time_to_look(
    mounted: Path, last: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["umount", str(mounted)], check=True)
    with Watch({str(mounted): ["key"], str(last): None}) as watching:
        mount(mounted)  # no event tells of it
        monkeypatch.setattr(watch, "RESCAN", (0.01, 0.01))
        assert watching.wait() is None
        monkeypatch.setattr(watch, "RESCAN", (60.0, 60.0))
        replace(mounted / "key")
        assert arrived(watching, last) == {"mounted/key"}


# What inotify loses ------------------------------------------------------------------------------


def test_a_queue_that_overflows_tells_everybody(folder: Path, last: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip(f"the queue holds {limit} events")
    other = folder / "other"
    other.mkdir()
    with Watch({str(folder): ["no such name"], str(other): ["key"], str(last): None}) as watching:
        for number in range(limit // 2 + 1000):  # while nobody reads
            os.mkdir(folder / str(number))
            os.rmdir(folder / str(number))
        replace(other / "key")
        assert arrived(watching, last) >= {".", "other"}
        (other / "key").unlink()
        assert arrived(watching, last) == {"other/key"}


def test_nobody_waits_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RESCAN", (0.01, 0.02))
    chances = iter([0.0, 0.999, 0.5])
    with Watch({str(folder): ["key"]}, random=lambda: next(chances)) as watching:
        for _ in range(3):
            assert watching.wait() is None


def test_the_time_to_look_is_spread() -> None:
    assert watch.RESCAN == (30.0, 60.0)
    for chance, expected in ((0.0, 30.0), (0.5, 45.0)):
        with Watch(random=lambda chance=chance: chance) as watching:
            assert watching._patience() == expected


# Descriptors, threads, processes -----------------------------------------------------------------


def inotify_descriptors() -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += "inotify" in os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def test_all_watches_share_one_descriptor_and_need_no_thread(folder: Path, last: Path) -> None:
    threads = threading.active_count()
    watches = [Watch({str(folder): [f"{n}"], str(last): None}) for n in range(50)]
    assert inotify_descriptors() == 1
    assert threading.active_count() == threads
    (folder / "7").write_text("")
    assert arrived(watches[7], last) == {"7"}
    assert arrived(watches[8], last) == set()
    for watching in watches:
        watching.close()


def test_the_last_one_gives_the_descriptor_back(folder: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for number in range(50):
        with Watch({str(folder): None, str(folder / "missing" / "too"): None}) as watching:
            if number % 2:
                thread = threading.Thread(target=watching.wait)  # it may be reading at the end
                thread.start()
        if number % 2:
            thread.join(SOON)
            assert not thread.is_alive()
    assert os.listdir("/proc/self/fd") == before


def test_a_waiting_thread_ends_although_no_watch_is_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Inotify, directory: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Inotify, "add", refuse)
    with Watch({str(folder): None}) as watching:
        thread = threading.Thread(target=watching.wait)
        thread.start()
    thread.join(SOON)
    assert not thread.is_alive()


def test_whoever_waits_is_told_whoever_reads(folder: Path, last: Path) -> None:
    """Of several threads one reads; when it has got its own event, another one goes on reading."""
    names = [f"name{number}" for number in range(6)]
    watches = [Watch({str(folder): [name]}) for name in names]
    found: queue.Queue[int] = queue.Queue()

    def wait(number: int) -> None:
        if watches[number].wait(SOON) == {str(folder / names[number])}:
            found.put(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for number in (3, 0, 5, 1, 4, 2):
        (folder / names[number]).mkdir()
        assert found.get(timeout=SOON) == number
    for thread in threads:
        thread.join()
    for watching in watches:
        watching.close()


def test_one_that_gives_up_waiting_leaves_the_reading_to_another(folder: Path) -> None:
    with Watch({str(folder): ["never"]}) as first, Watch({str(folder): ["key"]}) as second:
        found: queue.Queue[object] = queue.Queue()
        reading = threading.Thread(target=lambda: found.put(first.wait(0.3)))
        reading.start()
        thread = threading.Thread(target=lambda: found.put(second.wait(SOON)))
        thread.start()
        assert found.get(timeout=SOON) == frozenset()
        replace(folder / "key")
        assert found.get(timeout=SOON) == {str(folder / "key")}
        reading.join()
        thread.join()


def test_the_root_can_be_watched_and_left_again(folder: Path, last: Path) -> None:
    with Watch({str(last): None}) as watching:
        for _ in range(3):
            watching.look_at({"/": ["no such name"], str(last): None})
            watching.look_at({str(last): None})
        assert arrived(watching, last) == set()


def test_who_waits_is_woken_by_wake_and_by_close(folder: Path) -> None:
    for end in (Watch.wake, Watch.close):
        watching = Watch({str(folder): None})
        found: list[frozenset[str]] = []
        thread = threading.Thread(
            target=lambda watching=watching, found=found: found.append(watching.wait())
        )
        thread.start()
        end(watching)
        thread.join(SOON)
        assert found == [frozenset()]
        watching.close()
        assert watching.wait() == frozenset()


def test_a_forked_child_has_events_of_its_own_and_takes_none_of_its_parent(
    folder: Path, last: Path
) -> None:
    told, tell = os.pipe()
    with Watch({str(folder): ["key"], str(last): None}) as watching:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert inotify_descriptors() == 0
                assert watching.wait(0) is None  # goes on with one of its own
                assert inotify_descriptors() == 1
                os.write(tell, b"x")
                status = 0 if str(folder / "key") in watching.wait(SOON) else 2
                watching.close()
            finally:
                os._exit(status)
        assert os.read(told, 1) == b"x"
        replace(folder / "key")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert arrived(watching, last) == {"key"}
    os.close(told)
    os.close(tell)


def test_a_child_does_not_close_what_its_parent_has_closed_already(folder: Path) -> None:
    with Watch({str(folder): None}):
        pass
    reading, writing = os.pipe()  # one of them has the number that the descriptor had
    child = os.fork()
    if child == 0:
        os._exit(0 if os.read(reading, 1) == b"x" else 1)
    os.write(writing, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(reading)
    os.close(writing)


def test_a_child_that_only_closes_what_it_inherits_does_not_wait(folder: Path) -> None:
    with Watch({str(folder): None}) as watching:
        hub = watch._hub
        assert isinstance(hub, _hub.Hub)
        with hub._lock:  # as a thread of the parent may have it at the moment of the fork
            child = os.fork()
            if child == 0:
                watching.wake()
                watching.close()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_while_nothing_happens_nobody_wakes_up(folder: Path) -> None:
    program = f"""
import os, sys, threading, time
sys.path.insert(0, {str(ROOT)!r})
from secretbridge.watch import Watch
def switches():
    found = 0
    for task in os.listdir("/proc/self/task"):
        if int(task) != os.getpid():
            with open(f"/proc/self/task/{{task}}/status") as status:
                found += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
    return found
watching = Watch({{{str(folder)!r}: None}})
threading.Thread(target=watching.wait, daemon=True).start()
time.sleep(0.5)
before = switches()
time.sleep(1)
print(switches() - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "0\n"


# Without inotify ---------------------------------------------------------------------------------


def test_without_an_instance_left_it_looks_every_second_and_says_why(folder: Path) -> None:
    program = f"""
import os, resource, sys
sys.path.insert(0, {str(ROOT)!r})
from secretbridge import watch
from secretbridge.watch import Watch
import secretbridge._hub, secretbridge.generation._facts
used = len(os.listdir("/proc/self/fd")) - 1
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (used, limit))
watching = Watch({{{str(folder)!r}: None}})
print(watching.how(), watch.POLL[0] <= watching._patience() <= watch.POLL[1])
watch.POLL = 0.01, 0.01
print(watching.wait())
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
print(watching.wait(), watching.how())
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == (
        f"{{{str(folder)!r}: 'polling (inotify: Too many open files)'}} True\n"
        f"None\nNone {{{str(folder)!r}: 'inotify'}}\n"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_directory_that_cannot_be_watched_is_looked_at_until_it_can(
    folder: Path, last: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Inotify.add

    def refuse(self: Inotify, directory: str) -> int:
        if directory == str(folder):
            raise OSError(number, os.strerror(number))
        return add(self, directory)

    monkeypatch.setattr(Inotify, "add", refuse)
    with Watch({str(folder): ["key"], str(last): None}) as watching:
        assert watching.how() == {
            str(folder): f"polling (inotify: {os.strerror(number)})",
            str(last): "inotify",
        }
        monkeypatch.setattr(watch, "POLL", (0.01, 0.01))
        assert watching.wait() is None
        monkeypatch.setattr(Inotify, "add", add)
        assert watching.wait() is None
        assert watching.how()[str(folder)] == "inotify"
        replace(folder / "key")
        assert arrived(watching, last) >= {"key"}


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "9p", "virtiofs"])
def test_on_a_network_file_system_it_looks_every_second(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secretbridge.generation._facts.filesystem_of", lambda path: kind)
    with Watch({str(folder): ["key"]}) as watching:
        assert watching.how() == {
            str(folder): f"polling ({kind} has no events of what others write)"
        }
        assert watching._patience() <= watch.POLL[1]


def test_the_file_systems_of_secrets_have_events(folder: Path) -> None:
    assert _hub.network_filesystem(str(folder)) is None
    assert _hub.network_filesystem("/") is None
    assert _hub.network_filesystem("/no/such/path") is None


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system without inotify."""

    def missing(self: Inotify) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(Inotify, "__init__", missing)


def test_watchfiles_takes_the_place_of_inotify(folder: Path, last: Path, elsewhere: None) -> None:
    with Watch({str(folder): ["key"], str(last): None}) as watching:
        assert set(watching.how().values()) == {"watchfiles"}
        assert arrived(watching, last) <= {"."}  # it looks at once when it starts
        for number in range(3):
            while "key" not in arrived(watching, last):
                replace(folder / "key", str(number))
    hub = watch._hub
    assert isinstance(hub, WatchfilesHub)
    assert hub._thread is not None
    hub._thread.join(SOON)
    assert not hub._thread.is_alive()


def test_watchfiles_goes_on_with_a_directory_that_was_made_again(
    folder: Path, last: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = folder / "wanted"
    wanted.mkdir()
    with Watch({str(wanted): ["key"], str(last): None}) as watching:
        arrived(watching, last)
        shutil.rmtree(wanted)
        wanted.mkdir()
        monkeypatch.setattr(watch, "RESCAN", (0.01, 0.01))
        assert watching.wait() is None  # and found that it is another one
        monkeypatch.setattr(watch, "RESCAN", (60.0, 60.0))
        for number in range(2):
            while "wanted/key" not in arrived(watching, last):
                replace(wanted / "key", str(number))


def test_without_either_it_looks_every_second(
    folder: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with Watch({str(folder): None}) as watching:
        assert watching.how() == {
            str(folder): "polling (there is neither inotify nor watchfiles here)"
        }
