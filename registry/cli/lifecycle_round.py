"""`entrepot lifecycle run`: one round over the policies that are due."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Generic, TypeVar

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.lifecycle_words import describe_run, progressing, show_effect, show_removed, show_run
from registry.cli.names import RepositoryOption
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import print_hint, print_json, show_count, show_size
from registry.errors import NameUnknown, RegistryError
from registry.identity import Actor
from registry.lifecycle.preview import Preview
from registry.lifecycle.refusals import LifecycleRefused, PolicyUnknown
from registry.lifecycle.schema import PolicyInvalid
from registry.metadata.runs import Run, Status
from registry.oci.names import RepositoryName

T = TypeVar("T")


@dataclass(slots=True)
class _Round(Generic[T]):
    """How many repositories were looked at, what came of those with something to do, and what failed where."""

    looked: int = 0
    found: list[T] = field(default_factory=list)
    failed: list[tuple[RepositoryName, str]] = field(default_factory=list)


def run(
    ctx: typer.Context,
    repository: RepositoryOption = None,
    is_dry: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed: preview says it of every image.")
    ] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Remove what the policies say, in every repository whose policy is due, or in one.

    Each repository's plan is stored as a run and then applied image by image:
    what was pushed or changed after the plan survives. A plan that would remove
    more of a repository than ENTREPOT_BRAKE_PERCENT is stopped, and the others go
    on. What was removed can be brought back while its undelete window lasts.

    It is made for cron: it works beside the server and beside itself, its last
    line sums up, and its exit status is 1 when something was stopped or failed.

    Examples:
      entrepot lifecycle run
      entrepot lifecycle run --repository acme/app --dry-run
      entrepot lifecycle run --json | jq .freed_bytes
    """
    if is_dry:
        forecast = opening.change(ctx, config_file, lambda registry, _by: _forecast(registry, repository))
        (_print_forecast_json if as_json else _print_forecast)(forecast)
        failed = forecast.failed
        is_stopped = False
    else:
        done = opening.change(ctx, config_file, lambda registry, by: _run(registry, repository, by))
        (_print_json if as_json else _print)(done)
        failed = done.failed
        is_stopped = any(map(_is_stopped, done.found))
    for name, problem in failed:
        print_hint(f"{name}: {problem}")
    if failed or is_stopped:
        raise typer.Exit(1)


async def _run(registry: Registry, repository: RepositoryName | None, by: Actor) -> _Round[Run]:
    with progressing() as watch:

        async def work(name: RepositoryName) -> Run | None:
            return await registry.runs.run(name, by, watch(f"Removing images of {name}"))

        return await _go_round(registry, repository, work)


async def _forecast(registry: Registry, repository: RepositoryName | None) -> _Round[Preview]:
    async def work(name: RepositoryName) -> Preview | None:
        found = await registry.runs.plan(name)
        return None if found.is_idle else found

    return await _go_round(registry, repository, work)


async def _go_round(
    registry: Registry, repository: RepositoryName | None, work: Callable[[RepositoryName], Awaitable[T | None]]
) -> _Round[T]:
    """One repository's problem does not end the round."""
    done = _Round[T]()
    for name in await registry.runs.due(repository):
        done.looked += 1
        try:
            found = await work(name)
        except (NameUnknown, PolicyUnknown):
            continue  # somebody has deleted it since it was listed
        except (RegistryError, LifecycleRefused, PolicyInvalid) as problem:
            done.failed.append((name, str(problem)))
            continue
        if found is not None:
            done.found.append(found)
    return done


def _print(done: _Round[Run]) -> None:
    for each in done.found:
        typer.echo(show_run(each))
    stopped = [each.id for each in done.found if _is_stopped(each)]
    for number in stopped:
        print_hint(f"The brake has stopped run {number}. If it is meant: entrepot lifecycle apply {number}")
    tallies = [each.tally for each in done.found]
    removed = show_removed(sum(tally.images for tally in tallies), sum(tally.tags for tally in tallies))
    freed = show_size(sum(tally.bytes for tally in tallies))
    parts = [f"{_show_policies(done.looked)} looked at: {removed} removed, {freed} to become free"]
    if stopped:
        parts.append(f"{show_count(len(stopped), 'run')} stopped by the brake")
    if done.failed:
        parts.append(f"{len(done.failed)} failed")
    typer.echo("; ".join(parts))


def _is_stopped(run: Run) -> bool:
    return run.status is Status.STOPPED


def _print_json(done: _Round[Run]) -> None:
    tallies = [each.tally for each in done.found]
    print_json(
        {
            "policies": done.looked,
            "removed_images": sum(tally.images for tally in tallies),
            "removed_tags": sum(tally.tags for tally in tallies),
            "freed_bytes": sum(tally.bytes for tally in tallies),
            "stopped": [each.id for each in done.found if _is_stopped(each)],
            "runs": [describe_run(each) for each in done.found],
            "failed": _describe_failures(done.failed),
        }
    )


def _print_forecast(done: _Round[Preview]) -> None:
    for each in done.found:
        stop = "; the brake would stop it" if each.brake.is_on else ""
        typer.echo(f"{each.repository}: {show_effect(each)}{stop}")
    removed = show_removed(
        sum(each.brake.expired_images for each in done.found), sum(each.brake.expired_tags for each in done.found)
    )
    freed = show_size(sum(each.freed_bytes for each in done.found))
    typer.echo(f"{_show_policies(done.looked)} looked at: {removed} would be removed, {freed} would become free")


def _print_forecast_json(done: _Round[Preview]) -> None:
    plans = [
        {
            "repository": each.repository.value,
            "images": each.brake.images,
            "expired_images": each.brake.expired_images,
            "expired_tags": each.brake.expired_tags,
            "freed_bytes": each.freed_bytes,
            "undelete_days": each.undelete_days,
            "would_stop": each.brake.is_on,
        }
        for each in done.found
    ]
    print_json({"policies": done.looked, "plans": plans, "failed": _describe_failures(done.failed)})


def _describe_failures(failed: list[tuple[RepositoryName, str]]) -> list[dict[str, str]]:
    return [{"repository": name.value, "problem": problem} for name, problem in failed]


def _show_policies(number: int) -> str:
    """How many of those that were due."""
    return "1 policy" if number == 1 else f"{number} policies"
