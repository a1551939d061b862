"""What an endpoint is given: the request, what it is about, and who asks."""

from dataclasses import dataclass

from starlette.requests import Request

from registry.api.target import Target
from registry.identity import Actor
from registry.oci.names import RepositoryName


@dataclass(frozen=True, slots=True)
class Call:
    """`public_url` begins every Location: empty by default, so that Locations are relative to what the client used."""

    request: Request
    target: Target
    actor: Actor
    public_url: str = ""

    @property
    def repository(self) -> RepositoryName:
        return self.target.repository

    def location(self, kind: str, reference: object) -> str:
        return f"{self.public_url}/v2/{self.repository}/{kind}/{reference}"
