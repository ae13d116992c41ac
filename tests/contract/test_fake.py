import pytest

from secretbridge.errors import BackendUnavailable
from secretbridge.testing import BackendContract, FakeBackend


class TestFakeBackend(BackendContract):
    @pytest.fixture
    def backend(self):
        self.fake = FakeBackend()
        return self.fake

    def put(self, locator, body):
        self.fake.put(locator, body)

    def remove(self, locator):
        self.fake.remove(locator)

    def deny(self, locator):
        self.fake.deny(locator)

    def leased(self):
        self.fake.put("contract-leased", "one")
        self.fake.lease("contract-leased", 60.0)
        return "contract-leased"

    def absent_version(self):
        return "99"

    def break_store(self):
        self.fake.fail(BackendUnavailable("connection refused", hint="start the store"))

    def heal_store(self):
        self.fake.heal()


class TestFakeBackendUnderAnotherName(TestFakeBackend):
    @pytest.fixture
    def backend(self):
        self.fake = FakeBackend.with_scheme("fake-two")("second")
        return self.fake
