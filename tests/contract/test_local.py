import os
import shutil
import tempfile
from pathlib import Path

import pytest

from secretbridge.backends.local import LocalBackend, LocalStore, create_key_file
from secretbridge.testing import BackendContract

NOBODY = 65534


class TestLocalBackend(BackendContract):
    @pytest.fixture
    def backend(self):
        self.root = Path(tempfile.mkdtemp(dir=os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm"))
        self.root.chmod(0o755)
        self.path = self.root / "secrets.sbx"
        self.away = self.root / "away.sbx"
        self.key_file = self.root / "key"
        create_key_file(self.key_file)
        self.writer = LocalStore.create(self.path, key_file=self.key_file)
        backend = LocalBackend.create("local", {"path": self.path, "key_file": self.key_file})
        yield backend
        backend.close()
        if os.geteuid() == NOBODY:
            os.seteuid(0)
        shutil.rmtree(self.root)

    def put(self, locator, body):
        self.writer.set(locator, body)

    def remove(self, locator):
        self.writer.remove(locator)

    def deny(self, locator):
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
            return
        self.path.chmod(0)
        return

    def break_store(self):
        self.path.rename(self.away)

    def heal_store(self):
        self.away.rename(self.path)

    def corrupt(self, locator):
        with self.path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))

    def absent_version(self):
        return "99"

    def options(self, backend):
        return {"path": str(self.path), "key_file": str(self.key_file)}
