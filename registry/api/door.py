"""The front door: every request passes here once on its way in and its answer once on its way out."""

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.bodies import FORGET_SECONDS, MOST_FORGOTTEN, drain
from registry.api.errors import render
from registry.api.extensions import ZERO_COPY
from registry.api.head import HeadLimits
from registry.api.health import Ending
from registry.api.observe import Observer, Record
from registry.api.repeats import Draft, Repeats
from registry.errors import RegistryError, Unavailable


class Door:
    """Wraps `app`: request ids, the headers that every answer carries, the log line and the counters."""

    def __init__(
        self,
        app: ASGIApp,
        observer: Observer,
        new_id: Callable[[], str],
        ending: Ending,
        limits: HeadLimits,
        repeats: Repeats,
    ) -> None:
        self.repeats = repeats
        self._app = app
        self._limits = limits
        self._observer = observer
        self._new_id = new_id
        self.ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = self._observer.begin(self._new_id(), scope["client"][0] if scope.get("client") else "")
        record.has_whole_body = not _has_body(scope)
        scope["entrepot.record"] = record
        draft = self.repeats.begin(scope)
        if draft is not None:
            send = _drafted(draft, send)
        marked = _marked(scope, receive, send, record, self.ending)
        try:
            if refusal := self._find_refusal(scope):
                record.refusal = refusal.text
                await render(refusal)(scope, receive, marked)
            else:
                await self._app(scope, _counted(receive, record), marked)
        except asyncio.CancelledError:
            record.refusal = "the registry ends, and the request took longer than it waits"
            if not record.has_answer:
                answer = render(Unavailable(record.refusal, is_public=True))
                answer.headers["Connection"] = "close"
                await answer(scope, receive, marked)
        finally:
            line = self._observer.finish(scope, record)
        if draft is not None:
            self.repeats.end(draft, record, line)

    def _find_refusal(self, scope: Scope) -> RegistryError | None:
        """The edge's, which hands over what is no request that could be served; or for what another let through."""
        try:
            self._limits.judge(scope)
        except RegistryError as refusal:
            return refusal
        found: RegistryError | None = scope.get("entrepot.refusal")
        return found


def _drafted(draft: Draft, send: Send) -> Send:
    async def drafting(message: Message) -> None:
        draft.take(message)
        await send(message)

    return drafting


def _counted(receive: Receive, record: Record) -> Receive:
    async def counting() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            record.received += len(message.get("body", b""))
            record.has_whole_body = not message.get("more_body", False)
        return message

    return counting


def _marked(scope: Scope, receive: Receive, send: Send, record: Record, ending: Ending) -> Send:
    async def marking(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers["Docker-Distribution-API-Version"] = "registry/2.0"
            headers["X-Content-Type-Options"] = "nosniff"
            headers["X-Request-ID"] = record.request_id
            record.has_answer = True
            if not record.has_whole_body and "connection" not in headers:
                await _settle_body(scope, receive, headers, record)
            if ending.is_begun:  # the connection's next request goes to another server
                headers["Connection"] = "close"
            record.status = message["status"]
            record.media_type = headers.get("content-type", "")
        elif scope["method"] != "HEAD":  # the server drops the body of its answer
            record.sent += len(message.get("body", b""))
        await send(message)
        if message["type"] == ZERO_COPY:
            record.sent += scope["extensions"][ZERO_COPY]["sent"]

    return marking


async def _settle_body(scope: Scope, receive: Receive, headers: MutableHeaders, record: Record) -> None:
    """The answer comes before the request's end: take the rest if it is short, else end the connection after it.

    A client that waits for `100 Continue` must not be told to send what was refused already.
    """
    is_waiting = record.received == 0 and "expect" in Headers(scope=scope)
    record.has_whole_body = not is_waiting and await drain(receive, MOST_FORGOTTEN, FORGET_SECONDS)
    if not record.has_whole_body:
        headers["Connection"] = "close"


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
