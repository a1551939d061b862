"""A client that pushes and deletes in every form the API has, and tells the history what it was answered."""

from collections.abc import Iterable, Iterator, Mapping

from tests.kill.client import Answer, Client, Unanswered
from tests.kill.content import Manifest, digest_of
from tests.kill.history import Changes, History, Kind, Name, OpenSession

OCTETS = {"Content-Type": "application/octet-stream"}


class Refused(AssertionError):
    """The server answered a right request with something else than success."""

    def __init__(self, request: str, answer: Answer, expected: int) -> None:
        super().__init__(f"{request}: {answer.status} {answer.content.decode()} instead of {expected}")
        self.status = answer.status


class Pusher:
    """Writes into one repository of the registry at `client`."""

    def __init__(self, client: Client, history: History, repository: str) -> None:
        self._client = client
        self._history = history
        self.repository = repository

    def push_with_put(self, content: bytes, algorithm: str = "sha256") -> None:
        """POST, then the whole content in the closing PUT."""
        session = self._open(content, algorithm)
        self._close(session, content, digest_of(content, algorithm))

    def push_with_post(self, content: bytes) -> None:
        """The whole content in one POST."""
        digest = digest_of(content)
        self._change(self._blob(digest), "POST", f"{self._uploads}?digest={digest}", content, OCTETS, status=201)

    def push_in_chunks(self, content: bytes, chunks: int, *, close: bool = True) -> None:
        """POST, PATCH with Content-Range as often as there are chunks, an empty closing PUT."""
        session = self._open(content)
        size = -(-len(content) // chunks)
        for first in range(0, len(content), size):
            chunk = content[first : first + size]
            content_range = {"Content-Range": f"{first}-{first + len(chunk) - 1}", **OCTETS}
            self._append(session, chunk, first + len(chunk), content_range)
        if close:
            self._close(session, b"", digest_of(content))

    def push_streamed(self, content: bytes) -> None:
        """POST, one PATCH without a length, an empty closing PUT."""
        session = self._open(content)
        self._append(session, _pieces(content, 100_000), len(content), OCTETS)
        self._close(session, b"", digest_of(content))

    def resume(self, session: OpenSession) -> None:
        """Ask how much of an interrupted upload arrived, send the rest, close it."""
        answer = self._expect("GET", session.location, status=204)
        offset = _offset(answer)
        assert session.offset <= offset <= len(session.content), f"{session.location} is at {offset}: {session.offset}"
        rest = session.content[offset:]
        if rest:
            content_range = {"Content-Range": f"{offset}-{len(session.content) - 1}", **OCTETS}
            self._append(session, rest, len(session.content), content_range)
        self._close(session, b"", digest_of(session.content))

    def cancel(self, content: bytes) -> None:
        """POST, one PATCH, then DELETE of the session."""
        session = self._open(content)
        self._append(session, content, len(content), OCTETS)
        session.may_be_cancelled = True
        self._change({}, "DELETE", session.location, status=204)
        del self._history.sessions[session.location]

    def mount(self, content: bytes, source: str) -> None:
        digest = digest_of(content)
        self._change(self._blob(digest), "POST", f"{self._uploads}?mount={digest}&from={source}", status=201)

    def put(self, manifest: Manifest, *tags: str) -> None:
        """PUT by tag, by digest when no tag is given, by digest with `tag` parameters when there are several."""
        changes = self._manifest(manifest) | {self._tag(tag): manifest.digest for tag in tags}
        query = "?" + "&".join(f"tag={tag}" for tag in tags) if len(tags) > 1 else ""
        reference = tags[0] if len(tags) == 1 else manifest.digest
        headers = {"Content-Type": manifest.media_type}
        path = f"/v2/{self.repository}/manifests/{reference}{query}"
        self._change(changes, "PUT", path, manifest.content, headers, status=201)

    def untag(self, tag: str) -> None:
        self._change({self._tag(tag): None}, "DELETE", f"/v2/{self.repository}/manifests/{tag}", status=202)

    def delete_manifest(self, manifest: Manifest, *tags: str) -> None:
        changes: Changes = dict.fromkeys([*self._manifest(manifest), *map(self._tag, tags)])
        self._change(changes, "DELETE", f"/v2/{self.repository}/manifests/{manifest.digest}", status=202)

    def delete_blob(self, content: bytes) -> None:
        name = Name(Kind.BLOB, self.repository, digest_of(content))
        self._change({name: None}, "DELETE", name.path, status=202)

    @property
    def _uploads(self) -> str:
        return f"/v2/{self.repository}/blobs/uploads/"

    def _blob(self, digest: str) -> Changes:
        return {Name(Kind.BLOB, self.repository, digest): digest}

    def _manifest(self, manifest: Manifest) -> dict[Name, str]:
        return {Name(Kind.MANIFEST, self.repository, manifest.digest): manifest.digest}

    def _tag(self, tag: str) -> Name:
        return Name(Kind.TAG, self.repository, tag)

    def _open(self, content: bytes, algorithm: str = "sha256") -> OpenSession:
        query = "" if algorithm == "sha256" else f"?digest-algorithm={algorithm}"
        answer = self._expect("POST", self._uploads + query, status=202)
        session = OpenSession(answer.headers["location"], self.repository, content)
        self._history.sessions[session.location] = session
        return session

    def _append(
        self, session: OpenSession, chunk: bytes | Iterable[bytes], offset: int, headers: Mapping[str, str]
    ) -> None:
        answer = self._expect("PATCH", session.location, chunk, headers, status=202)
        assert _offset(answer) == offset, f"{session.location}: {answer.headers} instead of {offset}"
        session.offset = offset

    def _close(self, session: OpenSession, content: bytes, digest: str) -> None:
        session.may_be_closed = True
        mark = "&" if "?" in session.location else "?"
        path = f"{session.location}{mark}digest={digest}"
        self._change(self._blob(digest), "PUT", path, content, OCTETS, status=201)
        del self._history.sessions[session.location]

    def _change(
        self,
        changes: Changes,
        method: str,
        path: str,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        status: int,
    ) -> None:
        try:
            self._expect(method, path, content, headers, status=status)
        except Unanswered:
            self._history.unknown(f"{method} {path}", changes)
            raise
        self._history.acknowledged(f"{method} {path}", changes)

    def _expect(
        self,
        method: str,
        path: str,
        content: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        *,
        status: int,
    ) -> Answer:
        answer = self._client.call(method, path, content, headers)
        if answer.status != status:
            raise Refused(f"{method} {path}", answer, status)
        return answer


def _offset(answer: Answer) -> int:
    """The bytes received, from `Range: 0-<last>`; nothing yet is said by its absence or by 0-0."""
    last = int(answer.headers.get("range", "0-0").removeprefix("bytes=").split("-")[1])
    return last + 1 if last else 0


def _pieces(content: bytes, size: int) -> Iterator[bytes]:
    for first in range(0, len(content), size):
        yield content[first : first + size]
