# SPDX-License-Identifier: BSD-2-Clause
"""Real clients through both hooks, and layer-3 devices through the TC hook."""
import contextlib
import fcntl
import hashlib
import os
import select
import socket
import struct
import subprocess
import threading

import pytest

from clients import iperf, ping, steady
from packets import ICMP, IP, TCP, UDP, Ether, ICMPv6EchoRequest, IPv6, Path

HOOKS = ["xdp", "tc"]


def serve_both(lab, hook, expression="ip or ip6", *words):
    for ifname in ("g0", "g1"):
        lab.gateway.xdivert("attach", ifname, "--hook", hook, "--fail",
                            "closed")
    lab.gateway.rule("all", expression, *words)
    lab.gateway.daemon()


def closed_books(lab):
    stats = lab.gateway.check_accounting()
    assert stats["failed"] == stats["unserved"] == stats["queue_dropped"] == 0
    assert stats["completed"] == stats["diverted"]
    return stats


@pytest.mark.parametrize("address", ["10.0.2.2", "fd00:2::2"])
@pytest.mark.parametrize("hook", HOOKS)
def test_iperf3_tcp(lab, hook, address):
    """Every packet of both directions diverted; it never stalls."""
    serve_both(lab, hook)
    size, rate = steady(iperf(lab, address, seconds=3))
    print(f"{hook} {address}: {rate / 1e9:.2f} Gbit/s")
    stats = lab.gateway.check_accounting()
    # Whole segments: all of it came through us.
    assert stats["diverted"] > size / 1500
    assert stats["unmatched"] < 100 and stats["failed"] == 0


@pytest.mark.parametrize("hook", HOOKS)
def test_every_byte_over_tcp(lab, hook):
    """With the offloads of containers on at both ends."""
    serve_both(lab, hook)
    text = os.urandom(1 << 20) * 24
    with lab.server.inside():
        listener = socket.create_server(("0.0.0.0", 8000))
    with lab.client.inside():
        out = socket.create_connection(("10.0.2.2", 8000), timeout=20)
    into = listener.accept()[0]
    into.settimeout(20)

    def send():
        out.sendall(text)
        out.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send)
    sender.start()
    got = hashlib.sha256()
    size = 0
    while chunk := into.recv(1 << 16):
        got.update(chunk)
        size += len(chunk)
    sender.join()
    for one in (out, into, listener):
        one.close()
    assert size == len(text)
    assert got.digest() == hashlib.sha256(text).digest()
    stats = lab.gateway.check_accounting()
    assert stats["failed"] == 0
    assert stats["diverted"] > size / 1500


@pytest.mark.parametrize("hook", HOOKS)
def test_udp_stream(lab, hook):
    """Below capacity nothing is lost, doubled or overtaken."""
    serve_both(lab, hook, "udp")
    count = 20000
    into = lab.server.udp("10.0.2.2", 5000, timeout=10)
    out = lab.client.udp("10.0.2.2")
    out.connect(("10.0.2.2", 5000))

    got, room = [], threading.Semaphore(128)

    def receive():
        while len(got) < count:
            got.append(int(into.recv(2000)[:8]))
            room.release()
    receiver = threading.Thread(target=receive)
    receiver.start()
    for i in range(count):
        # No more under way than every queue on the way holds.
        assert room.acquire(timeout=10), f"{len(got)} of {i} arrived"
        out.send(b"%08d" % i + b"x" * (i % 1400))
    receiver.join()
    into.close()
    out.close()
    assert got == list(range(count))
    assert closed_books(lab)["diverted"] == count


@pytest.mark.parametrize("hook", HOOKS)
def test_udp_segmentation_offload(lab, hook):
    """One send of many datagrams, which the kernel leaves to the device."""
    serve_both(lab, hook, "udp")
    into = lab.server.udp("10.0.2.2", 5000)
    out = lab.client.udp("10.0.2.2")
    out.setsockopt(socket.IPPROTO_UDP, 103, 1000)  # UDP_SEGMENT
    out.connect(("10.0.2.2", 5000))
    text = os.urandom(20500)
    out.send(text)
    got = [into.recv(2000) for _ in range(21)]
    out.close()
    into.close()
    assert [len(g) for g in got] == 20 * [1000] + [500]
    assert b"".join(got) == text
    assert closed_books(lab)["diverted"] == 21


@pytest.mark.parametrize("hook", HOOKS)
def test_expressions_reach_the_payload(lab, hook):
    """Of a real sender's packets, whose payload is not beside the headers."""
    lab.gateway.xdivert("attach", "g0", "--hook", hook)
    start = "tcp[((tcp[12:1] & 0xf0) >> 2):4]"
    lab.gateway.rule("get", f"{start} = 0x474f5048")  # GOPH
    lab.gateway.daemon()
    with lab.server.inside():
        listener = socket.create_server(("10.0.2.2", 8000))
    with lab.client.inside():
        out = socket.create_connection(("10.0.2.2", 8000), timeout=20)
    into = listener.accept()[0]
    into.settimeout(10)
    for text in (b"GOPHER, the first", b"gopher, another", b"GOPHER, again"):
        out.sendall(text)
        assert into.recv(100) == text
    for one in (out, into, listener):
        one.close()
    assert closed_books(lab)["diverted"] == 2


@pytest.mark.parametrize("hook", HOOKS)
def test_ping(lab, hook):
    serve_both(lab, hook)
    for address in ("10.0.2.2", "fd00:2::2"):
        ping(lab, address, count=20, size=1400)
    assert closed_books(lab)["diverted"] == 80


def sum_is_right(frame):
    """Does the transport checksum of an IP frame add up?"""
    packet = Ether(frame)
    ip = packet[IP] if IP in packet else packet[IPv6]
    kind = TCP if TCP in packet else UDP
    got = packet[kind].chksum
    del packet[kind].chksum
    return got == Ether(bytes(packet))[kind].chksum and got and len(ip)


def begin_to_talk(lab, address):
    """The client's sockets, of which TCP's has sent its first segment."""
    with lab.client.inside():
        tcp = socket.socket()
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        tcp.connect((address, 9))
    return tcp, udp


@pytest.mark.parametrize("edit", [[], ["--do", "set ip.dscp 5"],
                                  ["--do", "replace gopher turtle"],
                                  ["--do", "set ip.src 10.0.1.77"]],
                         ids=["as-is", "dscp", "payload", "address"])
@pytest.mark.parametrize("hook", HOOKS)
def test_unfinished_checksums(lab, hook, edit):
    """A container's veth leaves them to "hardware": what leaves us is right,
    edited or not, TCP and UDP, and so are fragments.
    """
    features = lab.client.run("ethtool -k c0").stdout
    assert "tx-checksumming: on" in features
    lab.gateway.xdivert("attach", "g0", "--hook", hook)
    lab.gateway.rule("all", "ip src 10.0.1.2", *edit)
    lab.gateway.daemon()
    wire = lab.wire(lab.server, "s0")
    ours = lambda f: f[12:14] == b"\x08\0" and f[26:29] == b"\x0a\0\1"  # noqa
    tcp, udp = begin_to_talk(lab, "10.0.2.2")
    frame = wire.receive(ours)
    assert frame[23] == 6 and sum_is_right(frame)
    for size in (1, 2, 63, 1000):
        udp.sendto(b"gopher" + b"." * size, ("10.0.2.2", 9))
        frame = wire.receive(lambda f: ours(f) and f[23] == 17)
        assert sum_is_right(frame), size
    tcp.close()
    # Fragmented by the sender, whose kernel then sums it up itself.
    into = lab.server.udp("10.0.2.2", 77)
    text = b"gopher" + os.urandom(4000)
    udp.sendto(text, ("10.0.2.2", 77))
    got = into.recv(5000)
    assert got[6:] == text[6:]
    udp.close()
    into.close()


@pytest.mark.parametrize("words", [
    "vxlan id 8 dstport 4789", "vxlan id 8 dstport 4789 udpcsum",
    "geneve id 8", "gre", "ipip"])
@pytest.mark.parametrize("hook", HOOKS)
def test_unfinished_checksums_in_a_tunnel(lab, hook, words):
    """The container's own tunnel leaves those of what it carries so, too."""
    kind, *words = words.split()
    local = "local 10.0.1.2 " if kind != "geneve" else ""
    if lab.client.run(f"ip link add tc0 type {kind} {' '.join(words)} {local}"
                      "remote 10.0.2.2", check=False).returncode:
        pytest.skip(f"this kernel has no {kind} devices")
    lab.client.run("ip addr add 10.0.8.2/24 dev tc0")
    lab.client.run("ip link set tc0 up")
    if kind in ("vxlan", "geneve"):
        lab.client.run("ip neigh replace 10.0.8.9 lladdr 02:00:00:00:00:09 "
                       "dev tc0 nud permanent")
    try:
        lab.gateway.xdivert("attach", "g0", "--hook", hook)
        lab.gateway.rule("all", "ip src 10.0.1.2", "--do", "set ip.dscp 5")
        lab.gateway.daemon()
        wire = lab.wire(lab.server, "s0")

        def inner(number):
            """The next one for 10.0.8.9 of that protocol, from IP on."""
            pattern = bytes([10, 0, 8, 2, 10, 0, 8, 9])
            frame = wire.receive(lambda f: pattern in f and
                                 f[f.index(pattern) - 3] == number)
            return Ether(bytes(12) + b"\x08\0" +
                         frame[frame.index(pattern) - 12:])
        tcp, udp = begin_to_talk(lab, "10.0.8.9")
        assert sum_is_right(bytes(inner(6)))
        for size in (1, 64, 1000):
            udp.sendto(b"gopher" + b"." * size, ("10.0.8.9", 9))
            assert sum_is_right(bytes(inner(17))), size
        tcp.close()
        udp.close()
    finally:
        lab.client.run("ip link del tc0")


# ---- devices without link headers ----

TUNSETIFF, IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x400454ca, 1, 0x1000, 0x4000
TUNSETOFFLOAD = 0x400454d0


class Tun:
    """A tun device of the gateway, 10.0.9.1 and fd00:9::1; we are behind it."""

    def __init__(self, gateway, flags=0):
        self.gateway = gateway
        if not os.path.exists("/dev/net/tun"):
            subprocess.run(["modprobe", "tun"], check=True)
        with gateway.inside():
            self.fd = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(self.fd, TUNSETIFF, struct.pack(
                "16sH22x", b"t0", IFF_TUN | IFF_NO_PI | flags))
        gateway.run("sysctl -qw net.ipv6.conf.t0.router_solicitations=0")
        gateway.run("ip addr add 10.0.9.1/24 dev t0")
        gateway.run("ip addr add fd00:9::1/64 dev t0 nodad")
        gateway.run("ip link set t0 up")

    def send(self, packet):
        os.write(self.fd, bytes(packet))

    def receive(self, wanted, timeout=5):
        while select.select([self.fd], [], [], timeout)[0]:
            packet = os.read(self.fd, 65535)
            if wanted(packet):
                return packet
        return None

    def close(self):
        os.close(self.fd)


@pytest.fixture
def tun(lab):
    device = Tun(lab.gateway)
    yield device
    device.close()


def from_tun(text, **more):
    return IP(src="10.0.9.2", dst="10.0.2.2", **more) / \
        UDP(sport=4000, dport=5000) / text


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
def test_layer_3_device(lab, tun, mode):
    path = Path(lab)
    lab.gateway.xdivert("attach", "t0", "--hook", "tc", "--mode", mode)
    lab.gateway.rule("all", "udp", "--do", "replace gopher turtle")
    lab.gateway.daemon()
    tun.send(from_tun("a gopher from t0"))
    frame = path.arrives(b"a turtle from t0")
    assert frame == bytes(Ether(**path.to_server) /
                          from_tun("a turtle from t0", ttl=63))
    six = IPv6(src="fd00:9::2", dst="fd00:2::2") / UDP(sport=1, dport=2)
    tun.send(six / "a gopher from t0")
    frame = path.arrives(b"a turtle from t0")
    six[IPv6].hlim = 63
    assert frame == bytes(Ether(**path.to_server) / six / "a turtle from t0")
    stats = lab.gateway.check_accounting()
    assert stats["completed"] == stats["diverted"] == 2


