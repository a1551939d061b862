"""What an endpoint is given: the request, what it is about, and who asks."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request

from registry.access.grants import Action, Permission, decide
from registry.api.bodies import FORGET_SECONDS, MOST_FORGOTTEN, forget
from registry.api.observe import Record
from registry.api.target import Target
from registry.auth import Caller, Recalled
from registry.identity import Actor
from registry.metadata.lookups import Lookup
from registry.oci.names import RepositoryName


class AccessChanged(Exception):
    """What was known of rights is perhaps not what holds: the caller is to be admitted anew."""


@dataclass(slots=True)
class Doubt:
    """About a caller who was admitted by what is known; as long as it `stands`, no answer may leave, nor an error."""

    recalled: Recalled
    stands: bool = True

    def end(self, lookup: Lookup) -> None:
        """Raises AccessChanged."""
        if not self.recalled.is_confirmed(lookup):
            raise AccessChanged
        self.stands = False


@dataclass(frozen=True, slots=True)
class Call:
    """`public_url` begins every Location: empty by default, so that Locations are relative to what the client used.

    `may_pull` says whether the caller may pull from another repository, too; `admit_again` who the caller is now, after
    the body has come, and refuses one whose right has ended meanwhile. With a `doubt` the endpoint has to `confirm` the
    caller.
    """

    request: Request
    target: Target
    actor: Actor
    caller: Caller
    may_pull: Callable[[RepositoryName], Awaitable[bool]]
    admit_again: Callable[[], Awaitable[Caller]]
    doubt: Doubt | None = None
    public_url: str = ""

    def confirm(self, lookup: Lookup) -> None:
        """Raises AccessChanged: nothing of what was found may be said."""
        if self.doubt is not None:
            self.doubt.end(lookup)

    def require_confirmation(self) -> None:
        """Raises AccessChanged when `confirm` was to be called, and was not."""
        if self.doubt is not None and self.doubt.stands:
            raise AccessChanged

    @property
    def record(self) -> Record:
        found: Record = self.request.scope["entrepot.record"]
        return found

    @property
    def repository(self) -> RepositoryName:
        return self.target.repository

    @property
    def permission(self) -> Permission:
        """What the caller may do in the repository; that it may do what the route does is known already."""
        return decide(self.caller.grants, self.repository)

    async def permission_now(self) -> Permission:
        """As `permission`, once the body is here. Raises what admit raises."""
        return decide((await self.admit_again()).grants, self.repository)

    async def checked(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body, which fails at its end when the caller may not do this any more."""
        async for piece in body:
            yield piece
        await self.admit_again()

    async def forget_body(self) -> None:
        """Before a deed that needs no body: the request may have one, and is whole only with it.

        Who waits for `100 Continue` has sent all there will be. Raises ClientDisconnect, and what admit raises.
        """
        if not self.record.has_whole_body and "expect" not in self.request.headers:
            await forget(self.request.receive, MOST_FORGOTTEN, FORGET_SECONDS)
            await self.admit_again()

    def may_list(self, repository: RepositoryName) -> bool:
        """Whether the caller sees the repository in the catalog."""
        return decide(self.caller.grants, repository).allows(Action.PULL)

    def location(self, kind: str, reference: object) -> str:
        return f"{self.public_url}/v2/{self.repository}/{kind}/{reference}"
