# SPDX-License-Identifier: BSD-2-Clause
"""Every kind of interface as a target: to the byte, and with real clients."""
import hashlib
import json
import os
import socket
import struct
import threading
import time

import pytest
from scapy.layers.l2 import Ether

from lab import XDIVERT, wait_for
from packets import IP, UDP, IPv6, Path, udp
from targets import Target

FAST = {"live", "port"}
# Kind, and by which engine it is reached once it is known.
KINDS = [("veth-gro", FAST), ("veth-xdp", FAST), ("veth", {"neigh"}),
         ("tap", FAST), ("tun", {"neigh"}), ("bridge", {"neigh"}),
         ("macvlan", {"neigh"}), ("vxlan", {"neigh"})]
# Two NICs that somebody has connected (tests/vm/run does).
if "XDIVERT_NICS" in os.environ:
    KINDS.append(("nic", {"neigh"}))
SO_RCVBUFFORCE = 33
NET8 = dict(dst="10.0.8.2")


@pytest.fixture(params=KINDS, ids=lambda kind: kind[0])
def target(lab, request):
    kind, engines = request.param
    lab.server.xdivert = lambda *w: lab.server.run([XDIVERT, *w])
    lab.gateway.xdivert("attach", "g0")
    target = Target(lab, kind)
    target.engines = engines
    yield target
    # While the target is there: the accounting names it.
    lab.gateway.check_accounting()
    target.close()


def packet(text, **ip):
    return IP(**{"src": "10.0.8.1", **NET8, **ip}) / \
        UDP(sport=1, dport=2) / text


def packet6(text):
    return IPv6(src="fd00:8::1", dst="fd00:8::2") / \
        UDP(sport=1, dport=2) / text


def frame_of(target, sent):
    """What the server must see."""
    if target.kind == "tun":
        return bytes(sent)
    return bytes(Ether(src=target.gateway.mac("t0"),
                       dst=target.server.mac("u0")) / sent)


def inject(target, sent, *words):
    return target.gateway.xdivert("inject", "--oif", "t0", "--hex",
                                  bytes(sent).hex(), *words, check=False)


def check_engines(target):
    """The first of each asked for its neighbour, all the rest did not."""
    records = [c for c in target.gateway.completions() if c["ifname"] == "t0"]
    assert records and not [c for c in records if c["status"]], records
    assert records[-1]["engine"] in target.engines, records[-1]
    rows = target.gateway.status()["targets"]
    row, = [r for r in rows if r["ifname"] == "t0"]
    if target.engines == FAST:
        assert (row["engine"], row["why"]) == ("live", "")
    else:
        assert row["engine"] == "neigh" and "XDP frames" in row["why"]


def test_inject(lab, target):
    """The first packet resolves the neighbour and arrives as well."""
    wire = lab.wire(lab.server, "u0")
    for i in range(3):
        for sent in (packet(f"to-any-target-{i}!", ttl=1),
                     packet6(f"to-any-target-{i}!!")):
            done = inject(target, sent)
            assert done.returncode == 0, done.stdout + done.stderr
            text = bytes(sent)[-16:]
            frame = wire.receive(lambda f, text=text: text in f)
            assert frame == frame_of(target, sent)
    check_engines(target)


def test_inject_via_stack(lab, target):
    wire = lab.wire(lab.server, "u0")
    for text in ("because-asked-for", "because-asked-2nd"):
        assert inject(target, packet(text), "--via-stack").returncode == 0
        frame = wire.receive(lambda f, text=text: text.encode() in f)
        assert frame == frame_of(target, packet(text))
    assert {c["engine"] for c in target.gateway.completions()} == {"neigh"}


def test_diverted(lab, target):
    """From the client to the target, edited on the way."""
    gateway = target.gateway
    gateway.rule("all", "udp port 5000", "--do", "set ip.dscp 46")
    gateway.daemon()
    client, wire = Path(lab), lab.wire(lab.server, "u0")
    for i in range(20):
        client.send(udp(f"diverted-to-any{i:2}", **NET8))
        frame = wire.receive(lambda f, i=i: b"diverted-to-any%2d" % i in f)
        wanted = udp(f"diverted-to-any{i:2}", ttl=63, tos=46 << 2, **NET8)
        assert frame == frame_of(target, wanted)
    check_engines(target)
    assert gateway.check_accounting()["completed"] == 20


def transfer(lab, size):
    """A TCP upload; the seconds that it took. Every byte is compared."""
    data = os.urandom(1 << 20) * (size >> 20)
    received = hashlib.sha256()
    with lab.server.inside():
        listener = socket.create_server(("10.0.8.2", 5001))
    with lab.client.inside():
        sender = socket.socket()
    sender.settimeout(30)
    listener.settimeout(30)

    def receive():
        connection, _ = listener.accept()
        connection.settimeout(30)
        while chunk := connection.recv(1 << 16):
            received.update(chunk)
        connection.close()

    thread = threading.Thread(target=receive)
    thread.start()
    begin = time.monotonic()
    sender.connect(("10.0.8.2", 5001))
    sender.sendall(data)
    sender.close()
    thread.join()
    listener.close()
    assert received.digest() == hashlib.sha256(data).digest()
    return time.monotonic() - begin


def test_clients(lab, target):
    """ping, an upload whose every byte is right, and iperf3."""
    gateway = target.gateway
    gateway.rule("all", "dst net 10.0.8.0/24")
    daemon = gateway.daemon()
    done = lab.client.run("ping -c 20 -i 0.01 10.0.8.2")
    assert " 0% packet loss" in done.stdout and "DUP" not in done.stdout
    done = lab.client.run("ping -c 3 -i 0.01 -s 1300 10.0.8.2")
    assert " 0% packet loss" in done.stdout
    transfer(lab, 4 << 20)
    server = lab.server.start("iperf3 -s -1 -B 10.0.8.2")
    try:
        wait_for(lambda: ":5201" in lab.server.run("ss -ltn").stdout)
        done = lab.client.run("iperf3 -c 10.0.8.2 -t 1 -J")
        result = json.loads(done.stdout)["end"]["sum_received"]
        print(f"{target.kind}: {result['bits_per_second'] / 1e6:.0f} Mbit/s")
        assert result["bits_per_second"] > 5e6
        assert server.wait(timeout=20) == 0
    finally:
        server.kill()
        server.wait()
    total = gateway.check_accounting()
    assert total["diverted"] > 1000 and not total["held"], total
    assert daemon.process.poll() is None


def test_udp_in_order(lab, target):
    """A numbered stream: nothing lost, doubled or overtaken."""
    gateway = target.gateway
    gateway.rule("all", "udp port 5000")
    gateway.daemon()
    with lab.server.inside():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("10.0.8.2", 5000))
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
    receiver.settimeout(5)
    with lab.client.inside():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    n = 3000
    seen = []
    for i in range(n):
        sender.sendto(struct.pack("!I100x", i), ("10.0.8.2", 5000))
        # At most so many on their way: this is about order, not capacity.
        while len(seen) < i - 50:
            seen.append(struct.unpack("!I", receiver.recv(200)[:4])[0])
    while len(seen) < n:
        seen.append(struct.unpack("!I", receiver.recv(200)[:4])[0])
    assert seen == list(range(n))
    sender.close()
    receiver.close()
