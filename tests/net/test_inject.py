# SPDX-License-Identifier: BSD-2-Clause
"""xdivert inject, and completions that tell the truth about each target."""
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import time

import pytest
from scapy.layers.l2 import ARP
from scapy.utils import RawPcapWriter, wrpcap

from lab import XDIVERT, ending, read_until, terminal, wait_for
from packets import IP, UDP, Ether, IPv6, Path, udp

GATEWAY4 = dict(src="10.0.2.1", dst="10.0.2.2")
GATEWAY6 = dict(src="fd00:2::1", dst="fd00:2::2")


def packet(text, **ip):
    return IP(**{**GATEWAY4, **ip}) / UDP(sport=1, dport=2) / text


@pytest.fixture
def gateway(lab):
    lab.gateway.xdivert("attach", "g0")
    return lab.gateway


def inject(gateway, pkt, oif="g1", *words):
    return gateway.xdivert("inject", "--oif", oif, "--hex",
                           bytes(pkt).hex(), *words, check=False)


def check_failure(gateway, pkt, oif, error, reason, status):
    """One injection that fails: said on the screen, in the record, in the
    counters.
    """
    before = gateway.stats()
    done = inject(gateway, pkt, oif)
    assert done.returncode == 1
    assert error in done.stdout, done.stdout + done.stderr
    last = gateway.completions()[-1]
    assert (last["error"], last["reason"], last["status"]) == \
        (error, reason, status)
    after = gateway.stats()
    assert after["failed"] == before["failed"] + 1
    assert after["completed"] == before["completed"]


def test_hex(lab, gateway):
    path = Path(lab)
    sent = packet("injected-by-hand", ttl=1)
    done = inject(gateway, sent)
    assert done.returncode == 0 and "handed to the device" in done.stdout
    frame = path.arrives(b"injected-by-hand")
    assert frame == bytes(Ether(**path.to_server) / sent), "sent as given"


def test_hex_ipv6(lab, gateway):
    path = Path(lab)
    sent = IPv6(**GATEWAY6, hlim=1) / UDP(sport=1, dport=2) / "injected-by-hand"
    assert inject(gateway, sent).returncode == 0
    frame = path.arrives(b"injected-by-hand")
    assert frame == bytes(Ether(**path.to_server) / sent)


def test_count(lab, gateway):
    path = Path(lab)
    assert inject(gateway, packet("five-times-the-s"), "g1", "--count",
                  "5").returncode == 0
    for _ in range(5):
        assert path.arrives(b"five-times-the-s")
    assert len(gateway.completions()) == 5


def submitted(gateway):
    """When each injection was, in s."""
    dump = json.loads(gateway.run(["bpftool", "-j", "map", "dump", "pinned",
                                   gateway.pins() / "xdv_recent"]).stdout)
    values = [entry["formatted"]["value"] for entry in dump]
    return [v["submitted"] / 1e9 for v in values if v["id"]]


def test_rate(lab, gateway):
    """Each in its time after the first, and not much later."""
    path = Path(lab)
    assert inject(gateway, packet("twenty-times-the"), "g1", "--count", "20",
                  "--rate", "100").returncode == 0
    for _ in range(20):
        assert path.arrives(b"twenty-times-the")
    times = submitted(gateway)
    assert len(times) == 20
    for i, at in enumerate(times):
        assert at - times[0] >= i * 0.01
    assert times[-1] - times[0] < 5


def test_rate_of_a_capture(lab, gateway, tmp_path):
    file = tmp_path / "some.pcap"
    wrpcap(str(file), [Ether() / packet(f"paced-{i}") for i in range(4)])
    gateway.xdivert("inject", "--oif", "g1", "--pcap", file, "--count", "3",
                    "--rate", "50")
    times = submitted(gateway)
    assert len(times) == 12 and times[-1] - times[0] >= 0.22


