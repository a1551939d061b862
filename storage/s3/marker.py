"""The marker object: it says which registry the store belongs to, and in which format it is."""

import json

from storage.blobstore import BlobMissing, ForeignStore, StoreUnavailable
from storage.filesystem import FORMAT
from storage.s3.errors import Refused
from storage.s3.objects import UNKNOWN_CONDITION, S3Objects, load_json
from storage.s3.progress import Part

_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


async def bind(objects: S3Objects, instance: str, *, is_populated: bool) -> None:
    """Bind the store to the registry `instance`, or see that it is bound to it. Raises ForeignStore."""
    if await is_marked(objects, instance):
        return
    await _refuse_unmarked(objects, instance, is_populated=is_populated)
    text = _make_text(instance)
    try:
        await objects.put(objects.place.marker, text, IfNoneMatch="*")
    except Refused as refusal:
        # Two registries meet at an empty place: one of them was first. Or the store knows no conditions.
        if refusal.code not in _TAKEN:
            await objects.put(objects.place.marker, text)
    if not await is_marked(objects, instance):
        raise StoreUnavailable(5, "the object store does not return what was just written to it")


async def require_conditions(objects: S3Objects, instance: str) -> None:
    """See that the store refuses to replace an object on condition. Raises ForeignStore.

    A's completion comes late, B's is recorded: only the condition keeps A's content away from the key of B's. Where the
    store takes no notice of it this replaces the marker by itself.
    """
    place = objects.place
    text = bytearray(_make_text(instance))
    multipart = await objects.begin(place.marker)
    try:
        part = Part(1, len(text), await objects.upload_part(place.marker, multipart, 1, text))
        await objects.complete(place.marker, multipart, [part], "")
    except Refused as refusal:
        await objects.abort(place.marker, multipart)
        if refusal.code in _TAKEN:
            return
        if refusal.code not in UNKNOWN_CONDITION:
            raise
    raise ForeignStore(
        f"{place} takes no notice of If-None-Match when an upload is completed: only one server may use it, with an"
        " embedded database. Several need a store that does, such as S3 itself, Ceph 20 or SeaweedFS 4"
    )


async def is_marked(objects: S3Objects, instance: str) -> bool:
    """Whether the registry `instance` has claimed the store. Raises ForeignStore when another one has."""
    place = objects.place
    try:
        found = load_json(b"".join([piece async for piece in objects.read(place.marker)]))
    except BlobMissing:
        return False
    if not isinstance(found, dict):
        raise ForeignStore(f"{place}.entrepot is damaged: restore it from a backup")
    if found.get("instance") != instance:
        raise ForeignStore(f"{place} belongs to another registry's database")
    if found.get("format") != FORMAT:
        raise ForeignStore(f"{place} has format {found.get('format')}, this version reads {FORMAT}")
    return True


def _make_text(instance: str) -> bytes:
    return json.dumps({"instance": instance, "format": FORMAT}).encode()


async def _refuse_unmarked(objects: S3Objects, instance: str, *, is_populated: bool) -> None:
    place = objects.place
    if is_populated:
        raise ForeignStore(
            f"{place} is empty or unmarked, but the database knows of blobs: are bucket and prefix the right ones?"
        )
    async for name, _ in objects.list_names(place.root, page=1):
        # A finds no marker, B makes it and stores a blob, A finds what is B's: they are servers of one registry.
        if await is_marked(objects, instance):
            return
        raise ForeignStore(f"{place} holds {name}, but no marker and no row of this database names it")
