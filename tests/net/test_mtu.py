# SPDX-License-Identifier: BSD-2-Clause
"""Packets over the MTU of the way out: cut, or answered as a router must."""
import contextlib
import socket

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6PacketTooBig,
                                IPv6ExtHdrFragment)
from scapy.packet import Raw

from lab import wait_for
from packets import IP, UDP, V4, V6, Ether, IPv6, Path, built, udp, udp6
from transfer import transfer


@pytest.fixture
def narrow(lab):
    """1300 bytes between gateway and server."""
    lab.gateway.run("ip link set g1 mtu 1300")
    yield lab
    lab.close_wires()
    lab.gateway.reset()
    lab.gateway.run("ip link set g1 mtu 1500")
    for command in ("ip route flush cache", "ip -6 route flush cache"):
        lab.client.run(command)


HOOKS = pytest.mark.parametrize("hook", [
    ("--mode", "native"), ("--hook", "tc")], ids=lambda words: words[1])


def serve(lab, expression, *words, hook=()):
    lab.gateway.xdivert("attach", "g0", *hook)
    lab.gateway.rule("r", expression, *words)
    lab.gateway.serving()


def answers(path, match, timeout=5):
    """ICMP errors that the client gets."""
    frame = path.client.receive(
        lambda f: f[12:14] in (b"\x08\x00", b"\x86\xdd") and
        match(Ether(f)), timeout)
    return Ether(frame) if frame else None


def is_error(frame):
    return (ICMP in frame and frame[ICMP].type == 3) or \
        ICMPv6PacketTooBig in frame


def test_cut_without_df(narrow):
    path = Path(narrow)
    serve(narrow, "udp", "--do", "set ip.dscp 10")
    sent = built(udp("x" * 1400 + "end", id=5))
    path.send(sent)
    want = built(udp("x" * 1400 + "end", id=5, ttl=63, tos=40))
    got = [path.server.receive(lambda f: f[12:14] == b"\x08\x00" and
                               f[18:20] == b"\x00\x05") for _ in range(2)]
    assert [len(g) for g in got] == [14 + 1300, 14 + 20 + 1431 - 20 - 1280]
    assert got[0][34:] + got[1][34:] == bytes(want)[20:]
    assert [Ether(g).ttl for g in got] == [63, 63]
    stats = narrow.gateway.settled()
    assert stats["diverted"] == stats["completed"] == 1


@pytest.mark.parametrize("sent", [
    udp("x" * 1400, flags="DF"), udp6("x" * 1400)], ids=["IPv4", "IPv6"])
def test_the_sender_is_told(narrow, sent):
    """The answer that the kernel itself gives, but for its length."""
    path = Path(narrow)
    path.send(sent)
    kernels = answers(path, is_error)
    serve(narrow, "udp", "--do", "set udp.dport 77")
    path.send(sent)
    ours = answers(path, is_error)
    quote = bytes(built(sent))[:64]
    for frame in (kernels, ours):
        assert quote in bytes(frame), "the packet as it was sent"
    if IP in sent:
        for field in ("src", "dst", "tos", "ttl"):
            assert getattr(ours[IP], field) == getattr(kernels[IP], field)
        assert (ours[ICMP].type, ours[ICMP].code, ours[ICMP].nexthopmtu) == \
            (kernels[ICMP].type, kernels[ICMP].code,
             kernels[ICMP].nexthopmtu) == (3, 4, 1300)
        check = ours.copy()
        del check[ICMP].chksum
        assert bytes(check) == bytes(ours)
    else:
        assert ours[ICMPv6PacketTooBig].mtu == \
            kernels[ICMPv6PacketTooBig].mtu == 1300
        assert (ours[IPv6].src, ours[IPv6].dst, ours[IPv6].hlim) == \
            (kernels[IPv6].src, kernels[IPv6].dst, kernels[IPv6].hlim)
        check = ours.copy()
        del check[ICMPv6PacketTooBig].cksum
        assert bytes(check) == bytes(ours)
    stats = narrow.gateway.settled()
    assert stats["diverted"] == stats["failed"] == 1
    last = narrow.gateway.completions()[-1]
    assert (last["status"], last["error"]) == (-90, "too big")


def icmp_error(payload):
    return IP(**V4, flags="DF") / ICMP(type=3, code=1) / payload


SILENT = [
    ("an ICMP error", icmp_error("x" * 1400)),
    ("a later fragment", IP(**V4, flags="DF", frag=10, proto=17) /
     Raw("x" * 1400)),
    ("an ICMPv6 error", IPv6(**V6) / ICMPv6DestUnreach() / ("x" * 1400)),
    ("a later fragment of IPv6", IPv6(**V6) /
     IPv6ExtHdrFragment(offset=10, m=1, nh=17, id=3) / Raw("x" * 1400)),
    ("from nobody", IPv6(src="::", dst=V6["dst"]) / UDP() / ("x" * 1400)),
]


