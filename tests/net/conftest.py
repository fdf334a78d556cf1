# SPDX-License-Identifier: BSD-2-Clause
import pytest

from lab import Lab


@pytest.fixture(scope="session")
def topology():
    lab = Lab(queues=2)
    yield lab
    lab.close()


@pytest.fixture
def lab(topology):
    """The topology with nothing attached; the accounting closes after it."""
    yield topology
    topology.close_wires()
    topology.gateway.reset()
