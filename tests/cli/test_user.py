"""`entrepot user`."""

import base64
import os
from pathlib import Path

import bcrypt
import pytest

from registry.cli.places import show_registry
from tests.cli.access import PASSWORD, audited, done, is_in_files, listed, lists, refused
from tests.cli.running import Terminal, entrepot, program, serving
from tests.kill.client import Client
from tests.places import make_config, only_on
from tests.stored import read_rows

LINE = f"{PASSWORD}\n".encode()


def test_a_made_up_password_is_printed_once(data: Path) -> None:
    """It is alone on standard output, and then nowhere: no list, no log and no file has it."""
    outcome = entrepot("user", "add", "alice", "--admin")
    assert outcome.status == 0
    secret = outcome.stdout.removesuffix("\n")
    assert len(secret) > 20
    assert not set(secret) & set(" \n")
    assert "user alice is added, with this password, which is not shown again:" in outcome.stderr
    assert secret not in outcome.stderr
    assert secret not in lists()
    assert not is_in_files(data, secret)


def test_a_given_password_is_not_printed(data: Path) -> None:
    """One line of standard input is the password; it is in no output and in no file."""
    outcome = entrepot("user", "add", "bob", "--password-stdin", stdin=LINE + b"not this\n")
    assert (outcome.status, outcome.stdout) == (0, "user bob is added\n")
    assert PASSWORD not in outcome.stderr + lists()
    assert not is_in_files(data, PASSWORD)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_lines_end_is_no_part_of_the_password(data: Path, tmp_path: Path, end: bytes) -> None:
    """However the line ends, the same password logs in; blanks at its end are its own."""
    done("user", "add", "bob", "--password-stdin", stdin=f"{PASSWORD} ".encode() + end)
    with serving(data, tmp_path / "log") as line, Client(int(str(line["port"]))) as client:
        assert login(client, "bob", f"{PASSWORD} ") == 200
        assert login(client, "bob", PASSWORD) == 401


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        (b"", "no password came"),
        (b"\n", "no password came"),
        (b"\xff\xfe12345678\n", "the password on standard input is not UTF-8"),
        (b"short\n", "password"),
        (b"x" * 100_000, "choose a password of at most"),
    ],
)
def test_what_is_no_password_is_refused(stdin: bytes, said: str) -> None:
    """An empty, foreign, short or endless line makes no user."""
    done("user", "add", "alice")
    assert said in refused("user", "add", "bob", "--password-stdin", stdin=stdin)
    assert said in refused("user", "password", "alice", "--password-stdin", stdin=stdin)
    assert list(listed("user")) == ["alice"]


def test_a_terminal_asks_for_the_password_without_showing_it(data: Path) -> None:
    """A person types it twice, unseen."""
    with Terminal("user", "add", "alice", "--password-stdin", ENTREPOT_DATA=str(data)) as terminal:
        terminal.expect("Password: ")
        terminal.answer(PASSWORD)
        terminal.expect("Repeat for confirmation: ")
        terminal.answer(PASSWORD)
        assert terminal.wait() == 0
    assert PASSWORD not in terminal.text
    assert list(listed("user")) == ["alice"]


def test_no_option_takes_a_password() -> None:
    """Arguments are public: the command line has no place for a secret."""
    outcome = program("user", "add", "bob", "--password", PASSWORD)
    assert outcome.status == 2


def test_commands_are_in_force_at_once(data: Path, tmp_path: Path) -> None:
    """A running server obeys the next moment: protected mode ends, users come, are disabled, change and go."""
    with serving(data, tmp_path / "log") as line, Client(int(str(line["port"]))) as client:
        assert client.call("GET", "/v2/").status == 200
        outcome = entrepot("user", "add", "alice", "--admin", "--password-stdin", stdin=LINE)
        assert "Protected mode is over" in outcome.stderr
        assert client.call("GET", "/v2/").status == 401
        assert login(client, "alice", PASSWORD) == 200
        assert "Protected mode" not in entrepot("user", "add", "root", "--admin").stderr
        done("user", "disable", "alice")
        assert login(client, "alice", PASSWORD) == 401
        done("user", "enable", "alice")
        secret = done("user", "password", "alice").strip()
        assert (login(client, "alice", PASSWORD), login(client, "alice", secret)) == (401, 200)
        done("user", "remove", "alice")
        assert login(client, "alice", secret) == 401


def test_a_password_is_replaced() -> None:
    """The new one is printed as the first one was, or given on standard input; nobody else has one."""
    first = done("user", "add", "bob").strip()
    second = done("user", "password", "bob").strip()
    assert second not in {first, ""}
    assert done("user", "password", "bob", "--password-stdin", stdin=LINE) == "user bob has a new password\n"
    assert refused("user", "password", "carol").startswith("there is no user carol")


