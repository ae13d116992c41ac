"""From secrets to files: which file holds what, with which rights. Pure, apart from name look-ups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from secretbridge.errors import ConfigError
from secretbridge.generation.layout import DirectorySpec, FileSpec

from .contents import Contents, from_template, sources

if TYPE_CHECKING:
    from secretbridge.config import Config, FileConfig, SidecarConfig
    from secretbridge.secret import Secret

    from .templates import Template

__all__ = ["Renderer", "sidecar_of"]


def sidecar_of(config: Config) -> SidecarConfig:
    """Return the sidecar's part of ``config``.

    Raises :class:`ConfigError` when there is none.
    """
    sidecar = config.sidecar
    if sidecar is None:
        raise ConfigError(
            f"{config.path or 'the configuration'} has no 'sidecar:' block",
            hint="add sidecar: {target: /run/secretbridge}",
        )
    return sidecar


class Renderer:
    """Renders all files of a configuration.

    ``user_id`` and ``group_id`` turn the names of owners and groups into numbers; they raise
    ``KeyError`` for a name that the system does not know. ``contents`` are those of a former
    configuration, which remember what need not be written again.
    """

    def __init__(
        self,
        config: Config,
        *,
        user_id: Callable[[str], int] | None = None,
        group_id: Callable[[str], int] | None = None,
        contents: Contents | None = None,
    ) -> None:
        sidecar = sidecar_of(config)
        self._mode = sidecar.mode
        self.contents = contents or Contents()
        self._user_id = user_id or _system_user
        self._group_id = group_id or _system_group
        problems: list[str] = []
        self.group = self._group(sidecar.group, "sidecar.group", problems)
        self._readers: dict[str, list[int]] = {}
        self._files: dict[str, tuple[FileConfig, int | None, int | None]] = {}
        for name, file in sidecar.files.items():
            key = f"sidecar.files.{name}"
            owner = self._owner(file.owner, f"{key}.owner", problems)
            group = self.group
            if file.group != sidecar.group:
                group = self._group(file.group, f"{key}.group", problems)
            self._files[name] = file, owner, self.group if group is None else group
            readers = [self._owner(each, f"{key}.readers", problems) for each in file.readers]
            self._readers[name] = [reader for reader in readers if reader is not None]
        self._directories = self._entitled(sidecar, problems)
        if problems:
            shown = tuple(f"{config.path}: {problem}" for problem in problems)
            raise ConfigError("\n".join(shown), problems=shown)
        self._templates = _templates(config, sidecar)

    def names(self) -> list[str]:
        """Return the names of the secrets that the files are made of."""
        found: dict[str, None] = {}
        for name, (file, _, _) in self._files.items():
            template = self._templates.get(name)
            names = sources(file) if template is None else sorted(template.names)
            found.update(dict.fromkeys(names))
        return list(found)

    def directories(self) -> list[DirectorySpec]:
        """Return the directories that have rights of their own."""
        return self._directories

    def files(self) -> list[str]:
        """Return the names of the files."""
        return list(self._files)

    def render(self, secrets: Mapping[str, Secret]) -> list[FileSpec]:
        """Return every file. One whose secret is absent (``optional``) is left out.

        Raises :class:`IntegrityError` for a value that its format cannot hold.
        """
        rendered = []
        for name, (file, owner, group) in self._files.items():
            template = self._templates.get(name)
            used = sources(file) if template is None else sorted(template.names)
            needed = used if template is None else template.needed()
            if any(source not in secrets for source in needed):
                continue
            if template is None:
                content = self.contents.make(name, file, secrets)
            else:
                content = from_template(name, template, secrets)
            present = [secrets[source] for source in used if source in secrets]
            ends = [secret.expires_at for secret in present if secret.expires_at is not None]
            rendered.append(
                FileSpec(
                    name,
                    content,
                    mode=self._mode if file.mode is None else file.mode,
                    owner=owner,
                    group=group,
                    version=",".join(secret.version or "" for secret in present) or None,
                    expires=min(ends).timestamp() if ends else None,
                    readers=self._readers[name],
                )
            )
        return rendered

    def _entitled(self, sidecar: SidecarConfig, problems: list[str]) -> list[DirectorySpec]:
        found = []
        for name, each in sidecar.directories.items():
            key = f"sidecar.directories.{name}"
            owner = self._owner(each.owner, f"{key}.owner", problems)
            group = self._group(each.group, f"{key}.group", problems)
            group = self.group if group is None else group
            found.append(DirectorySpec(name, each.mode, owner, group))
        return found

    def _owner(self, owner: int | str | None, key: str, problems: list[str]) -> int | None:
        return self._number(owner, self._user_id, key, "user", problems)

    def _group(self, group: int | str | None, key: str, problems: list[str]) -> int | None:
        return self._number(group, self._group_id, key, "group", problems)

    @staticmethod
    def _number(
        given: int | str | None,
        look_up: Callable[[str], int],
        key: str,
        kind: str,
        problems: list[str],
    ) -> int | None:
        if given is None or isinstance(given, int):
            return given
        try:
            return look_up(given)
        except KeyError:
            problems.append(
                f"{key}: this system knows no {kind} {given!r}; give the {kind}'s number, because "
                "names inside containers rarely agree"
            )
            return None


def _templates(config: Config, sidecar: SidecarConfig) -> dict[str, Template]:
    """Read the templates. Raises one :class:`ConfigError` for all mistakes in them."""
    files = [(name, file.template) for name, file in sidecar.files.items() if file.template]
    if not files:
        return {}
    from .templates import read_template

    found: dict[str, Template] = {}
    problems: list[str] = []
    for name, path in files:
        try:
            found[name] = read_template(path)
            found[name].refuse_unknown(config.secrets)
        except ConfigError as error:
            problems += error.problems or (str(error),)
    if problems:
        raise ConfigError("\n".join(problems), problems=tuple(problems))
    return found


def _system_user(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _system_group(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid
