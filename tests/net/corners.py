# SPDX-License-Identifier: BSD-2-Clause
"""
Crafted packets, and what a router must do with each. A row:

    name, the rule that says so, frames, way, out, answer

way: "diverted" (a rule that matches all sees it), "whole" (its fragments are
put together first), "kernel" (left to it, counted as unmatched), "unserved"
(left to it although a rule matches). out: what the server gets, SAME being the
packets with one hop less. answer: ICMP type and code that the client gets.
kernel: (out, answer) where the kernel's own forwarding does something else,
which is then said in the name.
"""
from dataclasses import dataclass, field

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,
                                IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN,
                                RouterAlert)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import Ether
from scapy.packet import Raw

V4 = dict(src="10.0.1.2", dst="10.0.2.2")
V6 = dict(src="fd00:1::2", dst="fd00:2::2")
SAME = "same"
TEXT = b"a corner, 0123456789 and more of"  # 32 bytes


@dataclass
class Row:
    name: str
    rule: str
    frames: list  # bytes from the EtherType on, or from the MACs on: whole
    way: str
    out: object = SAME
    answer: tuple = None
    kernel: tuple = None
    late: bool = False  # it takes a timeout
    packets: list = field(default_factory=list)  # without link header


def sum16(data):
    data = bytes(data) + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[i:i + 2], "big")
                for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return 0xffff - total


def fix(packet):
    """IPv4's header checksum, whatever else the header says."""
    packet = bytearray(packet)
    size = max((packet[0] & 15) * 4, 20)
    packet[10:12] = b"\0\0"
    packet[10:12] = sum16(packet[:size]).to_bytes(2, "big")
    return bytes(packet)


def poke(packet, offset, value, fixed=True):
    packet = bytearray(bytes(packet))
    packet[offset:offset + len(value)] = value
    return fix(packet) if fixed and packet[0] >> 4 == 4 else bytes(packet)


def hop(packet):
    """As a router sends it on: RFC 1812 5.3.1, RFC 8200 3; no padding."""
    packet = bytearray(packet)
    if packet[0] >> 4 == 4:
        packet = packet[:int.from_bytes(packet[2:4], "big")]
        packet[8] -= 1
        return fix(packet)
    packet = packet[:40 + int.from_bytes(packet[4:6], "big")]
    packet[7] -= 1
    return bytes(packet)


ROWS = []


def row(name, rule, packet, way, out=SAME, answer=None, **more):
    packets = packet if isinstance(packet, list) else [packet]
    packets = [bytes(p) for p in packets]
    frames = [(b"\x08\x00" if p[0] >> 4 == 4 else b"\x86\xdd") + p
              for p in packets]
    ROWS.append(Row(name, rule, frames, way, out, answer, packets=packets,
                    **more))


def frame(name, rule, data, way, out=(), answer=None, **more):
    """From its EtherType on (or Ether: with MACs of its own)."""
    ROWS.append(Row(name, rule, [data], way, list(out), answer, **more))


def u4(text=TEXT, **ip):
    return IP(**{**V4, "id": 1000, **ip}) / UDP(sport=4000, dport=5000) / text


def u6(text=TEXT, **ip):
    return IPv6(**{**V6, **ip}) / UDP(sport=4000, dport=5000) / text


# ---- IPv4: the header ----

row("IPv4: UDP", "RFC 791", u4(), "diverted")
for n in (0, 1, 7, 17, 18):
    row(f"IPv4: {n} bytes of payload", "RFC 791 3.1",
        IP(**V4, proto=253) / Raw(b"x" * n), "diverted")
for pad in (1, 18, 26, 1000):
    row(f"IPv4: {pad} bytes behind the packet", "RFC 894: padding is no data",
        bytes(u4(b"padded")) + b"\xaa" * pad, "diverted")
for proto in (0, 1, 2, 4, 6, 17, 33, 41, 47, 50, 51, 58, 89, 103, 112, 132,
              136, 253, 255):
    row(f"IPv4: protocol {proto}", "RFC 1812 5.2: forwarding does not look",
        IP(**V4, proto=proto) / Raw(TEXT), "diverted")
for tos in (0x01, 0x02, 0x03, 0xb8, 0xff):
    row(f"IPv4: TOS {tos:#x}", "RFC 2474, RFC 3168", u4(tos=tos), "diverted")
