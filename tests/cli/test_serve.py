"""`entrepot serve`: how it begins, and how it says that it cannot."""

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest

from registry.cli.banner import make_banner
from registry.cli.places import show_blobs, show_database
from registry.cli.version import find_version
from registry.config import Config
from tests.cli.conftest import Filled
from tests.cli.running import Outcome, Terminal, entrepot, program, serving
from tests.kill.client import Client
from tests.places import make_config, only_on, open_database


def test_the_log_begins_with_listening(data: Path, tmp_path: Path) -> None:
    """Without a terminal there is one line of JSON that says where, on what, and which version."""
    with serving(data, tmp_path / "log") as line:
        port = line["port"]
        assert isinstance(port, int)
        assert (line["event"], line["host"], line["data"]) == ("listening", "127.0.0.1", str(data))
        assert line["version"] == find_version()
        with Client(port) as client:
            assert client.call("GET", "/v2/").status == 200
    assert all(json.loads(text) for text in (tmp_path / "log").read_text().splitlines())


def test_commands_work_beside_a_running_server(filled: Filled, tmp_path: Path) -> None:
    """What a command deletes, the server does not know a moment later; and the other way round."""
    with serving(filled.data, tmp_path / "log") as line, Client(int(str(line["port"]))) as client:
        assert entrepot("check").status == 0
        assert client.call("GET", "/v2/demo/app/tags/list").status == 200
        assert entrepot("repository", "delete", "demo/app", "--yes").status == 0
        assert client.call("GET", "/v2/demo/app/tags/list").status == 404
        assert client.call("DELETE", "/v2/demo/base/manifests/latest").status == 202
        assert json.loads(entrepot("tag", "list", "demo/base", "--json").stdout)["tags"] == []


def test_a_terminal_gets_a_banner(data: Path) -> None:
    """A person reads what is served to whom, where the data is, and the lines to try; Ctrl+C ends it well."""
    with Terminal("serve", "--port", "0", ENTREPOT_DATA=str(data)) as terminal:
        terminal.expect("Ctrl+C\n")
        assert f"Entrepot {find_version()} serves container images at http://127.0.0.1:" in terminal.text
        config = make_config(data)
        where = f"blobs     {show_blobs(config)}\n" if config.bucket else f"data      {data}\n"
        assert where in terminal.text
        assert "protected mode: everyone on this machine may pull, push and delete" in terminal.text
        assert "docker push 127.0.0.1:" in terminal.text
        assert '"event"' not in terminal.text
        terminal.interrupt()
        assert terminal.wait() == 0


def test_json_logs_at_a_terminal_stay_json(data: Path) -> None:
    """Whoever asks for JSON at a terminal gets no banner into it."""
    with Terminal("serve", "--port", "0", ENTREPOT_DATA=str(data), ENTREPOT_LOG_FORMAT="json") as terminal:
        terminal.expect("\n")
        assert json.loads(terminal.text.partition("\n")[0])["event"] == "listening"
        terminal.interrupt()
        assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("anonymous", "access", "has_push"),
    [
        (None, "protected mode", True),
        ("none", "nobody may do anything (ENTREPOT_ANONYMOUS=none) until `entrepot user add", False),
        ("pull", "everyone may pull (", False),
        ("push", "everyone may pull and push (", True),
    ],
)
def test_the_banner_says_who_may_do_what(anonymous: str | None, access: str, has_push: bool) -> None:
    """The line to push is shown where a push would be accepted."""
    banner = make_banner(Config.model_validate({"anonymous": anonymous}), "127.0.0.1", 5000, "1.0")
    assert f"access    {access}" in banner
    assert ("docker push 127.0.0.1:5000/demo/app:1" in banner) == has_push


@pytest.mark.parametrize(
    ("anonymous", "strangers"),
    [
        (None, "nothing, unless granted to anonymous\n"),
        ("none", "nothing, unless granted to anonymous (ENTREPOT_ANONYMOUS=none)"),
        ("pull", "pull everywhere ("),
        ("push", "pull and push everywhere ("),
    ],
)
def test_the_banner_tells_users_from_strangers(anonymous: str | None, strangers: str) -> None:
    """Once somebody can log in, the lines to try begin with that."""
    config = Config.model_validate({"anonymous": anonymous})
    banner = make_banner(config, "127.0.0.1", 5000, "1.0", is_guarded=True)
    assert f"access    users and robots with their grants; strangers: {strangers}" in banner
    assert "try       docker login 127.0.0.1:5000\n" in banner


