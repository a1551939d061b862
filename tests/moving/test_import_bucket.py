"""`entrepot import s3://BUCKET/PREFIX`: the bucket of a CNCF distribution registry, into files and into S3."""

import json
from pathlib import Path

import pytest

from registry.app import Registry
from registry.oci.names import RepositoryName, Tag
from tests import places
from tests.cli.access import done, refused
from tests.cli.running import Terminal, entrepot
from tests.moving.buckets import Bucket, bucket, proxy
from tests.moving.imports import (
    CONFIG,
    FALLBACK,
    IMAGE,
    INDEX,
    LAYER,
    OLD,
    OTHER,
    SIGNATURE,
    Use,
    imported,
    inside,
    list_referrers,
    manifests_of,
    tags_of,
    tree,
)
from tests.moving.trees import Distribution
from tests.places import Place
from tests.scenarios.client import Client
from tests.scenarios.images import make_image, make_index
from tests.servers.s3_proxy import SLOW_DOWN, Answer, Deed, S3Proxy
from tests.servers.seaweed import seaweed
from tests.waiting import wait_until

__all__ = ["bucket", "proxy", "seaweed", "tree"]

APP = "library/app"
REVISIONS = "docker/registry/v2/repositories/library/app/_manifests/revisions/sha256"
TAGS = "docker/registry/v2/repositories/library/app/_manifests/tags"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> Path:
    """Of the registry that images are imported into; it is not there yet. Its S3 server is the bucket's."""
    use(tmp_path / "registry", None)
    monkeypatch.setenv("ENTREPOT_S3_ENDPOINT", bucket.place.endpoint)
    return tmp_path / "registry"


@pytest.mark.parametrize("place", places.places_to_try(), ids=str)
def test_a_registrys_bucket(bucket: Bucket, folder: Path, use: Use, place: Place) -> None:
    """Every manifest, tag and blob is here, byte for byte, and the source is untouched."""
    use(folder, place)
    before = bucket.snapshot()
    text = done("import", bucket.url, "--endpoint", bucket.place.endpoint)
    assert text.startswith("Imported 2 repositories: 6 manifests, 6 tags, 3 blobs of 16 B")
    assert ("(3 copied by the S3 server)" in text) is place.has("s3")
    assert {tag: digest for tag, digest in tags_of("library/app").items() if not tag.endswith(".sig")} == {
        "1": str(OLD.digest),
        "2": str(IMAGE.digest),
        "latest": str(IMAGE.digest),
        "multi": str(INDEX.digest),
    }
    assert tags_of("library/app/tools") == {"v1": str(IMAGE.digest)}

    async def look(registry: Registry) -> list[str]:
        client = Client(registry)
        for blob in (CONFIG, LAYER, OTHER):
            assert await client.read_blob("library/app/tools", blob) == blob.content
        found = await registry.manifests.get(RepositoryName("library/app"), Tag("multi"))
        assert (found.content, found.media_type) == (INDEX.content, INDEX.media_type)
        return await list_referrers(registry)

    assert inside(folder, look, place) == [str(SIGNATURE.digest)]
    assert done("check") == "3 blobs: all are there\n"
    assert done("scrub").endswith("all are whole\n")
    assert bucket.snapshot() == before


def test_referrers_tags_become_referrers(bucket: Bucket) -> None:
    """Neither a fallback tag nor any index that it ever pointed to is here."""
    done("import", bucket.url)
    assert FALLBACK not in tags_of("library/app")
    assert not {str(make_index([]).digest), str(make_index([SIGNATURE]).digest)} & set(manifests_of("library/app"))


def test_it_can_be_done_again(bucket: Bucket, tree: Distribution) -> None:
    """The second time nothing comes but what is new in the source, whose tags are followed."""
    done("import", bucket.url)
    changes = len(done("audit", "--json").splitlines())
    again = imported(bucket.url)
    assert (again["manifests"], again["tags"], again["blobs"], again["known_manifests"]) == (0, 0, 0, 6)
    assert len(done("audit", "--json").splitlines()) == changes
    new = make_image(CONFIG, (LAYER,), annotations={"note": "new"})
    tree.put_manifest("library/app", new, "latest")
    newer = Bucket(bucket.place, tree)
    again = imported(newer.url)
    assert (again["manifests"], again["tags"], again["blobs"]) == (1, 1, 0)
    assert tags_of("library/app")["latest"] == str(new.digest)


