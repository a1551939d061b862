"""Holes that others had, each tried here: published vulnerabilities of registries, over HTTP."""

import ast
import json
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry.access.grants import Grant
from tests.access.forging import encode, write
from tests.access.login import ADMIN, OPERATOR, PASSWORD, House, OwnRepository, basic, bearer, claims_of, fresh_user
from tests.api.content import OCI_MANIFEST, digest_of
from tests.api.wire import Connection, Reply

REGISTRY = Path(__file__).parents[2] / "registry"


def own(house: House, name: str = ADMIN, space: str = "private") -> OwnRepository:
    return OwnRepository(house, basic(name), f"{space}/{fresh_user()}")


def add_robot(house: House, name: str, grant: Grant) -> str:
    return house.do(lambda registry: registry.identities.add_robot(name, [grant], None, OPERATOR))


def same(*replies: Reply) -> bool:
    """Whether nobody can tell the answers apart, but for ids and the name that was asked for."""
    told = {"date", "x-request-id"}
    shown = {(reply.status, tuple((n, v) for n, v in reply.headers if n not in told), reply.code) for reply in replies}
    return len(shown) == 1


def test_blobs_of_others(house: House) -> None:
    """CVE-2024-39897, OpenShift #9819, CVE-2026-28740: to know a digest gives no right to it, in no way."""
    secret = own(house)
    blob, manifest = secret.push_blob(), secret.push_image("v1")
    name = house.add_user(("mine/*", "pull,push"))
    mine = own(house, name, "mine")
    mine.push_image("v1")
    random = digest_of(fresh_user().encode())
    for method in ("GET", "HEAD"):
        for kind, digest in (
            ("blobs", digest_of(blob)),
            ("manifests", digest_of(manifest)),
            ("blobs", digest_of(manifest)),
        ):
            assert same(mine.call(method, f"{kind}/{digest}"), mine.call(method, f"{kind}/{random}"))
    for query in ("mount={}", "mount={}&from=" + secret.name, "mount={}&from=" + mine.name):
        replies = [mine.call("POST", f"blobs/uploads/?{query.format(digest)}") for digest in (digest_of(blob), random)]
        assert [reply.status for reply in replies] == [202, 202]
    assert mine.call("GET", f"blobs/{digest_of(blob)}").status == 404
    for content in (manifest, json.dumps(json.loads(manifest) | {"annotations": {"a": "b"}}).encode()):
        assert mine.put("stolen", content).status == 404
    mine.push_blob(blob)  # who has the bytes may have them
    assert mine.call("GET", f"blobs/{digest_of(blob)}").body == blob
    assert mine.call("DELETE", f"blobs/{digest_of(blob)}").status == 403


@pytest.mark.input(113)
@pytest.mark.parametrize("tag", ["latest", "v1", "1", "Latest", "_", "x" * 128])
def test_create_moves_no_tag(house: House, tag: str) -> None:
    """CVE-2026-31801, zot #4266: whoever may only create moves no tag, `latest` is no exception, nor is `?tag=`."""
    owner = own(house, space="created")
    first = owner.push_image(tag)
    name = house.add_user(("created/*", "pull,create"))
    for header in (basic(name), bearer(house.log_in(name, f"repository:{owner.name}:pull,push"))):
        creator = OwnRepository(house, header, owner.name)
        second = creator.push_image("", annotations={"n": fresh_user()})
        digest = digest_of(second)
        replies = [
            creator.put(tag, second),
            creator.put(f"{digest}?tag={tag}", second),
            creator.put(f"{digest}?tag=new-{fresh_user()}&tag={tag}", second),
            creator.put(f"new-{fresh_user()}?tag={tag}", second),
        ]
        assert [(reply.status, reply.code) for reply in replies[:3]] == [(403, "DENIED")] * 3
        assert replies[3].status in {400, 403}
        assert owner.call("GET", f"manifests/{tag}").body == first
        assert not [found for found in owner.tags() if found.startswith("new-")], "all or nothing"
        assert creator.put(tag, first).status == 201  # where it points already
        assert creator.call("DELETE", f"manifests/{tag}").status in {401, 403}
        assert creator.put(f"fresh-{fresh_user()}", second).status == 201


