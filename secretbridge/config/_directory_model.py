"""The model of a directory that has rights of its own."""

from __future__ import annotations

from pydantic import Field, model_validator

from ._model_base import Mode, Model, Principal

__all__ = ["DirectoryConfig"]


class DirectoryConfig(Model):
    """One directory of the target, with the rights of those whom its files are for."""

    mode: Mode = Field(default=0o750, description="permissions, as octal digits in quotes")
    owner: Principal | None = Field(
        default=None, description="user that owns the directory, by number or name"
    )
    group: Principal | None = Field(
        default=None, description="group of the directory and of its files, by number or name"
    )

    @model_validator(mode="after")
    def _nobody_writes(self) -> DirectoryConfig:
        if self.mode & 0o022:
            raise ValueError('a directory that others may write to; write mode: "0750"')
        return self
