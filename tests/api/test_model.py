"""Random histories of pushes, mounts and deletes, compared step by step with a model of two repositories."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.api.content import Repository, digest_of, fresh_blob, image, index
from tests.api.running import RunningServer
from tests.api.wire import Reply

SIDES = st.integers(0, 1)
PICKS = st.integers(0, 2)
TAGS = st.sampled_from(["", "a", "b"])


@dataclass
class Model:
    """What a repository should hold: blobs and manifests by digest, tags by name."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def naming(self, digest: str) -> list[str]:
        """The visible manifests that name the content, other than as their subject."""
        return [one for one, content in self.manifests.items() if digest in _named(content)]


def _named(content: bytes) -> set[str]:
    fields = json.loads(content)
    descriptors = [*fields.get("layers", []), *fields.get("manifests", []), fields.get("config")]
    return {one["digest"] for one in descriptors if one}


class Histories(RuleBasedStateMachine):
    """Three blobs, three images of them, three indexes of those; each side is a repository."""

    server: RunningServer

    def __init__(self) -> None:
        super().__init__()
        self.sides = [Repository(self.server), Repository(self.server)]
        self.models = [Model(), Model()]
        self.blobs = [fresh_blob() for _ in range(3)]
        self.images = [image(self.blobs[n], [self.blobs[(n + 1) % 3]]) for n in range(3)]
        subject = {"mediaType": "a/b", "digest": digest_of(self.images[0]), "size": len(self.images[0])}
        self.indexes = [index([self.images[n], self.images[(n + 1) % 3]], subject=subject) for n in range(3)]

    @rule(side=SIDES, pick=PICKS)
    def push_blob(self, side: int, pick: int) -> None:
        blob = self.sides[side].push_blob(self.blobs[pick])
        self.models[side].blobs[digest_of(blob)] = blob

    @rule(side=SIDES, pick=PICKS, is_named=st.booleans())
    def mount(self, side: int, pick: int, is_named: bool) -> None:
        digest = digest_of(self.blobs[pick])
        origins = self.models[1 - side : 2 - side] if is_named else self.models
        query = f"mount={digest}" + (f"&from={self.sides[1 - side].name}" if is_named else "")
        reply = self.sides[side].call("POST", f"blobs/uploads/?{query}")
        is_there = any(digest in origin.blobs for origin in origins)
        assert reply.status == (201 if is_there else 202)
        if is_there:
            self.models[side].blobs[digest] = self.blobs[pick]
        else:
            assert self.server.call("DELETE", reply["Location"]).status == 204

    @rule(side=SIDES, pick=PICKS, tag=TAGS, is_index=st.booleans())
    def push_manifest(self, side: int, pick: int, tag: str, is_index: bool) -> None:
        model, content = self.models[side], (self.indexes if is_index else self.images)[pick]
        digest = digest_of(content)
        reply = self.sides[side].put(tag or digest, content)
        if _named(content) <= (model.manifests.keys() if is_index else model.blobs.keys()):
            assert reply.status == 201
            model.manifests[digest] = content
            model.tags |= {tag: digest} if tag else {}
        else:
            assert (reply.status, reply.code) == (404, "MANIFEST_BLOB_UNKNOWN")

    @rule(side=SIDES, pick=PICKS)
    def delete_blob(self, side: int, pick: int) -> None:
        model, digest = self.models[side], digest_of(self.blobs[pick])
        reply = self.sides[side].call("DELETE", f"blobs/{digest}")
        assert_deleted(reply, model.naming(digest), is_there=digest in model.blobs)
        if reply.status == 202:
            del model.blobs[digest]

    @rule(side=SIDES, pick=PICKS, is_index=st.booleans())
    def delete_manifest(self, side: int, pick: int, is_index: bool) -> None:
        model, digest = self.models[side], digest_of((self.indexes if is_index else self.images)[pick])
        reply = self.sides[side].call("DELETE", f"manifests/{digest}")
        assert_deleted(reply, model.naming(digest), is_there=digest in model.manifests)
        if reply.status == 202:
            del model.manifests[digest]
            model.tags = {tag: held for tag, held in model.tags.items() if held != digest}

    @rule(side=SIDES, tag=TAGS.filter(bool))
    def delete_tag(self, side: int, tag: str) -> None:
        reply = self.sides[side].call("DELETE", f"manifests/{tag}")
        assert reply.status == (202 if self.models[side].tags.pop(tag, None) else 404)

    @invariant()
    def tags_agree(self) -> None:
        for repository, model in zip(self.sides, self.models, strict=True):
            reply = repository.call("GET", "tags/list")
            assert reply.json["tags"] == sorted(model.tags) if reply.status == 200 else not model.tags

    def teardown(self) -> None:
        for repository, model in zip(self.sides, self.models, strict=True):
            for content in self.blobs:
                reply = repository.call("GET", f"blobs/{digest_of(content)}")
                assert (reply.status == 200) == (digest_of(content) in model.blobs)
            for content in self.images + self.indexes:
                reply = repository.call("GET", f"manifests/{digest_of(content)}")
                assert (reply.status == 200) == (digest_of(content) in model.manifests)
            for tag, digest in model.tags.items():
                assert repository.call("GET", f"manifests/{tag}").body == model.manifests[digest]
            listed = repository.call("GET", f"referrers/{digest_of(self.images[0])}").json["manifests"]
            known = {digest_of(content) for content in self.indexes} & model.manifests.keys()
            assert [one["digest"] for one in listed] == sorted(known)


def assert_deleted(reply: Reply, named_by: list[str], *, is_there: bool) -> None:
    """404 for what is not there, 405 for what is in use, naming by what, else 202."""
    if not is_there:
        assert reply.status == 404
    elif named_by:
        assert reply.status == 405
        assert sorted(reply.errors[0]["detail"]["manifests"]) == sorted(named_by)
    else:
        assert reply.status == 202


@pytest.mark.timeout(300)
def test_histories(server: RunningServer) -> None:
    """In any history every answer is what the model says, and at its end every read."""
    machine = type("HistoriesOnServer", (Histories,), {"server": server})
    limits = settings(
        max_examples=25, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow], deadline=None
    )
    run_state_machine_as_test(machine, settings=limits)
