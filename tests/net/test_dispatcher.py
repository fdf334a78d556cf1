# SPDX-License-Identifier: BSD-2-Clause
"""
libxdp's dispatcher: another XDP program on our interface, xdp-filter's, which
drops what is for UDP port 6000 and lets the rest go on to ours.

It needs programs that replace functions (BPF_PROG_TYPE_EXT), which some
kernels are told to refuse, and a libxdp whose dispatcher loads on this kernel:
1.5.5 or newer, or a kernel before 6.12 or so. XDIVERT_DISPATCHER=1 says that
all is well, so that nothing is skipped.
"""
import os

import pytest

from lab import Gateway
from packets import IP, UDP, V4, Path, udp


@pytest.fixture
def gateway(lab):
    """g0 is attached by the dispatcher; nothing of libxdp's is left after."""
    gateway = lab.gateway
    gateway.xdivert("attach", "g0")
    attach = gateway.status()["interfaces"][0]["attach"]
    if attach != "dispatcher" and "XDIVERT_DISPATCHER" not in os.environ:
        gateway.xdivert("detach", "g0")
        pytest.skip("libxdp's dispatcher does not load on this kernel, so "
                    "the hook is attached without it")
    assert attach == "dispatcher"
    yield gateway
    gateway.run("xdp-filter unload --all", check=False)
    gateway.reset()
    assert programs(gateway) == []


def programs(gateway):
    """The XDP programs of g0 behind the dispatcher, in their order."""
    listing = gateway.run("xdp-loader status g0").stdout
    return [line.split()[2] for line in listing.splitlines()
            if line.startswith(" =>")]


def load_filter(gateway):
    gateway.run("xdp-filter load --mode native --policy allow g0")
    gateway.run("xdp-filter port 6000 --mode dst --proto udp")


def other(text):
    return IP(**V4) / UDP(sport=4000, dport=6000) / text


def both_run(lab, path, text):
    """What is for the filter is dropped, the rest is ours."""
    before = lab.gateway.stats()
    path.expect_nothing(other(f"dropped-{text}"), after=udp(f"after-{text}"))
    path.expect(udp(f"diverted-{text}"),
                udp(f"diverted-{text}", ttl=63, tos=20))
    after = lab.gateway.settled()
    assert after["diverted"] - before["diverted"] == 2
    assert after["seen"] - before["seen"] == 2, "the filter comes first"


@pytest.mark.parametrize("first", ["xdivert", "xdp-filter"])
def test_two_programs(lab, gateway, first):
    path = Path(lab)
    if first == "xdp-filter":
        gateway.xdivert("detach", "g0")
        load_filter(gateway)
        gateway.xdivert("attach", "g0")
    else:
        load_filter(gateway)
    assert gateway.status()["interfaces"][0]["attach"] == "dispatcher"
    assert "attached by dispatcher" in gateway.xdivert("status").stdout
    gateway.rule("all", "udp", "--do", "set ip.dscp 5")
    gateway.daemon()
    both_run(lab, path, "by-both-of-them")
    assert len(programs(gateway)) == 2
    assert programs(gateway)[1] == "xdv_xdp_ingress"


def test_detach_leaves_the_other(lab, gateway):
    load_filter(gateway)
    gateway.xdivert("detach", "g0")
    assert len(programs(gateway)) == 1
    assert "xdv_xdp_ingress" not in programs(gateway)
    path = Path(lab)
    path.expect_nothing(other("dropped-by-filter"),
                        after=udp("forwarded-by-kernel"))


def test_the_other_leaves_us(lab, gateway):
    load_filter(gateway)
    gateway.rule("all", "udp", "--do", "set ip.dscp 5")
    gateway.daemon()
    path = Path(lab)
    both_run(lab, path, "while-both-run")
    gateway.run("xdp-filter unload g0")
    assert programs(gateway) == ["xdv_xdp_ingress"]
    path.expect(other("diverted-too-now"),
                IP(**{**V4, "ttl": 63, "tos": 20}) /
                UDP(sport=4000, dport=6000) / "diverted-too-now")


def test_device_gone_leaves_nothing(lab, gateway):
    """libxdp pins what is behind a dispatcher; it must go with the device."""
    folder = "/sys/fs/bpf/xdp"
    before = set(os.listdir(folder))
    gateway.run("ip link add e0 type veth peer name e1")
    gateway.xdivert("attach", "e0")
    assert set(os.listdir(folder)) > before
    gateway.run("ip link del e0")
    gateway.xdivert("attach", "g1")
    assert {f for f in set(os.listdir(folder)) - before
            if not f.startswith(f"dispatch-{gateway.ifindex('g1')}-")} == set()


def test_namespace_gone_leaves_nothing(lab, gateway):
    before = set(os.listdir("/sys/fs/bpf/xdp"))
    other = Gateway(f"{gateway.name}-x")
    try:
        other.run("ip link add e0 type veth peer name e1")
        other.xdivert("attach", "e0")
        assert set(os.listdir("/sys/fs/bpf/xdp")) > before
    finally:
        other.delete()
    other = Gateway(f"{gateway.name}-x")
    other.xdivert("detach", "--all")
    other.delete()
    assert set(os.listdir("/sys/fs/bpf/xdp")) == before
    assert not other.pins().exists()


def test_below_another(gateway):
    """The kernel takes no program from a device while one above it has one."""
    for command in ("ip link add e0 type veth peer name e1",
                    "ip link add br0 type bridge", "ip link set e0 master br0"):
        gateway.run(command)
    try:
        gateway.xdivert("attach", "e0")
        gateway.xdivert("attach", "br0", "--mode", "generic")
        done = gateway.xdivert("detach", "e0", check=False)
        assert done.returncode == 1 and "above it" in done.stderr
        assert len(gateway.status()["interfaces"]) == 3
        gateway.xdivert("detach", "--all")
        assert not gateway.pins().exists()
    finally:
        gateway.run("ip link del br0")
        gateway.run("ip link del e0")
