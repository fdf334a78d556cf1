# SPDX-License-Identifier: BSD-2-Clause
"""What happens with more of it: workers, rules, addresses, flows; and what
traffic pays that no rule wants."""
import os
import shlex
import tempfile

from measure import flood, running
from systems import NoCompletions, Xdivert, XdpPass

FLOWS = (1, 1000, 100000, 1000000)
RULES = (1, 16, 128, 512)
ADDRESSES = 100000


def five_tuples(count):
    """count rules of which only the last one matches the frames."""
    edit = ("--do", "set ip.dscp 46")
    rules = [(f"r{i}", f"udp and src host 10.9.{i // 200}.{i % 200 + 1} and "
              f"dst host 10.0.2.2 and src port {20000 + i} and dst port 53",
              edit) for i in range(count - 1)]
    return [*rules, ("last", "udp and src net 10.64.0.0/12 and dst host "
                     "10.0.2.2 and src port 1024 and dst port 9000", edit)]


def ranges(count):
    """The same of rules that no table finds: each is run."""
    edit = ("--do", "set ip.dscp 46")
    rules = [(f"r{i}", f"udp dst portrange {10000 + 2 * i}-{10001 + 2 * i}",
              edit) for i in range(count - 1)]
    return [*rules, ("last", "udp dst portrange 9000-9001", edit)]


class Rules(Xdivert):
    """Many rules at once."""

    def add_rules(self, gateway):
        lines = [" ".join(shlex.quote(word) for word in
                          (name, "--filter", expression, *words))
                 for name, expression, words in self.rules]
        self.words(gateway, "apply", "-", input="\n".join(lines) + "\n")


class SourceSet(Xdivert):
    def add_rules(self, gateway):
        with tempfile.NamedTemporaryFile("w", suffix=".set") as file:
            for i in range(ADDRESSES - 1):
                print(f"172.{16 + (i >> 16)}.{i >> 8 & 255}.{i & 255}/32",
                      file=file)
            print("10.64.0.0/12", file=file, flush=True)
            self.words(gateway, "rule", "add", "set", "--filter", "udp",
                       "--src-set", file.name, "--do", "set ip.dscp 46")


class Workers(Xdivert):
    def __init__(self, workers):
        super().__init__(f"workers_{workers}",
                         run=("--workers", str(workers)))
        self.workers = workers

    def start_daemon(self, gateway):
        """On CPUs of their own, if there are any."""
        cpus = os.cpu_count()
        first = self.workers if cpus >= 2 * self.workers else \
            max(cpus - self.workers, 0)
        super().start_daemon(gateway, f"{first}-{first + self.workers - 1}")


def rules():
    for count in RULES:
        yield f"rules.{count}", Rules(f"rules_{count}",
                                      rules=five_tuples(count)), {}
    yield f"src_set.{ADDRESSES}", SourceSet("src_set"), {}


def in_turn():
    for count in RULES:
        yield f"in_turn.{count}", Rules(f"in_turn_{count}",
                                        rules=ranges(count)), {}


def unmatched():
    """Nothing of it is for us: the kernel forwards."""
    nothing = [("none", "udp and dst port 1", ("--do", "drop"))]
    for hook in ("xdp", "tc"):
        yield f"unmatched.xdivert_{hook}", Xdivert(
            "unmatched", hook=hook, rules=nothing, tos=0), {}
    yield "unmatched.xdp_pass", XdpPass("xdp_pass"), {}


def completions():
    yield "completions.on", Xdivert("completions_on"), {}
    yield "completions.off", NoCompletions("completions_off"), {}


def flows():
    """The daemon sees the first packets of a flow; the rest never leave the
    kernel.
    """
    verdict = [("flows", "udp", ("--do", "flow pass"))]
    for count in FLOWS:
        yield f"flows.{count}", Xdivert("flows", rules=verdict, tos=0), \
            {"flows": count}


def workers():
    for count in (1, 2):
        yield f"workers.{count}", Workers(count), {"cpus": 2, "queues": 2}


PARTS = {"rules": rules, "in_turn": in_turn, "unmatched": unmatched,
         "flows": flows, "completions": completions, "workers": workers}


def run(bench, number, path, system, flows=1, cpus=1, queues=1):
    path = f"scale.{path}"
    with bench.attempt(path) as wanted:
        if not wanted:
            return
        topology = bench.topology(queues)
        with running(topology, system) as far:
            result = flood(topology, system, far, 64, bench.mode.warm,
                           bench.mode.run, flows=flows, cpus=cpus)
        bench.record(path, number, result["pps"], "packets/s")


def measure(bench, number):
    """One round; within a part nobody is always first."""
    for part in bench.mode.scale:
        jobs = list(PARTS[part]())
        for i in range(len(jobs)):
            path, system, how = jobs[(i + number) % len(jobs)]
            run(bench, number, path, system, **how)
