import os
import shutil
import tempfile
from pathlib import Path

import pytest

from secretbridge.backends import Deadline
from secretbridge.reference import Reference


@pytest.fixture
def directory():
    """A directory in memory that other users may enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(dir=os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def fetch():
    """Fetch references given as text and return the outcomes."""

    def fetch(backend, *references):
        requests = [Reference.parse(text).document for text in references]
        return backend.fetch(requests, Deadline(10))

    return fetch


@pytest.fixture
def volume(directory):
    """A volume as the kubelet writes it: ``publish({name: body})`` makes a new generation."""

    class Volume:
        path = directory / "volume"

        def publish(self, files, *, keep=False):
            old = os.readlink(self.path / "..data") if self.path.exists() else None
            self.path.mkdir(exist_ok=True)
            new = Path(tempfile.mkdtemp(prefix="..gen-", dir=self.path))
            new.chmod(0o755)
            for name, body in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(body)
                top = name.split("/")[0]
                if not (self.path / top).is_symlink():
                    (self.path / top).symlink_to(f"..data/{top}")
            (self.path / "..data_tmp").symlink_to(new.name)
            (self.path / "..data_tmp").rename(self.path / "..data")
            if old and not keep:
                shutil.rmtree(self.path / old)

    return Volume()
