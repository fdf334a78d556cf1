# SPDX-License-Identifier: BSD-2-Clause
"""Programs that people use, from the client to the server."""
import json
import subprocess

from lab import wait_for

# Of each end's socket; what the sender counts, and the receiver does not, is
# in one of the two.
BUFFERS = ["-w", "256K"]
EVERY = 0.5  # seconds


def ping(lab, address, count, size=56):
    """All at once, each answered once. ping waits as long as its interval for
    the last answer, so that is long; it ends with the last.
    """
    done = lab.client.run(f"ping -l {count} -c {count} -i 5 -s {size} "
                          f"{address}", check=False)
    assert " 0% packet loss" in done.stdout, done.stdout + done.stderr
    assert "DUP" not in done.stdout, done.stdout


def iperf(lab, address, seconds):
    """One connection; the client's report, with the server's in it."""
    server = lab.server.start(["iperf3", "-s", "-1", "-J", "-i", EVERY],
                              stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: ":5201" in lab.server.run("ss -ltn").stdout,
                 what="iperf3 listening")
        # Its exit code says no more than "error" does.
        done = lab.client.run(["iperf3", "-J", "-c", address, "-t", seconds,
                               "-i", EVERY, *BUFFERS, "--get-server-output"],
                              check=False)
        report = json.loads(done.stdout)
        assert "error" not in report, report["error"]
        assert server.wait(timeout=20) == 0
    finally:
        server.kill()
        server.wait()
    return report


def steady(report):
    """The bytes received and the bits per second, of a transfer in which
    something was sent and something arrived in each interval, and nothing is
    missing at its end but what was still on its way.
    """
    start, end = report["start"], report["end"]
    for side in (report, report["server_output_json"]):
        sums = [i["sum"] for i in side["intervals"]]
        # The last of the receiver's may be what came while it ended.
        whole = [s["bytes"] for s in sums if s["seconds"] > 0.8 * EVERY]
        assert len(whole) >= start["test_start"]["duration"] / EVERY - 1, sums
        assert min(whole) > 0, f"stalled: {whole}"
    sent, received = end["sum_sent"]["bytes"], end["sum_received"]["bytes"]
    buffers = start["sndbuf_actual"] + start["rcvbuf_actual"]
    assert 0 <= sent - received <= buffers, (sent, received, buffers)
    return received, end["sum_received"]["bits_per_second"]
