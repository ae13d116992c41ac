"""Profiles and rules for other people's machines: each is read by the tool that will read it there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .tools import SECURITY, need, need_root, run

APPARMOR = sorted((SECURITY / "apparmor").iterdir())
SELINUX = SECURITY / "selinux"
NFTABLES = SECURITY / "nftables" / "secretbridge.nft"
FALCO = SECURITY / "falco" / "secretbridge_rules.yaml"


@pytest.mark.parametrize("profile", APPARMOR, ids=lambda path: path.name)
def test_an_apparmor_profile_compiles(profile: Path) -> None:
    need("apparmor_parser")
    done = run(["apparmor_parser", "-Q", "-K", profile])
    assert done.returncode == 0, done.stderr
    broken = profile.read_text().replace("deny ptrace,", "deny ptrace")
    done = subprocess.run(
        ["apparmor_parser", "-Q", "-K"], input=broken, text=True, capture_output=True, check=False
    )
    assert done.returncode != 0, "the parser takes anything"


def test_the_profiles_are_named_as_their_files_and_refuse_what_they_are_for() -> None:
    for profile in APPARMOR:
        text = profile.read_text()
        assert f"profile {profile.name} " in text
        assert {"deny capability,", "deny ptrace,", "deny mount,"} <= set(
            re.findall(r"^  (deny [a-z]+,)", text, re.MULTILINE)
        )
    reader = (SECURITY / "apparmor" / "secretbridge-reader").read_text()
    assert "deny /run/secretbridge/** wlkx," in reader


def compiled(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    module = folder / "secretbridge.te"
    module.write_text(source)
    return run(["checkmodule", "-M", "-m", "-o", folder / "secretbridge.mod", module])


def test_the_selinux_module_compiles_and_is_packed(tmp_path: Path) -> None:
    need("checkmodule", "semodule_package")
    done = compiled((SELINUX / "secretbridge.te").read_text(), tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    package = tmp_path / "secretbridge.pp"
    command = ["semodule_package", "-o", package, "-m", tmp_path / "secretbridge.mod"]
    done = run([*command, "-f", SELINUX / "secretbridge.fc"])
    assert done.returncode == 0, done.stderr
    assert b"secretbridge_secret_t" in package.read_bytes()


def test_a_reader_that_may_write_contradicts_the_selinux_module(tmp_path: Path) -> None:
    text = (SELINUX / "secretbridge.te").read_text()
    granted = set(re.findall(r"^allow secretbridge_reader_t \S+:file \{ (.*?) \}", text, re.M))
    forbidden = re.search(r"^neverallow secretbridge_reader_t \S+:file \{ (.*?) \}", text, re.M)
    assert forbidden
    assert granted == {"getattr open read"}
    assert {"write", "execute", "unlink", "create"} <= set(forbidden[1].split())


def test_the_selinux_interfaces_compile_in_a_module_that_calls_them(tmp_path: Path) -> None:
    need("checkmodule")
    interfaces = (SELINUX / "secretbridge.if").read_text()
    bodies = re.findall(
        r"^interface\(`(\w+)',`\n\tgen_require\(`\n(.*?)\n\t'\)\n(.*?)^'\)",
        interfaces,
        re.MULTILINE | re.DOTALL,
    )
    assert {name for name, *_ in bodies} == {
        "secretbridge_read_secrets",
        "secretbridge_ask_sidecar",
    }
    for _, required, rules in bodies:
        source = f"module secretbridge 1.0;\nrequire {{\ntype app_t;\n{required}\n}}\n"
        done = compiled(source + rules.replace("$1", "app_t"), tmp_path)
        assert done.returncode == 0, done.stderr + done.stdout


RULES = list(yaml.safe_load(FALCO.read_text()))


def test_the_falco_rules_have_all_parts_and_name_only_what_is_defined() -> None:
    lists = {item["list"] for item in RULES if "list" in item}
    macros = {item["macro"] for item in RULES if "macro" in item}
    rules = [item for item in RULES if "rule" in item]
    assert len(rules) >= 6
    for rule in rules:
        assert set(rule) == {"rule", "desc", "condition", "output", "priority", "tags"}
        assert rule["priority"] in ("CRITICAL", "WARNING")
        assert "secretbridge" in rule["tags"]
        # What was read or written never stands in an alert.
        assert "%evt.buffer" not in rule["output"]
        assert "%evt.args" not in rule["output"]
        used = set(re.findall(r"\bsecretbridge_\w+", rule["condition"]))
        assert used <= lists | macros, rule["rule"]
    used = {
        name
        for item in RULES
        for name in re.findall(r"\bsecretbridge_\w+", item.get("condition", ""))
    }
    assert used == lists | macros


def expanded(condition: str) -> str:
    """Return the condition as the engine sees it, without macros and lists."""
    macros = {item["macro"]: item["condition"] for item in RULES if "macro" in item}
    lists = {item["list"]: ", ".join(map(str, item["items"])) for item in RULES if "list" in item}
    for _ in range(3):
        for name, text in macros.items():
            condition = re.sub(rf"\b{name}\b", f"({text})", condition)
    for name, text in lists.items():
        condition = re.sub(rf"\b{name}\b", text, condition)
    return " ".join(condition.split())


def says_sysdig(condition: str) -> str:
    """Return what the parser of the filters that Falco uses as well says about one."""
    done = run(["sysdig", "-r", "/nonexistent.scap", condition], seconds=60)
    return done.stdout + done.stderr


def test_the_falco_conditions_are_read_by_the_parser_of_the_filters() -> None:
    need("sysdig")
    if "filter error" not in says_sysdig("fd.nonsense=3"):
        pytest.skip("this sysdig opens its capture before it reads a filter")
    for rule in RULES:
        if "rule" in rule:
            assert "filter error" not in says_sysdig(expanded(rule["condition"])), rule["rule"]


def test_the_nftables_example_is_read_by_nft() -> None:
    need("nft", "unshare")
    need_root()
    done = run(["unshare", "--net", "--", "nft", "--check", "--file", NFTABLES])
    assert done.returncode == 0, done.stderr


REACH = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
try:
    socket.create_connection((address, port), timeout=1.5).close()
except OSError as error:
    sys.exit(type(error).__name__)
print("reached")
"""

