"""Registries with users, one for each module, and a pause between its tests: limits begin anew."""

from collections.abc import Iterator

import pytest

from tests.access.login import PAUSE, House, keeping
from tests.api.conftest import _plain_logs

__all__ = ["_plain_logs"]


@pytest.fixture(scope="module")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with keeping(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture
def house(_kept: House) -> House:
    _kept.clock.now += PAUSE
    return _kept
