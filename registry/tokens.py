"""The registry's own tokens: JWTs that it signs, verifies and remembers; and the keys they are signed with.

A token says who may do what in which repositories; whether that still holds is asked elsewhere, with each request.
Nothing in a token chooses how it is verified: one algorithm, one type, and keys from the database alone.
"""

import base64
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.types import Options

from registry.access.scopes import DOCKER_ACTIONS, Scopes
from registry.errors import NameInvalid, RequestInvalid, Unavailable
from registry.identity import Actor, Clock, Deed
from registry.metadata import changes, signing_keys
from registry.metadata.database import Database, Transaction
from registry.metadata.signing_keys import SigningKey
from registry.oci import strict_json
from registry.oci.names import RepositoryName

# EdDSA is deterministic: a weak source of randomness does not leak the key. And it is not malleable: a signature with
# S + L in place of S is refused, so nobody makes a second token out of one.
_ALGORITHM = "EdDSA"
_TYPE = "entrepot+jwt"  # no other purpose's tokens are taken here, and nobody else takes ours
_CLAIMS = frozenset({"iss", "aud", "sub", "iat", "nbf", "exp", "jti", "at", "ids", "access"})
_OUR_CLOCK: Options = {"strict_aud": True, "verify_exp": False, "verify_iat": False, "verify_nbf": False}

_MOST_LENGTH = 16 * 1024
_MOST_ENTRIES = 200
_MOST_REMEMBERED = 2048  # characters: what a longer one says takes more memory than its signature takes time
_LATEST_SECOND = 2**53
_LARGEST_ID = 2**63
_LONGEST = 24 * 3600  # seconds
_SKEW = 60_000  # milliseconds that another replica's clock may be ahead

_SIGNS_FOR = 30 * 24 * 3_600_000  # milliseconds until the next key takes over
_RETIRES_FOR = 2 * 3_600_000  # milliseconds that a retired key verifies
_NEVER = 2**63
_ITSELF = Actor("entrepot")


class TokenInvalid(Exception):
    """The message says why, and holds nothing of the token."""


class KeyUnknown(TokenInvalid):
    """Signed by nobody known: as every token is after `rotate` at once."""


class TokenExpired(TokenInvalid):
    """It was a token of this registry."""


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """`identities`: pairs of id and stamp, none for anonymous; `subject`: a name for logs. Instants: milliseconds.

    What was verified expires with its key, if that ends first.
    """

    identities: tuple[tuple[int, int], ...]
    subject: str
    scopes: Scopes
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class _PublicKey:
    key: Ed25519PublicKey
    x: str
    ends_at: int


@dataclass(frozen=True, slots=True)
class _Verified:
    claims: TokenClaims
    kid: str


