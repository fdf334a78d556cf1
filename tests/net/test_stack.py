# SPDX-License-Identifier: BSD-2-Clause
"""What is particular to the way through the stack: engine neigh."""
import json

import pytest

from lab import XDIVERT, wait_for
from packets import IP, UDP, Ether, Path, udp
from targets import Target


@pytest.fixture
def gateway(lab):
    lab.gateway.xdivert("attach", "g0")
    return lab.gateway


def packet(text, **ip):
    return IP(**{"src": "10.0.2.1", "dst": "10.0.2.2", **ip}) / \
        UDP(sport=1, dport=2) / text


def inject(gateway, sent, *words, oif="g1"):
    return gateway.xdivert("inject", "--oif", oif, "--hex",
                           bytes(sent).hex(), *words, check=False)


def shaped(gateway, ifname, words):
    gateway.run(f"tc qdisc replace dev {ifname} root tbf {words}")


def test_the_qdisc_is_respected(lab, gateway):
    """A shaper's rate, and its drops by name."""
    path = Path(lab)
    shaped(gateway, "g1", "rate 800kbit burst 2k limit 5k")
    try:
        done = inject(gateway, packet("x" * 972), "--via-stack", "--count",
                      "40")
        assert done.returncode == 1
        records = gateway.completions()
        assert len(records) == 40
        dropped = [c for c in records if c["status"]]
        assert {(c["status"], c["error"], c["engine"]) for c in dropped} == \
            {(-105, "queue full", "neigh")}
        # Kernels since 6.13 say more than that a qdisc did it.
        assert {c["reason"] for c in dropped} <= \
            {"QDISC_DROP", "QDISC_OVERLIMIT"}
        # What was sent is what the shaper let through, at its pace.
        sent = [c for c in records if not c["status"]]
        for _ in sent:
            assert path.arrives(b"x" * 900)
        assert not path.arrives(b"x" * 900, timeout=0.1)
        shown = json.loads(gateway.run("tc -s -j qdisc show dev g1").stdout)
        assert shown[0]["drops"] >= len(dropped)
        assert len(sent) >= 6
        assert max(c["latency_ns"] for c in sent) > 30e6, "ten ms a packet"
        # What did not ask for the qdisc does not pass it.
        before = len(records)
        assert inject(gateway, packet("y" * 972), "--count",
                      "40").returncode == 0
        assert "neigh" not in {c["engine"]
                               for c in gateway.completions()[before:]}
    finally:
        gateway.run("tc qdisc del dev g1 root")


def test_a_rule_asks_for_the_qdisc(lab, gateway):
    """Of two rules one; the other's packets are not shaped."""
    path = Path(lab)
    gateway.rule("shaped", "udp port 5000 and ip[8] = 64", "--via-stack")
    gateway.rule("direct", "udp port 5000")
    gateway.daemon()
    shaped(gateway, "g1", "rate 800kbit burst 2k limit 100k")
    try:
        for ttl, engines in ((64, {"neigh"}), (63, {"port", "live"})):
            seen = len(gateway.completions())
            for i in range(10):
                text = f"shaped-or-not-{i:02}"
                path.send(udp(text, ttl=ttl))
                frame = path.arrives(text.encode())
                assert frame == bytes(Ether(**path.to_server) /
                                      udp(text, ttl=ttl - 1))
            gateway.settled()
            records = gateway.completions()[seen:]
            assert len(records) == 10
            assert {c["engine"] for c in records} <= engines
    finally:
        gateway.run("tc qdisc del dev g1 root")


def test_as_many_as_may_be_held(lab, gateway):
    """One packet asks, 128 wait, the rest is refused at once."""
    for _ in range(3):
        seen = len(gateway.completions())
        gateway.run("ip neigh flush to 10.0.2.77")
        done = inject(gateway, packet("x", dst="10.0.2.77"), "--count", "200")
        assert done.returncode == 1
        records = gateway.completions()[seen:]
        fates = [(c["status"], c["reason"]) for c in records]
        # A kernel may keep quiet about what it did, which is said then.
        if (-110, "UNKNOWN") not in fates:
            break
        assert all(status for status, _ in fates)
    assert fates == [(-105, "QUEUE_FULL")] * 71 + \
        [(-113, "NEIGH_FAILED")] * 129
    assert max(c["latency_ns"] for c in records) < 5e9
    assert gateway.check_accounting()["completed"] == 0


def test_taken_by_tc(lab, gateway):
    """To an ifb, which lets it go on: it leaves, but who says so?"""
    path = Path(lab)
    gateway.run("ip link add t0 type ifb")
    gateway.run("ip link set t0 up")
    # It may be there: a filter of ours leaves the qdisc.
    gateway.run("tc qdisc add dev g1 clsact", check=False)
    gateway.run("tc filter add dev g1 egress protocol all u32 match u32 0 0 "
                "action mirred egress redirect dev t0")
    try:
        assert inject(gateway, packet("taken"), "--via-stack").returncode == 1
        last = gateway.completions()[-1]
        assert (last["status"], last["error"], last["reason"]) == \
            (-110, "fate unknown", "CONSUMED"), last
        assert path.arrives(b"taken")
        assert gateway.check_accounting()["failed"] == 1
    finally:
        gateway.run("tc qdisc del dev g1 clsact")
        gateway.run("ip link del t0")


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_hooks_do_not_see_it(lab, gateway, mode):
    """Neither the target's hook nor that of the device below."""
    target = Target(lab, "bridge")
    try:
        gateway.xdivert("attach", "p0", "--mode", mode)
        gateway.xdivert("attach", "t0", "--mode", "generic")
        gateway.rule("all", "udp")
        daemon = gateway.daemon()
        wire = lab.wire(lab.server, "u0")
        for i in range(20):
            text = f"not-seen-by-us-{i:2}"
            assert inject(gateway, packet(text, src="10.0.8.1",
                                          dst="10.0.8.2"),
                          oif="t0").returncode == 0
            assert wire.receive(lambda f, t=text: t.encode() in f)
        total = gateway.check_accounting()
        assert (total["diverted"], total["completed"]) == (0, 20)
        assert daemon.stop() == 0
        # One below the other: not in any order, with a dispatcher.
        gateway.xdivert("detach", "--all")
    finally:
        target.close()