def start_inject(gateway, pkt, *words, **kwargs):
    return gateway.start([XDIVERT, "inject", "--oif", "g1", "--hex",
                          bytes(pkt).hex(), *words],
                         **{"stdout": subprocess.PIPE,
                            "stderr": subprocess.PIPE, **kwargs})


def injected(text):
    return "handed to the device" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_long_run(gateway, number):
    """Completions are told while the next one is waited for."""
    with ending(start_inject(gateway, packet("x"), "--count", "1000",
                             "--rate", "1")) as process:
        text = read_until(process.stdout.fileno(), injected)
        process.send_signal(number)
        text += read_until(process.stdout.fileno())
        errors = read_until(process.stderr.fileno())
    assert process.returncode == 1
    sent = text.count("handed to the device")
    assert errors == \
        f"xdivert: inject: interrupted: injected {sent}, failed 0\n"
    stats = gateway.check_accounting()
    assert stats["originated"] == stats["completed"] == sent < 1000


def test_a_signal_ends_the_wait_for_a_neighbour(gateway):
    with ending(start_inject(gateway, packet("x", dst="10.0.2.99"))) as process:
        wait_for(lambda: gateway.stats()["in_flight"])
        process.send_signal(signal.SIGINT)
        errors = read_until(process.stderr.fileno())
    assert process.returncode == 1
    assert errors == "xdivert: inject: interrupted: injected 1, failed 1\n"
    record, = gateway.completions()
    assert record["reason"] in ("CANCELED", "NEIGH_FAILED")


LONG = ["--count", "10", "--rate", "20"]


def test_progress_on_a_terminal(gateway):
    """Some ten times a second, and nothing of it stays."""
    with terminal() as (screen, theirs):
        began = time.monotonic()
        with ending(start_inject(gateway, packet("x"), *LONG,
                                 stderr=theirs)) as process:
            theirs.close()
            text = read_until(screen)
            took = time.monotonic() - began
            assert injected(process.stdout.read().decode())
    assert process.returncode == 0
    first, *lines, last = text.split("\033[K")
    assert first == last == "" and 0 < len(lines) <= took * 10
    counts = [int(re.fullmatch(r"injected (\d+), failed 0\r", line)[1])
              for line in lines]
    assert counts == sorted(counts) and counts[-1] <= 10


def test_no_progress_in_a_pipe_or_among_records(gateway):
    assert inject(gateway, packet("x"), "g1", *LONG).stderr == ""
    with terminal() as (screen, theirs):
        with ending(start_inject(gateway, packet("x"), *LONG, stdout=theirs,
                                 stderr=theirs)):
            theirs.close()
            text = read_until(screen)
    assert text.count("handed to the device") == text.count("\n") == 10
    assert "\033" not in text


def test_pcap(lab, gateway, tmp_path):
    """Ethernet frames of a capture; what is not IP is skipped and said."""
    path = Path(lab)
    file = tmp_path / "some.pcap"
    packets = [packet(f"from-a-capture-{i}") for i in range(10)]
    wrpcap(str(file), [Ether() / p for p in packets] + [Ether() / ARP()])
    done = gateway.xdivert("inject", "--oif", "g1", "--pcap", file)
    assert "1 frame without IP skipped" in done.stderr
    for p in packets:
        frame = path.arrives(b"from-a-capture-")
        assert frame == bytes(Ether(**path.to_server) / p)
    stats = gateway.check_accounting()
    assert (stats["originated"], stats["completed"]) == (10, 10)


