# SPDX-License-Identifier: BSD-2-Clause
"""The installed library: what it exports, who can build against it, and the
examples on real packets.
"""
import pathlib
import re
import time

import pytest

from installed import (Program, build, declared, flags, prefix,  # noqa: F401
                       run)
from packets import IP, UDP, Ether, Path, udp

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.c"))


@pytest.fixture(scope="module")
def programs(prefix, tmp_path_factory):
    """The examples, built against what was installed and nothing else."""
    folder = tmp_path_factory.mktemp("examples")
    for source in EXAMPLES:
        build(prefix, source, folder / source.stem)
    return folder


def test_exports_what_the_header_declares(prefix):
    names = run("nm", "-D", "--defined-only", prefix / "lib/libxdivert.so")
    exported = {line.split()[2].split("@")[0] for line in names.splitlines()}
    exported.discard("XDIVERT_0.1")
    assert exported == declared()
    assert all("@@XDIVERT_0.1" in line or " A " in line
               for line in names.splitlines())
    static = run("nm", "-g", "--defined-only", prefix / "lib/libxdivert.a")
    exported = {line.split()[2] for line in static.splitlines()
                if len(line.split()) == 3}
    assert exported == declared()


def test_the_version_script_names_them():
    """A function of a later version shall not get into this one's symbols."""
    text = (ROOT / "loader" / "libxdivert.map").read_text()
    script = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    exports = re.search(r"XDIVERT_0\.1 \{\s*global:(.*?)local:\s*\*;", script,
                        re.S)[1]
    names = [n.strip() for n in exports.split(";") if n.strip()]
    assert len(names) == len(set(names))
    assert set(names) == declared()


def test_C15_every_error_is_produced_by_a_test():
    """What the header documents, a C test gets from the library itself."""
    header = (ROOT / "include" / "xdivert.h").read_text()
    tests = [f.read_text() for kind in ("contract", "bpf", "unit")
             for f in (ROOT / "tests" / kind).glob("*.c")]
    calls = [call for text in tests
             for call in re.findall(r"assert_(?:int_equal|true)\(.*?\);", text,
                                    re.S)]
    missing = [e for e in sorted(set(re.findall(r"-E[A-Z0-9]+", header)))
               if not any(re.search(rf"{e}\b", call) for call in calls)]
    assert not missing, "no test produces " + ", ".join(missing)


def test_every_row_of_the_contract_has_tests():
    text = "".join(f.read_text() for f in (ROOT / "tests").rglob("test_*.[cp]*"))
    rows = set(re.findall(r"(?:void|def) test_(C\d\d)_", text))
    assert rows == {f"C{n:02}" for n in range(1, 30)}


def test_header_in_cxx_and_c(prefix, tmp_path):
    for name, compiler in (("a.c", ["gcc", "-std=c99", "-pedantic"]),
                           ("a.cc", ["g++", "-std=c++11"]),
                           ("b.cc", ["g++", "-std=c++20"])):
        source = tmp_path / name
        source.write_text("#include <xdivert.h>\n"
                          "int main(void) { return !!xdivert_error; }\n")
        run(*compiler, "-Wall", "-Wextra", source, "-o", tmp_path / "a",
            *flags(prefix, "--cflags", "--libs"))


def test_examples_are_short():
    assert len(EXAMPLES) == 3
    for source in EXAMPLES:
        assert len(source.read_text().splitlines()) <= 60, source


def test_C22_example_passthru(lab, programs):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    path = Path(lab)
    with Program(lab.gateway, programs / "passthru") as program:
        path.expect(udp("absorbed-cloned!"), udp("absorbed-cloned!", ttl=63))
        assert "handed to the device" in program.stdout.readline()
        stats = lab.gateway.settled()
        # The clone went out; the original was dropped.
        assert (stats["diverted"], stats["originated"], stats["injected"],
                stats["dropped"]) == (1, 1, 1, 1)


def test_example_dns_rewriter(lab, programs):
    from scapy.layers.dns import DNS, DNSQR, DNSRR
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("dns", "udp src port 53")
    path = Path(lab)

    def answer(address, ttl):
        return IP(src="10.0.1.2", dst="10.0.2.2", ttl=ttl) / \
            UDP(sport=53, dport=4000) / DNS(
                id=9, qr=1, qd=DNSQR(qname="a.example"),
                an=DNSRR(rrname="a.example", rdata=address))
    with Program(lab.gateway, programs / "dns_rewriter", "192.0.2.1",
                 "10.9.8.7"):
        path.expect(answer("192.0.2.1", 64), answer("10.9.8.7", 63))
        path.expect(answer("192.0.2.2", 64), answer("192.0.2.2", 63))


def test_example_hold(lab, programs):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "udp")
    path = Path(lab)
    with Program(lab.gateway, programs / "hold", "g1"):
        start = time.monotonic()
        path.send(udp("held-for-a-while"))
        frame = path.arrives(b"held-for-a-while")
        assert frame and 1 <= time.monotonic() - start < 4
        assert lab.gateway.settled()["completed"] == 1


def test_a_loop_is_not_edited_twice(lab):
    """What the daemon injected and sees again goes on unedited, counted."""
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("edit", "udp", "--do", "replace aaaa aaab")
    lab.gateway.daemon()
    path = Path(lab)
    path.send(udp("a-loop: aaaa aaaa"))
    frame = path.arrives(b"a-loop: aaab aaab")
    assert frame
    # The same packet comes in again, as a hairpin would bring it.
    path.client.send(Ether(**path.to_gateway) / IP(frame[14:]))
    again = path.arrives(b"a-loop: aaab aaab")
    assert again[22] == 62
    assert lab.gateway.settled()["returned"] == 1
    # A fresh one of the same bytes is edited as the first was.
    path.send(udp("a-loop: aaaa aaaa"))
    assert path.arrives(b"a-loop: aaab aaab")
    assert lab.gateway.settled()["returned"] == 1


def test_C18_unless_the_rule_asks_otherwise(lab):
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("edit", "udp", "--returned", "--do", "replace aaab aaac",
                     "--do", "replace aaaa aaab")
    lab.gateway.daemon()
    path = Path(lab)
    path.send(udp("a-loop: aaaa aaaa"))
    frame = path.arrives(b"a-loop: aaab aaab")
    path.client.send(Ether(**path.to_gateway) / IP(frame[14:]))
    assert path.arrives(b"a-loop: aaac aaac")[22] == 62
    assert lab.gateway.settled()["returned"] == 1
    text = lab.gateway.xdivert("rule", "list", "--format", "apply").stdout
    assert "--returned" in text


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_layer_receive(lab, mode):
    """A request to this host is edited on its way in; the server answers."""
    lab.gateway.xdivert("attach", "g0", "--mode", mode)
    lab.gateway.rule("in", "udp dst port 7777", "--layer", "receive", "--do",
                     "replace cold warm")
    lab.gateway.daemon()
    server = lab.gateway.udp("10.0.1.1", 7777)
    client = lab.client.udp("10.0.1.1")
    client.sendto(b"it is cold", ("10.0.1.1", 7777))
    text, sender = server.recvfrom(100)
    assert text == b"it is warm" and sender[0] == "10.0.1.2"
    server.sendto(b"so it is", sender)
    assert client.recv(100) == b"so it is"
    server.close()
    client.close()
    stats = lab.gateway.settled()
    assert (stats["matched"], stats["completed"]) == (1, 1)
