"""What the command says about itself."""

import re
import subprocess
import sys

import pytest
from typer.core import TyperGroup

from registry.cli.app import NOUNS, load
from registry.cli.version import find_version
from tests.cli.running import Terminal, entrepot, environment, program

COMMANDS = [
    ("serve",),
    *(
        ("user", verb)
        for verb in (
            "add",
            "list",
            "password",
            "promote",
            "demote",
            "disable",
            "enable",
            "remove",
            "grant",
            "revoke",
            "import",
        )
    ),
    *(("robot", verb) for verb in ("add", "list", "rotate", "disable", "enable", "remove")),
    *(("group", verb) for verb in ("add", "list", "join", "leave", "remove")),
    *(("trust", verb) for verb in ("add", "list", "disable", "enable", "remove")),
    *(("repository", verb) for verb in ("list", "show", "create", "set", "delete", "restore")),
    *(("tag", verb) for verb in ("list", "history", "restore")),
    *(("manifest", verb) for verb in ("list", "delete", "restore")),
    *(
        ("lifecycle", verb)
        for verb in ("set", "list", "show", "remove", "preview", "test", "run", "apply", "runs", "undo")
    ),
    *(("garbage", verb) for verb in ("collect", "explain", "purge")),
    ("scrub",),
    ("backup",),
    ("restore",),
    ("import",),
    ("migrate",),
    ("audit",),
    ("key", "list"),
    ("key", "rotate"),
    ("check",),
    ("doctor",),
    ("config", "show"),
]
TABLES = {
    ("audit",),
    ("check",),
    ("doctor",),
    ("scrub",),
    ("backup",),
    ("restore",),
    ("import",),
    ("migrate",),
    ("config", "show"),
    ("repository", "show"),
    ("tag", "history"),
    *(("lifecycle", verb) for verb in ("show", "preview", "test", "run", "runs")),
    *(("garbage", verb) for verb in ("collect", "explain", "purge")),
}
COLOR = re.compile(r"\x1b\[(?:\d+;)*3\d")


def test_the_version_is_shown() -> None:
    """--version prints name and version on one line."""
    outcome = entrepot("--version")
    assert (outcome.status, outcome.stdout) == (0, f"entrepot {find_version()}\n")


def test_help_lists_every_noun_with_an_example() -> None:
    """--help names each command with its summary, and shows what to try first."""
    outcome = program("--help")
    assert outcome.status == 0
    for noun, summary in NOUNS.items():
        assert re.search(rf"{noun} +{re.escape(summary)}", outcome.stdout), noun
    assert "docker push 127.0.0.1:5000/demo/app:1" in outcome.stdout


@pytest.mark.parametrize("noun", NOUNS)
def test_a_summary_is_what_the_command_says_of_itself(noun: str) -> None:
    """The list of nouns, which is shown without loading them, says what their own help says first."""
    assert load(noun).help.partition("\n")[0] == NOUNS[noun]


def test_no_command_is_forgotten() -> None:
    """The table of this test names every command there is."""
    found: set[tuple[str, ...]] = set()
    for noun in NOUNS:
        command = load(noun)
        found |= {(noun, name) for name in command.commands} if isinstance(command, TyperGroup) else {(noun,)}
    assert found == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_has_examples_and_a_config_file(command: tuple[str, ...]) -> None:
    """Help shows at least one line to copy, and --config."""
    outcome = entrepot(*command, "--help")
    assert outcome.status == 0
    assert f"entrepot {' '.join(command)}" in outcome.stdout.partition("Examples:")[2]
    assert "--config" in outcome.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_that_prints_a_table_speaks_json(command: tuple[str, ...]) -> None:
    """Those that print a table take --json, and no others."""
    has_json = "--json" in entrepot(*command, "--help").stdout
    assert has_json == (command in TABLES or command[-1] == "list")


@pytest.mark.parametrize("command", [(), ("tag",), *COMMANDS], ids=" ".join)
def test_help_has_a_short_name(command: tuple[str, ...]) -> None:
    """-h shows what --help shows."""
    assert entrepot(*command, "-h") == entrepot(*command, "--help")


