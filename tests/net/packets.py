# SPDX-License-Identifier: BSD-2-Clause
"""Frames as the client sends them and as the server must see them."""
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, ICMPv6EchoRequest
from scapy.layers.l2 import Ether

V4 = dict(src="10.0.1.2", dst="10.0.2.2")
V6 = dict(src="fd00:1::2", dst="fd00:2::2")


class Path:
    """From the client's wire to the server's, with the marker that tells one
    test's packets from everything else.
    """

    def __init__(self, lab):
        self.client = lab.wire(lab.client, "c0")
        self.server = lab.wire(lab.server, "s0")
        self.to_gateway = dict(src=lab.client.mac("c0"),
                               dst=lab.gateway.mac("g0"))
        self.to_server = dict(src=lab.gateway.mac("g1"),
                              dst=lab.server.mac("s0"))

    def send(self, packet):
        self.client.send(Ether(**self.to_gateway) / packet)

    def arrives(self, marker, timeout=5):
        return self.server.receive(lambda frame: marker in frame, timeout)

    def expect(self, sent, expected):
        """Send a packet; what arrives is expected, to the byte."""
        marker = bytes(sent)[-16:]
        self.send(sent)
        frame = self.arrives(bytes(expected)[-16:])
        assert frame is not None, f"{sent.summary()} ({marker}) did not arrive"
        wanted = bytes(Ether(**self.to_server) / expected)
        assert frame == wanted, \
            f"\n{Ether(frame).show(dump=True)}\n{Ether(wanted).show(dump=True)}"

    def expect_nothing(self, sent, after):
        """Send a packet that must not arrive, then one that does."""
        self.send(sent)
        self.send(after)
        first = self.server.receive(
            lambda frame: bytes(sent)[-16:] in frame
            or bytes(after)[-16:] in frame)
        assert first and bytes(after)[-16:] in first


def udp(payload, ttl=64, **ip):
    return IP(**{**V4, "ttl": ttl, **ip}) / UDP(sport=4000, dport=5000) / payload


def udp6(payload, hlim=64, **ip):
    return IPv6(**{**V6, "hlim": hlim, **ip}) / \
        UDP(sport=4000, dport=5000) / payload


def built(packet):
    """With every length and checksum filled in."""
    return packet.__class__(bytes(packet))
