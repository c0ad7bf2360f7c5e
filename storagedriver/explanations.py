"""What S3's error codes and botocore's exceptions mean, and what to do about each: a sentence for people."""

from __future__ import annotations

# The IAM actions that an operation needs, for the sentence that names what is missing.
ACTIONS = {
    "AssumeRole": "sts:AssumeRole",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "GetBucketLocation": "s3:GetBucketLocation",
    "GetObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListObjectsV2": "s3:ListBucket",
    "ListParts": "s3:ListMultipartUploadParts",
    "PutObject": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:GetObject and s3:PutObject",
}

# One sentence per S3 code. Placeholders: bucket, region, endpoint, action, message.
SENTENCES = {
    "AccessControlListNotSupported": "Bucket {bucket} has ACLs disabled; set objectacl to none.",
    "AccessDenied": (
        "S3 denied {action} on bucket {bucket}: allow it for this access key in the IAM or bucket policy"
        " (with a KMS key also kms:GenerateDataKey and kms:Decrypt)."
    ),
    "BadDigest": "S3 received other bytes than were sent, so nothing was stored; try again, then suspect a proxy.",
    "EntityTooLarge": "The object or part is larger than this S3 service takes; use a smaller chunksize.",
    "EntityTooSmall": "S3 refused a part below 5 MiB; raise chunksize.",
    "ExpiredToken": "The temporary credentials have expired; enter new ones, or use a role that renews them.",
    "InvalidAccessKeyId": "S3 at {endpoint} does not know this accesskey; check accesskey, and that it belongs to this service.",
    "InvalidBucketName": "S3 refused the bucket name {bucket}; check bucket.",
    "InvalidObjectState": "The object lies in an archive storage class; restore it in S3 before it can be read.",
    "InvalidStorageClass": "S3 at {endpoint} does not offer this storage class; change storageclass (STANDARD always works).",
    "InvalidToken": "S3 refused the session token; enter the three values of one set of temporary credentials.",
    "KMS.DisabledException": "The KMS key is disabled; enable it, or change keyid.",
    "KMS.NotFoundException": "The KMS key does not exist in region {region}; check keyid.",
    "NoSuchBucket": "Bucket {bucket} does not exist at {endpoint}; create it, or check bucket, region and endpoint.",
    "NoSuchUpload": "The multipart upload no longer exists: it was completed or aborted elsewhere.",
    "NotImplemented": "S3 at {endpoint} does not implement {operation}.",
    "PreconditionFailed": "The object changed while it was used; try again.",
    "QuotaExceeded": "The storage quota is used up; free space or raise the quota.",
    "RequestTimeTooSkewed": "This server's clock and S3's differ by more than 15 minutes; synchronise the clock (NTP).",
    "SignatureDoesNotMatch": (
        "S3 refused the signature: the secretkey does not belong to this accesskey; enter secretkey again"
        " (a proxy that rewrites requests has the same effect)."
    ),
    "SlowDown": "S3 asks for fewer requests (SlowDown); try again later or with less concurrency.",
    "XAmzContentSHA256Mismatch": "S3 received other bytes than were signed; suspect a proxy that rewrites requests.",
}
ALIASES = {
    "403": "AccessDenied",
    "Forbidden": "AccessDenied",
    "412": "PreconditionFailed",
    "KMS.KMSInvalidStateException": "KMS.DisabledException",
    "ServiceUnavailable": "SlowDown",
    "503": "SlowDown",
    "Throttling": "SlowDown",
    "TooManyRequests": "SlowDown",
}
WRONG_REGION_CODES = frozenset(
    {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "Redirect"}
)

# One sentence per exception of botocore. Placeholder: error, the library's own words.
NETWORK_SENTENCES = {
    "ConnectTimeoutError": "No answer from {endpoint}: the connection timed out; check endpoint, port and firewall.",
    "ConnectionClosedError": "{endpoint} closed the connection before answering; try again, then check scheme and port.",
    "CredentialRetrievalError": "The credentials could not be had: {error_msg}.",
    "IncompleteReadError": "{endpoint} cut the answer short; try again, then suspect a proxy between.",
    "NoCredentialsError": "No credentials were found; enter accesskey and secretkey, or give this server an identity.",
    "PartialCredentialsError": "The credentials are incomplete; enter both accesskey and secretkey.",
    "ProxyConnectionError": "The proxy of this server did not connect to {endpoint}; check HTTPS_PROXY and NO_PROXY.",
    "ProfileNotFound": "This server's AWS configuration has no profile of this name; check profile.",
    "ReadTimeoutError": "{endpoint} accepted the connection but did not answer in time; check that it is an S3 service.",
    "ResponseParserError": "{endpoint} answered something that is not S3 (a web page, perhaps); check endpoint and port.",
    "ResponseStreamingError": "{endpoint} cut the answer short; try again, then suspect a proxy between.",
    "SSLError": "TLS with {endpoint} failed: {error}. Check its certificate; if it speaks plain http, write it as http://.",
    "TokenRetrievalError": "This server's identity could not be renewed: {error}.",
}
