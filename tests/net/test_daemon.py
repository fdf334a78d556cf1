# SPDX-License-Identifier: BSD-2-Clause
"""The daemon comes and goes; packets pass or drop as --fail says."""
import json
import subprocess
import threading
import time

import pytest

from lab import XDIVERT, wait_for
from packets import IP, TCP, V4, Ether, Path, udp


@pytest.fixture
def path(lab):
    return Path(lab)


class Traffic:
    """Numbered UDP packets from client to server until stopped."""

    def __init__(self, path):
        self.path = path
        self.sent = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.loop)
        self.thread.start()

    def loop(self):
        template = bytes(udp("traffic-%010d" % 0))
        head = bytes.fromhex(
            (self.path.to_gateway["dst"] + self.path.to_gateway["src"])
            .replace(":", "")) + b"\x08\x00"
        while not self.stopping.is_set():
            packet = bytearray(template)
            packet[26:28] = b"\0\0"  # no UDP checksum
            packet[-10:] = b"%010d" % self.sent
            self.path.client.send(head + bytes(packet))
            self.sent += 1
            self.stopping.wait(0.0005)

    def stop(self):
        self.stopping.set()
        self.thread.join()


def number(frame):
    return int(frame[-10:])


def next_arrival(path, at_least):
    """A packet sent from now on arrives."""
    return path.server.receive(
        lambda f: b"traffic-" in f and number(f) >= at_least, timeout=5)


def test_no_daemon_fail_open_passes(lab, path):
    lab.gateway.xdivert("attach", "g0", "--fail", "open")
    lab.gateway.rule("all", "udp", "--do", "drop")
    path.expect(udp("nobody-serves-it"), udp("nobody-serves-it", ttl=63))
    stats = lab.gateway.stats()
    assert (stats["matched"], stats["unserved"]) == (1, 1)


def test_no_daemon_fail_closed_drops(lab, path):
    lab.gateway.xdivert("attach", "g0", "--fail", "closed")
    lab.gateway.rule("all", "udp")
    path.expect_nothing(udp("nobody-serves-it"),
                        IP(**V4) / TCP() / "this-one-arrives")
    stats = lab.gateway.stats()
    assert (stats["matched"], stats["unserved"]) == (1, 1)


def test_killed_under_traffic_fail_open(lab, path):
    """Traffic flows on, unedited; a new daemon takes over."""
    lab.gateway.xdivert("attach", "g0", "--fail", "open")
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
    """Traffic stops; a new daemon takes over."""
    lab.gateway.xdivert("attach", "g0", "--fail", "closed")
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
        assert first_back > killed_at, "a packet passed while nobody served"
        assert first_back <= served_at + 5
        assert second.stop() == 0, second.errors
    finally:
        traffic.stop()
    lab.gateway.check_accounting()


def test_killed_between_receive_and_inject_is_accounted(lab, path):
    """What a dead daemon had is dropped and abandoned, never held."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    daemon = lab.gateway.daemon()
    daemon.freeze()
    for _ in range(10):
        path.send(udp("waits-in-a-queue"))
    wait_for(lambda: lab.gateway.stats()["diverted"] == 10)
    assert lab.gateway.stats()["held"] == 10
    daemon.kill()
    stats = lab.gateway.stats()
    assert (stats["held"], stats["dropped"], stats["abandoned"]) == (0, 10, 10)


def test_sigterm_drains(lab, path):
    """What waits when the signal comes is still injected."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    daemon = lab.gateway.daemon()
    daemon.freeze()
    for _ in range(100):
        path.send(udp("waits-in-a-queue"))
    wait_for(lambda: lab.gateway.stats()["diverted"] == 100)
    daemon.process.send_signal(15)
    daemon.process.send_signal(18)  # SIGCONT
    assert daemon.wait() == 0, daemon.errors
    stats = lab.gateway.stats()
    assert (stats["diverted"], stats["completed"]) == (100, 100)
    assert stats["dropped"] == 0


def test_overload_fail_closed_drops_and_counts(lab, path):
    """A daemon that does not keep up: its queue is bounded, the rest counted.
    """
    lab.gateway.xdivert("attach", "g0", "--fail", "closed")
    lab.gateway.rule("all", "udp")
    daemon = lab.gateway.daemon()
    daemon.freeze()
    frame = bytes(Ether(**path.to_gateway) / udp("overload-0123456"))
    for _ in range(6000):
        path.client.send(frame)
    wait_for(lambda: lab.gateway.stats()["matched"] == 6000)
    stats = lab.gateway.stats()
    assert stats["unserved"] > 0
    daemon.process.send_signal(18)
    stats = lab.gateway.check_accounting()
    assert stats["completed"] + stats["failed"] == stats["diverted"] < 6000


