# SPDX-License-Identifier: BSD-2-Clause
"""Datagrams in fragments: put together, matched as a whole, cut again."""
import os
import random
import socket

import pytest
from scapy.layers.inet import fragment
from scapy.layers.inet6 import (IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                                fragment6)
from scapy.packet import Raw

from lab import wait_for
from packets import IP, UDP, V4, V6, Ether, IPv6, Path, built


@pytest.fixture
def path(lab):
    return Path(lab)


def datagram(text, sport=4000, dport=5000, **ip):
    return built(IP(**{**V4, "id": 7, **ip}) /
                 UDP(sport=sport, dport=dport) / text)


def datagram6(text, sport=4000, dport=5000):
    return built(IPv6(**V6) / UDP(sport=sport, dport=dport) / text)


def pieces(whole, size):
    """Its fragments, each with up to `size` bytes of payload."""
    if IP in whole:
        return [built(p) for p in fragment(whole, fragsize=size)]
    ports = whole[UDP]
    split = IPv6(src=whole.src, dst=whole.dst, hlim=whole.hlim) / \
        IPv6ExtHdrFragment(id=77, nh=17) / Raw(bytes(ports))
    return [built(p) for p in fragment6(split, size + 48)]


def text_of(n):
    return random.Random(n).randbytes(n)


def forwarded(packet):
    """As the kernel would send it on."""
    copy = packet.copy()
    if IP in copy:
        copy.ttl -= 1
        del copy.chksum
    else:
        copy.hlim -= 1
    return bytes(copy)


def arrivals(path, count, timeout=5):
    """The IP packets of the next `count` frames from the gateway."""
    def ours(frame):
        return frame[12:14] in (b"\x08\x00", b"\x86\xdd") and \
            frame[0:6] == bytes.fromhex(
                path.to_server["dst"].replace(":", ""))
    got = []
    while len(got) < count:
        frame = path.server.receive(ours, timeout)
        if frame is None:
            break
        got.append(frame[14:])
    return got


def serve(lab, expression, *words, fail="open",
          run=("--reassembly-timeout", "8")):
    lab.gateway.xdivert("attach", "g0", "--fail", fail)
    lab.gateway.rule("r", expression, *words)
    return lab.gateway.serving(*run)


HOOKS = pytest.mark.parametrize("hook", [
    ("--mode", "native"), ("--mode", "generic"), ("--hook", "tc")],
    ids=lambda words: words[1])
FAMILIES = pytest.mark.parametrize("make", [datagram, datagram6],
                                   ids=["IPv4", "IPv6"])
ORDERS = pytest.mark.parametrize("order", [
    lambda l: l, lambda l: l[::-1], lambda l: l[1:] + l[:1]],
    ids=["in order", "reversed", "first last"])


@FAMILIES
@ORDERS
def test_no_rule_matches(lab, path, make, order):
    """They go on as they came: bytes, sizes and order."""
    serve(lab, "udp dst port 9", "--do", "drop")
    sent = order(pieces(make(text_of(4000)), 1000))
    for piece in sent:
        path.send(piece)
    assert arrivals(path, len(sent)) == [forwarded(p) for p in sent]
    stats = lab.gateway.settled()
    assert stats["reassembled"] == 0
    assert stats["diverted"] == stats["completed"] == len(sent)


@FAMILIES
@ORDERS
def test_a_rule_with_ports_matches_all_of_it(lab, path, make, order):
    """Each fragment is part of what the rule asks for, and dropped."""
    serve(lab, "udp dst port 5000", "--do", "drop")
    sent = order(pieces(make(text_of(4000)), 1000))
    for piece in sent:
        path.send(piece)
    wait_for(lambda: lab.gateway.stats()["dropped"] == len(sent))
    assert arrivals(path, 1, timeout=0.1) == []
    stats = lab.gateway.settled()
    assert stats["reassembled"] == 1 and stats["injected"] == 0


