"""Tokens: what was issued is what comes back, and nothing else does, whoever has signed it."""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from registry.access.scopes import Scopes
from registry.metadata import signing_keys
from registry.metadata.database import Database
from registry.tokens import TokenClaims, TokenExpired, TokenInvalid
from tests.access.clock import SetClock
from tests.access.forging import (
    CATALOG,
    ENTRY,
    MISSING,
    SCOPES,
    SECOND,
    SERVICE,
    Forger,
    changed,
    encode,
    open_database,
    start,
    write,
)

ORDER = 2**252 + 27742317777372353535851937790883648493  # L, of the group of Ed25519
ACTIONS = st.frozensets(st.sampled_from(["pull", "push", "delete"]))

PAYLOAD: dict[str, Any] = {
    "iss": SERVICE, "aud": SERVICE, "sub": "canary", "iat": SECOND, "nbf": SECOND, "exp": SECOND + 300, "jti": "canary",
    "at": SECOND * 1000 + 999, "ids": [[7, 3], [9, 0]], "access": [ENTRY, CATALOG],
}  # fmt: skip


@pytest.fixture(scope="module")
def standing() -> SetClock:
    return SetClock()


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory, standing: SetClock) -> Iterator[Forger]:
    """Of a registry that nothing happens to."""

    async def prepare() -> tuple[Database, Forger]:
        database = await open_database(tmp_path_factory.mktemp("tokens"))
        tokens = await start(database, standing)
        (row,) = await database.read(signing_keys.list_keys)
        return database, Forger(tokens, row.kid, row.private_key)

    database, made = asyncio.run(prepare())
    yield made
    database.close()


def test_what_a_token_is(forger: Forger, standing: SetClock) -> None:
    """Read by hand: three header members, the claims of docker's specification and ours, and an Ed25519 signature."""
    standing.now += 1
    token, claims = forger.tokens.issue([(7, 3)], "alice", SCOPES, 300)
    header, payload, signature = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    assert json.loads(header) == forger.header
    found = json.loads(payload)
    assert found.pop("jti").startswith("id ")
    access = [ENTRY, {"type": "repository", "name": "b", "actions": ["delete"]}, CATALOG]
    assert found == {
        "iss": SERVICE, "aud": SERVICE, "sub": "alice", "iat": SECOND, "nbf": SECOND, "exp": SECOND + 300,
        "at": SECOND * 1000 + 1, "ids": [[7, 3]], "access": access,
    }  # fmt: skip
    forger.key.public_key().verify(signature, token.rpartition(".")[0].encode())
    assert claims == TokenClaims(((7, 3),), "alice", SCOPES, SECOND * 1000 + 1, (SECOND + 300) * 1000)
    standing.now -= 1


def test_public_keys(forger: Forger) -> None:
    """The published key has its RFC 7638 thumbprint as kid, and no private part."""
    x = encode(forger.key.public_key().public_bytes_raw())
    kid = encode(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest())
    assert forger.tokens.jwks() == {
        "keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA", "use": "sig"}]
    }
    assert forger.header["kid"] == kid


NAMES = st.from_regex(r"[a-z0-9]{1,9}(?:[._-][a-z0-9]{1,5}){0,2}(?:/[a-z0-9]{1,9}){0,3}", fullmatch=True)
IDS = st.integers(0, 2**63 - 1)


@given(
    st.lists(st.tuples(IDS, IDS), max_size=10, unique_by=lambda pair: pair[0]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=100),
    st.builds(Scopes, st.dictionaries(NAMES, ACTIONS, max_size=40), st.booleans()),
    st.tuples(st.integers(0, 2**42), st.integers(1, 86_400)),
)
def test_round_trip(
    forger: Forger, standing: SetClock, identities: list[tuple[int, int]], subject: str, scopes: Scopes,
    life: tuple[int, int],
) -> None:  # fmt: skip
    """Whatever is issued, at whatever instant, verifies as just that until it expires."""
    now, seconds = life
    before, standing.now = standing.now, now
    token, claims = forger.tokens.issue(identities, subject, scopes, seconds)
    assert claims.scopes == scopes
    assert now + (seconds - 1) * 1000 < claims.expires_at <= now + seconds * 1000
    if claims.expires_at > now:
        assert forger.tokens.verify(token) == claims
    standing.now = claims.expires_at
    assert isinstance(forger.refuse(token), TokenExpired)
    standing.now = before


