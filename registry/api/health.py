"""What operators' tools ask: is the process alive, can it serve, what has it done."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.api.origin import comes_from_this_machine
from registry.check import Check
from registry.errors import Denied, Unavailable


class Ending:
    """Whether the server is about to end: it still serves, so that load balancers have time to see that.

    `seconds` says for how long, asked when it begins: a server that is the only one has nobody to leave clients to.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.is_begun = False

    def begin(self) -> float:
        """Returns for how many seconds to go on."""
        self.is_begun = True
        return self._seconds()


class HealthEndpoints:
    """`has_open_metrics`: anybody may read /metrics, not only this machine."""

    def __init__(self, check: Check, metrics: CollectorRegistry, ending: Ending, *, has_open_metrics: bool) -> None:
        self._check = check
        self._metrics = metrics
        self._ending = ending
        self._has_open_metrics = has_open_metrics

    async def alive(self, _request: Request) -> Response:
        """/healthz: the process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """/readyz: pushes and pulls can be served, and will be for a while. Why not is told on this machine only."""
        if self._ending.is_begun:
            raise Unavailable("not ready: the server ends", is_public=True)
        try:
            await self._check.ready()
        except Unavailable as problem:
            raise Unavailable(problem.text, is_public=comes_from_this_machine(request)) from problem
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """/metrics, in Prometheus' text format. Its labels are closed sets: no name of a repository is in it."""
        if not self._has_open_metrics and not comes_from_this_machine(request):
            raise Denied("metrics are for this machine only: set ENTREPOT_METRICS=public to show them to others")
        return Response(generate_latest(self._metrics), media_type="text/plain; version=0.0.4")
