# SPDX-License-Identifier: BSD-2-Clause
"""Packets longer than a frame of the UMEM, in and out as they are."""
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess

import pytest
from scapy.layers.inet import ICMP

from lab import KERNEL, wait_for
from packets import IP, UDP, V4, V6, Ether, IPv6, Path, built
from transfer import transfer

MTU = 9000
ENDS = (("client", "c0"), ("gateway", "g0"), ("gateway", "g1"),
        ("server", "s0"))


@pytest.fixture
def jumbo(lab):
    """9000 bytes all the way."""
    for host, ifname in ENDS:
        getattr(lab, host).run(f"ip link set {ifname} mtu {MTU}")
    yield lab
    lab.close_wires()
    lab.gateway.reset()
    for host, ifname in ENDS:
        getattr(lab, host).run(f"ip link set {ifname} mtu 1500")


@pytest.fixture
def hook(request, monkeypatch):
    """The words for attach, of which "old" makes the kernel an older one."""
    if "old" in request.param:
        monkeypatch.setenv("XDIVERT_NO_MULTIBUF", "1")
    elif KERNEL < (6, 6):
        pytest.skip("AF_XDP takes no more than a frame")
    return request.param[:2]


HOOKS = pytest.mark.parametrize("hook", [
    ("--mode", "native"), ("--mode", "generic"), ("--hook", "tc"),
    ("--hook", "tc", "old")], ids=lambda words: "-".join(words[1:]),
    indirect=True)
FAMILIES = pytest.mark.parametrize("family", ["IPv4", "IPv6"])


# Where the XDP hook cannot.
ANY = () if KERNEL >= (6, 6) else ("--hook", "tc")


def serve(lab, expression, *words, hook=ANY):
    lab.gateway.xdivert("attach", "g0", *hook)
    lab.gateway.rule("r", expression, *words)
    lab.gateway.serving()


def packet(family, text, hop=64, tos=0, **ip):
    if family == "IPv4":
        head = IP(**{**V4, "flags": "DF", "ttl": hop, "tos": tos, **ip})
    else:
        head = IPv6(**V6, hlim=hop, tc=tos)
    return built(head / UDP(sport=4000, dport=5000) / text)


def text_of(n, *needles):
    """n bytes, with each needle (offset, bytes) in them."""
    text = bytearray(random.Random(n).randbytes(n))
    for at, needle in needles:
        text[at:at + len(needle)] = needle
    return bytes(text)


def received(path, marker, timeout=5):
    """The frames with that marker, from the gateway."""
    return path.server.receive(lambda f: marker in f, timeout)


@FAMILIES
@HOOKS
@pytest.mark.parametrize("size", [3301, 3800, 3850, 7700, 8900, 8952])
def test_in_and_out(jumbo, family, hook, size):
    """To the byte, with an edit at the very end: no part is lost or moved."""
    path = Path(jumbo)
    serve(jumbo, "udp", "--do", "set ip.dscp 10", "--do",
          "replace needle NEEDLE", hook=hook)
    text = text_of(size, (40, b"needle"), (size - 40, b"needle"))
    path.send(packet(family, text))
    frame = received(path, b"NEEDLE")
    want = text.replace(b"needle", b"NEEDLE")
    assert frame[14:] == bytes(packet(family, want, hop=63, tos=40))
    stats = jumbo.gateway.settled()
    assert stats["diverted"] == stats["completed"] == 1
    assert stats["unserved"] == stats["queue_dropped"] == 0
    assert [c["len"] for c in jumbo.gateway.completions()] == \
        [len(packet(family, text))]


@HOOKS
def test_rules_see_all_of_it(jumbo, hook):
    """Bytes far behind the first frame, and the length."""
    path = Path(jumbo)
    serve(jumbo, "udp[8000] = 0xa5 and len > 8500", "--do", "set ip.dscp 10",
          hook=hook)
    for mark, tos in ((0xa5, 40), (0xa6, 0)):
        text = text_of(8900, (7992, bytes([mark])), (100, b"a-marker"))
        path.send(packet("IPv4", text))
        frame = received(path, b"a-marker")
        assert Ether(frame)[IP].tos == tos
    assert jumbo.gateway.settled()["diverted"] == 1


@HOOKS
def test_order_with_small_ones(jumbo, hook):
    """One flow, every size: they leave in the order in which they came."""
    path = Path(jumbo)
    serve(jumbo, "udp", "--do", "set ip.dscp 10", hook=hook)
    sizes = random.Random(7)
    seen = []
    for n in range(300):
        size = sizes.choice([20, 400, 1400, 3200, 3700, 5000, 8900])
        path.send(packet("IPv4", b"number %05d" % n + bytes(size)))
        # The server's socket holds no more.
        while n % 30 == 29 and len(seen) <= n:
            frame = received(path, b"number ")
            assert frame, f"{len(seen)} of {n + 1} arrived"
            at = frame.index(b"number ")
            seen.append(int(frame[at + 7:at + 12]))
    assert seen == list(range(300))
    stats = jumbo.gateway.settled()
    assert stats["completed"] == 300


