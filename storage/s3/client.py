"""boto3 in threads of its own: every call ends, in a result or in an error of ours."""

import asyncio
import errno
import functools
import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader, create_loader

from storage.blobstore import StoreUnavailable
from storage.s3.errors import TRANSPORT, is_passing, name_problem
from storage.s3.parts import MOST_COPIED
from storage.s3.place import S3Place
from storage.s3.retries import Retries

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client as Boto

P = ParamSpec("P")
T = TypeVar("T")

_CONNECT_SECONDS = 5
_SILENCE = 60.0  # seconds
_LONGEST = 30.0  # seconds: what has taken so long is not tried again


@dataclass(frozen=True, slots=True)
class S3Tuning:
    """`patience`: seconds that a call waits for a thread; `in_flight`: parts of one upload under way at once.

    `silence`: seconds in which the store must send something; `most_copied`: bytes that it copies in that time.
    `url_seconds`: how long a URL for a client is valid.
    """

    threads: int = 32
    in_flight: int = 3
    attempts: int = 4
    patience: float = 30.0
    silence: float = _SILENCE
    url_seconds: int = 3_600
    has_plain_hashes: bool = False
    most_copied: int = MOST_COPIED


def make_boto(place: S3Place, endpoint: str, connections: int, silence: float = _SILENCE) -> "Boto":
    """A client of boto3 that tries nothing again: that is ours. Signatures are v4 everywhere.

    Raises StoreUnavailable for an endpoint, a region or a profile of AWS that it cannot use.
    """
    try:
        return _make_boto(place, endpoint, connections, silence)
    except (BotoCoreError, ValueError) as problem:
        raise StoreUnavailable(errno.EINVAL, f"the object store cannot be asked: {problem}") from None


def _make_boto(place: S3Place, endpoint: str, connections: int, silence: float) -> "Boto":
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    is_strict = place.checksums == "when_supported" or (place.checksums == "auto" and not endpoint)
    checksums: Literal["when_supported", "when_required"] = "when_supported" if is_strict else "when_required"
    config = Config(
        signature_version="s3v4",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=silence,
        max_pool_connections=connections,
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
        user_agent_extra="entrepot",
        s3={"addressing_style": cast("Literal['auto', 'path', 'virtual']", place.addressing)},
    )
    region = place.region or session.get_config_variable("region") or "us-east-1"
    made = boto3.session.Session(botocore_session=session)
    client = made.client("s3", region_name=region, endpoint_url=endpoint or None, config=config)
    client.meta.events.register("before-call.s3.HeadBucket", _stay)
    return client


def _stay(params: dict[str, Any], **_: object) -> None:
    """Redirected without a region, boto3 asks for that by HeadBucket; redirected itself, it would ask without end."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


@functools.cache
def _loader() -> Loader:
    """It reads the description of S3, a third of a second's work, once for all clients."""
    return create_loader()


class S3Client:
    """Calls of boto3's `api`, in a bounded number of threads, with retries from one budget."""

    def __init__(self, place: S3Place, tuning: S3Tuning, chance: random.Random) -> None:
        self.api = make_boto(place, place.endpoint, tuning.threads, tuning.silence)
        self._threads = ThreadPoolExecutor(tuning.threads, thread_name_prefix="s3")
        self._patience = tuning.patience
        self._retries = Retries(chance, tuning.attempts)

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work in a thread, again where that makes sense. Raises StoreUnavailable, Refused, StoreFull."""
        attempt, loop = 0, asyncio.get_running_loop()
        begun = loop.time()
        while True:
            attempt += 1
            try:
                result = await self.run(work, *args, **kwargs)
            except StoreUnavailable:
                raise
            except TRANSPORT as problem:
                is_worth_it = is_passing(problem) and loop.time() - begun < _LONGEST
                delay = self._retries.take(attempt) if is_worth_it else None
                if delay is None:
                    raise name_problem(problem) from problem
            else:
                self._retries.succeed()
                return result
            await asyncio.sleep(delay)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work in a thread, once. Cancelled, it ends when the thread does. Raises what the work raises."""
        try:
            future = self._threads.submit(partial(work, *args, **kwargs))
        except RuntimeError:
            raise StoreUnavailable(errno.ECANCELED, "the server ends") from None
        return await wait_for_thread(future, self._patience)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.api.close()


async def wait_for_thread(future: "Future[T]", patience: float) -> T:
    """The future's result. Raises StoreUnavailable when no thread has begun with it after `patience` seconds."""
    waiting = asyncio.wrap_future(future)
    timeout: float | None = patience
    cancellation: asyncio.CancelledError | None = None
    while not waiting.done():
        try:
            done, _ = await asyncio.wait([waiting], timeout=timeout)
        except asyncio.CancelledError as problem:
            cancellation = problem
            if future.cancel():
                break
            timeout = None
            continue
        if not done and future.cancel():
            raise StoreUnavailable(errno.EBUSY, "too many calls to the object store are waiting already")
        timeout = None  # a thread has it: its sockets have timeouts of their own
    if cancellation:
        if waiting.done() and not waiting.cancelled():
            waiting.exception()  # looked at, or asyncio reports it as forgotten
        raise cancellation
    if future.cancelled():
        raise StoreUnavailable(errno.ECANCELED, "the server ends")
    return waiting.result()
