"""Signing and verifying: what the scripts ask of the tools; and with the real ones, where they are."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .tools import SECURITY, need, run

DIGEST = "sha256:" + "0" * 64
IMAGE = f"registry.example/sidecar@{DIGEST}"
USAGE = 2
NOT_INSTALLED = 3


def script(name: str) -> Path:
    return SECURITY / f"{name}.sh"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A PATH on which there is neither cosign nor notation."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "cat", "sed", "grep", "mktemp", "mkdir", "cp", "rm", "env"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def stand_in(place: Path, name: str, code: int = 0, more: str = "") -> Path:
    """Put a program there that writes down how it was called."""
    record = place / f"{name}.calls"
    body = f'printf "%s\\n" "$*" >> {record}\n{more}\nexit {code}'
    (place / name).write_text(f"#!{place}/bash\n{body}\n")
    (place / name).chmod(0o755)
    return record


def call(place: Path, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run([script(name), *arguments], env={"PATH": str(place)})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("cosign-sign", ["--key", "k", IMAGE]),
        ("cosign-verify", ["--key", "k", IMAGE]),
        ("notation-sign", ["--key", "k", IMAGE]),
        ("notation-verify", ["--certificate", "/dev/null", IMAGE]),
    ],
)
def test_a_missing_tool_is_told_and_never_a_success(
    place: Path, name: str, arguments: list[str]
) -> None:
    done = call(place, name, *arguments)
    assert done.returncode == NOT_INSTALLED
    assert "is not installed" in done.stderr


@pytest.mark.parametrize("name", ["cosign-sign", "notation-sign"])
def test_a_tag_is_not_signed(place: Path, name: str) -> None:
    stand_in(place, "cosign")
    stand_in(place, "notation")
    done = call(place, name, "--key", "k", "registry.example/sidecar:latest")
    assert done.returncode == USAGE
    assert "digest" in done.stderr
    assert not list(place.glob("*.calls"))


def test_the_passphrase_is_neither_an_argument_nor_in_an_environment(
    place: Path, tmp_path: Path
) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("a passphrase of the tests")
    got = tmp_path / "got"
    record = stand_in(place, "cosign", more=f"cat > {got}; env >> {got}.env")
    (tmp_path / "sbom").write_text("{}")
    done = call(
        place, "cosign-sign", "--key", "k", "--passphrase-file", passphrase, "--sbom", "s", IMAGE
    )
    assert done.returncode == 0, done.stderr
    assert got.read_text() == "a passphrase of the tests"
    assert "a passphrase" not in record.read_text() + Path(f"{got}.env").read_text()
    calls = record.read_text().splitlines()
    assert calls[-2].startswith("sign --yes --key k --tlog-upload=false")
    assert calls[-1].startswith("attest --yes --key k --tlog-upload=false")
    assert all(call.endswith(IMAGE) for call in calls[-2:])


def test_a_release_is_verified_by_who_signed_it(place: Path) -> None:
    record = stand_in(place, "cosign")
    done = call(place, "cosign-verify", "--repository", "some.one/project", IMAGE)
    assert done.returncode == 0, done.stderr
    pattern = re.search(r"--certificate-identity-regexp (\S+)", record.read_text())
    assert pattern
    who = "https://github.com/{}/.github/workflows/release.yml@refs/tags/v1.0.0"
    assert re.match(pattern[1], who.format("some.one/project"))
    assert not re.match(pattern[1], who.format("someXone/project"))
    assert not re.match(pattern[1], who.format("x/some.one/project"))
    assert not re.match(
        pattern[1], "https://github.com/some.one/project/.github/workflows/ci.yml@refs/tags/v1"
    )
    assert "--insecure-ignore-tlog" not in record.read_text()


@pytest.mark.parametrize("name", ["cosign", "notation"])
def test_what_is_not_verified_fails(place: Path, name: str, tmp_path: Path) -> None:
    stand_in(place, name, code=9)
    certificate = tmp_path / "ca.pem"
    certificate.write_text("")
    arguments = ["--key", "k"] if name == "cosign" else ["--certificate", certificate]
    done = call(place, f"{name}-verify", *arguments, IMAGE)
    assert done.returncode == 1
    assert "verified:" not in done.stdout


def test_notation_verifies_strictly_and_with_no_policy_of_the_user(
    place: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "policy"
    more = f'cat "$XDG_CONFIG_HOME/notation/trustpolicy.json" > {kept}'
    stand_in(place, "notation", more=more)
    certificate = tmp_path / "ca.pem"
    certificate.write_text("-----BEGIN CERTIFICATE-----\n")
    done = call(
        place,
        "notation-verify",
        *["--certificate", certificate, "--identity", "x509.subject: C=EU, O=Example"],
        IMAGE,
    )
    assert done.returncode == 0, done.stderr
    policy = json.loads(kept.read_text())["trustPolicies"][0]
    assert policy["signatureVerification"] == {"level": "strict"}
    assert policy["trustedIdentities"] == ["x509.subject: C=EU, O=Example"]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry on loopback, of this test alone."""
    need("docker-registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    configuration = tmp_path / "registry.yml"
    configuration.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/store}}}}\n"
        f"http: {{addr: '{address}'}}\nlog: {{level: error}}\n"
    )
    server = subprocess.Popen(
        ["docker-registry", "serve", str(configuration)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            host, port = address.split(":")
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    break
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def push(registry: str) -> str:
    """Put the smallest image there is into a registry, and return its name with the digest."""

    def digest(data: bytes) -> str:
        return "sha256:" + hashlib.sha256(data).hexdigest()

    def send(method: str, url: str, data: bytes, kind: str) -> str:
        request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.headers.get("Location", ""))

    blob = b'{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'
    base = f"http://{registry}/v2/sidecar"
    there = send("POST", f"{base}/blobs/uploads/", b"", "application/octet-stream")
    mark = "&" if "?" in there else "?"
    send("PUT", f"{there}{mark}digest={digest(blob)}", blob, "application/octet-stream")
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(blob),
                "size": len(blob),
            },
            "layers": [],
        }
    ).encode()
    send("PUT", f"{base}/manifests/1", manifest, kind)
    return f"{registry}/sidecar@{digest(manifest)}"


