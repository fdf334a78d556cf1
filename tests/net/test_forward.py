# SPDX-License-Identifier: BSD-2-Clause
"""The way of a packet: which are diverted, and what leaves, to the byte."""
import pytest

from clients import ping
from packets import (ICMP, IP, TCP, UDP, V4, V6, Ether, ICMPv6EchoRequest,
                     IPv6, Path, udp, udp6)
from transfer import transfer


@pytest.fixture
def path(lab):
    return Path(lab)


def flows(stats):
    return {key: stats[key] for key in
            ("matched", "diverted", "injected", "completed", "failed",
             "dropped")}


def test_unmatched_packets_are_the_kernels(lab, path):
    """Attached and running, with a rule that does not match."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("other", "tcp port 7", "--do", "drop")
    lab.gateway.daemon()
    path.expect(udp("untouched-packet"), udp("untouched-packet", ttl=63))
    path.expect(udp6("untouched-packet"), udp6("untouched-packet", hlim=63))
    stats = lab.gateway.settled()
    assert stats["matched"] == 0
    assert stats["seen"] == stats["unmatched"] >= 2


def test_attached_without_rules(lab, path):
    lab.gateway.xdivert("attach", "g0")
    path.expect(udp("no-rules-at-all!"), udp("no-rules-at-all!", ttl=63))


def test_diverted_packet_is_forwarded_like_the_kernel_does(lab, path):
    """The same packet through the kernel and through us: the same bytes."""
    before = udp("the-same-bytes!!", tos=0x28, id=77)
    after = udp("the-same-bytes!!", ttl=63, tos=0x28, id=77)
    path.expect(before, after)
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp", "--do", "pass")
    lab.gateway.daemon()
    path.expect(before, after)
    assert flows(lab.gateway.settled()) == dict(
        matched=1, diverted=1, injected=1, completed=1, failed=0, dropped=0)


def test_rule_without_callouts_injects(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    lab.gateway.daemon()
    path.expect(udp("nothing-to-do-ok"), udp("nothing-to-do-ok", ttl=63))
    assert lab.gateway.settled()["completed"] == 1


@pytest.mark.parametrize("ttl", [2, 3, 128, 255])
def test_ttl_is_decremented_once(lab, path, ttl):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    lab.gateway.daemon()
    path.expect(udp("ttl-by-one-only!", ttl=ttl),
                udp("ttl-by-one-only!", ttl=ttl - 1))
    path.expect(udp6("hlim-by-one-only", hlim=ttl),
                udp6("hlim-by-one-only", hlim=ttl - 1))
    assert lab.gateway.settled()["completed"] == 2


EDITS = [
    ("ip.dscp 46", udp("set-ip-dscp-done"),
     udp("set-ip-dscp-done", ttl=63, tos=46 << 2)),
    ("ip.dscp 46", udp6("set-ip-dscp-done"),
     udp6("set-ip-dscp-done", hlim=63, tc=46 << 2)),
    ("ip.ttl 9", udp("set-ip-ttl-done!"), udp("set-ip-ttl-done!", ttl=8)),
    ("ip.ttl 9", udp6("set-ip-ttl-done!"), udp6("set-ip-ttl-done!", hlim=8)),
    ("ip.src 10.0.1.77", udp("set-ip-src-done!"),
     udp("set-ip-src-done!", ttl=63, src="10.0.1.77")),
    ("ip.src fd00:1::77", udp6("set-ip-src-done!"),
     udp6("set-ip-src-done!", hlim=63, src="fd00:1::77")),
    ("udp.dport 5353", udp("set-dport-done!!"),
     IP(**V4, ttl=63) / UDP(sport=4000, dport=5353) / "set-dport-done!!"),
    ("udp.sport 1", udp6("set-sport-done!!"),
     IPv6(**V6, hlim=63) / UDP(sport=1, dport=5000) / "set-sport-done!!"),
    ("tcp.dport 81", IP(**V4) / TCP(sport=9, dport=80) / "set-tcp-dport-ok",
     IP(**V4, ttl=63) / TCP(sport=9, dport=81) / "set-tcp-dport-ok"),
    ("tcp.dport 81", udp("not-tcp,so-same!"),
     udp("not-tcp,so-same!", ttl=63)),
]


@pytest.mark.parametrize("edit,sent,expected", EDITS,
                         ids=lambda v: v if isinstance(v, str) else "")
def test_set(lab, path, edit, sent, expected):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("edit", "ip or ip6", "--do", f"set {edit}")
    lab.gateway.daemon()
    path.expect(sent, expected)
    assert flows(lab.gateway.settled()) == dict(
        matched=1, diverted=1, injected=1, completed=1, failed=0, dropped=0)


@pytest.mark.parametrize("make", [
    lambda text, n: IP(**V4, ttl=n) / TCP(sport=9, dport=80, flags="PA") / text,
    lambda text, n: IPv6(**V6, hlim=n) / TCP(sport=9, dport=80) / text,
    lambda text, n: udp(text, ttl=n),
    lambda text, n: udp6(text, hlim=n),
    lambda text, n: IP(**V4, ttl=n) / ICMP() / text,
    lambda text, n: IPv6(**V6, hlim=n) / ICMPv6EchoRequest(data=text),
], ids=["tcp", "tcp6", "udp", "udp6", "icmp", "icmp6"])
def test_replace(lab, path, make):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("edit", "ip or ip6", "--do", r"replace 'cat\x21' dogs")
    lab.gateway.daemon()
    path.expect(make("A cat! and a cat!, cats 0123456789", 64),
                make("A dogs and a dogs, cats 0123456789", 63))


def test_several_callouts_in_order(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("edit", "udp", "--do", "replace aaaa bbbb",
                     "--do", "replace bbbb cccc", "--do", "set ip.dscp 8",
                     "--do", "pass", "--do", "drop")
    lab.gateway.daemon()
    path.expect(udp("aaaa-0123456789ab"),
                udp("cccc-0123456789ab", ttl=63, tos=32))


def test_drop(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("no", "udp port 5000", "--do", "drop")
    lab.gateway.daemon()
    tcp = IP(**V4) / TCP(sport=1, dport=2) / "this-one-arrives"
    path.expect_nothing(udp("must-not-arrive!"), tcp)
    path.expect_nothing(udp6("must-not-arrive!"), tcp)
    assert flows(lab.gateway.settled()) == dict(
        matched=2, diverted=2, injected=0, completed=0, failed=0, dropped=2)


def test_first_match_by_priority(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("late", "udp", "--do", "drop", "--priority", "20")
    lab.gateway.rule("early", "udp", "--do", "set ip.dscp 1",
                     "--priority", "10")
    lab.gateway.daemon()
    path.expect(udp("priority-counts!"), udp("priority-counts!", ttl=63, tos=4))
    lab.gateway.xdivert("rule", "del", "early")
    path.expect_nothing(udp("priority-counts2"),
                        IP(**V4) / TCP() / "this-one-arrives")
    lab.gateway.xdivert("rule", "flush")
    path.expect(udp("priority-counts3"), udp("priority-counts3", ttl=63))


def test_iif_and_oif(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("wrong-in", "udp", "--iif", "g1", "--do", "drop",
                     "--priority", "1")
    lab.gateway.rule("wrong-out", "udp", "--oif", "g0", "--do", "drop",
                     "--priority", "2")
    lab.gateway.rule("right", "udp", "--iif", "g0", "--oif", "g1", "--do",
                     "set ip.dscp 2", "--priority", "3")
    lab.gateway.rule("never", "udp", "--do", "drop", "--priority", "4")
    lab.gateway.daemon()
    path.expect(udp("the-interfaces!!"), udp("the-interfaces!!", ttl=63, tos=8))


def test_to_another_interface(lab, path):
    """--to g0 sends it back to where it came from, as the rule says."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("back", "udp", "--to", "g0", "--do", "set ip.dst 10.0.1.2")
    lab.gateway.daemon()
    path.send(udp("comes-back-to-us"))
    frame = path.client.receive(lambda f: b"comes-back-to-us" in f)
    assert frame[14:] == bytes(udp("comes-back-to-us", ttl=63, dst="10.0.1.2"))