def test_pcap_of_packets_that_were_cut_short(lab, gateway, tmp_path):
    """Those are told by their numbers; the rest is sent."""
    path = Path(lab)
    file = tmp_path / "snaplen.pcap"
    with RawPcapWriter(str(file), linktype=1) as writer:
        writer.write_header(None)
        for i, cut in enumerate((0, 10, 0, 30, 0)):
            frame = bytes(Ether() / packet(f"from-a-capture-{i}"))
            writer.write_packet(frame[:len(frame) - cut], wirelen=len(frame))
    done = gateway.xdivert("inject", "--oif", "g1", "--pcap", file,
                           check=False)
    assert done.returncode == 1
    told = done.stderr.splitlines()
    assert len(told) == 2
    for line, number in zip(told, (2, 4)):
        assert f"packet {number}, of which not all was captured" in line
    for i in (0, 2, 4):
        assert path.arrives(f"from-a-capture-{i}".encode())
    stats = gateway.check_accounting()
    assert (stats["originated"], stats["completed"]) == (3, 3)


def test_pcap_raw_link_type(lab, gateway, tmp_path):
    path = Path(lab)
    file = tmp_path / "raw.pcap"
    wrpcap(str(file), [packet("no-link-header!!")], linktype=101)
    gateway.xdivert("inject", "--oif", "g1", "--pcap", file)
    assert path.arrives(b"no-link-header!!")


def test_short_packet_is_padded_by_nobody(lab, gateway):
    """20 bytes of IP and nothing else: a frame of 34 bytes."""
    path = Path(lab)
    sent = IP(**GATEWAY4, proto=253)
    assert inject(gateway, sent).returncode == 0
    frame = path.server.receive(lambda f: f[12:14] == b"\x08\0"
                                and f[23] == 253)
    assert frame == bytes(Ether(**path.to_server) / sent)


@pytest.mark.parametrize("size", [100, 1000, 1500])
def test_sizes(lab, gateway, size):
    path = Path(lab)
    sent = packet("x" * (size - 28 - 16) + "-end-of-packet-!")
    assert len(bytes(sent)) == size
    assert inject(gateway, sent).returncode == 0
    assert path.arrives(b"-end-of-packet-!") == \
        bytes(Ether(**path.to_server) / sent)


def test_no_such_interface(gateway):
    done = inject(gateway, packet("x"), "nonesuch")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "no such interface" in done.stderr
    # By number it is the kernel that says so.
    check_failure(gateway, packet("x"), "7777", "no such interface",
                  "NO_DEVICE", -19)


def test_interface_down(lab, gateway):
    gateway.run("ip link add d0 type veth peer name d1")
    gateway.run("ip addr add 10.0.9.1/24 dev d0")
    try:
        check_failure(gateway, packet("x", dst="10.0.9.2"), "d0",
                      "interface down", "DEVICE_DOWN", -100)
    finally:
        gateway.run("ip link del d0")


def last(gateway):
    return gateway.completions()[-1]


def test_no_neighbour_is_resolved(lab, gateway):
    """The stack asks for it, and the packet that waited arrives."""
    path = Path(lab)
    mac = lab.server.mac("s0")
    gateway.run("ip neigh del 10.0.2.2 dev g1")
    try:
        sent = packet("waited-for-an-ar")
        assert inject(gateway, sent).returncode == 0
        assert path.arrives(b"waited-for-an-ar") == \
            bytes(Ether(**path.to_server) / sent)
        assert (last(gateway)["engine"], last(gateway)["status"]) == \
            ("neigh", 0)
        assert inject(gateway, packet("x")).returncode == 0
        assert last(gateway)["engine"] != "neigh"
    finally:
        gateway.run(f"ip neigh replace 10.0.2.2 lladdr {mac} dev g1 "
                    "nud permanent")


def test_no_neighbour_ipv6_is_resolved(lab, gateway):
    path = Path(lab)
    mac = lab.server.mac("s0")
    gateway.run("ip neigh del fd00:2::2 dev g1")
    sent = IPv6(**GATEWAY6) / UDP() / "waited-for-an-na"
    try:
        assert inject(gateway, sent).returncode == 0
        assert path.arrives(b"waited-for-an-na") == \
            bytes(Ether(**path.to_server) / sent)
        assert last(gateway)["engine"] == "neigh"
    finally:
        gateway.run(f"ip neigh replace fd00:2::2 lladdr {mac} dev g1 "
                    "nud permanent")