@FAMILIES
def test_cut_to_a_small_mtu(jumbo, family):
    """In whole, out in fragments; DF and IPv6 are told the MTU."""
    jumbo.gateway.run("ip link set g1 mtu 1500")
    path = Path(jumbo)
    serve(jumbo, "udp", "--do", "set ip.dscp 10")
    path.send(packet(family, text_of(8000)))
    stats = wait_for(lambda: (s := jumbo.gateway.settled())["failed"] and s)
    assert stats["failed"] == 1
    assert [c["status"] for c in jumbo.gateway.completions()] == [-90]
    answer = path.client.receive(
        lambda f: (f[12:14] == b"\x08\x00" and f[23] == 1 and
                   Ether(f)[ICMP].type == 3) or
        (f[12:14] == b"\x86\xdd" and f[20] == 58 and f[54] == 2))
    assert answer
    if family == "IPv4":
        path.send(packet(family, text_of(8000), flags=0, id=9))
        wait_for(lambda: jumbo.gateway.settled()["completed"] == 1)


@pytest.mark.parametrize("address", ["10.0.2.2", "fd00:2::2"])
@HOOKS
def test_tcp(jumbo, address, hook):
    """Segments of 8,9xx bytes from stack to stack, every byte right."""
    serve(jumbo, "tcp dst port 8000", "--do", "replace mouse MOUSE",
          hook=hook)
    with contextlib.ExitStack() as stack:
        if hook[1] == "generic":
            stack.enter_context(jumbo.client.without_offloads("c0"))
        text = os.urandom(1 << 20).replace(b"mouse", b"") + \
            b"a mouse and another mouse. " * 30000
        got = transfer(jumbo, address, text)
    assert got.lower() == text.lower() and got.count(b"MOUSE") > 55000
    stats = jumbo.gateway.settled()
    assert stats["unserved"] == 0
    assert max(c["len"] for c in jumbo.gateway.completions()) == MTU


def test_next_hop_that_is_resolved_first(jumbo):
    jumbo.gateway.run("ip neigh del 10.0.2.2 dev g1")
    path = Path(jumbo)
    serve(jumbo, "udp", "--do", "replace needle NEEDLE")
    path.send(packet("IPv4", text_of(8900, (5000, b"needle"))))
    assert received(path, b"NEEDLE")
    assert jumbo.gateway.settled()["completed"] == 1
    assert [c["engine"] for c in jumbo.gateway.completions()] == ["neigh"]
    jumbo.gateway.run("ip neigh replace 10.0.2.2 lladdr "
                      f"{jumbo.server.mac('s0')} dev g1 nud permanent")


