"""Object versions and delete markers: what a versioned bucket keeps, and bills, beside what it shows."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from storagedriver.clients import raw_listings
from storagedriver.errors import translating
from storagedriver.listing import Answer, Listing, MalformedPageError, Page, rows
from storagedriver.paths import KeyMap

VERSION_FIELDS = ("Key", "VersionId", "IsLatest", "LastModified", "ETag", "Size", "StorageClass")
MARKER_FIELDS = ("Key", "VersionId", "IsLatest", "LastModified")


class ObjectVersion(NamedTuple):
    """One version of an object, or a delete marker (0 bytes, no ETag, no storage class).

    `version_id` is "null" for what was stored before the bucket kept versions.
    """

    path: str
    version_id: str
    is_latest: bool
    is_delete_marker: bool
    size: int
    etag: str
    modified: datetime
    storage_class: str


def parse_versions(body: bytes, keys: KeyMap) -> Page[ObjectVersion]:
    """Parse the body of a ListObjectVersions answer. Raises MalformedPageError for a cut body or anything else.

    The page's token is opaque to callers: it holds both markers of the next page.
    """
    answer = Answer(body, "ListVersionsResult")
    entries: list[ObjectVersion] = []
    markers: list[str] = []
    found: list[str] = []
    try:
        for encoded, version_id, latest, modified, etag, size, storage_class in rows(
            answer.root, "Version", VERSION_FIELDS
        ):
            key = answer.key(encoded)
            found.append(key)
            if key.endswith("/"):
                markers.append(key)
                continue
            stored = datetime.fromisoformat(modified)
            entries.append(
                ObjectVersion(
                    keys.path(key),
                    version_id,
                    latest == "true",
                    False,
                    int(size),
                    etag.strip('"'),
                    stored,
                    storage_class or "STANDARD",
                )
            )
        for encoded, version_id, latest, modified in rows(answer.root, "DeleteMarker", MARKER_FIELDS):
            key = answer.key(encoded)
            found.append(key)
            stored = datetime.fromisoformat(modified)
            entries.append(ObjectVersion(keys.path(key), version_id, latest == "true", True, 0, "", stored, ""))
        prefixes = answer.prefixes()
        directories = [keys.path(prefix).removesuffix("/") for prefix in prefixes]
    except ValueError as error:
        raise MalformedPageError(f"an entry that cannot be read ({error})") from None
    found += prefixes
    token = None
    if answer.truncated:
        if not (next_key := answer.key(answer.text("NextKeyMarker"))):
            raise MalformedPageError("a page that ends early without a marker to go on")
        token = json.dumps([next_key, answer.text("NextVersionIdMarker")])
    return Page(entries, directories, markers, token, min(found, default=""), max(found, default=""))


class VersionLister(Listing[ObjectVersion]):
    """Lists the versions and the delete markers of a bucket."""

    operation = "ListObjectVersions"

    def ask(self, request: dict[str, Any], start_after: str, token: str | None) -> Page[ObjectVersion]:
        key_marker, version_marker = json.loads(token) if token is not None else (start_after, "")
        if key_marker:
            request = request | {"KeyMarker": key_marker}
        if version_marker:
            request = request | {"VersionIdMarker": version_marker}
        with translating(self._parameters), raw_listings():
            answer: Any = self._driver.client.list_object_versions(**request)
        return parse_versions(answer["RawBody"], self.keys)

    def leads_on(self, last_key: str, after: str) -> bool:
        return after >= last_key  # one key may have versions for several pages
