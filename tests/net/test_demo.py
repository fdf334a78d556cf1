# SPDX-License-Identifier: BSD-2-Clause
"""make demo, as a user sees it."""
import pathlib
import re
import subprocess
import sys

DEMO = pathlib.Path(__file__).parents[1] / "demo.py"


def test_demo():
    done = subprocess.run([sys.executable, DEMO], text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    found = re.fullmatch(r"demo: diverted=(\d+) injected=(\d+) "
                         r"completed=(\d+) failed=0 in_flight=0", last)
    assert found and len(set(found.groups())) == 1
    assert int(found[1]) > 0
