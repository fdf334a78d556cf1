# SPDX-License-Identifier: BSD-2-Clause
"""Attach, detach, what they leave, and each clear error."""
import ctypes
import json
import os
import platform
import subprocess

import pytest

from lab import XDIVERT, wait_for
from packets import IP, UDP, Ether, Path, udp, udp6


def failure(done, *words, code=1):
    """One line on stderr that names what and why; nothing on stdout."""
    assert done.returncode == code, done
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("xdivert: ")
    for word in words:
        assert word in done.stderr, done.stderr
    assert done.stdout == ""


def kernel_ids():
    """Ids of all programs, maps and links in the kernel. bpftool would open
    each, and opening a prog array while the kernel empties it leaks it (6.18).
    """
    found = set()
    bpf = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    for command in (11, 12, 31):  # BPF_{PROG,MAP,LINK}_GET_NEXT_ID
        attr = (ctypes.c_uint32 * 32)()
        while ctypes.CDLL(None).syscall(bpf, command, attr, 128) == 0:
            found.add((command, attr[1]))
            attr[0] = attr[1]
    return found


def made_by(*steps):
    """What the kernel has since each step, and what the last step returned.
    Others on this host come and go at other times.
    """
    made = set()
    for step in steps:
        before = kernel_ids()
        result = step()
        made |= kernel_ids() - before
    return made, result


def test_detach_leaves_nothing(lab):
    gateway = lab.gateway
    made, daemon = made_by(
        lambda: gateway.xdivert("attach", "g0"),
        lambda: gateway.xdivert("attach", "g1", "--fail", "closed"),
        lambda: gateway.rule("all", "udp", "--do", "drop"),
        gateway.daemon)
    assert len(made) > 10
    assert daemon.stop() == 0
    gateway.xdivert("detach", "g0")
    assert gateway.pins().exists()
    gateway.xdivert("detach", "g1")
    assert not gateway.pins().exists()
    # The kernel frees them after a grace period.
    wait_for(lambda: not kernel_ids() & made, timeout=30)
    for name in ("g0", "g1"):
        link = json.loads(gateway.run(f"ip -j link show {name}").stdout)[0]
        assert "xdp" not in link


def test_daemon_stopped_last_leaves_nothing(lab):
    daemon = lab.gateway.daemon()
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.xdivert("detach", "g0")
    assert lab.gateway.pins().exists()
    assert daemon.stop() == 0
    assert not lab.gateway.pins().exists()