for ttl in (2, 128, 255):
    row(f"IPv4: TTL {ttl}", "RFC 1812 5.3.1", u4(ttl=ttl), "diverted")
for ttl in (0, 1):
    row(f"IPv4: TTL {ttl}", "RFC 1812 5.3.1: the router answers",
        u4(ttl=ttl), "kernel", [], (11, 0))
for bits, name in ((0x4000, "DF"), (0x8000, "the reserved bit")):
    row(f"IPv4: {name}", "RFC 791 3.1, RFC 1812 5.3.3",
        poke(u4(), 6, bits.to_bytes(2, "big")), "diverted")
row("IPv4: identification 0", "RFC 6864", u4(id=0, flags="DF"), "diverted")
row("IPv4: identification 65535", "RFC 6864", u4(id=65535), "diverted")
for version in (0, 5, 6, 15):
    row(f"IPv4's EtherType, version {version}", "RFC 1812 5.2.2",
        [], "kernel", [])
    ROWS[-1].frames = [b"\x08\x00" +
                       poke(u4(), 0, bytes([version << 4 | 5]))]
for ihl in (0, 1, 4):
    row(f"IPv4: header length {ihl * 4}", "RFC 1812 5.2.2",
        poke(u4(), 0, bytes([0x40 | ihl])), "kernel", [])
row("IPv4: header longer than the packet", "RFC 1812 5.2.2",
    poke(IP(**V4, proto=253) / Raw(b"1234"), 0, b"\x4f"), "kernel", [])
for name, length in (("0", 0), ("19", 19), ("one past the frame", 61),
                     ("65535", 65535)):
    row(f"IPv4: total length {name}", "RFC 1812 5.2.2",
        poke(u4(), 2, length.to_bytes(2, "big")), "kernel", [])
for name, change in (("0", b"\0\0"), ("0xffff", b"\xff\xff"),
                     ("1234", b"\x12\x34")):
    row(f"IPv4: header checksum {name}", "RFC 1812 5.2.2",
        poke(u4(), 10, change, fixed=False), "kernel", [])
row("IPv4: shorter than a header", "RFC 1812 5.2.2",
    poke(bytes(u4())[:19], 2, b"\0\x13", fixed=False), "kernel", [])

# ---- IPv4: addresses ----

for source in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "239.255.255.255",
               "255.255.255.255"):
    row(f"IPv4: from {source}", "RFC 1812 5.3.7: martian",
        u4(src=source), "kernel", [])
for source in ("0.0.0.1", "240.0.0.1", "10.9.9.9"):
    row(f"IPv4: from {source}", "Linux forwards it (since 5.3)",
        u4(src=source), "diverted")
# Linux answers a sender once a second: each has one of its own.
row("IPv4: to 0.0.0.1", "RFC 1812 4.3.3.1: no route",
    u4(src="10.0.1.61", dst="0.0.0.1"), "kernel", [], (3, 0))
for target, rule in (("0.0.0.0", "5.3.7"), ("127.0.0.1", "5.3.7"),
                     ("255.255.255.255", "5.3.5.1"), ("10.0.1.255", "5.3.5"),
                     ("224.0.0.1", "5.3.4: left to the kernel"),
                     ("239.1.2.3", "5.3.4: left to the kernel")):
    row(f"IPv4: to {target}", f"RFC 1812 {rule}", u4(dst=target), "kernel",
        [])
row("IPv4: to the next net's broadcast", "RFC 2644: not by default",
    u4(dst="10.0.2.255"), "kernel", [])
row("IPv4: to this host", "layer receive, not forward", u4(dst="10.0.1.1"),
    "kernel", [], (3, 3))
row("IPv4: to this host's other address", "layer receive, not forward",
    u4(dst="10.0.2.1"), "kernel", [], (3, 3))
row("IPv4: no route", "RFC 1812 4.3.3.1", u4(src="10.0.1.62", dst="192.0.2.1"),
    "kernel", [],
    (3, 0))
row("IPv4: unreachable route", "RFC 1812 4.3.3.1",
    u4(src="10.0.1.63", dst="10.0.4.1"), "kernel", [], (3, 1))
row("IPv4: prohibited route", "RFC 1812 5.2.7.1",
    u4(src="10.0.1.64", dst="10.0.5.1"), "kernel", [], (3, 13))
row("IPv4: blackhole route", "ip-route(8): silently", u4(dst="10.0.3.1"),
    "kernel", [])

# ---- IPv4: options ----


