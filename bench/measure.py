# SPDX-License-Identifier: BSD-2-Clause
"""One measurement each: a flood, a paced exchange, a TCP transfer."""
import contextlib
import json
import os
import re
import shutil
import time

from systems import Missing
from topology import BUILD, DAEMON_CPU, GENERATOR_CPU, Process


PATIENCE = 4000  # ms; a busy machine may be slow, but is not a broken one


class WrongPackets(RuntimeError):
    """What arrived was not what the system should have made of it."""


@contextlib.contextmanager
def running(topology, system):
    """The system forwards meanwhile; what counts at its far end."""
    system.start(topology)
    try:
        far = Process(topology.sink, GENERATOR_CPU,
                      [BUILD / "sink", "sink0", system.tos, system.ttl])
        try:
            yield far
        finally:
            far.stop()
    finally:
        system.stop(topology)


def check(system, result, what):
    if result["bad"] or not result["packets"]:
        raise WrongPackets(f"{system.name}, {what}: {result}")


def flood(topology, system, far, size, warm, run, flows=1, cpus=1):
    """Packets per second that arrive while more are offered than pass."""
    generator = topology.generate(
        "--size", size, "--flows", flows, "--seconds", 600,
        *(["--cpus", cpus] if cpus > 1 else []))
    try:
        result = far.ask(f"count {warm} {run}")
        while not result["packets"] and run < PATIENCE:
            warm, run = 0, 2 * run
            result = far.ask(f"count {warm} {run}")
    finally:
        sent = int(generator.stop())
    check(system, result, f"{size} bytes")
    result["pps"] = result["packets"] * 1e9 / result["ns"]
    result["offered"] = sent * 1e3 / (warm + run)
    return result


def paced(topology, system, far, rate, warm, run, size=64):
    """Latency in ns of packets that come one at a time."""
    end = time.monotonic() + PATIENCE / 1e3
    while True:
        quiet(far, end)
        far.ask("begin")
        generator = topology.generate(
            "--size", size, "--rate", rate, "--warm", warm / 1e3,
            "--seconds", (warm + run) / 1e3)
        generator.process.wait(timeout=60)
        sent = int(generator.stop())
        result = settled(far, sent)
        # On a busy machine perhaps none but the first got through.
        if result["p50"] or time.monotonic() > end:
            break
    check(system, result, f"{rate} packets/s")
    result["lost"] = 1 - result["packets"] / sent
    return result


def quiet(far, end):
    """Nothing comes any more of what was sent before."""
    while far.ask("count 0 20")["packets"] and time.monotonic() < end:
        pass


def settled(far, sent):
    """What has arrived once everything did, or nothing comes any more."""
    end = time.monotonic() + PATIENCE / 1e3
    result = far.ask("end")
    while result["packets"] < sent and time.monotonic() < end:
        moved = far.ask("count 0 50")["packets"]
        result = far.ask("end")
        if result["packets"] and not moved:
            break
    return result


@contextlib.contextmanager
def as_from_a_wire(topology):
    """Senders finish checksums and segments, as a link between hosts would."""
    ends = ((topology.generator, "gen0"), (topology.sink, "sink0"))
    for host, name in ends:
        host.run(f"ethtool -K {name} tx off")
    try:
        yield
    finally:
        for host, name in ends:
            host.run(f"ethtool -K {name} tx on")


@contextlib.contextmanager
def gro(topology, wanted):
    """On the gateway, GRO is on or off meanwhile."""
    def switch(state):
        for name in ("in0", "out0"):
            topology.gateway.run(f"ethtool -K {name} gro {state}")

    if not wanted:
        switch("off")
    try:
        yield
    finally:
        if not wanted:
            switch("on")


def iperf(topology, seconds):
    server = Process(topology.sink, DAEMON_CPU,
                     ["iperf3", "-s", "-1", "--forceflush"], ready="---")
    try:
        # Less than a second is said in bytes, at 1 Gbit/s.
        long = f"-t {seconds}" if seconds >= 1 else \
            f"-n {int(seconds * 125e6)}"
        return topology.generator.run(
            f"taskset -c {GENERATOR_CPU} iperf3 -J -c 10.0.2.2 -O 0 {long}",
            check=False, timeout=seconds + 30)
    finally:
        server.stop()


def tcp(topology, system, seconds):
    """Bits per second of one iperf3 connection."""
    if not shutil.which("iperf3"):
        raise Missing("iperf3 is not installed")
    with as_from_a_wire(topology), gro(topology, system.gro_for_tcp):
        system.start(topology)
        try:
            done = iperf(topology, seconds)
        finally:
            system.stop(topology)
    report = json.loads(done.stdout)
    if "error" in report:
        raise WrongPackets(f"{system.name}, TCP: {report['error']}")
    return report["end"]["sum_received"]["bits_per_second"]


def cpu_time(pid):
    """Of all its threads, in seconds."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    """Bytes of memory that the process has; exact, unlike VmRSS."""
    text = open(f"/proc/{pid}/smaps_rollup").read()
    return int(re.search(r"^Rss:\s*(\d+) kB", text, re.M)[1]) * 1024


def soak(topology, system, seconds):
    """A long flood: packets, and memory after a tenth of it and at the end."""
    with running(topology, system) as far:
        pid = system.process.process.pid
        first = flood(topology, system, far, 64, 0, int(seconds * 100),
                      flows=1000)
        before = resident(pid)
        rest = flood(topology, system, far, 64, 0, int(seconds * 900),
                      flows=1000)
        return first["packets"] + rest["packets"], before, resident(pid)


def idle(topology, system, seconds):
    """The share of a CPU that a daemon takes which has nothing to do."""
    system.start(topology)
    try:
        pid = system.process.process.pid
        before = cpu_time(pid)
        time.sleep(seconds)
        return (cpu_time(pid) - before) / seconds
    finally:
        system.stop(topology)