def test_pins(lab):
    """The names that others rely on, and fields for bpftool."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.daemon()
    pins = set(os.listdir(lab.gateway.pins()))
    assert {"xdv_rules", "xdv_stats", "xdv_completions", "xdv_inflight",
            "xdv_xsks", "xdv_umem", "xdv_recent", "xdv_control", "xdv_ifaces",
            "xdv_inject"} <= pins
    # Behind a dispatcher it is pinned by libxdp.
    attach = lab.gateway.status()["interfaces"][0]["attach"]
    assert ("xdv_xdp_ingress" in pins) == (attach == "link")
    text = lab.gateway.run(["bpftool", "map", "dump", "pinned",
                            lab.gateway.pins() / "xdv_stats"]).stdout
    for field in ("seen", "redirected", "unserved", "queue_dropped", "injected",
                  "completed", "failed"):
        assert f'"{field}": ' in text
    lab.gateway.rule("all", "udp port 53", "--do", "drop")
    rules = json.loads(lab.gateway.run(
        ["bpftool", "-j", "map", "dump", "pinned",
         lab.gateway.pins() / "xdv_rules"]).stdout)
    assert "".join(rules[0]["formatted"]["value"]["filter"]).rstrip("\0") == \
        "udp port 53"


def test_attach_twice(lab):
    lab.gateway.xdivert("attach", "g0")
    failure(lab.gateway.xdivert("attach", "g0", check=False), "g0",
            "already attached")
    assert len(lab.gateway.status()["interfaces"]) == 1


def test_detach_without_attach(lab):
    failure(lab.gateway.xdivert("detach", "g0", check=False), "nothing is")
    lab.gateway.xdivert("attach", "g1")
    failure(lab.gateway.xdivert("detach", "g0", check=False), "g0",
            "not attached")


def test_unknown_interface(lab):
    failure(lab.gateway.xdivert("attach", "nonesuch", check=False),
            "nonesuch", "no such interface")
    assert not lab.gateway.pins().exists()
    lab.gateway.xdivert("attach", "g1")
    failure(lab.gateway.xdivert("detach", "nonesuch", check=False),
            "nonesuch", "no such interface")


def test_not_attached(lab):
    for words in (["status"], ["stats"], ["completions"], ["rule", "list"],
                  ["inject", "--oif", "g1", "--hex", "45"]):
        failure(lab.gateway.xdivert(*words, check=False), "not ready")
    # Everything is detached already.
    lab.gateway.xdivert("detach", "--all")


@pytest.mark.parametrize("words", [
    ["attach", "g0"], ["detach", "g0"], ["run"], ["stats"], ["status"],
    ["completions"], ["rule", "list"], ["inject", "--oif", "g0", "--hex", ""],
], ids=lambda w: w[0])
def test_without_privileges(lab, words):
    done = lab.gateway.run(["setpriv", "--reuid", "65534", "--clear-groups",
                            "--inh-caps=-all", "--bounding-set=-all",
                            XDIVERT, *words], check=False)
    failure(done, words[0], "CAP_NET_ADMIN", "sudo")
    assert not lab.gateway.pins().exists()


@pytest.mark.parametrize("words", [
    ["run"], ["inject", "--oif", "g0", "--hex", ""]], ids=lambda w: w[0])
def test_without_sockets(lab, words):
    """Enough for the rest, but not to receive or send."""
    lab.gateway.xdivert("attach", "g0")
    done = lab.gateway.run(["setpriv", "--bounding-set=-net_raw",
                            XDIVERT, *words], check=False)
    failure(done, words[0], "CAP_NET_RAW", "sudo")


def test_another_xdp_program_in_the_way(lab):
    """One that is not behind a dispatcher."""
    lab.gateway.run("ip link add e0 type veth peer name e1")
    lab.gateway.xdivert("attach", "g0")
    foreign = lab.gateway.pins().with_name("foreign")
    try:
        # Any XDP program will do, ours too.
        lab.gateway.run(["bpftool", "prog", "load",
                         XDIVERT.with_name("xdp_ingress.linked.o"), foreign])
        lab.gateway.run(["bpftool", "net", "attach", "xdpdrv", "pinned",
                         foreign, "dev", "e0"])
        failure(lab.gateway.xdivert("attach", "e0", check=False), "e0",
                "another XDP program")
        assert len(lab.gateway.status()["interfaces"]) == 1
    finally:
        lab.gateway.run("ip link del e0")
        foreign.unlink()


def test_mtu_too_big(lab, monkeypatch):
    monkeypatch.setenv("XDIVERT_NO_MULTIBUF", "1")  # as before 6.6
    lab.gateway.run("ip link add e0 mtu 9000 type veth peer name e1 mtu 9000")
    try:
        failure(lab.gateway.xdivert("attach", "e0", check=False), "e0",
                "9000", "3328")
        assert not lab.gateway.pins().exists()
    finally:
        lab.gateway.run("ip link del e0")


def test_device_without_native_xdp(lab):
    """auto falls back to generic and says so; native is refused."""
    lab.gateway.run("ip link add b0 type bridge")
    try:
        failure(lab.gateway.xdivert("attach", "b0", "--mode", "native",
                                    check=False), "b0", "--mode generic")
        lab.gateway.xdivert("attach", "b0")
        assert lab.gateway.status()["interfaces"][0]["mode"] == "generic"
        assert "generic" in lab.gateway.xdivert("status").stdout
    finally:
        lab.gateway.run("ip link del b0")


def test_warns_when_nothing_is_forwarded(lab):
    keys = "net.ipv4.conf.g0.forwarding={0} net.ipv6.conf.g0.forwarding={0}"
    lab.gateway.run("sysctl -qw " + keys.format(0))
    try:
        done = lab.gateway.xdivert("attach", "g0")
        assert "does not forward" in done.stderr
    finally:
        lab.gateway.run("sysctl -qw " + keys.format(1))


def test_interface_gone_while_attached(lab):
    lab.gateway.run("ip link add e0 type veth peer name e1")
    lab.gateway.xdivert("attach", "e0")
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.run("ip link del e0")
    lab.gateway.xdivert("attach", "g1")
    assert {i["ifname"] for i in lab.gateway.status()["interfaces"]} == \
        {"g0", "g1"}
    lab.gateway.run("ip link add e0 type veth peer name e1")
    lab.gateway.xdivert("attach", "e0")
    lab.gateway.run("ip link del e0")
    lab.gateway.xdivert("detach", "e0")


def test_renamed_interface(lab):
    lab.gateway.run("ip link add e0 type veth peer name e1")
    try:
        lab.gateway.xdivert("attach", "e0")
        lab.gateway.run("ip link set e0 name e2")
        assert lab.gateway.status()["interfaces"][0]["ifname"] == "e2"
        lab.gateway.xdivert("detach", "e2")
    finally:
        lab.gateway.run("ip link del e1")


def test_namespace_of_the_same_name(lab):
    """State of a namespace that is gone is not taken for the new one's."""
    subprocess.run(["ip", "netns", "add", "xdsame"], check=True)
    try:
        enter = [XDIVERT, "--compartment", "xdsame"]
        for _ in range(2):
            subprocess.run("ip -n xdsame link add e0 type veth peer e1".split(),
                           check=True)
            subprocess.run([*enter, "attach", "e0"], check=True,
                           stderr=subprocess.DEVNULL)
            subprocess.run(["ip", "netns", "del", "xdsame"], check=True)
            subprocess.run(["ip", "netns", "add", "xdsame"], check=True)
        done = subprocess.run([*enter, "status"], text=True,
                              capture_output=True)
        failure(done, "not ready")
        subprocess.run([*enter, "detach", "--all"], check=True)
    finally:
        subprocess.run(["ip", "netns", "del", "xdsame"], check=True)
    assert not os.path.exists("/sys/fs/bpf/xdivert/xdsame")