def test_the_banner_knows_users(data: Path) -> None:
    """A server that begins with a user does not say that it is in protected mode."""
    assert entrepot("user", "add", "alice", "--admin").status == 0
    with Terminal("serve", "--port", "0", ENTREPOT_DATA=str(data)) as terminal:
        terminal.expect("Ctrl+C\n")
        assert "access    users and robots with their grants" in terminal.text
        assert "protected mode" not in terminal.text
        terminal.interrupt()
        assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("host", "public_url", "url", "image"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:5000", "127.0.0.1:5000/demo/app:1"),
        ("0.0.0.0", "", "http://0.0.0.0:5000", "127.0.0.1:5000/demo/app:1"),  # noqa: S104 - a text
        ("::1", "", "http://[::1]:5000", "[::1]:5000/demo/app:1"),
        ("127.0.0.1", "https://registry.example", "https://registry.example", "registry.example/demo/app:1"),
    ],
)
def test_the_banner_names_the_registry_as_docker_does(host: str, public_url: str, url: str, image: str) -> None:
    """The lines to try can be copied, whatever the server listens on."""
    banner = make_banner(Config(anonymous="push", public_url=public_url), host, 5000, "1.0")
    assert f"serves container images at {url}\n" in banner
    assert f"docker push {image}\n" in banner


def test_the_banner_shows_places_of_their_own(tmp_path: Path) -> None:
    """Database and blobs outside the data directory are named."""
    banner = make_banner(
        Config(storage=f"file://{tmp_path}/blobs", database=f"sqlite:///{tmp_path}/entrepot.db"), "::1", 1, "1.0"
    )
    assert f"database  {tmp_path}/entrepot.db\n" in banner
    assert f"blobs     {tmp_path}/blobs\n" in banner


def test_a_port_in_use_is_told(data: Path) -> None:
    """The message names the address, and the two ways to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outcome = serve(data, "--port", str(port))
    assert_refused(outcome, f"something else listens on 127.0.0.1:{port}: stop it, or choose another port with --port")


@only_on("sqlite", "one server serves it")
def test_a_second_server_is_refused(data: Path, tmp_path: Path) -> None:
    """One embedded database has one server; the second one names the directory."""
    with serving(data, tmp_path / "log"):
        outcome = serve(data, "--port", "0")
    assert_refused(outcome, f"another server serves {data}: stop it, or set ENTREPOT_DATA to another directory")


def test_strangers_need_a_decision(data: Path) -> None:
    """Protected mode listens on loopback only, says which settings change that, and makes no data directory."""
    outcome = serve(data, "--host", "0.0.0.0")  # noqa: S104 - it is refused
    assert_refused(outcome, "protected mode: nobody can log in yet, so it does not listen on 0.0.0.0.")
    assert "ENTREPOT_ANONYMOUS=pull" in outcome.stderr
    assert not data.exists()


def test_an_unreadable_file_of_settings_is_told(data: Path, tmp_path: Path) -> None:
    """The message names the file and what is wrong with it."""
    assert_refused(serve(data, "--config", str(tmp_path)), f"{tmp_path} cannot be read: Is a directory")


@only_on("sqlite", "its file has an owner, and a folder")
@only_on("files", "they are on a volume, with a marker")
def test_another_registrys_blobs_are_refused(filled: Filled, tmp_path: Path) -> None:
    """A database that meets a store of another one does not serve it, and names both."""
    other = tmp_path / "other"
    outcome = serve(other, "--port", "0", ENTREPOT_STORAGE=f"file://{filled.data}/blobs")
    assert_refused(outcome, f"{filled.data}/blobs belongs to another registry's database\n")
    assert f"The database is {other}/entrepot.db, the blobs are in {filled.data}/blobs" in outcome.stderr


@only_on("files", "they are on a volume, with a marker")
def test_an_unmounted_volume_is_refused(filled: Filled) -> None:
    """A database that knows of blobs does not begin with an empty store."""
    (filled.data / "blobs").rename(filled.data / "elsewhere")
    assert_refused(serve(filled.data, "--port", "0"), f"{filled.data}/blobs is empty or unmarked")


def test_a_newer_database_is_refused(filled: Filled) -> None:
    """A database that a newer version has changed is left alone."""

    async def age() -> None:
        database = open_database(filled.data)
        await database.write(lambda tx: tx.run("INSERT INTO migration VALUES (99, 'newer')"))
        database.close()

    asyncio.run(age())
    assert_refused(
        serve(filled.data, "--port", "0"),
        f"{show_database(make_config(filled.data))}: the database has schema 99, this version knows",
    )


@only_on("sqlite", "its file has an owner, and a folder")
def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A data directory below a file is refused with a hint."""
    file = tmp_path / "file"
    file.touch()
    assert_refused(serve(file / "data"), f"{file}")


@only_on("sqlite", "its file has an owner, and a folder")
def test_another_user_does_not_serve(filled: Filled) -> None:
    """Root beside a server's user would leave files that the server cannot write."""
    outcome = entrepot("serve", "--port", "0", uid=os.geteuid() + 1)
    assert_refused(outcome, f"the registry in {filled.data} belongs to the system user")


def serve(data: Path, *flags: str, **settings: str) -> Outcome:
    return program("serve", *flags, ENTREPOT_DATA=str(data), **settings)


def assert_refused(outcome: Outcome, message: str) -> None:
    assert outcome.status == 1, outcome
    assert outcome.stderr.startswith(f"entrepot: {message}"), outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stderr.count("entrepot: ") == 1
    assert outcome.stdout == ""
