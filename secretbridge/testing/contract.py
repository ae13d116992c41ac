"""The contract between the broker and a backend, as tests.

An author subclasses :class:`BackendContract`, says how to put a document into the store behind the
backend's back, and gets every rule of :class:`secretbridge.backends.Backend` checked::

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def backend(self, my_server):
            self.server = my_server
            backend = MyBackend.create("my", {"address": my_server.url})
            yield backend
            backend.close()

        def put(self, locator, body):
            self.server.store(locator, body)

        def remove(self, locator):
            self.server.delete(locator)

What a store cannot do (deny one item, be unreachable on demand, hand out leases) is said by returning
``NotImplemented``, or by one of the class variables; the rule is skipped with that reason. Each test
uses locators of its own, so that one server may serve the whole class.
"""

from __future__ import annotations

from ._contract.life import LifeRules
from ._contract.reading import ReadingRules
from ._contract.secrecy import SecrecyRules

__all__ = ["BackendContract"]


class BackendContract(ReadingRules, SecrecyRules, LifeRules):
    """Rules that every backend keeps. Subclass it, and provide ``backend``, ``put``, ``remove``.

    Each rule is a test. See :mod:`secretbridge.testing.contract` for an example, and the how-to page
    on writing a backend for all that a subclass can say.

    >>> from secretbridge.testing import BackendContract
    >>> rules = [name for name in dir(BackendContract) if name.startswith("test_")]
    >>> "test_what_never_existed_is_missing" in rules
    True
    """
