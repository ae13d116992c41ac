"""Readers by user id: POSIX ACLs, which give access without any capability.

A writer that is not root can give a file neither to another user nor to a group it is not in. It can
still let one more user read it: by an entry in the file's access control list. Such a user also needs
to get to the file, so the target gets an entry that lets them pass (search, and not list).

``stat`` shows the mask of a list as the group's bits: a file of mode 0400 with readers shows 0440. Its
group may not read it for all that.

The form of ``system.posix_acl_access`` is that of the kernel (linux/posix_acl_xattr.h): a version of
four bytes, then entries of tag, permissions and id, all little-endian, in the order of their tags.
"""

from __future__ import annotations

import os
from errno import ENODATA, EOPNOTSUPP
from stat import S_IMODE
from struct import Struct

from ..errors import UnsafeTarget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = [
    "ACCESS_LIST",
    "decoded_list",
    "encoded_list",
    "grant",
    "granted",
    "require_own_list",
    "set_passage",
]

ACCESS_LIST = "system.posix_acl_access"
"""The extended attribute that holds a list."""

_VERSION = (2).to_bytes(4, "little")
_ENTRY = Struct("<HHI")
_OWNER, _USER, _GROUP, _NAMED_GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF
_READ, _SEARCH = 4, 1


def encoded_list(mode: int, users: Sequence[int], permissions: int = _READ) -> bytes:
    """Return the list that gives the ascending ``users`` the ``permissions``, besides ``mode``."""
    entries = [
        (_OWNER, mode >> 6 & 7, _NOBODY),
        *((_USER, permissions, user) for user in users),
        (_GROUP, mode >> 3 & 7, _NOBODY),
        (_MASK, (mode >> 3 & 7) | permissions, _NOBODY),
        (_OTHER, mode & 7, _NOBODY),
    ]
    return _VERSION + b"".join([_ENTRY.pack(*entry) for entry in entries])


def decoded_list(acl: bytes, permissions: int = _READ) -> tuple[int, tuple[int, ...]] | None:
    """Return the mode and the users of a list, or None for one that is not of :func:`encoded_list`."""
    if acl[:4] != _VERSION or (len(acl) - 4) % _ENTRY.size:
        return None
    entries = list(_ENTRY.iter_unpack(acl[4:]))
    bits = {tag: granted for tag, granted, _ in entries}
    mode = bits.get(_OWNER, 0) << 6 | bits.get(_GROUP, 0) << 3 | bits.get(_OTHER, 0)
    users = tuple(user for tag, _, user in entries if tag == _USER)
    return (mode, users) if acl == encoded_list(mode, users, permissions) else None


def grant(file: int, mode: int, readers: Sequence[int]) -> None:
    """Let ``readers`` read the open ``file``, whose mode is ``mode``. Raises :class:`OSError`."""
    try:
        os.setxattr(file, ACCESS_LIST, encoded_list(mode, readers))
    except OSError as error:
        if error.errno == EOPNOTSUPP:
            raise UnsafeTarget(
                "the file system of the target has no access control lists, which readers need",
                hint="mount a tmpfs there, or let the readers share a group",
            ) from None
        raise


def granted(file: int) -> bytes | None:
    """Return the access control list of an open file or directory, or None."""
    try:
        return os.getxattr(file, ACCESS_LIST)
    except OSError as error:
        if error.errno in (ENODATA, EOPNOTSUPP):
            return None
        raise


def require_own_list(directory: int) -> None:
    """Raise :class:`UnsafeTarget` for a directory with a list of somebody else's making."""
    now = granted(directory)
    if now is not None and decoded_list(now, _SEARCH) is None:
        raise UnsafeTarget(
            "the target has an access control list of somebody else's making",
            hint="remove it (setfacl -b), or leave out readers",
        )


def set_passage(directory: int, users: Collection[int]) -> None:
    """Let exactly ``users`` pass through ``directory`` by entries of their own.

    A list of somebody else's making stays as it is. Raises :class:`OSError`.
    """
    now = granted(directory)
    wanted = tuple(sorted(users))
    known: tuple[int, ...] = ()
    if now is None:
        mode = S_IMODE(os.fstat(directory).st_mode) & 0o777
    elif (stated := decoded_list(now, _SEARCH)) is not None:
        mode, known = stated
    else:
        return
    if wanted == known:
        return
    if wanted:
        os.setxattr(directory, ACCESS_LIST, encoded_list(mode, wanted, _SEARCH))
        return
    special = S_IMODE(os.fstat(directory).st_mode) & ~0o777
    os.removexattr(directory, ACCESS_LIST)
    os.fchmod(directory, special | mode)  # the group's bits were the mask
