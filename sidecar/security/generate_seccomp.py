"""Makes ``seccomp.json``, the profile for containers of the sidecar, from what its tests make it do.

    python sidecar/security/generate_seccomp.py            trace the tests, and write both files
    python sidecar/security/generate_seccomp.py --again    write the profile from those traces again

Every sidecar of the integration tests runs under ``strace``: all formats, file, embedded, Vault and AWS
stores, TLS, reloading, hooks and checks, signals, being killed. ``traced.json`` says how often each
system call was made, and by which tests; it is the origin of the list. What the list has beside that
stands below, each group with its reason. What the sidecar has refused to itself is not on it, though
tests try that too.

The profile has the form that Docker, Podman and containerd take (the OCI runtime specification names
the same actions). Whatever is not on the list fails with EPERM.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from secretbridge._seccomp import REFUSED

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROFILE, TRACED = HERE / "seccomp.json", HERE / "traced.json"

TESTS = ("tests/integration/test_sidecar*.py",)

BESIDE = {
    "the same again on other architectures, kernels and versions of the C library": """
        access faccessat faccessat2 chmod fchmod fchmodat fchmodat2 chown fchown fchownat lchown
        clone clone3 fork vfork creat open openat openat2 dup dup2 dup3 epoll_create epoll_create1
        epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 fstat fstatfs futex futex_time64
        futex_waitv get_robust_list set_robust_list getdents getdents64 inotify_init inotify_init1
        link linkat lseek lstat mkdir mkdirat newfstatat pipe pipe2 poll ppoll pselect6 select
        readlink readlinkat rename renameat renameat2 rmdir rseq set_tid_address stat statfs statx
        symlink symlinkat unlink unlinkat utimensat pread64 preadv pwrite64 pwritev readv writev
        wait4 waitid time clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday
        sigaltstack rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
        rt_sigsuspend rt_sigtimedwait restart_syscall arch_prctl""",
    "what a runtime does between installing the profile and starting the program": """
        capget capset chdir fchdir execve execveat exit exit_group getcwd getpgid getpgrp getpid getppid
        getuid geteuid getgid getegid getgroups getresuid getresgid setuid setgid setgroups setresuid
        setresgid setsid setpgid prctl seccomp tgkill tkill kill umask uname prlimit64 getrlimit
        setrlimit gettid close close_range fcntl flock ioctl read write mmap mprotect munmap mremap
        brk madvise""",
    "protection that is asked for where the kernel has it": """
        landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret memfd_create
        ftruncate mlock mlock2 mlockall munlock munlockall pidfd_open pidfd_send_signal getrandom
        membarrier""",
    "sockets, which differ with the stores that are used": """
        socket socketpair bind listen accept accept4 connect getsockname getpeername getsockopt
        setsockopt sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg shutdown sendfile""",
    "what is done rarely: full and foreign file systems, large allocations, scheduling": """
        fallocate fsync fdatasync sync_file_range copy_file_range getxattr setxattr fgetxattr fsetxattr
        lgetxattr listxattr flistxattr removexattr fremovexattr sched_getaffinity sched_yield
        sched_getparam sched_getscheduler sysinfo times getrusage alarm getitimer setitimer
        timerfd_create timerfd_settime inotify_add_watch inotify_rm_watch getcpu mincore msync""",
}
"""Calls beside the traced ones, by reason."""


def trace(folder: Path) -> tuple[Counter[str], int]:
    """Run the tests with every sidecar traced; return the calls, and the number of sidecars."""
    tests = [str(path) for pattern in TESTS for path in sorted(ROOT.glob(pattern))]
    environment = os.environ | {"SECRETBRIDGE_TEST_TRACES": str(folder)}
    subprocess.run(
        # Tests that look at the clock may fail under a tracer; what they made a sidecar do counts.
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env=environment,
        check=False,
    )
    found: Counter[str] = Counter()
    files = list(folder.iterdir())
    for path in files:
        found.update(_counted(path.read_text(errors="replace")))
    return found, len(files)


def _counted(text: str) -> Counter[str]:
    """Return the calls of one table of ``strace -c``."""
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", text, re.MULTILINE)
    return Counter({name: int(count) for count, name in rows if name != "total"})


def profile(traced: set[str]) -> dict[str, object]:
    """Return the profile that allows ``traced`` and what stands beside it."""
    traced = traced - set(REFUSED)  # a test's intruder made them, in vain
    groups = [("made by the sidecar in its own tests", sorted(traced))]
    seen = set(traced)
    for reason, text in BESIDE.items():
        names = sorted(set(text.split()) - seen)
        seen.update(names)
        groups.append((reason, names))
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": [
            {"names": names, "action": "SCMP_ACT_ALLOW", "comment": reason}
            for reason, names in groups
            if names
        ],
    }


def main() -> int:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description="Make the profile from traces of the tests.")
    parser.add_argument("--again", action="store_true", help="from the traces that are there")
    if not parser.parse_args().again:
        with tempfile.TemporaryDirectory(prefix="traces-") as folder:
            calls, sidecars = trace(Path(folder))
        told = {
            "origin": "strace -f -c of every sidecar of the integration tests",
            "tests": list(TESTS),
            "machine": os.uname().machine,
            "sidecars": sidecars,
            "calls": dict(sorted(calls.items())),
        }
        TRACED.write_text(json.dumps(told, indent=1) + "\n")
    traced = set(json.loads(TRACED.read_text())["calls"])
    PROFILE.write_text(json.dumps(profile(traced), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
