# SPDX-License-Identifier: BSD-2-Clause
"""Flows that are decided: the rest of a connection stays in the kernel."""
import json

import pytest

from lab import wait_for
from packets import ICMP, IP, TCP, UDP, V4, Ether, Path, udp, udp6


@pytest.fixture(params=["xdp", "tc"])
def path(lab, request):
    lab.gateway.xdivert("attach", "g0", "--hook", request.param)
    lab.gateway.daemon()
    return Path(lab)


def flows(lab):
    return json.loads(lab.gateway.xdivert("flow", "list", "--json").stdout)


def flow_rule(lab, *words, expression="udp or tcp"):
    """Edit, so that a packet shows whether it was diverted; then decide."""
    lab.gateway.rule("f", expression, "--do", "set ip.dscp 1", "--do",
                     f"flow {' '.join(words)}")


def tcp(flags, payload="0123456789abcdef", **ip):
    return IP(**{**V4, **ip}) / TCP(sport=4000, dport=80, flags=flags) / payload


def check_closed(lab, passed=0, dropped=0):
    total = lab.gateway.check_accounting()
    assert total["flow_passed"] == passed and total["flow_dropped"] == dropped
    for row in [total, *total["interfaces"]]:
        assert row["flow_passed"] + row["flow_dropped"] <= row["unmatched"]
    return total


@pytest.mark.parametrize("make,hop,field", [(udp, "ttl", "tos"),
                                            (udp6, "hlim", "tc")],
                         ids=["IPv4", "IPv6"])
def test_pass(lab, path, make, hop, field):
    flow_rule(lab, "pass")
    path.expect(make("the-first-packet"),
                make("the-first-packet", **{hop: 63, field: 4}))
    for i in range(5):
        path.expect(make(f"the-rest-of-it-{i}"),
                    make(f"the-rest-of-it-{i}", **{hop: 63}))
    total = check_closed(lab, passed=5)
    assert total["diverted"] == total["completed"] == 1
    flow, = flows(lab)
    assert flow["verdict"] == "pass" and flow["rule"] == "f"
    assert flow["protocol"] == "udp"
    ends = {(e["port"]): e for e in flow["ends"]}
    assert ends[4000]["packets"] == 5 and ends[5000]["packets"] == 0
    assert ends[4000]["bytes"] == 5 * len(
        bytes(Ether() / make("the-rest-of-it-0")))
    # Another flow is another question.
    path.expect(IP(**V4) / UDP(sport=4001, dport=5000) / "another-flow-now",
                IP(**V4, ttl=63, tos=4) / UDP(sport=4001, dport=5000) /
                "another-flow-now")
    assert len(flows(lab)) == 2


def test_drop(lab, path):
    flow_rule(lab, "drop", expression="udp dst port 5000")
    other = IP(**V4) / UDP(sport=7, dport=7) / "another-one-pass"
    path.expect_nothing(udp("dropped-by-us-01"), other)
    wait_for(lambda: flows(lab), what="the decision")
    path.expect_nothing(udp("dropped-by-hook1"), other)
    path.expect_nothing(udp("dropped-by-hook2"), other)
    total = check_closed(lab, dropped=2)
    assert total["dropped"] == 1
    assert flows(lab)[0]["verdict"] == "drop"


def test_both_directions(lab, path):
    """What one end began decides what the other end answers."""
    lab.gateway.xdivert("attach", "g1")
    flow_rule(lab, "pass")
    path.expect(udp("from-the-client!"),
                udp("from-the-client!", ttl=63, tos=4))
    answer = IP(src=V4["dst"], dst=V4["src"]) / UDP(sport=5000, dport=4000) / \
        "from-the-server!"
    path.server.send(Ether(src=lab.server.mac("s0"),
                           dst=lab.gateway.mac("g1")) / answer)
    frame = path.client.receive(lambda f: b"from-the-server!" in f)
    assert frame[15] == 0
    check_closed(lab, passed=1)
    ends = {(e["port"]): e for e in flows(lab)[0]["ends"]}
    assert ends[4000]["packets"] == 0 and ends[5000]["packets"] == 1


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_after(lab, mode):
    lab.gateway.xdivert("attach", "g0", "--mode", mode)
    lab.gateway.daemon()
    path = Path(lab)
    flow_rule(lab, "pass after 20 packets")
    for i in range(30):
        path.expect(udp(f"packet-number-{i:02}"),
                    udp(f"packet-number-{i:02}", ttl=63,
                        tos=4 if i < 20 else 0))
    total = check_closed(lab, passed=10)
    assert total["diverted"] == 20
    assert flows(lab)[0]["after"] == flows(lab)[0]["seen"] == 20