def replaced(whole, old, new):
    copy = whole.copy()
    load = bytes(copy[UDP].payload).replace(old, new)
    copy[UDP].remove_payload()
    copy = copy / Raw(load)
    if IP in copy:
        del copy.chksum
    del copy[UDP].chksum
    return built(copy)


@FAMILIES
@ORDERS
@pytest.mark.parametrize("size", [200, 1000, 1448])
def test_edited_across_fragments(lab, path, make, order, size):
    """The same cuts, in order; the word lies across two of them."""
    text = bytearray(text_of(5000))
    text[size - 12:size - 8] = b"lead"
    text[3000:3004] = b"lead"
    whole = make(bytes(text))
    serve(lab, "udp dst port 5000", "--do", "replace lead gold")
    for piece in order(pieces(whole, size)):
        path.send(piece)
    wanted = [forwarded(p)
              for p in pieces(replaced(whole, b"lead", b"gold"), size)]
    assert arrivals(path, len(wanted)) == wanted
    stats = lab.gateway.settled()
    assert stats["reassembled"] == 1 and stats["failed"] == 0
    # One completion; in the counters it stands for all its fragments.
    assert stats["completed"] == stats["diverted"] == len(wanted)
    done = lab.gateway.completions()
    assert len(done) == 1 and done[0]["len"] == len(whole)


def test_interleaved_datagrams(lab, path):
    serve(lab, "udp dst port 5000", "--do", "replace lead gold")
    sent = []
    for n in range(20):
        for make in (datagram, datagram6):
            whole = make(b"lead" + text_of(3000 + n),
                         dport=5000 + n % 2)
            if IP in whole:
                whole.id = 100 + n
                del whole.chksum
                whole = built(whole)
                parts = pieces(whole, 1000)
            else:
                parts = pieces(whole, 1000)
                for p in parts:
                    p[IPv6ExtHdrFragment].id = 100 + n
            sent += [bytes(p) for p in parts]
    random.Random(1).shuffle(sent)
    for piece in sent:
        path.client.send(bytes(Ether(**path.to_gateway, type=(
            0x0800 if piece[0] >> 4 == 4 else 0x86dd))) + piece)
    assert len(arrivals(path, len(sent))) == len(sent)
    stats = lab.gateway.settled()
    assert stats["reassembled"] == 20
    assert stats["completed"] == len(sent)


@pytest.mark.parametrize("family,address", [
    (socket.AF_INET, "10.0.2.2"), (socket.AF_INET6, "fd00:2::2")])
@HOOKS
def test_linux_sends_60000_bytes(lab, family, address, hook):
    """UDP, from stack to stack, with a rewrite in the payload."""
    lab.gateway.xdivert("attach", "g0", *hook)
    lab.gateway.rule("r", "udp dst port 5000", "--do",
                     "replace needle NEEDLE")
    lab.gateway.serving()
    server = lab.server.udp(address, 5000)
    client = lab.client.udp(address)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    for n in range(20):
        text = bytearray(text_of(60000))
        for at in range(n, 59000, 997):
            text[at:at + 6] = b"needle"
        client.sendto(text, (address, 5000))
        got = server.recv(65535)
        assert got == bytes(text).replace(b"needle", b"NEEDLE")
    client.close()
    server.close()
    stats = lab.gateway.settled()
    assert stats["reassembled"] == 20
    assert stats["failed"] == 0 and stats["fragments_expired"] == 0


@pytest.mark.parametrize("address", ["10.0.2.2", "fd00:2::2"])
@HOOKS
def test_ping_60000_bytes(lab, address, hook):
    """Requests and answers, both rewritten; ping compares every byte."""
    for ifname in ("g0", "g1"):
        lab.gateway.xdivert("attach", ifname, *hook)
    lab.gateway.rule("there", "icmp[icmptype] = 8 or (ip6 and ip6[40] = 128)",
                     "--do", r"replace '\x10\x11\x12\x13' 'dcba'")
    lab.gateway.rule("back", "icmp[icmptype] = 0 or (ip6 and ip6[40] = 129)",
                     "--do", r"replace 'dcba' '\x10\x11\x12\x13'")
    lab.gateway.serving()
    done = lab.client.run(f"ping -c 5 -i 0.05 -W 5 -s 60000 {address}")
    assert " 5 received" in done.stdout and "wrong" not in done.stdout
    stats = lab.gateway.settled()
    assert stats["reassembled"] == 10 and stats["failed"] == 0


