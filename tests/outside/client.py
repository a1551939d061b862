"""A client of a whole registry that lives through an outage: what it hears is written down, whatever it is."""

import http.client
from dataclasses import dataclass

from tests.api.content import OCI_MANIFEST, Repository, digest_of, fresh_blob, image
from tests.api.running import RunningServer
from tests.api.wire import HOST, SECONDS, Call, Connection, Reply, written

LARGE = 200 << 10  # bytes: no store answers for so many by itself, and one part holds them


def ask(server: RunningServer, method: str, path: str, *headers: tuple[str, str], body: bytes = b"") -> Reply:
    """The answer, which may be a 5xx."""
    with Connection(server.port) as connection:
        connection.write(written(Call(method, path, headers, body), server.port))
        return connection.read(method)


def assert_unavailable(reply: Reply) -> None:
    """Try again later: nobody is told that something is not there, or that all is well."""
    assert (reply.status, reply["Retry-After"].isdigit()) == (503, True), reply
    assert not reply.body or reply.code == "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What came of a blob before the transfer ended, and whether it seemed to be all of it. Status 0: no answer."""

    status: int
    content: bytes
    is_whole: bool


class Customer:
    """Pushes to and pulls from one repository."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.repository = Repository(server)

    def path(self, rest: str) -> str:
        return f"/v2/{self.repository.name}/{rest}"

    def ask(self, method: str, rest: str, *headers: tuple[str, str], body: bytes = b"") -> Reply:
        return ask(self.server, method, self.path(rest), *headers, body=body)

    def push(self, content: bytes) -> Reply:
        """In one request."""
        return self.ask("POST", f"blobs/uploads/?digest={digest_of(content)}", body=content)

    def store(self, content: bytes | None = None) -> bytes:
        """A blob that was pushed for certain; without content a fresh one that is large."""
        content = fresh_blob(LARGE) if content is None else content
        assert self.push(content).status == 201
        return content

    def pull(self, content: bytes, *headers: tuple[str, str]) -> Pulled:
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=SECONDS)
        try:
            connection.request("GET", self.path(f"blobs/{digest_of(content)}"), headers=dict(headers))
            answer = connection.getresponse()
            try:
                return Pulled(answer.status, answer.read(), is_whole=True)
            except http.client.IncompleteRead as cut:
                return Pulled(answer.status, cut.partial, is_whole=False)
        except http.client.RemoteDisconnected:  # the head of an answer leaves with what comes first of its body
            return Pulled(0, b"", is_whole=False)
        finally:
            connection.close()

    def has(self, content: bytes) -> bool:
        """Whether the blob can be pulled, byte by byte."""
        return self.pull(content) == Pulled(200, content, is_whole=True)

    def push_image(self, tag: str) -> bytes:
        """Returns the manifest."""
        manifest = image(self.store(fresh_blob()), [self.store()])
        reply = self.ask("PUT", f"manifests/{tag}", ("Content-Type", OCI_MANIFEST), body=manifest)
        assert reply.status == 201, reply
        return manifest
