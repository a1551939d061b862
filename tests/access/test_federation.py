"""Which id tokens are believed: their form, signature, times and claims, with a real issuer."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.access.trusts import TrustRule
from registry.federation import KeysInvalid, parse_keys
from tests.access.clock import SetClock
from tests.access.issuer import OMITTED, Issuer, SigningKey, encoded, issuing, make_key, signed
from tests.access.verifying import Verifier, rule, verifying

NOW = 1_700_000_000
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Not to be changed."""
    with issuing(SetClock()) as issuer:
        yield issuer


@pytest.fixture
def verifier() -> Iterator[Verifier]:
    yield from verifying(SetClock())


@pytest.fixture(scope="module")
def rsa_key() -> SigningKey:
    return make_key("RS256", "rsa", alg=OMITTED)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
                                       "EdDSA"])  # fmt: skip
def test_algorithms(verifier: Verifier, issuer: Issuer, rsa_key: SigningKey, algorithm: str) -> None:
    """Every asymmetric algorithm proves a token, and a changed token is not proven."""
    key = rsa_key if algorithm[1] == "S" and algorithm[0] in "RP" else make_key(algorithm, "rsa")
    key = SigningKey(key.kid, algorithm, key.private)
    own = rule(issuer, keys=json.dumps({"keys": [key.jwk]}))
    token = issuer.token(key=key)
    claims, believing = verifier.verify(token, own)
    assert (claims["sub"], believing) == ("repo:acme/app:ref:refs/heads/main", [0])
    header, _, signature = token.split(".")
    other = issuer.token(key=key, jti="other").split(".")[1]
    assert "signature" in verifier.refusal(f"{header}.{other}.{signature}", own)


def hmac_signed(issuer: Issuer, secret: bytes) -> str:
    """As a forger does who knows only what is public."""
    header = encoded(json.dumps({"alg": "HS256", "typ": "JWT", "kid": issuer.keys[0].kid}).encode())
    signing_input = f"{header}.{issuer.token().split('.')[1]}"
    return f"{signing_input}.{encoded(hmac.digest(secret, signing_input.encode(), hashlib.sha256))}"


def test_a_public_key_is_no_secret(verifier: Verifier, issuer: Issuer) -> None:
    """A token with an HMAC of the public key's bytes, in whatever form, is refused without asking for keys."""
    public = issuer.keys[0].private.public_key()
    jwk = issuer.keys[0].jwk
    issuer.requests.clear()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        json.dumps(jwk).encode(),
        jwk["x"].encode(),
        b"",
    ):
        assert "alg" in verifier.refusal(hmac_signed(issuer, secret), rule(issuer))
    assert not issuer.requests


@pytest.mark.parametrize(
    "algorithm",
    ["none", "None", "nOnE", "HS256", "HS384", "HS512", "ES256K", "es256", "ES256 ", "RSA-OAEP", "dir", "", 256, None,
     ["ES256"], {"ES256": 1}, True, OMITTED],
)  # fmt: skip
def test_unknown_algorithms(verifier: Verifier, issuer: Issuer, algorithm: object) -> None:
    """An alg that is not one of ours is refused, with a signature and without, and no keys are asked for."""
    issuer.requests.clear()
    token = issuer.token(headers={"alg": algorithm})
    assert "alg" in verifier.refusal(token, rule(issuer))
    verifier.refusal(token.rpartition(".")[0] + ".", rule(issuer))
    assert not issuer.requests


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES384", "ES512", "EdDSA"])
def test_an_algorithm_of_another_kind(verifier: Verifier, issuer: Issuer, algorithm: str) -> None:
    """The key says what it can check, not the token."""
    assert "not for" in verifier.refusal(issuer.token(headers={"alg": algorithm}), rule(issuer))


REFUSED_HEADERS: list[tuple[str, Any]] = [
    ("crit", ["exp"]), ("crit", ["b64"]), ("crit", []), ("crit", "x"), ("crit", None), ("b64", False), ("b64", True),
    ("jku", "http://127.0.0.1:1/keys"), ("x5u", "http://127.0.0.1:1/x"), ("x5c", ["QQ=="]), ("x5c", []), ("zip", "DEF"),
    ("cty", "JWT"), ("jwk", {"kty": "EC"}), ("jwk", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), REFUSED_HEADERS)
