# SPDX-License-Identifier: BSD-2-Clause
"""Multicast and broadcast: the kernel's, unless a rule says otherwise."""
import json
import socket
import struct

import pytest

from packets import IP, UDP, Ether, IPv6, Path, udp

GROUPS = [
    ("multicast", "239.1.2.3", "01:00:5e:01:02:03"),
    ("multicast6", "ff02::1234", "33:33:00:00:12:34"),
    ("broadcast", "255.255.255.255", "ff:ff:ff:ff:ff:ff"),
    ("broadcast of the net", "10.0.1.255", "ff:ff:ff:ff:ff:ff"),
]
HOOKS = pytest.mark.parametrize("hook", [
    ("--mode", "native"), ("--mode", "generic"), ("--hook", "tc")],
    ids=lambda words: words[1])
TO = pytest.mark.parametrize("address,mac", [g[1:] for g in GROUPS],
                             ids=[g[0] for g in GROUPS])


@pytest.fixture
def listener(lab):
    """On the gateway, a member of all of them."""
    with lab.gateway.inside():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    index = lab.gateway.ifindex("g0")
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                    socket.inet_pton(socket.AF_INET6, "ff02::1234") +
                    struct.pack("@I", index))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                    struct.pack("=4s4si", socket.inet_aton("239.1.2.3"),
                                bytes(4), index))
    sock.bind(("::", 5000))
    sock.settimeout(5)
    yield sock
    sock.close()


def to_group(path, address, mac, text, sport=4000):
    head = IPv6(src="fe80::77", dst=address) if ":" in address else \
        IP(src="10.0.1.2", dst=address)
    path.client.send(Ether(src=path.to_gateway["src"], dst=mac) / head /
                     UDP(sport=sport, dport=5000) / text)


@HOOKS
@TO
def test_edited_on_the_way_in(lab, listener, hook, address, mac):
    path = Path(lab)
    lab.gateway.xdivert("attach", "g0", *hook)
    lab.gateway.rule("many", "udp dst port 5000", "--layer", "group", "--do",
                     "replace mouse MOUSE")
    lab.gateway.serving()
    to_group(path, address, mac, "a mouse to all of you")
    assert listener.recv(100) == b"a MOUSE to all of you"
    stats = lab.gateway.settled()
    assert stats["diverted"] == stats["completed"] == 1


@HOOKS
def test_other_layers_do_not_see_them(lab, listener, hook):
    path = Path(lab)
    lab.gateway.xdivert("attach", "g0", *hook)
    for layer in ("forward", "receive"):
        lab.gateway.rule(layer, "udp", "--layer", layer, "--do", "drop")
    lab.gateway.serving()
    for _, address, mac in GROUPS:
        to_group(path, address, mac, "left to the kernel")
        assert listener.recv(100) == b"left to the kernel"
    assert lab.gateway.settled()["matched"] == 0


def test_dropped(lab, listener):
    path = Path(lab)
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("many", "udp src port 1", "--layer", "group", "--do",
                     "drop")
    lab.gateway.serving()
    for _, address, mac in GROUPS:
        to_group(path, address, mac, "dropped", sport=1)
        to_group(path, address, mac, "it follows", sport=2)
        assert listener.recv(100) == b"it follows"
    assert lab.gateway.settled()["dropped"] == len(GROUPS)


def test_who_has_no_address_yet(lab):
    """A DHCP client's question is seen."""
    path = Path(lab)
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("dhcp", "udp dst port 67", "--layer", "group", "--do",
                     "drop")
    lab.gateway.serving()
    path.client.send(Ether(src=path.to_gateway["src"],
                           dst="ff:ff:ff:ff:ff:ff") /
                     IP(src="0.0.0.0", dst="255.255.255.255") /
                     UDP(sport=68, dport=67) / "who am I?")
    path.send(udp("one-that-follows"))
    assert path.arrives(b"one-that-follows")
    assert lab.gateway.settled()["dropped"] == 1


def test_as_text(lab):
    """apply reads what list prints."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("many", "udp", "--layer", "group")
    text = lab.gateway.xdivert("rule", "list", "--format", "apply").stdout
    assert "--layer group" in text
    listed = json.loads(lab.gateway.xdivert("rule", "list", "--json").stdout)
    assert listed[0]["layer"] == "group"
    done = lab.gateway.xdivert("rule", "add", "x", "--filter", "udp",
                               "--layer", "some", check=False)
    assert done.returncode == 2 and "group" in done.stderr
