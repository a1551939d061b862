"""THE table: every method of every kind of endpoint, with what it does and the right that it needs."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from registry.access.grants import Action
from registry.api.blobs import BlobEndpoints
from registry.api.call import AccessChanged, Call, Doubt
from registry.api.guard import Guard
from registry.api.manifests import ManifestEndpoints
from registry.api.observe import Record
from registry.api.repositories import RepositoryEndpoints
from registry.api.target import Kind, Target, parse_target
from registry.api.uploads import UploadEndpoints
from registry.auth import Auth
from registry.errors import Denied, MethodNotAllowed, RegistryError
from registry.identity import Actor

Endpoint: TypeAlias = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """`spec` is the endpoint's id in distribution-spec, section "Endpoints".

    `confirms`: the endpoint asks for the epoch of access together with what it is about, and confirms the caller by it,
    so that no question for it need come before. `repeats`: the answer follows from the request and the database, and
    what the endpoint does besides is among the record's effects.
    """

    endpoint: Endpoint
    action: Action
    spec: str
    confirms: bool = False
    repeats: bool = False


Routes: TypeAlias = Mapping[tuple[Kind, str], Route]


def make_routes(
    manifests: ManifestEndpoints, blobs: BlobEndpoints, uploads: UploadEndpoints, repositories: RepositoryEndpoints
) -> Routes:
    return {
        (Kind.ROOT, "GET"): Route(repositories.root, Action.ANY, "end-1", repeats=True),
        (Kind.ROOT, "HEAD"): Route(repositories.root, Action.ANY, "end-1", repeats=True),
        (Kind.CATALOG, "GET"): Route(repositories.catalog, Action.CATALOG, ""),
        (Kind.CATALOG, "HEAD"): Route(repositories.catalog, Action.CATALOG, ""),
        (Kind.BLOB, "GET"): Route(blobs.get, Action.PULL, "end-2"),
        (Kind.BLOB, "HEAD"): Route(blobs.head, Action.PULL, "end-2"),
        (Kind.BLOB, "DELETE"): Route(blobs.delete, Action.DELETE, "end-10"),
        (Kind.MANIFEST, "GET"): Route(manifests.get, Action.PULL, "end-3", confirms=True, repeats=True),
        (Kind.MANIFEST, "HEAD"): Route(manifests.get, Action.PULL, "end-3", confirms=True, repeats=True),
        (Kind.MANIFEST, "PUT"): Route(manifests.put, Action.PUSH, "end-7"),
        (Kind.MANIFEST, "DELETE"): Route(manifests.delete, Action.DELETE, "end-9"),
        (Kind.TAGS, "GET"): Route(manifests.list_tags, Action.PULL, "end-8"),
        (Kind.TAGS, "HEAD"): Route(manifests.list_tags, Action.PULL, "end-8"),
        (Kind.REFERRERS, "GET"): Route(manifests.list_referrers, Action.PULL, "end-12"),
        (Kind.REFERRERS, "HEAD"): Route(manifests.list_referrers, Action.PULL, "end-12"),
        (Kind.UPLOADS, "POST"): Route(uploads.start, Action.PUSH, "end-4"),
        (Kind.UPLOAD, "PATCH"): Route(uploads.append, Action.PUSH, "end-5"),
        (Kind.UPLOAD, "PUT"): Route(uploads.complete, Action.PUSH, "end-6"),
        (Kind.UPLOAD, "GET"): Route(uploads.status, Action.PUSH, "end-13"),
        (Kind.UPLOAD, "HEAD"): Route(uploads.status, Action.PUSH, "end-13"),
        (Kind.UPLOAD, "DELETE"): Route(uploads.cancel, Action.PUSH, "end-14"),
    }


class Distribution:
    """The distribution API as one ASGI application: parse the target, admit the caller, call the endpoint."""

    def __init__(self, routes: Routes, auth: Auth, guard: Guard, public_url: str) -> None:
        self._routes = routes
        self._auth = auth
        self._guard = guard
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record: Record = scope["entrepot.record"]
        request = Request(scope, receive)
        target = parse_target(scope["raw_path"])
        record.route = target.kind.value
        route = self._routes.get((target.kind, request.method))
        if route is None:
            raise MethodNotAllowed(method for kind, method in self._routes if kind is target.kind)
        record.may_repeat = route.repeats
        recalled = self._guard.recall(request, route.action, target.repository) if route.confirms else None
        with contextlib.suppress(ClientDisconnect):  # nobody is there to answer
            try:
                response = await self._answer(request, target, route, Doubt(recalled) if recalled else None)
            except AccessChanged:
                response = await self._answer(request, target, route, None)
            await response(scope, receive, send)

    async def _answer(self, request: Request, target: Target, route: Route, doubt: Doubt | None) -> Response:
        """Raises AccessChanged, whatever else was to be said, when there was a doubt and it still stands."""
        if doubt is None:
            caller = await self._guard.admit(request, route.action, target.name)
        else:
            caller = doubt.recalled.caller
        record: Record = request.scope["entrepot.record"]
        actor = Actor(caller.name, record.client, record.request_id)
        may_pull = partial(self._auth.may_pull, caller)
        again = partial(self._guard.admit_again, request, route.action, target.name, caller)
        call = Call(request, target, actor, caller, may_pull, again, doubt, self._public_url)
        try:
            response = await route.endpoint(call)
        except RegistryError as problem:
            call.require_confirmation()
            if isinstance(problem, Denied):  # by a grant that is limited to some tags
                self._auth.note_denial(caller, str(problem), target.name, actor)
            raise
        call.require_confirmation()
        return response
