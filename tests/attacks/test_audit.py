"""Attacks on an audit log: forging it, guessing from it, and looking in it for values.

Each first works on a weak log, made in the way that is usual, and then is tried on ours.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretbridge import Broker
from secretbridge.audit import Head, Keys, LogWitness, open_log, read_head, read_key, verify
from secretbridge.testing import FakeBackend

from .test_leaks import CANARY, FORMS

WORDS = ["letmein", "hunter2", "correct horse", "swordfish"]


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder, "audit.log")


class PlainChain:
    """A hash chain without a key, as many logs have: whoever can write can also compute."""

    def __init__(self) -> None:
        self.lines: list[dict[str, str]] = []

    def append(self, text: str) -> None:
        before = self.lines[-1]["mac"] if self.lines else ""
        mac = hashlib.sha256((before + text).encode()).hexdigest()
        self.lines.append({"text": text, "mac": mac})

    def is_whole(self) -> bool:
        before = ""
        for line in self.lines:
            if line["mac"] != hashlib.sha256((before + line["text"]).encode()).hexdigest():
                return False
            before = line["mac"]
        return True


def rechained(lines: list[str]) -> list[str]:
    """Do to our log what works on a plain one: number and link all lines anew, with what is known."""
    found, before = [], "0" * 64
    for number, line in enumerate(lines, 1):
        body = re.sub(r'"seq":\d+', f'"seq":{number}', line.rpartition(',"mac"')[0])
        body = re.sub(r'"prev":"\w+"', f'"prev":"{before}"', body)
        before = hashlib.sha256((before + body).encode()).hexdigest()
        found.append(f'{body},"mac":"{before}"}}')
    return found


def test_who_removes_a_line_and_links_the_rest_anew_is_found(path: Path) -> None:
    weak = PlainChain()
    for text in ("login", "theft", "logout"):
        weak.append(text)
    forged = PlainChain()
    for line in weak.lines:
        if line["text"] != "theft":
            forged.append(line["text"])
    assert forged.is_whole()  # the attack works

    with open_log(str(path)) as log:
        for event in ("startup", "resolve", "shutdown"):
            log.record(event, outcome="success")
    lines = path.read_text().splitlines()
    forgery = rechained([line for line in lines if '"resolve"' not in line])
    path.write_text("".join(f"{line}\n" for line in forgery))
    report = verify([path], read_key(f"{path}.key"))
    assert (report.lines, report.count) == (0, len(forgery))


def test_who_cuts_the_end_off_and_forges_the_head_file_is_found_by_a_head_kept_elsewhere(
    path: Path,
) -> None:
    with open_log(str(path)) as log:
        log.record("startup", outcome="success")
        log.record("resolve", outcome="success")
        elsewhere = log.head
    lines = path.read_text().splitlines(keepends=True)
    kept = lines[:2]
    path.write_text("".join(kept))
    told = json.loads(kept[-1])
    Path(f"{path}.head").write_text(json.dumps({"seq": told["seq"], "mac": told["mac"]}))
    key = read_key(f"{path}.key")
    # Against somebody with the rights of the sidecar, the file beside the log is no help.
    assert verify([path], key, expected=read_head(f"{path}.head")).count == 0
    report = verify([path], key, expected=elsewhere)
    assert [problem.kind for problem in report.problems] == ["truncated"]
    assert verify([path], key, expected=Head(3, "0" * 64)).count == 1


def test_a_password_cannot_be_guessed_from_its_digest(path: Path) -> None:
    weak = hashlib.sha256(b"hunter2").hexdigest()
    assert [word for word in WORDS if hashlib.sha256(word.encode()).hexdigest() == weak]

    with open_log(str(path)) as log:
        log.record("materialize", outcome="success", digest_id=b"hunter2")
    text = path.read_text()
    for word in WORDS:
        guesses = [
            hashlib.new(kind, word.encode()).hexdigest() for kind in ("md5", "sha1", "sha256")
        ]
        guesses.append(Keys(bytes(32)).identify(word).partition(":")[2])
        assert not any(guess in text for guess in guesses)
    assert Keys(read_key(f"{path}.key")).identify("hunter2") in text  # and with the key it is found


@pytest.mark.reveals_secrets
def test_no_spelling_of_a_value_or_of_a_name_is_in_the_log(path: Path) -> None:
    store = FakeBackend()
    locator = "app/canary-place"
    weak: list[str] = []
    with open_log(str(path)) as log:
        witness = LogWitness(log)

        class Careless:
            """What a first version of an access log does."""

            def fetched(self, ids, outcomes, before, seconds) -> None:
                weak.append(
                    json.dumps({"ids": [str(id) for id in ids], "got": str(outcomes[0].body)})
                )
                witness.fetched(ids, outcomes, before, seconds)

            def revoked(self, *told) -> None:
                witness.revoked(*told)

        store.put(locator, CANARY)
        store.lease(locator, 600.0)
        secrets = {"db": f"fake:{locator}#x", "all": f"fake:{locator}"}
        with Broker({"fake": store}, secrets, witness=Careless()) as broker:
            value = broker.get("all")
            broker.resolve(["db"])
            store.rotate(locator, f"{CANARY}-2")
            broker.refresh(timeout=20)
        log.record(
            "materialize",
            outcome="success",
            consumer=CANARY,
            reference_id=f"fake:{locator}",
            digest_id=value.reveal_bytes(),
            backend_version=CANARY,
        )
        for name in ("value", "token", "query"):
            with pytest.raises(TypeError):
                log.record("resolve", outcome="success", **{name: CANARY})
        for name in ("reason_code", "provider", "generation", "request_id", "trace_id"):
            with pytest.raises(TypeError):
                log.record("resolve", outcome="success", **{name: CANARY})
    assert [form for form in FORMS if form in "\n".join(weak).lower().encode()]  # the attack works
    files = b"".join(each.read_bytes() for each in path.parent.iterdir()).lower()
    assert [form for form in FORMS if form in files] == []
    assert b"canary-place" not in files