def test_ttl_1_is_the_kernels(lab, path):
    """The client gets the kernel's own time exceeded; nothing is diverted."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "ip or ip6")
    lab.gateway.daemon()
    path.send(udp("hop-limit-is-one", ttl=1))
    answer = path.client.receive(lambda f: b"hop-limit-is-one" in f)
    assert Ether(answer)[ICMP].type == 11
    path.send(udp6("hop-limit-is-one", hlim=1))
    answer = path.client.receive(lambda f: b"hop-limit-is-one" in f)
    assert Ether(answer)[IPv6].nh == 58 and answer[54] == 3
    assert lab.gateway.settled()["matched"] == 0


def test_packets_for_this_host_are_the_kernels(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "ip or ip6", "--do", "drop")
    lab.gateway.daemon()
    assert lab.client.run("ping -c 1 -W 5 10.0.1.1").returncode == 0
    assert lab.client.run("ping -c 1 -W 5 fd00:1::1").returncode == 0
    assert lab.gateway.settled()["matched"] == 0


def test_forwarding_off_diverts_nothing(lab, path):
    lab.gateway.run("sysctl -qw net.ipv4.conf.g0.forwarding=0")
    try:
        lab.gateway.xdivert("attach", "g0")
        lab.gateway.rule("all", "ip or ip6")
        lab.gateway.daemon()
        path.expect_nothing(udp("not-forwarded!!!"), udp6("but-this-one-is!"))
        assert lab.gateway.settled()["matched"] == 1
    finally:
        lab.gateway.run("sysctl -qw net.ipv4.conf.g0.forwarding=1")


def check_real_clients(lab):
    lab.gateway.rule("all", "ip or ip6", "--do", "replace mouse MOUSE")
    lab.gateway.daemon()
    ping(lab, "10.0.2.2", 2)
    ping(lab, "fd00:2::2", 2)
    text = b"a mouse and another mouse. " * 4000
    for address in ("10.0.2.2", "fd00:2::2"):
        got = transfer(lab, address, text)
        # A word across two segments stays as it was.
        assert got.lower() == text
        assert got.count(b"MOUSE") > 7000
    stats = lab.gateway.settled()
    assert stats["failed"] == 0
    assert stats["completed"] == stats["diverted"] > 20


def attach_both(lab, mode):
    lab.gateway.xdivert("attach", "g0", "--mode", mode)
    lab.gateway.xdivert("attach", "g1", "--mode", mode)
    assert {i["mode"] for i in lab.gateway.status()["interfaces"]} == {mode}


def test_real_clients_native(lab):
    """The stack's own packets, their checksums left to "hardware"."""
    attach_both(lab, "native")
    check_real_clients(lab)


def test_real_clients_generic(lab):
    attach_both(lab, "generic")
    with lab.client.without_offloads("c0"), lab.server.without_offloads("s0"):
        check_real_clients(lab)
