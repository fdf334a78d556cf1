# SPDX-License-Identifier: BSD-2-Clause
"""What goes wrong around a daemon, and must not go wrong in it."""
import fcntl
import json
import os
import signal
import subprocess
import time

import pytest
from scapy.utils import PcapWriter

from lab import PIN_DIR, XDIVERT, wait_for
from packets import IP, UDP, V4, Ether, Path, udp


@pytest.fixture
def path(lab):
    return Path(lab)


def test_every_one_of_many_queues_is_served(lab, path):
    """Twelve queues share the frames; one more interface gets some too."""
    gateway = lab.gateway
    gateway.run("ip link add m0 numrxqueues 10 numtxqueues 10 type veth "
                "peer name m1 numrxqueues 10 numtxqueues 10")
    gateway.run("ip link set m0 up")
    gateway.run("ip link set m1 up")
    try:
        gateway.xdivert("attach", "g0")
        gateway.xdivert("attach", "g1")
        gateway.rule("all", "udp")
        gateway.daemon()
        gateway.xdivert("attach", "m0")

        def limits():
            dump = json.loads(gateway.run(
                ["bpftool", "-j", "map", "dump", "pinned",
                 gateway.pins() / "xdv_queues"]).stdout)
            return [q["formatted"]["value"]["limit"] for q in dump
                    if q["formatted"]["value"]["limit"]]
        wait_for(lambda: len(limits()) == 14 and min(limits()) >= 100,
                 what="frames for every queue")
        for i in range(40):
            ports = dict(sport=1000 + i, dport=2000)
            text = "many-queues-%04d" % i
            path.expect(IP(**V4) / UDP(**ports) / text,
                        IP(**V4, ttl=63) / UDP(**ports) / text)
        stats = gateway.check_accounting()
        assert (stats["completed"], stats["queue_dropped"]) == (40, 0)
    finally:
        gateway.run("ip link del m0")


