"""Orders to the sidecar from users who may not give them. On a loopback port, anybody may."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from secretbridge_sidecar.client import ask
from secretbridge_sidecar.routes import Answer, Peer, Question, Route, Standing, respond
from tests.integration.place import CANARY, Place, memory_directory

STRANGER, MEMBER, GROUP, OTHER = 4242, 4243, 4250, 4244
ORDERS = ("freeze", "unfreeze", "rollback")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")

CLIENT = """
import json, os, sys
from secretbridge_sidecar.client import ask
"".encode("idna")  # loaded now: another user may not be allowed to read the library
uid, groups, address, orders = json.loads(sys.argv[1])
os.setgroups(groups); os.setgid(uid); os.setuid(uid)
address = address if isinstance(address, str) else tuple(address)
for path, body in orders:
    print(json.dumps(ask(address, path, order=body)))
"""


def as_user(uid, groups, address, *orders):
    """Give ``orders`` as another user; return status and answer of each."""
    told = json.dumps([uid, groups, address, orders])
    result = subprocess.run(
        [sys.executable, "-c", CLIENT, told], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return [tuple(json.loads(line)) for line in result.stdout.splitlines()]


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(dir=memory_directory()) as root:
        place = Place(Path(root))
        os.chown(place.root, 0, GROUP)
        place.root.chmod(0o2755)  # the socket gets the group of its directory
        place.configure(wait_ack={"consumers": ["web", {"name": "worker", "user": MEMBER}]})
        place.start()
        yield place
        place.stop()


def test_weak_a_loopback_port_cannot_tell_who_freezes():
    done = []
    offered = {
        "/freeze": Route(
            "POST", Standing.OPERATOR, lambda question: done.append(1) or Answer.of(200, {})
        )
    }

    class Weak(BaseHTTPRequestHandler):
        def do_POST(self):
            # What is left to believe where the kernel says nothing: that everybody is a friend.
            answer = respond(offered, Question("POST", self.path, Peer(Standing.OPERATOR)))
            self.send_response(answer.status)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Weak) as server:
        threading.Thread(target=server.handle_request).start()
        address = list(server.server_address)
        assert as_user(STRANGER, [], address, ("/freeze", {})) == [(200, {})]
    assert done


def test_a_stranger_is_refused_even_if_the_socket_is_open_to_all(place):
    place.socket.chmod(0o666)
    generation = os.readlink(place.target / "..data")
    answers = as_user(
        STRANGER,
        [],
        str(place.socket),
        *((f"/{order}", {}) for order in ORDERS),
        ("/ack", {"consumer": "web", "generation": generation}),
        ("/nothing", {}),
    )
    assert [status for status, _ in answers] == [403] * 5
    status = place.status()
    assert status["frozen"] is None
    assert [row["generation"] for row in status["consumers"]] == [None, None]


def test_without_rights_to_the_socket_nobody_gets_that_far(place):
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            CLIENT,
            json.dumps([STRANGER, [], str(place.socket), [["/freeze", {}]]]),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PermissionError" in result.stderr


def test_a_member_of_the_group_may_acknowledge_and_look_but_neither_freeze_nor_roll_back(place):
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    generation = os.readlink(place.target / "..data")
    answers = as_user(
        MEMBER,
        [GROUP],
        str(place.socket),
        *((f"/{order}", {}) for order in ORDERS),
        ("/ack", {"consumer": "web", "generation": generation}),
    )
    assert [status for status, _ in answers] == [403, 403, 403, 200]
    status = place.status()
    assert status["frozen"] is None
    assert status["generation"] == generation
    (row, _) = status["consumers"]
    assert (row["generation"], row["uid"], row["gid"]) == (generation, MEMBER, MEMBER)
    assert row["pid"] is not None


def test_a_member_of_the_group_cannot_acknowledge_for_a_consumer_of_another_user(place):
    ack = ("/ack", {"consumer": "worker", "generation": os.readlink(place.target / "..data")})
    [(status, answer)] = as_user(OTHER, [GROUP], str(place.socket), ack)
    assert (status, answer["error"]) == (403, f"only user {MEMBER} may acknowledge as worker")
    assert [s for s, _ in as_user(MEMBER, [GROUP], str(place.socket), ack)] == [200]


def test_a_question_does_not_give_an_order(place):
    for order in ORDERS:
        assert ask(str(place.socket), f"/{order}")[0] == 405
        assert ask(str(place.socket), f"/{order}?x", order={})[0] in (200, 409)
    assert place.status()["frozen"] is None
