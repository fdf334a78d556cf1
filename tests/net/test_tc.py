# SPDX-License-Identifier: BSD-2-Clause
"""The TC hook: the same way of a packet, from TC ingress through a tap."""
import json
import os
import socket
import subprocess

import pytest

from clients import ping
from lab import KERNEL, XDIVERT, wait_for
from packets import (ICMP, IP, TCP, UDP, V4, Ether, ICMPv6EchoRequest, IPv6,
                     Path, udp, udp6)
from test_attach import failure, kernel_ids, made_by
from test_daemon import Traffic, next_arrival, number

MODES = ["tcx", "clsact"] if KERNEL >= (6, 6) else ["clsact"]
PACKET_AUXDATA, ETH_P_8021Q = 8, 0x8100


@pytest.fixture
def path(lab):
    return Path(lab)


def attach(lab, *words, ifname="g0"):
    lab.gateway.xdivert("attach", ifname, "--hook", "tc", *words)


def flows(stats):
    return {key: stats[key] for key in
            ("matched", "diverted", "injected", "completed", "failed",
             "dropped")}


def own_devices(lab):
    links = json.loads(lab.gateway.run("ip -j link show").stdout)
    return [link["ifname"] for link in links
            if link["ifname"].startswith("xdv")]


@pytest.mark.skipif(KERNEL >= (6, 6), reason="the kernel has tcx links")
def test_no_tcx_links(lab):
    done = lab.gateway.xdivert("attach", "g0", "--hook", "tc", "--mode", "tcx",
                               check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "6.6" in done.stderr and "clsact" in done.stderr


@pytest.mark.parametrize("mode", MODES)
def test_diverted_like_the_kernel_forwards(lab, path, mode):
    """The same packet through the kernel and through us: the same bytes."""
    before = udp("the-same-bytes!!", tos=0x28, id=77)
    after = udp("the-same-bytes!!", ttl=63, tos=0x28, id=77)
    path.expect(before, after)
    attach(lab, "--mode", mode)
    lab.gateway.rule("all", "udp")
    lab.gateway.daemon()
    path.expect(before, after)
    path.expect(udp6("the-same-bytes!!"), udp6("the-same-bytes!!", hlim=63))
    assert flows(lab.gateway.settled()) == dict(
        matched=2, diverted=2, injected=2, completed=2, failed=0, dropped=0)


def test_unmatched_packets_are_the_kernels(lab, path):
    attach(lab)
    lab.gateway.rule("other", "tcp port 7", "--do", "drop")
    lab.gateway.daemon()
    path.expect(udp("untouched-packet"), udp("untouched-packet", ttl=63))
    path.expect(udp6("untouched-packet"), udp6("untouched-packet", hlim=63))
    stats = lab.gateway.settled()
    assert stats["matched"] == 0
    assert stats["seen"] == stats["unmatched"] >= 2


@pytest.mark.parametrize("make", [
    lambda text, n: IP(**V4, ttl=n) / TCP(sport=9, dport=80, flags="PA") / text,
    lambda text, n: udp(text, ttl=n),
    lambda text, n: udp6(text, hlim=n),
    lambda text, n: IP(**V4, ttl=n) / ICMP() / text,
    lambda text, n: IPv6(src="fd00:1::2", dst="fd00:2::2", hlim=n) /
    ICMPv6EchoRequest(data=text),
], ids=["tcp", "udp", "udp6", "icmp", "icmp6"])
def test_callouts(lab, path, make):
    attach(lab)
    lab.gateway.rule("edit", "ip or ip6", "--do", r"replace 'cat\x21' dogs")
    lab.gateway.daemon()
    path.expect(make("A cat! and a cat!, cats 0123456789", 64),
                make("A dogs and a dogs, cats 0123456789", 63))


def test_rules_choose_by_interface(lab, path):
    attach(lab)
    for priority, (name, words) in enumerate([
            ("wrong-in", ["--iif", "g1"]), ("wrong-out", ["--oif", "g0"]),
            ("receive", ["--layer", "receive"])]):
        lab.gateway.rule(name, "udp", *words, "--do", "drop", "--priority",
                         str(priority))
    lab.gateway.rule("right", "udp", "--iif", "g0", "--oif", "g1", "--do",
                     "set ip.dscp 2")
    lab.gateway.daemon()
    path.expect(udp("the-interfaces!!"), udp("the-interfaces!!", ttl=63, tos=8))


@pytest.mark.parametrize("mode", MODES)
def test_receive_layer_is_not_diverted_twice(lab, path, mode):
    """What goes into the stack comes by the hook once more, and passes."""
    attach(lab, "--mode", mode)
    lab.gateway.rule("mine", "icmp or icmp6", "--layer", "receive")
    lab.gateway.daemon()
    ping(lab, "10.0.1.1", 3)
    ping(lab, "fd00:1::1", 3)
    stats = lab.gateway.check_accounting()
    assert stats["diverted"] == stats["completed"] == 6
    assert stats["returned"] == 0


def test_ttl_1_is_the_kernels(lab, path):
    attach(lab)
    lab.gateway.rule("all", "ip or ip6")
    lab.gateway.daemon()
    path.send(udp("hop-limit-is-one", ttl=1))
    answer = path.client.receive(lambda f: b"hop-limit-is-one" in f)
    assert Ether(answer)[ICMP].type == 11
    assert lab.gateway.settled()["matched"] == 0


def test_bigger_than_the_way_out(lab, path):
    """It is too big, and its sender is told so."""
    attach(lab, "--fail", "open")
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 1")
    lab.gateway.daemon()
    # Below 1280 the interface would lose its IPv6 for good.
    lab.gateway.run("ip link set g1 mtu 1300")
    try:
        path.send(udp("z" * 1400, flags="DF"))
        answer = path.client.receive(
            lambda f: f[23] == 1 and f[34:36] == b"\3\4")
        assert answer is not None and answer[40:42] == b"\x05\x14"
        assert lab.gateway.settled()["failed"] == 1
    finally:
        lab.gateway.run("ip link set g1 mtu 1500")


# ---- attaching ----

def test_status(lab):
    attach(lab, "--mode", "clsact", "--fail", "closed")
    attach(lab, "--mode", "tcx", ifname="g1")
    text = lab.gateway.xdivert("status").stdout
    assert "g0: hook tc, mode clsact, fail closed, attached by filter, " \
        "0 of 1 queues served" in text
    assert "g1: hook tc, mode tcx, fail open, attached by link, " in text
    lab.gateway.daemon()
    rows = {i["ifname"]: i for i in lab.gateway.status()["interfaces"]}
    assert [(rows[n]["hook"], rows[n]["mode"], rows[n]["served"],
             rows[n]["queues"]) for n in ("g0", "g1")] == \
        [("tc", "clsact", 1, 1), ("tc", "tcx", 1, 1)]


def test_one_hook_an_interface(lab):
    attach(lab)
    failure(lab.gateway.xdivert("attach", "g0", check=False), "g0",
            "already attached", "hook tc")
    lab.gateway.xdivert("detach", "g0")
    lab.gateway.xdivert("attach", "g0")
    failure(lab.gateway.xdivert("attach", "g0", "--hook", "tc", check=False),
            "g0", "already attached", "hook xdp")
    failure(lab.gateway.xdivert("attach", "g1", "--hook", "tc", "--mode",
                                "native", check=False), "g1", "other hook")


def test_detach_leaves_nothing(lab, path):
    made, daemon = made_by(
        lambda: attach(lab, "--mode", "tcx"),
        lambda: attach(lab, "--mode", "clsact", ifname="g1"),
        lambda: lab.gateway.rule("all", "udp"), lab.gateway.daemon)
    assert len(made) > 20
    # The port and a tap.
    assert len(own_devices(lab)) == 2
    path.expect(udp("through-the-tap!"), udp("through-the-tap!", ttl=63))
    lab.gateway.xdivert("detach", "g0")
    lab.gateway.xdivert("detach", "g1")
    wait_for(lambda: len(own_devices(lab)) == 1, what="the tap's end")
    assert daemon.stop() == 0, daemon.errors
    assert not lab.gateway.pins().exists()
    wait_for(lambda: not kernel_ids() & made, timeout=30)
    assert own_devices(lab) == []
    assert lab.gateway.run("tc filter show dev g1 ingress").stdout == ""


def test_killed_daemon_leaves_no_devices(lab, path):
    attach(lab)
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 1")
    daemon = lab.gateway.daemon()
    path.expect(udp("through-the-tap!"), udp("through-the-tap!", ttl=63, tos=4))
    daemon.kill()
    wait_for(lambda: own_devices(lab) == [], what="the devices' end")
    path.expect(udp("past-the-tap!!!!"), udp("past-the-tap!!!!", ttl=63))
    assert lab.gateway.check_accounting()["unserved"] == 1


def test_renamed_and_gone(lab):
    lab.gateway.run("ip link add e0 type veth peer name e1")
    try:
        attach(lab, ifname="e0")
        attach(lab, "--mode", "clsact", ifname="e1")
        lab.gateway.run("ip link set e0 name e2")
        assert {i["ifname"] for i in lab.gateway.status()["interfaces"]} == \
            {"e1", "e2"}
    finally:
        lab.gateway.run("ip link del e1")
    attach(lab)
    assert [i["ifname"] for i in lab.gateway.status()["interfaces"]] == ["g0"]


def test_namespace_gone(lab):
    subprocess.run(["ip", "netns", "add", "xdtc"], check=True)
    try:
        enter = [XDIVERT, "--compartment", "xdtc"]
        for _ in range(2):
            subprocess.run("ip -n xdtc link add e0 type veth peer e1".split(),
                           check=True)
            subprocess.run([*enter, "attach", "e0", "--hook", "tc"],
                           check=True, stderr=subprocess.DEVNULL)
            subprocess.run(["ip", "netns", "del", "xdtc"], check=True)
            subprocess.run(["ip", "netns", "add", "xdtc"], check=True)
        subprocess.run([*enter, "detach", "--all"], check=True)
    finally:
        subprocess.run(["ip", "netns", "del", "xdtc"], check=True)


def test_attach_and_detach_while_it_runs(lab, path):
    """The tap comes with the first interface and goes with the last."""
    lab.gateway.xdivert("attach", "g1")
    lab.gateway.daemon()
    for mode in MODES * 2:
        attach(lab, "--mode", mode)
        assert {i["ifname"]: i["served"]
                for i in lab.gateway.status()["interfaces"]} == \
            {"g0": 1, "g1": 2}
        lab.gateway.rule("all", "udp", "--do", "set ip.dscp 3")
        path.expect(udp("attached-in-time"),
                    udp("attached-in-time", ttl=63, tos=12))
        lab.gateway.xdivert("detach", "g0")
        path.expect(udp("detached-in-time"), udp("detached-in-time", ttl=63))
        lab.gateway.xdivert("rule", "del", "all")
    assert lab.gateway.settled()["completed"] == 4


@pytest.fixture(scope="session")
def mark(tmp_path_factory):
    """Somebody else's program, as an object for tc."""
    source = os.path.join(os.path.dirname(__file__), "mark.bpf.c")
    target = tmp_path_factory.mktemp("mark") / "mark.o"
    subprocess.run(["clang", "-target", "bpf", "-O2", "-g", "-idirafter",
                    f"/usr/include/{os.uname().machine}-linux-gnu",
                    "-c", "-o", target, source], check=True)
    return target


@pytest.mark.parametrize("mode", MODES)
def test_another_tc_program(lab, path, mark, mode):
    """It stays, it goes on working, and the mark that it sets counts: routing
    by it makes the kernel drop what bears it. A tcx link runs before filters,
    a filter of ours behind theirs.
    """
    gateway = lab.gateway
    # It may be there: a filter of ours leaves the qdisc.
    gateway.run("tc qdisc add dev g0 clsact", check=False)
    gateway.run("ip rule add fwmark 7 table 99")
    gateway.run("ip route add blackhole default table 99")
    try:
        gateway.run(f"tc filter add dev g0 ingress prio 10 handle 5 bpf da "
                    f"obj {mark} sec tc")
        before = gateway.run("tc filter show dev g0 ingress").stdout
        attach(lab, "--mode", mode)
        gateway.rule("some", "udp port 5000", "--do", "set ip.dscp 1")
        gateway.daemon()
        other = IP(**V4) / UDP(sport=1, dport=2) / "marked-by-others"
        path.send(other)
        path.send(udp("is-it-marked-too"))
        path.send(udp6("the-last-of-them"))
        first = path.server.receive(
            lambda f: b"marked-by-others" in f or b"is-it-marked-too" in f
            or b"the-last-of-them" in f)
        assert b"marked-by-others" not in first
        if mode == "tcx":
            assert b"is-it-marked-too" in first and first[15] == 4
        else:
            assert b"the-last-of-them" in first
        gateway.xdivert("detach", "g0")
        assert gateway.run("tc filter show dev g0 ingress").stdout == before
        assert "clsact" in gateway.run("tc qdisc show dev g0").stdout
    finally:
        gateway.run("ip rule del fwmark 7 table 99")
        gateway.run("ip route flush table 99")
        gateway.run("tc qdisc del dev g0 clsact")


def test_our_filter_was_removed_by_somebody(lab, path):
    """Detaching removes nothing else in its place."""
    attach(lab, "--mode", "clsact")
    lab.gateway.run("tc qdisc del dev g0 clsact")
    lab.gateway.xdivert("detach", "g0")
    assert not lab.gateway.pins().exists()
    path.expect(udp("nothing-in-a-way"), udp("nothing-in-a-way", ttl=63))


# ---- who serves ----

def test_no_daemon(lab, path):
    attach(lab, "--fail", "open")
    lab.gateway.rule("all", "udp", "--do", "drop")
    path.expect(udp("nobody-serves-it"), udp("nobody-serves-it", ttl=63))
    lab.gateway.xdivert("detach", "g0")
    attach(lab, "--fail", "closed")
    lab.gateway.rule("all", "udp")
    path.expect_nothing(udp("nobody-serves-it"),
                        IP(**V4) / TCP() / "this-one-arrives")
    assert lab.gateway.check_accounting()["unserved"] == 1


def test_killed_under_traffic_fail_open(lab, path):
    attach(lab, "--fail", "open")
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 1")
    first = lab.gateway.daemon()
    traffic = Traffic(path)
    try:
        assert next_arrival(path, 20)[15] == 4
        first.kill()
        frame = next_arrival(path, traffic.sent + 1)
        assert frame is not None and frame[15] == 0
        second = lab.gateway.daemon()
        frame = next_arrival(path, traffic.sent + 1)
        assert frame is not None and frame[15] == 4
        assert second.stop() == 0, second.errors
        frame = next_arrival(path, traffic.sent + 1)
        assert frame is not None and frame[15] == 0
    finally:
        traffic.stop()
    stats = lab.gateway.check_accounting()
    assert stats["unserved"] > 0 and stats["completed"] > 0


def test_killed_under_traffic_fail_closed(lab, path):
    attach(lab, "--fail", "closed")
    lab.gateway.rule("all", "udp")
    first = lab.gateway.daemon()
    traffic = Traffic(path)
    try:
        assert next_arrival(path, 20)
        first.kill()
        before = lab.gateway.stats()["unserved"]
        wait_for(lambda: lab.gateway.stats()["unserved"] > before + 50)
        killed_at = traffic.sent
        second = lab.gateway.daemon()
        served_at = traffic.sent
        first_back = number(next_arrival(path, killed_at))
        assert killed_at < first_back <= served_at + 5
        assert second.stop() == 0, second.errors
    finally:
        traffic.stop()
    lab.gateway.check_accounting()


def test_sigterm_drains(lab, path):
    attach(lab)
    lab.gateway.rule("all", "udp")
    daemon = lab.gateway.daemon()
    daemon.freeze()
    for _ in range(100):
        path.send(udp("waits-in-a-queue"))
    wait_for(lambda: lab.gateway.stats()["diverted"] == 100)
    daemon.process.send_signal(15)
    daemon.process.send_signal(18)
    assert daemon.wait() == 0, daemon.errors
    stats = lab.gateway.stats()
    assert (stats["diverted"], stats["completed"]) == (100, 100)


def test_daemons_come_and_go_under_traffic(lab, path):
    """With --fail open no packet is lost or doubled for it. What passes when a
    daemon ends may overtake what that one still has, but neither those that
    are diverted nor those that pass overtake their like.
    """
    attach(lab, "--fail", "open")
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 1")
    traffic = Traffic(path)
    try:
        for _ in range(5):
            daemon = lab.gateway.daemon()
            sent = traffic.sent
            wait_for(lambda: traffic.sent > sent + 50)
            assert daemon.stop() == 0, daemon.errors
    finally:
        traffic.stop()
    arrived = {0: [], 4: []}  # by TOS
    for _ in range(traffic.sent):
        frame = path.server.receive(lambda f: b"traffic-" in f)
        assert frame is not None, lab.gateway.stats()
        arrived[frame[15]].append(number(frame))
    passed, edited = arrived.values()
    assert passed == sorted(passed) and edited == sorted(edited)
    assert sorted(passed + edited) == list(range(traffic.sent))
    assert len(edited) > 200
    stats = lab.gateway.check_accounting()
    assert stats["completed"] == stats["diverted"] == len(edited)
    assert stats["queue_dropped"] == stats["dropped"] == 0


def test_overload_is_bounded_and_counted(lab, path):
    attach(lab, "--fail", "closed")
    lab.gateway.rule("all", "udp")
    daemon = lab.gateway.daemon()
    daemon.freeze()
    frame = bytes(Ether(**path.to_gateway) / udp("overload-0123456"))
    for _ in range(6000):
        path.client.send(frame)
    wait_for(lambda: lab.gateway.stats()["matched"] == 6000)
    assert lab.gateway.stats()["unserved"] > 0
    daemon.process.send_signal(18)
    stats = lab.gateway.check_accounting()
    assert stats["completed"] == stats["diverted"] < 6000


def test_tap_deleted_by_somebody(lab, path):
    """The daemon makes another."""
    attach(lab, "--fail", "open")
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 1")
    lab.gateway.daemon()
    path.expect(udp("before-its-gone!"), udp("before-its-gone!", ttl=63, tos=4))
    links = json.loads(lab.gateway.run("ip -j link show type veth").stdout)
    tap, = [l["ifname"] for l in links if l["ifname"].startswith("xdv")]
    lab.gateway.run(f"ip link del {tap}")

    def edited():
        path.send(udp("another-tap-now!"))
        frame = path.arrives(b"another-tap-now!", timeout=0.1)
        return frame is not None and frame[15] == 4
    wait_for(edited, what="another tap")
    lab.gateway.check_accounting()


def test_workers_share_the_flows_and_keep_their_order(lab, path):
    attach(lab, "--fail", "closed")
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 3")
    lab.gateway.daemon("--workers", "2")
    assert [(i["served"], i["queues"])
            for i in lab.gateway.status()["interfaces"]] == [(2, 2)]
    flows_sent, rounds = 32, 30
    for i in range(rounds):
        for flow in range(flows_sent):
            path.send(IP(**V4) / UDP(sport=4000 + flow, dport=5000) /
                      f"flow-{flow:04d}-{i:06d}")
    following = [0] * flows_sent
    for _ in range(flows_sent * rounds):
        frame = path.server.receive(lambda f: b"flow-" in f)
        assert frame is not None and frame[15] == 12
        _, flow, i = frame[42:58].split(b"-")
        assert int(i) == following[int(flow)]
        following[int(flow)] += 1
    queues = json.loads(lab.gateway.run(
        ["bpftool", "-j", "map", "dump", "pinned",
         lab.gateway.pins() / "xdv_queues"]).stdout)
    used = [q["formatted"]["key"] for q in queues
            if q["formatted"]["value"]["entered"]]
    assert len(used) == 2, used
    stats = lab.gateway.check_accounting()
    assert stats["completed"] == stats["diverted"] == flows_sent * rounds


# ---- VLAN tags ----

def receive_tagged(wire, marker):
    """A frame with that marker, and the tag that the kernel took out of it."""
    wire.socket.settimeout(5)
    while True:
        frame, aux, _, address = wire.socket.recvmsg(65535, 256)
        if marker in frame and address[2] != socket.PACKET_OUTGOING:
            break
    for level, kind, data in aux:
        if level == 263 and kind == PACKET_AUXDATA:
            valid = int.from_bytes(data[:4], "little") & 0x10
            return frame, int.from_bytes(data[16:18], "little") if valid \
                else None
    raise AssertionError("no auxiliary data")


def tagged(packet, tci, **addresses):
    inner = bytes(Ether(**addresses) / packet)
    return inner[:12] + b"\x81\0" + tci.to_bytes(2, "big") + inner[12:]


def test_tagged_packets_pass_with_their_tag(lab):
    """Through a bridge whose port has the hook and a rule for everything."""
    gateway = lab.gateway
    gateway.run("ip link add b0 type bridge")
    for name in ("e", "f"):
        gateway.run(f"ip link add {name}0 type veth peer name {name}1")
        gateway.run(f"ip link set {name}0 master b0")
        gateway.run(f"ip link set {name}0 up")
        gateway.run(f"ip link set {name}1 up")
    gateway.run("ip link set b0 up")
    try:
        attach(lab, ifname="e0")
        gateway.rule("all", "len > 0", "--do", "drop")
        gateway.daemon()
        into, out = lab.wire(gateway, "e1"), lab.wire(gateway, "f1")
        out.socket.setsockopt(263, PACKET_AUXDATA, 1)
        for address in ("02:00:00:00:00:99", gateway.mac("e0")):
            frame = tagged(udp("tagged-as-before"), 0x6005,
                           src="02:00:00:00:00:98", dst=address)
            if address == gateway.mac("e0"):
                # Nobody's: but it does not reach the daemon either.
                into.send(frame)
                continue
            wait_for(lambda: "forwarding" in gateway.run(
                "bridge link show dev e0").stdout)
            into.send(frame)
            got, tci = receive_tagged(out, b"tagged-as-before")
            assert tci == 0x6005
            assert got == frame[:12] + frame[16:]
        assert gateway.settled()["matched"] == 0
    finally:
        gateway.run("ip link del b0")
        gateway.run("ip link del e0")
        gateway.run("ip link del f0")


def test_vlan_device(lab, path):
    """A tag makes a packet that of a device of its own, which has the hook."""
    gateway = lab.gateway
    made = gateway.run("ip link add link g0 name v5 type vlan id 5",
                       check=False)
    if made.returncode:
        pytest.skip("no VLAN devices: " + made.stderr.strip())
    gateway.run("ip addr add 10.0.5.1/24 dev v5")
    gateway.run("ip link set v5 up")
    try:
        attach(lab, ifname="v5")
        gateway.rule("all", "udp", "--do", "replace gopher turtle")
        gateway.daemon()
        text = IP(src="10.0.5.2", dst="10.0.2.2") / UDP(dport=5000)
        path.client.send(tagged(text / "gopher in a vlan", 5,
                                **path.to_gateway))
        frame = path.arrives(b"turtle in a vlan")
        text[IP].ttl = 63
        assert frame == bytes(Ether(**path.to_server) / text /
                              "turtle in a vlan")
    finally:
        gateway.run("ip link del v5")


def test_priority_tag_is_forwarded_without_it(lab, path):
    """As the kernel does; the rules see the tag."""
    def send(text):
        path.client.send(tagged(udp(text), 0xe000, **path.to_gateway))
    send("by-the-kernel-00")
    expected = path.arrives(b"by-the-kernel-00")
    attach(lab)
    lab.gateway.rule("untagged", "udp", "--do", "drop", "--priority", "1")
    lab.gateway.rule("tagged", "vlan 0 and udp port 5000", "--do",
                     "replace kernel xdivrt")
    lab.gateway.daemon()
    send("by-the-kernel-00")
    frame = path.arrives(b"by-the-xdivrt-00")
    # UDP checksum and payload differ, no more.
    assert frame[:40] == expected[:40] and len(frame) == len(expected)
    assert IP(frame[14:])[UDP].chksum == \
        IP(bytes(udp("by-the-xdivrt-00")))[UDP].chksum
    assert flows(lab.gateway.settled())["completed"] == 1
