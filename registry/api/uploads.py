"""Upload sessions over HTTP, in every form that clients use."""

import re

from starlette.requests import Request
from starlette.responses import Response

from registry.api.bodies import stream
from registry.api.call import Call
from registry.blobs import Blobs
from registry.errors import ChunkOutOfOrder, DigestInvalid, RequestInvalid, SizeInvalid, UploadInvalid
from registry.metadata.uploads import UploadSession
from registry.oci.names import RepositoryName, parse_digest
from registry.uploads import Chunk, Uploads
from storage.digest import ALGORITHMS, Digest

# The spec's form is `<first>-<last>`; some clients write the one of RFC 9110, with unit and size.
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]{1,18}|\*))?", re.ASCII)


class UploadEndpoints:
    """`idle_seconds`: a body from which nothing came for so long is given up."""

    def __init__(self, uploads: Uploads, blobs: Blobs, idle_seconds: float) -> None:
        self._uploads = uploads
        self._blobs = blobs
        self._idle_seconds = idle_seconds

    async def start(self, call: Call) -> Response:
        """end-4a, end-4b (with the blob), end-4c (with the algorithm), end-11 (mount)."""
        query = call.request.query_params
        if "mount" in query and "digest" in query:
            raise RequestInvalid("a request either mounts a blob or brings it")
        if "mount" in query:
            return await self._mount(call, _digest(call.request, "mount"))
        if "digest" in query:
            digest = _digest(call.request, "digest")
            await self._uploads.push(call.repository, digest, self._chunk(call), call.actor)
            return _created(call, digest)
        algorithm = query.get("digest-algorithm", "sha256")
        if algorithm not in ALGORITHMS:
            raise DigestInvalid(f"the digest algorithm must be one of {', '.join(ALGORITHMS)}")
        await call.forget_body()
        return _session(call, await self._uploads.start(call.repository, algorithm, call.actor), 202)

    async def append(self, call: Call) -> Response:
        """end-5."""
        session_id = call.target.reference
        try:
            advanced = await self._uploads.append(call.repository, session_id, self._chunk(call), call.actor)
        except ChunkOutOfOrder as error:
            raise _with_state(error, call) from None
        return _session(call, advanced, 202)

    async def complete(self, call: Call) -> Response:
        """end-6."""
        digest, chunk = _digest(call.request, "digest"), self._chunk(call)
        try:
            await self._uploads.complete(call.repository, call.target.reference, chunk, digest, call.actor)
        except ChunkOutOfOrder as error:
            raise _with_state(error, call) from None
        return _created(call, digest)

    async def status(self, call: Call) -> Response:
        """end-13."""
        session = await self._uploads.get(call.repository, call.target.reference, call.actor)
        return _session(call, session, 204)

    async def cancel(self, call: Call) -> Response:
        """end-14."""
        await call.forget_body()
        try:
            await self._uploads.cancel(call.repository, call.target.reference, call.actor)
        except ChunkOutOfOrder as error:
            raise _with_state(error, call) from None
        return Response(status_code=204)

    async def _mount(self, call: Call, digest: Digest) -> Response:
        sources = call.request.query_params.getlist("from")
        source = RepositoryName.parse(sources[0]) if sources else None
        await call.forget_body()
        if await self._blobs.mount(call.repository, digest, source, call.may_pull, call.actor):
            return _created(call, digest)
        return _session(call, await self._uploads.start(call.repository, digest.algorithm, call.actor), 202)

    def _chunk(self, call: Call) -> Chunk:
        """Raises UploadInvalid for a Content-Range that cannot be read, unless the body is empty: then none counts."""
        request = call.request
        content = call.checked(stream(request.receive, self._idle_seconds))
        length = request.headers.get("content-length")
        lines = request.headers.getlist("content-range")
        announced = int(length or 0)
        is_empty = not announced and "transfer-encoding" not in request.headers
        if not lines or is_empty:
            return Chunk(content, announced=announced, is_empty=is_empty)
        match = _CONTENT_RANGE.fullmatch(lines[0]) if len(lines) == 1 else None
        if match is None or int(match[1]) > int(match[2]):
            raise UploadInvalid("the Content-Range of a chunk is <first byte>-<last byte>")
        size = int(match[2]) - int(match[1]) + 1
        if length is not None and int(length) != size:
            raise SizeInvalid(f"the Content-Range names {size} bytes, the Content-Length {length}")
        return Chunk(content, int(match[1]), size)


def _digest(request: Request, parameter: str) -> Digest:
    values = set(request.query_params.getlist(parameter))
    if len(values) != 1:
        raise DigestInvalid(f"the query has exactly one {parameter}=<digest>")
    return parse_digest(values.pop())


def _created(call: Call, digest: Digest) -> Response:
    headers = {"Location": call.location("blobs", digest), "Docker-Content-Digest": str(digest)}
    return Response(status_code=201, headers=headers)


def _session(call: Call, session: UploadSession, status: int) -> Response:
    return Response(status_code=status, headers=_state(call, session.id, session.state.offset))


def _with_state(error: ChunkOutOfOrder, call: Call) -> ChunkOutOfOrder:
    error.headers.update(_state(call, call.target.reference, error.offset))
    return error


def _state(call: Call, session_id: str, offset: int) -> dict[str, str]:
    """Where the session is and stands; the spec has no way to say that it is empty, so that is `0-0`, too."""
    return {
        "Location": call.location("blobs/uploads", session_id),
        "Range": f"0-{max(offset - 1, 0)}",
        "Docker-Upload-UUID": session_id,
    }
