# SPDX-License-Identifier: BSD-2-Clause
"""xdivert run --workers: threads that share the receive queues."""
import json
import signal

import pytest

from lab import XDIVERT, wait_for
from packets import IP, UDP, V4, Ether, Path, udp

FLOWS = 32
ROUNDS = 40


@pytest.fixture
def path(lab):
    return Path(lab)


def frame_of(path, flow, number):
    return bytes(Ether(**path.to_gateway) / IP(**V4) /
                 UDP(sport=4000 + flow, dport=5000) /
                 f"flow-{flow:04d}-{number:06d}")


def injected(gateway, name):
    """Descriptors of an injection ring that were ever used."""
    dump = json.loads(gateway.run(
        ["bpftool", "-j", "map", "dump", "pinned",
         gateway.pins() / name]).stdout)
    return sum(row["formatted"]["value"]["id"] != 0 for row in dump)


def test_every_worker_serves_and_flows_keep_their_order(lab, path):
    """Flows spread over the receive queues; each goes through one worker."""
    gateway = lab.gateway
    gateway.xdivert("attach", "g0", "--fail", "closed")
    gateway.rule("all", "udp", "--do", "set ip.dscp 3")
    daemon = gateway.daemon("--workers", "2")
    assert gateway.status()["interfaces"][0]["served"] == 2
    frames = [frame_of(path, flow, number)
              for number in range(ROUNDS) for flow in range(FLOWS)]
    for frame in frames:
        path.client.send(frame)
    following = [0] * FLOWS
    for _ in frames:
        frame = path.server.receive(lambda f: b"flow-" in f, timeout=5)
        assert frame is not None, f"{sum(following)} of {len(frames)} arrived"
        assert frame[15] == 12
        _, flow, number = frame[42:58].split(b"-")
        assert int(number) == following[int(flow)]
        following[int(flow)] += 1
    stats = gateway.check_accounting()
    assert stats["completed"] == stats["diverted"] == len(frames)
    # Both had something to do.
    assert injected(gateway, "xdv_inflight") > 0
    assert injected(gateway, "xdv_inflight_1") > 0
    second = gateway.xdivert("run", check=False)
    assert second.returncode == 1 and "daemon" in second.stderr
    assert daemon.stop() == 0, daemon.errors


def test_rules_reach_every_worker(lab, path):
    gateway = lab.gateway
    gateway.xdivert("attach", "g0")
    daemon = gateway.daemon("--workers", "3")
    for dscp in (1, 2):
        gateway.rule(f"r{dscp}", "udp", "--do", f"set ip.dscp {dscp}",
                     "--priority", str(10 - dscp))
        daemon.process.send_signal(signal.SIGHUP)
        for flow in range(8):
            path.client.send(frame_of(path, flow, dscp))
        for _ in range(8):
            frame = path.server.receive(lambda f: b"flow-" in f)
            assert frame is not None and frame[15] == 4 * dscp


def test_sigterm_drains_every_worker(lab, path):
    gateway = lab.gateway
    gateway.xdivert("attach", "g0")
    gateway.rule("all", "udp")
    daemon = gateway.daemon("--workers", "2")
    daemon.freeze()
    for flow in range(100):
        path.client.send(frame_of(path, flow, 0))
    wait_for(lambda: gateway.stats()["diverted"] == 100)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.send_signal(signal.SIGCONT)
    assert daemon.wait() == 0, daemon.errors
    stats = gateway.stats()
    assert (stats["diverted"], stats["completed"]) == (100, 100)
    assert stats["dropped"] == 0


def test_interfaces_come_and_go(lab, path):
    """With one queue each, interfaces go to different workers."""
    gateway = lab.gateway
    gateway.daemon("--workers", "2")
    gateway.rule("all", "udp", "--do", "set ip.dscp 3")
    for _ in range(3):
        gateway.xdivert("attach", "g1")
        gateway.xdivert("attach", "g0")
        assert {i["ifname"]: i["served"]
                for i in gateway.status()["interfaces"]} == {"g0": 2, "g1": 2}
        path.expect(udp("attached-in-time"),
                    udp("attached-in-time", ttl=63, tos=12))
        gateway.xdivert("detach", "g0")
        path.expect(udp("detached-in-time"), udp("detached-in-time", ttl=63))
        gateway.xdivert("detach", "g1")


@pytest.mark.parametrize("number", ["0", "65", "x", "-1"])
def test_how_many(lab, number):
    done = lab.gateway.xdivert("run", "--workers", number, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and number in done.stderr


def test_workers_that_cannot_start(lab):
    """Something stands where the second one's memory is to be pinned."""
    gateway = lab.gateway
    gateway.xdivert("attach", "g0")
    (gateway.pins() / "xdv_umem_1").mkdir()
    done = gateway.run([XDIVERT, "run", "--workers", "2"], check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert not gateway.status()["daemon"]
    (gateway.pins() / "xdv_umem_1").rmdir()
    gateway.daemon("--workers", "2")


def spinning(daemon):
    """Of its threads; what most of a hundred looks find, if they agree."""
    looks = [daemon.states().count("R") for _ in range(100)]
    often = max(set(looks), key=looks.count)
    return often if looks.count(often) > 90 else None


@pytest.mark.parametrize("words,spin", [
    ([], 0), (["--busy-poll"], 1), (["--busy-poll", "--workers", "2"], 2)])
def test_busy_poll(lab, path, words, spin):
    """It spins, serves, sees interfaces come and go, and ends when told; who
    does not ask for it gets a daemon that sleeps.
    """
    gateway = lab.gateway
    gateway.rule("all", "udp", "--do", "set ip.dscp 3")
    daemon = gateway.daemon(*words)
    for _ in range(2):
        gateway.xdivert("attach", "g0")
        path.expect(udp("attached-in-time"),
                    udp("attached-in-time", ttl=63, tos=12))
        gateway.xdivert("detach", "g0")
        path.expect(udp("detached-in-time"), udp("detached-in-time", ttl=63))
    gateway.xdivert("attach", "g0")
    wait_for(lambda: spinning(daemon) == spin, what=f"{spin} that spin")
    daemon.process.send_signal(signal.SIGHUP)
    path.expect(udp("and-still-served"),
                udp("and-still-served", ttl=63, tos=12))
    assert daemon.stop() == 0, daemon.errors


def test_idle_poll(lab, path):
    """Between packets that come close together it waits awake, and is told of
    everything; then it sleeps.
    """
    gateway = lab.gateway
    gateway.rule("all", "udp", "--do", "set ip.dscp 3")
    daemon = gateway.daemon("--idle-poll", "1000000")
    gateway.xdivert("attach", "g0")

    def served():
        path.expect(udp("in-quick-succession"),
                    udp("in-quick-succession", ttl=63, tos=12))
        return spinning(daemon)

    wait_for(lambda: served() == 1, what="it waits awake")
    gateway.xdivert("attach", "g1")
    assert [i["served"] for i in gateway.status()["interfaces"]] == [2, 2]
    wait_for(lambda: spinning(daemon) == 0, what="it sleeps")
    wait_for(lambda: served() == 1, what="it waits awake")
    assert daemon.stop() == 0, daemon.errors


def test_awake_in_one_way(lab):
    done = lab.gateway.xdivert("run", "--busy-poll", "--idle-poll", "5",
                               check=False)
    assert done.returncode == 2 and "never sleeps" in done.stderr


@pytest.mark.parametrize("value", ["-1", "1000001", "x", ""])
def test_how_long_awake(lab, value):
    done = lab.gateway.xdivert("run", "--idle-poll", value, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"0 to 1000000 microseconds, not '{value}'" in done.stderr