def o4(options):
    options = bytes(options)
    options += b"\0" * (-len(options) % 4)
    packet = bytes(IP(**V4, id=1001, proto=17)) + options + \
        bytes(u4())[20:]
    packet = poke(packet, 0, bytes([0x45 + len(options) // 4]), fixed=False)
    return poke(packet, 2, len(packet).to_bytes(2, "big"))


row("IPv4 option: no operation", "RFC 791 3.1", o4([1, 1, 1, 1]), "diverted")
row("IPv4 option: end of list", "RFC 791 3.1", o4([0]), "diverted")
row("IPv4 option: 40 bytes of no operation", "RFC 791 3.1", o4([1] * 40),
    "diverted")
row("IPv4 option: what follows the end", "RFC 791 3.1",
    o4([1, 0, 7, 3]), "unserved", "kernel's")
row("IPv4 option: zeroes behind the end", "RFC 791 3.1",
    o4([1, 0, 0, 0, 0, 0, 0, 0]), "diverted")
row("IPv4 option: security", "RFC 1108", o4([130, 11, *range(9)]), "diverted")
row("IPv4 option: unknown", "RFC 1812 5.2.4", o4([222, 4, 1, 2]), "diverted")
row("IPv4 option: record route", "RFC 791: the router adds itself",
    o4([7, 7, 4, 0, 0, 0, 0, 1]), "unserved", "kernel's")
row("IPv4 option: record route, full", "RFC 791",
    o4([7, 7, 8, 10, 9, 9, 9, 1]), "unserved", "kernel's")
row("IPv4 option: timestamp for another host", "RFC 791, RFC 781",
    o4([68, 12, 5, 3, 10, 9, 9, 9, 0, 0, 0, 0]), "unserved")
row("IPv4 option: timestamp, full", "RFC 781: it counts overflows",
    o4([68, 12, 13, 1, 10, 9, 9, 9, 0, 0, 0, 0]), "unserved", "kernel's")
row("IPv4 option: router alert", "RFC 2113", o4([148, 4, 0, 0]), "unserved")
row("IPv4 option: loose source route", "RFC 1812 5.2.4.1",
    o4([131, 7, 8, 10, 9, 9, 9, 1]), "unserved", "kernel's")
row("IPv4 option: strict source route", "RFC 1812 5.2.4.1",
    o4([137, 7, 8, 10, 9, 9, 9, 1]), "unserved", "kernel's")
row("IPv4 option: router's behind others", "RFC 791 3.1",
    o4([1, 130, 3, 9, 148, 4, 0, 0]), "unserved")
row("IPv4 option: length 0", "RFC 1812 5.2.2", o4([130, 0, 1, 1]), "kernel",
    [], (12, 0))
row("IPv4 option: length 1", "RFC 1812 5.2.2", o4([130, 1, 1, 1]), "kernel",
    [], (12, 0))
row("IPv4 option: past the header", "RFC 1812 5.2.2", o4([130, 5, 1, 1]),
    "kernel", [], (12, 0))
row("IPv4 option: no length", "RFC 1812 5.2.2", o4([1, 1, 1, 130]), "kernel",
    [], (12, 0))

# ---- transports: a router does not look ----

for flags in ("S", "SA", "R", "F", "", "FPU", "SFRPAUEC"):
    row(f"TCP: flags {flags or 'none'}", "RFC 9293",
        IP(**V4) / TCP(sport=1, dport=2, flags=flags) / TEXT, "diverted")
for dataofs in (0, 4, 15):
    row(f"TCP: data offset {dataofs}", "RFC 1812 5.2: not looked at",
        IP(**V4) / TCP(sport=1, dport=2, dataofs=dataofs) / TEXT, "diverted")
row("TCP: wrong checksum", "RFC 1812 5.2: not looked at",
    IP(**V4) / TCP(sport=1, dport=2, chksum=0x1234) / TEXT, "diverted")
row("TCP: cut short", "RFC 1812 5.2: not looked at",
    IP(**V4, proto=6) / Raw(b"\0\1\0\2\0\0\0\1"), "diverted")
row("UDP: no checksum", "RFC 768",
    IP(**V4) / UDP(sport=1, dport=2, chksum=0) / TEXT, "diverted")
row("UDP: wrong checksum", "RFC 1812 5.2: not looked at",
    IP(**V4) / UDP(sport=1, dport=2, chksum=0x1234) / TEXT, "diverted")
for length in (0, 7, 9, 65535):
    row(f"UDP: length {length}", "RFC 1812 5.2: not looked at",
        IP(**V4) / UDP(sport=1, dport=2, len=length) / TEXT, "diverted")
row("UDP over IPv6: no checksum", "RFC 6935: not looked at",
    IPv6(**V6) / UDP(sport=1, dport=2, chksum=0) / TEXT, "diverted")
for kind in (0, 3, 5, 8, 11, 13, 17, 42):
    row(f"ICMP: type {kind}", "RFC 792, RFC 1812 5.2: forwarded",
        IP(**V4, proto=1) / Raw(bytes([kind, 0, 0, 0]) + TEXT), "diverted")
for kind in (1, 2, 128, 129, 137, 143):
    row(f"ICMPv6: type {kind}", "RFC 4443: forwarded",
        IPv6(**V6, nh=58) / Raw(bytes([kind, 0, 0, 0]) + TEXT), "diverted")

# ---- IPv6: the header ----

row("IPv6: UDP", "RFC 8200", u6(), "diverted")
for n in (0, 1, 7):
    row(f"IPv6: {n} bytes of payload", "RFC 8200 3",
        IPv6(**V6, nh=59) / Raw(b"x" * n), "diverted")
for pad in (1, 500):
    row(f"IPv6: {pad} bytes behind the packet", "RFC 2464: no data",
        bytes(u6(b"padded")) + b"\xaa" * pad, "diverted")
for proto in (4, 6, 41, 47, 50, 59, 89, 132, 253):
    row(f"IPv6: next header {proto}", "RFC 8200 4: not looked at",
        IPv6(**V6, nh=proto) / Raw(TEXT), "diverted")
for tc in (1, 3, 0xb8, 0xff):
    row(f"IPv6: traffic class {tc:#x}", "RFC 2474, RFC 3168", u6(tc=tc),
        "diverted")
for fl in (1, 0xfffff):
    row(f"IPv6: flow label {fl:#x}", "RFC 6437: left alone", u6(fl=fl),
        "diverted")
for hlim in (2, 255):
    row(f"IPv6: hop limit {hlim}", "RFC 8200 3", u6(hlim=hlim), "diverted")
for hlim in (0, 1):
    row(f"IPv6: hop limit {hlim}", "RFC 4443 3.3: the router answers",
        u6(hlim=hlim), "kernel", [], (3, 0))
for version in (0, 4, 7):
    row(f"IPv6's EtherType, version {version}", "RFC 8200 3", [], "kernel", [])
    ROWS[-1].frames = [b"\x86\xdd" + poke(u6(), 0, bytes([version << 4]),
                                          fixed=False)]
for name, length in (("one past the frame", 41), ("65535", 65535)):
    row(f"IPv6: payload length {name}", "RFC 8200 3",
        poke(u6(), 4, length.to_bytes(2, "big")), "kernel", [])
row("IPv6: shorter than a header", "RFC 8200 3", bytes(u6())[:39], "kernel",
    [])

# ---- IPv6: addresses ----

for source, rule in (("::", "2.5.2"), ("::1", "2.5.3"), ("ff02::1", "2.7")):
    row(f"IPv6: from {source}", f"RFC 4291 {rule}: not forwarded",
        u6(src=source), "kernel", [])
row("IPv6: from a link-local address", "RFC 4291 2.5.6: not forwarded",
    u6(src="fe80::77"), "kernel", [], "kernel's")
for target, rule in (("::1", "2.5.3"), ("ff02::1", "2.7"), ("ff05::2", "2.7"),
                     ("ff0e::1", "2.7")):
    row(f"IPv6: to {target}", f"RFC 4291 {rule}: the kernel's",
        u6(dst=target), "kernel", [], "kernel's")
row("IPv6: to this host", "layer receive, not forward", u6(dst="fd00:1::1"),
    "kernel", [], (1, 4))
row("IPv6: no route", "RFC 4443 3.1", u6(dst="2001:db8::1"), "kernel", [],
    (1, 0))

# ---- IPv6: extension headers ----

EXT = UDP(sport=4000, dport=5000) / TEXT
row("IPv6: hop-by-hop, padding", "RFC 8200 4.3",
    IPv6(**V6) / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]) / EXT,
    "diverted")
row("IPv6: hop-by-hop, router alert", "RFC 2711",
    IPv6(**V6) / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / EXT,
    "unserved")
for kind, name in ((0x1e, "skip"), (0x5e, "discard"), (0x9e, "discard, tell"),
                   (0xde, "discard, tell unless multicast")):
    row(f"IPv6: hop-by-hop, unknown: {name}", "RFC 8200 4.2",
        IPv6(**V6, nh=0) / Raw(bytes([17, 0, kind, 4, 1, 2, 3, 4]) +
                               bytes(u6())[40:]), "unserved", "kernel's",
        "kernel's")
row("IPv6: hop-by-hop past the packet", "RFC 8200 4.3",
    IPv6(**V6, nh=0) / Raw(bytes([17, 9, 1, 4, 0, 0, 0, 0])), "kernel", [],
    "kernel's")
row("IPv6: hop-by-hop of nothing", "RFC 2675: a jumbogram, or nothing",
    poke(IPv6(**V6, nh=0) / Raw(bytes([17, 0, 0xc2, 4, 0, 0, 0, 48]) +
                                bytes(u6())[40:]), 4, b"\0\0"),
    "kernel", [], "kernel's")
row("IPv6: hop-by-hop, option past its end", "RFC 8200 4.2",
    IPv6(**V6, nh=0) / Raw(bytes([17, 0, 1, 9, 0, 0, 0, 0]) +
                           bytes(u6())[40:]), "kernel", [], "kernel's")
row("IPv6: destination options", "RFC 8200 4.6: not for routers",
    IPv6(**V6) / IPv6ExtHdrDestOpt() / EXT, "diverted")
row("IPv6: unknown destination option", "RFC 8200 4.6: not for routers",
    IPv6(**V6, nh=60) / Raw(bytes([17, 0, 0xde, 4, 1, 2, 3, 4]) +
                            bytes(u6())[40:]), "diverted")
row("IPv6: routing header", "RFC 8200 4.4: not for routers on the way",
    IPv6(**V6) / IPv6ExtHdrRouting(type=0, addresses=["fd00:2::9"]) / EXT,
    "diverted")
row("IPv6: authentication header", "RFC 4302: not for routers",
    IPv6(**V6) / AH(spi=7, seq=1, icv=b"1" * 12) / EXT, "diverted")
row("IPv6: all of them", "RFC 8200 4.1",
    IPv6(**V6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() /
    IPv6ExtHdrRouting(type=0, addresses=["fd00:2::9"]) /
    AH(spi=7, seq=1, icv=b"1" * 12) / IPv6ExtHdrDestOpt() / EXT, "diverted")
row("IPv6: extension header cut short", "RFC 8200 4: not looked at",
    IPv6(**V6, nh=60) / Raw(bytes([17, 4, 1, 4, 0, 0, 0, 0])), "diverted")
row("IPv6: extension header unknown", "RFC 7045: forwarded",
    IPv6(**V6, nh=253) / Raw(TEXT), "diverted")

# ---- the frame ----

frame("Ethernet: ARP", "RFC 826", b"\x08\x06" + bytes(28), "kernel")
frame("Ethernet: LLDP", "IEEE 802.1AB", b"\x88\xcc\x02\x07\x04" + bytes(40),
      "kernel")
frame("Ethernet: length instead of a type", "IEEE 802.3",
      b"\x00\x20\x42\x42\x03" + bytes(40), "kernel")
frame("Ethernet: MPLS", "RFC 3032", b"\x88\x47\0\1\1\x40" + bytes(u4()),
      "kernel")
frame("Ethernet: PPPoE session", "RFC 2516",
      b"\x88\x64\x11\0\0\1\0\x2a\0\x21" + bytes(u4()), "kernel")
frame("Ethernet: header alone", "RFC 894", b"\x08\x00", "kernel")
frame("VLAN 5", "IEEE 802.1Q: of an interface that is not there",
      b"\x81\x00\x00\x05\x08\x00" + bytes(u4()), "kernel")
frame("VLAN 0: a priority", "IEEE 802.1Q: as if it had no tag",
      b"\x81\x00\xe0\x00\x08\x00" + bytes(u4()), "kernel",
      [hop(bytes(u4()))])
frame("QinQ", "IEEE 802.1ad: of an interface that is not there",
      b"\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00" + bytes(u4()), "kernel")
for name, mac in (("another host", "02:00:00:00:00:77"),
                  ("everybody", "ff:ff:ff:ff:ff:ff"),
                  ("a group", "01:00:5e:00:00:05"),
                  ("an IPv6 group", "33:33:00:00:00:05")):
    frame(f"Ethernet: to {name}", "RFC 1812 5.3.4: not forwarded",
          Ether(dst=mac, src="02:00:00:00:00:01") / u4(), "kernel")
    frame(f"Ethernet: IPv6 to {name}", "RFC 1812 5.3.4: not forwarded",
          Ether(dst=mac, src="02:00:00:00:00:01") / u6(), "kernel")

# ---- sizes: 2000 bytes fit on the client's side, 1500 on the server's ----

for n in (576, 1280, 1499, 1500):
    row(f"IPv4: {n} bytes", "RFC 791", u4(b"s" * (n - 28)), "diverted")
    row(f"IPv4: {n} bytes, DF", "RFC 1191", u4(b"s" * (n - 28), flags="DF"),
        "diverted")
    if n > 576:
        row(f"IPv6: {n} bytes", "RFC 8200 5", u6(b"s" * (n - 48)), "diverted")


def cut(packet, size):
    """RFC 791 3.2: fragments of an IPv4 packet with `size` bytes of payload,
    one hop on.
    """
    packet = hop(bytes(packet))
    header, payload = packet[:20], packet[20:]
    out = []
    for at in range(0, len(payload), size):
        last = at + size >= len(payload)
        part = header + payload[at:at + size]
        part = poke(part, 2, len(part).to_bytes(2, "big"), fixed=False)
        out.append(poke(part, 6, (at // 8 | (0 if last else 0x2000))
                        .to_bytes(2, "big")))
    return out


for n in (1501, 1508, 1700, 2000):
    packet = u4(b"s" * (n - 28))
    row(f"IPv4: {n} bytes, cut", "RFC 791 3.2", packet, "diverted",
        cut(packet, 1480))
    row(f"IPv4: {n} bytes, DF", "RFC 1191: the router answers",
        u4(b"s" * (n - 28), flags="DF"), "diverted", [], (3, 4))
    row(f"IPv6: {n} bytes", "RFC 8200 5, RFC 4443 3.2: the router answers",
        u6(b"s" * (n - 48)), "diverted", [], (2, 0))

# ---- fragments ----


def f4(total, size, **ip):
    """An IPv4 datagram's fragments, `size` bytes of payload each. Its
    identification is the row's: what was discarded before stays discarded.
    """
    whole = bytes(u4(bytes(i % 251 for i in range(total)),
                     **{"id": 2000 + len(ROWS), **ip}))
    payload = whole[20:]
    out = []
    for at in range(0, len(payload), size):
        last = at + size >= len(payload)
        part = whole[:20] + payload[at:at + size]
        part = poke(part, 2, len(part).to_bytes(2, "big"), fixed=False)
        bits = int.from_bytes(whole[6:8], "big") & 0xc000
        out.append(poke(part, 6, (bits | at // 8 | (0 if last else 0x2000))
                        .to_bytes(2, "big")))
    return out


def f6(total, size, front=None, nh=17):
    payload = bytes(u6(bytes(i % 251 for i in range(total))))[40:]
    front = front or IPv6(**V6)
    return [bytes(front / IPv6ExtHdrFragment(
        nh=nh, id=2000 + len(ROWS), offset=at // 8, m=at + size < len(payload)) /
        Raw(payload[at:at + size])) for at in range(0, len(payload), size)]


for name, f in (("IPv4", f4), ("IPv6", f6)):
    rule = "RFC 791 3.2" if f is f4 else "RFC 8200 4.5"
    for size in (8, 200, 1000, 1448):
        row(f"{name} fragments of {size}", rule, f(1600, size), "whole")
    row(f"{name} fragments, reversed: sent in order", rule,
        f(1600, 400)[::-1], "whole", [hop(p) for p in f(1600, 400)],
        kernel=([hop(p) for p in f(1600, 400)[::-1]], None))
    row(f"{name} fragments, one twice: it is ignored", rule,
        [p for q in f(1600, 600) for p in (q, q)][:4] + f(1600, 600)[2:],
        "whole", [hop(p) for p in f(1600, 600)],
        kernel=([hop(p) for p in
                 [p for q in f(1600, 600) for p in (q, q)][:4] +
                 f(1600, 600)[2:]], None))
    row(f"{name} fragments that overlap: the datagram is discarded",
        "RFC 5722, and as Linux's reassembly", f(1600, 800)[:1] +
        f(1600, 400)[1:], "whole", [],
        kernel=([hop(p) for p in f(1600, 800)[:1] + f(1600, 400)[1:]], None))
    row(f"{name} fragments, one missing", "RFC 791 3.2: after its time",
        f(1600, 400)[:2] + f(1600, 400)[3:], "whole", late=True)
    row(f"{name}: a last fragment alone", rule, f(1600, 800)[-1:], "whole",
        late=True)
    row(f"{name}: a fragment of nothing", "RFC 791, RFC 8200 4.5: the kernel's",
        [], "kernel")
    row(f"{name}: a fragment past 65,535", "RFC 8200 4.5: the kernel's", [],
        "kernel")
    row(f"{name}: not the last and no multiple of 8",
        "RFC 791 3.2, RFC 8200 4.5: the kernel's", [], "kernel")
    if f is f4:
        bad = [IP(**V4, proto=17, frag=4),
               IP(**V4, proto=17, frag=8191) / Raw(TEXT),
               IP(**V4, proto=17, flags="MF") / Raw(TEXT[:31])]
    else:
        bad = [IPv6(**V6) / IPv6ExtHdrFragment(nh=17, offset=4, id=3),
               IPv6(**V6) / IPv6ExtHdrFragment(nh=17, offset=8191, id=3) /
               Raw(TEXT),
               IPv6(**V6) / IPv6ExtHdrFragment(nh=17, m=1, id=3) /
               Raw(TEXT[:31])]
    for r, packet in zip(ROWS[-3:], bad):
        r.packets = [bytes(packet)]
        r.frames = [(b"\x08\x00" if f is f4 else b"\x86\xdd") + bytes(packet)]
row("IPv4 fragments with DF", "RFC 791, RFC 8900 3: as they came",
    f4(1600, 600, flags="DF"), "whole")
row("IPv4 fragments, ECT(0)", "RFC 3168 5.3", f4(1600, 600, tos=2), "whole")
row("IPv4 fragments, some CE: all of them then", "RFC 3168 5.3",
    f4(1600, 800, tos=2)[:1] + f4(1600, 800, tos=3)[1:], "whole",
    [hop(p) for p in f4(1600, 800, tos=3)],
    kernel=([hop(p) for p in f4(1600, 800, tos=2)[:1] +
             f4(1600, 800, tos=3)[1:]], None))
row("IPv4 fragments, CE and no ECT: discarded", "RFC 3168 5.3",
    f4(1600, 800, tos=0)[:1] + f4(1600, 800, tos=3)[1:], "whole", [],
    kernel=([hop(p) for p in f4(1600, 800, tos=0)[:1] +
             f4(1600, 800, tos=3)[1:]], None))
row("IPv4: two datagrams at once", "RFC 791 3.2: told apart by identification",
    [p for pair in zip(f4(1600, 800, id=1), f4(1600, 800, id=2))
     for p in pair], "whole",
    [hop(p) for p in f4(1600, 800, id=1) + f4(1600, 800, id=2)],
    kernel=([hop(p) for pair in zip(f4(1600, 800, id=1),
                                    f4(1600, 800, id=2)) for p in pair],
            None))
row("IPv6: atomic fragment", "RFC 6946: by itself a datagram",
    f6(100, 1000), "whole")
row("IPv6: hop-by-hop before the fragment header", "RFC 8200 4.5",
    f6(1600, 600, IPv6(**V6) / IPv6ExtHdrHopByHop()), "whole")
row("IPv6: routing header before the fragment header", "RFC 8200 4.5",
    f6(1600, 600, IPv6(**V6) / IPv6ExtHdrRouting(
        type=0, addresses=["fd00:2::9"])), "whole")
row("IPv6 fragments, TTL 1: the router answers", "RFC 4443 3.3",
    f6(100, 1000, IPv6(**V6, hlim=1)), "kernel", [], (3, 0))
row("IPv4: fragments of 1700 bytes are cut", "RFC 791 3.2",
    f4(1900, 1680), "whole",
    cut(u4(bytes(i % 251 for i in range(1900)), id=2000 + len(ROWS)), 1480),
    kernel=("kernel's", None))
row("IPv6: fragments of 1700 bytes", "RFC 8200 5: the router answers",
    f6(1900, 1656), "whole", [], (2, 0),
    kernel=([hop(f6(1900, 1656)[1])], (2, 0)))
