"""Any sequence of pushes, mounts, tags, deletes and restarts: the registry holds exactly what the model holds."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from registry.errors import (
    BlobUnknown,
    DigestInvalid,
    InUse,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    UploadUnknown,
)
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest
from tests.places import Place, examples
from tests.scenarios.client import Client, open_registry
from tests.scenarios.images import Content, make_blob, make_image, make_index
from tests.scenarios.model import RepositoryModel, SessionModel, named_by, subject_of
from tests.stored import open_stored

T = TypeVar("T")

BLOBS = [make_blob(f"blob {number}" * number) for number in range(4)]  # the first one is empty
IMAGES = [make_image(BLOBS[0]), make_image(BLOBS[1], [BLOBS[2]]), make_image(BLOBS[1], [BLOBS[2], BLOBS[3], BLOBS[2]])]
INDEXES = [make_index([IMAGES[0]]), make_index([IMAGES[1], IMAGES[2]]), make_index([IMAGES[1], BLOBS[3]])]
REFERRERS = [make_image(BLOBS[0], subject=IMAGES[1]), make_image(BLOBS[2], [BLOBS[2]], subject=INDEXES[1])]
MANIFESTS = [
    *IMAGES,
    *INDEXES,
    make_index([INDEXES[0]]),
    *REFERRERS,
    make_index([IMAGES[0]], subject=IMAGES[1].descriptor),
]

NAMES = ("a", "a/b")
names = st.sampled_from(NAMES)
tags = st.sampled_from(["1", "2", "latest"])
blobs = st.sampled_from(BLOBS)
manifests = st.sampled_from(MANIFESTS)


class RegistryMachine(RuleBasedStateMachine):
    """Each rule does one thing, to the registry and to the model, and compares the answers."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.runner = asyncio.Runner()
        self.folder = TemporaryDirectory()
        self.model: dict[str, RepositoryModel] = {}
        self.sessions: list[SessionModel] = []
        self.sparse = "refuse"
        self.client: Client

    @initialize(sparse=st.sampled_from(["refuse", "refuse", "index", "accept"]))
    def start(self, sparse: str) -> None:
        self.sparse = sparse
        self.client = Client(self.run(open_registry(Path(self.folder.name), self.place, sparse_manifests=sparse)))

    @rule(name=names, blob=blobs, sizes=st.lists(st.integers(0, 9), max_size=2))
    def push_blob(self, name: str, blob: Content, sizes: list[int]) -> None:
        self.run(self.client.push_blob(name, blob, *sizes))
        self.repository(name).blobs.add(str(blob.digest))

    @rule(name=names, manifest=manifests, tag=tags)
    def push_whole(self, name: str, manifest: Content, tag: str) -> None:
        """Everything that the manifest names first, as clients do."""
        named = set.union(*named_by(manifest))
        for blob in BLOBS:
            if str(blob.digest) in named:
                self.push_blob(name, blob, [])
        for child in MANIFESTS:
            if str(child.digest) in named:
                self.push_whole(name, child, "")
        self.push_manifest(name, manifest, tag, [])

    @rule(name=names, manifest=manifests, tag=tags | st.just(""), also=st.lists(tags, max_size=2, unique=True))
    def push_manifest(self, name: str, manifest: Content, tag: str, also: list[str]) -> None:
        missing = self.model.get(name, RepositoryModel()).missing(manifest, self.sparse)
        problem = self.attempt(self.client.push_manifest(name, manifest, tag, also))
        if missing:
            assert isinstance(problem, ManifestBlobUnknown)
            assert set(problem.missing) == missing
            return
        assert problem is None
        repository, digest = self.repository(name), str(manifest.digest)
        repository.manifests[digest] = manifest
        for one in [tag, *also] if tag else also:
            repository.set_tag(one, digest)

    @rule(name=names, blob=blobs, source=names | st.none())
    def mount(self, name: str, blob: Content, source: str | None) -> None:
        digest = str(blob.digest)
        origins = [source] if source else list(self.model)
        is_there = any(origin in self.model and digest in self.model[origin].blobs for origin in origins)
        assert self.run(self.client.mount(name, blob, source)) == is_there
        if is_there:
            self.repository(name).blobs.add(digest)

    @rule(name=names, tag=tags)
    def untag(self, name: str, tag: str) -> None:
        model = self.model.get(name, RepositoryModel())
        problem = self.attempt(self.client.untag(name, tag))
        assert type(problem) is (type(None) if tag in model.tags else ManifestUnknown)
        model.tags.pop(tag, None)

    @rule(name=names, manifest=manifests)
    def delete_manifest(self, name: str, manifest: Content) -> None:
        model, digest = self.model.get(name, RepositoryModel()), str(manifest.digest)
        parents = model.parents(digest) if self.sparse == "refuse" else set()
        problem = self.attempt(self.client.delete_manifest(name, manifest.digest))
        assert type(problem) is expected_refusal(digest in model.manifests, parents, ManifestUnknown)
        if problem is None:
            model.delete_manifest(digest)
        elif isinstance(problem, InUse):
            assert named_in(problem) == parents

    @precondition(lambda self: self.model)
    @rule(position=st.integers(0, 99), choice=st.integers(0, 99), is_blob=st.booleans())
    def delete_what_is_there(self, position: int, choice: int, is_blob: bool) -> None:
        """As the rules around it, but never for nothing."""
        name = sorted(self.model)[position % len(self.model)]
        model = self.model[name]
        there = [
            one for one in (BLOBS if is_blob else MANIFESTS) if str(one.digest) in (model.blobs | set(model.manifests))
        ]
        if there:
            (self.delete_blob if is_blob else self.delete_manifest)(name, there[choice % len(there)])

    @rule(name=names, blob=blobs)
    def delete_blob(self, name: str, blob: Content) -> None:
        model, digest = self.model.get(name, RepositoryModel()), str(blob.digest)
        parents = model.parents(digest) if self.sparse != "accept" else set()
        problem = self.attempt(self.client.delete_blob(name, blob))
        assert type(problem) is expected_refusal(digest in model.blobs, parents, BlobUnknown)
        if problem is None:
            model.blobs.remove(digest)
        elif isinstance(problem, InUse):
            assert named_in(problem) == parents

    @rule(name=names)
    def delete_repository(self, name: str) -> None:
        problem = self.attempt(self.client.delete_repository(name))
        assert type(problem) is (type(None) if name in self.model else NameUnknown)
        if self.model.pop(name, None):
            for session in self.sessions:
                session.is_closed |= session.name == name

    @rule(name=names, blob=blobs)
    def start_session(self, name: str, blob: Content) -> None:
        self.sessions.append(SessionModel(self.run(self.client.start(name)), name, blob))

    @precondition(lambda self: self.sessions)
    @rule(position=st.integers(0, 99), size=st.integers(0, 9))
    def append_to_session(self, position: int, size: int) -> None:
        session = self.sessions[position % len(self.sessions)]
        chunk = session.blob.content[session.offset : session.offset + size]
        problem = self.attempt(self.client.append(session.name, session.id, chunk, session.offset))
        assert type(problem) is (UploadUnknown if session.is_closed else type(None))
        if problem is None:
            session.offset += len(chunk)

    @precondition(lambda self: self.sessions)
    @rule(position=st.integers(0, 99), is_cancelled=st.booleans(), is_right=st.booleans())
    def end_session(self, position: int, is_cancelled: bool, is_right: bool) -> None:
        session = self.sessions[position % len(self.sessions)]
        if is_cancelled:
            problem = self.attempt(self.client.cancel(session.name, session.id))
        else:
            rest = session.blob.content[session.offset :] + (b"" if is_right else b" and more")
            problem = self.attempt(self.client.complete(session.name, session.id, rest, session.blob.digest))
        if session.is_closed:
            repository = self.model.get(session.name)
            is_there = repository is not None and str(session.blob.digest) in repository.blobs
            assert type(problem) is (type(None) if is_there and not is_cancelled else UploadUnknown)
        elif is_cancelled or is_right:
            assert problem is None
        else:
            assert isinstance(problem, DigestInvalid)
        if problem is None and not is_cancelled:
            self.repository(session.name).blobs.add(str(session.blob.digest))
        session.is_closed = True

    @precondition(lambda self: self.model)
    @rule()
    def restart(self) -> None:
        self.client.registry.close()
        self.start(self.sparse)
        assert self.run(self.client.check()) == []

    @invariant()
    def lists_are_the_models(self) -> None:
        repositories = self.client.registry.repositories
        found = [name.value for name in self.run(repositories.list_names("", 100))]
        assert found == sorted(self.model)
        for text, model in self.model.items():
            name = RepositoryName(text)
            assert self.run(self.client.registry.tags.list_names(name, "", 100)) == sorted(model.tags)
            for subject in {subject_of(manifest) for manifest in MANIFESTS} - {None}:
                page = self.run(
                    self.client.registry.manifests.list_referrers(name, Digest.parse(subject or ""), None, "", 99)
                )
                assert [one.digest for one in page.referrers] == model.referrers(subject or "")
            _, totals = self.run(repositories.show(name))
            assert (totals.manifests, totals.tags, totals.blobs) == (
                len(model.manifests),
                len(model.tags),
                len(model.blobs),
            )

    @invariant()
    def lookups_are_the_models(self) -> None:
        for text in NAMES:
            model = self.model.get(text, RepositoryModel())
            for manifest in MANIFESTS:
                expected = manifest.content if str(manifest.digest) in model.manifests else None
                assert self.run(self.find_manifest(text, manifest.digest)) == expected
            for tag in ("1", "2", "latest"):
                target = model.manifests[model.tags[tag]].content if tag in model.tags else None
                assert self.run(self.find_manifest(text, Tag(tag))) == target
            for blob in BLOBS:
                expected = blob.content if str(blob.digest) in model.blobs else None
                assert self.run(self.find_blob(text, blob)) == expected

    @invariant()
    def histories_are_the_models(self) -> None:
        for text, model in self.model.items():
            for tag, expected in model.history.items():
                found = self.run(self.client.registry.tags.list_history(RepositoryName(text), Tag(tag), 1000))
                assert [row.digest for row in reversed(found)] == expected
                assert [row.valid_to for row in found[1:]].count(None) == 0
                assert (found[0].valid_to is None) == (tag in model.tags)

    @invariant()
    def visible_manifests_are_complete(self) -> None:
        """By the registry's own word: what a manifest that can be pulled names can be pulled, too."""
        for text, model in self.model.items():
            for manifest in model.manifests.values():
                named, children = named_by(manifest)
                for blob in BLOBS:
                    if str(blob.digest) in named and self.sparse != "accept":
                        assert self.run(self.find_blob(text, blob)) == blob.content
                for child in [*MANIFESTS, *BLOBS]:
                    if str(child.digest) in children and self.sparse == "refuse":
                        found = self.run(self.find_manifest(text, child.digest)) or self.run(
                            self.find_blob(text, child)
                        )
                        assert found == child.content

    def teardown(self) -> None:
        try:
            for session in self.sessions:
                if not session.is_closed:
                    self.run(self.client.cancel(session.name, session.id))
            assert self.run(self.client.check()) == []
            assert open_stored(self.client.registry.config).uploads() == []
        finally:
            self.client.registry.close()
            self.runner.close()
            self.folder.cleanup()

    def repository(self, name: str) -> RepositoryModel:
        """The model of a repository that exists from now on."""
        return self.model.setdefault(name, RepositoryModel())

    async def find_manifest(self, name: str, reference: Tag | Digest) -> bytes | None:
        try:
            return (await self.client.registry.manifests.get(RepositoryName(name), reference)).content
        except ManifestUnknown:
            return None

    async def find_blob(self, name: str, blob: Content) -> bytes | None:
        try:
            return await self.client.read_blob(name, blob)
        except BlobUnknown:
            return None

    def attempt(self, work: Coroutine[Any, Any, object]) -> RegistryError | None:
        """Do it, or return the refusal."""
        try:
            self.run(work)
        except RegistryError as problem:
            return problem
        return None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


def expected_refusal(is_there: bool, parents: set[str], unknown: type[RegistryError]) -> type[object]:
    if not is_there:
        return unknown
    return InUse if parents else type(None)


def named_in(problem: RegistryError | None) -> set[str]:
    """The manifests that a refusal names."""
    return set(problem.detail["manifests"]) if problem and isinstance(problem.detail, dict) else set()


@pytest.mark.timeout(600)
def test_any_sequence(place: Place) -> None:
    """The registry answers as the model does, whatever is done to both, and holds what the model holds."""

    class Machine(RegistryMachine):
        def __init__(self) -> None:
            super().__init__(place)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples(35, place),
            stateful_step_count=35,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make a failure smaller takes minutes: by hand
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
