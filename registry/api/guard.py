"""Who asks, and whether they may: before anything is looked up. A verdict becomes what a client can act on."""

import contextlib
from functools import partial

from starlette.requests import Request

from registry.access.grants import Action
from registry.api.challenge import BASIC, Challenger
from registry.api.credentials import CredentialsInvalid, parse_credentials
from registry.api.observe import Record
from registry.api.origin import Networks, client_address, comes_from_this_machine, refuse_malformed
from registry.auth import Auth, Caller, Credentials, LoginFailed, Recalled, TokenRefused, Verdict
from registry.errors import (
    Denied,
    NameInvalid,
    NameUnknown,
    RegistryError,
    RequestInvalid,
    TooManyRequests,
    Unauthorized,
)
from registry.identity import Actor
from registry.limits import RequestLimits, network_of
from registry.oci.names import RepositoryName

_NEEDED = {Action.PULL: "pull", Action.PUSH: "pull,push", Action.DELETE: "pull,delete"}
_INVALID = "invalid_token"
# More than the specification's text: of that alone docker shows nothing, and tries a refused upload for a minute.
_LOG_IN = "authentication required: log in first"


class Guard:
    """`trusted_proxies`: addresses and networks whose X-Forwarded-For is believed."""

    def __init__(
        self, auth: Auth, challenger: Challenger, limits: RequestLimits, trusted_proxies: Networks = ()
    ) -> None:
        self._auth = auth
        self._challenger = challenger
        self._limits = limits
        self._proxies = trusted_proxies

    async def enter(self, request: Request) -> Actor:
        """What every request passes, also one for a token: an actor without a name. Raises RequestInvalid, Denied."""
        record = self._begin(request)
        await self._auth.refresh()
        if self._auth.is_protected and not comes_from_this_machine(request):
            raise Denied(
                "protected mode: without users the registry serves only this machine, asked for as localhost or"
                " 127.0.0.1. To serve others make a user (entrepot user add NAME --admin), or say what strangers may"
                " do: ENTREPOT_ANONYMOUS=pull or push"
            )
        return Actor("anonymous", record.client, record.request_id)

    def recall(self, request: Request, action: Action, repository: RepositoryName) -> Recalled | None:
        """The caller, if what is known of rights admits the request: to be confirmed by what the endpoint finds.

        None says no more than that `admit` must say. Raises RequestInvalid for a request that nobody could read.
        """
        record = self._begin(request)
        with contextlib.suppress(RequestInvalid, CredentialsInvalid, TooManyRequests):
            recalled = self._auth.recall(self._parse_credentials(request), action, repository)
            if recalled:
                self._count(recalled.caller, record)
                _note_caller(recalled.caller, record)
            return recalled
        return None

    async def admit(self, request: Request, action: Action, repository: RepositoryName | None) -> Caller:
        """The caller of an allowed request.

        Raises RequestInvalid, Denied, Unauthorized, NameUnknown, TooManyRequests, Unavailable.
        """
        by = await self.enter(request)
        scope = _find_scope(request, action, repository)
        caller = await self.identify(request, by, scope)
        self._count(caller, request.scope["entrepot.record"])
        verdict = await self._auth.judge(caller, action, repository)
        if verdict is not Verdict.ALLOWED:
            if verdict in (Verdict.HIDDEN, Verdict.DENIED):
                self._auth.note_denial(caller, action.value, repository, by)
            raise self._refuse(verdict, request, action, repository, scope)
        return caller

    async def admit_again(
        self, request: Request, action: Action, repository: RepositoryName | None, caller: Caller
    ) -> Caller:
        """As `admit`, once the body is here: a slow one must not carry a right beyond its end."""
        try:
            renewed = await self._auth.renew(caller)
        except TokenRefused as problem:
            raise self._unauthorized(str(problem), request, show_scope(action, repository), _INVALID) from None
        verdict = await self._auth.judge(renewed, action, repository)
        if verdict is not Verdict.ALLOWED:
            raise self._refuse(verdict, request, action, repository, show_scope(action, repository))
        return renewed

    async def identify(self, request: Request, by: Actor, scope: str = "") -> Caller:
        """Raises RequestInvalid, Unauthorized, TooManyRequests, Unavailable."""
        try:
            caller = await self._auth.identify(self._parse_credentials(request), by)
        except TokenRefused as problem:
            raise self._unauthorized(str(problem), request, scope, _INVALID) from None
        except (CredentialsInvalid, LoginFailed) as problem:
            raise self._unauthorized(str(problem), request, scope) from None
        _note_caller(caller, request.scope["entrepot.record"])
        return caller

    def _begin(self, request: Request) -> Record:
        record: Record = request.scope["entrepot.record"]
        record.client, record.actor = client_address(request, self._proxies), "anonymous"
        refuse_malformed(request)
        return record

    def _parse_credentials(self, request: Request) -> Credentials | None:
        return None if self._auth.is_open else parse_credentials(request)

    def _count(self, caller: Caller, record: Record) -> None:
        """Once, however often it is admitted."""
        if record.is_counted:
            return
        take = partial(self._limits.take, network_of(record.client) if caller.is_anonymous else f"name {caller.name}")
        take()
        record.is_counted = True
        record.effects.append(take)

    def _refuse(
        self, verdict: Verdict, request: Request, action: Action, repository: RepositoryName | None, scope: str
    ) -> RegistryError:
        if verdict is Verdict.HIDDEN and repository is not None:
            return NameUnknown(repository.value)
        if verdict is Verdict.DENIED:
            return Denied(f"your grants for {repository} do not include {action}")
        if verdict is Verdict.SCOPE:
            return self._unauthorized("the token was not issued for this", request, scope, "insufficient_scope")
        if verdict is Verdict.STALE:
            text = "the repository was deleted after the token was issued"
            return self._unauthorized(text, request, scope, _INVALID)
        if self._auth.is_open and "authorization" in request.headers:
            # Another challenge would make the client ask for a password again, for ever.
            return Denied("callers without credentials may not do this here, and there are no users yet")
        # Who was refused with a stranger's token need not fetch another one: containerd would, five times.
        error = "insufficient_scope" if "authorization" in request.headers else ""
        return self._unauthorized(_LOG_IN, request, scope, error)

    def _unauthorized(self, message: str, request: Request, scope: str, error: str = "") -> Unauthorized:
        if self._auth.is_open:
            return Unauthorized(message, BASIC)
        return Unauthorized(message, self._challenger.make(request, self._auth.service, scope, error, message))


def _note_caller(caller: Caller, record: Record) -> None:
    record.actor, record.holds_until = caller.name, caller.holds_until


def show_scope(action: Action, repository: RepositoryName | None) -> str:
    """What to ask the token service for."""
    if repository is not None:
        return f"repository:{repository}:{_NEEDED[action]}"
    return "registry:catalog:*" if action is Action.CATALOG else ""


def _find_scope(request: Request, action: Action, repository: RepositoryName | None) -> str:
    """With the source of a mount, for clients that ask for exactly what the challenge says."""
    scope, query = show_scope(action, repository), request.query_params
    if action is Action.PUSH and "mount" in query and "from" in query:
        with contextlib.suppress(NameInvalid):  # refused later, if the caller may push at all
            scope += " " + show_scope(Action.PULL, RepositoryName.parse(query["from"]))
    return scope