def test_ip_netns_exec(lab):
    """It hides bpffs; xdivert finds the state all the same."""
    lab.gateway.xdivert("attach", "g0")
    done = subprocess.run(["ip", "netns", "exec", lab.gateway.name, XDIVERT,
                           "status", "--json"], check=True, text=True,
                          capture_output=True)
    assert json.loads(done.stdout)["interfaces"][0]["ifname"] == "g0"


def test_pin_dir(lab):
    other = "/sys/fs/bpf/xdivert-other"
    for words, env in ((["--pin-dir", other], {}),
                       ([], {"XDIVERT_PIN_DIR": other})):
        def xdivert(*more):
            return lab.gateway.run([XDIVERT, *words, *more],
                                   env={**os.environ, **env})
        xdivert("attach", "g0")
        assert os.path.exists(f"{other}/{lab.gateway.name}/xdv_stats")
        assert not lab.gateway.pins().exists()
        xdivert("detach", "g0")
        assert not os.path.exists(other)


def test_two_interfaces_and_two_queues_at_once(lab):
    """Both directions; every queue of both interfaces carries packets."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.xdivert("attach", "g1")
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 5")
    lab.gateway.daemon()
    status = lab.gateway.status()
    assert {i["ifname"]: i["served"] for i in status["interfaces"]} == \
        {"g0": 2, "g1": 2}
    path = Path(lab)
    back = lab.wire(lab.server, "s0")
    to_gateway = dict(src=lab.server.mac("s0"), dst=lab.gateway.mac("g1"))
    to_client = dict(src=lab.gateway.mac("g0"), dst=lab.client.mac("c0"))
    for i in range(40):
        text = "queue-test-%05d" % i
        ports = dict(sport=1000 + i, dport=2000)
        sent = IP(src="10.0.1.2", dst="10.0.2.2") / UDP(**ports) / text
        path.expect(sent, IP(src="10.0.1.2", dst="10.0.2.2", ttl=63,
                             tos=20) / UDP(**ports) / text)
        sent = IP(src="10.0.2.2", dst="10.0.1.2") / UDP(**ports) / text
        back.send(Ether(**to_gateway) / sent)
        frame = path.client.receive(lambda f: text.encode() in f
                                    and f[23] == 17)
        assert frame == bytes(
            Ether(**to_client) / IP(src="10.0.2.2", dst="10.0.1.2", ttl=63,
                                    tos=20) / UDP(**ports) / text)
    stats = lab.gateway.check_accounting()
    assert stats["diverted"] == stats["completed"] == 80
    rows = {i["ifname"]: i for i in stats["interfaces"]}
    assert rows["g0"]["diverted"] == rows["g1"]["diverted"] == 40
    assert rows["g0"]["completed"] == rows["g1"]["completed"] == 40
    queues = json.loads(lab.gateway.run(
        ["bpftool", "-j", "map", "dump", "pinned",
         lab.gateway.pins() / "xdv_queues"]).stdout)
    used = [q["key"] for q in map(lambda e: e["formatted"], queues)
            if q["value"]["produced"]]
    assert len(used) == 4, used


def test_ipv6_and_ipv4_through_generic_mode(lab):
    lab.gateway.xdivert("attach", "g0", "--mode", "generic")
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 5")
    lab.gateway.daemon()
    path = Path(lab)
    path.expect(udp("generic-works-ok"), udp("generic-works-ok", ttl=63, tos=20))
    path.expect(udp6("generic-works-ok"),
                udp6("generic-works-ok", hlim=63, tc=20))