def test_older_comes_first(bucket: Bucket) -> None:
    """Manifests keep the order in which they were pushed there, whatever their digests are."""
    older, newer = sorted((OLD, IMAGE), key=lambda each: str(each.digest), reverse=True)
    names = [f"{REVISIONS}/{each.digest.encoded}/link" for each in (older, newer)]
    bucket.write(names[0], str(older.digest).encode())

    def is_newer() -> bool:
        bucket.write(names[1], str(newer.digest).encode())
        return bucket.written(names[0]) < bucket.written(names[1])

    wait_until(is_newer, "the server dates it later")
    done("import", bucket.url)
    lines = [json.loads(line) for line in done("audit", "--json").splitlines()]
    pushed = [line["digest"] for line in lines if line["action"] == "manifest.push" and line["repository"] == APP]
    order = [str(each.digest) for each in (older, newer)]
    assert [digest for digest in pushed if digest in order] in (order, order[::-1])


@pytest.mark.parametrize("below", ["/", "/docker", "/docker/registry/", "/docker/registry/v2"])
def test_any_prefix_above(bucket: Bucket, below: str) -> None:
    """The source may be named by the root directory that a registry was given, or by a prefix in it."""
    assert imported(f"{bucket.url}{below}", "--dry-run")["repositories"] == 2


def test_a_rehearsal_changes_nothing(bucket: Bucket, folder: Path) -> None:
    """--dry-run counts what would come, names what is missing, and makes no registry."""
    expected = "Would import 2 repositories: 6 manifests, 6 tags, 3 blobs of 16 B\n"
    assert done("import", bucket.url, "--dry-run") == expected
    bucket.remove(bucket.tree.name(OTHER.digest))
    outcome = entrepot("import", bucket.url, "--dry-run")
    assert outcome.status == 1
    assert f"library/app        {OTHER.digest}  the blob is not in the source" in outcome.stdout
    assert not (folder / "entrepot.db").exists()


def test_one_repository(bucket: Bucket, proxy: S3Proxy) -> None:
    """Of one repository only its own objects are read."""
    arguments = (bucket.url, "--endpoint", proxy.endpoint, "--repository", "library/app/tools")
    assert imported(*arguments)["repositories"] == 1
    assert tags_of("library/app/tools") == {"v1": str(IMAGE.digest)}
    links = [call.key for call in proxy.calls if call.key.endswith("/link")]
    assert [name.partition("/repositories/")[2] for name in links] == [
        "library/app/tools/_manifests/tags/v1/current/link"
    ]
    assert "has no repository nowhere" in refused("import", bucket.url, "--repository", "nowhere")


def test_damage_is_refused_and_the_rest_comes(bucket: Bucket, folder: Path) -> None:
    """Bytes that are not those of their digest do not stay, and what needs them does not come; all of it is told."""
    bucket.write(bucket.tree.name(OTHER.digest), b"OTHER")
    bucket.write(bucket.tree.name(OLD.digest), OLD.content + b" ")
    outcome = entrepot("import", bucket.url, "--json")
    assert outcome.status == 1
    refusals = {(each["reference"], each["problem"]) for each in json.loads(outcome.stdout)["refusals"]}
    assert (str(OTHER.digest), "the blob's bytes have another digest") in refusals
    assert (str(OLD.digest), "the manifest's bytes have another digest") in refusals
    assert any(reference == str(IMAGE.digest) and str(OTHER.digest) in problem for reference, problem in refusals)
    assert list(tags_of("library/app")) == [f"{FALLBACK}.sig"]
    assert len(places.look_into(folder).blobs()) == 2
    assert places.look_into(folder).uploads() == []


def test_what_is_gone_or_broken(bucket: Bucket) -> None:
    """Deleted manifests and tags stay away, folders that are objects are none, links that say nothing are told."""
    bucket.remove(f"{REVISIONS}/{INDEX.digest.encoded}/link")
    bucket.remove(f"{TAGS}/1/current/link")
    bucket.write(f"{REVISIONS}/", b"")
    bucket.write(f"{TAGS}/", b"")
    bucket.write(f"{TAGS}/broken/current/link", b"nonsense")
    bucket.write(f"{REVISIONS}/short/link", b"nonsense")
    outcome = entrepot("import", bucket.url, "--json")
    problems = [each["problem"] for each in json.loads(outcome.stdout)["refusals"]]
    assert sorted(problem.removeprefix(f"{bucket.url}/") for problem in problems) == [
        f"{REVISIONS}/short/link is no link to a digest",
        f"{TAGS}/broken/current/link is no link to a digest",
    ]
    assert tags_of("library/app").keys() == {"2", "latest", f"{FALLBACK}.sig"}
    assert str(INDEX.digest) not in manifests_of("library/app")


def test_names_that_are_none(bucket: Bucket) -> None:
    """What is called as nothing in a registry can be is told, whatever the server would make of it in a key."""
    long = "x" * 900  # with what comes before and after it the key would be longer than S3 allows
    bucket.write(f"{TAGS}/{long}/other", b"")
    bucket.write("docker/registry/v2/repositories/No Name/_manifests/tags/1/current/link", str(OLD.digest).encode())
    outcome = entrepot("import", bucket.url, "--json")
    refusals = [(each["repository"], each["problem"]) for each in json.loads(outcome.stdout)["refusals"]]
    assert sorted(repository for repository, _ in refusals) == ["No Name", "library/app"]
    assert (APP, f"{long!r} is no tag: what it names comes without one") in refusals
    assert tags_of(APP).keys() == {"1", "2", "latest", "multi", f"{FALLBACK}.sig"}


