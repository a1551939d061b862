"""Stages for the tests of policies and their runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lifecycle.stage import Stage, open_stage


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """An empty repository in a fresh database."""
    async with open_stage(tmp_path) as opened:
        yield opened