@FAMILIES
@pytest.mark.parametrize("fail", ["open", "closed"])
def test_what_never_becomes_whole(lab, path, make, fail):
    """After its time the interface's --fail says what becomes of it."""
    serve(lab, "udp dst port 5000", "--do", "drop", fail=fail,
          run=("--reassembly-timeout", "3"))
    sent = pieces(make(text_of(4000)), 1000)[:-1]
    for piece in sent:
        path.send(piece)
    wait_for(lambda: lab.gateway.stats()["diverted"] == len(sent))
    assert lab.gateway.stats()["held"] == len(sent)
    stats = lab.gateway.settled()
    assert stats["fragments_expired"] == len(sent)
    assert stats["reassembled"] == 0
    if fail == "open":
        assert arrivals(path, len(sent)) == [forwarded(p) for p in sent]
        assert stats["completed"] == len(sent)
    else:
        assert arrivals(path, 1, timeout=0.1) == []
        assert stats["dropped"] == len(sent)


def test_a_daemon_that_ends_sends_on_what_waits(lab, path):
    daemon = serve(lab, "udp dst port 5000", "--do", "drop")
    sent = pieces(datagram(text_of(4000)), 1000)[1:]
    for piece in sent:
        path.send(piece)
    wait_for(lambda: lab.gateway.stats()["held"] == len(sent))
    assert daemon.stop() == 0
    assert arrivals(path, len(sent)) == [forwarded(p) for p in sent]
    assert lab.gateway.settled()["completed"] == len(sent)


def test_a_daemon_that_is_killed(lab, path):
    """What waited is lost with it, and counted; later ones pass."""
    daemon = serve(lab, "udp dst port 5000", "--do", "drop")
    sent = pieces(datagram(text_of(4000)), 1000)[1:]
    for piece in sent:
        path.send(piece)
    wait_for(lambda: lab.gateway.stats()["held"] == len(sent))
    daemon.kill()
    stats = lab.gateway.settled()
    assert stats["dropped"] == stats["abandoned"] == len(sent)
    later = pieces(datagram(text_of(2000)), 1000)[1:]
    for piece in later:
        path.send(piece)
    assert arrivals(path, len(later)) == [forwarded(p) for p in later]


@FAMILIES
def test_overlap_discards_the_datagram(lab, path, make):
    """RFC 5722, and what Linux does for IPv4."""
    serve(lab, "udp dst port 9", "--do", "drop")
    parts = pieces(make(text_of(4000)), 1000)
    overlap = pieces(make(text_of(4001)), 992)[1]
    for piece in (parts[0], overlap, *parts[1:]):
        path.send(piece)
    wait_for(lambda: lab.gateway.stats()["dropped"] == len(parts) + 1)
    assert arrivals(path, 1, timeout=0.1) == []
    assert lab.gateway.settled()["fragments_discarded"] == len(parts) + 1


@FAMILIES
def test_duplicates_are_ignored(lab, path, make):
    serve(lab, "udp dst port 5000", "--do", "set ip.dscp 0")
    parts = pieces(make(text_of(4000)), 1000)
    for piece in (parts[0], parts[0], parts[1], parts[0], *parts[2:]):
        path.send(piece)
    assert arrivals(path, len(parts)) == [forwarded(p) for p in parts]
    stats = lab.gateway.settled()
    assert stats["dropped"] == 2 and stats["reassembled"] == 1


