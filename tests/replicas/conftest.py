"""Three servers for the tests of a module; those that hurt a server start their own."""

from collections.abc import Iterator

import pytest

from tests.replicas.cluster import Cluster, running_cluster


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster"), 3) as cluster:
        yield cluster