def test_timeout(lab, path):
    flow_rule(lab, "pass timeout 1")
    path.expect(udp("a-flow-that-ends"), udp("a-flow-that-ends", ttl=63, tos=4))
    path.expect(udp("flow-did-not-end"), udp("flow-did-not-end", ttl=63))
    assert flows(lab)[0]["timeout_ns"] == 10**9
    wait_for(lambda: not flows(lab), what="the flow's end")
    path.expect(udp("a-flow-new-again"), udp("a-flow-new-again", ttl=63, tos=4))
    check_closed(lab, passed=1)


def test_a_new_connection_is_a_new_flow(lab, path):
    flow_rule(lab, "pass")
    for turn in range(2):
        path.expect(tcp("S", f"connection-open{turn}"),
                    tcp("S", f"connection-open{turn}", ttl=63, tos=4))
        path.expect(tcp("A", f"goes-on-passing{turn}"),
                    tcp("A", f"goes-on-passing{turn}", ttl=63))
    check_closed(lab, passed=2)


def test_rules_that_change_end_decisions(lab, path):
    flow_rule(lab, "pass")
    path.expect(udp("decided-by-rules"), udp("decided-by-rules", ttl=63, tos=4))
    path.expect(udp("passed-by-a-flow"), udp("passed-by-a-flow", ttl=63))
    lab.gateway.rule("new", "udp", "--priority", "1", "--do", "set ip.dscp 2")
    assert flows(lab) == []
    path.expect(udp("the-new-rule-it!"), udp("the-new-rule-it!", ttl=63, tos=8))
    lab.gateway.xdivert("rule", "del", "new")
    path.expect(udp("decided-by-rules"), udp("decided-by-rules", ttl=63, tos=4))
    path.expect(udp("passed-by-a-flow"), udp("passed-by-a-flow", ttl=63))
    lab.gateway.xdivert("flow", "flush")
    path.expect(udp("decided-by-rules"), udp("decided-by-rules", ttl=63, tos=4))
    check_closed(lab, passed=2)


def test_what_is_no_flow(lab, path):
    """Each packet is decided by itself: ICMP, fragments."""
    flow_rule(lab, "pass", expression="ip or ip6")
    lab.gateway.rule("part", "udp", "--fragment", "yes", "--do", "set ip.dscp 1",
                     "--do", "flow pass")
    for i in range(2):
        path.expect(IP(**V4) / ICMP() / f"it-is-an-echo-!{i}",
                    IP(**V4, ttl=63, tos=4) / ICMP() / f"it-is-an-echo-!{i}")
        path.expect(udp(f"first-fragment!{i}", flags="MF"),
                    udp(f"first-fragment!{i}", flags="MF", ttl=63, tos=4))
    assert flows(lab) == []
    check_closed(lab)


def test_limit(lab, path):
    """More flows than the table has room for: the oldest are forgotten."""
    flow_rule(lab, "pass")
    lab.gateway.xdivert("flow", "limit", "256")
    for port in range(10000, 10600):
        payload = f"flow-number{port}"
        path.expect(IP(**V4) / UDP(sport=port, dport=5000) / payload,
                    IP(**V4, ttl=63, tos=4) / UDP(sport=port, dport=5000) /
                    payload)
    assert 0 < len(flows(lab)) <= 256
    text = lab.gateway.xdivert("flow", "list").stdout.splitlines()
    assert len(text) == len(flows(lab)) and "\tpass\t" in text[0]
    done = lab.gateway.xdivert("flow", "limit", "0", check=False)
    assert done.returncode == 2 and "one number" in done.stderr


@pytest.mark.parametrize("words", ["", "pas", "pass after 3", "pass after x "
                                   "packets", "pass timeout 0", "drop now",
                                   "pass after -1 packets"])
def test_words(lab, path, words):
    done = lab.gateway.xdivert("rule", "add", "f", "--filter", "udp", "--do",
                               f"flow {words}", check=False)
    assert done.returncode == 1
    assert "expected flow pass|drop [after N packets]" in done.stderr
