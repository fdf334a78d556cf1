# SPDX-License-Identifier: BSD-2-Clause
"""Packets into another network namespace, from one daemon or one command."""
import os

import pytest

from lab import Host, wait_for
from packets import IP, UDP, Path, udp


class Other(Host):
    """A namespace beside the gateway, from which o0 leads to the server."""

    def __init__(self, lab):
        super().__init__(f"xd{os.getpid()}-o")
        self.lab = lab
        self.connect()

    def connect(self):
        server = self.lab.server
        self.run(f"ip link add o0 type veth peer name o1 netns {server.name}")
        server.run("ethtool -K o1 gro on")
        server.run("ip link set o1 up")
        self.run("sysctl -qw net.ipv4.ip_forward=1")
        self.run("ip addr add 10.0.2.77/24 dev o0")
        self.run("ip link set o0 up")
        self.run(f"ip neigh replace 10.0.2.2 lladdr {server.mac('o1')} "
                 "dev o0 nud permanent")

    def delete(self):
        self.run("ip link del o0", check=False)
        super().delete()


@pytest.fixture
def other(lab):
    lab.gateway.xdivert("attach", "g0")
    host = Other(lab)
    yield host
    if os.path.exists(host.path):
        host.delete()


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_rule_sends_elsewhere(lab, other, by):
    where = other.name if by == "name" else os.stat(other.path).st_ino
    wire = lab.wire(lab.server, "o1")
    lab.gateway.rule("away", "udp", "--to", f"o0@{where}", "--do",
                     "replace home away")
    lab.gateway.daemon()
    path = Path(lab)
    path.send(udp("at-home-and-away"))
    frame = wire.receive(lambda f: b"at-away-and-away" in f)
    assert frame and frame[22] == 63, "decremented once"
    stats = lab.gateway.settled()
    assert (stats["diverted"], stats["completed"]) == (1, 1)
    last = lab.gateway.completions()[-1]
    assert last["ifname"] == \
        f"if{other.ifindex('o0')}@{os.stat(other.path).st_ino}"
    text = lab.gateway.xdivert("rule", "list", "--format", "apply").stdout
    assert f"--to o0@{where}" in text


def test_one_that_goes_and_comes_back(lab, other):
    """The packets are dropped meanwhile, never sent elsewhere; the daemon says
    so once, and lives.
    """
    lab.gateway.rule("away", "udp", "--to", f"o0@{other.name}")
    daemon = lab.gateway.daemon()
    path = Path(lab)
    other.delete()
    for _ in range(3):
        path.send(udp("to-nobody-at-all"))
    assert wait_for(lambda: lab.gateway.settled()["dropped"] == 3)
    line = daemon.process.stderr.readline()
    assert f"--to o0@{other.name}: no compartment" in line
    again = Other(lab)
    try:
        wire = lab.wire(lab.server, "o1")
        path.send(udp("here-we-are-anew"))
        assert wire.receive(lambda f: b"here-we-are-anew" in f)
        stats = lab.gateway.settled()
        assert (stats["dropped"], stats["completed"]) == (3, 1)
    finally:
        again.delete()


def test_inject(lab, other):
    wire = lab.wire(lab.server, "o1")
    sent = IP(src="10.0.2.1", dst="10.0.2.2") / UDP() / "injected-far-away"
    done = lab.gateway.xdivert("inject", "--oif", f"o0@{other.name}", "--hex",
                               bytes(sent).hex())
    assert f"if{other.ifindex('o0')}@" in done.stdout
    frame = wire.receive(lambda f: b"injected-far-away" in f)
    assert frame[14:] == bytes(sent)
    assert lab.gateway.stats()["completed"] == 1


@pytest.mark.parametrize("to, error", [
    ("o0@nosuch", "no compartment 'nosuch'; see 'ip netns'"),
    ("o0@1", "no compartment 1; see 'lsns -t net'"),
    ("nosuch@{}", "nosuch: no such interface in {}"),
    ("g1@{}", "g1: no such interface in {}")])
def test_errors(lab, other, to, error):
    to, error = to.format(other.name), error.format(other.name)
    done = lab.gateway.xdivert("rule", "add", "r", "--filter", "udp", "--to",
                               to, check=False)
    assert done.returncode == 1
    assert error in done.stderr and len(done.stderr.splitlines()) == 1
    done = lab.gateway.xdivert("inject", "--oif", to, "--hex", "45",
                               check=False)
    assert done.returncode == 1
    assert error in done.stderr and len(done.stderr.splitlines()) == 1
