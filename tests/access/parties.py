"""The callers of the authorization matrix, what each is granted, and the repositories that they try."""

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.access.grants import Grant
from registry.access.trusts import TrustRule
from registry.app import Registry
from registry.identity import Actor
from registry.metadata.identities import Kind
from registry.oci.names import RepositoryName
from tests.access.issuer import make_key, signed
from tests.access.login import OPERATOR, PASSWORD, Header, House, basic, bearer, fresh_address
from tests.api.content import OCI_INDEX, digest_of, index
from tests.api.wire import HOST, SECONDS, Reply, keep_laws
from tests.places import make_config
from tests.stored import read_rows

ADMIN = "root"
SUBJECT = "repo:acme/app:ref:refs/heads/main"
_ISSUER = "https://ci.example"
_AUDIENCE = "registry.example"

# Who has which grant: repositories, actions, tags. `root` is an admin of everything.
GRANTS = {
    "nobody": (),
    "puller": ("acme/*", "pull"),
    "pusher": ("acme/*", "push"),
    "creator": ("acme/*", "create"),
    "deleter": ("acme/*", "pull,delete"),
    "owner": ("acme/*", "admin"),
    "neighbour": ("acme-evil/**", "admin"),
    "disabled": ("acme/*", "pull,push,delete"),
    "expired": ("acme/*", "pull,push,delete"),
    "stale": ("acme/*", "pull,push,delete"),
    "elsewhere": ("acme/*", "pull,push,delete"),
    "robot": ("acme/*", "pull,push", "ci-*"),
    "gone": ("acme/*", "pull,push"),
    "ci": ("acme/*", "pull,push"),
}
ROBOTS = {"robot", "gone"}
# What WWW-Authenticate says of a token that is refused; of nothing and of wrong passwords it says no error.
TOKEN_ERRORS = {
    "stranger": "insufficient_scope",
    "disabled": "invalid_token",
    "expired": "invalid_token",
    "stale": "invalid_token",
    "gone": "invalid_token",
    "elsewhere": "insufficient_scope",
}
BASIC_PARTIES = (
    "nobody", "puller", "pusher", "creator", "deleter", "owner", "neighbour", "root", "disabled", "robot", "gone", "ci",
)  # fmt: skip
PARTIES = ("anonymous", "stranger", *BASIC_PARTIES, "expired", "stale", "elsewhere")

PUBLIC, PRIVATE, EVIL, BARE, DEEP = "public/app", "acme/app-held0", "acme-evil/app", "acme", "acme/app/deep"
VAULT = "vault/box"  # nobody's
NOWHERE = "vault/nil"  # does not exist
SEEDED = (PUBLIC, PRIVATE, EVIL, BARE, DEEP, VAULT)
_NUMBERS = range(40)
COLUMNS = ("public", "private", "missing", "outside", "evil", "bare", "deep")
_NAMES = {"public": PUBLIC, "private": PRIVATE, "evil": EVIL, "bare": BARE, "deep": DEEP}

FIRST = index([], annotations={"is": "first"})  # needs no blob, so it can be pushed to what is missing, too
SECOND = index([], annotations={"is": "second"})
VAULTED = b"only the vault has this"


@dataclass(frozen=True, slots=True)
class Credential:
    """How a party proves who it is."""

    party: str
    way: str  # basic, bearer or none


def credentials_of(party: str) -> tuple[Credential, ...]:
    ways = {"anonymous": ("none",)}.get(party, ("basic", "bearer") if party in BASIC_PARTIES else ("bearer",))
    return tuple(Credential(party, way) for way in ways)


def content_of(name: str) -> bytes:
    """The one blob of a seeded repository."""
    return VAULTED if name == VAULT else f"the blob of {name}".encode()