def test_a_flood_of_incomplete_groups(lab, path):
    """Memory stays bounded, and a whole datagram still gets through."""
    daemon = serve(lab, "udp dst port 5000", "--do", "replace lead gold",
                   fail="closed", run=("--reassembly-memory", "2"))

    def resident():
        with open(f"/proc/{daemon.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096
    before = resident()
    first = bytearray(bytes(Ether(**path.to_gateway) /
                            pieces(datagram(text_of(3000)), 1400)[0]))
    frames, highest = 0, 0
    for n in range(20000):
        first[14 + 12:14 + 16] = bytes((10, 0, 77, n & 0xff))
        first[14 + 4:14 + 6] = (n & 0xffff).to_bytes(2, "big")
        first[14 + 10:14 + 12] = b"\0\0"
        words = sum(int.from_bytes(first[i:i + 2], "big")
                    for i in range(14, 34, 2))
        words = (words & 0xffff) + (words >> 16)
        words = (words & 0xffff) + (words >> 16)
        first[14 + 10:14 + 12] = (0xffff - words).to_bytes(2, "big")
        path.client.send(first)
        frames += 1
        if n % 1000 == 0:
            highest = max(highest, resident())
    whole = datagram(b"lead" + text_of(2000), dport=5000, id=4242)

    def gets_through():
        """Until the queue is not full of the others any more."""
        for piece in pieces(whole, 1000):
            path.send(piece)
        return lab.gateway.stats()["reassembled"]
    wait_for(gets_through)
    stats = lab.gateway.stats()
    assert stats["fragments_evicted"] > 10000, stats
    assert stats["held"] < (2 << 20) // 1400
    assert max(highest, resident()) - before < 24 << 20
    assert daemon.stop() == 0


RULES = [
    # --fragment, a whole packet, a fragmented one: who is matched
    (None, 1, 1), ("no", 1, 0), ("whole", 0, 1),
]


@FAMILIES
@pytest.mark.parametrize("word,whole,group", RULES, ids=["any", "no", "whole"])
def test_C21_rules_ask_for_fragments(lab, path, make, word, whole, group):
    asked = ("--fragment", word) if word else ()
    serve(lab, "udp dst port 5000", *asked, "--do", "drop")
    path.send(make(text_of(100)))
    parts = pieces(make(text_of(2500)), 1000)
    for piece in parts:
        path.send(piece)
    path.send(make(text_of(99), dport=9))
    arrived = arrivals(path, (not whole) + (not group) * len(parts) + 1)
    assert arrived[-1][-99:] == text_of(99)
    assert len(arrived) == (not whole) + (not group) * len(parts) + 1
    assert lab.gateway.settled()["dropped"] == whole + group * len(parts)


@FAMILIES
def test_C21_each_fragment_as_it_is(lab, path, make):
    """Such a rule comes first; what is left may still become whole."""
    serve(lab, "ip[6:2] & 0x1fff = 0 or (ip6[42:2] & 0xfff8 = 0)",
          "--fragment", "yes", "--do", "set ip.dscp 5",
          run=("--reassembly-timeout", "1"))
    lab.gateway.rule("whole", "udp dst port 5000", "--do", "drop")
    parts = pieces(make(text_of(2500)), 1000)
    for piece in parts:
        path.send(piece)
    arrived = arrivals(path, 1)
    if IP in parts[0]:
        parts[0].tos = 5 << 2
    else:
        parts[0].tc = 5 << 2
    assert arrived == [forwarded(parts[0])]
    stats = lab.gateway.stats()
    assert stats["held"] == len(parts) - 1
    assert arrivals(path, 2) == [forwarded(p) for p in parts[1:]]
    assert lab.gateway.settled()["dropped"] == 0


def test_rule_list_says_what_it_asks_for(lab):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("any", "udp")
    for word in ("yes", "no", "whole"):
        lab.gateway.rule(word, "udp", "--fragment", word)
    lines = lab.gateway.xdivert("rule", "list").stdout.splitlines()
    assert "--fragment" not in lines[0]
    for line, word in zip(lines[1:], ("yes", "no", "whole")):
        assert f"--fragment {word}" in line
    bad = lab.gateway.xdivert("rule", "add", "x", "--filter", "udp",
                              "--fragment", "some", check=False)
    assert bad.returncode == 2 and "yes" in bad.stderr


@FAMILIES
def test_fragments_for_this_host(lab, make):
    """Layer receive: put together, edited, and given to the local stack."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("r", "udp dst port 5000", "--layer", "receive", "--do",
                     "replace mouse MOUSE")
    lab.gateway.serving()
    address = "10.0.1.1" if make is datagram else "fd00:1::1"
    server = lab.gateway.udp(address, 5000)
    client = lab.client.udp(address)
    text = b"a mouse and another mouse. " * 1000
    client.sendto(text, (address, 5000))
    assert server.recv(65535) == text.replace(b"mouse", b"MOUSE")
    client.close()
    server.close()
    assert lab.gateway.settled()["reassembled"] == 1


def test_atomic_fragment(lab, path):
    """RFC 6946: by itself a datagram. It leaves as it came."""
    serve(lab, "udp dst port 5000", "--do", "replace lead gold")
    sent = built(IPv6(**V6) / IPv6ExtHdrFragment(nh=17, id=9) /
                 UDP(sport=4000, dport=5000, chksum=0x1234) /
                 b"lead of an atom!")
    path.send(sent)
    got = arrivals(path, 1)[0]
    assert got[:48] == forwarded(sent)[:48]
    assert got[56:] == b"gold of an atom!"


def test_headers_before_the_fragment_header(lab, path):
    """RFC 8200 4.5: hop-by-hop options are in every fragment again."""
    serve(lab, "udp dst port 5000 or ip6[6] = 0", "--do", "set ip.dscp 0")
    text = text_of(2000)
    inner = bytes(datagram6(text)[UDP])
    front = IPv6(**V6) / IPv6ExtHdrHopByHop()
    parts = [built(front / IPv6ExtHdrFragment(nh=17, id=3, offset=at // 8,
                                              m=at + 1000 < len(inner)) /
                   Raw(inner[at:at + 1000]))
             for at in range(0, len(inner), 1000)]
    for piece in parts[::-1]:
        path.send(piece)
    assert arrivals(path, len(parts)) == [forwarded(p) for p in parts]
    assert lab.gateway.settled()["reassembled"] == 1


def test_workers_share_what_waits(lab, path):
    """A group whose fragments come in different queues."""
    serve(lab, "udp dst port 5000", "--do", "replace mouse MOUSE",
          run=("--workers", "2", "--reassembly-timeout", "3"))
    server = lab.server.udp("10.0.2.2", 5000)
    text = b"a mouse and another mouse. " * 100
    for n in range(50):
        parts = pieces(datagram(text, id=1000 + n), 1000)
        for index, piece in enumerate(parts):
            os.sched_setaffinity(0, {index % 2})
            path.send(piece)
        assert server.recv(65535) == text.replace(b"mouse", b"MOUSE")
    os.sched_setaffinity(0, {0, 1})
    server.close()
    assert lab.gateway.settled()["reassembled"] == 50


def test_a_set_is_asked_about_the_whole(lab, path, tmp_path):
    sources = tmp_path / "sources"
    sources.write_text("10.0.1.0/24\n")
    serve(lab, "udp", "--src-set", sources, "--do", "drop")
    sent = pieces(datagram(text_of(4000)), 1000)
    for piece in sent:
        path.send(piece)
    stats = wait_for(lambda: (s := lab.gateway.settled())["dropped"] and s)
    assert stats["dropped"] == stats["diverted"] == len(sent)
    sources.write_text("10.9.0.0/16\n")
    lab.gateway.xdivert("rule", "reload")
    for piece in sent:
        path.send(piece)
    assert arrivals(path, len(sent)) == [forwarded(p) for p in sent]
    assert lab.gateway.settled()["reassembled"] == 1
