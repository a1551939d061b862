"""Users, robots, groups, trust rules and their grants: add, change, remove, list."""

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry.access.globs import RepositoryGlob
from registry.access.grants import Grant
from registry.access.trusts import TrustRule
from registry.identity import Actor, Clock, Deed
from registry.metadata import grants, identities, uploads
from registry.metadata.database import Database, Transaction
from registry.metadata.identities import Identity, Kind
from registry.passwords import Passwords, hash_secret, make_secret, refuse_weak
from storage.blobstore import BlobStore, UploadState

OIDC = "oidc"  # the login name under which an id token is the password
# Ours, whatever the case: the registry itself is an actor, too, and AWS is what ECR's login helpers send.
_RESERVED = ("anonymous", OIDC, "aws", "entrepot")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}", re.ASCII)


class IdentityRefused(Exception):
    """The message says why nothing was changed, and what to do."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An identity with its own grants and, of a group, its members."""

    identity: Identity
    grants: list[Grant]
    members: list[str]


class Identities:
    """`random_bytes` makes secrets: so many bytes of randomness."""

    def __init__(
        self,
        database: Database,
        store: BlobStore,
        clock: Clock,
        passwords: Passwords,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._random_bytes = random_bytes

    async def is_guarded(self) -> bool:
        """Whether someone could ever log in. Until then everybody is a stranger, and that is said with `anonymous`."""
        return await self._database.read(identities.is_guarded)

    async def add_user(self, name: str, password: str | None, by: Actor, *, is_admin: bool = False) -> str:
        """Returns the password, made up when none is given. Raises IdentityRefused, PasswordInvalid."""
        secret = self._new_password(password)
        user = Identity(0, Kind.USER, name, await self._passwords.hash(secret), is_admin=is_admin)
        await self._add(user, (), by)
        return secret

    async def add_first_admin(self, name: str, password: str, by: Actor) -> bool:
        """False when there is an admin, so that nothing is to be done. Raises IdentityRefused, PasswordInvalid."""
        if await self._database.read(identities.has_admin):
            return False
        refuse_weak(password)
        user = Identity(0, Kind.USER, name, await self._passwords.hash(password), is_admin=True)
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> bool:
            if identities.has_admin(tx):  # A and B start at once: B finds the admin that A has made
                return False
            _insert(tx, user, deed)
            return True

        return await self._database.write(work)

    async def import_users(self, entries: Sequence[tuple[str, str]], by: Actor) -> None:
        """Users with bcrypt hashes from an htpasswd file, all or none. Raises IdentityRefused."""
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> None:
            for name, secret in entries:
                _insert(tx, Identity(0, Kind.USER, name, secret), deed)

        await self._database.write(work)

    async def set_password(self, name: str, password: str | None, by: Actor) -> str:
        """Returns the new password; the old one's tokens end. Raises IdentityRefused, PasswordInvalid."""
        secret = self._new_password(password)
        hashed = await self._passwords.hash(secret)
        deed = Deed(by, self._clock())
        await self._database.write(
            lambda tx: identities.set_secret(tx, _get(tx, name, Kind.USER), hashed, None, deed),
        )
        return secret

    async def add_robot(self, name: str, given: Sequence[Grant], expires_at: int | None, by: Actor) -> str:
        """Returns the secret, which nobody can read again. Raises IdentityRefused."""
        secret = make_secret(self._random_bytes)
        await self._add(Identity(0, Kind.ROBOT, name, hash_secret(secret), expires_at=expires_at), given, by)
        return secret

    async def rotate_robot(self, name: str, expires_at: int | None, by: Actor, *, is_endless: bool = False) -> str:
        """Returns a new secret; the old one and its tokens end. The expiry stays, unless given or `is_endless`."""
        secret = make_secret(self._random_bytes)
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> None:
            robot = _get(tx, name, Kind.ROBOT)
            expiry = robot.expires_at if expires_at is None and not is_endless else expires_at
            if expiry is not None and expiry <= deed.at:
                raise IdentityRefused(f"{name} has expired: say until when its new secret shall work, with --expires")
            identities.set_secret(tx, robot, hash_secret(secret), expiry, deed)

        await self._database.write(work)
        return secret

    async def add_trust(self, name: str, rule: TrustRule, given: Sequence[Grant], by: Actor) -> None:
        """Raises IdentityRefused."""
        await self._add(Identity(0, Kind.TRUST, name, rule=rule.to_json()), given, by, rule.describe())

    async def add_group(self, name: str, members: Sequence[str], by: Actor) -> None:
        """Raises IdentityRefused."""
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> None:
            group = _insert(tx, Identity(0, Kind.GROUP, name), deed)
            for member in members:
                identities.add_member(tx, group, _get(tx, member, Kind.USER), deed)

        await self._database.write(work)

    async def join(self, group: str, user: str, by: Actor) -> None:
        """Raises IdentityRefused."""
        deed = Deed(by, self._clock())
        await self._database.write(
            lambda tx: identities.add_member(tx, _get(tx, group, Kind.GROUP), _get(tx, user, Kind.USER), deed)
        )

    async def leave(self, group: str, user: str, by: Actor) -> None:
        """Raises IdentityRefused."""
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> None:
            if not identities.remove_member(tx, _get(tx, group, Kind.GROUP), _get(tx, user, Kind.USER), deed):
                raise IdentityRefused(f"{user} is no member of {group}")

        await self._database.write(work)

    async def set_admin(self, name: str, by: Actor, *, is_admin: bool) -> None:
        """Give a user all rights, or take them. Raises IdentityRefused, also for the last admin."""
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> None:
            user = _get(tx, name, Kind.USER)
            if not is_admin:
                _refuse_last_admin(tx, user)
            if is_admin != user.is_admin:
                identities.set_admin(tx, user, is_admin=is_admin, deed=deed)

        await self._database.write(work)

    async def set_disabled(self, kind: Kind, name: str, by: Actor, *, is_disabled: bool) -> None:
        """Its tokens are refused at once. Raises IdentityRefused, also for the last admin."""
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> None:
            if kind not in (Kind.USER, Kind.ROBOT, Kind.TRUST):
                raise IdentityRefused(f"a {kind} cannot be disabled: it does not log in; revoke its grants")
            identity = _get(tx, name, kind)
            if is_disabled:
                _refuse_last_admin(tx, identity)
            if is_disabled != (identity.disabled_at is not None):
                identities.set_disabled(tx, identity, is_disabled=is_disabled, deed=deed)

        await self._database.write(work)

    async def remove(self, kind: Kind, name: str, by: Actor) -> None:
        """With its grants, tokens and upload sessions. Raises IdentityRefused, also for the last admin."""
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> list[UploadState]:
            identity = _get(tx, name, kind)
            _refuse_last_admin(tx, identity)
            identities.remove(tx, identity, deed)
            return uploads.remove_owned(tx, identity.actor)

        for upload in await self._database.write(work):
            with contextlib.suppress(OSError):  # the name is free, and the collector takes what is left
                await self._store.abort(upload)

    async def grant(self, name: str, grant: Grant, by: Actor) -> Grant | None:
        """To a user, robot, group, trust rule or `anonymous`; returns the grant whose place it takes.

        Raises IdentityRefused.
        """
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> Grant | None:
            identity = _get(tx, name)
            own = grants.list_own(tx, identity)
            grants.put(tx, identity, grant, deed)
            return next((each for each in own if each.repositories == grant.repositories), None)

        return await self._database.write(work)

    async def revoke(self, name: str, repositories: RepositoryGlob, by: Actor) -> None:
        """Raises IdentityRefused."""
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> None:
            identity = _get(tx, name)
            if not grants.remove(tx, identity, repositories, deed):
                known = ", ".join(grant.repositories.text for grant in grants.list_own(tx, identity)) or "none"
                raise IdentityRefused(f"{name} has no grant for exactly {repositories}; its grants are for: {known}")

        await self._database.write(work)

    async def list_kind(self, kind: Kind) -> list[Listed]:
        """In the order of names."""

        def work(tx: Transaction) -> list[Listed]:
            return [
                Listed(identity, grants.list_own(tx, identity), identities.list_members(tx, identity))
                for identity in identities.list_kind(tx, kind)
            ]

        return await self._database.read(work)

    async def _add(self, identity: Identity, given: Sequence[Grant], by: Actor, detail: str = "") -> None:
        deed = Deed(by, self._clock())

        def work(tx: Transaction) -> None:
            made = _insert(tx, identity, deed, detail)
            for grant in given:
                grants.put(tx, made, grant, deed)

        await self._database.write(work)

    def _new_password(self, password: str | None) -> str:
        if password is None:
            return make_secret(self._random_bytes)
        refuse_weak(password)
        return password


def _insert(tx: Transaction, identity: Identity, deed: Deed, detail: str = "") -> Identity:
    if not _NAME.fullmatch(identity.name) or identity.name.casefold() in _RESERVED:
        raise IdentityRefused(
            f"{identity.name!r} cannot be a name: it is letters, digits and . _ @ - after the first, and none of"
            f" {', '.join(_RESERVED)}"
        )
    made = identities.insert(tx, identity, deed, detail)
    if made is None:
        known = identities.find(tx, identity.name)
        raise IdentityRefused(f"there is a {known.kind if known else 'namesake'} of the name {identity.name} already")
    return made


def _get(tx: Transaction, name: str, kind: Kind | None = None) -> Identity:
    found = identities.find(tx, name)
    if found is None or (kind is not None and found.kind is not kind):
        what = kind.word if kind else "user, robot, group or trust rule"
        meant = f" ({name} is a {found.kind})" if found else ""
        raise IdentityRefused(
            f"there is no {what} {name}{meant}: `entrepot {kind or 'user'} list` shows those there are"
        )
    return found


def _refuse_last_admin(tx: Transaction, identity: Identity) -> None:
    if identity.is_admin and identity.disabled_at is None and not identities.count_other_admins(tx, identity):
        raise IdentityRefused(f"{identity.name} is the last admin: make another one first (entrepot user promote NAME)")
