"""The marker object: it says which registry the store belongs to, and in which format it is."""

import json

from storage.blobstore import BlobMissing, ForeignStore, StoreUnavailable
from storage.filesystem import FORMAT
from storage.s3.errors import Refused
from storage.s3.objects import S3Objects, load_json

_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


async def bind(objects: S3Objects, instance: str, *, is_populated: bool) -> None:
    """Bind the store to the registry `instance`, or see that it is bound to it. Raises ForeignStore."""
    if await is_marked(objects, instance):
        return
    await _refuse_unmarked(objects, is_populated=is_populated)
    text = json.dumps({"instance": instance, "format": FORMAT}).encode()
    try:
        await objects.put(objects.place.marker, text, IfNoneMatch="*")
    except Refused as refusal:
        # Two registries meet at an empty place: one of them was first. Or the store knows no conditions.
        if refusal.code not in _TAKEN:
            await objects.put(objects.place.marker, text)
    if not await is_marked(objects, instance):
        raise StoreUnavailable(5, "the object store does not return what was just written to it")


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


async def _refuse_unmarked(objects: S3Objects, *, is_populated: bool) -> None:
    place = objects.place
    if is_populated:
        raise ForeignStore(
            f"{place} is empty or unmarked, but the database knows of blobs: are bucket and prefix the right ones?"
        )
    async for name, _ in objects.list_names(place.root, page=1):
        raise ForeignStore(f"{place} holds {name}, but no marker and no row of this database names it")
