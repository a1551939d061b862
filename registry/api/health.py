"""What operators' tools ask: is the process alive, can it serve, what has it done."""

from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.api.origin import comes_from_this_machine
from registry.check import Check
from registry.errors import Denied


class HealthEndpoints:
    """`has_open_metrics`: anybody may read /metrics, not only this machine."""

    def __init__(self, check: Check, metrics: CollectorRegistry, *, has_open_metrics: bool) -> None:
        self._check = check
        self._metrics = metrics
        self._has_open_metrics = has_open_metrics

    async def alive(self, _request: Request) -> Response:
        """/healthz: the process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """/readyz: pushes and pulls can be served."""
        await self._check.ready()
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """/metrics, in Prometheus' text format. Its labels are closed sets: no name of a repository is in it."""
        if not self._has_open_metrics and not comes_from_this_machine(request):
            raise Denied("metrics are for this machine only: set ENTREPOT_METRICS=public to show them to others")
        return Response(generate_latest(self._metrics), media_type="text/plain; version=0.0.4")