def test_headers_that_bring_keys_or_change_the_rules(
    verifier: Verifier, issuer: Issuer, name: str, value: object
) -> None:
    """They are refused by name, whatever they say and whoever signed, and nothing is fetched."""
    issuer.requests.clear()
    assert name in verifier.refusal(issuer.token(headers={name: value}), rule(issuer))
    assert not issuer.requests


def test_a_token_that_brings_its_key(verifier: Verifier, issuer: Issuer) -> None:
    """A forger's own key in jwk proves nothing, under the issuer's kid or his own."""
    forger = make_key("ES256", issuer.keys[0].kid)
    assert "jwk" in verifier.refusal(issuer.token(key=forger, headers={"jwk": forger.jwk}), rule(issuer))
    assert "signature" in verifier.refusal(issuer.token(key=forger), rule(issuer))


def test_harmless_headers(verifier: Verifier, issuer: Issuer) -> None:
    """GitHub writes x5t, others write what they like."""
    assert verifier.believes(issuer.token(headers={"x5t": "abc", "typ": OMITTED, "custom": [1]}), rule(issuer))


@pytest.mark.parametrize(
    "kid",
    ["other", "", "../../dev/null", "' OR 1=1 --", "key-1\0", " key-1", "KEY-1", "k" * 9000, "http://127.0.0.1:1/", 1,
     ["key-1"], {"kid": "key-1"}, None, True],
)  # fmt: skip
def test_kids(verifier: Verifier, issuer: Issuer, kid: object) -> None:
    """A kid is compared with those of the issuer and used for nothing else."""
    issuer.requests.clear()
    verifier.refusal(issuer.token(headers={"kid": kid}), rule(issuer))
    assert set(issuer.requests.values()) <= {1}


def malformed(token: str) -> dict[str, str]:
    header, claims, signature = token.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(signature[-1]) + 1]  # other bits that are not part of the bytes
    return {
        "empty": "",
        "dots": "..",
        "two parts": f"{header}.{claims}",
        "four parts": f"{token}.",
        "encrypted": f"{header}.{claims}.{signature}.{claims}.{signature}",
        "no signature": f"{header}.{claims}.",
        "no claims": f"{header}..{signature}",
        "padded": f"{token}==",
        "header padded": f"{header}=.{claims}.{signature}",
        "space": f"{token} ",
        "line end": f"{token}\n",
        "line end inside": f"{header}\n.{claims}.{signature}",
        "trailing bits": f"{header}.{claims}.{signature[:-1]}{last}",
        "standard alphabet": f"{header}.{claims}.{signature[:-2]}+/",
        "shortened": token[:-1],
        "prefix": f"Bearer {token}",
        "not ASCII": f"{header}.{claims}.{signature[:-1]}é",
        "long": f"{header}.{claims}.{'A' * 20_000}",
        "zeros": f"{header}.{claims}.{encoded(bytes(64))}",
        "zero r": f"{header}.{claims}.{encoded(bytes(32) + bytes(31) + b'1')}",
        "DER": f"{header}.{claims}.{encoded(encode_dss_signature(5, 7))}",
        "JSON": json.dumps({"payload": claims, "protected": header, "signature": signature}),
    }


@pytest.mark.parametrize("form", malformed("a.b.cA"))
def test_forms(verifier: Verifier, issuer: Issuer, form: str) -> None:
    """There is one way to write a token."""
    verifier.refusal(malformed(issuer.token())[form], rule(issuer))


def test_the_other_signature_of_a_pair(verifier: Verifier, issuer: Issuer) -> None:
    """With r and -s an ECDSA signature is as good: it is the same token, with the same claims."""
    signing_input, _, signature = issuer.token().rpartition(".")
    content = base64.urlsafe_b64decode(signature + "==")
    mirrored = ORDER - int.from_bytes(content[32:])
    token = f"{signing_input}.{encoded(content[:32] + mirrored.to_bytes(32))}"
    assert verifier.verify(token, rule(issuer)) == verifier.verify(f"{signing_input}.{signature}", rule(issuer))


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b'"x"', b"1", b"{", b"{}", b'{"iss": NaN}', b"\xff", b"\xef\xbb\xbf{}", b"[" * 5000,
     b'{"iss": "a", "iss": "b"}', b'{"exp": 1e999}'],
)  # fmt: skip
def test_payloads(verifier: Verifier, issuer: Issuer, payload: bytes) -> None:
    """What is no JSON object with the issuer in it is refused."""
    header = {"alg": "ES256", "kid": issuer.keys[0].kid}
    verifier.refusal(signed(issuer.keys[0], header, payload), rule(issuer))


