# SPDX-License-Identifier: BSD-2-Clause
"""The benchmark measures what it says: every peer edits and forwards, to the
byte and in order, and the shortest run writes every key.
"""
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from lab import Wire

BENCH = pathlib.Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))
from systems import (Missing, NoCompletions, Xdivert, by_name,  # noqa: E402
                     compared, in_latency, in_tcp)
from topology import Topology  # noqa: E402

SYSTEMS = {system.name for system in (*compared(), *in_latency(), *in_tcp())}
SIZES = (64, 65, 333, 512, 1513, 1514)
EACH = 20


@pytest.fixture(scope="module")
def topology():
    topology = Topology()
    yield topology
    topology.close()


def packets(source, destination):
    """As they are sent, and as IP they carry a number each."""
    for i in range(EACH * len(SIZES)):
        size = SIZES[i % len(SIZES)]
        payload = (b"%08d" % i).ljust(size - 14 - 20 - 8, b"x")
        yield IP(src=source, dst=destination, id=i) / \
            UDP(sport=1024 + i, dport=9000) / payload


def forwards(topology, system, sender, receiver, source, destination):
    """Everything arrives at the receiver, edited, in order."""
    near, far = Wire(*sender), Wire(*receiver)
    mac = topology.macs
    gateway = {"gen0": "in0", "sink0": "out0"}
    try:
        sent = list(packets(source, destination))
        for packet in sent:
            near.send(Ether(src=mac[sender[1]], dst=mac[gateway[sender[1]]])
                      / packet)
        for packet in sent:
            packet.tos, packet.ttl = system.tos, system.ttl
            wanted = bytes(Ether(src=mac[gateway[receiver[1]]],
                                 dst=mac[receiver[1]]) / packet)
            frame = far.receive(lambda frame: frame[12:14] == b"\x08\x00")
            assert frame == wanted, f"{frame and frame.hex()} {wanted.hex()}"
    finally:
        near.close()
        far.close()


@pytest.mark.parametrize("name", sorted(SYSTEMS | {"xdp_pass"}))
def test_every_system_edits_and_forwards(topology, name):
    system = by_name(name)
    client = topology.generator, "gen0"
    server = topology.sink, "sink0"
    try:
        system.start(topology)
    except Missing as why:
        pytest.skip(str(why))
    try:
        forwards(topology, system, client, server, "10.0.1.2", "10.0.2.2")
        forwards(topology, system, server, client, "10.0.2.2", "10.0.1.2")
    finally:
        system.stop(topology)


@pytest.mark.parametrize("system,knows", [
    (Xdivert(), True), (NoCompletions("completions_off"), False)],
    ids=lambda v: str(getattr(v, "name", v)))
def test_completions_are_off_where_their_cost_is_measured(topology, system,
                                                          knows):
    system.start(topology)
    try:
        forwards(topology, system, (topology.generator, "gen0"),
                 (topology.sink, "sink0"), "10.0.1.2", "10.0.2.2")
        gateway = topology.gateway
        stats = gateway.settled() if knows else gateway.stats()
        assert stats["diverted"] >= EACH * len(SIZES)
        for count in ("injected", "completed"):
            assert stats[count] == (stats["diverted"] if knows else 0)
        assert bool(gateway.completions()) == knows
    finally:
        system.stop(topology)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """What the shortest run wrote."""
    base = tmp_path_factory.mktemp("bench") / "bench"
    done = subprocess.run(
        [sys.executable, BENCH / "bench.py", "--mode", "smoke", "--output",
         base], text=True, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return base


def test_a_run_writes_its_keys(smoke):
    found = json.loads(smoke.with_suffix(".json").read_text())
    skipped = found["skipped"]
    assert not found["errors"]
    for system in compared():
        if f"throughput.{system.name}" in skipped:
            continue
        for size in ("64", "512", "1514"):
            assert found["throughput"][size][system.name] > 0
    for system in in_latency():
        if f"latency.{system.name}" in skipped:
            continue
        for rate in ("1000", "10000", "100000"):
            row = found["latency"][rate][system.name]
            assert 0 < row["p50"] <= row["p99"] <= row["p999"]
            assert 0 <= row["lost"] < 1
    for system in in_tcp():
        assert f"tcp.{system.name}" in skipped or \
            found["tcp"][system.name] > 0
    for name in ("nfqueue", "afxdp_tx", "ringbuf_afpacket", "ip_forward",
                 "xdp_redirect"):
        row = found["throughput"]["64"]
        assert found["ratio"][name] == pytest.approx(
            row["xdivert_xdp"] / row[name])
    for kind in ("rules", "in_turn"):
        assert set(found["scale"][kind]) == {"1", "16", "128", "512"}
        assert found["ratio"][f"{kind}_512"] > 0
    assert found["scale"]["src_set"]["100000"] > 0
    # What may be missing is missing for a reason.
    assert not {f"throughput.{name}" for name in (
        "xdivert_xdp", "nfqueue", "afxdp_tx")} & set(skipped)


def test_a_run_says_what_it_met_and_missed(smoke):
    found = json.loads(smoke.with_suffix(".json").read_text())
    text = smoke.with_suffix(".txt").read_text()
    for row in found["targets"]:
        assert row["text"] in text
        value, goal, floor = row["value"], row["goal"], row["floor"]
        if value is None:
            assert row["verdict"] == "not measured"
            continue
        sign = -1 if row["better"] == "lower" else 1
        met = sign * value >= sign * goal
        assert (row["verdict"] == "goal met") == met
        if not met and floor is not None:
            assert (row["verdict"] == "FLOOR MISSED") == \
                (sign * value < sign * floor)
    xml.etree.ElementTree.parse(smoke.with_suffix(".svg"))
