"""One client's connection: requests come one after the other, and their answers go back in that order.

It is a protocol for uvicorn's server, of which it uses what that says of itself: the set of connections, the set of
tasks, and the headers of every answer. Nothing else of uvicorn's own HTTP is here.
"""

import asyncio
from collections import deque
from typing import Any, cast

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from registry.api.extensions import ZERO_COPY
from registry.api.repeats import Repeats
from registry.edge.deadline import Deadline
from registry.edge.exchange import OK, Exchange
from registry.edge.head import Head
from registry.edge.limits import EdgeLimits
from registry.edge.outlet import ClientTooSlow, Outlet, left_to_take
from registry.errors import BodyStalled, HeadersTooLarge, HeadStalled, RegistryError, RequestInvalid

_LINGER_SECONDS = 2
_SLICE = 4 << 10  # bytes of heads that are parsed at a time
_CHUNKS = 64 << 10  # bytes of a body of unknown length that are
_SCOPE = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "root_path": ""}


class Connection(asyncio.Protocol):
    def __init__(
        self,
        limits: EdgeLimits,
        *,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        repeats: Repeats | None = None,
        sends_files: bool = True,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._limits = limits
        self._repeats = repeats
        self._sends_files = sends_files
        self._app = cast("ASGIApp", config.loaded_app)
        self._state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._scheme = "http"
        self._parser = self._new_parser()
        self._head: Head | None = None  # of a request that is coming
        self._reading: Exchange | None = None  # whose body is coming
        self._answering: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._is_ending = False  # nothing that still comes is read
        self._lingers = False  # at the end: more may come, and unread bytes would make the system throw away the answer
        self._is_paused = False  # nothing is read until somebody asks
        self._drained = asyncio.Event()
        self._drained.set()
        self._unseen = 0  # bytes that the parser keeps to itself: of a header, or of a trailer, that does not end
        self._deadline = Deadline(self._loop, self._give_up)
        self._waits_since = 0.0  # when the application began to wait for the body, by the loop's time; 0: it does not
        self._waited = 0.0  # seconds that it has waited for this body in all
        self._body_size = 0
        self._length: int | None = None  # that the head of this body gave it
        self._begun = 0  # requests
        self._dated: tuple[object, bytes] = None, b""
        self._unread = b""  # what has come and was not yet parsed

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._state.connections.add(self)  # type: ignore[arg-type]  # uvicorn means any protocol with a shutdown
        self._deadline.set(self._limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever it was, it is over
        self._state.connections.discard(self)
        self._is_ending = True
        self._deadline.close()
        for exchange in (self._answering, *self._waiting):
            if exchange is not None:
                exchange.abandon()
        self._drained.set()

    def eof_received(self) -> bool:
        """Whether the connection stays open: who has sent all may still want to hear the answers.

        Who stops within a body has gone away. With TLS the transport closes in any case.
        """
        self._is_ending = True
        return self._reading is None and self._answering is not None

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        may_repeat = self._is_idle and len(data) <= _SLICE and data.endswith(b"\r\n\r\n")
        if may_repeat and self._repeat(data):
            return
        begun = self._begun
        self._unread += data
        self._read_on()
        if may_repeat and self._begun == begun + 1 and self._is_last and self._answering is not None:
            self._answering.note_bytes(data)

    @property
    def _is_idle(self) -> bool:
        """Nothing has come of a next request, and nothing is to be answered, nor stays to be taken by the client."""
        is_between = self._answering is None and self._head is None and self._reading is None and not self._unread
        return is_between and self._drained.is_set()

    @property
    def _is_last(self) -> bool:
        """The request that is answered has no body, and nothing is behind it."""
        return not self._waiting and not self._is_ending and self._reading is None and self._length == 0

    def _repeat(self, data: bytes) -> bool:
        """Answer at once, if that is known."""
        answer = self._repeats.answer(self._client[0], data) if self._repeats and self._client else None
        if answer is not None:
            self._state.total_requests += 1
            self._transport.write(b"%b%b%b" % (OK, self.date, answer))
            self._deadline.set(self._limits.idle_seconds)
        return answer is not None

    def _read_on(self) -> None:
        """In slices: one packet has room for thousands of small requests, and more than a few need not be known."""
        while self._unread and not self._is_ending and not self._is_paused:
            size = self._slice
            piece, self._unread = self._unread[:size], self._unread[size:]
            self._unread = self._feed(piece) + self._unread

    @property
    def _slice(self) -> int:
        """A body is taken as it comes, as far as its end is known."""
        if self._reading is None:
            return _SLICE
        return _CHUNKS if self._length is None else max(_SLICE, self._length - self._body_size)

    def _feed(self, data: bytes) -> bytes:
        """Returns what another parser is to be fed."""
        self._unseen += len(data)
        try:
            self._parser.feed_data(data)
            self._limit_unseen()
        except RegistryError as refusal:
            self._refuse(refusal)
        except httptools.HttpParserUpgrade as upgrade:  # to which nobody is bound: it was a request like any other
            self._parser = self._new_parser()
            return data[upgrade.args[0] :]
        except httptools.HttpParserCallbackError as problem:
            if not isinstance(problem.__context__, RegistryError):
                raise
            self._refuse(problem.__context__)
        except httptools.HttpParserError:
            self._refuse(RequestInvalid("this is no HTTP/1.1"))
        return b""

    # The parser's side.

    def on_message_begin(self) -> None:
        self._head, self._unseen = Head(self._limits.head), 0
        self._deadline.set(self._limits.header_seconds)

    def on_url(self, url: bytes) -> None:
        self._unseen = 0
        if self._head is not None:
            self._head.take_target(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is not None:  # else it is a trailer
            self._head.take_header(name, value)

    def on_headers_complete(self) -> None:
        self._unseen = 0
        head = self._head
        if head is None or self._is_ending:
            return
        head.judge()
        self._head = None
        version = self._parser.get_http_version()
        scope = self._make_scope(self._parser.get_method().decode("ascii"), version, head)
        # What follows a CONNECT is for whom it names: it is no request to us, nor a body.
        keeps = version == "1.1" and self._parser.should_keep_alive() and scope["method"] != "CONNECT"
        has_body = head.length != 0
        self._reading = Exchange(self, scope, has_body=has_body, expects=head.expects_continue, keeps=keeps)
        self._waited, self._body_size, self._length = 0.0, 0, head.length
        self._begun += 1
        self._begin(self._reading)

    def on_body(self, body: bytes) -> None:
        self._unseen = 0
        self._body_size += len(body)
        if self._reading is None or self._reading.is_over:
            return
        self._stop_waiting()
        if not self._reading.take(body):
            self._pause()

    def on_message_complete(self) -> None:
        self._unseen = 0
        if self._reading is not None:
            self._stop_waiting()
            self._reading.take_end()
            self._reading = None

    # The exchange's side.

    @property
    def date(self) -> bytes:
        """The header lines that every answer has: uvicorn makes others each second."""
        found = self._state.default_headers
        if found is not self._dated[0]:
            self._dated = found, b"".join(b"%b: %b\r\n" % pair for pair in found)
        return self._dated[1]

    def write(self, content: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(content)

    async def writable(self) -> None:
        """Wait until the client has taken what it was sent, or is given up."""
        while not self._drained.is_set():
            left = left_to_take(self._transport)
            try:
                async with asyncio.timeout(self._limits.patience):
                    await self._drained.wait()
            except TimeoutError:
                if left - left_to_take(self._transport) < self._limits.rate * self._limits.patience:
                    self.abort()
                    return

    async def send_file(self, head: bytes, file: int, offset: int, count: int) -> int:
        """Send so much of a file, with `head` before it; less when the client goes. Returns how much went.

        Raises OSError when the file cannot be read so far.
        """
        self._transport.set_write_buffer_limits(0)  # what goes past the transport would overtake what it still has
        await self.writable()
        if self._transport.is_closing():
            return 0
        self._transport.set_write_buffer_limits()
        outlet = Outlet(self._transport, file, self._limits)
        try:
            await outlet.send(head, offset, count)
        except (ClientTooSlow, ConnectionError, TimeoutError):
            self.abort()
        finally:
            outlet.close()
        return outlet.sent

    def wait_for_body(self) -> None:
        """The application can go on when more of the body is here: the client has patience, and what its rate earns."""
        self._waits_since = self._loop.time()
        earned = self._body_size / self._limits.rate if self._limits.rate else self._waited
        self._deadline.set(max(0.0, self._limits.patience + earned - self._waited))
        self._resume()

    def end_exchange(self, exchange: Exchange) -> None:
        """The answer is whole."""
        self._state.total_requests += 1
        self._answering = None
        if exchange.keeps and self._waiting:
            self._answer(self._waiting.popleft())
        elif self._is_ending or not exchange.keeps:
            self._close()
        elif self._head is None:  # else the head that is coming has a deadline of its own
            self._deadline.set(self._limits.idle_seconds)
        if len(self._waiting) < self._limits.pipelined:
            self._resume()

    def abort(self) -> None:
        """What was answered is not whole, or the client takes nothing."""
        self._is_ending = True
        self._transport.abort()

    # The server's side.

    def shutdown(self) -> None:
        """End when what is being answered is answered."""
        for exchange in (self._answering, *self._waiting):
            if exchange is not None:
                exchange.keeps = False
        if self._answering is None:
            self._close()

    # What they share.

    def _new_parser(self) -> httptools.HttpRequestParser:
        return httptools.HttpRequestParser(self)

    def _make_scope(self, method: str, version: str, head: Head) -> dict[str, Any]:
        return _SCOPE | {
            "http_version": version,
            "method": method,
            "scheme": self._scheme,
            "path": head.decoded_path,
            "raw_path": head.path,
            "query_string": head.query,
            "headers": head.headers,
            "client": self._client,
            "server": self._server,
            "state": self._app_state.copy(),
            "extensions": {ZERO_COPY: {"sent": 0}} if self._sends_files and self._scheme == "http" else {},
        }

    def _begin(self, exchange: Exchange) -> None:
        self._deadline.clear()
        if self._answering is None:
            self._answer(exchange)
            return
        self._waiting.append(exchange)
        if len(self._waiting) >= self._limits.pipelined:
            self._pause()

    def _answer(self, exchange: Exchange) -> None:
        self._answering = exchange
        task = self._loop.create_task(exchange.run(self._app))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _refuse(self, error: RegistryError) -> None:
        """What came is no request, so nothing behind it is one either: it is answered in its turn, and that is all."""
        self._is_ending = True
        self._lingers = True
        self._deadline.clear()
        if self._reading is not None and self._reading.is_over:  # answered before its body had come
            self._close()
            return
        if self._reading is not None:  # its body cannot be read any further
            self._reading.refuse(error)
            return
        scope = self._make_scope("GET", "1.1", self._head or Head(self._limits.head)) | {"entrepot.refusal": error}
        self._begin(Exchange(self, scope, has_body=False, expects=False, keeps=False))

    def _limit_unseen(self) -> None:
        """Raises HeadersTooLarge."""
        if self._unseen > self._limits.head.target_bytes + self._limits.head.header_bytes and (
            self._head or self._reading
        ):
            raise HeadersTooLarge

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._read_on()
            if not self._is_paused:
                self._transport.resume_reading()

    def _close(self) -> None:
        """Once the client has taken what it was sent, if it does so in time."""
        self._is_ending = True
        if self._lingers and self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
            self._resume()
            self._deadline.set(_LINGER_SECONDS)
            return
        self._transport.close()
        self._deadline.set(self._limits.patience)

    def _stop_waiting(self) -> None:
        if self._waits_since:
            self._waited += self._loop.time() - self._waits_since
            self._waits_since = 0.0
            self._deadline.clear()

    def _give_up(self) -> None:
        """What was expected has not come in time."""
        if self._is_ending:
            self._transport.abort()
        elif self._head is not None:
            self._refuse(HeadStalled())
        elif self._waits_since:
            self._refuse(BodyStalled())
        elif self._transport.get_write_buffer_size():
            self.abort()
        else:
            self._close()


def _address(found: Any) -> tuple[str, int] | None:
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None
