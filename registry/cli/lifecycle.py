"""`entrepot lifecycle`: set, list, show, remove, preview, test, run, apply, runs, undo."""

from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.lifecycle_assertions import verify
from registry.cli.lifecycle_files import check_policy, name_file, read_text
from registry.cli.lifecycle_preview import preview
from registry.cli.lifecycle_round import run
from registry.cli.lifecycle_runs import apply, runs, undo
from registry.cli.lifecycle_words import show_share, tell_limits
from registry.cli.names import RepositoryArgument
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import (
    exact_instant,
    print_hint,
    print_json,
    print_table,
    show_count,
    show_instant,
    show_size,
)
from registry.cli.settings import load_config
from registry.identity import Actor
from registry.lifecycle.policy import parse_policy
from registry.lifecycle.preview import Preview
from registry.lifecycle.rules import Policy
from registry.metadata.policies import StoredPolicy
from registry.oci.names import RepositoryName
from registry.oci.strict_json import decode

_PAGE = 1000

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Set, try, run and undo lifecycle policies.")


@app.command("set")
def set_(
    ctx: typer.Context,
    repository: RepositoryArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The policy, in ECR's JSON; - is standard input.")],
    config_file: ConfigFile = None,
) -> None:
    """Give a repository a lifecycle policy, in the place of the one that it has.

    Nothing is removed yet: the next run does that. A policy that ECR takes means
    here what it means there; docs/lifecycle.md has it, and our own keys.

    Examples:
      entrepot lifecycle set acme/app policy.json
      terraform output -raw policy | entrepot lifecycle set acme/app -
    """
    text = read_text(file)
    config, _ = load_config(config_file)
    check_policy(text, name_file(file), is_strict=config.lifecycle_keys == "ecr")

    async def work(registry: Registry, by: Actor) -> tuple[Policy, Preview, bool]:
        policy = await registry.policies.set(repository, text, by)
        has_run = bool(config.lifecycle_hours or await registry.runs.list(None, None, 1))
        return policy, await registry.policies.preview(repository), has_run

    policy, found, has_run = opening.change(ctx, config_file, work)
    tell_limits(found)
    if not has_run:
        print_hint("No run comes by itself: let cron do `entrepot lifecycle run`, or set ENTREPOT_LIFECYCLE_HOURS")
    rules = show_count(len(policy.rules), "rule")
    typer.echo(f"{repository} has a policy of {rules}: {_show_next_run(repository, found)}")


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """List the repositories that have a policy.

    DUE AT is when the policy can have something to do for the next time. What
    changes in the repository makes it due at the next run.

    Examples:
      entrepot lifecycle list
      entrepot lifecycle list --json | jq -r '.policies[].repository'
    """
    found = opening.read(ctx, config_file, _list)
    if as_json:
        print_json({"policies": [_document(each) for each in found]})
        return
    rows = [
        (
            each.repository,
            len(parse_policy(each.text, is_strict=False).rules),
            show_instant(each.set_at),
            each.set_by,
            "-" if each.due_at is None else show_instant(each.due_at),
        )
        for each in found
    ]
    print_table(("REPOSITORY", "RULES", "SET AT", "SET BY", "DUE AT"), rows, numbers=("RULES",))


@app.command()
def show(
    ctx: typer.Context, repository: RepositoryArgument, as_json: AsJson = False, config_file: ConfigFile = None
) -> None:
    """Show a repository's policy, as it was set.

    Who set it and when is told on standard error, and in JSON.

    Examples:
      entrepot lifecycle show acme/app > policy.json
      entrepot lifecycle show acme/app --json | jq -r .set_by
    """
    found = opening.read(ctx, config_file, lambda registry: registry.policies.get(repository))
    if as_json:
        print_json(_document(found))
        return
    print_hint(f"Set at {show_instant(found.set_at)} by {found.set_by}")
    typer.echo(found.text, nl=not found.text.endswith("\n"))


@app.command()
def remove(ctx: typer.Context, repository: RepositoryArgument, config_file: ConfigFile = None) -> None:
    """Take a repository's policy away: no run removes anything there any more.

    What runs have removed can still be brought back: entrepot lifecycle undo.

    Examples:
      entrepot lifecycle remove acme/app
    """
    opening.change(ctx, config_file, lambda registry, by: registry.policies.remove(repository, by))
    typer.echo(f"{repository} has no policy any more")


app.command()(preview)
app.command("test")(verify)
app.command()(run)
app.command()(apply)
app.command()(runs)
app.command()(undo)


async def _list(registry: Registry) -> list[StoredPolicy]:
    found: list[StoredPolicy] = []
    while page := await registry.policies.list_all(found[-1].repository.value if found else "", _PAGE):
        found += page
    return found


def _show_next_run(repository: RepositoryName, found: Preview) -> str:
    if found.is_idle:
        return "the next run would remove nothing"
    share = show_share(found.brake.expired_images, found.brake.expired_tags, found.brake.images)
    freed = show_size(found.freed_bytes)
    return f"the next run would remove {share}, {freed}: entrepot lifecycle preview {repository}"


def _document(found: StoredPolicy) -> dict[str, object]:
    return {
        "repository": found.repository.value,
        "set_at": exact_instant(found.set_at),
        "set_by": found.set_by,
        "due_at": None if found.due_at is None else exact_instant(found.due_at),
        "policy": decode(found.text.encode()),
    }