class Tokens:
    """`new_id` makes the ids of tokens; `most_verified` are remembered. To be used from one event loop."""

    def __init__(
        self, database: Database, clock: Clock, new_id: Callable[[], str], *, most_verified: int = 10_000
    ) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._most_verified = most_verified
        self._service = ""
        self._rows: list[SigningKey] = []
        self._keys: dict[str, _PublicKey] = {}
        self._signing: tuple[str, Ed25519PrivateKey] | None = None
        self._due_at = 0  # when a key is to be replaced or removed
        self._verified: OrderedDict[str, _Verified] = OrderedDict()

    @property
    def service(self) -> str:
        """The issuer and one audience of the tokens."""
        return self._service

    async def start(self, service: str) -> None:
        """Issue and verify tokens of `service`, their issuer and one audience. Raises Unavailable."""
        self._service = service
        await self.load()
        await self.rotate_if_due()

    async def load(self) -> None:
        """Read the keys again. Raises Unavailable."""
        known = self._rows
        found = await self._database.read(signing_keys.list_keys)
        if self._rows is known:  # else a request has brought others meanwhile, and these may be older
            self.use(found)

    def use(self, found: Sequence[SigningKey]) -> None:
        """Sign and verify with these: all that there are with the epoch of access. Raises Unavailable."""
        rows = sorted(found, key=lambda row: (row.created_at, row.kid))
        if rows == self._rows:
            return
        private = [(row, _open(row)) for row in rows]
        self._keys = {row.kid: _PublicKey(key.public_key(), _x(key), _end(row)) for row, key in private}
        signing = [(row, key) for row, key in private if row.retired_at is None]
        self._signing = (signing[-1][0].kid, signing[-1][1]) if signing else None
        self._due_at = min([_end(row) for row in rows] + [row.created_at + _SIGNS_FOR for row, _ in signing], default=0)
        self._rows = rows
        self._verified.clear()

    async def rotate(self, by: Actor, *, at_once: bool = False) -> None:
        """Sign with a new key from now on. The tokens out there go on until they expire; `at_once`: they all end."""
        deed = Deed(by, self._clock())
        await self._database.write(lambda tx: _replace_key(tx, deed, at_once=at_once))
        await self.load()

    async def rotate_if_due(self) -> None:
        """Replace a key after 30 days, remove it two hours later. Costs nothing while neither is due."""
        deed = Deed(_ITSELF, self._clock())
        if deed.at >= self._due_at:
            await self._database.write(lambda tx: _replace_if_due(tx, deed))
            await self.load()

    def issue(
        self, identities: Sequence[tuple[int, int]], subject: str, scopes: Scopes, seconds: int
    ) -> tuple[str, TokenClaims]:
        """A new token for `seconds`, at most a day, less the part of the second that has gone.

        Raises RequestInvalid when the scopes are too many for one token, Unavailable when there is no key.
        """
        if not 0 < seconds <= _LONGEST:
            raise ValueError(f"a token lives for 1 to {_LONGEST} seconds, not {seconds}")
        if self._signing is None:
            raise Unavailable("there is no key to sign tokens with: start the server again")
        kid, private_key = self._signing
        now = self._clock()
        second = now // 1000
        access = _show_access(scopes)
        payload = {
            "iss": self._service,
            "aud": self._service,
            "sub": subject,
            "iat": second,
            "nbf": second,
            "exp": second + seconds,
            "jti": self._new_id(),
            "at": now,  # a repository may be deleted and made again within one second
            "ids": identities,
            "access": access,
        }
        token = jwt.encode(payload, private_key, algorithm=_ALGORITHM, headers={"kid": kid, "typ": _TYPE})
        if len(token) > _MOST_LENGTH or max(len(identities), len(access)) > _MOST_ENTRIES:
            raise RequestInvalid("a token has no room for so many repositories: ask for fewer at once")
        return token, TokenClaims(tuple(identities), subject, scopes, now, (second + seconds) * 1000)

    def verify(self, token: str) -> TokenClaims:
        """What the token says. Raises TokenExpired, TokenInvalid."""
        now = self._clock()
        known = self._verified.get(token)
        if known is not None and now < known.claims.expires_at and known.kid in self._keys:
            self._verified.move_to_end(token)
            return known.claims
        self._verified.pop(token, None)
        found = self._verify(token, now)
        if len(token) <= _MOST_REMEMBERED:
            self._verified[token] = found
        if len(self._verified) > self._most_verified:
            self._verified.popitem(last=False)
        return found.claims

    async def list_keys(self) -> list[tuple[str, int, int | None]]:
        """Each with its id, when it was made, and until when it verifies (Unix milliseconds; None for what signs)."""
        await self.load()
        known = [(row.kid, row.created_at, row.retired_at and _end(row)) for row in self._rows]
        return [key for key in known if key[2] is None or self._clock() < key[2]]

    def jwks(self) -> dict[str, object]:
        """The public keys that verify tokens, as RFC 7517 and 8037 write them."""
        live = [(kid, key.x) for kid, key in self._keys.items() if self._clock() < key.ends_at]
        return {"keys": [{"kid": kid, "alg": _ALGORITHM, "use": "sig", **_thumbprinted(x)} for kid, x in live]}

    def _verify(self, token: str, now: int) -> _Verified:
        if len(token) > _MOST_LENGTH:
            raise TokenInvalid(f"it is longer than {_MOST_LENGTH} characters")
        parts = token.split(".")
        if len(parts) != 3:  # noqa: PLR2004  # header, payload, signature
            raise TokenInvalid("it does not have three parts")
        header, payload, _ = map(_decode_part, parts)
        kid, key = self._find_key(_decode_object(header), now)
        try:
            jwt.decode(
                token,
                key.key,
                algorithms=[_ALGORITHM],
                audience=self._service,
                issuer=self._service,
                options=_OUR_CLOCK,
            )
        except jwt.PyJWTError:
            raise TokenInvalid("its signature, issuer or audience is not this registry's") from None
        claims = _read_claims(_decode_object(payload), now)
        return _Verified(replace(claims, expires_at=min(claims.expires_at, key.ends_at)), kid)

    def _find_key(self, header: dict[str, Any], now: int) -> tuple[str, _PublicKey]:
        kid = header.get("kid")
        # Nothing else may stand there: no key that the token brings along, no address to fetch one from, no extension.
        if not isinstance(kid, str) or header != {"alg": _ALGORITHM, "kid": kid, "typ": _TYPE}:
            raise TokenInvalid("its header is not of a token of this registry")
        key = self._keys.get(kid)
        if key is None or now >= key.ends_at:
            raise KeyUnknown("its key is unknown or was replaced")
        return kid, key


