# SPDX-License-Identifier: BSD-2-Clause
"""
Three network namespaces and two veth pairs:

    generator --- gen0  in0 --- gateway --- out0  sink0 --- sink
    10.0.1.2      10.0.1.1                  10.0.2.1    10.0.2.2
    10.64.0.0/12 (many flows)

Nothing but the benchmark's frames moves: no IPv6, every neighbour is known.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "net"))
# Nobody else's daemon has to be of our version.
OWN_PINS = pathlib.Path(f"/sys/fs/bpf/xdivert-{os.getpid()}")
os.environ.setdefault("XDIVERT_PIN_DIR", str(OWN_PINS))
from lab import Gateway, Host  # noqa: E402

BUILD = TOP / "build" / "bench"
GENERATOR_CPU, DAEMON_CPU = 0, 1


class Process:
    """A program in a host, on one CPU; it has said that it is ready. It ends
    with us, however we end.
    """
    errors = None

    @classmethod
    def log(cls):
        """What programs complain of, for whoever looks for a reason."""
        if not cls.errors:
            cls.errors = tempfile.TemporaryFile()
        return cls.errors

    def __init__(self, host, cpu, words, ready="ready", stream="stdout"):
        self.process = host.start(
            ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", cpu, *words],
            text=True, stdin=subprocess.PIPE,
            **{"stderr": self.log(), stream: subprocess.PIPE})
        self.stream = getattr(self.process, stream)
        said = ""
        start = self.log().seek(0, os.SEEK_END)
        for line in self.stream:
            said += line
            if ready in line:
                return
        said += self.stop()
        self.log().seek(start)
        said += self.log().read().decode()
        raise RuntimeError(f"{words[0]}: {said[:500]}")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.stream.readline())

    def stop(self):
        """End it; what it had to say at last."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=20)
            return self.stream.read()
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.stream.close()


class Topology:
    count = 0

    def __init__(self, queues=1):
        base = f"xb{os.getpid()}.{Topology.count}"
        Topology.count += 1
        self.generator = Host(f"{base}-g")
        self.gateway = Gateway(f"{base}-w")
        self.sink = Host(f"{base}-s")
        self.hosts = [self.generator, self.gateway, self.sink]
        for host in self.hosts:
            host.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 "
                     "net.ipv6.conf.default.disable_ipv6=1")
        self.link(self.generator, "gen0", "in0", 1, queues)
        self.link(self.sink, "sink0", "out0", 2, queues)
        self.gateway.run("sysctl -qw net.ipv4.ip_forward=1 "
                         "net.ipv4.conf.all.rp_filter=0 "
                         "net.ipv4.conf.in0.rp_filter=0")
        self.macs = {name: host.mac(name) for host, name in (
            (self.generator, "gen0"), (self.gateway, "in0"),
            (self.gateway, "out0"), (self.sink, "sink0"))}
        self.restore_gateway()

    def link(self, host, theirs, ours, net, queues):
        n = f"numtxqueues {queues} numrxqueues {queues}"
        subprocess.run(
            f"ip link add {theirs} netns {host.name} {n} type veth "
            f"peer name {ours} netns {self.gateway.name} {n}".split(),
            check=True)
        for where, name, last in ((host, theirs, 2), (self.gateway, ours, 1)):
            where.run(f"ip addr add 10.0.{net}.{last}/24 dev {name}")
            where.run(f"ip link set {name} up")
            # Only a veth whose peer runs NAPI can transmit XDP frames; and
            # only while that peer is up, GRO is heard of.
            where.run(f"ethtool -K {name} gro on")
        host.run(f"ip neigh replace 10.0.{net}.1 lladdr "
                 f"{self.gateway.mac(ours)} dev {theirs} nud permanent")
        host.run(f"ip route add default via 10.0.{net}.1")

    def restore_gateway(self):
        """What the gateway must know, and what some forget on the way: DPDK
        takes its interfaces down.
        """
        for name, net, theirs in (("in0", 1, "gen0"), ("out0", 2, "sink0")):
            self.gateway.run(f"ip link set {name} up")
            self.gateway.run(f"ip neigh replace 10.0.{net}.2 lladdr "
                             f"{self.macs[theirs]} dev {name} nud permanent")
        self.gateway.run("ip route replace 10.64.0.0/12 via 10.0.1.2 dev in0")

    def sides(self):
        """What every peer is told."""
        return ["in0", self.macs["gen0"], "out0", self.macs["sink0"]]

    def generate(self, *words):
        """The generator, under way; stop() says how many frames it made."""
        return Process(self.generator, GENERATOR_CPU, [
            BUILD / "gen", "--dev", "gen0", "--mac", self.macs["in0"], *words])

    def close(self):
        for host in self.hosts:
            host.delete()
        if OWN_PINS.exists():
            shutil.rmtree(OWN_PINS)