SPELLINGS = [
    "/v2/_catalog", "/v2/_catalog/", "//v2/_catalog", "/v2//_catalog", "/v2/%5fcatalog", "/v2/_Catalog",
    "/V2/_catalog", "/v2/_catalog%2f", "/v2/_catalog%00", "/v2/./_catalog", "/v2/x/../_catalog", "/v2/_catalog;x",
    "/v2/_catalog?n=1", "/v2/_catalog?n=1&last=", "/v2/_catalog#x", "/v2/_catalog.json", "/v2/_catalog%20",
    "/v2/_catalog\\", "/v2%2f_catalog", "/api/v2/_catalog", "/v1/_catalog", "/v2/_catalog/_catalog",
    "/v2/%2e/_catalog", "/c/v2/_catalog", "/service/token", "/v2/_catalog?access_token=x",
]  # fmt: skip


@pytest.mark.parametrize("path", SPELLINGS)
def test_spellings_of_the_catalog(house: House, path: str) -> None:
    """CVE-2020-29662, CVE-2021-46270: no spelling shows a stranger names, or a user names that it may not pull."""
    secret = own(house)
    secret.push_blob()
    name = house.add_user(("mine/*", "pull"), ("blind/*", "push"))
    for headers in ((), (basic(name),), (bearer(house.log_in(name, "registry:catalog:*")),)):
        with Connection(house.port) as connection:
            lines = "".join(f"{key}: {value}\r\n" for key, value in headers)
            connection.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.9.9.9\r\n{lines}\r\n".encode())
            reply = connection.read()
        assert reply.status in ({400, 401, 404} if not headers else {200, 400, 401, 404})
        assert b"private/" not in reply.body


@pytest.mark.input(77)
def test_sessions_of_others(house: House) -> None:
    """CVE-2026-32589: an upload session is its owner's and its repository's, for everybody else it does not exist."""
    owner, other = house.add_user(("acme/*", "pull,push")), house.add_user(("acme/*", "admin"), ("mine/*", "push"))
    theirs = own(house, owner, "acme")
    location = theirs.start()
    session = location.rpartition("/")[2]
    assert house.call("PATCH", location, basic(owner), body=b"abc").status == 202
    closing = f"?digest={digest_of(b'abc')}"
    for who in (other, ADMIN):
        for repository in (theirs.name, f"mine/{fresh_user()}" if who == other else "mine/app"):
            path = f"/v2/{repository}/blobs/uploads/{session}"
            for method, query in (("GET", ""), ("HEAD", ""), ("PATCH", ""), ("DELETE", ""), ("PUT", closing)):
                body = b"evil" if method == "PATCH" else b""
                reply = house.call(method, path + query, basic(who), body=body)
                assert (reply.status, reply.code) == (404, "" if method == "HEAD" else "BLOB_UPLOAD_UNKNOWN")
    assert house.call("GET", location, basic(owner))["Range"] == "0-2"
    assert house.call("PUT", location + closing, basic(owner)).status == 201


@pytest.mark.parametrize("length", [72, 73, 100, 1024])
def test_prefixes_of_passwords(house: House, length: int) -> None:
    """CVE-2024-9683: no beginning of a password opens what the whole one does, however long it is."""
    name, password = fresh_user(), ("0123456789" * 103)[:length]
    house.do(lambda registry: registry.identities.add_user(name, password, OPERATOR))
    assert house.call("GET", "/v2/", basic(name, password)).status == 200
    for wrong in (password[:72], password[:-1], password + "x", password[:8]):
        assert (wrong == password) == (house.call("GET", "/v2/", basic(name, wrong)).status == 200)


