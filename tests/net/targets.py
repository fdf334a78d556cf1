# SPDX-License-Identifier: BSD-2-Clause
"""
Another way from the gateway to the server, of whatever kind:

    gateway: t0 10.0.8.1/24, fd00:8::1/64 --- server: u0 10.0.8.2, fd00:8::2

Neighbours are not resolved yet.
"""
import fcntl
import os
import select
import struct
import subprocess
import threading

import pytest

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_TAP, IFF_NO_PI = 1, 2, 0x1000
IFB_RATE = 100  # Mbit/s


def open_tun(host, name, kind):
    with host.inside():
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, TUNSETIFF,
                    struct.pack("16sH22x", name.encode(), kind | IFF_NO_PI))
    os.set_blocking(fd, False)
    return fd


class Cable:
    """What one of two tun or tap devices sends, the other receives."""

    def __init__(self, gateway, server, kind):
        self.ends = [open_tun(gateway, "t0", kind), open_tun(server, "u0",
                                                             kind)]
        self.stop, self.stopper = os.pipe()
        self.thread = threading.Thread(target=self.carry)
        self.thread.start()

    def carry(self):
        other = dict(zip(self.ends, reversed(self.ends)))
        while True:
            readable, _, _ = select.select([*self.ends, self.stop], [], [])
            if self.stop in readable:
                return
            for end in readable:
                try:
                    os.write(other[end], os.read(end, 65536))
                except OSError:
                    pass  # nothing there any more, or its device is down

    def close(self):
        os.write(self.stopper, b"x")
        self.thread.join()
        for fd in [*self.ends, self.stop, self.stopper]:
            os.close(fd)


class Target:
    """The devices of one kind, with their addresses; close() removes them."""

    def __init__(self, lab, kind):
        self.lab = lab
        self.gateway, self.server = lab.gateway, lab.server
        self.kind = kind
        self.cable = None
        getattr(self, "make_" + kind.replace("-", "_"))()
        for host, name, last in ((self.gateway, "t0", 1),
                                 (self.server, "u0", 2)):
            host.run(f"sysctl -qw net.ipv6.conf.{name}.accept_dad=0",
                     check=False)
            host.run(f"ip addr add 10.0.8.{last}/24 dev {name}")
            host.run(f"ip addr add fd00:8::{last}/64 dev {name} nodad")
            host.run(f"ip link set {name} up")
        # Answers come back the same way.
        self.server.run("ip route add 10.0.1.0/24 via 10.0.8.1 dev u0")
        self.server.run("ip route add fd00:1::/64 via fd00:8::1 dev u0")

    def veth(self, ours, theirs, gro="off"):
        self.gateway.run(f"ip link add {ours} type veth peer name {theirs} "
                         f"netns {self.server.name}")
        self.server.run(f"ethtool -K {theirs} gro {gro}")
        for host, name in ((self.gateway, ours), (self.server, theirs)):
            # Before it is up: neighbours are asked for by the link-local
            # address, and not for a second or two while that is tentative.
            host.run(f"sysctl -qw net.ipv6.conf.{name}.accept_dad=0")
            host.run(f"ip link set {name} up")

    def make_veth_gro(self):
        self.veth("t0", "u0", "on")

    def make_veth_xdp(self):
        """The peer runs NAPI for an XDP program, not for GRO."""
        self.veth("t0", "u0")
        self.server.xdivert("attach", "u0")

    def make_veth(self):
        self.veth("t0", "u0")

    def make_bridge(self):
        self.veth("p0", "u0")
        self.gateway.run("ip link add t0 type bridge")
        self.gateway.run("ip link set p0 master t0")

    def make_macvlan(self):
        self.veth("p0", "u0")
        self.gateway.run("ip link add t0 link p0 type macvlan mode bridge")

    def make_vxlan(self):
        self.veth("p0", "p1")
        for host, name, last in ((self.gateway, "p0", 1),
                                 (self.server, "p1", 2)):
            host.run(f"ip addr add 10.0.9.{last}/24 dev {name}")
        for host, tunnel, name, local, remote in (
                (self.gateway, "t0", "p0", 1, 2),
                (self.server, "u0", "p1", 2, 1)):
            host.run(f"ip link add {tunnel} type vxlan id 8 dstport 4789 "
                     f"dev {name} local 10.0.9.{local} "
                     f"remote 10.0.9.{remote}")

    def make_nic(self):
        for nic, host, name in zip(os.environ["XDIVERT_NICS"].split(),
                                   (self.gateway, self.server), ("t0", "u0")):
            subprocess.run(["ip", "link", "set", nic, "netns", host.name,
                            "name", name], check=True)

    def return_nics(self):
        for nic, host, name in zip(os.environ["XDIVERT_NICS"].split(),
                                   (self.gateway, self.server), ("t0", "u0")):
            host.run(f"ip link set {name} netns {os.getpid()} name {nic}")

    def make_ifb(self):
        """Everybody's way to shape what a device cannot shape: TC hands to an
        ifb what leaves by t0, the ifb's qdisc lets it go on from there at its
        pace. Without GRO at the peer, since live frames pass no TC.
        """
        done = self.gateway.run("ip link add i0 type ifb", check=False)
        if "Unknown device type" in done.stderr:
            pytest.skip("this kernel has no ifb devices")
        assert done.returncode == 0, done.stderr
        self.veth("t0", "u0")
        self.gateway.run("ip link set i0 up")
        self.gateway.run(f"tc qdisc add dev i0 root tbf rate {IFB_RATE}mbit "
                         "burst 64k limit 4m")
        self.gateway.run("tc qdisc add dev t0 clsact")
        self.gateway.run("tc filter add dev t0 egress protocol all u32 match "
                         "u32 0 0 action mirred egress redirect dev i0")

    def make_tap(self):
        self.cable = Cable(self.gateway, self.server, IFF_TAP)

    def make_tun(self):
        self.cable = Cable(self.gateway, self.server, IFF_TUN)

    def close(self):
        if self.cable:
            self.cable.close()
        if self.kind == "veth-xdp":
            self.server.xdivert("detach", "u0")
        if self.kind == "nic":
            self.return_nics()
            return
        for name in ("t0", "p0", "i0"):
            self.gateway.run(f"ip link del {name}", check=False)
        for name in ("u0", "p1"):
            self.server.run(f"ip link del {name}", check=False)
