"""`entrepot group`."""

import pytest

from tests.cli.access import audited, done, listed, refused
from tests.cli.running import entrepot


@pytest.fixture(autouse=True)
def users() -> None:
    """A registry with two users."""
    done("user", "add", "alice")
    done("user", "add", "bob")


def test_a_group_has_members_and_grants() -> None:
    """The table and the document list both; a new group is told what it still needs."""
    outcome = entrepot("group", "add", "developers", "bob", "alice")
    assert (outcome.status, outcome.stdout) == (0, "group developers is added, with bob, alice\n")
    assert "entrepot user grant developers" in outcome.stderr
    done("user", "grant", "developers", "acme/**", "pull")
    header, line = (text.split("  ") for text in done("group", "list").splitlines())
    assert [cell.strip() for cell in header if cell.strip()] == ["GROUP", "MEMBERS", "GRANTS", "MADE AT"]
    assert [cell.strip() for cell in line if cell.strip()][:3] == ["developers", "alice, bob", "acme/** pull"]
    group = listed("group")["developers"]
    assert group["members"] == ["alice", "bob"]
    assert group["grants"] == [{"repositories": "acme/**", "actions": ["pull"], "tags": []}]
    assert listed("user")["bob"]["groups"] == ["developers"]


def test_members_join_and_leave() -> None:
    """Joining twice is fine; who is no member cannot leave."""
    assert done("group", "add", "developers") == "group developers is added, with no members\n"
    assert [done("group", "join", "developers", "bob") for _ in range(2)] == ["bob is a member of developers\n"] * 2
    assert listed("group")["developers"]["members"] == ["bob"]
    assert done("group", "leave", "developers", "bob") == "bob is no longer a member of developers\n"
    assert refused("group", "leave", "developers", "bob") == "bob is no member of developers"
    assert listed("group")["developers"]["members"] == []
    assert ("group.leave", "developers", "bob") in {
        (change["action"], change["subject"], change.get("detail")) for change in audited()
    }


def test_only_users_are_members() -> None:
    """A group with a member that is none is not made; groups are not members of groups."""
    assert refused("group", "add", "developers", "bob", "carol").startswith("there is no user carol")
    assert listed("group") == {}
    done("group", "add", "developers")
    done("group", "add", "testers")
    assert refused("group", "join", "developers", "testers").startswith("there is no user testers (testers is a group)")
    assert refused("group", "join", "bob", "alice").startswith("there is no group bob (bob is a user)")


def test_a_removed_group_leaves_its_members() -> None:
    """The users stay, without what the group gave them; its name is no user's."""
    done("group", "add", "developers", "bob")
    assert refused("user", "add", "developers").startswith("there is a group of the name developers already")
    assert done("group", "remove", "developers") == "group developers is removed\n"
    assert listed("user")["bob"]["groups"] == []
    assert refused("group", "remove", "developers").startswith("there is no group developers")
