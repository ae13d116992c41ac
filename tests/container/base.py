"""A base image without network: the interpreter that runs the tests, and the libraries that it loads.

It is shaped like the distroless image that is the default outside of tests: Python at
/usr/bin/python3, certificates, users, and no shell. The builder's image has pip besides.
"""

from __future__ import annotations

import io
import os
import re
import ssl
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

__all__ = ["builder_archive", "python_archive"]

LEFT_OUT = {
    *["__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"],
    *["tkinter", "turtledemo", "ensurepip", "pydoc_data"],
}
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = f"usr/lib/python{VERSION}"
PASSWD = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"


def python_archive(path: Path) -> None:
    """Write an archive for ``docker import``."""
    with tarfile.open(path, "w") as archive:
        _interpreter(archive)


def builder_archive(path: Path) -> None:
    """Write the same with pip."""
    with tarfile.open(path, "w") as archive:
        _interpreter(archive)
        import pip

        source = Path(pip.__file__).parent
        _tree(archive, source, f"{LIBRARY}/site-packages/pip")


def _interpreter(archive: tarfile.TarFile) -> None:
    for folder in (
        "tmp",
        "run",
        "proc",
        "sys",
        "dev",
        "etc",
        "usr/bin",
        f"{LIBRARY}/site-packages",
    ):
        _folder(archive, folder, 0o1777 if folder == "tmp" else 0o755)
    _text(archive, "etc/passwd", PASSWD)
    _text(archive, "etc/group", "root:x:0:\nnogroup:x:65534:\n")
    _text(archive, "etc/nsswitch.conf", "hosts: files dns\n")
    authorities = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    if os.path.exists(authorities):
        archive.add(os.path.realpath(authorities), "etc/ssl/certs/ca-certificates.crt")
    program = Path(os.path.realpath(sys._base_executable))  # type: ignore[attr-defined]
    archive.add(program, "usr/bin/python3")
    standard = Path(os.path.realpath(os.__file__)).parent
    _tree(archive, standard, LIBRARY)
    extensions = [program, *Path(sysconfig.get_config_var("DESTSHARED")).glob("*.so")]
    extensions = [path for path in extensions if not path.name.startswith("_tkinter")]
    for library in _libraries(extensions):
        archive.add(os.path.realpath(library), library.lstrip("/"))


def _libraries(programs: list[Path]) -> list[str]:
    """Return the shared libraries of ``programs``, and the loader, by the names they are looked up."""
    output = subprocess.run(
        ["ldd", *map(str, programs)], capture_output=True, text=True, check=False
    ).stdout
    found = set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", output, re.MULTILINE))
    # Opened by glibc itself when a thread ends; and what wheels for older versions of it ask for.
    others = ("libgcc_s.so.1", "libpthread.so.0", "librt.so.1", "libdl.so.2", "libutil.so.1")
    beside = {os.path.join(os.path.dirname(path), name) for path in found for name in others}
    return sorted(found | {path for path in beside if os.path.exists(path)})


def _tree(archive: tarfile.TarFile, source: Path, target: str) -> None:
    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = entry.name.removeprefix(target).split("/")
        if LEFT_OUT & set(parts[:2]) or parts[-1] == "__pycache__" or entry.name.endswith(".a"):
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    archive.add(source, target, filter=wanted)


def _folder(archive: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    archive.addfile(entry)


def _text(archive: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text), 0o644
    archive.addfile(entry, io.BytesIO(text.encode()))
