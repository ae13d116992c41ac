"""The backend ``aws-ssm``: AWS Systems Manager Parameter Store.

    aws-ssm:/app/db/password
    aws-ssm:/app/db/password?version=3
    aws-ssm:/app/db?label=blue#password
    aws-ssm:arn:aws:ssm:eu-west-1:123456789012:parameter/app/db/password

Values come decrypted, ten per call and eight calls at a time. Parameter Store keeps text only, and
its versions are counted. It deletes at once and for good, so that a deleted parameter is a missing
one. :mod:`.aws` shows how the parts work together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..reference import SCHEMES
from ._aws_store import AwsStore

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..reference import Scheme
    from ._aws_client import Client
    from ._aws_store import Fetches

__all__ = ["ParameterStoreBackend"]


class ParameterStoreBackend(AwsStore):
    """A client of Parameter Store in one region, with one set of credentials."""

    scheme: ClassVar[Scheme] = SCHEMES["aws-ssm"]
    batch_size: ClassVar[int] = 80  # ten names in each of eight calls at once

    @classmethod
    def options_model(cls) -> type[BaseModel]:
        """Return the model of the keys ``region``, ``endpoint_url``, ``role_arn`` and so on."""
        from ._aws_model import StoreModel

        return StoreModel

    def _fetcher(self, client: Client) -> Fetches:
        from ._aws_parameters import ParameterFetcher

        place = client.at("ssm", url=self._options.endpoint_url)
        return ParameterFetcher(place, self.store, self._clock)
