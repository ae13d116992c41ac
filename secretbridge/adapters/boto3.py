"""boto3: sessions whose access keys are secrets that rotate.

    from secretbridge.adapters.boto3 import session

    s3 = session("aws_access_key", "aws_secret_key", region_name="eu-west-1").client("s3")

The keys are read for every request that is signed. A request that AWS refuses because of its key is
signed again with the newer one and repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import boto3

    from ..broker import Broker
    from ._login import Key

__all__ = ["credentials", "session"]


def credentials(
    access_key: Key, secret_key: Key, token: Key | None = None, *, broker: Broker | None = None
) -> Any:
    """Return botocore's ``RefreshableCredentials`` of secrets, best of one document.

    ``token`` is for temporary keys. botocore asks them for every signature, and they answer with what is
    current; a credential that comes with a lease is replaced in time by its broker.
    """
    from ._botocore import RotatingCredentials

    return RotatingCredentials(access_key, secret_key, token, broker)


def session(
    access_key: Key,
    secret_key: Key,
    token: Key | None = None,
    *,
    broker: Broker | None = None,
    **options: Any,
) -> boto3.Session:
    """Return a session that signs with :func:`credentials`. ``options``: of :class:`boto3.Session`."""
    from ._botocore import rotating_session

    return rotating_session(credentials(access_key, secret_key, token, broker=broker), options)