def test_cosign_itself_signs_and_refuses_another_key(registry: str, tmp_path: Path) -> None:
    need("cosign")
    image = push(registry)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("a passphrase of the tests")
    for name in ("ours", "theirs"):
        subprocess.run(
            ["cosign", "generate-key-pair", "--output-key-prefix", name],
            input=passphrase.read_bytes(),
            cwd=tmp_path,
            capture_output=True,
            check=True,
        )
    assert run([script("cosign-verify"), "--key", tmp_path / "ours.pub", image]).returncode == 1
    done = run(
        [
            *[script("cosign-sign"), "--key", tmp_path / "ours.key"],
            *["--passphrase-file", passphrase, image],
        ]
    )
    assert done.returncode == 0, done.stderr
    done = run([script("cosign-verify"), "--key", tmp_path / "ours.pub", image])
    assert done.returncode == 0, done.stderr
    assert f"verified: {image}" in done.stdout
    assert run([script("cosign-verify"), "--key", tmp_path / "theirs.pub", image]).returncode == 1


def test_notation_itself_signs_and_refuses_another_authority(registry: str, tmp_path: Path) -> None:
    need("notation")
    # Of this name alone notation takes plain HTTP without being told to.
    image = push(registry).replace("127.0.0.1", "localhost")
    signer = {"XDG_CONFIG_HOME": str(tmp_path / "signer")}
    for name in ("ours", "theirs"):
        made = run(["notation", "cert", "generate-test", name], env=signer)
        assert made.returncode == 0, made.stderr
    keys = tmp_path / "signer" / "notation" / "localkeys"
    ours, theirs = keys / "ours.crt", keys / "theirs.crt"
    done = run([script("notation-verify"), "--certificate", ours, image])
    assert done.returncode == 1
    done = run([script("notation-sign"), "--key", "ours", image], env=signer)
    assert done.returncode == 0, done.stderr
    done = run([script("notation-verify"), "--certificate", ours, image])
    assert done.returncode == 0, done.stderr
    done = run([script("notation-verify"), "--certificate", theirs, image])
    assert done.returncode == 1
    someone = "x509.subject: C=US, ST=WA, O=Somebody else"
    done = run([script("notation-verify"), "--certificate", ours, "--identity", someone, image])
    assert done.returncode == 1