def test_forged_with_the_key_itself(forger: Forger) -> None:
    """What the tables below change is good as it stands."""
    claims = forger.tokens.verify(forger.forge(forger.header, write(PAYLOAD)))
    scopes = Scopes({"acme/app": frozenset({"pull", "push"})}, has_catalog=True)
    assert claims == TokenClaims(((7, 3), (9, 0)), "canary", scopes, SECOND * 1000 + 999, (SECOND + 300) * 1000)


@pytest.mark.parametrize("change", [
    {"iat": SECOND + 60, "nbf": SECOND + 60, "at": (SECOND + 60) * 1000}, {"nbf": 0}, {"exp": SECOND + 86_400},
    {"exp": SECOND + 1}, {"access": []}, {"ids": []}, {"access": [CATALOG]}, {"sub": ""},
    {"access": [{"type": "repository", "name": f"a{n}", "actions": []} for n in range(150)]},
], ids=lambda change: repr(change)[:40])  # fmt: skip
def test_what_is_good(forger: Forger, change: dict[str, Any]) -> None:
    """The edges of what is taken: another replica's clock may be a minute ahead."""
    assert forger.tokens.verify(forger.forge(forger.header, write(PAYLOAD | change))).issued_at >= SECOND * 1000


@pytest.mark.parametrize("expired_at", [SECOND, SECOND - 1, SECOND - 60, 0])
def test_expired(forger: Forger, expired_at: int) -> None:
    """There is no leeway for what has expired, and the refusal says that it has."""
    claims = PAYLOAD | {"iat": expired_at, "nbf": expired_at, "exp": expired_at, "at": expired_at * 1000}
    assert isinstance(forger.refuse(forger.forge(forger.header, write(claims))), TokenExpired)


def test_edges_that_are_refused(forger: Forger) -> None:
    """A millisecond more than a minute ahead, and one character more than 16 KiB."""
    ahead = {"iat": SECOND + 60, "nbf": SECOND + 60, "at": (SECOND + 60) * 1000 + 1}
    forger.refuse(forger.forge(forger.header, write(PAYLOAD | ahead)))
    tokens = [forger.forge(forger.header, write(PAYLOAD | {"sub": "a" * size})) for size in range(11_500, 12_500)]
    longest = max((token for token in tokens if len(token) <= 16_384), key=len)
    assert len(longest) > 16_380
    assert forger.tokens.verify(longest).issued_at == PAYLOAD["at"]
    forger.refuse(min((token for token in tokens if len(token) > 16_384), key=len))


HEADERS: list[tuple[str, Any]] = [
    *(("alg", alg) for alg in ("none", "None", "NONE", "nOnE", "", "HS256", "ES256", "RS256", "PS512", "EdDSA ")),
    *(("alg", alg) for alg in ("eddsa", "Ed25519", "Ed448", None, 0, True, ["EdDSA"], {"EdDSA": 1}, MISSING)),
    *(("kid", kid) for kid in (MISSING, None, "", "canary", "../../../../dev/null", "/etc/passwd", 7, True, {}, [])),
    *(("kid", kid) for kid in ("' OR 1=1 --", "x' UNION SELECT 1 --", "a" * 10_000, "a" * 1_000_000, ["canary"])),
    *(("kid", kid) for kid in ("http://127.0.0.1/", "\ud800", "\0", "kid", "EdDSA")),
    *(("typ", typ) for typ in (MISSING, "JWT", "jwt", "at+jwt", "entrepot+jwt ", "ENTREPOT+JWT", None, "", 1)),
    *(("typ", typ) for typ in ("application/entrepot+jwt", ["entrepot+jwt"], "id_token", "refresh+jwt", "webhook+jwt")),
    ("jku", "http://127.0.0.1/"), ("x5u", "http://127.0.0.1/"), ("x5c", ["AAAA"]), ("x5t", "AAAA"), ("jwk", {}),
    ("crit", []), ("crit", ["exp"]), ("crit", ["b64"]), ("crit", ["canary"]), ("b64", False), ("b64", True),
    ("zip", "DEF"), ("cty", "JWT"), ("enc", "A256GCM"), ("iss", SERVICE), ("canary", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), HEADERS, ids=lambda value: repr(value)[:40])