@pytest.mark.parametrize("sent", [
    packet("x", dst="10.0.2.99"),
    IPv6(**{**GATEWAY6, "dst": "fd00:2::99"}) / UDP() / "x"],
    ids=["ipv4", "ipv6"])
def test_nobody_answers(gateway, sent):
    """Said within the neighbour timeout, for each that waited."""
    assert inject(gateway, sent, "g1", "--count", "3").returncode == 1
    assert [(c["status"], c["error"], c["reason"], c["engine"])
            for c in gateway.completions()] == \
        [(-113, "no neighbour", "NEIGH_FAILED", "neigh")] * 3
    assert max(c["latency_ns"] for c in gateway.completions()) < 5e9
    assert gateway.stats()["failed"] == 3


def test_no_route_on_this_interface(gateway):
    check_failure(gateway, packet("x", dst="192.0.2.1"), "g1", "no route",
                  "FIB_NOT_FWDED", -101)


def test_blackhole_route(gateway):
    gateway.run("ip route add blackhole 192.0.2.0/24")
    try:
        check_failure(gateway, packet("x", dst="192.0.2.1"), "g1", "no route",
                      "FIB_BLACKHOLE", -101)
    finally:
        gateway.run("ip route del blackhole 192.0.2.0/24")


def test_too_big(gateway):
    for pkt in (packet("x" * 1600, flags="DF"), packet("x" * 3400, flags="DF"),
                IPv6(**GATEWAY6) / UDP() / ("x" * 1600)):
        check_failure(gateway, pkt, "g1", "too big", "FIB_FRAG_NEEDED", -90)


@pytest.mark.parametrize("size", [1600, 3400, 60000])
def test_longer_than_the_mtu_leaves_in_fragments(lab, gateway, size):
    """One injection, one completion; the server's stack puts it together."""
    server = lab.server.udp("10.0.2.2", 5002)
    text = os.urandom(size)
    sent = IP(**GATEWAY4, id=99) / UDP(sport=1, dport=5002) / text
    assert inject(gateway, sent).returncode == 0
    assert server.recv(65535) == text
    server.close()
    last = gateway.completions()[-1]
    assert last["status"] == 0 and last["len"] == len(sent)
    stats = gateway.stats()
    assert stats["originated"] == stats["injected"] == stats["completed"] == 1


def test_bigger_than_a_packet_can_be(gateway):
    done = gateway.xdivert("inject", "--oif", "g1", "--hex", "00" * 65535,
                           check=False)
    assert done.returncode == 1 and "not an IP packet" in done.stderr
    assert gateway.stats()["originated"] == 0


def test_peer_without_napi(lab, gateway):
    """A veth takes XDP frames only if its peer runs NAPI; its stack does."""
    path = Path(lab)
    lab.server.run("ethtool -K s0 gro off")
    try:
        sent = packet("no-napi-no-xdp!!")
        assert inject(gateway, sent).returncode == 0
        assert path.arrives(b"no-napi-no-xdp!!") == \
            bytes(Ether(**path.to_server) / sent)
        assert last(gateway)["engine"] == "neigh"
        # ENXIO before kernel 6.3, which learned to say what a device can.
        target, = gateway.status()["targets"]
        assert target["ifname"] == "g1" and target["engine"] == "neigh"
        assert target["status"] in (-95, -6)
    finally:
        lab.server.run("ethtool -K s0 gro on")


def test_peer_down(lab, gateway):
    gateway.run("ip link add d0 type veth peer name d1")
    gateway.run("ip addr add 10.0.9.1/24 dev d0")
    gateway.run("ethtool -K d1 gro on")
    gateway.run("ip link set d0 up")
    gateway.run("ip neigh replace 10.0.9.2 lladdr 02:00:00:00:00:09 dev d0 "
                "nud permanent")
    try:
        done = inject(gateway, packet("x", dst="10.0.9.2"), "d0")
        assert done.returncode == 1
        assert (last(gateway)["status"], last(gateway)["error"]) == \
            (-6, "no carrier")
    finally:
        gateway.run("ip link del d0")