def test_help_loads_no_server() -> None:
    """`entrepot --help` needs neither the HTTP server nor the web framework nor the database."""
    script = (
        "import sys; from registry.cli.app import run; from registry.cli.invocation import Invocation\n"
        "try: run(Invocation(0, 'entrepot', ['--help']))\n"
        "finally: print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment({}), capture_output=True, text=True, check=True, timeout=30
    )
    assert not {"uvicorn", "starlette", "apsw", "pydantic"} & set(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tga"], "Did you mean 'tag'"),
        (["repository", "lst"], "Did you mean 'list'"),
        (["repository", "show"], "Missing argument"),
        (["repository", "show", "Demo"], "a repository name is"),
        (["tag", "history", "demo/app", "a:b"], "a tag is at most"),
        (["tag", "history", "demo/app", "1", "--limit", "0"], "greater than or equal to 1"),
        (["tag", "list", "127.0.0.1:5000/demo/app"], "a repository's name has no host and no tag: demo/app"),
        (["tag", "list", "[::1]:5000/demo/app:1"], "a repository's name has no host and no tag: demo/app"),
        (["tag", "list", "http://r.example/app"], "a repository's name has no host and no tag: app"),
        (["repository", "show", "demo/app:1"], "a repository's name has no host and no tag: demo/app"),
        (["repository", "show", "demo/app@sha256:0"], "a repository's name has no host and no tag: demo/app"),
        (["repository", "show", "r.example:5000/App:1"], "a repository name is"),
        (["tag", "restore", "demo/app", "1", "--at", "never"], "a duration such as 90m, 24h and 7d"),
        (["repository", "set", "demo/app"], "Missing argument"),
        (["repository", "set", "demo/app", "color=red"], "with a key of immutability"),
        (["manifest", "restore", "demo/app", "1"], "a digest is sha256:"),
        (["serve", "--port", "http"], "should be a valid integer"),
        (["serve", "--port", "80000"], "less than or equal to 65535"),
        (["check", "--fast"], "No such option"),
        (["user", "add", "bob", "--password", "secret-secret"], "No such option: --password"),
        (["user", "grant", "bob", "Acme/*", "pull"], "a repository pattern is"),
        (["user", "grant", "bob", "acme/***", "pull"], "a repository pattern is"),
        (["user", "grant", "bob", "acme/*", "pul"], "actions are pull, push, create, delete, admin"),
        (["user", "grant", "bob", "acme/*", ","], "and at least one"),
        (["user", "grant", "bob", "acme/*", "push", "--tags", "ci/*"], "a tag pattern is"),
        (["user", "revoke", "bob", "Acme"], "a repository pattern is"),
        (["robot", "add", "ci", "--actions", "pull"], "Missing option '--repository'"),
        (["robot", "add", "ci", "--repository", "a", "--actions", "any"], "actions are"),
        (["robot", "rotate", "ci", "--expires", "soon"], "or never, but not 'soon'"),
        (["audit", "--since", "yesterday"], "a duration such as 90m, 24h and 7d"),
        (["audit", "--since", "never"], "a duration such as 90m, 24h and 7d"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], said: str) -> None:
    """A word that is no command, option or name ends with 2 and says what was expected."""
    outcome = entrepot(*arguments)
    assert outcome.status == 2
    assert said in re.sub(r"[│\s]+", " ", outcome.stderr)
    assert outcome.stdout == ""


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("entrepot re", ["repository", "restore"]),
        ("entrepot tag ", ["list", "history", "restore"]),
        ("entrepot check --js", ["--json"]),
    ],
)
def test_shells_complete_nouns_verbs_and_options(words: str, completions: list[str]) -> None:
    """The program answers bash's completion script."""
    outcome = program(_ENTREPOT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    assert outcome.status == 0
    assert outcome.stdout.split() == completions


def test_colors_end_where_they_are_not_wanted() -> None:
    """A terminal gets colors, but none with NO_COLOR."""
    with Terminal("--help") as colored, Terminal("--help", NO_COLOR="1") as plain:
        assert (colored.wait(), plain.wait()) == (0, 0)
    assert COLOR.search(colored.text)
    assert not COLOR.search(plain.text)
