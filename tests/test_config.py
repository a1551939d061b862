"""Settings: where they come from, and what is said of those that are wrong."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from registry.config import Config, ConfigInvalid
from registry.sources import load

NETWORKS = "be addresses and networks, separated by commas"


def test_defaults_need_nothing() -> None:
    """Without file, environment and flags every setting has its default."""
    config, origins = load(environment={})
    assert config == Config()
    assert set(origins) == set(Config.model_fields)
    assert set(origins.values()) == {"default"}
    assert (config.host, config.port, config.anonymous, config.sparse_manifests) == ("127.0.0.1", 5000, None, "refuse")


def test_flags_beat_the_environment_beats_the_file(tmp_path: Path) -> None:
    """The later source wins, setting by setting, and is named as the origin."""
    file = write(tmp_path, 'host = "::1"\nport = 1\ndrain_seconds = 1\n')
    environment = {"ENTREPOT_PORT": "2", "ENTREPOT_DRAIN_SECONDS": "2"}
    config, origins = load(file, {"drain_seconds": 3, "workers": None}, environment)
    assert (config.host, config.port, config.drain_seconds) == ("::1", 2, 3)
    assert (origins["host"], origins["port"], origins["drain_seconds"]) == ("file", "environment", "flag")
    assert origins["workers"] == "default"


def test_an_empty_variable_is_none() -> None:
    """Containers pass empty variables for what was not set."""
    config, origins = load(environment={"ENTREPOT_PORT": "", "ENTREPOT_CONFIG": ""})
    assert (config.port, origins["port"]) == (5000, "default")


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    """ENTREPOT_CONFIG is read where no other file is given."""
    named, given = write(tmp_path, "port = 1\n", "named.toml"), write(tmp_path, "port = 2\n", "given.toml")
    environment = {"ENTREPOT_CONFIG": str(named)}
    assert load(environment=environment)[0].port == 1
    assert load(given, environment=environment)[0].port == 2


def test_what_is_not_ours_is_not_read() -> None:
    """Other programs' variables are no settings, and the cache of our own tools is none."""
    environment = {"PORT": "1", "ENTREPOTS_PORT": "1", "ENTREPOT_CACHE": "/tmp"}  # noqa: S108 - not used
    assert load(environment=environment)[0] == Config()


@pytest.mark.parametrize("text", ['trusted_proxies = ["10.0.0.0/8", "::1"]', 'trusted_proxies = "10.0.0.0/8, ::1"'])
def test_lists_are_lists_or_separated_by_commas(tmp_path: Path, text: str) -> None:
    """In a file both forms mean the same."""
    proxies = load(write(tmp_path, text), environment={})[0].proxies
    assert proxies == [ip_network("10.0.0.0/8"), ip_network("::1")]


def test_lists_of_the_environment_are_separated_by_commas() -> None:
    """Spaces around the comma do not count."""
    config, _ = load(environment={"ENTREPOT_TRUSTED_PROXIES": "10.0.0.0/8 , ::1"})
    assert config.proxies == [ip_network("10.0.0.0/8"), ip_network("::1")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ENTREPOT_PROT", "ENTREPOT_PROT is an unknown setting: did you mean ENTREPOT_PORT?"),
        ("ENTREPOT_SPARSE_MANIFEST", "did you mean ENTREPOT_SPARSE_MANIFESTS?"),
        ("ENTREPOT_XYZZY", "ENTREPOT_XYZZY is an unknown setting: there are ENTREPOT_DATA, ENTREPOT_STORAGE, "),
    ],
)
def test_an_unknown_variable_gets_a_suggestion(name: str, said: str) -> None:
    """A misspelt variable is an error that names the one that was meant, or all."""
    with pytest.raises(ConfigInvalid) as problem:
        load(environment={name: "1"})
    assert said in str(problem.value)


