"""Manifests, tags and referrers over HTTP."""

import json
from functools import partial

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.api.bodies import Memory, stream
from registry.api.call import Call
from registry.api.conditions import is_unchanged, preconditions
from registry.api.paging import Page
from registry.errors import (
    DigestInvalid,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    TooManyTags,
)
from registry.manifests import ManifestPush, Manifests
from registry.metadata.manifests import Referrer
from registry.oci.media_types import OCI_INDEX
from registry.oci.names import Reference, Tag, TagInvalid, parse_digest, parse_reference
from registry.pulls import Pulls
from registry.tags import Tags

_MOST_HELD = 64 << 20  # bytes of manifests that are being pushed
_MOST_TAGS = 100  # of one PUT; the spec demands ten


class ManifestEndpoints:
    """`idle_seconds`: a body from which nothing came for so long is given up. `most_bytes`: of a manifest."""

    def __init__(self, manifests: Manifests, tags: Tags, pulls: Pulls, idle_seconds: float, *, most_bytes: int) -> None:
        self._manifests = manifests
        self._tags = tags
        self._pulls = pulls
        self._idle_seconds = idle_seconds
        self._most_bytes = most_bytes
        self._memory = Memory(_MOST_HELD)

    async def get(self, call: Call) -> Response:
        """end-3. `Accept` is not looked at: a manifest has one form, and another would have another digest.

        Whatever is answered with the manifest or its digest counts as a pull, HEAD and 304 too: who asks uses it.
        """
        try:
            reference = parse_reference(call.target.reference)
        except TagInvalid as problem:
            raise ManifestUnknown(call.target.reference, str(problem)) from None
        lookup = await self._manifests.look_up(call.repository, reference)
        call.confirm(lookup)
        manifest = lookup.manifest
        if manifest is None:
            raise ManifestUnknown(call.target.reference)
        headers = {"Docker-Content-Digest": manifest.digest, "ETag": f'"{manifest.digest}"'}
        is_known = is_unchanged(call.request, manifest.digest)
        content = b"" if is_known or call.request.method == "HEAD" else await self._manifests.read(manifest)
        note = partial(self._pulls.note, manifest.id, call.caller.name)
        note()
        call.record.effects.append(note)
        if is_known:
            return Response(status_code=304, headers=headers)
        headers |= {"Content-Type": manifest.media_type, "Content-Length": str(manifest.size)}
        return Response(content, headers=headers)

    async def put(self, call: Call) -> Response:
        """end-7a and end-7b."""
        tags = call.request.query_params.getlist("tag")
        if len(tags) > _MOST_TAGS:
            raise TooManyTags(f"at most {_MOST_TAGS} tags in one request")
        if int(call.request.headers.get("content-length", "0")) > self._most_bytes:
            raise ManifestTooLarge(self._most_bytes)
        body = stream(call.request.receive, self._idle_seconds)
        async with self._memory.holding(body, self._most_bytes) as content:
            push = ManifestPush(
                call.repository,
                _writable_reference(call.target.reference),
                _content_type(call.request),
                content,
                [_writable_tag(tag) for tag in dict.fromkeys(tags)],
                preconditions(call.request),
            )
            manifest = await self._manifests.put(push, call.actor, await call.permission_now())
        response = Response(status_code=201)
        response.headers["Location"] = call.location("manifests", manifest.digest)
        response.headers["Docker-Content-Digest"] = str(manifest.digest)
        if manifest.subject:
            response.headers["OCI-Subject"] = str(manifest.subject)
        if push.tags:  # in one line: some clients give up at a hundred lines of headers
            response.headers["OCI-Tag"] = ", ".join(tag.value for tag in push.tags)
        return response

    async def delete(self, call: Call) -> Response:
        """end-9."""
        reference = _writable_reference(call.target.reference)
        conditions = preconditions(call.request)
        await call.forget_body()
        await self._manifests.delete(call.repository, reference, conditions, call.actor, call.permission)
        return Response(status_code=202)

    async def list_tags(self, call: Call) -> Response:
        """end-8."""
        page = Page.parse(call.request.query_params)
        shown, has_more = page.cut(await self._tags.list_names(call.repository, page.last, page.limit + 1))
        path = f"{call.public_url}/v2/{call.repository}/tags/list"
        return JSONResponse(
            {"name": call.repository.value, "tags": shown}, headers=page.link(path, shown[-1]) if has_more else None
        )

    async def list_referrers(self, call: Call) -> Response:
        """end-12."""
        subject = parse_digest(call.target.reference)
        page = Page.parse(call.request.query_params)
        after = str(parse_digest(page.last)) if page.last else ""
        artifact_type = _artifact_type(call.request)
        found = await self._manifests.list_referrers(call.repository, subject, artifact_type, after, page.limit)
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [_descriptor(referrer) for referrer in found.referrers],
        }
        headers = {"Content-Type": OCI_INDEX}
        if artifact_type is not None:
            headers["OCI-Filters-Applied"] = "artifactType"
        if not found.is_last and found.referrers:
            also = {"artifactType": artifact_type} if artifact_type is not None else {}
            headers |= page.link(call.location("referrers", subject), found.referrers[-1].digest, also)
        return Response(json.dumps(index, ensure_ascii=False), headers=headers)


def _writable_reference(text: str) -> Reference:
    try:
        return parse_reference(text)
    except TagInvalid as problem:
        raise ManifestInvalid(str(problem), detail={"tag": text}) from None


def _writable_tag(text: str) -> Tag:
    reference = _writable_reference(text)
    if not isinstance(reference, Tag):
        raise DigestInvalid("a tag is no digest", detail={"tag": text})
    return reference


def _content_type(request: Request) -> str | None:
    """Without its parameters: they are no part of a manifest's type."""
    return request.headers.get("content-type", "").partition(";")[0].strip() or None


def _artifact_type(request: Request) -> str | None:
    """Some clients write the `+` of a media type as it is, which a form decoder reads as a space: no type has one."""
    query = request.scope["query_string"].decode("latin-1")
    return QueryParams(query.replace("+", "%2B")).get("artifactType")


def _descriptor(referrer: Referrer) -> dict[str, object]:
    descriptor: dict[str, object] = {
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": referrer.size,
    }
    if referrer.artifact_type:
        descriptor["artifactType"] = referrer.artifact_type
    annotations = json.loads(referrer.annotations)
    return descriptor | {"annotations": annotations} if annotations else descriptor
