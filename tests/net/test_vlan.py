# SPDX-License-Identifier: BSD-2-Clause
"""VLANs and VLANs in VLANs, as the way in and as the way out."""

import pytest

from lab import wait_for

# How each side's links are stacked: (name, protocol, id), outermost first.
KINDS = {
    "802.1Q": [("802.1Q", 5)],
    "QinQ": [("802.1ad", 6), ("802.1Q", 7)],
}


def stack(host, link, kind, address, peer):
    """VLANs on a link; the name of the innermost."""
    for protocol, number in KINDS[kind]:
        name = f"{link}.{number}"
        host.run(f"ip link add link {link} name {name} type vlan proto "
                 f"{protocol} id {number}")
        host.run(f"ip link set {name} up")
        link = name
    host.run(f"ip addr add {address}/24 dev {link}")
    return link


def has_vlans(host):
    """They may come as a module."""
    done = host.run("ip link add link g0 name g0.1 type vlan id 1", check=False)
    host.run("ip link del g0.1", check=False)
    return done.returncode == 0


@pytest.fixture(params=KINDS)
def vlans(lab, request):
    """10.1.1.0/24 and 10.1.2.0/24 between the same hosts, tagged."""
    if not has_vlans(lab.gateway):
        pytest.skip("this kernel has no VLAN devices")
    kind, client, server = request.param, lab.client, lab.server
    lab.inward = stack(lab.gateway, "g0", kind, "10.1.1.1", "c0")
    lab.outward = stack(lab.gateway, "g1", kind, "10.1.2.1", "s0")
    ends = [(client, stack(client, "c0", kind, "10.1.1.2", "g0")),
            (server, stack(server, "s0", kind, "10.1.2.2", "g1"))]
    client.run("ip route add 10.1.2.0/24 via 10.1.1.1")
    server.run("ip route add 10.1.1.0/24 via 10.1.2.1")
    yield lab
    lab.gateway.reset()
    outer = KINDS[kind][0][1]
    for host, link in (*ends, (lab.gateway, "g0"), (lab.gateway, "g1")):
        host.run(f"ip link del {link.split('.')[0]}.{outer}")


@pytest.mark.parametrize("hook", [("--mode", "generic"), ("--hook", "tc")],
                         ids=lambda words: words[1])
def test_in_and_out(vlans, hook):
    """The rule is about what is inside; the tags come and go."""
    gateway = vlans.gateway
    gateway.xdivert("attach", vlans.inward, *hook)
    gateway.rule("r", "udp dst port 5000", "--do", "replace mouse MOUSE")
    gateway.serving()
    server = vlans.server.udp("10.1.2.2", 5000)
    client = vlans.client.udp("10.1.2.2")
    with vlans.client.without_offloads("c0"):
        for n in range(20):
            client.sendto(b"a mouse, number %d" % n, ("10.1.2.2", 5000))
            assert server.recv(100) == b"a MOUSE, number %d" % n
        # A big datagram in fragments, which fit the VLAN.
        client.sendto(b"mouse " * 5000, ("10.1.2.2", 5000))
        assert server.recv(65535) == b"MOUSE " * 5000
    client.close()
    server.close()
    stats = gateway.settled()
    assert stats["failed"] == stats["unserved"] == 0
    assert {c["engine"] for c in gateway.completions()} == {"neigh"}
    assert stats["reassembled"] == 1


def test_on_the_wire(vlans):
    """What leaves through a VLAN bears its tags."""
    gateway = vlans.gateway
    gateway.xdivert("attach", "g0")
    wire = vlans.wire(vlans.server, "s0")
    gateway.run("ip neigh replace 10.1.2.2 lladdr "
                f"{vlans.server.mac('s0')} dev {vlans.outward} nud permanent")
    packet = "45000020000100004011" + "61c6" + "0a010102" + "0a010202" + \
        "10001388000c0000" + "01020304"
    gateway.xdivert("inject", "--oif", vlans.outward, "--hex", packet)
    assert wait_for(lambda: gateway.settled()["completed"] == 1)
    frame = wire.receive(lambda f: f.endswith(bytes.fromhex("01020304")))
    assert frame is not None
    vlans.close_wires()


def test_the_tagged_are_not_the_parents(vlans):
    """On the device below, tagged packets are left to the kernel."""
    gateway = vlans.gateway
    # XDP does not see a tag that a device keeps beside the frame.
    vlans.client.run("ethtool -K c0 tx-vlan-hw-insert off "
                     "tx-vlan-stag-hw-insert off")
    gateway.xdivert("attach", "g0")
    gateway.rule("all", "", "--do", "drop")
    gateway.serving()
    assert "1 received" in vlans.client.run("ping -c 1 -W 5 10.1.2.2").stdout
    assert gateway.settled()["dropped"] == 0
