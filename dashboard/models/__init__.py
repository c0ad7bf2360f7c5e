"""The database: registries and who may use them, the catalog of what they store, and background work."""

from dashboard.models.archives import Archive
from dashboard.models.catalog import Blob, Manifest, Reference, Repository, Revision, Scan, Tag, UploadSession
from dashboard.models.jobs import Job, JobEvent, Shard
from dashboard.models.registries import Membership, Registry, Role

__all__ = [
    "Archive",
    "Blob",
    "Job",
    "JobEvent",
    "Manifest",
    "Membership",
    "Reference",
    "Registry",
    "Repository",
    "Revision",
    "Role",
    "Scan",
    "Shard",
    "Tag",
    "UploadSession",
]