def test_target_is_tried_again(lab, gateway):
    """Some seconds after its peer has learned to take XDP frames."""
    path = Path(lab)
    gateway.rule("all", "udp port 5000")
    gateway.daemon()

    def engine():
        path.expect(udp("which-way-is-it?"), udp("which-way-is-it?", ttl=63))
        gateway.settled()
        return gateway.completions()[-1]["engine"]

    def shown():
        return [(t["ifname"], t["engine"])
                for t in gateway.status()["targets"]]

    assert engine() != "neigh" and shown() == [("g1", "live")]
    lab.server.run("ethtool -K s0 gro off")
    try:
        assert engine() == "neigh" and shown() == [("g1", "neigh")]
        text = gateway.xdivert("status").stdout
        assert "target g1: engine neigh, for " in text, text
        assert "XDP frames" in text
        assert engine() == "neigh"
        lab.server.run("ethtool -K s0 gro on")
        wait_for(lambda: engine() != "neigh", what="live again")
        assert shown() == [("g1", "live")]
        # A change of the link is heard at once.
        lab.server.run("ethtool -K s0 gro off")
        assert engine() == "neigh"
        lab.server.run("ethtool -K s0 gro on")
        gateway.run("ip link set g1 alias anything")
        assert engine() != "neigh"
    finally:
        lab.server.run("ethtool -K s0 gro on")


def test_down_while_it_waits(lab, gateway):
    """What waits for a neighbour when its interface goes down is told so."""
    target = Target(lab, "veth")
    process = gateway.start([XDIVERT, "inject", "--oif", "t0", "--hex",
                             bytes(packet("x", src="10.0.8.1",
                                          dst="10.0.8.77")).hex()])
    try:
        wait_for(lambda: "10.0.8.77" in gateway.run("ip neigh show dev t0")
                 .stdout)
        gateway.run("ip link set t0 down")
        assert process.wait(timeout=20) == 1
        last = gateway.completions()[-1]
        assert (last["status"], last["engine"]) == (-100, "neigh"), last
    finally:
        process.kill()
        process.wait()
        gateway.check_accounting()
        target.close()


def test_ifb(lab, gateway):
    """It throws away what tc did not redirect to it, and says nothing: the
    record says that something took the frame, not that it was sent on.
    """
    gateway.run("ip link add t0 type ifb")
    try:
        gateway.run("ip addr add 10.0.8.1/24 dev t0")
        gateway.run("ip link set t0 up")
        assert inject(gateway, packet("x", src="10.0.8.1", dst="10.0.8.2"),
                      oif="t0").returncode == 0
        last = gateway.completions()[-1]
        assert (last["status"], last["reason"], last["engine"]) == \
            (0, "CONSUMED", "neigh"), last
        # Its qdisc is passed before that.
        shaped(gateway, "t0", "rate 8kbit burst 1600 limit 3000")
        inject(gateway, packet("x" * 1000, src="10.0.8.1", dst="10.0.8.2"),
               "--count", "8", oif="t0")
        shown = json.loads(gateway.run("tc -s -j qdisc show dev t0").stdout)
        dropped = [c for c in gateway.completions() if c["status"]]
        assert 0 < len(dropped) <= shown[0]["drops"]
        gateway.check_accounting()
    finally:
        gateway.run("ip link del t0")


def test_killed_with_frames_in_the_stack(lab, gateway):
    """Nobody sees any more what becomes of them; the books close."""
    process = gateway.start([XDIVERT, "inject", "--oif", "g1", "--hex",
                             bytes(packet("x", dst="10.0.2.78")).hex(),
                             "--count", "5"])
    wait_for(lambda: gateway.stats()["in_flight"] == 5)
    process.kill()
    process.wait()
    total = gateway.check_accounting()
    assert (total["failed"], total["in_flight"]) == (5, 0)


def test_bytes_through_the_stack(lab, gateway):
    """Diverted, with the hop limit decremented once, via a slow neighbour."""
    path = Path(lab)
    gateway.rule("all", "udp port 5000")
    gateway.daemon()
    mac = lab.server.mac("s0")
    try:
        for i in range(10):
            gateway.run("ip neigh del 10.0.2.2 dev g1")
            text = f"neighbour-gone-{i}"
            path.send(udp(text))
            frame = path.arrives(text.encode())
            assert frame == bytes(Ether(**path.to_server) / udp(text, ttl=63))
        gateway.settled()
        records = gateway.completions()
        assert {c["engine"] for c in records} == {"neigh"}
        assert len(records) == 10
    finally:
        gateway.run(f"ip neigh replace 10.0.2.2 lladdr {mac} dev g1 "
                    "nud permanent")
