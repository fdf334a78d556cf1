# SPDX-License-Identifier: BSD-2-Clause
"""
What is compared. Each system does the same job between in0 and out0: set DSCP
EF, decrement the TTL, write the next link's addresses. Kernel forwarding alone
leaves DSCP as it is, and testpmd writes addresses only.
"""
import contextlib
import re
import shutil

from topology import BUILD, DAEMON_CPU, GENERATOR_CPU, Process
from lab import XDIVERT, wait_for

TOS_EF = 0xb8


class Missing(RuntimeError):
    """The system cannot be measured here; the text says why."""


def patiently(start):
    """The kernel frees the sockets of who was here before a little later."""
    def attempt():
        try:
            return start()
        except RuntimeError as error:
            if "busy" not in str(error):
                raise
            return None
    return wait_for(attempt, what="a free queue")


class System:
    """Plain kernel forwarding, and what the others have in common."""
    tos, ttl = 0, 63
    gro_for_tcp = True

    def __init__(self, name="ip_forward"):
        self.name = name

    def comms(self):
        """Names of the data path's processes, as perf shows them."""
        return ["gen"]

    def start(self, topology):
        pass

    def stop(self, topology):
        pass


class Peer(System):
    """A program of bench/peers."""
    tos = TOS_EF

    def __init__(self, program, name=None, words=()):
        super().__init__(name or program)
        self.program = program
        self.words = words

    def comms(self):
        return [self.program[:15]]

    def start(self, topology):
        self.process = patiently(lambda: Process(
            topology.gateway, DAEMON_CPU,
            [BUILD / "peers" / self.program, *topology.sides(), *self.words]))

    def stop(self, topology):
        self.process.stop()


class XdpPass(Peer):
    tos = 0


class RingBuffer(Peer):
    """TC sees what GRO made, and that would not fit."""
    gro_for_tcp = False


class Nfqueue(Peer):
    def start(self, topology):
        if not shutil.which("iptables-legacy"):
            raise Missing("iptables-legacy is not installed")
        super().start(topology)
        topology.gateway.run("iptables-legacy -w -t mangle -A FORWARD "
                             "-j NFQUEUE --queue-num 0")

    def stop(self, topology):
        topology.gateway.run("iptables-legacy -w -t mangle -F FORWARD")
        super().stop(topology)


class Testpmd(System):
    """DPDK's own forwarder; it polls, and one of its CPUs only waits."""
    tos, ttl = 0, 64

    def __init__(self, name, driver):
        super().__init__(name)
        self.driver = driver

    def comms(self):
        return [f"lcore-worker-{DAEMON_CPU}", f"rte-worker-{DAEMON_CPU}",
                "dpdk-testpmd"]

    def start(self, topology):
        if not shutil.which("dpdk-testpmd"):
            raise Missing("dpdk-testpmd is not installed (dpdk-dev)")
        vdevs = [f"--vdev=net_{self.driver}{i},iface={name}"
                 for i, name in enumerate(("in0", "out0"))]
        peers = [f"--eth-peer={i},{topology.macs[mac]}"
                 for i, mac in enumerate(("gen0", "sink0"))]
        self.process = patiently(lambda: Process(
            topology.gateway, f"{GENERATOR_CPU},{DAEMON_CPU}",
            ["stdbuf", "-oL", "dpdk-testpmd", "--no-huge", "-m", "512",
             "--no-shconf", "--no-pci", "--no-telemetry",
             f"--lcores={GENERATOR_CPU},{DAEMON_CPU}",
             f"--main-lcore={GENERATOR_CPU}", *vdevs, "--",
             "--total-num-mbufs=16384", "--forward-mode=mac",
             "--auto-start", *peers], ready="Press enter"))
        # AF_PACKET only listens in; the kernel would forward too.
        topology.gateway.run("sysctl -qw net.ipv4.ip_forward=0")

    def stop(self, topology):
        self.process.stop()
        topology.gateway.run("sysctl -qw net.ipv4.ip_forward=1")
        topology.restore_gateway()