class World:
    """A registry with all parties and repositories on a connection that stays open."""

    def __init__(self, folder: Path) -> None:
        self.house = House(folder, collector="off")  # what changes is what a request has done, and nothing else
        self._connection = http.client.HTTPConnection(HOST, self.house.port, timeout=SECONDS)
        self._config = make_config(folder)
        self._secrets: dict[str, str] = {}
        self._tokens: dict[tuple[str, str], str] = {}
        self._old: dict[str, str] = {}
        self._made: dict[tuple[str, str], int] = {}
        self.sessions: dict[tuple[str, str], str] = {}

    def close(self) -> None:
        self._connection.close()
        self.house.stop()

    def populate(self) -> None:
        """Some tokens are had long ago, some before the private repository was deleted and made again."""
        house = self.house
        for name in ("root", "tenant"):
            house.add_user(name=name, is_admin=True)
        for name in SEEDED:
            self.seed(name)
        house.grant("anonymous", "public/**", "pull")
        for party, grant in GRANTS.items():
            self._introduce(party, grant)
        self._take_tokens("expired")
        house.clock.now += 3_600_000
        self._add_robot("gone", house.clock.now + 1)
        for party in ("stale", "disabled", "gone"):
            self._take_tokens(party)
        house.do(lambda registry: registry.identities.set_disabled(Kind.USER, "disabled", OPERATOR, is_disabled=True))
        house.clock.now += 1
        house.do(lambda registry: registry.repositories.delete(RepositoryName(PRIVATE), OPERATOR))
        house.clock.now += 1
        self.seed(PRIVATE, "tenant")

    def name(self, column: str, party: str) -> str:
        """Of what is missing each party has a name of its own, and the next one when the name came to be."""
        if column in _NAMES:
            return _NAMES[column]
        number = self._made.get((column, party), 0)
        return self._numbered(column, party, number)

    def came_to_be(self, column: str, party: str) -> None:
        self._made[column, party] = self._made.get((column, party), 0) + 1

    def headers(self, credential: Credential, *names: str) -> tuple[Header, ...]:
        """For a request about the first of the repositories; the others are sources, to be pulled from."""
        if credential.way == "none":
            return ()
        if credential.way == "basic":
            return (basic(*self.login(credential.party)),)
        return (bearer(self.token(credential.party, *names)),)

    def token(self, party: str, *names: str) -> str:
        """Asked for with everything that docker's clients ask for."""
        if party in self._old:
            return self._old[party]
        key = (party, " ".join(names))
        if key not in self._tokens:
            self._tokens[key] = self._ask(party, *names)
        return self._tokens[key]

    def call(self, method: str, path: str, *headers: Header, body: bytes = b"") -> Reply:
        """A request from an address of its own, so that no failure of another party counts."""
        sent = [("X-Forwarded-Proto", "http"), fresh_address(), *headers]
        self._connection.putrequest(method, path, skip_accept_encoding=True)
        for header, value in sent:
            self._connection.putheader(header, value)
        if body or method in {"POST", "PUT", "PATCH"}:
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body or None)
        response = self._connection.getresponse()
        reply = Reply(response.status, tuple(response.getheaders()), response.read())
        keep_laws(method, reply)
        return reply

    def as_admin(self, method: str, path: str, *headers: Header, body: bytes = b"", by: str = ADMIN) -> Reply:
        reply = self.call(method, path, basic(by), *headers, body=body)
        assert reply.status < 300, reply
        return reply

    def seed(self, name: str, by: str = ADMIN) -> None:
        """Two manifests, of which the first has the tags v1 and ci-1, the second v2; and a blob."""
        blob = content_of(name)
        self.as_admin("POST", f"/v2/{name}/blobs/uploads/?digest={digest_of(blob)}", body=blob, by=by)
        for manifest, tags in ((FIRST, ("v1", "ci-1")), (SECOND, ("v2",))):
            query = "&".join(f"tag={tag}" for tag in tags)
            path = f"/v2/{name}/manifests/{digest_of(manifest)}?{query}"
            self.as_admin("PUT", path, ("Content-Type", OCI_INDEX), body=manifest, by=by)

    def session(self, owner: str, repository: str) -> str:
        """An upload session of `owner`, where it may be unable to begin one itself; the same until it is forgotten."""
        if (owner, repository) not in self.sessions:
            actor = Actor(self.actor(owner))
            begun = self.house.do(lambda registry: registry.uploads.start(RepositoryName(repository), "sha256", actor))
            self.sessions[owner, repository] = begun.id
        return self.sessions[owner, repository]

    def actor(self, party: str) -> str:
        """As the registry names the party."""
        if party in {"anonymous", "stranger"}:
            return "anonymous"
        if party == "ci":
            return f"trust:ci/{SUBJECT}"
        return f"robot:{party}" if party in ROBOTS else party

    def state(self) -> tuple[object, ...]:
        """Everything that a refused request must leave as it is."""
        return (*read_rows(self._config, _STATE)[0], len(self.house.uploads_left()))

    def _introduce(self, party: str, grant: tuple[str, ...]) -> None:
        if party == "ci":
            self._federate(Grant.parse(*grant))
        elif party == "robot":
            self._add_robot(party, None)
        elif party not in ROBOTS:
            self.house.add_user(*([grant] if grant else []), name=party)

    def _add_robot(self, name: str, expires_at: int | None) -> None:
        grant = Grant.parse(*GRANTS[name])

        async def add(registry: Registry) -> str:
            return await registry.identities.add_robot(name, [grant], expires_at, OPERATOR)

        self._secrets[name] = self.house.do(add)

    def _federate(self, grant: Grant) -> None:
        key = make_key()
        rule = TrustRule.make(_ISSUER, _AUDIENCE, {"sub": "repo:acme/*:ref:**"}, json.dumps({"keys": [key.jwk]}))
        self.house.do(lambda registry: registry.identities.add_trust("ci", rule, [grant], OPERATOR))
        now = self.house.clock.now // 1000
        claims: dict[str, Any] = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": SUBJECT, "iat": now, "exp": now + 100_000}
        self._secrets["ci"] = signed(key, {"alg": key.algorithm, "kid": key.kid}, json.dumps(claims).encode())

    def _take_tokens(self, party: str) -> None:
        """One token for everything that the party will ever try, because it can have none later."""
        numbered = [self._numbered(column, party, number) for column in ("missing", "outside") for number in _NUMBERS]
        names = [*_NAMES.values(), *numbered, VAULT, NOWHERE]
        self._old[party] = self._ask(party, *names)

    def _numbered(self, column: str, party: str, number: int) -> str:
        return f"{'acme' if column == 'missing' else 'else'}/app-{PARTIES.index(party):02}{number:03}"

    def login(self, party: str) -> tuple[str, str]:
        login = "oidc" if party == "ci" else party
        return (login, self._secrets.get(party, PASSWORD))

    def _ask(self, party: str, *names: str) -> str:
        headers = () if party == "stranger" else (basic(*self.login(party)), fresh_address())
        asked = ("acme/other",) if party == "elsewhere" else names
        scopes = [f"repository:{name}:pull,push,delete" for name in asked]
        reply = self.house.ask(*scopes, *([] if party == "elsewhere" else ["registry:catalog:*"]), headers=headers)
        assert reply.status == 200, (party, reply)
        return str(reply.json["token"])


# The audit log's own rows of refusals are no change.
_STATE = (
    "SELECT (SELECT count(*) FROM tag WHERE valid_to IS NULL), (SELECT count(*) FROM tag),"
    " (SELECT count(*) FROM manifest WHERE deleted_at IS NULL), (SELECT count(*) FROM blob),"
    " (SELECT count(*) FROM repository_blob WHERE deleted_at IS NULL), (SELECT count(*) FROM repository),"
    " (SELECT count(*) FROM upload), (SELECT sum(byte_offset) FROM upload), (SELECT count(writer) FROM upload),"
    " (SELECT max(expires_at) FROM upload), (SELECT count(*) FROM review),"
    " (SELECT sequence FROM change WHERE action NOT IN ('access.deny', 'login.fail') ORDER BY sequence DESC LIMIT 1)"
)