TIMES: list[tuple[dict[str, object], bool]] = [
    ({"exp": NOW + 1}, True), ({"exp": NOW}, True), ({"exp": NOW - 59}, True), ({"exp": NOW - 60}, False),
    ({"exp": NOW + 0.5}, True), ({"exp": NOW - 60.5}, False), ({"exp": 0}, False), ({"exp": -1}, False),
    ({"exp": 10**20}, False), ({"exp": 10**18}, True), ({"exp": 1e300}, True), ({"exp": str(NOW + 9)}, False),
    ({"exp": float("nan")}, False), ({"exp": float("inf")}, False), ({"exp": True}, False), ({"exp": None}, False),
    ({"exp": [NOW + 9]}, False), ({"exp": OMITTED}, False), ({"iat": OMITTED}, False), ({"iat": None}, False),
    ({"iat": True}, False), ({"iat": "1"}, False), ({"iat": NOW + 60}, True), ({"iat": NOW + 61}, False),
    ({"iat": 0}, True), ({"iat": NOW * 1000}, False), ({"nbf": OMITTED}, True), ({"nbf": NOW + 60}, True),
    ({"nbf": NOW + 61}, False), ({"nbf": None}, False), ({"nbf": "1"}, False), ({"nbf": False}, False),
    ({"nbf": -(10**18)}, True),
]  # fmt: skip


@pytest.mark.parametrize(("claims", "is_believed"), TIMES)
def test_times(verifier: Verifier, issuer: Issuer, claims: dict[str, Any], is_believed: bool) -> None:
    """The claims exp and iat must be there, all are finite numbers, and clocks may differ by a minute."""
    token = issuer.token(**claims)
    if is_believed:
        assert verifier.believes(token, rule(issuer))
    else:
        assert re.search(f"{next(iter(claims))}|expired|range|JSON", verifier.refusal(token, rule(issuer)))


def test_time_is_the_registrys_own(verifier: Verifier, issuer: Issuer) -> None:
    """The same token is refused when the clock has passed its end."""
    token = issuer.token()
    assert verifier.believes(token, rule(issuer))
    verifier.clock.now += 361_000
    assert "expired 61 seconds ago" in verifier.refusal(token, rule(issuer))


AUDIENCES: list[tuple[object, bool]] = [
    ("entrepot", True), (["entrepot"], True), (["entrepot", "other"], False), (["other", "entrepot"], False),
    (["entrepot", "entrepot"], False), ([], False), ("Entrepot", False), ("entrepot/", False), ("entrepo", False),
    ("entrepot.example", False), ("", False), (OMITTED, False), (None, False), (["other"], False),
    ([["entrepot"]], False), ({"entrepot": 1}, False), (1, False),
]  # fmt: skip


@pytest.mark.parametrize(("audience", "is_believed"), AUDIENCES)
def test_audiences(verifier: Verifier, issuer: Issuer, audience: object, is_believed: bool) -> None:
    """A token is for this registry alone, to the letter: one for another service cannot be used here."""
    token = issuer.token(aud=audience)
    if is_believed:
        assert verifier.believes(token, rule(issuer))
    else:
        assert "aud is" in verifier.refusal(token, rule(issuer))


@pytest.mark.parametrize("change", ["/", "x", "?", "#"])
def test_issuers_to_the_letter(verifier: Verifier, issuer: Issuer, change: str) -> None:
    """Another issuer's token is refused and nobody is asked for keys, whatever it claims to be."""
    issuer.requests.clear()
    for name in (issuer.url + change, change + issuer.url, issuer.url.upper(), [issuer.url], None, 1, OMITTED, ""):
        assert "issuer" in verifier.refusal(issuer.token(iss=name), rule(issuer))
    assert "issuer" in verifier.refusal(issuer.token())
    assert not issuer.requests


@pytest.mark.parametrize("subject", ["", "x" * 513, None, 1, ["x"], {"x": 1}, True, OMITTED])
def test_subjects(verifier: Verifier, issuer: Issuer, subject: object) -> None:
    """A subject is text of a sane length: it names the caller in the audit."""
    own = rule(issuer, {"repository": "acme/app"})
    assert "sub" in verifier.refusal(issuer.token(sub=subject, repository="acme/app"), own)
    assert verifier.believes(issuer.token(sub="x" * 512, repository="acme/app"), own)


