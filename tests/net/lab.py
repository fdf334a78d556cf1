# SPDX-License-Identifier: BSD-2-Clause
"""
Three hosts in network namespaces:

    client --- c0  g0 --- gateway --- g1  s0 --- server
    10.0.1.2   10.0.1.1               10.0.2.1   10.0.2.2
    fd00:1::2  fd00:1::1              fd00:2::1  fd00:2::2

The gateway forwards; xdivert runs there. Nothing here sleeps for a fixed
time: wait_for() polls a condition.
"""
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import time

XDIVERT = pathlib.Path(__file__).resolve().parents[2] / "build" / "xdivert"
PIN_DIR = pathlib.Path(os.environ.get("XDIVERT_PIN_DIR",
                                      "/sys/fs/bpf/xdivert"))
KERNEL = tuple(int(n) for n in os.uname().release.split(".")[:2])
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
libc = ctypes.CDLL(None, use_errno=True)


def wait_for(condition, timeout=10, what="the condition"):
    """Poll until condition() is true; its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come true"
        time.sleep(0.005)


def read_until(fd, wanted=None, timeout=10):
    """What comes until wanted(text) is true, or else until the end."""
    text, end = "", time.monotonic() + timeout
    while not wanted or not wanted(text):
        left = max(0, end - time.monotonic())
        assert select.select([fd], [], [], left)[0], f"nothing after {text!r}"
        try:
            more = os.read(fd, 65536).decode()
        except OSError as error:  # so a terminal ends
            assert error.errno == errno.EIO
            more = ""
        if not more:
            assert not wanted, f"the end after {text!r}"
            break
        text += more
    return text


@contextlib.contextmanager
def terminal():
    """Both ends of one; who starts a program closes its own file `theirs`."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "wb", 0) as file:
        yield ours, file
    os.close(ours)


@contextlib.contextmanager
def ending(process):
    """It has ended afterwards, whatever failed meanwhile."""
    with process:
        try:
            yield process
            process.wait(timeout=20)
        finally:
            process.kill()


class Wire:
    """A raw socket on an interface: whole frames out and in."""

    def __init__(self, host, ifname):
        with host.inside():
            self.socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self.socket.bind((ifname, 0))

    def send(self, frame):
        self.socket.send(bytes(frame))

    def receive(self, wanted, timeout=5):
        """The first received frame that wanted(frame) accepts, or None."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None
            frame, address = self.socket.recvfrom(65535)
            if address[2] != socket.PACKET_OUTGOING and wanted(frame):
                return frame

    def close(self):
        self.socket.close()


class Host:
    """A network namespace."""

    def __init__(self, name):
        self.name = name
        self.path = f"/run/netns/{name}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.run("ip link set lo up")

    def command(self, command):
        words = command.split() if isinstance(command, str) else command
        return ["nsenter", f"--net={self.path}", *map(str, words)]

    def run(self, command, check=True, **kwargs):
        kwargs = {"text": True, "capture_output": True, "timeout": 60,
                  **kwargs}
        done = subprocess.run(self.command(command), **kwargs)
        assert not check or done.returncode == 0, \
            f"{command}: exit {done.returncode}: {done.stderr}"
        return done

    def start(self, command, **kwargs):
        return subprocess.Popen(self.command(command), **kwargs)

    @contextlib.contextmanager
    def without_offloads(self, ifname):
        """Senders make whole packets meanwhile."""
        self.run(f"ethtool -K {ifname} tso off gso off tx off")
        yield
        self.run(f"ethtool -K {ifname} tso on gso on tx on")

    @contextlib.contextmanager
    def inside(self):
        """This thread is in the namespace meanwhile."""
        with open("/proc/thread-self/ns/net") as old, open(self.path) as new:
            assert libc.setns(new.fileno(), CLONE_NEWNET) == 0
            try:
                yield
            finally:
                assert libc.setns(old.fileno(), CLONE_NEWNET) == 0

    def udp(self, address, port=None, timeout=5):
        """A socket that is bound to that, or has at least its family."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside():
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if port:
                sock.bind((address, port))
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        sock.settimeout(timeout)
        return sock

    def mac(self, ifname):
        link = json.loads(self.run(f"ip -j link show {ifname}").stdout)
        return link[0]["address"]

    def ifindex(self, ifname):
        link = json.loads(self.run(f"ip -j link show {ifname}").stdout)
        return link[0]["ifindex"]

    def delete(self):
        subprocess.run(["ip", "netns", "del", self.name], check=False)


