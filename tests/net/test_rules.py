# SPDX-License-Identifier: BSD-2-Clause
"""Rules as text, what they count, and what happens while they change."""
import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import threading
import time

import pytest
from scapy.utils import wrpcap

from lab import XDIVERT, wait_for
from packets import ICMP, IP, TCP, UDP, V4, V6, Ether, IPv6, Path, udp, udp6


@pytest.fixture
def path(lab):
    return Path(lab)


def rules(lab):
    return json.loads(lab.gateway.xdivert("rule", "list", "--json").stdout)


def apply_text(lab, text, check=True):
    return lab.gateway.xdivert("apply", "-", input=text, check=check)


EVERYTHING = r"""
# one of each kind
plain --filter ip
rule add words --filter "tcp port 80 or host fd00::1" --priority -5
quotes --filter 'udp[8:4] = 0x61626364' --do "replace 'it''ss' \"it s\"" --do 'set ip.dscp 46'
back --filter '' --do 'replace \x41\x22 BC' --to g0 --iif g0 --oif g1
in --filter ip --layer receive --fragment no
frag --filter tcp --fragment=yes --priority=7   # behind a rule
slow --filter icmp --via-stack --priority 300
"""


def test_apply_reads_what_list_prints(lab):
    lab.gateway.xdivert("attach", "g0")
    apply_text(lab, EVERYTHING)
    first = rules(lab)
    assert [r["name"] for r in first] == \
        ["words", "frag", "plain", "quotes", "back", "in", "slow"]
    assert [r["via_stack"] for r in first] == [False] * 6 + [True]
    assert first[3]["do"] == ["replace 'it''ss' \"it s\"", "set ip.dscp 46"]
    assert first[4]["do"] == ["replace \\x41\\x22 BC"]
    assert first[5]["layer"] == "receive" and first[5]["fragment"] == "no"
    text = lab.gateway.xdivert("rule", "list", "--format", "apply").stdout
    lab.gateway.xdivert("rule", "flush")
    assert rules(lab) == []
    apply_text(lab, text)
    again = rules(lab)
    assert [{**r, "id": 0} for r in again] == [{**r, "id": 0} for r in first]
    assert lab.gateway.xdivert("rule", "list", "--format",
                               "apply").stdout == text
    # Nothing changes: nothing is new.
    apply_text(lab, text)
    assert rules(lab) == again


def test_what_a_shell_can_say_is_printed_for_apply(lab):
    """A device may be called anything; an expression may have lines."""
    odd = "#it's\\a\"g2"
    lab.gateway.run(["ip", "link", "add", odd, "type", "bridge"])
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("lines", "udp\n  or tcp\n", "--oif", odd, "--to", odd)
    before = rules(lab)
    assert before[0]["oif"] == before[0]["to"] == odd
    text = lab.gateway.xdivert("rule", "list", "--format", "apply").stdout
    lab.gateway.xdivert("rule", "flush")
    apply_text(lab, text)
    assert [{**r, "id": 0} for r in rules(lab)] == \
        [{**r, "id": 0, "filter": "udp   or tcp "} for r in before]


@pytest.mark.parametrize("option", ["--iif", "--oif", "--to"])
@pytest.mark.parametrize("name", ["", "g0\n"])
def test_what_no_interface_is_called(lab, option, name):
    """An empty variable of a script does not become every interface."""
    lab.gateway.xdivert("attach", "g0")
    done = lab.gateway.xdivert("rule", "add", "a", "--filter", "ip", option,
                               name, check=False)
    assert done.returncode == 2 and rules(lab) == []
    assert f"expected an interface after {option}, not '{name}'" \
        in done.stderr


