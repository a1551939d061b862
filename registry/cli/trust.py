"""`entrepot trust`: add, list, disable, enable, remove."""

import json
from pathlib import Path
from typing import Annotated

import typer

from registry.access.globs import PatternInvalid
from registry.access.trusts import TrustInvalid, TrustRule, parse_claims
from registry.app import Registry
from registry.cli import identities, opening
from registry.cli.invocation import Refused
from registry.cli.names import NameArgument, parse_grants
from registry.cli.options import ActionsOption, AsJson, ConfigFile, RepositoryGlobOption, TagsOption
from registry.cli.output import print_hint, print_json, print_table
from registry.federation import KeysInvalid, parse_keys
from registry.identities import OIDC, Listed
from registry.identity import Actor
from registry.metadata.identities import Kind

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Add, change and list trust rules: CI logs in without a password.",
)


@app.command()
def add(  # noqa: PLR0913 - each is a flag
    ctx: typer.Context,
    name: NameArgument,
    *,
    issuer: Annotated[str, typer.Option(metavar="URL", help="Who signs the id tokens: their iss.")],
    audience: Annotated[str, typer.Option(metavar="TEXT", help="Whom they are made for: their aud, exactly.")],
    claim: Annotated[list[str], typer.Option(metavar="NAME=PATTERN", help="What else they must say; repeat it.")],
    repository: RepositoryGlobOption,
    actions: ActionsOption,
    tags: TagsOption = "",
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The issuer's JWK set, where the registry cannot fetch it."),
    ] = None,
    config_file: ConfigFile = None,
) -> None:
    r"""Believe the id tokens that an issuer makes for a CI job, and say what they may do.

    In a claim's pattern * is any text without / and :, and ** any text. What the
    claims do not narrow down may come from any customer of the issuer.

    Examples:
      entrepot trust add github --audience registry.example \
        --issuer https://token.actions.githubusercontent.com \
        --claim repository=acme/app --claim 'ref=refs/tags/v*' \
        --repository acme/app --actions pull,push
    """
    rule = _parse_rule(issuer, audience, claim, keys)
    grants = parse_grants(repository, actions, tags)

    async def work(registry: Registry, by: Actor) -> str:
        await identities.tell_strangers(registry, lambda: registry.identities.add_trust(name, rule, grants, by))
        return identities.login_line(registry, OIDC)

    login = opening.change(ctx, config_file, work)
    for grant in grants:
        identities.hint_at(grant)
    print_hint(f"To log in with an id token on standard input: {login}")
    typer.echo(f"trust rule {name} is added; whom it believes is granted {identities.show_grants(grants)}")


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """List the trust rules: which tokens they believe, and what those may do.

    KEYS is where the keys that check them come from: the issuer, or a file.

    Examples:
      entrepot trust list
      entrepot trust list --json | jq '.trusts[].claims'
    """
    now, trusts = opening.read(ctx, config_file, _list)
    rules = [TrustRule.from_json(each.identity.rule) for each in trusts]
    if as_json:
        documents = [
            identities.describe(each.identity, now)
            | _describe(rule)
            | {"grants": identities.describe_grants(each.grants)}
            for each, rule in zip(trusts, rules, strict=True)
        ]
        print_json({"trusts": documents})
        return
    rows = [
        (
            each.identity.name,
            rule.issuer,
            rule.audience,
            " ".join(f"{claim}={glob}" for claim, glob in rule.claims),
            "file" if rule.keys else "issuer",
            identities.show_grants(each.grants),
            identities.show_use(each.identity),
            identities.show_state(each.identity, now),
        )
        for each, rule in zip(trusts, rules, strict=True)
    ]
    print_table(("TRUST RULE", "ISSUER", "AUDIENCE", "CLAIMS", "KEYS", "GRANTS", "LAST USED", "STATE"), rows)


@app.command()
def disable(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Believe no token by this rule; those who were let in by it are shut out at once.

    Examples:
      entrepot trust disable github
    """
    identities.disable(ctx, config_file, Kind.TRUST, name)


@app.command()
def enable(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Let a disabled trust rule work again.

    Examples:
      entrepot trust enable github
    """
    identities.enable(ctx, config_file, Kind.TRUST, name)


@app.command()
def remove(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Remove a trust rule with its grants.

    It does not ask: what was pushed by it stays.

    Examples:
      entrepot trust remove github
    """
    identities.remove(ctx, config_file, Kind.TRUST, name)


async def _list(registry: Registry) -> tuple[int, list[Listed]]:
    return registry.clock(), await registry.identities.list_kind(Kind.TRUST)


def _parse_rule(issuer: str, audience: str, claims: list[str], keys: Path | None) -> TrustRule:
    """Raises BadParameter, Refused."""
    try:
        return TrustRule.make(issuer, audience, parse_claims(claims), _read_keys(keys) if keys else "")
    except (TrustInvalid, PatternInvalid) as problem:
        raise typer.BadParameter(str(problem)) from None


def _read_keys(file: Path) -> str:
    """The text of a JWK set. Raises Refused."""
    try:
        content = file.read_bytes()
        found = parse_keys(content)
    except OSError as problem:
        raise Refused(f"{file} cannot be read: {problem.strerror}") from None
    except KeysInvalid as problem:
        raise Refused(f"{file}: {problem}") from None
    text = content.decode()
    if any({"d", "k"} & jwk.keys() for jwk in json.loads(text)["keys"] if isinstance(jwk, dict)):
        raise Refused(
            f"{file} holds a private key: give the issuer's public ones, and replace that key, if it was real"
        )
    for skipped in found.skipped:
        print_hint(f"{file}: {skipped}, so it is not used")
    return text


def _describe(rule: TrustRule) -> dict[str, object]:
    return {
        "issuer": rule.issuer,
        "audience": rule.audience,
        "claims": {name: glob.text for name, glob in rule.claims},
        "keys": "file" if rule.keys else "issuer",
    }