def test_a_token_with_its_own_key(house: House) -> None:
    """CVE-2025-24976: a key that the token brings along is not looked at, though it has the name of ours."""
    token = house.log_in(house.add_user(("acme/*", "pull")), "repository:acme/app:pull")
    header, payload, _ = token.split(".")
    kid = house.call("GET", "/.well-known/jwks.json").json["keys"][0]["kid"]
    key = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(key.public_key().public_bytes_raw())}
    honest = {"alg": "EdDSA", "kid": kid, "typ": "entrepot+jwt"}
    admin = write(claims_of(token) | {"ids": [[2, 0]], "sub": ADMIN})
    for more in (
        {},
        {"jwk": jwk},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example"},
        {"x5c": ["x"]},
    ):
        for content in (payload, encode(admin)):
            signed = f"{encode(write(honest | more))}.{content}"
            forged = f"{signed}.{encode(key.sign(signed.encode()))}"
            reply = house.call("GET", "/v2/acme/app/tags/list", bearer(forged))
            assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    assert house.call("GET", "/v2/acme/app/tags/list", bearer(f"{header}.{payload}.")).status == 401


ADDRESSES = ["127.0.0.1", "::1", "localhost", "10.0.0.1, 127.0.0.1", "127.0.0.1, 127.0.0.1"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_is_a_right(house: House, address: str) -> None:
    """CVE-2019-9733, CVE-2026-20896: no header makes a stranger local, or somebody."""
    headers = [
        ("X-Forwarded-For", address), ("X-Real-IP", address), ("X-WEBAUTH-USER", ADMIN), ("X-Remote-User", ADMIN),
        ("X-Forwarded-User", ADMIN), ("Remote-User", ADMIN), ("X-Original-URL", "/healthz"),
    ]  # fmt: skip
    for path in ("/v2/", "/v2/_catalog", "/v2/acme/app/tags/list"):
        assert house.call("GET", path, *headers).status == 401
    assert house.call("GET", "/metrics", *headers).status == 403


def test_every_way_to_a_private_image(house: House) -> None:
    """CVE-2026-27771, CVE-2021-34553: strangers and users without a grant read nothing of it, by no route."""
    secret = own(house)
    manifest = secret.push_image("v1")
    blob = json.loads(manifest)["layers"][0]["digest"]
    digest = digest_of(manifest)
    name = house.add_user(("public/*", "pull"))
    paths = [
        "tags/list", "manifests/v1", f"manifests/{digest}", f"blobs/{blob}", f"referrers/{digest}", "manifests/v2",
        f"blobs/{digest}",
    ]  # fmt: skip
    for path in paths:
        for method in ("GET", "HEAD"):
            missing = OwnRepository(house, basic(name), f"private/{'x' * len(secret.name.partition('/')[2])}")
            hidden = OwnRepository(house, basic(name), secret.name)
            assert house.call(method, f"/v2/{secret.name}/{path}").status == 401
            assert same(hidden.call(method, path), missing.call(method, path))
            assert hidden.call(method, path).status == 404


def test_no_right_by_a_name(house: House) -> None:
    """Harbor #23675: no name of a robot or user, and no beginning of one, is anything special."""
    grant = Grant.parse("mine/*", "pull")
    for prefix in ("root-", "admin-", "entrepot-", "scanner-", "system-", "robot.", "trust-", "cli-", "anonymous-"):
        name = prefix + fresh_user()
        secret = add_robot(house, name, grant)
        assert house.call("GET", "/v2/other/app/manifests/x", basic(name, secret)).code == "NAME_UNKNOWN"
        assert house.call("GET", "/v2/mine/app/manifests/x", basic(name, secret)).code == "MANIFEST_UNKNOWN"
    for name in (ADMIN.upper(), f"{ADMIN} ", f" {ADMIN}", f"{ADMIN}\u200b", "\uff52oot", f"user:{ADMIN}", f"{ADMIN}/x"):
        assert house.call("GET", "/v2/", basic(name)).status == 401


def test_prefixes_of_names(house: House) -> None:
    """A grant on acme is none on acme-evil, acme/x/y or acme."""
    name = house.add_user(("acme/*", "admin"), ("solo", "admin"))
    token_scopes = [f"repository:{other}:pull" for other in ("acme-evil/app", "acme/a/b", "acme", "solo/app", "solo2")]
    token = house.log_in(name, *token_scopes)
    assert claims_of(token)["access"] == []
    for other in ("acme-evil/app", "acme/a/b", "acme", "solo/app", "solo2", "acmesolo", "sol"):
        for header in (basic(name), bearer(token)):
            assert house.call("GET", f"/v2/{other}/manifests/x", header).status in {401, 404}
        assert house.call("GET", f"/v2/{other}/manifests/x", basic(name)).code == "NAME_UNKNOWN"


def test_unknown_user_and_wrong_password(house: House) -> None:
    """CVE-2025-69413: nobody learns who exists: the same body, the same headers and about the same time."""
    known, disabled = house.add_user(), house.add_user()
    robot = fresh_user()
    house.do(lambda registry: registry.identities.add_robot(robot, [Grant.parse("a", "pull")], None, OPERATOR))
    names = {"known": known, "unknown": fresh_user(), "robot": robot, "trust": "ci", "anonymous": "anonymous"}
    replies = [house.call("GET", "/v2/", basic(name, "wrong password")) for name in [*names.values(), disabled]]
    assert same(*replies)
    assert len({reply.body for reply in replies}) == 1
    posts = [
        house.post(grant_type="password", username=name, password="wrong", service=house.service)  # noqa: S106
        for name in names.values()
    ]
    assert same(*posts)
    assert len({reply.body for reply in posts}) == 1
    seconds: dict[str, list[float]] = {title: [] for title in names}
    for _ in range(9):
        for title, name in names.items():
            begun = time.perf_counter()
            house.call("GET", "/v2/", basic(name, "wrong password"))
            seconds[title].append(time.perf_counter() - begun)
    least = {title: min(found) for title, found in seconds.items()}
    assert max(least.values()) < 2 * min(least.values()), least


def test_no_default_credentials(house: House) -> None:
    """CVE-2026-4404, CVE-2019-9629: nothing that vendors ship opens anything."""
    for name in ("admin", ADMIN, "entrepot", "anonymous"):
        for password in ("admin", "Harbor12345", "password", "admin123", name):
            assert house.call("GET", "/v2/", basic(name, password)).status == 401


def test_strict_forms(house: House) -> None:
    """CVE-2019-16097: what a client adds to its login makes it nothing else."""
    name = house.add_user()
    more = {"is_admin": "true", "has_admin_role": "true", "sub": ADMIN, "ids": "1", "access": "*", "role": "admin"}
    form = {"grant_type": "password", "username": name, "password": PASSWORD, "service": house.service}
    reply = house.post(**form, scope="repository:acme/app:*", **more)
    assert claims_of(reply.json["token"])["access"] == []
    assert claims_of(reply.json["token"])["sub"] == name
    assert house.post(**form | {"username": ADMIN}).status == 200
    body = f"username={ADMIN}&username={name}&grant_type=password&password=x&service={house.service}".encode()
    assert house.call("POST", "/token", ("Content-Type", "application/x-www-form-urlencoded"), body=body).status == 400


def test_secrets_are_compared_in_constant_time() -> None:
    """CVE-2023-20902: where names say that it is about a secret, `==` is not used, and compare_digest is."""
    suspicious = {"secret", "password", "token", "digest_of_secret", "hashed", "signature"}
    found = []
    for path in REGISTRY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                names = {getattr(one, "id", getattr(one, "attr", "")) for one in (node.left, *node.comparators)}
                found += [f"{path.name}:{node.lineno}"] if names & suspicious else []
    # Two hashes from the database, not what a client sent.
    assert [one for one in found if not one.startswith("auth.py:")] == []
    assert len(found) <= 1, found
    assert "compare_digest" in (REGISTRY / "passwords.py").read_text()


def test_manifests_by_push_only(house: House) -> None:
    """GitLab #426887, CVE-2025-68944: a right that was not given is missing by Basic, by token and by Range alike."""
    owner = own(house, space="writeonly")
    content = owner.push_image("v1")
    name = house.add_user(("writeonly/*", "push"))
    for header in (basic(name), bearer(house.log_in(name, f"repository:{owner.name}:pull,push"))):
        blind = OwnRepository(house, header, owner.name)
        for path in ("manifests/v1", f"manifests/{digest_of(content)}", "tags/list", f"blobs/{digest_of(content)}"):
            assert blind.call("GET", path).status in {401, 403}
            assert blind.call("GET", path, ("Range", "bytes=0-1")).status in {401, 403}
        assert blind.call("PUT", "manifests/v2", ("Content-Type", OCI_MANIFEST), body=content).status == 201