def test_apply_keeps_the_order_of_lines(lab, path):
    """Of equal priority, whichever of them was there before."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.daemon()
    apply_text(lab, "b --filter udp --do 'set ip.dscp 2'\n")
    path.expect(udp("order-of-lines-1"), udp("order-of-lines-1", ttl=63, tos=8))
    apply_text(lab, "a --filter udp --do 'set ip.dscp 1'\n"
                    "b --filter udp --do 'set ip.dscp 2'\n")
    assert [r["name"] for r in rules(lab)] == ["a", "b"]
    path.expect(udp("order-of-lines-2"), udp("order-of-lines-2", ttl=63, tos=4))
    lab.gateway.rule("c", "udp", "--do", "set ip.dscp 3")
    assert [r["name"] for r in rules(lab)] == ["a", "b", "c"]


BAD = [
    ("a --filter 'tcp prt 80'", 1, 12, "an expression"),
    ("\n# x\na --filter 'tcp", 3, 12, "quote"),
    ("a", 1, 2, "--filter"),
    ("a --filter ip --priority x", 1, 26, "a number"),
    ("a --filter ip b", 1, 15, "one name"),
    ("a --filter ip --do 'explode 1'", 1, 20, "a callout"),
    ("a --filter ip --nonesuch 1", 1, 15, "--filter, --iif"),
    ("--filter ip", 1, 1, "name"),
    ("a --filter ip --layer x", 1, 23, "forward or receive"),
    ("a --filter", 1, 11, "an expression"),
    ("a --filter ip --iif nonesuch", 1, 21, "an interface"),
    ("a --filter ip\nb --filter ip\n  a --filter ip", 3, 3, "line 1"),
    ("a/b --filter ip", 1, 1, "letters"),
    ("a --filter ip --filter ip", 1, 15, "once"),
    ("a --filter ip --fragment maybe", 1, 26, "yes or no"),
    ("a --filter ip --via-stack=1", 1, 15, "no value"),
    ("a --filter ip --via-stack --layer receive", 1, 42, "layer forward"),
]


@pytest.mark.parametrize("text,line,column,expected", BAD,
                         ids=lambda v: str(v)[:30])
def test_apply_is_all_or_nothing(lab, text, line, column, expected, tmp_path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("good", "udp")
    before = rules(lab)
    file = tmp_path / "rules"
    file.write_text("fine --filter udp\n" + text + "\n")
    done = lab.gateway.xdivert("apply", file, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"xdivert: {file}:{line + 1}:{column}: "), done.stderr
    assert "expected" in done.stderr or "made of" in done.stderr
    if "line 1" in expected:
        expected = "line 2"
    assert expected in done.stderr and done.stderr.count("\n") == 1
    assert rules(lab) == before


def test_as_many_programs_as_may_be(lab, path):
    """512 rules that cannot be looked up; each of some is the one that hits."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.daemon()
    apply_text(lab, "".join(
        f"r{i} --filter 'udp[8:2] - {i} = 0x3030' --do 'set ip.dscp {i % 64}'"
        "\n" for i in range(512)))
    for i in (0, 1, 255, 510, 511):
        sent = udp(struct.pack("!H", 0x3030 + i) + b"-of-five-hundred")
        path.expect(sent, udp(bytes(sent[UDP].payload), ttl=63,
                              tos=i % 64 * 4))
        assert [r["hits"] for r in rules(lab)][i] == 1
    assert sum(r["hits"] for r in rules(lab)) == 5


def test_apply_of_too_many_changes_nothing(lab):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("good", "udp")
    text = "".join(f"r{i} --filter 'udp port {i + 1}'\n" for i in range(513))
    done = apply_text(lab, text, check=False)
    assert done.returncode == 1 and "512" in done.stderr
    assert [r["name"] for r in rules(lab)] == ["good"]
    apply_text(lab, text.rsplit("\n", 2)[0] + "\n")
    assert len(rules(lab)) == 512
    done = lab.gateway.xdivert("rule", "add", "x", "--filter", "ip",
                               check=False)
    assert done.returncode == 1 and "512" in done.stderr