def test_disabling_twice_is_fine() -> None:
    """What is so already is no failure; the list tells who is disabled, and when each was made by whom."""
    done("user", "add", "bob")
    for verb, state in (("disable", "disabled"), ("enable", "active")):
        assert [done("user", verb, "bob") for _ in range(2)] == [f"user bob is {verb}d\n"] * 2
        assert listed("user")["bob"]["state"] == state
    assert [change["action"] for change in audited()] == ["user.add", "user.disable", "user.enable"]


def test_the_last_admin_stays() -> None:
    """Neither disabled nor removed, as long as there is no other."""
    done("user", "add", "alice", "--admin")
    done("user", "add", "bob")
    for verb in ("disable", "remove", "demote"):
        assert refused("user", verb, "alice").startswith("alice is the last admin: make another one first")
    done("user", "add", "carol", "--admin")
    assert done("user", "remove", "alice") == "user alice is removed\n"
    assert list(listed("user")) == ["bob", "carol"]


def test_an_admin_is_made_of_a_user_and_a_user_of_an_admin() -> None:
    """Promoted twice is promoted once; the audit log has both, and the grants stay."""
    done("user", "add", "alice", "--admin")
    done("user", "add", "bob")
    for _ in range(2):
        assert done("user", "promote", "bob") == "user bob is an admin\n"
    assert listed("user")["bob"]["admin"]
    assert done("user", "demote", "alice") == "user alice is no admin\n"
    assert not listed("user")["alice"]["admin"]
    assert [change["action"] for change in audited()][-2:] == ["user.promote", "user.demote"]
    assert "there is no user nobody" in refused("user", "promote", "nobody")