def test_only_one_daemon(lab):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.daemon()
    second = lab.gateway.xdivert("run", check=False)
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "daemon" in second.stderr


def test_attach_and_detach_while_it_runs(lab, path):
    lab.gateway.xdivert("attach", "g1")
    lab.gateway.daemon()
    for _ in range(5):
        lab.gateway.xdivert("attach", "g0")
        status = lab.gateway.status()
        assert {i["ifname"]: i["served"] for i in status["interfaces"]} == \
            {"g0": 2, "g1": 2}
        lab.gateway.rule("all", "udp", "--do", "set ip.dscp 3")
        path.expect(udp("attached-in-time"),
                    udp("attached-in-time", ttl=63, tos=12))
        lab.gateway.xdivert("detach", "g0")
        path.expect(udp("detached-in-time"), udp("detached-in-time", ttl=63))
        lab.gateway.xdivert("rule", "del", "all")
    assert lab.gateway.settled()["completed"] == 5


def test_started_before_anything_is_attached(lab, path):
    lab.gateway.daemon()
    lab.gateway.rule("all", "udp", "--do", "set ip.dscp 3")
    lab.gateway.xdivert("attach", "g0")
    path.expect(udp("attached-later!!"), udp("attached-later!!", ttl=63, tos=12))


def test_rules_change_under_traffic(lab, path):
    """No packet is lost and none goes without a rule."""
    lab.gateway.xdivert("attach", "g0", "--fail", "closed")
    lab.gateway.rule("base", "udp", "--do", "set ip.dscp 1", "--priority", "9")
    lab.gateway.daemon()
    traffic = Traffic(path)
    try:
        for i in range(20):
            lab.gateway.rule("more", f"udp port {i + 1}", "--do", "drop")
            lab.gateway.xdivert("rule", "del", "more")
    finally:
        traffic.stop()
    seen = []
    while len(seen) < traffic.sent:
        frame = path.server.receive(lambda f: b"traffic-" in f, timeout=2)
        assert frame is not None, f"{len(seen)} of {traffic.sent} arrived"
        assert frame[15] == 4
        seen.append(number(frame))
    assert seen == list(range(traffic.sent))


def test_interface_deleted_while_it_runs(lab, path):
    """The daemon lives on, idle, and serves the others."""
    gateway = lab.gateway
    gateway.run("ip link add e0 type veth peer name e1")
    gateway.run("ip link set e0 up")
    gateway.run("ip link set e1 up")
    gateway.xdivert("attach", "g0")
    gateway.xdivert("attach", "e0")
    gateway.rule("all", "udp")
    daemon = gateway.daemon()
    gateway.run("ip link del e0")
    path.expect(udp("the-others-live!"), udp("the-others-live!", ttl=63))

    def ticks():
        fields = open(f"/proc/{daemon.pid}/stat").read().split()
        return int(fields[13]) + int(fields[14])
    before = ticks()
    time.sleep(0.3)  # an interval to measure, not to wait
    assert ticks() - before < 10, "the daemon spins"
    gateway.xdivert("attach", "g1")
    assert {i["ifname"]: i["served"]
            for i in gateway.status()["interfaces"]} == {"g0": 2, "g1": 2}
    assert daemon.process.poll() is None


def test_completion_records_agree_with_the_counters(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    lab.gateway.daemon()
    for _ in range(30):
        path.send(udp("thirty-of-these!"))
    wait_for(lambda: lab.gateway.stats()["completed"] == 30)
    records = lab.gateway.completions()
    assert [r["id"] for r in records] == list(range(1, 31))
    for r in records:
        assert set(r) == {"id", "context", "ifindex", "ifname", "status",
                          "error", "reason", "engine", "len", "latency_ns"}
        assert r["ifname"] == "g1" and r["status"] == 0 and r["len"] == 44
        assert r["latency_ns"] > 0
    recent = json.loads(lab.client.run(
        ["bpftool", "-j", "map", "dump", "pinned",
         lab.gateway.pins() / "xdv_recent"]).stdout)
    assert recent[29]["formatted"]["value"]["id"] == 30
    dump = json.loads(lab.client.run(
        ["bpftool", "-j", "map", "dump", "pinned",
         lab.gateway.pins() / "xdv_stats"]).stdout)
    total = sum(cpu["value"]["completed"] for row in dump
                for cpu in row["formatted"]["values"])
    assert total == 30


def test_follow(lab, path):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    lab.gateway.daemon()
    follow = lab.gateway.start([XDIVERT, "completions", "--follow", "--json"],
                               text=True, stdout=subprocess.PIPE)
    try:
        for i in range(1, 4):
            path.send(udp("followed-by-lots"))
            assert json.loads(follow.stdout.readline())["id"] == i
    finally:
        follow.kill()
        follow.wait()
        follow.stdout.close()