def test_as_an_older_kernel(jumbo, monkeypatch):
    """A clear error, and with a smaller MTU all is as ever."""
    monkeypatch.setenv("XDIVERT_NO_MULTIBUF", "1")
    for mode in ("native", "generic"):
        done = jumbo.gateway.xdivert("attach", "g0", "--mode", mode,
                                     check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        for word in ("MTU 9000", "6.6", "--hook tc"):
            assert word in done.stderr
    jumbo.gateway.run("ip link set g0 mtu 3328")
    done = jumbo.gateway.xdivert("attach", "g0", check=False)
    assert done.returncode == 1 and "that of its peer" in done.stderr
    jumbo.client.run("ip link set c0 mtu 3328")
    path = Path(jumbo)
    serve(jumbo, "udp", "--do", "set ip.dscp 10", hook=())
    path.send(packet("IPv4", text_of(3300, (9, b"a-marker"))))
    assert Ether(received(path, b"a-marker"))[IP].tos == 40


def test_to_this_host(jumbo):
    """Edited and delivered; what is too long for a frame in fragments."""
    path = Path(jumbo)
    serve(jumbo, "udp", "--layer", "receive", "--do", "replace needle NEEDLE")
    server = jumbo.gateway.udp("10.0.1.1", 5000)
    text = text_of(8900, (5000, b"needle"))
    path.send(packet("IPv4", text, dst="10.0.1.1"))
    assert server.recv(65535) == text.replace(b"needle", b"NEEDLE")
    server.close()


def test_inject(jumbo):
    """From the command line, DF."""
    jumbo.gateway.xdivert("attach", "g0", *ANY)
    path = Path(jumbo)
    whole = packet("IPv4", text_of(8900, (9, b"a-marker")))
    jumbo.gateway.xdivert("inject", "--oif", "g1", "--hex",
                          bytes(whole).hex())
    assert received(path, b"a-marker")[14:] == bytes(whole)


@pytest.fixture
def older(jumbo, monkeypatch):
    """Before 6.6 the rest of a long packet goes beside its frame."""
    monkeypatch.setenv("XDIVERT_NO_MULTIBUF", "1")
    return jumbo


def test_no_room_for_the_rest(older):
    """What the daemon does not fetch in time is unserved, not lost, and all
    that was taken comes out whole.
    """
    path = Path(older)
    serve(older, "udp", "--do", "set ip.dscp 10", hook=("--hook", "tc"))
    daemon = older.gateway.daemons[-1]
    frame = bytes(Ether(**path.to_gateway) / packet("IPv4", text_of(8900)))
    daemon.freeze()
    for _ in range(1600):
        path.client.send(frame)
    wait_for(lambda: older.gateway.stats()["unserved"] > 200)
    os.kill(daemon.pid, signal.SIGCONT)
    stats = wait_for(lambda: (s := older.gateway.settled())["seen"] >= 1600
                     and s)
    assert stats["diverted"] == stats["completed"] == 4096 // 3
    assert stats["queue_dropped"] == 0
    # All of it is free again.
    for _ in range(3):
        text = text_of(8900, (8890, b"needle"))
        path.send(packet("IPv4", text))
    wait_for(lambda: older.gateway.settled()["completed"] ==
             stats["completed"] + 3)


def test_an_mtu_that_grows(older):
    """The tap in use is replaced by one that takes more."""
    for host, ifname in ENDS[:2]:
        getattr(older, host).run(f"ip link set {ifname} mtu 1500")
    path = Path(older)
    serve(older, "udp", "--do", "set ip.dscp 10", hook=("--hook", "tc"))
    path.send(packet("IPv4", text_of(1400, (9, b"a-marker"))))
    assert Ether(received(path, b"a-marker"))[IP].tos == 40
    for host, ifname in ENDS[:2]:
        getattr(older, host).run(f"ip link set {ifname} mtu {MTU}")

    def edited():
        path.send(packet("IPv4", text_of(8900, (9, b"a-marker"))))
        return Ether(received(path, b"a-marker"))[IP].tos == 40
    wait_for(edited)
    path.send(packet("IPv4", text_of(1400, (9, b"a-marker"))))
    assert Ether(received(path, b"a-marker"))[IP].tos == 40


def test_several_workers(older):
    """Each has a tap of its own, and so have its long packets."""
    path = Path(older)
    older.gateway.xdivert("attach", "g0", "--hook", "tc")
    older.gateway.rule("r", "udp", "--do", "replace needle NEEDLE")
    older.gateway.serving("--workers", "2")
    for n in range(64):
        text = text_of(8900 - n, (8800, b"needle"))
        sent = packet("IPv4", text)
        sent[UDP].sport = 1000 + n
        del sent[UDP].chksum
        path.send(sent)
        frame = received(path, b"NEEDLE")
        assert frame[42:] == text.replace(b"needle", b"NEEDLE")
    assert older.gateway.settled()["completed"] == 64


@pytest.mark.parametrize("old", [False, True], ids=["", "old"])
def test_a_longer_mtu_than_any_packet(lab, monkeypatch, old):
    """Loopback's; nobody needs another tap for it."""
    if old:
        monkeypatch.setenv("XDIVERT_NO_MULTIBUF", "1")

    def devices():
        links = json.loads(lab.gateway.run("ip -j link show").stdout)
        return {l["ifindex"] for l in links if l["ifname"].startswith("xdv")}
    lab.gateway.xdivert("attach", "lo", "--hook", "tc")
    lab.gateway.serving()
    before = devices()
    lab.gateway.xdivert("attach", "g0")
    wait_for(lambda: all(i["served"] == i["queues"] for i in
                         lab.gateway.status()["interfaces"]))
    assert devices() == before


@pytest.mark.parametrize("address", ["10.0.2.2", "fd00:2::2"])
@HOOKS
def test_long_fragments(jumbo, address, hook):
    """60,000 bytes in fragments of 8,9xx: edited as one, cut as they were."""
    serve(jumbo, "udp dst port 5000", "--do", "replace needle NEEDLE",
          hook=hook)
    text = text_of(60000, (8980, b"needle"), (59990, b"needle"))
    server = jumbo.server.udp(address, 5000)
    client = jumbo.client.udp(address)
    wire = jumbo.wire(jumbo.server, "s0")
    client.sendto(text, (address, 5000))
    assert server.recv(65535) == text.replace(b"needle", b"NEEDLE")
    client.close()
    server.close()
    longest = max(len(wire.receive(lambda f: f[12:14] in
                                   (b"\x08\x00", b"\x86\xdd")))
                  for _ in range(7))
    assert 8900 < longest <= MTU + 14
    assert jumbo.gateway.settled()["reassembled"] == 1


def test_segments_stay_segments(older):
    """Some old kernels have GRO on where the tap's packets come by."""
    serve(older, "tcp dst port 8000", hook=("--hook", "tc"))
    on = 0
    for fd in pathlib.Path(f"/proc/{older.gateway.daemons[-1].pid}/fd").iterdir():
        if os.readlink(fd).startswith("net:"):
            on += subprocess.run(
                ["nsenter", f"--net={fd}", "ethtool", "-K", "peer", "gro",
                 "on"], check=False, capture_output=True).returncode == 0
    assert on
    text = os.urandom(1 << 20)
    assert transfer(older, "10.0.2.2", text) == text
    stats = older.gateway.settled()
    assert stats["queue_dropped"] == stats["failed"] == 0
