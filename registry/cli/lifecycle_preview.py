"""`entrepot lifecycle preview`: what becomes of every image, and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.instants import AT, Moment, parse_future
from registry.cli.lifecycle_files import check_policy, has_transitions, name_file, read_text
from registry.cli.lifecycle_hints import tell_idle_rules
from registry.cli.lifecycle_words import Fate, describe_fates, list_fates, show_age, show_effect, tell_limits
from registry.cli.names import RepositoryArgument
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import exact_instant, print_hint, print_json, print_table, show_count, show_instant, show_size
from registry.cli.settings import load_config
from registry.lifecycle.policy import parse_policy
from registry.lifecycle.preview import Preview
from registry.oci.names import RepositoryName


@dataclass(frozen=True, slots=True)
class _Question:
    """`text` is another policy than the stored one, from `file`; `moment` another instant than now."""

    repository: RepositoryName
    file: str | None
    text: str | None
    moment: Moment | None

    def show_policy(self, found: Preview) -> str:
        """What was asked, and about when unless it is now."""
        policy = "the stored policy" if self.text is None else name_file(self.file or "")
        return policy if self.moment is None else f"{policy}, at {show_instant(found.at)}"


def preview(  # noqa: PLR0913 - each is a flag
    ctx: typer.Context,
    repository: RepositoryArgument,
    *,
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="FILE", help="Ask this policy, and store nothing; - is stdin.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="WHEN", help="Ask about then: 2027-01-01, or 30d from now.")
    ] = None,
    is_diff: Annotated[
        bool, typer.Option("--diff", help="Only what --policy decides otherwise than the stored policy.")
    ] = False,
    is_short: Annotated[bool, typer.Option("--expired", help="Only what would go.")] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Show what a policy says of every image, by which rule and why, and change nothing.

    The first rows are those that go, in their order. FREED is what becomes free
    with an image, after those above it, once the undelete window has passed. A
    tag that goes while its image stays is untagged. Transitions are shown, never
    applied: there is no archive to move to.

    Examples:
      entrepot lifecycle preview acme/app
      entrepot lifecycle preview acme/app --at 2027-01-01 --expired
      entrepot lifecycle preview acme/app --policy new.json --diff
      entrepot lifecycle preview acme/app --json | jq .freed_bytes
    """
    if is_diff and policy is None:
        raise typer.BadParameter("it compares the stored policy with another one: --policy FILE", param_hint="'--diff'")
    moment = None if at is None else parse_future(at)
    question = _Question(repository, policy, _read_policy(policy, config_file), moment)
    if is_diff:
        stored, new = opening.read(ctx, config_file, lambda registry: _compare(registry, question))
        (_print_differences_json if as_json else _print_differences)(stored, new, question)
        return
    found = opening.read(ctx, config_file, lambda registry: _ask(registry, question))
    fates = [fate for fate in list_fates(found) if fate.goes or not is_short]
    if as_json:
        print_json(_document(found, fates, question))
        return
    _print_fates(fates)
    typer.echo(f"{question.show_policy(found)}: {show_effect(found)}")
    tell_limits(found)


def _read_policy(file: str | None, config_file: ConfigFile) -> str | None:
    """Raises Refused for what is no policy."""
    if file is None:
        return None
    text = read_text(file)
    config, _ = load_config(config_file)
    check_policy(text, name_file(file), is_strict=config.lifecycle_keys == "ecr")
    return text


async def _ask(registry: Registry, question: _Question) -> Preview:
    at = _resolve(question.moment, registry.clock())
    return await registry.policies.preview(question.repository, text=question.text, at=at)


async def _compare(registry: Registry, question: _Question) -> tuple[Preview, Preview]:
    """By the stored policy and by the other one, at one instant."""
    at = _resolve(question.moment, registry.clock())
    stored = await registry.policies.preview(question.repository, at=at)
    return stored, await registry.policies.preview(question.repository, text=question.text, at=at)


def _resolve(moment: Moment | None, now: int) -> int:
    """Raises BadParameter for what is past."""
    if moment is None:
        return now
    at = (moment.milliseconds or 0) + now * moment.is_relative
    if at < now:
        raise typer.BadParameter(
            f"{show_instant(at)} has gone: a preview shows what comes, `entrepot lifecycle runs` what was done",
            param_hint=AT,
        )
    return at


def _print_fates(fates: Iterable[Fate]) -> None:
    rows = [
        (fate.word, fate.shown, show_age(fate.age), fate.rule or "-", show_size(fate.freed) if fate.goes else "-",
         fate.reason)
        for fate in fates
    ]  # fmt: skip
    if rows:
        columns = ("VERDICT", "IMAGE", "AGE", "RULE", "FREED", "REASON")
        print_table(columns, rows, numbers=("AGE", "RULE", "FREED"))


def _document(found: Preview, fates: Iterable[Fate], question: _Question) -> dict[str, object]:
    brake = found.brake
    return {
        "repository": found.repository.value,
        "policy": None if question.file is None else name_file(question.file),
        "at": exact_instant(found.at),
        "images": brake.images,
        "expired_images": brake.expired_images,
        "expired_tags": brake.expired_tags,
        "freed_bytes": found.freed_bytes,
        "undelete_days": found.undelete_days,
        "brake_percent": brake.percent,
        "would_stop": brake.is_on,
        "verdicts": describe_fates(fates),
    }


def _differ(stored: Preview, new: Preview) -> list[tuple[str, Fate]]:
    """What the new policy decides otherwise, each with the stored one's verdict."""
    before = {fate.key: fate for fate in list_fates(stored, with_all_tags=True)}
    after = list_fates(new, with_all_tags=True)
    # What was pushed between the two looks is in one of them only.
    found = [(old.word, fate) for fate in after if (old := before.get(fate.key)) and old.word != fate.word]
    changed = {fate.image.digest for _, fate in found if not fate.tag}
    return [(word, fate) for word, fate in found if not (fate.tag and fate.image.digest in changed)]


def _print_differences(stored: Preview, new: Preview, question: _Question) -> None:
    found = _differ(stored, new)
    rows = [(fate.shown, show_age(fate.age), was, fate.word, fate.rule or "-", fate.reason) for was, fate in found]
    if rows:
        print_table(("IMAGE", "AGE", "STORED", "NEW", "RULE", "REASON"), rows, numbers=("AGE", "RULE"))
    typer.echo(f"the stored policy: {show_effect(stored)}")
    typer.echo(f"{question.show_policy(new)}: {show_effect(new)}")
    verdicts = "1 verdict differs" if len(found) == 1 else f"{show_count(len(found), 'verdict')} differ"
    typer.echo(verdicts if found else "no verdict differs")
    if has_transitions(parse_policy(new.text, is_strict=False)):
        print_hint("Transitions are shown, never applied: there is no archive to move to")
    tell_idle_rules(new)


def _print_differences_json(stored: Preview, new: Preview, question: _Question) -> None:
    found = _differ(stored, new)
    documents = describe_fates(fate for _, fate in found)
    differences = [{"stored": was} | document for (was, _), document in zip(found, documents, strict=True)]
    print_json(
        {
            "repository": new.repository.value,
            "policy": name_file(question.file or ""),
            "at": exact_instant(new.at),
            "stored": {"expired_images": stored.brake.expired_images, "freed_bytes": stored.freed_bytes},
            "new": {"expired_images": new.brake.expired_images, "freed_bytes": new.freed_bytes},
            "differences": differences,
        }
    )