CLAIMS: list[tuple[str, object, bool]] = [
    ("acme/app", "acme/app", True), ("acme/app", "acme/app2", False), ("acme/app", "ACME/app", False),
    ("acme/*", "acme/app", True), ("acme/*", "acme-evil/app", False), ("acme/*", "acme/app/x", False),
    ("acme/*", "evil/acme/app", False), ("acme/*", "acme/app:x", False), ("repo:org/*", "repo:org/x", True),
    ("repo:org/*", "repo:org-evil/x", False), ("repo:org/*", "repo:org/x:ref:refs/heads/main", False),
    ("repo:org/*:ref:refs/heads/main", "repo:org/x:ref:refs/heads/main", True),
    ("repo:org/*:ref:refs/heads/main", "repo:org/x:pull_request:ref:refs/heads/main", False),
    ("repo:org/**", "repo:org/x:ref:refs/heads/main", True), ("repo:org/**", "repo:org-evil/x:org/", False),
    ("acme/app", ["acme/app"], False), ("1", 1, False), ("1", 1.0, False), ("true", True, False), ("True", True, False),
    ("acme/app", {"acme/app": 1}, False), ("None", None, False), ("null", None, False),
    ("acme/app", "acme/app\n", False), ("acme/app", OMITTED, False), ("a*", "a" * 4000, True),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "value", "is_believed"), CLAIMS)
def test_claims(verifier: Verifier, issuer: Issuer, pattern: str, value: object, is_believed: bool) -> None:
    """A claim is text that matches the whole pattern; a list, a number or a truth value never does."""
    token = issuer.token(repository=value)
    own = rule(issuer, {"repository": pattern})
    if is_believed:
        assert verifier.believes(token, own)
    else:
        assert "repository is" in verifier.refusal(token, own)


def test_every_claim_of_a_rule_counts(verifier: Verifier, issuer: Issuer) -> None:
    """All rules that believe are named, and for a token that none believes the nearest says what it missed."""
    rules = [rule(issuer, {"repository": "acme/app", "ref": ref}) for ref in ("refs/heads/main", "refs/tags/v*")]
    rules += [rule(issuer, {"repository": "acme/*"}), TrustRule.make("https://other.example", "entrepot", {"sub": "x"})]
    token = issuer.token(repository="acme/app", ref="refs/tags/v1")
    assert verifier.verify(token, *rules)[1] == [1, 2]
    wrong = issuer.token(repository="acme/app", ref="refs/heads/x\n" + "y" * 500)
    reason = verifier.refusal(wrong, *rules[:2])
    assert "ref is 'refs/heads/x\\nyyy" in reason
    assert "repository is" not in reason


def test_keys_of_one_rule_prove_nothing_to_another(verifier: Verifier, issuer: Issuer) -> None:
    """A rule with its own keys believes only those, and never asks the issuer; the other rule never takes them."""
    offline = make_key("ES256", "offline")
    rules = [rule(issuer), rule(issuer, keys=json.dumps({"keys": [offline.jwk]}))]
    assert verifier.verify(issuer.token(), *rules)[1] == [0]
    assert verifier.verify(issuer.token(key=offline), *rules)[1] == [1]
    issuer.requests.clear()
    assert verifier.believes(issuer.token(key=offline), rules[1])
    assert "no key" in verifier.refusal(issuer.token(), rules[1])
    assert not issuer.requests
    assert "the keys of the trust rule" in verifier.refusal(issuer.token(), rule(issuer, keys="{}"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_any_text(verifier: Verifier, issuer: Issuer, text: str) -> None:
    """Nothing but a refusal comes of nonsense, in the place of a token or of a part."""
    verifier.refusal(text, rule(issuer))
    header, claims, signature = issuer.token().split(".")
    verifier.refusal(f"{encoded(text.encode('utf-8', 'replace'))}.{claims}.{signature}", rule(issuer))
    assert header


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)
MEMBER = st.none() | st.booleans() | st.integers(-9, 9) | TEXT | st.lists(TEXT, max_size=2)
MEMBERS = st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "key_ops", "d"]),
                          MEMBER | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB", "AA"]))  # fmt: skip


@given(members=MEMBERS)
def test_keys_that_are_none(members: dict[str, object]) -> None:
    """A key that cannot be read is skipped, whatever it is made of, and the others are used."""
    good = make_key().jwk
    found = parse_keys(json.dumps({"keys": [members, good, None, {**good, **members}]}).encode())
    assert {key.kind for key in found.keys} >= {"P-256"}
    with pytest.raises(KeysInvalid):
        parse_keys(json.dumps({"keys": [members]}).encode())
