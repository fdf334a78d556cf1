# SPDX-License-Identifier: BSD-2-Clause
import os
import shutil

import pytest

# One place for this run's pins, said before a module that is imported can
# say another. Nobody else's daemon has to be of our version.
OWN_PINS = f"/sys/fs/bpf/xdivert-check-{os.getpid()}"
os.environ.setdefault("XDIVERT_PIN_DIR", OWN_PINS)
from lab import Lab  # noqa: E402


@pytest.fixture(scope="session")
def topology():
    lab = Lab(queues=2)
    yield lab
    lab.close()
    shutil.rmtree(OWN_PINS, ignore_errors=True)


@pytest.fixture
def lab(topology):
    """The topology with nothing attached; the accounting closes after it."""
    yield topology
    topology.close_wires()
    topology.gateway.reset()
