"""What operators' tools ask: is the process alive, can it serve, what has it done."""

import ipaddress

from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.errors import Denied, RegistryError, Unavailable
from registry.metadata.database import Database
from storage.blobstore import BlobStore


class HealthEndpoints:
    """`has_open_metrics`: anybody may read /metrics, not only this machine."""

    def __init__(
        self, database: Database, store: BlobStore, metrics: CollectorRegistry, *, has_open_metrics: bool
    ) -> None:
        self._database = database
        self._store = store
        self._metrics = metrics
        self._has_open_metrics = has_open_metrics

    async def alive(self, _request: Request) -> Response:
        """/healthz: the process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """/readyz: database and store answer."""
        try:
            await self._database.read(lambda tx: tx.one("SELECT 1 FROM registry"))
            await self._store.check()
        except (RegistryError, OSError) as problem:
            raise Unavailable(f"not ready: {problem}") from problem
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """/metrics, in Prometheus' text format. Its labels are closed sets: no name of a repository is in it."""
        if not self._has_open_metrics and not _is_local(request):
            raise Denied("metrics are for this machine only: set ENTREPOT_METRICS=public to show them to others")
        return Response(generate_latest(self._metrics), media_type="text/plain; version=0.0.4")


def _is_local(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
