# SPDX-License-Identifier: BSD-2-Clause
"""
make bench: ours and the peers on one topology, one after the other, in rounds.
bench/README.md says how to read what comes out.
"""
import argparse
import collections
import contextlib
import os
import pathlib
import platform
import subprocess
import sys
import time

import measure
import report
import results
import scale
import systems
from topology import TOP, Topology

# Times in ms, but tcp: s. latency: by rate.
Mode = collections.namedtuple(
    "Mode", "rounds warm run sizes latency latency_rounds tcp tcp_rounds "
    "scale scale_rounds soak idle")
MODES = {
    "full": Mode(7, 150, 500, (64, 512, 1514),
                 {1000: 3000, 10000: 1500, 100000: 1500}, 3, 2, 5,
                 ("rules", "in_turn", "unmatched", "flows", "completions",
                  "workers"), 3, 90, 3),
    "quick": Mode(3, 100, 250, (64, 1514),
                  {1000: 500, 10000: 300, 100000: 300}, 3, 1, 2,
                  ("rules", "in_turn", "unmatched", "flows", "completions"),
                  2, 5, 1),
    "smoke": Mode(1, 20, 60, (64, 512, 1514),
                  {1000: 60, 10000: 40, 100000: 40}, 1, .04, 1,
                  ("rules", "in_turn", "unmatched", "completions"), 1, .5, .2),
}


class Bench:
    def __init__(self, mode):
        self.mode = mode
        self.results = results.Results()
        self.topologies = {}
        self.start = time.monotonic()

    def topology(self, queues=1):
        if queues not in self.topologies:
            self.topologies[queues] = Topology(queues)
        return self.topologies[queues]

    def close(self):
        for topology in self.topologies.values():
            topology.close()

    def say(self, text):
        print(f"{time.monotonic() - self.start:5.0f} s  {text}",
              file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def attempt(self, path):
        """What cannot be measured is said, and not tried again."""
        if path in self.results.skipped or path in self.results.errors:
            yield False
            return
        try:
            yield True
        except systems.Missing as why:
            self.results.skipped[path] = str(why)
            self.say(f"{path}: skipped: {why}")
        except (RuntimeError, AssertionError, OSError, ValueError,
                subprocess.SubprocessError) as error:
            self.results.errors[path] = f"{type(error).__name__}: {error}"
            self.say(f"{path}: FAILED: {error}")

    def record(self, path, number, value, unit):
        self.results.add(path, number, value)
        self.say(f"round {number + 1}: {path}: {value:.0f} {unit}")

    def throughput(self, number, system):
        with self.attempt(f"throughput.{system.name}") as wanted:
            if not wanted:
                return
            with measure.running(self.topology(), system) as far:
                for size in self.mode.sizes:
                    result = measure.flood(self.topology(), system, far, size,
                                           self.mode.warm, self.mode.run)
                    self.record(f"throughput.{size}.{system.name}", number,
                                result["pps"], "packets/s")

    def latency(self, number, system):
        with self.attempt(f"latency.{system.name}") as wanted:
            if not wanted:
                return
            with measure.running(self.topology(), system) as far:
                for rate, run in self.mode.latency.items():
                    result = measure.paced(self.topology(), system, far, rate,
                                           self.mode.warm, run)
                    path = f"latency.{rate}.{system.name}"
                    for p in ("p50", "p99", "p999"):
                        self.record(f"{path}.{p}", number, result[p], "ns")
                    self.results.add(f"{path}.lost", number, result["lost"])

    def tcp(self, number, system):
        with self.attempt(f"tcp.{system.name}") as wanted:
            if wanted:
                self.record(f"tcp.{system.name}", number, measure.tcp(
                    self.topology(), system, self.mode.tcp), "bit/s")

    def soak(self):
        """Does a daemon's memory grow?"""
        system = systems.Xdivert()
        with self.attempt("soak") as wanted:
            if wanted:
                values = measure.soak(self.topology(), system, self.mode.soak)
                for key, value, unit in zip(
                        ("packets", "resident_start", "resident_end"), values,
                        ("packets", "bytes", "bytes")):
                    self.record(f"soak.{key}", 0, value, unit)

    def idle(self):
        """CPU share of a daemon with nothing to do."""
        system = systems.Xdivert()
        with self.attempt("ratio.idle_cpu") as wanted:
            if wanted:
                share = measure.idle(self.topology(), system, self.mode.idle)
                self.results.add("ratio.idle_cpu", 0, share)

    def rounds(self):
        """In each round everyone, and nobody always first."""
        for parts, count, who in (
                (self.throughput, self.mode.rounds, systems.compared()),
                (self.latency, self.mode.latency_rounds, systems.in_latency()),
                (self.tcp, self.mode.tcp_rounds, systems.in_tcp())):
            for number in range(count):
                for i in range(len(who)):
                    parts(number, who[(i + number) % len(who)])
        for number in range(self.mode.scale_rounds):
            scale.measure(self, number)
        self.soak()
        self.idle()


def stolen():
    """Seconds of all CPUs that the hypervisor gave to others, since boot."""
    fields = pathlib.Path("/proc/stat").read_text().split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def describe(mode):
    """The machine; figures of two machines are not to be compared."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = [line.split(":")[1].strip() for line in cpu.splitlines()
             if line.startswith("model name")]
    commit = subprocess.run(["git", "-C", TOP, "describe", "--always",
                             "--dirty"], text=True, capture_output=True)
    return {"mode": mode, "kernel": platform.release(),
            "cpu": model[0] if model else platform.machine(),
            "cpus": os.cpu_count(), "commit": commit.stdout.strip(),
            "load_before": os.getloadavg()[0], "stolen_before": stolen(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=MODES, default="full")
    parser.add_argument("--output", default=TOP / "build" / "bench",
                        type=pathlib.Path,
                        help="without its ending; .json, .txt and .svg follow")
    args = parser.parse_args()
    if os.geteuid():
        sys.exit("bench: run it as root: sudo make bench")
    meta = describe(args.mode)
    bench = Bench(MODES[args.mode])
    try:
        bench.rounds()
    finally:
        bench.close()
    found = bench.results
    results.add_ratios(found)
    meta["stolen"] = round(stolen() - meta.pop("stolen_before"), 2)
    meta["load_after"] = os.getloadavg()[0]
    meta["seconds"] = round(time.monotonic() - bench.start)
    report.write(args.output, meta, found)
    print(args.output.with_suffix(".txt").read_text())
    sys.exit(1 if found.errors else 0)


if __name__ == "__main__":
    main()