LISTEN = """
import socket, sys, time
kept = [socket.create_server(("", int(port))) for port in sys.argv[1:]]
print("listening", flush=True)
time.sleep(90)
"""


class Net:
    """Two network namespaces with a wire between them; one has the rules, the other the servers."""

    def __init__(self, near: str, far: str) -> None:
        self.near, self.far = near, far

    def reach(self, address: str, port: int, uid: int) -> str:
        command = ["ip", "netns", "exec", self.near, "setpriv", f"--reuid={uid}", "--clear-groups"]
        done = run([*command, sys.executable, "-I", "-c", REACH, address, port])
        return done.stdout.strip() or done.stderr.strip()


@pytest.fixture
def net() -> Iterator[Net]:
    need_root()
    need("nft", "ip", "setpriv")
    found = Net(f"sbx-near-{os.getpid()}", f"sbx-far-{os.getpid()}")
    server: subprocess.Popen[str] | None = None
    try:
        for name in (found.near, found.far):
            done = run(["ip", "netns", "add", name])
            if done.returncode:
                pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
        for command in (
            f"ip link add wire netns {found.near} type veth peer name wire netns {found.far}",
            f"ip -n {found.near} addr add 192.0.2.1/24 dev wire",
            f"ip -n {found.far} addr add 192.0.2.10/24 dev wire",
            f"ip -n {found.far} addr add 192.0.2.11/24 dev wire",
            f"ip -n {found.near} link set wire up",
            f"ip -n {found.near} link set lo up",
            f"ip -n {found.far} link set wire up",
            f"ip -n {found.far} link set lo up",
        ):
            done = run(command.split())
            assert done.returncode == 0, f"{command}: {done.stderr}"
        server = subprocess.Popen(
            ["ip", "netns", "exec", found.far, sys.executable, "-I", "-c", LISTEN, "8200", "443"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout
        assert server.stdout.readline() == "listening\n"
        yield found
    finally:
        if server:
            server.kill()
            server.wait()
        for name in (found.near, found.far):
            run(["ip", "netns", "delete", name])


def test_the_sidecar_reaches_its_store_and_nothing_else(net: Net) -> None:
    sidecar, other = 1001, 65534
    assert net.reach("192.0.2.11", 443, sidecar) == "reached"  # before
    done = run(["ip", "netns", "exec", net.near, "nft", "--file", NFTABLES])
    assert done.returncode == 0, done.stderr
    assert net.reach("192.0.2.10", 8200, sidecar) == "reached"
    assert net.reach("192.0.2.10", 443, sidecar) == "TimeoutError"
    assert net.reach("192.0.2.11", 8200, sidecar) == "TimeoutError"
    assert net.reach("192.0.2.11", 443, other) == "reached"
    counted = run(
        [
            "ip",
            "netns",
            "exec",
            net.near,
            "nft",
            "list",
            "counter",
            "inet",
            "secretbridge",
            "refused",
        ]
    )
    assert int(re.search(r"packets (\d+)", counted.stdout)[1]) >= 2  # type: ignore[index]