def test_an_unknown_key_gets_a_suggestion(tmp_path: Path) -> None:
    """In the file too, and the file is named."""
    file = write(tmp_path, "prot = 1\n")
    with pytest.raises(ConfigInvalid) as problem:
        load(file, environment={})
    assert str(problem.value) == f"prot in {file} is an unknown setting: did you mean port?"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PORT", "abc", "be a number from 0 to 65535, not 'abc'"),
        ("PORT", "65536", "be a number from 0 to 65535, not '65536'"),
        ("WORKERS", "2", "be 1, not '2': this version serves with one process"),
        ("ANONYMOUS", "yes", "be none, pull or push, not 'yes'"),
        ("SPARSE_MANIFESTS", "yes", "be refuse, index or accept, not 'yes'"),
        ("METRICS", "all", "be local or public, not 'all'"),
        ("STORAGE", "s3://B", "be file:///absolute/path or s3://bucket/prefix, not 's3://B'"),
        ("STORAGE", "file://relative", "be file:///absolute/path or s3://bucket/prefix, not 'file://relative'"),
        (
            "STORAGE",
            "/var/blobs",
            "be file:///absolute/path or s3://bucket/prefix, not '/var/blobs': did you mean file:///var/blobs?",
        ),
        (
            "DATABASE",
            "mysql://ada:secret@host/x?sslPassword=secret&a=b",
            "be sqlite:////absolute/path or postgresql://user@host/name, not 'mysql://ada:***@host/x?sslPassword=***&a=b'",
        ),
        (
            "DATABASE",
            "sqlite:///relative",
            "be sqlite:////absolute/path or postgresql://user@host/name, not 'sqlite:///relative'",
        ),
        (
            "DATABASE",
            "/var/e.db",
            "be sqlite:////absolute/path or postgresql://user@host/name, not '/var/e.db': did you mean sqlite:////var/e.db?",
        ),
        ("PUBLIC_URL", "registry.example", "begin with http:// or https:// and have no path, not 'registry.example'"),
        (
            "PUBLIC_URL",
            "https://r.example/a",
            "begin with http:// or https:// and have no path, not 'https://r.example/a'",
        ),
        ("TRUSTED_PROXIES", "x", f"{NETWORKS}, not 'x': 'x' does not appear to be an IPv4 or IPv6 network"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", f"{NETWORKS}, not '10.0.0.1/8': 10.0.0.1/8 has host bits set"),
        ("BODY_IDLE_SECONDS", "0", "be a number above 0, not '0'"),
        ("DRAIN_SECONDS", "-1", "be a whole number, 0 or more, not '-1'"),
        ("LOG_FORMAT", "xml", "be auto, json or text, not 'xml'"),
    ],
)
def test_a_bad_value_is_told_with_its_variable(variable: str, value: str, said: str) -> None:
    """The message has the setting as its source spells it, what it must be, and the value that was given."""
    with pytest.raises(ConfigInvalid) as problem:
        load(environment={f"ENTREPOT_{variable}": value})
    assert str(problem.value) == f"ENTREPOT_{variable} must {said}"


@pytest.mark.parametrize("name", Config.model_fields)
def test_no_setting_is_true(tmp_path: Path, name: str) -> None:
    """None of them is a switch, so a boolean of the file is refused, and told in plain words."""
    file = write(tmp_path, f"{name} = true\n")
    with pytest.raises(ConfigInvalid) as problem:
        load(file, environment={})
    assert re.fullmatch(rf"{name} in {re.escape(str(file))} must (be|begin) .*, not true", str(problem.value))


@pytest.mark.parametrize(("written", "host"), [("[::1]", "::1"), ("::1", "::1"), ("127.0.0.1", "127.0.0.1")])
def test_an_address_may_stand_in_brackets(written: str, host: str) -> None:
    """IPv6 is written as in a URL or as it is."""
    assert load(flags={"host": written}, environment={})[0].host == host


def test_bad_values_are_told_together_with_their_sources(tmp_path: Path) -> None:
    """Each line names one setting, in the words of where it came from."""
    file = write(tmp_path, 'metrics = "all"\n')
    with pytest.raises(ConfigInvalid) as problem:
        load(file, {"port": -1}, {"ENTREPOT_DRAIN_SECONDS": "x"})
    lines = [line.partition(" must ")[0] for line in str(problem.value).splitlines()]
    assert sorted(lines) == ["--port", "ENTREPOT_DRAIN_SECONDS", f"metrics in {file}"]


@pytest.mark.parametrize("variable", ["PORT", "WORKERS", "DRAIN_SECONDS", "BODY_IDLE_SECONDS"])
def test_numbers_may_be_text(variable: str) -> None:
    """The environment knows text only."""
    config, _ = load(environment={f"ENTREPOT_{variable}": "1"})
    assert getattr(config, variable.lower()) == 1


@pytest.mark.parametrize(
    ("content", "said"), [(b"port = ", "is not TOML"), (b"port 1", "is not TOML"), (b"host = '\xff'", "is not TOML")]
)
def test_a_file_that_is_not_toml_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    """The message names the file."""
    file = tmp_path / "entrepot.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigInvalid) as problem:
        load(file, environment={})
    assert str(problem.value).startswith(f"{file} {said}: ")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Absent files and directories are told apart."""
    for path, said in ((tmp_path / "absent", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigInvalid) as problem:
            load(path, environment={})
        assert str(problem.value) == f"{path} cannot be read: {said}"


def test_places_follow_from_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Database and blobs are below it, as absolute paths, unless they are set."""
    monkeypatch.chdir(tmp_path)
    config = Config(data=Path("here"))
    assert config.database_path == tmp_path / "here" / "entrepot.db"
    assert config.storage_path == tmp_path / "here" / "blobs"
    config = Config(storage="file:///srv/blobs", database="sqlite:////srv/entrepot.db")
    assert (config.storage_path, config.database_path) == (Path("/srv/blobs"), Path("/srv/entrepot.db"))


def test_a_configuration_never_changes() -> None:
    """It is read once and frozen."""
    with pytest.raises(ValidationError, match="frozen"):
        Config().port = 1


def test_every_setting_is_described() -> None:
    """`entrepot config show` has a meaning for each."""
    assert all(field.description for field in Config.model_fields.values())


def write(folder: Path, text: str, name: str = "entrepot.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path
