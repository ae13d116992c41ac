"""The header that carries a credential in an HTTP request."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection
from typing import TYPE_CHECKING

from ..errors import IntegrityError
from ._login import Credential, Key, Login

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["REPEATS", "Header"]

REPEATS = 3
"""How often a refused request is repeated at most: once for each rotation that falls into it."""

_FIELD = re.compile(r"[!-~]([ -~]*[!-~])?")
"""What a credential may be made of (RFC 9110 section 5.5, without obs-text)."""


class Header:
    """``Authorization: Bearer VALUE``, or as it is said.

    ``scheme`` stands before the value; with an empty one the value stands alone. With ``user`` (a
    secret) or ``username`` (its name in plain text) it is Basic (RFC 7617). ``refused`` are the codes of
    responses that say that the credential was not accepted.
    """

    name: str
    login: Login

    def __init__(
        self,
        value: Key,
        *,
        scheme: str = "Bearer",
        name: str = "Authorization",
        user: Key | None = None,
        username: str | None = None,
        refused: Collection[int] = (401,),
        broker: Broker | None = None,
    ) -> None:
        self.name = name
        self.login = Login(value, user=user, broker=broker)
        self._scheme = scheme
        self._username = username
        self._refused = frozenset(refused)

    def value(self, credential: Credential) -> str:
        """Return the header's value for ``credential``.

        Raises :class:`IntegrityError` for one that no header can hold: clients refuse it too, and
        repeat it in their message.
        """
        password = credential.password.reveal()
        username = self._username if credential.user is None else credential.user.reveal()
        if username is not None:
            return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"
        if not _FIELD.fullmatch(password):
            del password
            raise IntegrityError(
                "the value cannot stand in a header: it has other characters than visible ASCII",
                reference=credential.password.reference,
                hint="store the token alone, without line breaks; add ?decode=... if it is encoded",
            )
        return f"{self._scheme} {password}" if self._scheme else password

    def is_refused(self, status: int) -> bool:
        """Whether a response of ``status`` says that the credential was not accepted."""
        return status in self._refused

    @property
    def is_standard(self) -> bool:
        """Whether clients know that it is a credential, and drop it when they are led elsewhere."""
        return self.name.lower() == "authorization"

    def __repr__(self) -> str:
        return f"<{self.name} with {self.login.password.name}>"