def test_headers_that_are_refused(forger: Forger, name: str, value: Any) -> None:
    """Rows 149, 150 and 156: no other member and no other value, though the registry's own key has signed it."""
    forger.refuse(forger.forge(changed(forger.header, name, value), write(PAYLOAD)))


NUMBERS = [
    MISSING,
    None,
    1.5,
    float(SECOND),
    str(SECOND),
    10**20,
    2**53,
    -1,
    True,
    False,
    [],
    {},
    float("nan"),
    float("inf"),
]
OTHERS = ["other", SERVICE[:-1], SERVICE + "1", SERVICE.upper(), f" {SERVICE}", "", 7, None, MISSING, {}, [], [SERVICE]]
CLAIMS: list[tuple[str, Any]] = [
    *((name, value) for name in ("exp", "nbf", "iat", "at") for value in NUMBERS),
    ("nbf", SECOND + 61), ("iat", SECOND + 61), ("at", SECOND * 1000 + 60_001), ("iat", SECOND - 1), ("iat", 0),
    ("at", 0), ("at", SECOND), ("exp", SECOND + 86_401), ("exp", 2**53 - 1),
    *((name, value) for name in ("iss", "aud") for value in [*OTHERS, [SERVICE, "other"], ["other", SERVICE]]),
    *((name, value) for name in ("sub", "jti") for value in (MISSING, None, 7, ["canary"], {}, True)),
    ("admin", True), ("scope", "repository:acme/app:pull"), ("crit", ["exp"]),
    *(("ids", ids) for ids in (MISSING, None, {}, "12", 7, [1, 2], [[1]], [[1, 2, 3]], [["1", 2]], [[1, 2.0]])),
    *(("ids", ids) for ids in ([[True, 1]], [[-1, 0]], [[1, 2], [1, 3]], [[2**63, 0]], [None], ["12"], [[1, None]])),
    ("ids", [{"1": 2}]), ("ids", [[number, 0] for number in range(201)]),
    *(("access", access) for access in (MISSING, None, "pull", {}, ENTRY, 7, [None], ["pull"], [[]], [[ENTRY]], [{}])),
    ("access", [ENTRY, ENTRY]), ("access", [CATALOG, CATALOG]), ("access", [ENTRY, changed(ENTRY, "actions", [])]),
    ("access", [{"type": "repository", "name": f"a{number}", "actions": []} for number in range(201)]),
]  # fmt: skip
WORDS: list[Any] = [
    "pull", "pull,push", None, MISSING, 7, {"pull": 1}, ["admin"], ["*"], ["PULL"], ["pull "], ["pull,push"], [""],
    [{}], ["pull", "pull"], ["pull", None], [["pull"]], ["pull"] * 10_000, ["create"], [7], ["pull", "admin"],
]  # fmt: skip
WRONG_NAMES = [None, MISSING, "", "*", "acme/*", "ACME", "../a", "/a", "a/", "a b", "a:b", 7, ["a"], "a" * 256]
KINDS = ["registry", "plugin", "repository(plugin)", "*", "", None, MISSING, ["repository"], 7]
ENTRIES: list[tuple[str, Any]] = [
    *(("actions", actions) for actions in WORDS), *(("name", name) for name in WRONG_NAMES),
    *(("type", kind) for kind in KINDS), ("class", "image"), ("canary", None),
]  # fmt: skip
CATALOGS = [("actions", ["pull"]), ("actions", ["*", "*"]), ("actions", "*"), ("name", "*"), ("name", None), ("x", 1)]


