"""The names of the parameters, what each may be in which registry version, and the defaults."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from storagedriver.parts import MIB

VERSIONS = ("2.4", "2.8", "3")
DEFAULT_CHUNK_BYTES = 10 * MIB
DEFAULT_COPY_BYTES = 32 * MIB
DEFAULT_COPY_CONCURRENCY = 100
DEFAULT_CONCURRENCY = 4
MAX_CONCURRENCY = 64
CREDENTIALS = ("static", "profile", "role", "chain")
LOG_LEVELS = frozenset(
    {
        "off",
        "debug",
        "debugwithsigning",
        "debugwithhttpbody",
        "debugwithrequestretries",
        "debugwithrequesterrors",
        "debugwitheventstreambody",
    }
)
MAX_NUMBER_LETTERS = 128
MAX_ROOT_BYTES = 512  # an S3 key has at most 1,024 bytes, and the registry's own paths need about half of them

# Regions whose S3 still takes signature version 2 from old buckets; every later region never did.
SIGV2_REGIONS = frozenset(
    {
        "ap-northeast-1",
        "ap-southeast-1",
        "ap-southeast-2",
        "eu-west-1",
        "sa-east-1",
        "us-east-1",
        "us-gov-west-1",
        "us-west-1",
        "us-west-2",
    }
)
STORAGE_CLASSES = {
    "2.4": ("STANDARD", "REDUCED_REDUNDANCY"),
    "2.8": ("NONE", "STANDARD", "REDUCED_REDUNDANCY"),
    "3": (
        "NONE",
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "OUTPOSTS",
        "GLACIER_IR",
        "EXPRESS_ONEZONE",
    ),
}
OBJECT_ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "none",  # ours: send no ACL header
)
# The first version that reads a parameter; "" marks our own, which no registry reads.
PARAMETERS = {
    "accesskey": "2.4",
    "secretkey": "2.4",
    "region": "2.4",
    "regionendpoint": "2.4",
    "bucket": "2.4",
    "encrypt": "2.4",
    "keyid": "2.4",
    "secure": "2.4",
    "v4auth": "2.4",
    "chunksize": "2.4",
    "rootdirectory": "2.4",
    "storageclass": "2.4",
    "useragent": "2.4",
    "skipverify": "2.8",
    "objectacl": "2.8",
    "multipartcopychunksize": "2.8",
    "multipartcopymaxconcurrency": "2.8",
    "multipartcopythresholdsize": "2.8",
    "forcepathstyle": "3",
    "accelerate": "3",
    "usedualstack": "3",
    "usefipsendpoint": "3",
    "loglevel": "3",
    "redirectendpoint": "3",
    "sessiontoken": "",
    "credentials": "",
    "profile": "",
    "rolearn": "",
    "externalid": "",
    "stsendpoint": "",
    "concurrency": "",
    "storageclassblobsonly": "",
}
# Seen in the wild, but in no release of the registry.
FOREIGN = frozenset(
    {
        "logs3apirequests",
        "logs3apiresponseheaders",
        "maxrequestspersecond",
        "maxretries",
        "multipartcombinesmallpart",
        "parallelwalk",
        "s3accelerate",
        "virtualhostedstyle",
    }
)
TRUE, FALSE = frozenset(("1", "t", "T", "TRUE", "true", "True")), frozenset(("0", "f", "F", "FALSE", "false", "False"))
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
ROLE_ARN = re.compile(r"arn:[!-~]{16,2044}")
EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?")


class ParameterWarning(NamedTuple):
    """A parameter that is accepted but ignored, deprecated or harmful, and why."""

    field: str
    message: str


@functools.cache
def known_regions() -> frozenset[str]:
    """Return the region names that botocore knows for S3, in every partition."""
    from botocore.session import Session

    session = Session()
    return frozenset(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("s3", partition)
    )


def is_amazon(host: str) -> bool:
    """Say whether a host is one of Amazon's endpoints."""
    return host.lower().rstrip(".").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def with_scheme(endpoint: str, *, secure: bool) -> str:
    """Return an endpoint with a scheme: its own, else the one that `secure` says."""
    return endpoint if "://" in endpoint else f"{'https' if secure else 'http'}://{endpoint}"
