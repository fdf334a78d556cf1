# SPDX-License-Identifier: BSD-2-Clause
"""
Every row of corners.py: what it says, on each hook, and beside it what the
kernel's own forwarding does with the same frames. Each row ends with a packet
of its own behind it, so that nobody has to wait for what does not come.
"""
import pytest

from corners import ROWS, SAME, hop
from lab import wait_for
from packets import IP, UDP, V4, Ether, Path

ERRORS4, ERRORS6 = {3, 4, 5, 11, 12}, {1, 2, 3, 4, 137}


def ids(value):
    return value.name if hasattr(value, "name") else None


def answer_of(packet):
    """Type and code of an ICMP error, None for anything else."""
    if packet[0] >> 4 == 4 and packet[9] == 1 and packet[20] in ERRORS4:
        return packet[20], packet[21]
    if packet[0] >> 4 == 6 and packet[6] == 58 and packet[40] in ERRORS6:
        return packet[40], packet[41]
    return None


class Bench:
    """Sends rows; what came of each, by its position."""

    def __init__(self, topology):
        self.path = Path(topology)
        self.gateway = topology.gateway
        path = self.path
        self.link = bytes(Ether(**path.to_gateway))[:12]
        self.server = bytes(Ether(**path.to_server))[:12]

    def frame(self, data):
        if isinstance(data, Ether):
            return bytes(data)
        return self.link + data

    def send(self, row):
        for data in row.frames:
            self.path.client.send(self.frame(data))

    def collect(self, row, number):
        """What has come of it when the next packet comes."""
        last = f"the end of row {number:04}".encode()
        self.path.send(IP(**V4, id=9) / UDP(sport=1, dport=2) / last)
        out, answers = [], []
        while True:
            frame = self.path.server.receive(
                lambda f: f[:12] == self.server)
            assert frame is not None, f"{row.name}: its end did not arrive"
            if frame.endswith(last):
                break
            out.append(frame[14:])
        while True:
            frame = self.path.client.receive(
                lambda f: f[6:12] == self.link[:6], 0.002)
            if frame is None:
                break
            answers.append(answer_of(frame[14:]))
        return out, next(filter(None, answers), None)

    def by_the_kernel(self, row, number):
        self.send(row)
        return self.collect(row, number)

    def by_us(self, row, number):
        """And how the counters changed."""
        before = self.gateway.settled()
        self.send(row)
        wait_for(lambda: self.gateway.stats()["seen"] >=
                 before["seen"] + len(row.frames))
        after = self.gateway.settled()
        change = {key: after[key] - before[key] for key in
                  ("diverted", "unserved", "unmatched", "reassembled")}
        return *self.collect(row, number), change


SETUP = (
    # Each error is answered, not only the first in a second.
    "sysctl -qw net.ipv4.icmp_ratelimit=0",
    "sysctl -qw net.ipv6.icmp.ratelimit=0",
    "ip link set g0 mtu 2000",
    *(f"ip neigh replace 10.0.1.{n} lladdr {{client}} dev g0 nud permanent"
      for n in range(61, 65)),
    "ip route add blackhole 10.0.3.0/24",
    "ip route add unreachable 10.0.4.0/24",
    "ip route add prohibit 10.0.5.0/24",
)
UNDO = (
    "sysctl -qw net.ipv4.icmp_ratelimit=1000",
    "sysctl -qw net.ipv6.icmp.ratelimit=1000",
    "ip link set g0 mtu 1500",
    *(f"ip neigh del 10.0.1.{n} dev g0" for n in range(61, 65)),
    "ip route del 10.0.3.0/24",
    "ip route del 10.0.4.0/24",
    "ip route del 10.0.5.0/24",
)


@pytest.fixture(scope="module")
def bench(topology):
    topology.client.run("ip link set c0 mtu 2000")
    # The server's stack has nothing to say to what it gets.
    topology.server.run("ip route del default")
    topology.server.run("ip -6 route del default")
    for command in SETUP:
        topology.gateway.run(command.format(client=topology.client.mac("c0")))
    yield Bench(topology)
    topology.close_wires()
    topology.gateway.reset()
    for command in UNDO:
        topology.gateway.run(command)
    topology.client.run("ip link set c0 mtu 1500")
    topology.server.run("ip route add default via 10.0.2.1")
    topology.server.run("ip route add default via fd00:2::1")


@pytest.fixture(scope="module")
def kernel(bench):
    """What the kernel does by itself."""
    return [bench.by_the_kernel(row, n) for n, row in enumerate(ROWS)]


@pytest.fixture(scope="module", params=[
    ("--mode", "native"), ("--mode", "generic"), ("--hook", "tc")],
    ids=lambda words: words[1])
def ours(bench, kernel, request):
    """What we do: out, answer, and the change of the counters."""
    gateway = bench.gateway
    gateway.xdivert("attach", "g0", *request.param)
    gateway.rule("all", "ip or ip6")
    gateway.serving("--reassembly-timeout", "1")
    results = [bench.by_us(row, n) for n, row in enumerate(ROWS)]
    gateway.check_accounting()
    gateway.reset()
    return results


def expected_out(row):
    if row.out == SAME:
        return [hop(p) for p in row.packets]
    return row.out


def check(row, out, answer, want_out, want_answer, kernels):
    if want_out == "kernel's":
        want_out = kernels[0]
    if want_answer == "kernel's":
        want_answer = kernels[1]
    assert out == want_out
    assert answer == want_answer


@pytest.mark.parametrize("n,row", list(enumerate(ROWS)), ids=ids)
def test_what_the_kernel_does(kernel, n, row):
    """The table is right about the reference."""
    out, answer = kernel[n]
    if row.kernel:
        check(row, out, answer, *row.kernel, kernel[n])
    else:
        check(row, out, answer, expected_out(row), row.answer, kernel[n])


@pytest.mark.parametrize("n,row", list(enumerate(ROWS)), ids=ids)
def test_what_we_do(ours, kernel, n, row):
    out, answer, change = ours[n]
    check(row, out, answer, expected_out(row), row.answer, kernel[n])
    count = len(row.frames)
    assert change["diverted"] == (
        count if row.way in ("diverted", "whole") else 0)
    assert change["unserved"] == (count if row.way == "unserved" else 0)
    if row.way == "kernel":
        assert change["unmatched"] >= count
    assert change["reassembled"] == (
        0 if row.way != "whole" or row.late or
        (row.kernel and not row.out and not row.answer)
        else 2 if "two datagrams" in row.name else 1)


def test_there_are_enough(kernel):
    assert len(ROWS) >= 150
    assert len({row.name for row in ROWS}) == len(ROWS)
