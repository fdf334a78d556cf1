# SPDX-License-Identifier: BSD-2-Clause
"""
What was measured, round by round, and what follows from it. A ratio is taken
within each round, between figures that are seconds apart; of all rounds the
median counts.
"""
import statistics

SIZES = (64, 512, 1514)
RATES = (1000, 10000, 100000)


class Results:
    def __init__(self):
        self.rounds = {}  # path -> {round: value}
        self.skipped = {}
        self.errors = {}

    def add(self, path, number, value):
        self.rounds.setdefault(path, {})[number] = value

    def ratio(self, name, above, below):
        """above / below, by round; nothing if either is missing."""
        for number, value in self.rounds.get(above, {}).items():
            other = self.rounds.get(below, {}).get(number)
            if other:
                self.add(f"ratio.{name}", number, value / other)

    def median(self, path):
        values = self.rounds.get(path)
        return statistics.median(values.values()) if values else None

    def spread(self, path):
        values = self.rounds[path].values()
        return [min(values), max(values)]

    def tree(self, what):
        """The paths as nested dictionaries, with what(path) at the ends."""
        tree = {}
        for path in self.rounds:
            *inner, last = path.split(".")
            node = tree
            for key in inner:
                node = node.setdefault(key, {})
            node[last] = what(path)
        return tree


class Target:
    """A ratio of the goals; at_most: smaller is better."""

    def __init__(self, name, text, goal, floor=None, at_most=False):
        self.name, self.text = name, text
        self.goal, self.floor, self.at_most = goal, floor, at_most

    def meets(self, value, bound):
        return value <= bound if self.at_most else value >= bound

    def verdict(self, value):
        if value is None:
            return "not measured"
        if self.meets(value, self.goal):
            return "goal met"
        if self.floor is None:
            return "goal missed"
        return "floor met, goal missed" if self.meets(value, self.floor) \
            else "FLOOR MISSED"


def latency_targets():
    for rate in RATES:
        for p in ("p50", "p99"):
            yield Target(
                f"latency_{p}_{rate}",
                f"{p} at {rate} packets/s: ours / NFQUEUE",
                .5 if rate == 100000 else 1, 1, at_most=True)
        yield Target(f"latency_busy_poll_p50_{rate}",
                     f"p50 at {rate} packets/s, --busy-poll: ours / NFQUEUE",
                     1 / 3, at_most=True)


TARGETS = [
    Target("nfqueue", "64 bytes: ours / NFQUEUE", 7, 5),
    Target("afxdp_tx", "64 bytes: ours / AF_XDP TX", 2.2, 1.6),
    Target("ringbuf_afpacket", "64 bytes: ours / ring buffer + AF_PACKET",
           3, 2),
    Target("ip_forward", "64 bytes: ours / kernel IP forwarding", 2, 1.6),
    Target("xdp_redirect", "64 bytes: ours / kernel XDP redirect", .7, .4),
    Target("afxdp_tx_1514", "1514 bytes: ours / AF_XDP TX", 2, 1.6),
    *latency_targets(),
    Target("tcp_xdp_redirect", "TCP: ours / kernel XDP redirect", .6, .3),
    Target("tcp_nfqueue", "TCP: ours / NFQUEUE without GSO", 2, 1.2),
    Target("tcp_tc_nfqueue", "TCP: ours through TC / NFQUEUE without GSO", 1),
    Target("completions", "throughput with completions / without", .95),
    Target("rules_512", "time with 512 rules / with 1", 1.3, at_most=True),
    Target("unmatched", "unmatched traffic: ours / bare XDP_PASS", .9),
    Target("memory", "resident memory at a long flood's end / at its start",
           1, at_most=True),
    Target("idle_cpu", "CPU share of an idle daemon", 0, .001, at_most=True),
]


def add_ratios(results):
    ours = "xdivert_xdp"
    flood = "throughput.{}.{}".format
    for name in ("nfqueue", "afxdp_tx", "ringbuf_afpacket", "ip_forward",
                 "xdp_redirect", "testpmd", "testpmd_af_packet"):
        results.ratio(name, flood(64, ours), flood(64, name))
        results.ratio(f"tc_{name}", flood(64, "xdivert_tc"), flood(64, name))
        for size in SIZES[1:]:
            results.ratio(f"{name}_{size}", flood(size, ours),
                          flood(size, name))
    for rate in RATES:
        for p in ("p50", "p99", "p999"):
            path = f"latency.{rate}.{{}}.{p}".format
            results.ratio(f"latency_{p}_{rate}", path(ours), path("nfqueue"))
            results.ratio(f"latency_busy_poll_{p}_{rate}",
                          path(f"{ours}_busy_poll"), path("nfqueue"))
    for name in ("xdp_redirect", "nfqueue", "nfqueue_gso", "ip_forward",
                 "afxdp_tx", "ringbuf_afpacket"):
        results.ratio(f"tcp_{name}", f"tcp.{ours}", f"tcp.{name}")
        results.ratio(f"tcp_tc_{name}", "tcp.xdivert_tc", f"tcp.{name}")
    for rules in (16, 128, 512):
        results.ratio(f"rules_{rules}", "scale.rules.1",
                      f"scale.rules.{rules}")
        results.ratio(f"in_turn_{rules}", "scale.in_turn.1",
                      f"scale.in_turn.{rules}")
    results.ratio("src_set", "scale.rules.1", "scale.src_set.100000")
    results.ratio("workers_2", "scale.workers.2", "scale.workers.1")
    results.ratio("completions", "scale.completions.on",
                  "scale.completions.off")
    results.ratio("memory", "soak.resident_end", "soak.resident_start")
    results.ratio("unmatched", "scale.unmatched.xdivert_xdp",
                  "scale.unmatched.xdp_pass")
    results.ratio("tc_unmatched", "scale.unmatched.xdivert_tc",
                  "scale.unmatched.xdp_pass")
    results.ratio("flows_1000000", "scale.flows.1000000", "scale.flows.1")


def verdicts(results):
    """Each target with its value and what became of it."""
    rows = []
    for target in TARGETS:
        value = results.median(f"ratio.{target.name}")
        rows.append({
            "ratio": target.name, "text": target.text, "value": value,
            "goal": target.goal, "floor": target.floor,
            "better": "lower" if target.at_most else "higher",
            "verdict": target.verdict(value)})
    return rows