def _replace_if_due(tx: Transaction, deed: Deed) -> None:
    """Decided on the rows of this moment: several processes may find it due, and one of them does it."""
    signing_keys.remove_retired(tx, deed.at - _RETIRES_FOR)
    keys = signing_keys.list_keys(tx)
    if not keys:
        signing_keys.insert(tx, _make_key(deed.at))  # the first one replaces nothing: no change for the log
    elif all(key.retired_at is not None or key.created_at + _SIGNS_FOR <= deed.at for key in keys):
        _replace_key(tx, deed, at_once=False)


def _replace_key(tx: Transaction, deed: Deed, *, at_once: bool) -> None:
    if at_once:
        signing_keys.remove_all(tx)
    else:
        signing_keys.retire_all(tx, deed.at)
    key = _make_key(deed.at)
    signing_keys.insert(tx, key)
    changes.append_access(tx, deed, "key.rotate", subject=key.kid, detail="at once" if at_once else "")


def _make_key(now: int) -> SigningKey:
    key = Ed25519PrivateKey.generate()
    return SigningKey(_kid(_x(key)), key.private_bytes_raw(), now)


def _open(row: SigningKey) -> Ed25519PrivateKey:
    """Raises Unavailable when the row is not as it was written."""
    try:
        key = Ed25519PrivateKey.from_private_bytes(row.private_key)
    except ValueError:
        key = None
    if key is None or _kid(_x(key)) != row.kid:
        raise Unavailable("a key that signs tokens is damaged: replace it with entrepot key rotate --at-once")
    return key


def _end(row: SigningKey) -> int:
    return _NEVER if row.retired_at is None else row.retired_at + _RETIRES_FOR


def _x(key: Ed25519PrivateKey) -> str:
    return _encode_part(key.public_key().public_bytes_raw())


def _kid(x: str) -> str:
    """The thumbprint of RFC 7638."""
    return _encode_part(hashlib.sha256(json.dumps(_thumbprinted(x), separators=(",", ":")).encode()).digest())


def _thumbprinted(x: str) -> dict[str, str]:
    return {"crv": "Ed25519", "kty": "OKP", "x": x}  # as RFC 7638 orders them


def _encode_part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode_part(text: str) -> bytes:
    """Only the one text that the content has: no padding, white space, other alphabet or bits that mean nothing."""
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        content = b""
    if not content or _encode_part(content) != text:
        raise TokenInvalid("a part of it is not base64url, or not its only form")
    return content