def test_hits(lab, path):
    """The sum over the rules is what matched; a rule that stays goes on."""
    lab.gateway.xdivert("attach", "g0")
    apply_text(lab, "u --filter udp\nt --filter tcp\nr --filter udp "
                    "--layer receive\n")
    lab.gateway.daemon()
    before = time.time()
    for i in range(3):
        path.expect(udp(f"count-my-hits-{i:02}"),
                    udp(f"count-my-hits-{i:02}", ttl=63))
    by_name = {r["name"]: r for r in rules(lab)}
    assert by_name["u"]["hits"] == 3 and by_name["t"]["hits"] == 0
    assert by_name["r"]["hits"] == 0
    assert by_name["u"]["bytes"] == 3 * (14 + 20 + 8 + 16)
    assert before - 1 < by_name["u"]["last_hit"] < time.time() + 1
    assert by_name["t"]["last_hit"] is None
    assert lab.gateway.settled()["matched"] == 3
    assert "# 3 hits, 174 bytes, last " in \
        lab.gateway.xdivert("rule", "list").stdout.splitlines()[0]
    apply_text(lab, "new --filter icmp\nu --filter udp\n")
    by_name = {r["name"]: r for r in rules(lab)}
    assert by_name["u"]["hits"] == 3 and by_name["new"]["hits"] == 0
    apply_text(lab, "u --filter 'udp or icmp'\n")
    assert rules(lab)[0]["hits"] == 0


def test_explain(lab):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("web", "tcp dst port 80 and ip")
    text = lab.gateway.xdivert("rule", "explain", "web").stdout
    assert "tcp dst port 80 and ip" in text
    assert "ldh      [12]" in text and "jeq      #0x50" in text
    assert "[12:2] = 0x800" in text and "[x + 16:2] = 0x50" in text
    assert "r0 = be16 r0" in text and "goto" in text
    lab.gateway.rule("odd", "len > 100")
    assert "looked up: no" in \
        lab.gateway.xdivert("rule", "explain", "odd").stdout
    done = lab.gateway.xdivert("rule", "explain", "none", check=False)
    assert done.returncode == 1 and "no rule 'none'" in done.stderr


def frames():
    return [Ether() / p for p in (
        IP(**V4) / UDP(sport=1, dport=53), IP(**V4) / TCP(dport=80),
        IPv6(**V6) / UDP(sport=1, dport=53), IP(**V4) / ICMP(),
        IP(**V4, flags="MF") / UDP(sport=9, dport=9) / ("x" * 16))]


TEST_RULES = """
frag --filter ip --fragment yes --priority 1
dns --filter 'udp port 53' --priority 2
in --filter icmp --layer receive
web --filter 'tcp port 80' --iif eth7
"""


def as_nobody(*words):
    return subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
         "--inh-caps=-all", "--bounding-set=-all", XDIVERT, *map(str, words)],
        text=True, capture_output=True, timeout=60, check=False)


def test_rule_test_without_root(tmp_path):
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and folder != folder.parent \
                and "pytest" in folder.name:
            folder.chmod(0o755)
    wrpcap(str(tmp_path / "some.pcap"), frames())
    (tmp_path / "rules").write_text(TEST_RULES)
    words = ["rule", "test", "--rules", tmp_path / "rules", "--pcap",
             tmp_path / "some.pcap"]
    done = as_nobody(*words)
    assert done.stdout == "1\tdns\n2\t-\n3\tdns\n4\t-\n5\tfrag\n", done
    assert "--iif eth7" in done.stderr
    done = as_nobody(*words, "--iif", "eth7", "--json")
    assert [p["rule"] for p in json.loads(done.stdout)] == \
        ["dns", "web", "dns", None, "frag"]
    assert not done.stderr
    done = as_nobody(*words, "--layer", "receive")
    assert done.stdout == "1\t-\n2\t-\n3\t-\n4\tin\n5\t-\n"
    done = as_nobody("rule", "test", "--pcap", tmp_path / "some.pcap")
    assert done.returncode == 1 and "CAP_BPF" in done.stderr
    done = as_nobody("rule", "list")
    assert done.returncode == 1 and "CAP_BPF" in done.stderr