@pytest.mark.parametrize("what,sent", SILENT, ids=lambda v: v
                         if isinstance(v, str) else "")
def test_never_in_answer_to(narrow, what, sent):
    """RFC 1122 3.2.2, RFC 4443 2.4. An answer to the next packet comes."""
    path = Path(narrow)
    serve(narrow, "ip or ip6", "--fragment", "yes")
    narrow.gateway.rule("whole", "ip or ip6")
    path.send(sent)
    path.send(udp("y" * 1400, flags="DF", id=4242) if IP in sent else
              udp6("y" * 1400))
    first = answers(path, is_error)
    assert first and b"yyyyyyyy" in bytes(first), first.summary()


def test_no_more_than_a_thousand_a_second(narrow):
    """A flood of them is not answered one by one."""
    path = Path(narrow)
    serve(narrow, "udp")
    frame = bytes(Ether(**path.to_gateway) / udp("x" * 1400, flags="DF"))
    for _ in range(2000):
        path.client.send(frame)
    stats = wait_for(lambda: (s := narrow.gateway.settled())["diverted"] +
                     s["unserved"] == 2000 and s)
    assert stats["failed"] == stats["diverted"] > 200
    count = 0
    while answers(path, is_error, timeout=0.2):
        count += 1
    assert 50 <= count < stats["diverted"]


@pytest.mark.parametrize("address", ["10.0.2.2", "fd00:2::2"])
@HOOKS
def test_path_mtu_discovery_of_tcp(narrow, address, hook):
    """Linux's TCP sets DF, is told, and goes on with smaller segments."""
    serve(narrow, "tcp dst port 8000", "--do", "replace mouse MOUSE",
          hook=hook)
    text = b"a mouse and another mouse. " * 20000
    got = transfer(narrow, address, text)
    assert got.lower() == text and got.count(b"MOUSE") > 35000
    route = narrow.client.run(f"ip route get {address}").stdout
    assert "mtu 1300" in route, route
    stats = narrow.gateway.settled()
    assert 1 <= stats["failed"] < 100
    assert stats["unserved"] == 0
    sizes = [c["len"] for c in narrow.gateway.completions()
             if c["status"] == 0]
    assert max(sizes) == 1300


@pytest.mark.parametrize("address", ["10.0.2.2", "fd00:2::2"])
@HOOKS
def test_path_mtu_discovery_of_udp(narrow, address, hook):
    """A datagram that is fragmented to the old path MTU, and again."""
    serve(narrow, "udp dst port 5000", "--do", "replace mouse MOUSE",
          hook=hook)
    server = narrow.server.udp(address, 5000, timeout=1)
    client = narrow.client.udp(address)
    client.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER
    text = (b"a mouse and another mouse. " * 200)[:5000]

    def arrives():
        client.sendto(text, (address, 5000))
        with contextlib.suppress(TimeoutError):
            return server.recv(65535)
    got = wait_for(arrives, what="the datagram")
    assert got == text.replace(b"mouse", b"MOUSE")
    client.close()
    server.close()
    stats = narrow.gateway.settled()
    # IPv6: the first was too big, its sender was told.
    assert stats["reassembled"] == (2 if ":" in address else 1)


@pytest.fixture
def narrow_route(lab):
    """1000 bytes to the server, 1500 on the interface."""
    lab.gateway.run("ip route add 10.0.2.2/32 dev g1 mtu lock 1000")
    yield lab
    lab.close_wires()
    lab.gateway.reset()
    lab.gateway.run("ip route del 10.0.2.2/32 dev g1")


@HOOKS
def test_the_order_on_a_narrow_route(narrow_route, hook):
    """What is too long for it does not fall behind what follows."""
    lab = narrow_route
    path = Path(lab)
    serve(lab, "udp", hook=hook)
    frames = [bytes(Ether(**path.to_gateway) /
                    udp(f"{n:04}" + "x" * (1400 if n % 3 else 100), id=n))
              for n in range(300)]
    for frame in frames:
        path.client.send(frame)
    first = []
    while len(first) < 300:
        frame = path.server.receive(
            lambda f: f[12:14] == b"\x08\x00" and f[23] == 17 and
            not int.from_bytes(f[20:22], "big") & 0x1fff)
        assert frame, f"{len(first)} arrived"
        first.append(int(frame[42:46]))
    assert first == list(range(300))
    stats = lab.gateway.settled()
    assert stats["completed"] == stats["diverted"] == 300
