# SPDX-License-Identifier: BSD-2-Clause
"""xdivert stats, again and again, and for Prometheus."""
import json
import re
import signal
import subprocess

import pytest

from lab import XDIVERT, ending, read_until, terminal, wait_for
from packets import Path, udp

CLEAR = "\033[H\033[2J"
COMMENT = re.compile(r"# (HELP|TYPE) (xdivert_[a-z_]+) (\S.*)")
SAMPLE = re.compile(r'(xdivert_[a-z_]+)'
                    r'(?:\{interface="((?:[^"\\]|\\[\\"n])+)"\})? (\d+)')
OF_INJECTIONS = ("injected", "completed", "failed", "in_flight")


@pytest.fixture
def gateway(lab):
    lab.gateway.xdivert("attach", "g0")
    return lab.gateway


def watch(gateway, *words, **kwargs):
    return ending(gateway.start([XDIVERT, "stats", "--watch", *words],
                                **{"stdout": subprocess.PIPE,
                                   "stderr": subprocess.PIPE, **kwargs}))


def shape(text):
    """Without the numbers: somebody may be sending."""
    return re.sub(r"\d+", "N", text).rstrip("\n")


def times(n, word):
    return lambda text: text.count(word) >= n


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_in_a_pipe(gateway, number):
    once = shape(gateway.xdivert("stats").stdout)
    with watch(gateway) as process:
        text = read_until(process.stdout.fileno(), times(2, "originated"))
        process.send_signal(number)
        text += read_until(process.stdout.fileno())
        assert read_until(process.stderr.fileno()) == ""
    assert process.returncode == 0
    blocks = text.split("\n\n")
    assert len(blocks) >= 2
    assert {shape(block) for block in blocks} == {once}


def test_watch_on_a_terminal(gateway):
    """The screen is cleared before each."""
    once = shape(gateway.xdivert("stats").stdout)
    with terminal() as (screen, theirs):
        with watch(gateway, stdout=theirs) as process:
            theirs.close()
            text = read_until(screen, times(2, "originated"))
            process.send_signal(signal.SIGINT)
            text += read_until(screen)
    assert process.returncode == 0
    first, *blocks = text.replace("\r\n", "\n").split(CLEAR)
    assert first == "" and len(blocks) >= 2
    assert {shape(block) for block in blocks} == {once}


@pytest.mark.parametrize("on_a_terminal", [False, True])
def test_watch_json(gateway, on_a_terminal):
    """An object a line, and nothing else, wherever it goes."""
    with terminal() as (screen, theirs):
        with watch(gateway, "--json", **({"stdout": theirs} if on_a_terminal
                                         else {})) as process:
            theirs.close()
            fd = screen if on_a_terminal else process.stdout.fileno()
            text = read_until(fd, times(2, "\n"))
            process.send_signal(signal.SIGINT)
            text += read_until(fd)
    assert process.returncode == 0
    lines = text.splitlines()
    assert len(lines) >= 2
    for line in lines:
        assert set(json.loads(line)) == set(gateway.stats())


def test_watch_sees_what_changes(lab, gateway):
    path = Path(lab)
    with watch(gateway, "--json") as process:
        read_until(process.stdout.fileno(), times(1, "\n"))
        path.expect(udp("passes-untouched"), udp("passes-untouched", ttl=63))
        read_until(process.stdout.fileno(),
                   lambda text: re.search(r'"seen":[1-9]', text))
        process.send_signal(signal.SIGINT)


def test_watch_ends_when_there_is_nothing_any_more(gateway):
    with watch(gateway) as process:
        read_until(process.stdout.fileno(), times(1, "originated"))
        gateway.xdivert("detach", "--all")
        errors = read_until(process.stderr.fileno())
    assert process.returncode == 1
    done = gateway.xdivert("stats", check=False)
    assert done.returncode == 1 and done.stderr == errors
    assert errors.count("\n") == 1 and "nothing is attached" in errors


def parse(text):
    """(name, interface or None) -> value; each name is introduced."""
    values, kinds, name, last = {}, {}, None, None
    for line in text.splitlines():
        comment = COMMENT.fullmatch(line)
        if comment:
            word, name, rest = comment.groups()
            assert (word == "TYPE") == (last == ("HELP", name))
            if word == "TYPE":
                assert name not in kinds, "introduced twice"
                kinds[name] = rest
                assert rest == ("counter" if name.endswith("_total")
                                else "gauge")
            last = word, name
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        assert sample[1] == name and name in kinds
        assert (name, sample[2]) not in values
        values[name, sample[2]] = int(sample[3])
        last = None
    assert text.endswith("\n")
    return values


def metric(key, prefix=""):
    if key in ("in_flight", "held"):
        return f"xdivert_{prefix}{key}_packets"
    if key == "reassembled" or key.startswith("fragments_"):
        return f"xdivert_{key}_total"
    return f"xdivert_{prefix}{key}_packets_total"


def as_metrics(stats):
    """What --json says, as --prometheus says it."""
    values, rows = {}, stats.pop("interfaces")
    for key, value in stats.items():
        if key in OF_INJECTIONS or key not in rows[0]:
            values[metric(key), None] = value
        for row in rows:
            if key in OF_INJECTIONS:
                values[metric(key, "interface_"), row["ifname"]] = row[key]
            elif key in row:
                values[metric(key), row["ifname"]] = row[key]
    return values


def both(gateway):
    """In JSON and for Prometheus, of a moment when nobody sent."""
    def quiet():
        before = gateway.check_accounting()
        values = parse(gateway.xdivert("stats", "--prometheus").stdout)
        return gateway.stats() == before and (before, values)
    return wait_for(quiet)


def test_prometheus(lab, gateway):
    gateway.xdivert("attach", "g1")
    gateway.rule("some", "udp port 5000")
    gateway.rule("none", "udp port 5001", "--do", "drop")
    gateway.daemon()
    path = Path(lab)
    for i in range(3):
        path.expect(udp(f"diverted-this-{i:02}"),
                    udp(f"diverted-this-{i:02}", ttl=63))
    gateway.xdivert("inject", "--oif", "7777", "--hex",
                    bytes(udp("fails")).hex(), check=False)
    stats, values = both(gateway)
    assert values == as_metrics(dict(stats))
    assert values["xdivert_diverted_packets_total", "g0"] == 3
    assert values["xdivert_injected_packets_total", None] == 4
    assert values["xdivert_interface_injected_packets_total", "g1"] == 3
    assert values["xdivert_failed_packets_total", None] == 1
    # sum() over a metric is the total: it is not among what is added up.
    for key in ("seen", "unmatched", "matched", "diverted", "unserved",
                "queue_dropped"):
        assert stats[key] == sum(value for (name, _), value in values.items()
                                 if name == metric(key))


def test_prometheus_quotes_names(gateway):
    """An interface may have almost any."""
    gateway.run(["ip", "link", "add", r'a"b\c', "type", "veth"])
    try:
        gateway.xdivert("attach", r'a"b\c')
        values = parse(gateway.xdivert("stats", "--prometheus").stdout)
        assert ("xdivert_seen_packets_total", r'a\"b\\c') in values
        gateway.xdivert("detach", r'a"b\c')
    finally:
        gateway.run(["ip", "link", "del", r'a"b\c'])