class Xdivert(System):
    """Ours: one rule for everything, one cheap edit, completions on."""
    tos = TOS_EF
    program = XDIVERT
    all = [("all", "ip", ("--do", "set ip.dscp 46"))]

    def __init__(self, name="xdivert_xdp", hook="xdp", run=(), rules=None,
                 tos=TOS_EF):
        super().__init__(name)
        self.hook = hook
        self.run = run
        self.tos = tos
        self.rules = self.all if rules is None else rules

    def comms(self):
        return ["xdivert"]

    def words(self, gateway, *words, **kwargs):
        """Run xdivert; what this version does not know is missing."""
        done = gateway.xdivert(*words, check=False, **kwargs)
        if done.returncode == 2 or "no callout" in done.stderr:
            raise Missing(done.stderr.strip())
        assert done.returncode == 0, f"{words}: {done.stderr}"

    def start(self, topology):
        """What cannot be served is dropped: nothing passes unedited."""
        gateway = topology.gateway
        hook = [] if self.hook == "xdp" else ["--hook", self.hook]
        try:
            for name in ("in0", "out0"):
                self.words(gateway, "attach", name, "--fail", "closed", *hook)
            self.add_rules(gateway)
            self.start_daemon(gateway)
        except BaseException:
            gateway.xdivert("detach", "--all", check=False)
            raise

    def add_rules(self, gateway):
        for name, expression, words in self.rules:
            self.words(gateway, "rule", "add", name, "--filter", expression,
                       *words)

    def start_daemon(self, gateway, cpus=DAEMON_CPU):
        try:
            self.process = Process(gateway, cpus,
                                   [self.program, "run", *self.run],
                                   stream="stderr")
        except RuntimeError as error:
            if re.search("option|usage", str(error)):
                raise Missing(str(error)) from error
            raise
        # The kernel may still have the sockets of who was here before.
        wait_for(lambda: all(i["served"] == i["queues"] for i in
                             gateway.status()["interfaces"]),
                 what="every queue served")

    def stop(self, topology):
        """Its books close after every run."""
        try:
            topology.gateway.check_accounting()
        finally:
            self.process.stop()
            topology.gateway.xdivert("detach", "--all")


class NoCompletions(Xdivert):
    """As fast as ours would be if it never told what became of a packet. Its
    books cannot close.
    """
    program = XDIVERT.parent / "no-completions" / "xdivert"

    def stop(self, topology):
        self.process.stop()
        topology.gateway.xdivert("detach", "--all")


def compared():
    """Who takes part in the throughput comparison, ours first."""
    return [
        Xdivert(),
        Xdivert("xdivert_tc", hook="tc"),
        Peer("xdp_redirect"),
        System(),
        Nfqueue("nfqueue"),
        Peer("afxdp_tx"),
        RingBuffer("ringbuf_afpacket"),
        Testpmd("testpmd", "af_xdp"),
        Testpmd("testpmd_af_packet", "af_packet"),
    ]


def in_latency():
    return [
        Xdivert(),
        Xdivert("xdivert_xdp_busy_poll", run=("--busy-poll",)),
        Xdivert("xdivert_tc", hook="tc"),
        Nfqueue("nfqueue"),
        System(),
        Peer("afxdp_tx"),
    ]


def in_tcp():
    return [
        Xdivert(),
        Xdivert("xdivert_tc", hook="tc"),
        Peer("xdp_redirect"),
        System(),
        Nfqueue("nfqueue"),
        Nfqueue("nfqueue", "nfqueue_gso", ["gso"]),
        Peer("afxdp_tx"),
        RingBuffer("ringbuf_afpacket"),
    ]


def by_name(name):
    """Any of them; for profiles and tests."""
    everyone = [*compared(), *in_latency(), *in_tcp(), XdpPass("xdp_pass")]
    with contextlib.suppress(StopIteration):
        return next(s for s in everyone if s.name == name)
    raise SystemExit(f"no system {name}: "
                     + " ".join(sorted({s.name for s in everyone})))
