# SPDX-License-Identifier: BSD-2-Clause
"""Packets that come back are known (contract C18): through a bridge's hairpin,
through a pair of veths, and by way of another gateway on this host.

states.c prints for each packet it gets: the state to its own handle, the state
to a handle that never injected, and the context.
"""
import pathlib

import pytest

from installed import Program, build, prefix  # noqa: F401
from lab import Gateway, wait_for
from packets import Path, udp


@pytest.fixture(scope="module")
def states(prefix, tmp_path_factory):  # noqa: F811
    return build(prefix, pathlib.Path(__file__).with_name("states.c"),
                 tmp_path_factory.mktemp("states") / "states")


def neighbour(host, address, mac, ifname):
    host.run(f"ip neigh replace {address} lladdr {mac} dev {ifname} "
             "nud permanent")


def lines(program, n):
    return [program.stdout.readline().strip() for _ in range(n)]


LOOP = ["not not 0", "self other 5", "self other 5"]


def test_C18_hairpin_of_a_bridge(lab, states):
    """The bridge at the far end sends the frame back where it came from."""
    gateway, server = lab.gateway, lab.server
    gateway.run("ip link add h0 type veth peer name h1 netns "
                f"{server.name}")
    server.run("ip link add br0 type bridge")
    server.run("ip link set h1 master br0")
    server.run("bridge link set dev h1 hairpin on")
    server.run("ethtool -K h1 gro on")
    server.run("ip link set br0 up")
    server.run("ip link set h1 up")
    gateway.run("ip addr add 10.0.7.1/24 dev h0")
    gateway.run("ip link set h0 up")
    neighbour(gateway, "10.0.7.9", gateway.mac("h0"), "h0")
    try:
        gateway.xdivert("attach", "g0")
        gateway.xdivert("attach", "h0")
        gateway.rule("all", "udp port 5000")
        with Program(gateway, states, "5") as program:
            Path(lab).send(udp("round-and-round!", ttl=4, dst="10.0.7.9"))
            assert lines(program, 3) == LOOP
            assert gateway.settled()["returned"] == 2
        gateway.check_accounting()
    finally:
        gateway.run("ip link del h0")
        server.run("ip link del br0")


def test_C18_loop_of_two_veths(lab, states):
    """What leaves through one end comes in at the other, on this host."""
    gateway = lab.gateway
    gateway.run("ip link add la type veth peer name lb")
    gateway.run("ip addr add 10.0.6.1/24 dev la")
    gateway.run("ip link set la up")
    gateway.run("ip link set lb up")
    neighbour(gateway, "10.0.6.9", gateway.mac("lb"), "la")
    try:
        gateway.xdivert("attach", "g0")
        gateway.xdivert("attach", "lb")
        gateway.rule("all", "udp port 5000")
        with Program(gateway, states, "5") as program:
            Path(lab).send(udp("round-and-round!", ttl=4, dst="10.0.6.9"))
            assert lines(program, 3) == LOOP
            assert gateway.settled()["returned"] == 2
        gateway.check_accounting()
    finally:
        gateway.run("ip link del la")


def test_C18_second_gateway(lab, states):
    """The server is a second gateway that sends everything back."""
    first, second = lab.gateway, Gateway.of(lab.server)
    second.run("sysctl -qw net.ipv4.ip_forward=1")
    first.run("ip route add 10.0.5.0/24 via 10.0.2.2")
    second.run("ip route add 10.0.5.0/24 via 10.0.2.1")
    try:
        first.xdivert("attach", "g0")
        first.xdivert("attach", "g1")
        second.xdivert("attach", "s0")
        for gateway in (first, second):
            gateway.rule("all", "udp port 5000")
        with Program(first, states, "5") as one, \
                Program(second, states, "6") as two:
            Path(lab).send(udp("to-and-fro-again", ttl=7, dst="10.0.5.9"))
            assert lines(one, 3) == [
                "not not 0",
                "previously-self previously-other 5",
                "previously-self previously-other 5"]
            assert lines(two, 3) == [
                "other other 0",
                "previously-self previously-other 6",
                "previously-self previously-other 6"]
        for gateway in (first, second):
            gateway.check_accounting()
    finally:
        second.reset()
        first.run("ip route del 10.0.5.0/24")
        second.run("ip route del 10.0.5.0/24")
        second.run("sysctl -qw net.ipv4.ip_forward=0")


def test_C05_context_in_the_record(lab, states):
    """All 64 bits of it, in either form."""
    context = 2 ** 64 - 59
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp port 5000")
    with Program(lab.gateway, states, str(context)) as program:
        Path(lab).send(udp("with-its-context"))
        lines(program, 1)
        lab.gateway.settled()
        record, = lab.gateway.completions()
        assert record["context"] == context
        text = lab.gateway.xdivert("completions").stdout
        assert text.rstrip().endswith(f"context {context}")


def test_C18_repetitions_are_not_returns(lab):
    """The same bytes from the same sender are edited each time, whatever the
    edit makes of their TTL.
    """
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("ttl", "udp", "--do", "set ip.ttl 200")
    lab.gateway.daemon()
    path = Path(lab)
    for _ in range(4):
        path.expect(udp("beat-after-beat!"), udp("beat-after-beat!", ttl=199))
    assert lab.gateway.settled()["returned"] == 0


def test_C18_repetitions_to_this_host(lab):
    """In layer receive no TTL is decremented: repetitions are new packets."""
    lab.gateway.xdivert("attach", "g0")
    words = ("udp dst port 5000", "--layer", "receive")
    lab.gateway.rule("in", *words)
    lab.gateway.daemon()
    path = Path(lab)
    for _ in range(3):
        path.send(udp("beat-after-beat!", dst="10.0.1.1"))
    assert wait_for(lambda: lab.gateway.settled()["completed"] == 3)
    assert lab.gateway.stats()["returned"] == 0
    lab.gateway.xdivert("rule", "del", "in")
    lab.gateway.rule("in", *words, "--do", "drop")
    for _ in range(3):
        path.send(udp("beat-after-beat!", dst="10.0.1.1"))
    assert wait_for(lambda: lab.gateway.settled()["dropped"] == 3)