@pytest.mark.parametrize("expression,matches", [
    ("ip", True), ("ip6", False), ("udp port 5000", True), ("tcp", False),
    ("src net 10.0.9.0/24", True), ("len = 44", True), ("len > 44", False),
    ("ip[8] = 64", True), ("udp[8:4] = 0x6c696e6b", True), ("arp", False),
    # There is no Ethernet, so nothing can be said of it.
    ("ether host 02:00:00:00:00:01", False), ("vlan 5", False),
])
def test_expressions_without_link_headers(lab, tun, expression, matches):
    """What they say of IP is so here too; len is the IP packet's."""
    path = Path(lab)
    lab.gateway.xdivert("attach", "t0", "--hook", "tc")
    lab.gateway.rule("one", expression, "--do", "set ip.dscp 1")
    lab.gateway.daemon()
    tun.send(from_tun("link headers: no"))
    assert path.arrives(b"link headers: no")[15] == (4 if matches else 0)
    assert lab.gateway.settled()["diverted"] == matches


def test_layer_3_receive(lab, tun):
    """Into the stack of the gateway itself, once."""
    lab.gateway.xdivert("attach", "t0", "--hook", "tc")
    lab.gateway.rule("mine", "icmp or icmp6", "--layer", "receive")
    lab.gateway.daemon()
    tun.send(IP(src="10.0.9.2", dst="10.0.9.1") / ICMP(id=7) / "echo-over-tun")
    assert tun.receive(lambda p: p[0] == 0x45 and b"echo-over-tun" in p)
    tun.send(IPv6(src="fd00:9::2", dst="fd00:9::1") /
             ICMPv6EchoRequest(id=7, data="echo-over-tun"))
    assert tun.receive(lambda p: p[0] == 0x60 and b"echo-over-tun" in p)
    stats = lab.gateway.check_accounting()
    assert stats["diverted"] == stats["completed"] == 2


def test_layer_3_needs_the_tc_hook(lab, tun):
    done = lab.gateway.xdivert("attach", "t0", check=False)
    assert done.returncode == 1 and "--hook tc" in done.stderr


@pytest.mark.parametrize("family", [4, 6])
def test_gso_packet(lab, family):
    """One packet of ten segments is ten packets to callouts, with right
    checksums, and in the books.
    """
    tun = Tun(lab.gateway, IFF_VNET_HDR)
    try:
        path = Path(lab)
        lab.gateway.xdivert("attach", "t0", "--hook", "tc")
        lab.gateway.rule("all", "tcp", "--do", "set ip.dscp 1")
        lab.gateway.daemon()
        text = b"".join(b"%04d" % i * 250 for i in range(10))[:9500]
        ip = IP(src="10.0.9.2", dst="10.0.2.2") if family == 4 else \
            IPv6(src="fd00:9::2", dst="fd00:2::2")
        packet = bytearray(bytes(ip / TCP(sport=1, dport=2, seq=1000, flags="A")
                                 / text))
        header = 20 if family == 4 else 40
        # Needs its checksum: from the TCP header on, at 16 in it.
        gso = struct.pack("<BBHHHH", 1, 1 if family == 4 else 4, header + 20,
                          1000, header, 16)
        pseudo = partial_sum(packet, header)
        packet[header + 16:header + 18] = pseudo
        os.write(tun.fd, gso + bytes(packet))
        got = b""
        for i in range(10):
            frame = path.server.receive(lambda f: f[-4:].isdigit())
            assert frame is not None and sum_is_right(frame)
            tcp = Ether(frame)[TCP]
            assert tcp.seq == 1000 + len(got)
            got += bytes(tcp.payload)
        assert got == text
        stats = closed_books(lab)
        assert stats["diverted"] == 10
    finally:
        tun.close()


def partial_sum(packet, header):
    """The pseudo header's sum, as CHECKSUM_PARTIAL has it."""
    length = len(packet) - header
    words = (packet[12:20] if header == 20 else packet[8:40]) + \
        struct.pack("!II", length, 6)
    total = sum(struct.unpack(f"!{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return struct.pack("!H", total)
