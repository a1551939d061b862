"""Who asks, and may they: credentials become a caller, a caller's grants become a verdict. For every door.

What is remembered of identities, grants and keys holds as long as the epoch of access stands, which each request asks
the database for, before anything else or together with what it is about: a change is in force with the next request,
in every process.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from registry.access.globs import RepositoryGlob
from registry.access.grants import EVERYTHING, Action, Grant, decide
from registry.access.scopes import Scopes, grant_scopes
from registry.access.trusts import TrustRule
from registry.audit import Audit
from registry.errors import RegistryError
from registry.federation import Federation, IdTokenInvalid
from registry.identities import OIDC
from registry.identity import Actor, Clock, Deed
from registry.limits import FailureLimits, network_of
from registry.metadata import identities, repositories
from registry.metadata.changes import AccessEvent
from registry.metadata.database import Database
from registry.metadata.identities import Identity, Kind
from registry.metadata.lookups import Lookup
from registry.oci.names import RepositoryName
from registry.passwords import BCRYPT, PasswordInvalid, Passwords, Turns, is_secret
from registry.rights import KnownRights, Rights
from registry.tokens import KeyUnknown, TokenClaims, TokenExpired, TokenInvalid, Tokens

TOKEN_SECONDS = 300
# An id token is short-lived and cannot be had again in the middle of a long push, so what it is exchanged for lives
# longer. That costs no control: whoever is gone, or lost a grant, is refused at once, whatever their token says.
FEDERATED_TOKEN_SECONDS = 3600
_CHECKS_AT_ONCE = 4  # of passwords from one address
_LONGEST_SUBJECT = 255
_EVER = 2**63
_WRONG = "the name or the password is wrong"


class AnonymousAccess(StrEnum):
    """PROTECTED, when nothing was decided: everything, but to this machine only; the server refuses to be elsewhere."""

    PROTECTED = "protected"
    NONE = "none"
    PULL = "pull"
    PUSH = "push"


_EVERYWHERE = {
    AnonymousAccess.PROTECTED: (EVERYTHING,),
    AnonymousAccess.NONE: (),
    AnonymousAccess.PULL: (Grant(RepositoryGlob("**"), frozenset({Action.PULL})),),
    AnonymousAccess.PUSH: (Grant(RepositoryGlob("**"), frozenset({Action.PULL, Action.PUSH})),),
}


@dataclass(frozen=True, slots=True)
class Basic:
    name: str
    password: str


@dataclass(frozen=True, slots=True)
class Bearer:
    token: str


Credentials: TypeAlias = Basic | Bearer


class LoginFailed(Exception):
    """The message is for the client, and the same for an unknown name and a wrong password."""


class TokenRefused(Exception):
    """A token that is not, or no longer, good. The message is for the client."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`ids` are pairs of identity and stamp, none for anonymous. `scopes` is what a token is limited to; Basic is not.

    `grants` are those of the moment, with everybody's. `issued_at` is the token's, in Unix milliseconds, and until
    `holds_until` the same credentials make the same caller as long as nobody changes anything; 0 says nothing of that.
    `is_federated`: by an id token.
    """

    name: str
    grants: tuple[Grant, ...]
    ids: tuple[tuple[int, int], ...] = ()
    scopes: Scopes | None = None
    issued_at: int = 0
    holds_until: int = 0
    is_federated: bool = False

    @property
    def is_anonymous(self) -> bool:
        return not self.ids


class Verdict(StrEnum):
    ALLOWED = "allowed"
    LOGIN = "login"  # a stranger: perhaps with credentials
    HIDDEN = "hidden"  # the caller may not know whether the repository exists
    DENIED = "denied"  # the caller may do something there, but not this
    SCOPE = "scope"  # the caller may, but the token does not say so
    STALE = "stale"  # the token is older than the repository's last deletion


@dataclass(frozen=True, slots=True)
class Recalled:
    """A caller who is admitted by what is remembered of the epoch `epoch`."""

    caller: Caller
    epoch: int

    def is_confirmed(self, lookup: Lookup) -> bool:
        """Whether it was so at the moment of the lookup, too: also that no repository was deleted since the token."""
        is_fresh = self.caller.scopes is None or self.caller.issued_at > lookup.deleted_at
        return is_fresh and self.epoch == lookup.access_epoch


class Auth:
    """`anonymous` is what callers without credentials may do everywhere, beside the grants of `anonymous`."""

    def __init__(  # noqa: PLR0913 - the parts of access meet here and nowhere else
        self,
        database: Database,
        clock: Clock,
        tokens: Tokens,
        passwords: Passwords,
        federation: Federation,
        audit: Audit,
        *,
        anonymous: AnonymousAccess,
    ) -> None:
        self._database = database
        self._clock = clock
        self._tokens = tokens
        self._passwords = passwords
        self._federation = federation
        self._audit = audit
        self._anonymous = anonymous
        self._limits = FailureLimits(clock)
        self._turns = Turns(_CHECKS_AT_ONCE)
        self._rights = KnownRights(database, tokens, passwords)

    async def refresh(self) -> None:
        """See whether identities, grants or keys have changed. To be called before anything else of a request."""
        await self._rights.refresh()

    @property
    def is_open(self) -> bool:
        """Nobody can log in yet, so credentials are not looked at."""
        return self._rights.is_open

    @property
    def is_protected(self) -> bool:
        return self._rights.is_open and self._anonymous is AnonymousAccess.PROTECTED

    async def identify(self, credentials: Credentials | None, by: Actor) -> Caller:
        """Who asks. Raises LoginFailed, TokenRefused, TooManyRequests, Unavailable."""
        if credentials is None or self._rights.is_open:
            return self._stranger()
        if isinstance(credentials, Bearer):
            return await self._identify_bearer(credentials.token, by)
        if credentials.name == OIDC:
            return await self.exchange(credentials.password, by)
        return await self._identify_basic(credentials, by)

    async def exchange(self, id_token: str, by: Actor) -> Caller:
        """The caller that the trust rules make of an id token. Raises LoginFailed, TooManyRequests, Unavailable."""
        now = self._clock()
        trusts = await self._database.read(lambda tx: identities.list_kind(tx, Kind.TRUST))
        trusts = [trust for trust in trusts if trust.is_active(now)]
        try:
            rules = [TrustRule.from_json(trust.rule) for trust in trusts]
            claims, believing = await self._federation.verify(id_token, rules)
        except IdTokenInvalid as problem:
            self._limits.check("", by.address)
            self._fail("", "", by, f"id token: {problem}")
            raise LoginFailed("the id token is not trusted here: the registry's audit log says why") from None
        await self.refresh()  # A waits for the issuer's keys, B removes the rule, A is let in by what is remembered
        found = [trusts[index] for index in believing]
        for trust in found:
            self._audit.note_use(trust.id)
        name = f"trust:{'+'.join(trust.name for trust in found)}/{_printable(claims['sub'])}"
        caller = await self._make_caller(name, [(trust.id, trust.stamp) for trust in found])
        if caller is None:
            raise LoginFailed("the trust rule is gone")
        return replace(caller, is_federated=True)

    def recall(self, credentials: Credentials | None, action: Action, repository: RepositoryName) -> Recalled | None:
        """The caller, if what is known admits it; asks nothing, and refuses nothing. It is to be confirmed.

        None says no more than that `identify` and `judge` must say.
        """
        caller = None if self.is_protected else self._recall_caller(credentials)
        if caller is None or self._judge_grants(caller, action, repository) is not Verdict.ALLOWED:
            return None
        return Recalled(caller, self._rights.epoch)

    def _recall_caller(self, credentials: Credentials | None) -> Caller | None:
        if credentials is None or self._rights.is_open:
            return self._stranger()
        if isinstance(credentials, Basic):
            return None
        try:
            claims = self._tokens.verify(credentials.token)
        except TokenInvalid:
            return None
        found = [self._rights.find_known(identity_id) for identity_id, _ in claims.identities]
        return self._make_bearer(claims, found) if all(found) else None

    async def renew(self, caller: Caller) -> Caller:
        """The caller with the grants of now: a body may take longer than a right lasts. Raises TokenRefused."""
        await self.refresh()
        if caller.is_anonymous:
            return replace(caller, grants=self._stranger().grants)
        renewed = await self._make_caller(caller.name, caller.ids)
        if renewed is None:
            raise TokenRefused("who asked is gone, disabled or has a new secret")
        return replace(caller, grants=renewed.grants, ids=renewed.ids)

    async def judge(self, caller: Caller, action: Action, repository: RepositoryName | None) -> Verdict:
        """May the caller do this? Decided on the name, before anything is looked up under it."""
        if repository is None:
            return self._judge_registry(caller, action)
        verdict = self._judge_grants(caller, action, repository)
        if verdict is not Verdict.ALLOWED or caller.scopes is None:
            return verdict
        # A token for a name that was deleted, and perhaps made again by somebody else, was not given for what is there.
        deleted_at = await self._database.read(lambda tx: repositories.find_deletion(tx, repository))
        return Verdict.ALLOWED if caller.issued_at > deleted_at else Verdict.STALE

    async def may_pull(self, caller: Caller, repository: RepositoryName) -> bool:
        """Also as the source of a mount."""
        return await self.judge(caller, Action.PULL, repository) is Verdict.ALLOWED

    @property
    def service(self) -> str:
        """The name that tokens are issued by and for."""
        return self._tokens.service

    def jwks(self) -> dict[str, object]:
        """The public keys of tokens."""
        return self._tokens.jwks()

    def issue(self, caller: Caller, asked: Scopes) -> tuple[str, TokenClaims]:
        """A token for what is asked for and allowed. Raises TokenRefused for a caller that has nothing but a token."""
        if caller.scopes is not None:
            raise TokenRefused("a token is not had for a token: send name and password")
        granted = grant_scopes(asked, lambda name: decide(caller.grants, name), has_catalog=self._has_catalog(caller))
        seconds = FEDERATED_TOKEN_SECONDS if caller.is_federated else TOKEN_SECONDS
        return self._tokens.issue(caller.ids, caller.name, granted, seconds)

    def note_denial(self, caller: Caller, what: str, repository: RepositoryName | None, by: Actor) -> None:
        """For the audit log. Strangers are not noted: every pull begins as one."""
        if not caller.is_anonymous:
            actor = Actor(caller.name, by.address, by.request_id)
            name = repository.value if repository else ""
            self._audit.note(AccessEvent(Deed(actor, self._clock()), "access.deny", name, detail=what))

    def _judge_grants(self, caller: Caller, action: Action, repository: RepositoryName) -> Verdict:
        permission = decide(caller.grants, repository)
        if not permission.allows(action):
            if caller.is_anonymous:
                return Verdict.LOGIN
            return Verdict.HIDDEN if permission.is_empty else Verdict.DENIED
        if caller.scopes is not None and not caller.scopes.allows(repository, action):
            return Verdict.SCOPE
        return Verdict.ALLOWED

    def _judge_registry(self, caller: Caller, action: Action) -> Verdict:
        if action is Action.CATALOG and not self._has_catalog(caller):
            return Verdict.LOGIN
        if action is Action.CATALOG and caller.scopes is not None and not caller.scopes.has_catalog:
            return Verdict.SCOPE
        # Where anonymous pull is on, too: a client that is not asked here never sends its user's password.
        is_stranger = caller.is_anonymous and caller.scopes is None
        if action is Action.ANY and is_stranger and not (self._rights.is_open and caller.grants):
            return Verdict.LOGIN
        return Verdict.ALLOWED

    def _has_catalog(self, caller: Caller) -> bool:
        return not caller.is_anonymous or any(Action.PULL in grant.allowed for grant in caller.grants)

    async def _identify_basic(self, basic: Basic, by: Actor) -> Caller:
        identity = await self._database.read(lambda tx: identities.find(tx, basic.name))
        is_robot = identity is not None and identity.kind is Kind.ROBOT
        if identity and is_robot and is_secret(identity.secret, basic.password):
            return await self._log_in(identity, by)  # 256 random bits: nobody guesses, nothing to limit
        stored, stamp = (identity.secret, identity.stamp) if identity and identity.kind is Kind.USER else (None, -1)
        if not self._passwords.remembers(stored, basic.password):
            async with self._turns.one(network_of(by.address)):  # failures of those before count by then
                self._limits.check(basic.name, by.address)
                if not await self._passwords.verify(stored, basic.password):
                    self._fail(basic.name, identity.name if identity else "", by, "wrong password")
                    raise LoginFailed(_WRONG)
            # A checks a password, B disables the user or sets another one, A lets in whom B has shut out.
            identity = await self._database.read(lambda tx: identities.find(tx, basic.name))
            if identity is None or identity.stamp != stamp:
                raise LoginFailed(_WRONG)
        if identity is None or stored is None:
            raise LoginFailed(_WRONG)
        if stored.startswith(BCRYPT):
            await self._hash_anew(identity, basic.password)
        return await self._log_in(identity, by)

    async def _hash_anew(self, identity: Identity, password: str) -> None:
        """Imported hashes end with the first login: checks of two kinds of hashes would differ in time."""
        with contextlib.suppress(RegistryError, PasswordInvalid):  # the next login tries again
            secret = await self._passwords.hash(password)
            await self._database.write(lambda tx: identities.replace_hash(tx, identity, secret))

    async def _log_in(self, identity: Identity, by: Actor) -> Caller:
        await self.refresh()  # the check of the password took its time: what is remembered may be of before it
        caller = await self._make_caller(identity.actor, [(identity.id, identity.stamp)])
        if caller is None:
            reason = "disabled" if identity.disabled_at is not None else "expired"
            self._note_failure(identity.name, by, f"the {identity.kind} is {reason}")  # no guess: nothing to limit
            raise LoginFailed(_WRONG)
        self._limits.succeeded(identity.name, by.address)
        self._audit.note_use(identity.id)
        return caller

    async def _identify_bearer(self, token: str, by: Actor) -> Caller:
        try:
            claims = self._tokens.verify(token)
        except TokenExpired:
            raise TokenRefused("the token has expired") from None
        except KeyUnknown as problem:  # nobody's guess: after a rotation honest clients bring such tokens
            raise TokenRefused(f"the token is not valid here: {problem}") from None
        except TokenInvalid as problem:
            self._limits.check("", by.address)
            self._fail("", "", by, f"bad token: {problem}")
            raise TokenRefused("the token is not valid here") from None
        caller = self._make_bearer(claims, [await self._rights.find(each) for each, _ in claims.identities])
        if caller is None:
            raise TokenRefused("whom the token was issued to is gone, disabled or has a new secret")
        return caller

    def _make_bearer(self, claims: TokenClaims, found: Sequence[Rights | None]) -> Caller | None:
        """The caller of a token, with the rights that were found of its identities; without any it is a stranger's."""
        caller = self._unite(claims.subject, claims.identities, found) if claims.identities else self._stranger()
        if caller is None:
            return None
        ends = [rights.identity.expires_at for rights in found if rights and rights.identity.expires_at is not None]
        until = min([claims.expires_at, *ends])
        return replace(caller, scopes=claims.scopes, issued_at=claims.issued_at, holds_until=until)

    async def _make_caller(self, name: str, pairs: Sequence[tuple[int, int]]) -> Caller | None:
        """With the grants of all identities that are still what the pairs say; None when none of them is."""
        return self._unite(name, pairs, [await self._rights.find(identity_id) for identity_id, _ in pairs])

    def _unite(self, name: str, pairs: Sequence[tuple[int, int]], found: Sequence[Rights | None]) -> Caller | None:
        now = self._clock()
        alive: list[tuple[int, int]] = []
        united: list[Grant] = []
        for pair, rights in zip(pairs, found, strict=True):
            if rights and rights.identity.stamp == pair[1] and rights.identity.is_active(now):
                alive.append(pair)
                united += rights.grants
        return Caller(name, (*united, *self._stranger().grants), tuple(alive)) if alive else None

    def _stranger(self) -> Caller:
        return Caller("anonymous", (*self._rights.everybodys, *self._everywhere()), holds_until=_EVER)

    def _everywhere(self) -> tuple[Grant, ...]:
        is_undecided = self._anonymous is AnonymousAccess.PROTECTED
        return () if is_undecided and not self._rights.is_open else _EVERYWHERE[self._anonymous]

    def _fail(self, tried: str, known: str, by: Actor, reason: str) -> None:
        """`known` is the name if there is one like it: what else was typed as a name may be somebody's password."""
        self._limits.failed(tried, by.address)
        self._note_failure(known or ("(unknown)" if tried else ""), by, reason)

    def _note_failure(self, subject: str, by: Actor, reason: str) -> None:
        self._audit.note(AccessEvent(Deed(by, self._clock()), "login.fail", subject=subject, detail=reason))


def _printable(text: str) -> str:
    """What a log and a terminal show and do not obey."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:_LONGEST_SUBJECT])