def test_rule_test_of_the_rules_in_force(lab, tmp_path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("dns", "udp port 53")
    wrpcap(str(tmp_path / "some.pcap"), frames())
    done = lab.gateway.xdivert("rule", "test", "--pcap",
                               tmp_path / "some.pcap")
    assert done.stdout == "1\tdns\n2\t-\n3\tdns\n4\t-\n5\t-\n"


def test_fragment_rules(lab, path):
    """C21: is it a fragment?"""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.daemon()
    apply_text(lab, "whole --filter ip --fragment no --do 'set ip.dscp 1'\n"
                    "part --filter ip --fragment yes --do 'set ip.dscp 2'\n")
    path.expect(udp("it-is-not-a-part"), udp("it-is-not-a-part", ttl=63, tos=4))
    path.expect(udp("it-is-part-of-it", flags="MF"),
                udp("it-is-part-of-it", flags="MF", ttl=63, tos=8))
    path.expect(udp("it-is-just-a-pa2", frag=5),
                udp("it-is-just-a-pa2", frag=5, ttl=63, tos=8))


class Stream:
    """Numbered packets, at most WINDOW of them under way, until stopped."""
    WINDOW = 128

    def __init__(self, lab, path):
        self.path, self.sent = path, 0
        self.stopping = False
        self.head = bytes(Ether(**path.to_gateway) /
                          IP(**V4, len=20 + 8 + 12, chksum=None) /
                          UDP(sport=4000, dport=5000, len=20, chksum=0))
        self.thread = threading.Thread(target=self.run)
        self.got = {}
        self.thread.start()

    def run(self):
        while not self.stopping:
            while self.sent < len(self.got) + self.WINDOW:
                self.path.client.send(
                    self.head + b"sequence" + struct.pack("!I", self.sent))
                self.sent += 1
            self.drain()

    def drain(self):
        while frame := self.path.server.receive(
                lambda f: f[42:50] == b"sequence", 0.001):
            number = struct.unpack("!I", frame[50:54])[0]
            assert number not in self.got, f"{number} came twice"
            self.got[number] = frame[15]

    def stop(self, gateway):
        """The DSCP field of each packet, once all have come."""
        self.stopping = True
        self.thread.join()
        end = time.monotonic() + 10
        while len(self.got) < self.sent and time.monotonic() < end:
            self.drain()
        missing = [i for i in range(self.sent) if i not in self.got]
        assert not missing, (missing, gateway.stats())
        return self.got


def padding(n, seed):
    """Rules that never match and must be run one by one."""
    return "".join(
        f"pad{seed}-{i} --filter 'udp portrange {7000 + i}-{7001 + i} and "
        f"len > {60 + seed} and (net 10.{i % 200}.0.0/16 or ip6)' "
        "--priority 1\n" for i in range(n))


@pytest.mark.parametrize("pads", [0, 500], ids=["short", "chained"])
def test_rules_change_under_traffic(lab, path, pads):
    """Each packet sees one rule set or the other, and none is lost."""
    lab.gateway.xdivert("attach", "g0")
    texts = [padding(pads, seed) +
             f"all{seed} --filter 'udp port 5000' --do 'set ip.dscp {seed}'\n"
             for seed in (1, 2)]
    apply_text(lab, texts[0])
    lab.gateway.daemon()
    stream = Stream(lab, path)
    try:
        for i in range(12):
            count = stream.sent
            apply_text(lab, texts[(i + 1) % 2])
            wait_for(lambda: stream.sent > count + 50)
    finally:
        got = stream.stop(lab.gateway)
    values = {tos >> 2 for tos in got.values()}
    assert values == {1, 2}, values
    stats = lab.gateway.settled()
    assert stats["dropped"] == 0 and stats["failed"] == 0
    assert stats["unserved"] == 0
    assert stats["completed"] == stats["diverted"] >= len(got)


@contextlib.contextmanager
def watched(host, ifname, expression):
    """How many packets tcpdump saw there, as a list of one."""
    seen = []
    dump = host.start(["tcpdump", "-nni", ifname, "-w", "/dev/null",
                       expression], text=True, stderr=subprocess.PIPE)
    assert "listening" in dump.stderr.readline()
    yield seen
    dump.send_signal(signal.SIGINT)
    text = dump.communicate(timeout=20)[1]
    seen.append(int(re.search(r"(\d+) packets? received by filter", text)[1]))


GENERATOR = XDIVERT.parent / "bench" / "gen"


@pytest.fixture
def gro(lab):
    """Without XDP on it, g0 takes the generator's frames only so."""
    lab.gateway.run("ethtool -K g0 gro on")
    yield
    lab.gateway.run("ethtool -K g0 gro off")


@pytest.mark.usefixtures("gro")
@pytest.mark.parametrize("hook,pads", [("xdp", 0), ("xdp", 500), ("tc", 0)])
def test_rules_change_under_full_load(lab, hook, pads):
    """As many as the wire takes, far more than the daemon does: each is matched
    by the one rule set or the other. What is not is not of the load: neighbours
    and groups.
    """
    gateway = lab.gateway
    texts = [padding(pads, seed) +
             f"all{seed} --filter 'udp port 9000' --do 'set ip.dscp {seed}'\n"
             for seed in (1, 2)]
    swaps = 0
    gateway.xdivert("attach", "g0", "--hook", hook, "--fail", "closed")
    apply_text(lab, texts[0])
    gateway.serving()
    with watched(lab.server, "s0", "udp port 9000 and ip[1] != 4 and "
                 "ip[1] != 8") as unedited:
        load = lab.client.start([GENERATOR, "--dev", "c0", "--mac",
                                 gateway.mac("g0"), "--seconds", "60"],
                                stdout=subprocess.PIPE, text=True)
        end = time.monotonic() + 3
        try:
            while swaps < 4 or time.monotonic() < end:
                apply_text(lab, texts[(swaps + 1) % 2])
                swaps += 1
        finally:
            load.terminate()
            load.communicate(timeout=20)
        stats = gateway.settled()
    print(f"{swaps} swaps, {stats['matched']} packets, "
          f"{stats['completed']} forwarded")
    # An emulated CPU has less time.
    assert stats["matched"] > (50000 if "XDIVERT_EMULATED" in os.environ
                                else 300000)
    assert stats["unmatched"] < 20
    assert stats["dropped"] == stats["failed"] == 0
    assert stats["completed"] == stats["diverted"] > 10000
    assert unedited == [0]


def write_set(path, *prefixes):
    path.write_text("# some\n" + "".join(f"{p}\n" for p in prefixes))
    return path


def test_sets(lab, path, tmp_path):
    """Sources and destinations, IPv4 and IPv6, together with a filter."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.daemon()
    src = write_set(tmp_path / "src", "10.0.1.0/25", "fd00:1::2", "10.0.1.64/26",
                    "192.0.2.1  # a host")
    dst = write_set(tmp_path / "dst", "10.0.2.2", "fd00:9::/32")
    lab.gateway.rule("both", "udp", "--src-set", src, "--dst-set", dst,
                     "--do", "set ip.dscp 1")
    lab.gateway.xdivert("rule", "add", "one", "--src-set", src, "--do",
                        "set ip.dscp 2")
    path.expect(udp("a-set-of-address"), udp("a-set-of-address", ttl=63, tos=4))
    path.expect(udp("another-source!!", src="10.0.1.128"),
                udp("another-source!!", src="10.0.1.128", ttl=63))
    path.expect(udp6("IPv6-in-the-set!"),
                udp6("IPv6-in-the-set!", hlim=63, tc=8))
    path.expect(udp6("IPv6-not-in-set!", src="fd00:1::3"),
                udp6("IPv6-not-in-set!", src="fd00:1::3", hlim=63))
    rule = rules(lab)[1]
    assert rule["src_set"] == str(src) and rule["filter"] == ""
    text = lab.gateway.xdivert("rule", "list", "--format", "apply").stdout
    apply_text(lab, text)
    assert lab.gateway.xdivert("rule", "list", "--format",
                               "apply").stdout == text


@pytest.mark.parametrize("how", ["reload", "SIGHUP", "apply"])
def test_sets_are_read_again(lab, path, tmp_path, how):
    lab.gateway.xdivert("attach", "g0")
    daemon = lab.gateway.daemon()
    file = write_set(tmp_path / "set", "10.0.2.0/24")
    apply_text(lab, f"r --dst-set {file} --do 'set ip.dscp 1'\n")
    path.expect(udp("first-in-the-set"), udp("first-in-the-set", ttl=63, tos=4))

    def again(text):
        if how == "SIGHUP":
            return daemon.process.send_signal(signal.SIGHUP)
        if how == "reload":
            return lab.gateway.xdivert("rule", "reload", check=False)
        return apply_text(lab, text, check=False)

    text = lab.gateway.xdivert("rule", "list", "--format", "apply").stdout
    write_set(file, "10.0.2.0/24", "10.0.3.0/33")
    done = again(text)
    if how == "SIGHUP":
        # It has read the file when it says so, not when it is asked.
        assert f"{file}:3: " in daemon.process.stderr.readline()
    else:
        assert done.returncode == 1 and f"{file}:3: " in done.stderr
    # What is wrong changes nothing, nor does a file that nobody reads.
    path.expect(udp("still-in-the-set"), udp("still-in-the-set", ttl=63, tos=4))
    write_set(file, "10.0.7.0/24")
    lab.gateway.rule("other", "tcp", "--priority", "1")
    path.expect(udp("it-is-not-reread"), udp("it-is-not-reread", ttl=63, tos=4))
    again(lab.gateway.xdivert("rule", "list", "--format", "apply").stdout)

    def passes():
        path.send(udp("no-longer-in-set"))
        frame = path.arrives(b"no-longer-in-set")
        return frame and frame[15] == 0
    wait_for(passes, what="the new set")
    lab.gateway.xdivert("rule", "flush")
    assert not [p for p in os.listdir(lab.gateway.pins())
                if p.startswith("set")]


def test_big_set(lab, path, tmp_path):
    """100,000 prefixes load quickly, and the last of them counts."""
    prefixes = [f"{10 + (i >> 16)}.{i >> 8 & 255}.{i & 255}.0/{24 + i % 4}"
                for i in range(1 << 16, (1 << 16) + 80000)]
    prefixes += [f"2001:db8:{i:x}::/48" for i in range(30000)]
    file = write_set(tmp_path / "big", *prefixes, "10.0.2.2/32")
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.daemon()
    start = time.monotonic()
    lab.gateway.xdivert("rule", "add", "big", "--dst-set", file, "--do",
                        "set ip.dscp 1")
    taken = time.monotonic() - start
    print(f"{len(prefixes) + 1} prefixes: {taken:.2f} s")
    assert taken < 20
    path.expect(udp("in-a-big-set-yes"), udp("in-a-big-set-yes", ttl=63, tos=4))
    start = time.monotonic()
    lab.gateway.rule("more", "tcp")
    assert time.monotonic() - start < taken


def test_sets_offline(tmp_path):
    file = write_set(tmp_path / "set", "10.0.2.0/30", "fd00:2::/64")
    (tmp_path / "rules").write_text(f"s --filter udp --dst-set {file}\n")
    wrpcap(str(tmp_path / "some.pcap"), frames())
    done = subprocess.run([XDIVERT, "rule", "test", "--rules",
                           tmp_path / "rules", "--pcap",
                           tmp_path / "some.pcap"], text=True,
                          capture_output=True, check=True)
    assert done.stdout == "1\ts\n2\t-\n3\ts\n4\t-\n5\ts\n"


SET_ERRORS = ["10.0.0.0/33", "10.0.0.1/8", "10.0.0", "fd00::/129", "fd00::1/64",
              "10.0.0.0/", "10.0.0.0/x", "1.2.3.4 5.6.7.8", "x" * 300]


@pytest.mark.parametrize("line", SET_ERRORS, ids=lambda v: v[:20])
def test_bad_sets(tmp_path, line):
    file = write_set(tmp_path / "set", "10.0.0.0/8", line)
    (tmp_path / "rules").write_text(f"a --filter ip\ns --src-set {file}\n")
    done = subprocess.run([XDIVERT, "rule", "test", "--rules",
                           tmp_path / "rules", "--pcap", "/dev/null"],
                          text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert f"rules:2:13: expected a file of prefixes after --src-set: " \
        f"{file}:3: expected an IPv4 or IPv6 prefix" in done.stderr
