"""Any sequence of pushes, deletes, restores, time and collection: what was promised is there, and at the end no more.

`GARBAGE_EXAMPLES` sets how many sequences are tried.
"""

import contextlib
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from registry.errors import ManifestBlobUnknown, ManifestUnknown, UploadUnknown
from tests.garbage.content import AS_BLOB, BLOBS, CACHE, MANIFESTS, REFERRERS
from tests.garbage.oracle import LEASE, Repository, demands, named_by, subject_of
from tests.garbage.watch import Killed, Watch, named_in
from tests.garbage.yard import DAY, HOUR, SECOND, SETTLE, WINDOWS
from tests.places import examples
from tests.scenarios.images import Content
from tests.scenarios.model import SessionModel

NAMES = ("a", "a/b")
SESSION = 7 * DAY
names = st.sampled_from(NAMES)
tags = st.sampled_from(["", "1", "2"])
blobs = st.sampled_from(BLOBS)
manifests = st.sampled_from(MANIFESTS)
choices = st.integers(0, 999)
BY_DIGEST = {str(blob.digest): blob for blob in BLOBS}
TIMES = (SECOND, 61 * SECOND, 11 * HOUR, 13 * HOUR, 25 * HOUR, 3 * DAY, 8 * DAY)


class GarbageMachine(Watch):
    """Each rule does one thing, to the registry and to the oracle, and compares the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: dict[str, tuple[SessionModel, int]] = {}
        self.noted: dict[int, int] = {}  # told by a HEAD that may not be written yet: what was sure before

    @initialize(days=st.sampled_from([7, 7, 1, 0]))
    def open(self, days: int) -> None:
        self.oracle.days = days
        self.yard = self.run(self.open_yard())

    # pushes

    @rule(name=names, blob=blobs, is_chunked=st.booleans())
    def push_blob(self, name: str, blob: Content, is_chunked: bool) -> None:
        self.run(self.yard.push_blob(name, blob, *([3] if is_chunked else [])))
        self.oracle.get(name).tell(str(blob.digest), self.clock.now + LEASE)

    @rule(name=names, manifest=manifests, tag=tags)
    def push_whole(self, name: str, manifest: Content, tag: str) -> None:
        """Everything that the manifest names first, as clients do, and without asking what is there."""
        parts = set.union(*named_by(manifest))
        for child in MANIFESTS:
            if str(child.digest) in parts:
                self.push_whole(name, child, "")
                parts.remove(str(child.digest))
        for blob in BLOBS:
            if str(blob.digest) in parts:
                self.push_blob(name, blob, False)
        self.push_manifest(name, manifest, tag)

    @rule(name=names, manifest=st.sampled_from(REFERRERS), with_subject=st.booleans(), tag=tags)
    def push_referrer(self, name: str, manifest: Content, with_subject: bool, tag: str) -> None:
        subject = next((one for one in MANIFESTS if str(one.digest) == subject_of(manifest)), None)
        if subject and with_subject:
            self.push_whole(name, subject, "")
        self.push_whole(name, manifest, tag)

    @rule(name=names)
    def push_cache(self, name: str) -> None:
        """As BuildKit does: an index whose child is a blob, unless it is a manifest here."""
        self.push_blob(name, AS_BLOB, False)
        self.push_manifest(name, CACHE, "")

    @rule(choice=choices, tag=tags)
    def push_manifest_again(self, choice: int, tag: str) -> None:
        """One that is there, or was: perhaps not all that it names."""
        if known := self.list_manifests():
            repository, stored = known[choice % len(known)]
            self.push_manifest(repository.name, stored.content, tag)

    def push_manifest(self, name: str, manifest: Content, tag: str) -> None:
        repository = self.oracle.find(name) or Repository(name=name)
        parts = set.union(*named_by(manifest))
        sure = {part for part in parts if repository.sees(part) or repository.must_have(part, self.clock.now)}
        if not demands(manifest) and any(map(repository.may_have, parts - sure)):
            return  # what it would hold is the collector's to say
        problem = self.attempt(self.yard.push_manifest(name, manifest, tag))
        if isinstance(problem, ManifestBlobUnknown):
            assert set(problem.missing) <= parts - sure
            return
        assert problem is None
        repository = self.oracle.get(name)
        repository.push(manifest, self.clock.now)
        if tag:
            repository.set_tag(tag, str(manifest.digest))

    @rule(name=names, choice=choices, source=names | st.none())
    def mount(self, name: str, choice: int, source: str | None) -> None:
        known = sorted({digest for one in self.oracle.repositories for digest in one.rights})
        if not known:
            return
        digest = known[choice % len(known)]
        origins = [one for one in self.oracle.visible() if source in (None, one.name)]
        if self.run(self.yard.mount(name, BY_DIGEST[digest], source)):
            assert any(digest in one.rights and one.rights[digest].is_visible for one in origins)
            self.oracle.get(name).tell(digest, self.clock.now + LEASE)
        else:
            assert not any(one.must_have(digest, self.clock.now) for one in origins)

    @rule(choice=choices)
    def head(self, choice: int) -> None:
        """Who is told that a blob is there can count on it for at least half of the lease."""
        if known := self.list_rights():
            repository, digest = known[choice % len(known)]
            right = repository.rights[digest]
            if self.is_confirmed(repository, digest, self.attempt(self.yard.head(repository.name, BY_DIGEST[digest]))):
                self.noted.setdefault(id(right), right.told_until)
                right.told_until = max(right.told_until, self.clock.now + LEASE // 2)

    # deletes and restores

    @rule(choice=choices)
    def delete_blob(self, choice: int) -> None:
        known = self.list_rights()
        if not known:
            return
        repository, digest = known[choice % len(known)]
        problem = self.attempt(self.yard.delete_blob(repository.name, BY_DIGEST[digest]))
        namers = repository.namers(digest)
        assert named_in(problem) == namers
        if not namers and self.is_confirmed(repository, digest, problem):
            repository.rights[digest].delete(self.clock.now)

    @rule(choice=choices, is_free=st.booleans())
    def delete_manifest(self, choice: int, is_free: bool) -> None:
        known = [
            (repository, digest)
            for repository in self.oracle.visible()
            for digest, _ in repository.visible()
            if not (is_free and repository.parents(digest))
        ]
        if not known:
            return
        repository, digest = known[choice % len(known)]
        problem = self.attempt(self.yard.delete_manifest(repository.name, repository.manifests[digest].content.digest))
        parents = repository.parents(digest)
        assert named_in(problem) == parents
        if not parents:
            assert problem is None
            repository.delete_manifest(digest, self.clock.now)

    @rule(choice=choices)
    def delete_from_the_top(self, choice: int) -> None:
        """A manifest that nothing holds, then what only it held."""
        known = [
            (one, digest) for one in self.oracle.visible() for digest, _ in one.visible() if not one.parents(digest)
        ]
        if not known:
            return
        repository, top = known[choice % len(known)]
        waiting = [top]
        while waiting:
            digest = waiting.pop()
            if repository.sees(digest) and not repository.parents(digest):
                stored = repository.manifests[digest]
                self.run(self.yard.delete_manifest(repository.name, stored.content.digest))
                repository.delete_manifest(digest, self.clock.now)
                waiting += sorted(stored.children)

    @rule(choice=choices)
    def untag(self, choice: int) -> None:
        known = [(one, tag) for one in self.oracle.visible() for tag in sorted(one.tags)]
        if known:
            repository, tag = known[choice % len(known)]
            self.run(self.yard.untag(repository.name, tag))
            repository.closed[tag] = repository.tags.pop(tag)

    @precondition(lambda self: any(len(one.manifests) > 1 for one in self.oracle.visible()))
    @rule(name=names)
    def delete_repository(self, name: str) -> None:
        if repository := self.oracle.find(name):
            self.run(self.yard.delete_repository(name))
            repository.delete(self.clock.now)
            self.sessions = {key: one for key, one in self.sessions.items() if one[0].name != name}

    @rule(choice=choices)
    def restore_manifest(self, choice: int) -> None:
        deleted = [(repository, one) for repository, one in self.list_manifests() if not one.is_visible]
        if not deleted:
            return
        repository, stored = deleted[choice % len(deleted)]
        digest = str(stored.content.digest)
        must = digest in repository.kept_manifests()
        problem = self.attempt(self.yard.restore_manifest(repository.name, stored.content))
        assert problem is None or (not must and isinstance(problem, ManifestUnknown)), problem
        if problem is None:
            repository.restore_manifest(digest)

    @rule(choice=choices)
    def restore_tag(self, choice: int) -> None:
        closed = [(one, tag) for one in self.oracle.visible() for tag in sorted(one.closed)]
        if not closed:
            return
        repository, tag = closed[choice % len(closed)]
        digest = repository.closed[tag]
        must = digest in repository.kept_manifests()
        problem = self.attempt(self.yard.restore_tag(repository.name, tag))
        assert problem is None or (not must and isinstance(problem, ManifestUnknown)), problem
        if problem is None:
            repository.restore_manifest(digest)
            repository.set_tag(tag, digest)

    @precondition(lambda self: any(not one.is_visible for one in self.oracle.repositories))
    @rule(name=names)
    def restore_repository(self, name: str) -> None:
        """The one of that name that was deleted last; what it had comes back with it, and its tags."""
        found = self.oracle.find_deleted(name)
        if found is None or (found.has_lapsed and self.is_another_kept(found)):
            return
        problem = self.attempt(self.yard.restore_repository(name))
        has_content = found.kept_manifests() or any(one.is_kept for one in found.rights.values())
        must = not found.has_lapsed and self.oracle.find(name) is None and has_content
        assert problem is None or not must, problem
        if problem is None:
            assert self.oracle.find(name) is None
            found.restore()

    @precondition(lambda self: self.oracle.visible())
    @rule(choice=choices, days=st.sampled_from([0, 1, 7, 30, None]))
    def set_window(self, choice: int, days: int | None) -> None:
        visible = self.oracle.visible()
        repository = visible[choice % len(visible)]
        self.run(self.yard.set(repository.name, undelete_days="" if days is None else str(days)))
        repository.days = days

    # upload sessions

    @rule(name=names, blob=blobs, size=st.integers(0, 9))
    def begin_upload(self, name: str, blob: Content, size: int) -> None:
        session_id, chunk = self.run(self.yard.start(name)), blob.content[:size]
        self.run(self.yard.append(name, session_id, chunk, 0))
        self.sessions[session_id] = (SessionModel(session_id, name, blob, len(chunk)), self.clock.now + SESSION)

    @precondition(lambda self: self.sessions)
    @rule(position=st.integers(0, 99), is_cancelled=st.booleans())
    def end_upload(self, position: int, is_cancelled: bool) -> None:
        session, expires_at = self.sessions.pop(sorted(self.sessions)[position % len(self.sessions)])
        if is_cancelled:
            problem = self.attempt(self.yard.cancel(session.name, session.id))
        else:
            rest = session.blob.content[session.offset :]
            problem = self.attempt(self.yard.complete(session.name, session.id, rest, session.blob.digest))
        assert problem is None or (expires_at <= self.clock.now and isinstance(problem, UploadUnknown)), problem
        if problem is None and not is_cancelled and expires_at > self.clock.now:
            self.oracle.get(session.name).tell(str(session.blob.digest), self.clock.now + LEASE)

    # time, the collector, and ends

    @rule(milliseconds=st.sampled_from(TIMES))
    def pass_time(self, milliseconds: int) -> None:
        self.run(self.yard.pass_time(milliseconds))
        self.noted.clear()

    @rule(times=st.integers(1, 3))
    def take_steps(self, times: int) -> None:
        for _ in range(times):
            self.run(self.yard.registry.garbage.step())
        self.see_what_ended()

    @rule(is_early=st.booleans())
    def collect(self, is_early: bool) -> None:
        """To look early at what is to be looked at later changes nothing but that."""
        if is_early:
            self.run(self.yard.hasten())
        self.run(self.yard.collect())
        self.see_what_ended()

    @rule()
    def collect_all_that_may_go(self) -> None:
        """At this instant, but for a minute."""
        for milliseconds in (SETTLE, 0):
            self.collect(is_early=True)
            self.pass_time(milliseconds)
            self.oracle.lapse(self.clock.now)

    @rule(milliseconds=st.sampled_from(TIMES), is_early=st.booleans())
    def pass_time_and_collect(self, milliseconds: int, is_early: bool) -> None:
        self.pass_time(milliseconds)
        self.oracle.lapse(self.clock.now)
        self.collect(is_early)

    @rule(point=st.sampled_from(["garbage.removed", "garbage.discarded", ""]), days=st.sampled_from([7, 1, 0]))
    def crash(self, point: str, days: int) -> None:
        """While it collects, or while it does nothing."""
        self.kill_at = point
        with contextlib.suppress(Killed):
            self.run(self.yard.registry.garbage.step())
        self.kill_at = ""
        self.yard.crash()
        for repository in self.oracle.repositories:
            for right in repository.rights.values():
                if id(right) in self.noted:  # the lease was in memory alone; the collector rests instead
                    right.told_until = max(self.noted[id(right)], self.clock.now + WINDOWS.quiet)
        self.noted.clear()
        self.open(days)
        self.see_what_ended()

    @rule()
    def restart(self) -> None:
        self.run(self.yard.close())
        self.noted.clear()
        self.open(self.oracle.days)


EXAMPLES = int(os.environ.get("GARBAGE_EXAMPLES", examples(30)))
pytestmark = pytest.mark.timeout(60 + 20 * EXAMPLES)  # seconds: many times what it takes
TestGarbageMachine = GarbageMachine.TestCase
TestGarbageMachine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make a failure smaller takes minutes: by hand, then
    suppress_health_check=[HealthCheck.too_slow],
)