def test_an_archived_link_is_told(bucket: Bucket, proxy: S3Proxy) -> None:
    """A tag whose object has to be restored in S3 first does not come, everything else does."""
    proxy.break_(Answer(403, "InvalidObjectState"), "GetObject", times=1)
    outcome = entrepot("import", bucket.url, "--endpoint", proxy.endpoint, "--json")
    (refusal,) = json.loads(outcome.stdout)["refusals"]
    assert outcome.status == 1
    assert refusal["problem"].startswith(f"{bucket.url}/{TAGS}/")
    assert refusal["problem"].endswith("/current/link cannot be read: it is archived, and must be restored in S3 first")
    assert json.loads(outcome.stdout)["manifests"] >= 5


def test_a_folder_of_that_name_is_no_registry(bucket: Bucket) -> None:
    """Something else above the registry that is called repositories does not hide it."""
    bucket.write("repositories/of-somebody-else", b"")
    assert imported(bucket.url, "--dry-run")["repositories"] == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [("--endpoint", "http://with_underscore:9000"), ("--endpoint", "http://["), ("--region", "a/b")],
)
def test_what_no_client_can_be_made_of(bucket: Bucket, option: str, value: str) -> None:
    """An endpoint or a region that looks like one is told, not raised."""
    assert refused("import", bucket.url, option, value).startswith(f"{bucket.url}: the object store cannot be asked: ")


@pytest.mark.parametrize(
    ("operation", "deed", "told"),
    [
        ("ListObjectsV2", Answer(403, "AccessDenied"), "it denies access"),
        ("ListObjectsV2", SLOW_DOWN, "it answers 503 SlowDown"),
        ("ListObjectsV2", Answer(400, "AuthorizationHeaderMalformed"), "in another region: set --region"),
        ("GetObject", Answer(403, "AccessDenied"), "it denies access"),
        ("GetObject", Answer(403, "InvalidAccessKeyId"), "it does not know the access key"),
    ],
)
def test_a_source_that_refuses(
    bucket: Bucket, proxy: S3Proxy, folder: Path, operation: str, deed: Deed, told: str
) -> None:
    """What stands in the way is told with the bucket's name, before a registry is made."""
    proxy.break_(deed, operation)
    text = refused("import", bucket.url, "--endpoint", proxy.endpoint)
    assert text.startswith(f"{bucket.url}: the object store refuses: ")
    assert told in text
    assert not (folder / "entrepot.db").exists()


def test_a_source_that_is_not_there(bucket: Bucket, proxy: S3Proxy) -> None:
    """Neither a bucket that does not exist, nor a prefix without a registry, nor a server that does not answer."""
    assert "the bucket does not exist" in refused("import", "s3://no-such-bucket-here")
    assert "holds no images: no docker/registry/v2" in refused("import", f"{bucket.url}/nothing")
    proxy.refuse()
    assert "does not answer" in refused("import", bucket.url, "--endpoint", proxy.endpoint)


def test_a_source_that_ends_meanwhile(bucket: Bucket, proxy: S3Proxy, folder: Path) -> None:
    """What has come stays, nothing half-done does, and the next time the rest comes."""
    proxy.break_(Answer(403, "AccessDenied"), "HeadObject")
    outcome = entrepot("import", bucket.url, "--endpoint", proxy.endpoint)
    text = outcome.stderr.partition("entrepot: ")[2].splitlines()
    assert outcome.status == 1
    assert text[0].startswith(f"{bucket.url}: the object store refuses: it denies access")
    assert text[1] == "What has come until now stays: import again, and the rest comes"
    assert places.look_into(folder).uploads() == []
    proxy.heal()
    assert imported(bucket.url, "--endpoint", proxy.endpoint)["manifests"] == 6


def test_wrong_usage(bucket: Bucket, tree: Distribution) -> None:
    """A name that is no bucket's, an endpoint that is none, and a bucket's options for a directory."""
    assert entrepot("import", "s3://Not_A_Bucket").status == 2
    assert entrepot("import", bucket.url, "--endpoint", "s3.example.com").status == 2
    assert entrepot("import", str(tree.path), "--region", "here").status == 2


def test_a_terminal_sees_progress(bucket: Bucket, folder: Path) -> None:
    """On a terminal a bar shows how many bytes are imported."""
    settings = places.environment(folder) | {"ENTREPOT_S3_ENDPOINT": bucket.place.endpoint}
    with Terminal("import", bucket.url, **settings) as terminal:
        assert terminal.wait() == 0
    assert "Importing blobs" in terminal.text