def _decode_object(content: bytes) -> dict[str, Any]:
    try:
        value = strict_json.decode(content)
    except strict_json.JSONRefused:
        value = None
    if not isinstance(value, dict):
        raise TokenInvalid("a part of it is no JSON object, or one that readers disagree about")
    return value


def _show_access(scopes: Scopes) -> list[dict[str, object]]:
    """In docker's form."""
    access: list[dict[str, object]] = [
        {"type": "repository", "name": name, "actions": [action for action in DOCKER_ACTIONS if action in actions]}
        for name, actions in scopes.repositories.items()
    ]
    return [*access, {"type": "registry", "name": "catalog", "actions": ["*"]}] if scopes.has_catalog else access


def _read_claims(claims: dict[str, Any], now: int) -> TokenClaims:
    if claims.keys() != _CLAIMS or not isinstance(claims["sub"], str) or not isinstance(claims["jti"], str):
        raise TokenInvalid("it has other claims than a token of this registry")
    _check_times(claims, now)
    return TokenClaims(
        _read_identities(claims["ids"]),
        claims["sub"],
        _read_access(claims["access"]),
        claims["at"],
        claims["exp"] * 1000,
    )


def _check_times(claims: dict[str, Any], now: int) -> None:
    if not all(_is_number(claims[name], _LATEST_SECOND) for name in ("iat", "nbf", "exp", "at")):
        raise TokenInvalid("an instant in it is none")
    if max(claims["iat"] * 1000, claims["nbf"] * 1000, claims["at"]) > now + _SKEW:
        raise TokenInvalid("it is from the future")
    if claims["at"] // 1000 != claims["iat"] or claims["exp"] - claims["iat"] > _LONGEST:
        raise TokenInvalid("its instants contradict each other")
    if claims["exp"] * 1000 <= now:
        raise TokenExpired("it has expired")


def _read_identities(ids: Any) -> tuple[tuple[int, int], ...]:
    identities = tuple(_read_identity(pair) for pair in _read_list(ids))
    if len({identity for identity, _ in identities}) != len(identities):
        raise TokenInvalid("an identity is in it twice")
    return identities


def _read_identity(pair: Any) -> tuple[int, int]:
    if not isinstance(pair, list) or len(pair) != 2 or not all(_is_number(part, _LARGEST_ID) for part in pair):  # noqa: PLR2004  # id and stamp
        raise TokenInvalid("an identity in it is none")
    return pair[0], pair[1]


def _read_access(access: Any) -> Scopes:
    repositories: dict[str, frozenset[str]] = {}
    has_catalog = False
    for entry in _read_list(access):
        if entry == {"type": "registry", "name": "catalog", "actions": ["*"]} and not has_catalog:
            has_catalog = True
            continue
        name, actions = _read_repository(entry)
        if name in repositories:
            raise TokenInvalid("a repository is in it twice")
        repositories[name] = actions
    return Scopes(repositories, has_catalog)


def _read_repository(entry: Any) -> tuple[str, frozenset[str]]:
    if not isinstance(entry, dict) or entry.keys() != {"type", "name", "actions"} or entry["type"] != "repository":
        raise TokenInvalid("an entry of its access is for nothing that is here")
    name, actions = entry["name"], _read_list(entry["actions"])
    # A list of whole words, each once: of a text in its place `"pull" in "pull"` would be true, too.
    known = [action for action in actions if isinstance(action, str) and action in DOCKER_ACTIONS]
    if len(set(known)) != len(actions):
        raise TokenInvalid("its access has actions that do not exist")
    try:
        RepositoryName.parse(name if isinstance(name, str) else "")
    except NameInvalid:
        raise TokenInvalid("its access has a name that no repository can have") from None
    return name, frozenset(known)


def _read_list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST_ENTRIES:
        raise TokenInvalid("a list in it is none, or too long")
    return value


def _is_number(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value < most  # True is an int, too, but not a number here
