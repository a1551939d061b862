"""Who may do what in the scenarios with a login: made with the command line beside the running server."""

from dataclasses import dataclass

from tests.access.issuer import Issuer

from .registry import Registry

PASSWORD = "correct horse battery staple"  # noqa: S105 - of a registry that lives for minutes
AUDIENCE = "registry.example"
CI_REPOSITORY = "acme/app"  # of the CI system, in the claims of its id tokens


@dataclass(frozen=True)
class Login:
    name: str
    password: str


@dataclass(frozen=True)
class Accounts:
    """`alice` may do everything in team/**, `reader` pull, `tagger` push tags ci-*, `creator` add tags.

    An id token's bearer may push to acme/app/**, and everyone may pull from public/**.
    """

    alice: Login
    reader: Login
    tagger: Login
    creator: Login
    issuer: Issuer

    def oidc(self) -> Login:
        """With a fresh id token, as a CI job has it."""
        return Login("oidc", self.issuer.token(aud=AUDIENCE, repository=CI_REPOSITORY))


def add_everybody(registry: Registry, issuer: Issuer) -> Accounts:
    alice = Login("alice", PASSWORD)
    registry.command("user", "add", alice.name, "--password-stdin", stdin=PASSWORD)
    registry.command("user", "grant", alice.name, "team/**", "pull,push,delete")
    registry.command("user", "grant", alice.name, "public/**", "pull,push")
    registry.command("user", "grant", alice.name, "acme/**", "pull")
    registry.command("user", "grant", "anonymous", "public/**", "pull")
    rule = ["--issuer", issuer.url, "--audience", AUDIENCE, "--claim", f"repository={CI_REPOSITORY}"]
    registry.command("trust", "add", "ci", *rule, "--repository", "acme/app/**", "--actions", "pull,push")
    registry.log_in(alice.name, alice.password)
    return Accounts(
        alice,
        _add_robot(registry, "reader", "pull"),
        _add_robot(registry, "tagger", "pull,push", "--tags", "ci-*"),
        _add_robot(registry, "creator", "pull,create"),
        issuer,
    )


def _add_robot(registry: Registry, name: str, actions: str, *more: str) -> Login:
    printed = registry.command("robot", "add", name, "--repository", "team/**", "--actions", actions, *more)
    return Login(name, printed.strip())
