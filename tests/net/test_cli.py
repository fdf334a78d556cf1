# SPDX-License-Identifier: BSD-2-Clause
"""Words and errors of the command line."""
import json

import pytest

from packets import Path, udp

USAGE = [
    (["nonesuch"], "nonesuch"),
    (["attach"], "one interface"),
    (["attach", "g0", "g1"], "one interface"),
    (["attach", "g0", "--mode", "fast"], "'fast'"),
    (["attach", "g0", "--fail", "maybe"], "'maybe'"),
    (["attach", "g0", "--hook", "nft"], "'nft'"),
    (["attach", "g0", "--nonesuch"], "nonesuch"),
    (["detach"], "one interface"),
    (["detach", "--nonesuch"], "one interface"),
    (["rule"], "rule"),
    (["rule", "nonesuch"], "rule"),
    (["rule", "add"], "one name"),
    (["rule", "add", "a", "b", "--filter", "ip"], "one name"),
    (["rule", "add", "a"], "--filter"),
    (["rule", "add", "a", "--filter", "ip", "--priority", "x"], "--priority"),
    (["rule", "add", "a", "--filter", "ip", "--layer", "x"], "layer"),
    (["rule", "add", "a" * 40, "--filter", "ip"], "too long"),
    (["rule", "add", "a", "--filter", "ip", "--fragment", "x"], "yes or no"),
    (["rule", "del"], "rule"),
    (["rule", "list", "--format", "xml"], "'xml'"),
    (["rule", "explain"], "one rule"),
    (["rule", "reload", "x"], "'x'"),
    (["rule", "test"], "--pcap"),
    (["rule", "test", "--layer", "x"], "forward or receive"),
    (["apply"], "one file"),
    (["run", "--nonesuch"], "nonesuch"),
    (["stats", "--nonesuch"], "nonesuch"),
    (["stats", "nonesuch"], "nonesuch"),
    (["stats", "--json", "--prometheus"], "--prometheus"),
    (["stats", "--prometheus", "--watch"], "--prometheus"),
    (["status", "--nonesuch"], "nonesuch"),
    (["completions", "--nonesuch"], "nonesuch"),
    (["inject"], "--oif"),
    (["--pin-dir"], "--pin-dir"),
]


@pytest.mark.parametrize("words,text", USAGE, ids=lambda v: str(v)[:40])
def test_usage_errors(lab, words, text):
    done = lab.gateway.xdivert(*words, check=False)
    assert done.returncode == 2, done
    assert text in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("xdivert: ") and not done.stdout
    assert not lab.gateway.pins().exists(), "bad usage changed something"


RULES = [
    (["--filter", "tcp prt 80"], "tcp prt 80"),
    (["--filter", "ip", "--iif", "nonesuch"], "nonesuch"),
    (["--filter", "ip", "--oif", "nonesuch"], "nonesuch"),
    (["--filter", "ip", "--to", "nonesuch"], "nonesuch"),
    (["--filter", "ip", "--do", "explode"], "explode"),
    (["--filter", "ip", "--do", "set"], "field"),
    (["--filter", "ip", "--do", "set ip.foo 1"], "ip.foo"),
    (["--filter", "ip", "--do", "set ip.dscp 64"], "64"),
    (["--filter", "ip", "--do", "set ip.dscp -1"], "-1"),
    (["--filter", "ip", "--do", "set ip.src 1.2.3"], "1.2.3"),
    (["--filter", "ip", "--do", "set tcp.dport 65536"], "65536"),
    (["--filter", "ip", "--do", "replace abc abcd"], "same length"),
    (["--filter", "ip", "--do", "replace '' ''"], "empty"),
    (["--filter", "ip", "--do", "replace 'abc"], "quote"),
    (["--filter", "ip", "--do", "drop now"], "no arguments"),
]


@pytest.mark.parametrize("words,text", RULES, ids=lambda v: str(v)[:50])
def test_bad_rules_change_nothing(lab, words, text):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("good", "udp")
    before = lab.gateway.xdivert("rule", "list").stdout
    done = lab.gateway.xdivert("rule", "add", "bad", *words, check=False)
    assert done.returncode == 1, done
    assert text in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert lab.gateway.xdivert("rule", "list").stdout == before


def test_rule_names_are_unique(lab):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("one", "udp")
    done = lab.gateway.xdivert("rule", "add", "one", "--filter", "tcp",
                               check=False)
    assert done.returncode == 1 and "exists" in done.stderr
    done = lab.gateway.xdivert("rule", "del", "two", check=False)
    assert done.returncode == 1 and "two" in done.stderr


def test_rule_list(lab):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("b", "udp port 53", "--priority", "7", "--iif", "g0",
                     "--oif", "g1", "--to", "g1", "--do", "set ip.dscp 1",
                     "--do", "replace 'a b' 'c d'")
    lab.gateway.rule("a", "tcp", "--priority", "8")
    rules = json.loads(lab.gateway.xdivert("rule", "list", "--json").stdout)
    assert [r["name"] for r in rules] == ["b", "a"]
    assert rules[0] == {
        "name": "b", "id": 1, "priority": 7, "layer": "forward",
        "filter": "udp port 53",
        "iif": "g0", "oif": "g1", "to": "g1", "fragment": "", "via_stack": False,
        "returned": False,
        "hits": 0, "bytes": 0, "last_hit": None, "src_set": "", "dst_set": "",
        "do": ["set ip.dscp 1", "replace 'a b' 'c d'"]}
    text = lab.gateway.xdivert("rule", "list").stdout
    assert text.splitlines()[1] == "a --priority 8 --filter 'tcp'"


def test_many_rules(lab):
    lab.gateway.xdivert("attach", "g0")
    for i in range(40):
        lab.gateway.rule(f"r{i}", f"udp port {6000 + i} and host 10.9.{i}.1",
                         "--do", "drop")
    lab.gateway.rule("last", "udp port 5000", "--do", "set ip.dscp 9",
                     "--priority", "900")
    lab.gateway.daemon()
    Path(lab).expect(udp("the-last-matches"),
                     udp("the-last-matches", ttl=63, tos=36))


def test_version(lab):
    assert lab.gateway.xdivert("version").stdout.startswith("xdivert ")


def test_help(lab):
    text = lab.gateway.xdivert("help").stdout
    for word in ("attach", "detach", "rule", "apply", "run", "inject", "completions",
                 "stats", "status", "version"):
        assert f"xdivert {word}" in text


def test_listings_are_json(lab):
    lab.gateway.xdivert("attach", "g0")
    stats = lab.gateway.stats()
    assert {"seen", "unmatched", "matched", "diverted", "unserved",
            "queue_dropped", "originated", "injected", "dropped", "held",
            "completed", "failed", "in_flight", "interfaces"} <= set(stats)
    status = lab.gateway.status()
    assert status["daemon"] is False
    assert status["interfaces"][0]["queues"] == 2
    assert status["interfaces"][0]["served"] == 0
    assert status["interfaces"][0]["mode"] == "native"