def test_the_last_user_does_not_open_the_registry(data: Path) -> None:
    """Protected mode is over for good: who removes the last login shuts everybody out, and lets nobody in."""
    done("user", "add", "bob")
    done("user", "remove", "bob")
    assert read_rows(make_config(data), "SELECT is_guarded FROM registry") == [(1,)]
    assert "Protected mode" not in entrepot("user", "add", "eve").stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("anonymous", "'anonymous' cannot be a name"),
        ("oidc", "'oidc' cannot be a name"),
        ("a:b", "'a:b' cannot be a name"),
        ("", "'' cannot be a name"),
        ("bob", "there is a user of the name bob already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, said: str) -> None:
    """Reserved, malformed and taken names make no user."""
    done("user", "add", "bob")
    assert refused("user", "add", name).startswith(said)
    assert list(listed("user")) == ["bob"]


def test_the_list_shows_grants_and_groups() -> None:
    """A line has grants, groups and state; everybody's grants stand at the end."""
    done("user", "add", "alice", "--admin")
    done("user", "add", "bob")
    done("group", "add", "developers", "bob")
    done("user", "grant", "bob", "acme/**", "pull,push", "--tags", "ci-*, nightly")
    done("user", "grant", "bob", "other", "pull")
    done("user", "grant", "anonymous", "public/*", "pull")
    lines = [line.split("  ") for line in done("user", "list").splitlines()]
    shown = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert shown[0] == ["USER", "GRANTS", "GROUPS", "MADE AT", "LAST USED", "STATE"]
    assert shown[1][:3] == ["alice", "everything (admin)", "-"]
    assert shown[2][:3] == ["bob", "acme/** pull,push (tags ci-*,nightly); other pull", "developers"]
    assert shown[3] == ["anonymous", "public/* pull", "-", "-", "-", "active"]


def test_the_list_as_json() -> None:
    """The members of a user are these and no others: none is a hash."""
    done("user", "add", "bob")
    done("user", "grant", "bob", "acme/**", "push,pull", "--tags", "ci-*")
    bob = listed("user")["bob"]
    assert bob.pop("created_at").endswith("Z")
    assert bob.pop("created_by").startswith("cli:")
    assert bob == {
        "name": "bob",
        "state": "active",
        "last_used_at": None,
        "admin": False,
        "grants": [{"repositories": "acme/**", "actions": ["pull", "push"], "tags": ["ci-*"]}],
        "groups": [],
    }


def test_a_grant_takes_the_place_of_the_one_before() -> None:
    """For the same pattern the last word counts; revoked is exactly the pattern that was granted."""
    done("user", "add", "bob")
    done("user", "grant", "bob", "acme/**", "pull,push")
    assert done("user", "grant", "bob", "acme/**", "pull") == "bob is granted acme/** pull (it was acme/** pull,push)\n"
    assert [grant["actions"] for grant in listed("user")["bob"]["grants"]] == [["pull"]]
    assert "its grants are for: acme/**" in refused("user", "revoke", "bob", "acme/*")
    assert done("user", "revoke", "bob", "acme/**") == "bob has lost the grant for acme/**\n"
    assert listed("user")["bob"]["grants"] == []


def test_everyone_with_a_name_can_be_granted_something() -> None:
    """Robots, groups, trust rules and anonymous take grants as users do."""
    done("user", "add", "bob")
    done("robot", "add", "ci", "--repository", "a", "--actions", "pull")
    done("group", "add", "developers")
    done("trust", "add", "github", *RULE, "--repository", "a", "--actions", "pull")
    for name in ("bob", "ci", "developers", "github", "anonymous"):
        assert done("user", "grant", name, "b/*", "pull") == f"{name} is granted b/* pull\n"
        done("user", "revoke", name, "b/*")
    assert refused("user", "grant", "nobody", "b", "pull").startswith(
        "there is no user, robot, group or trust rule nobody"
    )


@pytest.mark.parametrize(
    ("glob", "actions", "hint"),
    [
        ("*", "pull", "** is all repositories"),
        ("acme/*", "push", "also ask for pull"),
        ("acme/*", "create", "also ask for pull"),
        ("**", "pull,push", ""),
        ("acme/*", "admin", ""),
        ("acme/*", "delete", ""),
    ],
)
def test_what_is_seldom_meant_gets_a_hint(glob: str, actions: str, hint: str) -> None:
    """The grant is made, and a line on standard error says what it may not do."""
    done("user", "add", "bob")
    outcome = entrepot("user", "grant", "bob", glob, actions)
    assert (outcome.status, outcome.stdout) == (0, f"bob is granted {glob} {actions}\n")
    assert hint in outcome.stderr
    assert bool(outcome.stderr) == bool(hint)


def test_an_htpasswd_file_is_imported(data: Path, tmp_path: Path) -> None:
    """Its users log in with the passwords they had; from a file and from standard input."""
    file = tmp_path / "htpasswd"
    file.write_text(f"# users\n{entry('bob')}\n\n{entry('carol')}\n")
    assert done("user", "import", str(file)) == "2 users added: bob, carol\n"
    assert done("user", "import", "-", stdin=entry("dave").encode()) == "1 user added: dave\n"
    with serving(data, tmp_path / "log") as line, Client(int(str(line["port"]))) as client:
        assert [login(client, name, PASSWORD) for name in ("bob", "carol", "dave")] == [200] * 3
    assert "$2" not in lists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"carol:{SHA}x\n", "line 1: carol has no bcrypt hash"),
        (b"", "names nobody"),
        (b"\xff", "is not UTF-8"),
        (b"no colon\n", "line 1"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """The message has the file's name and the line, and no hash."""
    file = tmp_path / "htpasswd"
    file.write_bytes(content)
    message = refused("user", "import", str(file))
    assert said in message
    assert str(file) in message
    assert "{SHA}" not in message


def test_an_import_is_all_or_nothing(tmp_path: Path) -> None:
    """One name that is taken, and nobody is added; a file that is not there is named."""
    done("user", "add", "carol")
    file = tmp_path / "htpasswd"
    file.write_text(f"{entry('bob')}\n{entry('carol')}\n")
    assert "there is a user of the name carol already" in refused("user", "import", str(file))
    assert list(listed("user")) == ["carol"]
    assert refused("user", "import", "/none/htpasswd") == "/none/htpasswd cannot be read: No such file or directory"


@pytest.mark.parametrize(
    "command",
    [
        ("user", "list"),
        ("user", "password", "bob"),
        ("user", "grant", "anonymous", "**", "pull"),
        ("robot", "add", "ci", "--repository", "a", "--actions", "pull"),
        ("group", "add", "developers"),
        ("trust", "list"),
        ("audit",),
        ("audit", "--json"),
        ("key", "list"),
        ("key", "rotate"),
    ],
    ids=" ".join,
)
def test_only_the_first_user_makes_a_registry(command: tuple[str, ...], data: Path) -> None:
    """Every other command says that there is none, and leaves none behind."""
    assert refused(*command).startswith(f"there is no registry in {show_registry(make_config(data))} yet")
    assert not data.exists()


@only_on("sqlite", "its file has an owner, and a folder")
def test_another_system_user_changes_nothing() -> None:
    """Whoever does not own the database may read the lists and is told as whom to change them."""
    done("user", "add", "bob")
    stranger = os.geteuid() + 1
    for command in (("user", "add", "eve"), ("user", "grant", "bob", "a", "pull"), ("key", "rotate")):
        outcome = entrepot(*command, uid=stranger)
        assert (outcome.status, outcome.stdout) == (1, "")
        assert "belongs to the system user" in outcome.stderr
    assert entrepot("user", "list", uid=stranger).status == 0


RULE = ("--issuer", "https://issuer.example", "--audience", "registry", "--claim", "sub=repo:acme/app:*")


def entry(name: str) -> str:
    return f"{name}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}"


def login(client: Client, name: str, password: str) -> int:
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    return client.call("GET", "/v2/", headers={"Authorization": f"Basic {credentials}"}).status
