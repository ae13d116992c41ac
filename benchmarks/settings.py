"""A settings class of 1000 secret files, beside pydantic-settings' ``secrets_dir``.

Once as the drop-in (``secrets_dir`` of plain fields), once with ``from_secret`` fields; the files lie in
a plain directory, and in a Kubernetes volume. Everything is built anew each time, as at the start of an
application.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pydantic_settings
from pydantic import SecretStr, create_model

from secretbridge import Broker, Secret
from secretbridge.backends.file import FileBackend
from secretbridge.settings import BaseSettings, from_secret

from ._measure import Figure, interleaved, main, private_folder, ratio, seconds

_COUNT = 1000
_ROUNDS = 7
_NAMES = [f"secret_{number:04}" for number in range(_COUNT)]


def _fill(directory: Path, *, as_volume: bool) -> None:
    directory.mkdir()
    place = directory
    if as_volume:
        place = directory / "..2026_01_01"
        place.mkdir()
        (directory / "..data").symlink_to(place.name)
    for name in _NAMES:
        (place / name).write_text(f"value of {name}\n")
        if as_volume:
            (directory / name).symlink_to(f"..data/{name}")


def _model(name: str, base: type[Any], kind: type[Any], default: object) -> Any:
    fields: dict[str, Any] = dict.fromkeys(_NAMES, (kind, default))
    return create_model(name, __base__=base, **fields)


def measure() -> Iterator[Figure]:
    theirs = _model("Theirs", pydantic_settings.BaseSettings, SecretStr, ...)
    dropped_in = _model("DroppedIn", BaseSettings, SecretStr, ...)
    fields: dict[str, Any] = {name: (Secret, from_secret(f"file:{name}")) for name in _NAMES}
    from_secrets: Any = create_model("FromSecrets", __base__=BaseSettings, **fields)
    with TemporaryDirectory(dir=private_folder()) as folder:
        for place, as_volume in (("files", False), ("volume", True)):
            directory = Path(folder, place)
            _fill(directory, as_volume=as_volume)

            def resolved(directory: Path = directory) -> None:
                with Broker({"file": FileBackend("file", [directory])}) as broker:
                    assert from_secrets(_broker=broker).secret_0999.reveal() == (
                        "value of secret_0999"
                    )

            def raw(directory: Path = directory) -> None:
                for name in _NAMES:
                    descriptor = os.open(directory / name, os.O_RDONLY)
                    os.read(descriptor, 4096)
                    os.close(descriptor)

            cases = {
                "pydantic-settings": seconds(lambda d=directory: theirs(_secrets_dir=d)),
                "secrets_dir": seconds(lambda d=directory: dropped_in(_secrets_dir=d)),
                "from_secret": seconds(resolved),
                "raw": seconds(raw),
            }
            times = interleaved(cases, _ROUNDS)
            took = {name: median(found) * 1000 for name, found in times.items()}
            for name in ("secrets_dir", "from_secret"):
                yield Figure(
                    f"{name}, {_COUNT} fields from {place}",
                    ratio(times[name], times["pydantic-settings"]),
                    0.1,
                    f"of pydantic-settings' secrets_dir: {took[name]:.1f} ms to "
                    f"{took['pydantic-settings']:.0f} (open and read alone: {took['raw']:.1f})",
                )


if __name__ == "__main__":
    main(measure)
