# SPDX-License-Identifier: BSD-2-Clause
"""Every kind of interface as a target: to the byte, and with real clients."""
import os
import struct

import pytest
from scapy.layers.l2 import Ether

from clients import iperf, ping, steady
from lab import XDIVERT
from packets import IP, UDP, IPv6, Path, udp
from targets import IFB_RATE, Target
from transfer import transfer

HOOKS = ["xdp", "tc"]
FAST = {"live", "port"}
# Kind, and by which engine it is reached once it is known.
KINDS = [("veth-gro", FAST), ("veth-xdp", FAST), ("veth", {"neigh"}),
         ("tap", FAST), ("tun", {"neigh"}), ("bridge", {"neigh"}),
         ("macvlan", {"neigh"}), ("vxlan", {"neigh"}), ("ifb", {"neigh"})]
# Two NICs that somebody has connected (tests/vm/run does).
if "XDIVERT_NICS" in os.environ:
    KINDS.append(("nic", {"neigh"}))
NET8 = dict(dst="10.0.8.2")
SENT = 0
FATE_UNKNOWN = -110


@pytest.fixture(params=KINDS, ids=lambda kind: kind[0])
def target(lab, request):
    kind, engines = request.param
    lab.server.xdivert = lambda *w: lab.server.run([XDIVERT, *w])
    target = Target(lab, kind)
    target.engines = engines
    # TC takes it before the device: it arrives, but nobody can say so.
    target.status = FATE_UNKNOWN if kind == "ifb" else SENT
    yield target
    # While the target is there: the accounting names it.
    lab.gateway.check_accounting()
    target.close()


def serve(target, hook, expression, *words):
    """What comes in by the client's link is diverted, all of it or nothing:
    a packet that could not be served must not arrive all the same.
    """
    gateway = target.gateway
    gateway.xdivert("attach", "g0", "--hook", hook, "--fail", "closed")
    gateway.rule("all", expression, *words)
    return gateway.serving()


def closed_books(target):
    """Nothing was dropped on the way; how many packets were diverted."""
    total = target.gateway.check_accounting()
    assert total["unserved"] == total["queue_dropped"] == 0, total
    fate = "failed" if target.status else "completed"
    assert total[fate] == total["injected"] == total["diverted"], total
    return total["diverted"]


def packet(text, **ip):
    return IP(**{"src": "10.0.8.1", **NET8, **ip}) / \
        UDP(sport=1, dport=2) / text


def packet6(text):
    return IPv6(src="fd00:8::1", dst="fd00:8::2") / \
        UDP(sport=1, dport=2) / text


def frame_of(target, sent):
    """What the server must see."""
    if target.kind == "tun":
        return bytes(sent)
    return bytes(Ether(src=target.gateway.mac("t0"),
                       dst=target.server.mac("u0")) / sent)


def inject(target, sent, *words):
    return target.gateway.xdivert("inject", "--oif", "t0", "--hex",
                                  bytes(sent).hex(), *words, check=False)


def check_engines(target):
    """The first of each asked for its neighbour, all the rest did not."""
    records = [c for c in target.gateway.completions() if c["ifname"] == "t0"]
    assert {c["status"] for c in records} == {target.status}, records
    assert records[-1]["engine"] in target.engines, records[-1]
    rows = target.gateway.status()["targets"]
    row, = [r for r in rows if r["ifname"] == "t0"]
    if target.engines == FAST:
        assert (row["engine"], row["why"]) == ("live", "")
    else:
        assert row["engine"] == "neigh" and "XDP frames" in row["why"]


def test_inject(lab, target):
    """The first packet resolves the neighbour and arrives as well."""
    target.gateway.xdivert("attach", "g0")
    wire = lab.wire(lab.server, "u0")
    for i in range(3):
        for sent in (packet(f"to-any-target-{i}!", ttl=1),
                     packet6(f"to-any-target-{i}!!")):
            done = inject(target, sent)
            assert done.returncode == bool(target.status), \
                done.stdout + done.stderr
            text = bytes(sent)[-16:]
            frame = wire.receive(lambda f, text=text: text in f)
            assert frame == frame_of(target, sent)
    check_engines(target)


def test_inject_via_stack(lab, target):
    target.gateway.xdivert("attach", "g0")
    wire = lab.wire(lab.server, "u0")
    for text in ("because-asked-for", "because-asked-2nd"):
        done = inject(target, packet(text), "--via-stack")
        assert done.returncode == bool(target.status), done.stderr
        frame = wire.receive(lambda f, text=text: text.encode() in f)
        assert frame == frame_of(target, packet(text))
    assert {c["engine"] for c in target.gateway.completions()} == {"neigh"}


def udp_stream(lab, n):
    """The numbers of n datagrams and one more, in the order of arrival."""
    receiver = lab.server.udp("10.0.8.2", 5000)
    sender = lab.client.udp("10.0.8.2")
    seen = []

    def receive():
        text = receiver.recv(2000)
        number, = struct.unpack("!I", text[:4])
        assert len(text) == 4 + number % 1300
        seen.append(number)
    # The one more would be behind a second of any of those before it.
    for i in range(n + 1):
        sender.sendto(struct.pack("!I", i) + bytes(i % 1300),
                      ("10.0.8.2", 5000))
        # At most so many on their way: this is about order, not capacity.
        while len(seen) < i - 50:
            receive()
    while n not in seen[-1:]:
        receive()
    sender.close()
    receiver.close()
    return seen


@pytest.mark.parametrize("hook", HOOKS)
def test_udp(lab, target, hook):
    """A numbered stream, whose first packets wait for the neighbour: nothing
    lost, doubled or overtaken. Then frame by frame: edited on the way, and
    the same to the byte.
    """
    serve(target, hook, "udp port 5000", "--do", "set ip.dscp 46")
    assert udp_stream(lab, 3000) == list(range(3001))
    assert closed_books(target) == 3001
    client, wire = Path(lab), lab.wire(lab.server, "u0")
    for i in range(20):
        client.send(udp(f"diverted-to-any{i:2}", **NET8))
        frame = wire.receive(lambda f, i=i: b"diverted-to-any%2d" % i in f)
        wanted = udp(f"diverted-to-any{i:2}", ttl=63, tos=46 << 2, **NET8)
        assert frame == frame_of(target, wanted)
    assert closed_books(target) == 3021
    check_engines(target)


@pytest.mark.parametrize("hook", HOOKS)
def test_clients(lab, target, hook):
    """ping, uploads whose every byte is right, and iperf3, which does not
    stall. All that the client sent was diverted.
    """
    daemon = serve(target, hook, "dst net 10.0.8.0/24 or dst net fd00:8::/64")
    text = os.urandom(2 << 20)
    for address in ("10.0.8.2", "fd00:8::2"):
        ping(lab, address, count=20)
        ping(lab, address, count=3, size=1300)
        # Not in the assertion, which would look for the difference.
        right = transfer(lab, address, text) == text
        assert right, address
    size, rate = steady(iperf(lab, "10.0.8.2", seconds=2))
    print(f"{target.kind}, {hook}: {rate / 1e6:.0f} Mbit/s")
    assert rate > 5e6
    if target.kind == "ifb":
        assert rate < IFB_RATE * 1e6, "who is not shaped is not behind the ifb"
    total = target.gateway.check_accounting()
    assert total["unmatched"] < 100 and total["unserved"] == 0, total
    assert total["diverted"] > (size + 2 * len(text)) / 1500, total
    assert total["completed" if target.status == SENT else "failed"] == \
        total["injected"] == total["diverted"], total
    assert daemon.process.poll() is None
