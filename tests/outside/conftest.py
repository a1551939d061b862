"""A registry whose object store or database stands behind a proxy that can be told to fail."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from storage.s3.place import S3Place
from tests.api.conftest import _plain_logs
from tests.api.running import RunningServer, running
from tests.outside.client import Customer
from tests.servers.postgres import fresh_database
from tests.servers.proxy import TcpProxy
from tests.servers.s3_proxy import S3Proxy
from tests.servers.seaweed import SeaweedServer, fresh_place, seaweed

__all__ = ["_plain_logs", "seaweed"]

# What would ask the store by itself, and be counted.
QUIET: dict[str, Any] = {"collector": "off", "scrub_mib_per_second": 0}


@dataclass(frozen=True, slots=True)
class Shop:
    """A server with its blobs in S3, behind `store`. `place` is the way around the proxy."""

    server: RunningServer
    store: S3Proxy
    place: S3Place
    customer: Customer


@dataclass(frozen=True, slots=True)
class Office:
    """A server with its rows in the PostgreSQL at `url`, behind `database`."""

    server: RunningServer
    database: TcpProxy
    url: str
    customer: Customer


@pytest.fixture
def place(seaweed: SeaweedServer) -> S3Place:
    """A prefix of its own on the run's S3 server."""
    return fresh_place(seaweed)


@pytest.fixture
def store(place: S3Place) -> Iterator[S3Proxy]:
    """In front of that server; it passes everything on until it is told otherwise."""
    with S3Proxy(urlsplit(place.endpoint).port or 0) as proxy:
        yield proxy


def in_bucket(place: S3Place, endpoint: str) -> dict[str, Any]:
    """The settings of a registry whose blobs are at the place."""
    return {
        "storage": f"s3://{place.bucket}/{place.prefix}",
        "s3_endpoint": endpoint,
        "s3_region": place.region,
        "s3_redirects": "off",
        "s3_addressing": "path",
    }


@pytest.fixture
def shop(tmp_path: Path, place: S3Place, store: S3Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """What comes between two attempts is the driver's own affair, and has its own tests: here it is short."""
    monkeypatch.setattr("storage.s3.retries._LONGEST", 0.02)
    with running(tmp_path / "shop", **QUIET, **in_bucket(place, store.endpoint)) as server:
        store.forget()
        yield Shop(server, store, place, Customer(server))


def behind(url: str, proxy: TcpProxy) -> str:
    """The database's URL, by way of the proxy."""
    return url.replace(f":{urlsplit(url).port}/", f":{proxy.port}/")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    url = fresh_database()
    with TcpProxy(urlsplit(url).port or 0) as proxy:
        settings = {"database": behind(url, proxy), "storage": f"file://{tmp_path}/blobs"}
        with running(tmp_path / "office", **QUIET, **settings) as server:
            yield Office(server, proxy, url, Customer(server))
            proxy.heal()
