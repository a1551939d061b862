"""The token service (docker's token specification), RFC 8693 token exchange, and the keys that verify tokens."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from registry.access.scopes import parse_scopes, show_scopes
from registry.api.bodies import stream
from registry.api.challenge import BASIC
from registry.api.errors import render
from registry.api.guard import Guard
from registry.auth import Auth, Basic, Caller, LoginFailed
from registry.errors import FormTooLarge, FormUnsupported, RegistryError, RequestInvalid, Unauthorized
from registry.identity import Actor

_MOST_BYTES = 64 << 10
_MOST_PARAMETERS = 1_000
_FORM = "application/x-www-form-urlencoded"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type
_ID_TOKENS = ("urn:ietf:params:oauth:token-type:id_token", "urn:ietf:params:oauth:token-type:jwt")
_NOT_STORED = {"Cache-Control": "no-store"}
# RFC 6749, section 5.2: stands beside the registry's own errors, because docker prints those and OAuth reads this.
_OAUTH_ERRORS = {401: "invalid_grant", 429: "temporarily_unavailable", 503: "temporarily_unavailable"}
_GONE = 499  # the client went away: for the log, nobody reads it

Parameters = dict[str, list[str]]


class _GrantUnsupported(RequestInvalid):
    message = "grant_type is password, or RFC 8693's token-exchange"


class TokenEndpoints:
    def __init__(self, auth: Auth, guard: Guard, idle_seconds: float) -> None:
        self._auth = auth
        self._guard = guard
        self._idle_seconds = idle_seconds

    async def token(self, request: Request) -> Response:
        """`GET` and `POST /token`."""
        try:
            return await (self.post if request.method == "POST" else self.get)(request)
        except ClientDisconnect:
            return Response(status_code=_GONE)

    async def get(self, request: Request) -> Response:
        """`GET /token`: with Basic credentials, or anonymously."""
        by = await self._guard.enter(request)
        query = _parse(request.scope["query_string"].decode("latin-1"))
        self._refuse_other_service(query)
        try:
            caller = await self._guard.identify(request, by)
        except Unauthorized as problem:
            raise Unauthorized(problem.text, BASIC) from None  # not a challenge to come here again
        if caller.scopes is not None:
            raise Unauthorized("a token is not had for a token: send name and password", BASIC)
        return self._answer(caller, query)

    async def post(self, request: Request) -> Response:
        """`POST /token`: OAuth2's password grant, as containerd and BuildKit use it, and RFC 8693's exchange."""
        try:
            return await self._post(request)
        except RegistryError as error:
            request.scope["entrepot.record"].refusal = error.text
            response = render(error)
            body = json.loads(bytes(response.body))
            unsupported = isinstance(error, _GrantUnsupported)
            kind = "unsupported_grant_type" if unsupported else _OAUTH_ERRORS.get(error.status, "invalid_request")
            body |= {"error": kind, "error_description": error.text}
            return JSONResponse(body, error.status, error.headers | _NOT_STORED)

    async def keys(self, request: Request) -> Response:
        """`GET /.well-known/jwks.json` (RFC 7517)."""
        await self._guard.enter(request)
        return JSONResponse(self._auth.jwks(), headers={"Cache-Control": "max-age=60"})

    async def _post(self, request: Request) -> Response:
        by = await self._guard.enter(request)
        if request.scope["query_string"]:
            raise RequestInvalid("a POST for a token says everything in its form")
        form = await self._read_form(request)
        grant_type = _one(form, "grant_type")
        if grant_type == _EXCHANGE:
            return await self._exchange(request, form, by)
        self._refuse_other_service(form)
        if grant_type == "refresh_token":
            raise Unauthorized("there are no refresh tokens here: docker logout, and login again", BASIC)
        if grant_type != "password":
            raise _GrantUnsupported
        basic = Basic(_one(form, "username"), _one(form, "password"))
        return self._answer(await self._log_in(request, basic, by), form)

    async def _log_in(self, request: Request, basic: Basic, by: Actor) -> Caller:
        try:
            caller = await self._auth.identify(basic, by)
        except LoginFailed as problem:
            raise Unauthorized(str(problem), BASIC) from None
        request.scope["entrepot.record"].actor = caller.name
        return caller

    async def _exchange(self, request: Request, form: Parameters, by: Actor) -> Response:
        for name in ("audience", "service"):
            if form.get(name) not in (None, [self._auth.service]):
                raise RequestInvalid(f"{name} is {self._auth.service} or absent")
        if _one(form, "subject_token_type") not in _ID_TOKENS or "actor_token" in form:
            raise RequestInvalid(f"a subject_token of the type {_ID_TOKENS[0]} is exchanged, nothing else")
        if form.get("requested_token_type") not in (None, [_ACCESS_TOKEN]):
            raise RequestInvalid(f"requested_token_type is {_ACCESS_TOKEN} or absent")
        try:
            caller = await self._auth.exchange(_one(form, "subject_token"), by)
        except LoginFailed as problem:
            raise Unauthorized(str(problem), BASIC) from None
        request.scope["entrepot.record"].actor = caller.name
        return self._answer(caller, form, {"issued_token_type": _ACCESS_TOKEN, "token_type": "Bearer"})

    def _answer(self, caller: Caller, parameters: Parameters, also: dict[str, str] | None = None) -> Response:
        """A token with what is asked for and allowed; with nothing in it, too: fewer rights are no error."""
        token, claims = self._auth.issue(caller, parse_scopes(parameters.get("scope", [])))
        issued = datetime.fromtimestamp(claims.issued_at // 1000, UTC)
        answer: dict[str, object] = {
            "token": token,
            "access_token": token,
            "expires_in": (claims.expires_at - claims.issued_at) // 1000,
            "issued_at": issued.isoformat().replace("+00:00", "Z"),
        }
        if also is not None:
            answer |= also | {"scope": " ".join(show_scopes(claims.scopes))}
        return JSONResponse(answer, headers=_NOT_STORED)

    def _refuse_other_service(self, parameters: Parameters) -> None:
        if parameters.get("service") != [self._auth.service]:
            raise RequestInvalid(
                f"a token is for one service, and it is named as in the challenge: {self._auth.service}"
            )

    async def _read_form(self, request: Request) -> Parameters:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            raise FormUnsupported(f"a POST for a token has a form: Content-Type {_FORM}")
        if int(request.headers.get("content-length", "0")) > _MOST_BYTES:
            raise FormTooLarge  # before a client is told to send it
        body = b""
        async for piece in stream(request.receive, self._idle_seconds):
            body += piece
            if len(body) > _MOST_BYTES:
                raise FormTooLarge
        try:
            return _parse(body.decode("utf-8"))
        except UnicodeDecodeError:
            raise RequestInvalid("the form is not in UTF-8") from None


def _parse(text: str) -> Parameters:
    """A query or a form. Raises RequestInvalid."""
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="strict")
    except ValueError:
        raise RequestInvalid("the parameters are too many, or not in UTF-8") from None


def _one(parameters: Parameters, name: str) -> str:
    values = parameters.get(name, [])
    if len(values) != 1 or not values[0]:
        raise RequestInvalid(f"the form has exactly one {name}")
    return values[0]
