"""The file backend against the contract: on plain directories, and on a volume with generations."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from secretbridge.backends.file import FileBackend
from secretbridge.testing import BackendContract

NOBODY = 65534


@pytest.fixture
def directory():
    """A directory that other users may enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(dir=os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


class TestFileBackend(BackendContract):
    @pytest.fixture
    def backend(self, directory):
        self.root = directory / "secrets"
        self.root.mkdir(mode=0o755)
        self.away = directory / "away"
        yield FileBackend("file", [self.root])
        if os.geteuid() == NOBODY:
            os.seteuid(0)

    def put(self, locator, body):
        (self.root / locator).write_bytes(body)

    def remove(self, locator):
        (self.root / locator).unlink()

    def deny(self, locator):
        (self.root / locator).chmod(0o200)
        if os.geteuid() == 0:
            os.seteuid(NOBODY)  # root may read whatever the mode says

    def break_store(self):
        self.root.rename(self.away)
        self.root.write_bytes(b"no directory")

    def heal_store(self):
        self.root.unlink()
        self.away.rename(self.root)

    def corrupt(self, locator):
        (self.root / locator).unlink()
        os.mkfifo(self.root / locator)

    def options(self, backend):
        return {"roots": [str(self.root)]}


class TestFileBackendOnAVolume(TestFileBackend):
    """Every change is a new generation behind ``..data``, as the kubelet writes it."""

    @pytest.fixture
    def backend(self, directory):
        self.root = directory / "secrets"
        self.root.mkdir(mode=0o755)
        self.away = directory / "away"
        self.generation = 0
        self.files = {}
        self.publish()
        yield FileBackend("file", [self.root])
        if os.geteuid() == NOBODY:
            os.seteuid(0)

    def publish(self):
        old = self.root / f"..{self.generation}"
        self.generation += 1
        new = self.root / f"..{self.generation}"
        new.mkdir(mode=0o755)
        for name, body in self.files.items():
            (new / name).write_bytes(body)
            link = self.root / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        (self.root / "..data_tmp").symlink_to(new.name)
        (self.root / "..data_tmp").rename(self.root / "..data")
        if old.exists():
            shutil.rmtree(old)
        return new

    def put(self, locator, body):
        self.files[locator] = body
        self.publish()

    def remove(self, locator):
        del self.files[locator]
        self.publish()
        (self.root / locator).unlink()

    def deny(self, locator):
        (self.root / "..data" / locator).chmod(0o200)
        if os.geteuid() == 0:
            os.seteuid(NOBODY)

    def corrupt(self, locator):
        path = self.root / "..data" / locator
        path.unlink()
        path.mkdir()
