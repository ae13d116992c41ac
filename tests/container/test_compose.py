"""The set-ups of sidecar/compose on a real engine: a secret's life, and what a container may do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .compose import Project
from .engine import Docker
from .stores import AwsStore, VaultStore, aws_store, service, vault_store
from .story import digest, until, whole_story

pytestmark = pytest.mark.timeout(400)
FIRST = "the-first-value-5e81"


class Embedded(Project):
    """The embedded store, filled through the image itself."""

    def prepare(self) -> None:
        for name in ("store", "key"):
            (self.folder / name).mkdir(mode=0o700)
            os.chown(self.folder / name, 1001, 1001)
        self("run", "--rm", "-T", "tool", "local", "init")
        self.rotate(FIRST)

    def rotate(self, value: str) -> None:
        self("run", "--rm", "-T", "tool", "local", "set", "app/db", stdin=value)


class DockerSecrets(Project):
    """Files that the engine mounts."""

    def prepare(self) -> None:
        self.private("secrets/db_password", FIRST)
        self.configure("refresh: 30s", "refresh: 1s")

    def rotate(self, value: str) -> None:
        (self.folder / "secrets/db_password").write_text(value)


class Remote(Project):
    """A store in the network ``store``, under a name of its own."""

    store: VaultStore | AwsStore
    name_in_network: str

    def serve(self, store: VaultStore | AwsStore) -> None:
        self.store = store
        self.override(self.name_in_network, **service(store.folder, store.PORT))
        self.override("sidecar", depends_on=[self.name_in_network])

    def rotate(self, value: str) -> None:
        self.store.put(value)

    def stop_store(self) -> None:
        self.docker("kill", self.container(self.name_in_network))
        time.sleep(3)  # long enough for the sidecar to notice

    def start_store(self) -> None:
        self.docker("start", self.container(self.name_in_network))


class Vault(Remote):
    name_in_network = "vault"

    def prepare(self, store: VaultStore) -> None:
        store.put(FIRST)
        self.private("bootstrap/role_id", store.role_id)
        self.private("bootstrap/secret_id", store.secret_id())
        (self.folder / "vault-ca.pem").write_bytes(store.ca_file.read_bytes())
        self.configure("refresh: 30s", "refresh: 1s")
        self.serve(store)


class Aws(Remote):
    name_in_network = "moto"

    def prepare(self, store: AwsStore) -> None:
        store.create(FIRST)
        keys = "aws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = not-a-real-key\n"
        self.private("bootstrap/aws_credentials", f"[default]\n{keys}")
        local = 'endpoint_url: "http://moto:5000", allow_plaintext: true'
        self.configure("{region: eu-west-1}", f"{{region: eu-west-1, {local}}}")
        self.configure("refresh: 1m", "refresh: 1s")
        self.serve(store)


@pytest.fixture(scope="module")
def embedded(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    project = Embedded(docker, tmp_path_factory.mktemp("embedded"), "sidecar/compose/embedded")
    try:
        project.prepare()
        project("up", "-d")
        yield project
    finally:
        project.down()


def test_the_embedded_store_serves_an_application_that_knows_nothing(embedded: Embedded) -> None:
    whole_story(embedded, FIRST)


def test_plain_docker_secrets_reach_the_application(docker: Docker, tmp_path: Path) -> None:
    project = DockerSecrets(docker, tmp_path, "sidecar/compose/docker-secrets")
    project.prepare()
    try:
        project("up", "-d")
        whole_story(project, FIRST)
    finally:
        project.down()


def test_vault_reaches_the_application(docker: Docker, tmp_path: Path) -> None:
    project = Vault(docker, tmp_path, "sidecar/compose/vault")
    with vault_store(tmp_path) as store:
        project.prepare(store)
        try:
            project("up", "-d")
            whole_story(project, FIRST)
        finally:
            project.down()


@pytest.mark.reveals_secrets("log")  # that of the client that fills the store
def test_aws_reaches_the_application(docker: Docker, tmp_path: Path) -> None:
    project = Aws(docker, tmp_path, "sidecar/compose/aws")
    with aws_store(tmp_path) as store:
        project.prepare(store)
        try:
            project("up", "-d")
            whole_story(project, FIRST)
        finally:
            project.down()


def test_the_volume_has_its_flags_in_both_containers(embedded: Embedded) -> None:
    for name in ("sidecar", "app"):
        mounts = embedded.python(name, "print(open('/proc/self/mountinfo').read())").stdout
        (line,) = [line for line in mounts.splitlines() if " /run/secretbridge " in line]
        flags, options = line.split()[5].split(","), line.split()[-1].split(",")
        assert {"noexec", "nosuid", "nodev"} <= set(flags), name
        assert {"size=1024k", "mode=2750", "uid=1001", "gid=20001"} <= set(options)
        if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 4):
            assert "noswap" in options


def test_the_application_can_change_nothing_in_its_mount(embedded: Embedded) -> None:
    for code in (
        "open('/run/secretbridge/..data/db_password', 'w')",
        "open('/run/secretbridge/mine', 'w')",
        "import os; os.unlink('/run/secretbridge/db_password')",
    ):
        assert "Permission denied" in embedded.python("app", code).stderr


def test_a_container_has_no_privilege_and_is_limited(embedded: Embedded) -> None:
    for name in ("sidecar", "app"):
        status = embedded.python(name, "print(open('/proc/1/status').read())").stdout
        found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0, name
        assert found["NoNewPrivs"] == "1"
        assert found["Seccomp"] == "2"
        assert "Read-only file system" in embedded.python(name, "open('/x', 'w')").stderr
        host = embedded.inspect(name)["HostConfig"]
        assert host["Memory"] == host["MemorySwap"] == 128 * 1024 * 1024
        assert host["PidsLimit"] == 64
        assert host["NanoCpus"] == 500_000_000
        assert host["LogConfig"]["Config"]["max-size"] == "5m"


def test_the_sidecar_takes_a_fraction_of_its_memory_limit(embedded: Embedded) -> None:
    sizes = "print(open('/proc/1/status').read())"
    found = dict(
        line.split(":\t", 1)
        for line in embedded.python("sidecar", sizes).stdout.splitlines()
        if ":\t" in line
    )
    # What is resident; for a moment at the start, as the whole process is mapped in, it is more.
    assert int(found["VmRSS"].split()[0]) < 64 * 1024, found["VmRSS"]


def test_an_application_does_not_start_before_its_secrets_are_there(
    docker: Docker, tmp_path: Path
) -> None:
    project = DockerSecrets(docker, tmp_path, "sidecar/compose/docker-secrets")
    project.prepare()
    project.configure("file:db_password", "file:not_there")
    project.override("sidecar", healthcheck={"interval": "1s", "retries": 3, "start_period": "1s"})
    try:
        project("up", "-d", check=False)
        assert project("ps", "-q", "app").strip() == ""
        project.configure("file:not_there", "file:db_password")
        docker("kill", "--signal", "HUP", project.container("sidecar"))
        until(project.is_healthy, "the sidecar takes the corrected configuration")
        project("up", "-d")
        until(lambda: project.read() == digest(FIRST), "the application reads")
    finally:
        project.down()
