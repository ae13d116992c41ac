"""The backend ``aws-sm``: AWS Secrets Manager.

    aws-sm:app/db#password
    aws-sm:app/db?stage=AWSPREVIOUS#password
    aws-sm:arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/db-AbCdEf#/nested/key

Many secrets come in few calls (20 per call, eight calls at a time); what a batch cannot do is asked
alone. How the parts work together, those of ``aws-ssm`` among them::

    aws, aws_ssm      the two backends
    _aws_store        what both are: options, life, identity, news
    _aws_secrets      requests -> batches and single calls -> outcomes, in Secrets Manager
    _aws_parameters   the same in Parameter Store
    _aws_fetch        what those two share
    _aws_write        new secrets, for the migration tool
    _aws_regions      a second region while the first is out of order
    _aws_push         news of changes from a queue
    _aws_crew         a few threads, and the caller goes on at the deadline
    _aws_client       one call: signed, sent, repeated once after expiry or on a corrected clock
    _aws_credentials  the credentials found last, looked for anew when their files change
    _aws_environment  AWS's configuration where the environment says it all
    _aws_botocore     the same from botocore, with its chain of credentials; the only importer of it
    _aws_sts          roles to assume, and who we are
    _aws_signature    Signature Version 4
    _aws_endpoints    where the services are
    _aws_wire         requests and answers over the transport that all HTTP backends share
    _aws_errors       what a refusal means
    _aws_logs         nothing of all this in a debug log
    _aws_model        the keys in the configuration

There is no cheap test for a newer version: ``DescribeSecret`` costs as much as the value itself, and
it goes on succeeding when the value can no longer be read (no permission, KMS key disabled, secret
scheduled for deletion), so that a poll built on it would serve a withdrawn secret for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..reference import SCHEMES
from ._aws_options import Options
from ._aws_store import AwsStore

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..reference import Scheme
    from . import Deadline
    from ._aws_client import Client, Place
    from ._aws_store import Fetches

__all__ = ["Options", "SecretsManagerBackend"]


class SecretsManagerBackend(AwsStore):
    """A client of AWS Secrets Manager in one region, with one set of credentials."""

    scheme: ClassVar[Scheme] = SCHEMES["aws-sm"]
    batch_size: ClassVar[int] = 160  # 20 ids in each of eight calls at once

    @classmethod
    def options_model(cls) -> type[BaseModel]:
        """Return the model of the keys ``region``, ``endpoint_url``, ``role_arn`` and so on."""
        from ._aws_model import SecretsManagerModel

        return SecretsManagerModel

    def put_new(self, locator: str, value: bytes, deadline: Deadline) -> str:
        """Create a secret where there is none and return its version. Raises :class:`Occupied`."""
        from ._aws_write import put_new

        return put_new(self._service(), locator, value, deadline)

    def withdraw(self, locator: str, version: str, deadline: Deadline) -> bool:
        """Delete a secret whose current version is ``version``; return whether it was."""
        from ._aws_write import withdraw

        return withdraw(self._service(), locator, version, deadline)

    def _service(self) -> Place:
        return self._ready()[0].at("secretsmanager", url=self._options.endpoint_url)

    def _fetcher(self, client: Client) -> Fetches:
        from ._aws_secrets import SecretFetcher

        options = self._options
        here = client.at("secretsmanager", url=options.endpoint_url)
        first = SecretFetcher(here, self.store, self._clock)
        if options.fallback_region is None:
            return first
        from ._aws_regions import Regions

        there = client.at("secretsmanager", options.fallback_region, options.fallback_endpoint_url)
        second = SecretFetcher(there, self.store, self._clock)
        return Regions(first, second, (here.region, there.region), self._clock)
