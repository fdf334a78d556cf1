# SPDX-License-Identifier: BSD-2-Clause
"""
Where the time goes: profile.py [SYSTEM [SIZE]] floods a system for some
seconds under perf and prints nanoseconds per packet, by symbol and by stage,
for the data path's own process (core 1) and for the ingress side (core 0,
together with the generator). Needs linux-perf; root.
"""
import re
import subprocess
import sys
import tempfile

from measure import flood, running
from systems import by_name
from topology import DAEMON_CPU, GENERATOR_CPU, Topology

# By symbol, first match; user space is [.], the kernel [k].
STAGES = [
    ("generator", r"_gen$|xdp_test_run_batch \[gen\]"),
    ("sink", r"_sink$|veth_poll|veth_xdp_rcv"),
    ("injection memory", r"^seen_|^hash$|^digest$|^mix$"),
    ("receive", r"^queues_|^xdivert_receive|^take|^refill|^pool_|xsk_|xp_|"
     r"__xsk"),
    ("callouts", r"^classify|^ask|^run\b|^xdivert_callout|^csum|"
     r"^xdivert_parse|^serve_|^set_|^edit"),
    ("initiate", r"^initiate|^enqueue|^check|pthread_mutex|^inject$|"
     r"^xdivert_inject|clock_gettime"),
    ("fill the ring", r"^fill|^cut_run|^send_|^live_|^ensure|^port_"),
    ("completions, user space", r"^deliver|^inject_complete|^completed|"
     r"^ringbuf_|^ring_buffer|^settle"),
    ("completions, BPF", r"_visit$|_xdv_devmap_xmit|_xdv_redirect_err|"
     r"bpf_ringbuf|bpf_trace_run|^__bpf_trace|bpf_loop"),
    ("FIB", r"fib|_neigh|ip_mtu|dev_get_by_index|l3mdev"),
    ("BPF maps", r"htab|lookup_nulls|memcmp|array_map|jhash"),
    ("hook", r"_xdv_xdp_"),
    ("inject program", r"_xdv_inject|bpf_xdp_|__pi_memcpy"),
    ("live frames, pages", r"xdp_test_run|page_pool|rmqueue|free_|page|"
     r"netmem"),
    ("redirect and transmit", r"redirect|veth_xdp_xmit|bq_|dev_xdp|"
     r"xdp_return|devmap"),
]


def stage_of(symbol):
    name = symbol.split("] ", 1)[1]
    for stage, pattern in STAGES:
        if re.search(pattern, name):
            return stage
    return "other, " + ("kernel" if symbol.startswith("[k]") else "user space")


def shares(data, cpu, comms):
    """Of that CPU's samples: percent in comms, and among those by symbol."""
    text = subprocess.run(
        ["perf", "report", "-i", data, "--no-children", "-C", str(cpu),
         "--sort", "comm,symbol", "-g", "none", "--stdio", "-t", "|"],
        check=True, capture_output=True, text=True).stdout
    rows = re.findall(r"^\s*([\d.]+)%\s*\|([^|]+?)\s*\|(\[.\] \S+)", text,
                      re.M)
    mine = [(float(percent), symbol) for percent, comm, symbol in rows
            if comm in comms]
    busy = sum(percent for percent, _ in mine)
    return busy, [(percent * 100 / busy, symbol) for percent, symbol in mine]


def show(title, data, cpu, comms, rate):
    busy, rows = shares(data, cpu, comms)
    ns = 1e7 * busy / rate
    print(f"\n{title}: {busy:.0f} % busy with it, {ns:.0f} ns a packet")
    stages = {}
    for percent, symbol in rows:
        stage = stage_of(symbol)
        stages[stage] = stages.get(stage, 0) + percent
    for stage, percent in sorted(stages.items(), key=lambda s: -s[1]):
        print(f"  {percent:5.1f} % {percent * ns / 100:6.0f} ns  {stage}")
    print("  by symbol:")
    for percent, symbol in rows[:30]:
        print(f"  {percent:5.1f} % {percent * ns / 100:6.0f} ns  {symbol}")


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else "xdivert_xdp"
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    topology = Topology()
    try:
        system = by_name(name)
        with running(topology, system) as far, \
                tempfile.NamedTemporaryFile() as data:
            perf = subprocess.Popen(
                ["perf", "record", "-q", "-a", "-e", "cpu-clock", "-F",
                 "3999", "-o", data.name, "sleep", "4"],
                stderr=subprocess.DEVNULL)
            result = flood(topology, system, far, size, warm=1000, run=2500)
            perf.wait()
            print(f"{name}, {size} bytes: {result['pps']:.0f} packets/s, "
                  f"{result['offered']:.0f} offered")
            show("core 1", data.name, DAEMON_CPU, system.comms(),
                 result["pps"])
            show("core 0", data.name, GENERATOR_CPU, ["gen"],
                 result["offered"])
    finally:
        topology.close()


main()