@pytest.mark.parametrize(("name", "value"), CLAIMS, ids=lambda value: repr(value)[:40])
def test_claims_that_are_refused(forger: Forger, name: str, value: Any) -> None:
    """Rows 151 to 153, signed by the registry's own key."""
    token = forger.forge(forger.header, write(changed(PAYLOAD, name, value)))
    assert not isinstance(forger.refuse(token), TokenExpired)


@pytest.mark.parametrize(("entry", "name", "value"), [
    *((ENTRY, name, value) for name, value in ENTRIES), *((CATALOG, name, value) for name, value in CATALOGS),
], ids=lambda value: repr(value)[:40])  # fmt: skip
def test_access_that_is_refused(forger: Forger, entry: dict[str, Any], name: str, value: Any) -> None:
    """Row 153: an entry of `access` has exactly its members, with lists of whole words."""
    forger.refuse(forger.forge(forger.header, write(changed(PAYLOAD, "access", [changed(entry, name, value)]))))


CONTENTS = [
    b"", b"null", b"[]", b'"canary"', b"{", b"\xef\xbb\xbf" + write(PAYLOAD), write(PAYLOAD) + b"\xff", b"[" * 9_000,
    write(PAYLOAD)[:-1] + b',"aud":"' + SERVICE.encode() + b'"}', b'{"aud":"other",' + write(PAYLOAD)[1:],
    write(PAYLOAD).replace(b"canary", b"\\ud800"), write(PAYLOAD).replace(b"canary", b"\\u0000"),
    b"eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAA.AAAA.AAAA", write(PAYLOAD) + b" {}",
    write(PAYLOAD).replace(b":[", b"=["), b'{"access":[' + (write(ENTRY) + b",") * 1_000_000 + b"{}]}",
]  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: repr(content[:20]))
def test_payloads_that_readers_disagree_about(forger: Forger, content: bytes) -> None:
    """No JSON object, a member twice, a million entries: refused, though the registry's own key has signed it."""
    forger.refuse(forger.forge(forger.header, content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from([*PAYLOAD, "canary"]), JSON)
def test_any_claim(forger: Forger, name: str, value: Any) -> None:
    """Whatever stands in a claim: the token is refused, or says something that could have been issued."""
    token = forger.forge(forger.header, write(changed(PAYLOAD, name, value)))
    try:
        claims = forger.tokens.verify(token)
    except TokenInvalid:
        return
    assert claims == forger.tokens.verify(token)
    assert name in {"sub", "jti", "ids", "access", "nbf", "exp"} or value == PAYLOAD[name]


# h, p, s: the parts of a good token; b, m, e: the first character of its signature, the last one, what is between;
# f: another last one, which differs in bits that the 64 bytes do not use.
TEXTS = {
    "padded header": "{h}=.{p}.{s}", "padded payload": "{h}.{p}==.{s}", "padded signature": "{h}.{p}.{s}==",
    "space before": " {h}.{p}.{s}", "space after": "{h}.{p}.{s} ", "line end after": "{h}.{p}.{s}\n",
    "line end inside": "{h}.{p}.{b}\n{m}{e}", "tab inside": "{h}.{p}.\t{s}", "junk inside": "{h}.{p}.{b}!!!!{m}{e}",
    "NUL after": "{h}.{p}.{s}\0", "trailing bits": "{h}.{p}.{b}{m}{f}", "no ASCII": "{h}.{p}.{b}{m}é",
    "half a surrogate": "{h}.{p}.{s}\ud800", "full-width dots": "{h}\uff0e{p}\uff0e{s}", "two parts": "{h}.{p}",
    "four parts": "{h}.{p}.{s}.{s}", "five parts": "{h}.{s}.{s}.{p}.{s}", "dot after": "{h}.{p}.{s}.",
    "no signature": "{h}.{p}.", "no payload": "{h}..{s}", "no header": ".{p}.{s}", "nothing": "", "dots": "..",
    "scheme": "Bearer {h}.{p}.{s}", "no token": "QQ==", "too long": "{h}.{p}.{s}" + "A" * 16_384,
    "a million": "A" * 1_000_000, "a million dots": "." * 1_000_000, "turned round": "{p}.{h}.{s}",
    "zero signature": "{h}.{p}." + encode(bytes(64)), "neutral signature": "{h}.{p}." + encode(bytes([1]) + bytes(63)),
    "shorter signature": "{h}.{p}.{b}{m}", "longer signature": "{h}.{p}.{s}AA",
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts_that_are_refused(forger: Forger, text: str) -> None:
    """Row 155: a token has one text, also when it is remembered under the right one."""
    token = forger.forge(forger.header, write(PAYLOAD))
    forger.tokens.verify(token)
    header, payload, signature = token.split(".")
    first, between, last = signature[0], signature[1:-1], signature[-1]
    other = chr(ord(last) + 1)
    assert base64.urlsafe_b64decode(f"{first}{between}{other}==") == base64.urlsafe_b64decode(f"{signature}==")
    forger.refuse(text.format(h=header, p=payload, s=signature, b=first, m=between, e=last, f=other))


def test_signatures_are_not_malleable(forger: Forger) -> None:
    """Row 155: with S + L in place of S the equation holds, and the signature is refused."""

    def sign(content: bytes) -> bytes:
        signature = forger.key.sign(content)
        scalar = int.from_bytes(signature[32:], "little") + ORDER
        return signature[:32] + scalar.to_bytes(32, "little")

    forger.refuse(forger.forge(forger.header, write(PAYLOAD), sign))


def test_every_character_counts(forger: Forger) -> None:
    """No character of a token can be another one, wherever it stands."""
    token = forger.forge(forger.header, write(PAYLOAD))
    forger.tokens.verify(token)
    for position, character in enumerate(token):
        for other in {chr(ord(character) ^ 1), chr(ord(character) ^ 32), "A", "_", "."} - {character}:
            forger.refuse(token[:position] + other + token[position + 1 :])


def test_a_key_that_the_token_brings_along(forger: Forger) -> None:
    """CVE-2025-24976: our kid beside one's own `jwk`, or without, verifies with our key and nothing else."""
    own = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode(own.public_key().public_bytes_raw())}
    thumbprint = encode(hashlib.sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest())
    for header in (
        forger.header, forger.header | {"jwk": jwk}, forger.header | {"jwk": jwk | {"kid": forger.header["kid"]}},
        forger.header | {"kid": thumbprint}, forger.header | {"kid": thumbprint, "jwk": jwk},
        forger.header | {"x5c": [base64.b64encode(own.public_key().public_bytes_raw()).decode()]},
    ):  # fmt: skip
        forger.refuse(forger.forge(header, write(PAYLOAD), own.sign))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512", "EdDSA", "none"])
def test_the_public_key_as_a_secret(forger: Forger, algorithm: str) -> None:
    """CVE-2026-48526: what everybody can read is no secret of an HMAC, in whatever form."""
    public = forger.key.public_key()
    keys = forger.tokens.jwks()["keys"]
    assert isinstance(keys, list)
    secrets = [
        public.public_bytes_raw(), public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), write(keys[0]), write({"keys": keys}),
        json.dumps(keys[0]).encode(), keys[0]["x"].encode(), b"",
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
    ]  # fmt: skip
    for secret, hashed in itertools.product(secrets, ["sha256", "sha384", "sha512"]):

        def sign(signed: bytes, secret: bytes = secret, hashed: str = hashed) -> bytes:
            return hmac.digest(secret, signed, hashed)

        forger.refuse(forger.forge(forger.header | {"alg": algorithm}, write(PAYLOAD), sign))
