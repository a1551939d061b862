"""What holds for every test: how long properties may search, and which tests have a place on what is under test."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.elsewhere import Elsewhere
from tests.places import servers_in

# A property over real sockets has no deadline: the machine may be busy, and a slow example is no wrong one.
settings.register_profile("entrepot", parent=settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("entrepot")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only_on(kind, why): collected only where this database or store is under test")
    config.addinivalue_line("markers", "fault(*rows): injects these rows of the table in tests/test_faults.py")
    config.addinivalue_line("markers", "input(*rows): has these rows of the table in tests/test_inputs.py")
    config.pluginmanager.register(Elsewhere())


@pytest.fixture(scope="session", autouse=True)
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Started when a test needs them, one of each for all workers, and stopped when the last worker ends."""
    base = tmp_path_factory.getbasetemp()
    with servers_in(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base):
        yield
