# SPDX-License-Identifier: BSD-2-Clause
"""
make demo: curl fetches a page through a gateway where xdivert rewrites it.
Every claim that is printed is checked; the exit status tells.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent / "net"))
from lab import Lab, wait_for  # noqa: E402

PAGE = "<h1>Hello from the server</h1>\n"
EDITED = "<h1>Hello from a callout!</h1>\n"
PICTURE = """
    client --- c0  g0 --- gateway --- g1  s0 --- server
    10.0.1.2              xdivert                10.0.2.2
"""


def step(text):
    print(f"\n== {text}", flush=True)


def show(host, *words):
    """Run a command of the tool as a user would, and show both."""
    line = " ".join(f'"{w}"' if " " in w else w for w in words)
    print(f"# xdivert {line}")
    done = host.xdivert(*words)
    print(done.stdout, end="")
    return done.stdout


def serve_page(lab, folder):
    (folder / "index.html").write_text(PAGE)
    server = lab.server.start(
        ["/usr/bin/python3", "-u", "-m", "http.server", "80", "--bind",
         "10.0.2.2", "--directory", folder], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert "Serving HTTP" in server.stdout.readline()
    return server


def fetch(lab):
    done = lab.client.run("curl -sS --max-time 10 http://10.0.2.2/")
    print("# curl http://10.0.2.2/\n" + done.stdout, end="")
    return done.stdout


def ping_dscp(lab):
    """What tcpdump at the server says of an echo request's TOS byte."""
    dump = lab.server.start(
        "tcpdump -lvni s0 -c 1 icmp[icmptype]=icmp-echo", text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "listening" in dump.stderr.readline()
    lab.client.run("ping -c 1 -W 5 10.0.2.2")
    text, _ = dump.communicate(timeout=10)
    print("# tcpdump -vni s0 icmp\n" + text, end="")
    return text


def demo(lab, folder):
    gateway = lab.gateway
    step("Three hosts; the gateway forwards" + PICTURE)
    server = serve_page(lab, folder)
    try:
        step("Before: the page and a ping as they are")
        assert fetch(lab) == PAGE
        assert "tos 0x0" in ping_dscp(lab)

        step("Attach to both interfaces, add two rules, start the daemon")
        show(gateway, "attach", "g0")
        show(gateway, "attach", "g1")
        show(gateway, "rule", "add", "page", "--filter", "tcp src port 80",
             "--do", "replace 'from the server' 'from a callout!'")
        show(gateway, "rule", "add", "voice", "--filter", "icmp",
             "--iif", "g0", "--do", "set ip.dscp 46")
        print("# xdivert run &")
        gateway.daemon()
        assert show(gateway, "status").count("1 of 1 queues served") == 2

        step("After: the page says something else, the ping has DSCP 46")
        assert fetch(lab) == EDITED
        assert "tos 0xb8" in ping_dscp(lab)

        step("What became of each injection")
        text = show(gateway, "completions").splitlines()
        assert text and all("handed to the device" in t for t in text)

        step("The counters, as bpftool shows them")
        print(f"# bpftool map dump pinned {gateway.pins()}/xdv_stats")
        dump = subprocess.run(
            ["bpftool", "map", "dump", "pinned",
             gateway.pins() / "xdv_stats"], check=True, text=True,
            capture_output=True).stdout
        assert '"completed": ' in dump
        print(dump, end="")

        step("No daemon: traffic flows on, unedited (--fail open)")
        assert gateway.daemons[-1].stop() == 0
        assert fetch(lab) == PAGE
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    stats = gateway.check_accounting()
    assert stats["completed"] == stats["injected"] == stats["diverted"] > 5
    assert stats["failed"] == 0 and stats["unserved"] > 0
    return stats


def main():
    if os.geteuid():
        sys.exit("demo: run it as root: sudo make demo")
    lab = Lab()
    try:
        with tempfile.TemporaryDirectory() as folder:
            stats = demo(lab, pathlib.Path(folder))
        lab.gateway.reset()
    finally:
        for daemon in lab.gateway.daemons:
            if daemon.process.poll() is None:
                daemon.kill()
        lab.close()
    wait_for(lambda: not lab.gateway.pins().exists())
    print("\ndemo: diverted={diverted} injected={injected} "
          "completed={completed} failed={failed} in_flight={in_flight}"
          .format(**stats))


if __name__ == "__main__":
    main()