def tap(host, name):
    with host.inside():
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(),
                                                0x1002))
    return fd


def test_queue_full(lab, gateway):
    """A tap that nobody reads takes what its queue holds and no more."""
    fd = tap(gateway, "tap0")
    try:
        gateway.run("ip link set tap0 txqueuelen 16")
        gateway.run("ip addr add 10.0.8.1/24 dev tap0")
        gateway.run("ip link set tap0 up")
        gateway.run("ip neigh replace 10.0.8.2 lladdr 02:00:00:00:00:08 "
                    "dev tap0 nud permanent")
        before = len(gateway.completions())
        done = inject(gateway, packet("x", dst="10.0.8.2"), "tap0",
                      "--count", "40")
        assert done.returncode == 1
        records = gateway.completions()[before:]
        assert len(records) == 40
        refused = [r for r in records if r["status"]]
        assert {r["error"] for r in refused} == {"queue full"}
        # What was reported as taken is in the queue, all of it.
        os.set_blocking(fd, False)
        taken = 0
        while True:
            try:
                taken += b"\x0a\x00\x08\x02" in os.read(fd, 4096)
            except BlockingIOError:
                break
        assert taken == 40 - len(refused) > 0
    finally:
        os.close(fd)


BAD = [
    (["--hex", "45"], 1, "not an IP packet"),
    (["--hex", ""], 1, "not an IP packet"),
    (["--hex", "4g"], 2, "hex digits"),
    (["--hex", "450"], 2, "hex digits"),
    (["--hex", "00" * 20], 1, "not an IP packet"),
    (["--hex", "45" + "00" * 19], 1, "not an IP packet"),
    (["--pcap", "/nonexistent"], 1, "/nonexistent"),
    (["--pcap", "/etc/passwd"], 1, "/etc/passwd"),
    (["--hex", "45", "--pcap", "x"], 2, "one of"),
    (["--hex", "45", "--count", "x"], 2, "--count"),
    (["--hex", "45", "--count", "-1"], 2, "--count"),
    (["--hex", "45", "--rate", "x"], 2, "--rate"),
    (["--hex", "45", "--rate", ""], 2, "--rate"),
    (["--hex", "45", "--rate", "0"], 2, "--rate"),
    (["--hex", "45", "--rate", "-1"], 2, "--rate"),
    (["--hex", "45", "--rate", "1000001"], 2, "--rate"),
    (["--hex", "45", "--rate", "10pps"], 2, "--rate"),
    ([], 2, "--hex"),
]


@pytest.mark.parametrize("words,code,text", BAD, ids=lambda v: str(v)[:30])
def test_bad_input(gateway, words, code, text):
    done = gateway.xdivert("inject", "--oif", "g1", *words, check=False)
    assert done.returncode == code
    assert text in done.stderr and done.stderr.count("\n") == 1
    assert gateway.stats()["injected"] == 0


def test_two_handles_at_once(lab, gateway):
    """The daemon and inject each have a handle; neither sees the other's."""
    path = Path(lab)
    gateway.rule("all", "udp port 5000")
    gateway.daemon()
    for i in range(5):
        path.expect(udp("through-daemon-%d" % i),
                    udp("through-daemon-%d" % i, ttl=63))
        assert inject(gateway, packet("from-the-command")).returncode == 0
        assert path.arrives(b"from-the-command")
    stats = gateway.check_accounting()
    assert (stats["diverted"], stats["originated"]) == (5, 5)
    assert stats["completed"] == 10
    ids = [r["id"] for r in gateway.completions()]
    assert sorted(ids) == list(range(1, 11))