class Daemon:
    """xdivert run; start() returns when it is ready."""

    def __init__(self, host, *words):
        self.host = host
        self.process = host.start([XDIVERT, "run", *words], text=True,
                                  stderr=subprocess.PIPE)
        line = self.process.stderr.readline()
        assert "ready" in line, line + self.process.stderr.read()

    @property
    def pid(self):
        return self.process.pid

    def freeze(self):
        """SIGSTOP; returns when each of its threads has stopped. With the
        lock of the pins it would stop every other command too.
        """
        def frozen():
            self.process.send_signal(signal.SIGSTOP)
            wait_for(lambda: set(self.states()) == {"T"}, what="the stop")
            folder = os.open(self.host.pins(), os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                self.process.send_signal(signal.SIGCONT)
                return False
            finally:
                os.close(folder)
        wait_for(frozen, what="a stop without the lock")

    def states(self):
        """Of its threads: R wants a CPU, S sleeps, T is stopped."""
        return [(task / "stat").read_text().rsplit(")", 1)[1].split()[0]
                for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir()]

    def stop(self):
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        self.process.kill()
        return self.wait()

    def wait(self):
        try:
            code = self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.errors = self.process.stderr.read()
        self.process.stderr.close()
        return code


class Gateway(Host):
    """The host where xdivert runs."""

    def __init__(self, name):
        super().__init__(name)
        self.daemons = []

    @classmethod
    def of(cls, host):
        """Another host of the lab as a gateway, for a while."""
        gateway = cls.__new__(cls)
        gateway.name, gateway.path, gateway.daemons = host.name, host.path, []
        return gateway

    def xdivert(self, *words, check=True, **kwargs):
        return self.run([XDIVERT, *words], check=check, **kwargs)

    def daemon(self, *words):
        self.daemons.append(Daemon(self, *words))
        return self.daemons[-1]

    def serving(self, *words):
        """A daemon that serves every queue: the kernel may still have had
        the sockets of the last one.
        """
        daemon = self.daemon(*words)
        wait_for(lambda: all(i["served"] == i["queues"]
                             for i in self.status()["interfaces"]))
        return daemon

    def pins(self):
        return PIN_DIR / self.name

    def stats(self):
        return json.loads(self.xdivert("stats", "--json").stdout)

    def status(self):
        return json.loads(self.xdivert("status", "--json").stdout)

    def completions(self):
        lines = self.xdivert("completions", "--json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def rule(self, name, expression, *words):
        self.xdivert("rule", "add", name, "--filter", expression, *words)

    def settled(self):
        """The stats once nothing is under way."""
        def still():
            stats = self.stats()
            return stats if not stats["held"] and not stats["in_flight"] \
                else None
        return wait_for(still, what="the accounting at rest")

    def check_accounting(self):
        """design.md, Accounting: every packet is somewhere."""
        total = self.settled()
        for row in [total, *total["interfaces"]]:
            assert row["seen"] == row["unmatched"] + row["matched"], row
            assert row["matched"] == row["diverted"] + row["unserved"] + \
                row["queue_dropped"], row
            assert row["injected"] == row["completed"] + row["failed"] + \
                row["in_flight"], row
        assert total["diverted"] + total["originated"] == \
            total["injected"] + total["dropped"] + total["held"], total
        for key in ("seen", "matched", "diverted", "injected", "completed"):
            assert total[key] == sum(i[key] for i in total["interfaces"]), key
        return total

    def clean_up(self):
        """Whatever failed must not make the next test fail."""
        failed = [daemon.errors for daemon in self.daemons
                  if daemon.process.poll() is None and daemon.stop()]
        self.daemons.clear()
        if self.pins().exists():
            self.xdivert("detach", "--all")
        assert not failed, failed

    def reset(self):
        """Back to nothing attached, with the books closed."""
        try:
            if self.pins().exists():
                self.check_accounting()
        finally:
            self.clean_up()
        assert not self.pins().exists()
        links = json.loads(self.run("ip -j link show").stdout)
        assert not [l for l in links if l["ifname"].startswith("xdv")]


class Lab:
    """The topology above, with `queues` receive queues on g0 and g1."""

    def __init__(self, queues=1):
        base = f"xd{os.getpid()}"
        self.client = Host(f"{base}-c")
        self.gateway = Gateway(f"{base}-g")
        self.server = Host(f"{base}-s")
        self.hosts = [self.client, self.gateway, self.server]
        self.link(self.client, "c0", "g0", 1, queues)
        self.link(self.server, "s0", "g1", 2, queues)
        self.gateway.run("sysctl -qw net.ipv4.ip_forward=1 "
                         "net.ipv6.conf.all.forwarding=1")
        self.wires = []

    def link(self, host, theirs, ours, net, queues):
        gateway = self.gateway
        n = f"numtxqueues {queues} numrxqueues {queues}"
        subprocess.run(f"ip link add {theirs} netns {host.name} {n} type veth "
                       f"peer name {ours} netns {gateway.name} {n}".split(),
                       check=True)
        # Only a veth whose peer runs NAPI can transmit XDP frames.
        host.run(f"ethtool -K {theirs} gro on")
        for where, name, last in ((host, theirs, 2), (gateway, ours, 1)):
            where.run(f"sysctl -qw net.ipv6.conf.{name}.accept_dad=0 "
                      f"net.ipv6.conf.{name}.router_solicitations=0")
            where.run(f"ip addr add 10.0.{net}.{last}/24 dev {name}")
            where.run(f"ip addr add fd00:{net}::{last}/64 dev {name} nodad")
            where.run(f"ip link set {name} up")
        host.run(f"ip route add default via 10.0.{net}.1")
        host.run(f"ip route add default via fd00:{net}::1")
        gateway.run(f"ip neigh replace 10.0.{net}.2 lladdr {host.mac(theirs)} "
                    f"dev {ours} nud permanent")
        gateway.run(f"ip neigh replace fd00:{net}::2 lladdr "
                    f"{host.mac(theirs)} dev {ours} nud permanent")
        for last, where, name, peer in ((1, host, theirs, ours),):
            mac = gateway.mac(peer)
            where.run(f"ip neigh replace 10.0.{net}.{last} lladdr {mac} "
                      f"dev {name} nud permanent")
            where.run(f"ip neigh replace fd00:{net}::{last} lladdr {mac} "
                      f"dev {name} nud permanent")

    def wire(self, host, ifname):
        self.wires.append(Wire(host, ifname))
        return self.wires[-1]

    def close_wires(self):
        for wire in self.wires:
            wire.close()
        self.wires.clear()

    def close(self):
        self.close_wires()
        for host in self.hosts:
            host.delete()