def test_detached_and_attached_while_the_daemon_sleeps(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 1")
    daemon = lab.gateway.daemon()
    daemon.freeze()
    # Rules go with the last interface only if no daemon runs.
    lab.gateway.xdivert("detach", "g0")
    attach = lab.gateway.start([XDIVERT, "attach", "g0"])
    wait_for(lambda: lab.gateway.status()["interfaces"])
    os.kill(daemon.pid, signal.SIGCONT)
    assert attach.wait(timeout=10) == 0
    path.expect(udp("served-once-more"), udp("served-once-more", ttl=63, tos=4))


def test_starts_with_an_interface_gone_and_another_renamed(lab, path):
    gateway = lab.gateway
    for name in ("e", "f"):
        gateway.run(f"ip link add {name}0 type veth peer name {name}1")
        gateway.xdivert("attach", f"{name}0")
    gateway.xdivert("attach", "g0")
    gateway.rule("all", "udp")
    gateway.run("ip link del e0")
    gateway.run("ip link set f0 name h0")
    try:
        gateway.daemon()
        assert {i["ifname"]: i["served"]
                for i in gateway.status()["interfaces"]} == {"g0": 2, "h0": 1}
        path.expect(udp("it-started-well!"), udp("it-started-well!", ttl=63))
    finally:
        gateway.run("ip link del f1")


def test_interface_gets_another_address(lab, path):
    """Packets to the new MAC are ours, to the old one nobody's."""
    gateway = lab.gateway
    old = gateway.mac("g0")
    gateway.xdivert("attach", "g0")
    gateway.rule("all", "udp", "--do", "set ip.dscp 1")
    gateway.daemon()
    try:
        gateway.run("ip link set g0 address 02:00:00:00:77:77")
        path.to_gateway["dst"] = "02:00:00:00:77:77"

        def edited():
            path.send(udp("to-the-new-addr!"))
            return path.arrives(b"to-the-new-addr!")[15] == 4
        wait_for(edited, what="the new address")
    finally:
        gateway.run(f"ip link set g0 address {old}")


def test_frames_for_others_are_not_ours(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    lab.gateway.daemon()
    path.client.send(Ether(src=path.to_gateway["src"],
                           dst="02:11:22:33:44:55") / udp("for-another-host"))
    path.expect(udp("this-one-for-us!"), udp("this-one-for-us!", ttl=63))
    assert lab.gateway.settled()["diverted"] == 1


def test_stats_under_load_invent_nothing(lab, path):
    """No daemon: nothing is held, dropped or abandoned, whenever one looks."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    frame = bytes(Ether(**path.to_gateway) / udp("no-daemon-at-all"))
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        for _ in range(300):
            path.client.send(frame)
        stats = lab.gateway.stats()
        assert stats["held"] == stats["dropped"] == stats["abandoned"] == 0


def test_stats_while_injecting_invent_nothing(lab):
    lab.gateway.xdivert("attach", "g0")
    text = bytes(IP(src="10.0.2.1", dst="10.0.2.2") / UDP() / "x").hex()
    inject = lab.gateway.start(
        [XDIVERT, "inject", "--oif", "g1", "--hex", text, "--count", "20000"],
        stdout=subprocess.DEVNULL)
    while inject.poll() is None:
        stats = lab.gateway.stats()
        assert stats["dropped"] == stats["abandoned"] == 0
        assert stats["held"] <= 1
    assert inject.wait() == 0
    assert lab.gateway.stats()["completed"] == 20000


def test_queue_drops_are_counted_once(lab, path):
    """With a second handle alive, what AF_XDP refuses still counts once."""
    gateway = lab.gateway
    gateway.xdivert("attach", "g0", "--fail", "closed")
    gateway.rule("all", "udp")
    daemon = gateway.daemon()
    text = bytes(IP(src="10.0.2.1", dst="10.0.2.2") / UDP() / "x").hex()
    other = gateway.start(
        [XDIVERT, "inject", "--oif", "g1", "--hex", text, "--count",
         "1000000"], stdout=subprocess.PIPE)
    assert other.stdout.readline()
    # Its output is not read any more: it waits, with its handle open.
    try:
        daemon.freeze()
        frame = bytes(Ether(**path.to_gateway) / udp("a-flood-of-these"))
        for _ in range(5000):
            path.client.send(frame)
        wait_for(lambda: gateway.stats()["matched"] == 5000)
        os.kill(daemon.pid, signal.SIGCONT)

        def done():
            s = gateway.stats()
            return s["dropped"] + s["diverted"] + s["queue_dropped"] + \
                s["unserved"] == 5000
        wait_for(done)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    gateway.check_accounting()


def test_fragments_keep_a_right_checksum(lab, path):
    """An edit in the first fragment adjusts the datagram's checksum."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "ip", "--fragment", "yes", "--do", "replace gopher turtle",
                     "--do", "set udp.dport 99")
    lab.gateway.daemon()
    text = b"x" * 101 + b"gopher" + b"y" * 900
    sent = IP(bytes(IP(**V4, id=7) / UDP(sport=1, dport=2) / text))
    want = IP(bytes(IP(**V4, id=7) / UDP(sport=1, dport=99)
                    / text.replace(b"gopher", b"turtle")))
    from scapy.layers.inet import fragment
    pieces, wanted = fragment(sent, 400), fragment(want, 400)
    for piece, expected in zip(pieces, wanted):
        path.send(piece)
        frame = path.server.receive(lambda f: f[12:14] == b"\x08\0"
                                    and f[23] == 17)
        # The transport header is in the first only.
        assert frame[34:] == bytes(expected[IP].payload)


def test_wrong_checksums_stay_wrong(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "ip", "--do", "replace gopher turtle")
    lab.gateway.daemon()
    good = IP(bytes(IP(**V4) / UDP(sport=1, dport=2) / "a gopher here, yes"))
    edited = IP(bytes(IP(**V4) / UDP(sport=1, dport=2)
                      / "a turtle here, yes"))
    good[UDP].chksum ^= 0x0101
    path.send(good)
    frame = path.arrives(b"a turtle here")
    assert frame[40:42] != bytes(edited)[26:28]


def test_target_interface_of_a_rule_goes(lab, path):
    """--to an interface that has gone: dropped, never routed elsewhere."""
    gateway = lab.gateway
    gateway.run("ip link add e0 type veth peer name e1")
    gateway.xdivert("attach", "g0")
    gateway.rule("away", "udp", "--to", "e0")
    gateway.daemon()
    gateway.run("ip link del e0")
    gateway.rule("other", "tcp port 1")
    tcp = IP(**V4) / UDP(sport=1, dport=2) / "must-not-arrive!"
    from packets import TCP
    path.expect_nothing(tcp, IP(**V4) / TCP() / "this-one-arrives")
    assert gateway.settled()["dropped"] == 1


def test_rule_follows_an_interface_made_anew(lab, path):
    """--oif names an interface; another one of that name counts too."""
    gateway = lab.gateway
    gateway.run("ip link add e0 type veth peer name e1")
    gateway.xdivert("attach", "g0")
    gateway.rule("in", "udp", "--oif", "e0", "--do", "drop")
    gateway.daemon()
    generation = lambda: json.loads(gateway.run(  # noqa: E731
        ["bpftool", "-j", "map", "dump", "pinned",
         gateway.pins() / "xdv_control"]).stdout)[0]["formatted"]["value"][
             "generation"]
    before = generation()
    gateway.run("ip link del e0")
    gateway.run("ip link add e0 type veth peer name e1")
    try:
        wait_for(lambda: generation() > before)
    finally:
        gateway.run("ip link del e0")


def test_too_many_callouts_are_refused(lab):
    lab.gateway.xdivert("attach", "g0")
    words = ["--do", "set ip.dscp 1"] * 16
    done = lab.gateway.xdivert("rule", "add", "a", "--filter", "udp", *words,
                               "--do", "drop", check=False)
    assert done.returncode == 1 and "16" in done.stderr
    lab.gateway.rule("b", "udp", *words)


def test_numbers_do_not_wrap(lab):
    lab.gateway.xdivert("attach", "g0")
    for words, code in ((["--do", "set ip.ttl 4294967297"], 1),
                        (["--do", "set tcp.dport 99999999999999999999"], 1),
                        (["--priority", "4294967295"], 2),
                        (["--priority", "99999999999999999999"], 2)):
        done = lab.gateway.xdivert("rule", "add", "a", "--filter", "udp",
                                   *words, check=False)
        assert done.returncode == code, words


def test_pcap_with_padding_and_a_broken_end(lab, path, tmp_path):
    file = tmp_path / "some.pcap"
    packet = IP(src="10.0.2.1", dst="10.0.2.2") / UDP(sport=1, dport=2) / "x"
    with PcapWriter(str(file), linktype=1) as out:
        for _ in range(3):
            out.write(Ether(bytes(Ether(type=0x800) / packet) + b"\0" * 17))
    lab.gateway.xdivert("attach", "g0")
    done = lab.gateway.xdivert("inject", "--oif", "g1", "--pcap", file)
    assert done.stdout.count("29 bytes") == 3
    file.write_bytes(file.read_bytes()[:-10])
    done = lab.gateway.xdivert("inject", "--oif", "g1", "--pcap", file,
                               check=False)
    assert done.returncode == 1 and "some.pcap" in done.stderr


def test_pcap_of_any_interface(lab, path, tmp_path):
    """The link type of tcpdump -i any."""
    file = tmp_path / "any.pcap"
    packet = IP(src="10.0.2.1", dst="10.0.2.2") / UDP() / "from-any-device"
    sll2 = b"\x08\0" + bytes(18)
    with PcapWriter(str(file), linktype=276) as out:
        out.write(sll2 + bytes(packet))
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.xdivert("inject", "--oif", "g1", "--pcap", file)
    assert path.arrives(b"from-any-device")


def test_somebody_holds_the_lock(lab, path):
    """The data path waits for nobody."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    lab.gateway.daemon()
    fd = os.open(lab.gateway.pins(), os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        # An interface comes: the daemon wants to look at what is attached.
        lab.gateway.run("ip link add e0 type veth peer name e1")
        for i in range(20):
            text = "under-a-lock-%03d" % i
            path.expect(udp(text), udp(text, ttl=63))
    finally:
        os.close(fd)
        lab.gateway.run("ip link del e0")


def test_out_of_descriptors_removes_nothing(lab):
    lab.gateway.xdivert("attach", "g0")
    for limit in range(4, 24):
        lab.gateway.run(["sh", "-c", f"ulimit -n {limit}; {XDIVERT} status"],
                        check=False)
    assert lab.gateway.status()["interfaces"][0]["ifname"] == "g0"


def test_packets_bigger_than_the_way_out(lab, path):
    """Its sender is told as by the kernel; nothing is black-holed."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 1")
    lab.gateway.daemon()
    # Below 1280 the interface would lose its IPv6 for good.
    lab.gateway.run("ip link set g1 mtu 1300")
    try:
        path.send(udp("z" * 1400, flags="DF"))
        answer = path.client.receive(
            lambda f: f[23] == 1 and f[34:36] == b"\3\4")
        assert answer is not None and answer[40:42] == b"\x05\x14"
        stats = lab.gateway.settled()
        assert (stats["diverted"], stats["failed"]) == (1, 1)
    finally:
        lab.gateway.run("ip link set g1 mtu 1500")


def test_memory_of_another_version(lab):
    """The host's table of injections is not shared with who built it
    otherwise.
    """
    pins = PIN_DIR.with_name(PIN_DIR.name + "-other")
    pins.mkdir()
    subprocess.run(["bpftool", "map", "create", pins / "xdv_injected", "type",
                    "array", "key", "4", "value", "8", "entries", "1", "name",
                    "other"], check=True)
    try:
        done = lab.gateway.xdivert("--pin-dir", pins, "run", check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "xdv_injected" in done.stderr and "version" in done.stderr
        lab.gateway.xdivert("--pin-dir", pins, "detach", "--all")
    finally:
        assert not (pins / "xdv_injected").exists()
