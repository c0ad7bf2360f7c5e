"""The driver's error family, and what an exception of botocore means.

Texts follow the reference driver, because other software matches on them: `<driver>: Path not found: <path>` and so on.
Everything that leaves the driver is a `StorageDriverError`; the S3 error code and request id are kept on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from storagedriver.explanations import ACTIONS, ALIASES, NETWORK_SENTENCES, SENTENCES
from storagedriver.explanations import WRONG_REGION_CODES as WRONG_REGION_CODES

if TYPE_CHECKING:
    from storagedriver.parameters import DriverParameters

DRIVER_NAME = "s3aws"


class Kind(StrEnum):
    """What to do about an error: try again, give up, treat as absent, or ask for a permission."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    MISSING = "missing"
    DENIED = "denied"


class StorageDriverError(Exception):
    """Any failure of the driver. Text: `<driver>: <detail>`.

    `code` is the S3 error code ("" when no S3 answer was involved), `request_id` what the provider's support asks for,
    `status` the HTTP status (0 for none), `operation` the S3 operation ("" for none), `kind` how to treat it.
    """

    def __init__(
        self,
        detail: str,
        *,
        kind: Kind = Kind.PERMANENT,
        code: str = "",
        request_id: str = "",
        status: int = 0,
        operation: str = "",
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.driver_name = DRIVER_NAME
        self.kind = kind
        self.code = code
        self.request_id = request_id
        self.status = status
        self.operation = operation

    def __str__(self) -> str:
        return f"{self.driver_name}: {self.detail}"


class PathNotFoundError(StorageDriverError):
    """Nothing is stored at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__(f"Path not found: {path}", kind=Kind.MISSING)
        self.args = (path,)
        self.path = path


class InvalidPathError(StorageDriverError):
    """`path` breaks the path rule of `storagedriver.paths`."""

    def __init__(self, path: str) -> None:
        super().__init__(f"invalid path: {path}")
        self.args = (path,)
        self.path = path


class InvalidOffsetError(StorageDriverError):
    """A negative offset."""

    def __init__(self, path: str, offset: int) -> None:
        super().__init__(f"invalid offset: {offset} for path: {path}")
        self.args = (path, offset)
        self.path = path
        self.offset = offset


class UnsupportedMethodError(StorageDriverError):
    """A URL was asked for a method other than GET and HEAD."""

    def __init__(self) -> None:
        super().__init__("unsupported method")
        self.args = ()


class ContentTooLargeError(StorageDriverError):
    """An object is larger than the caller wants to hold in memory. `size` and `limit` are bytes."""

    def __init__(self, path: str, size: int, limit: int) -> None:
        super().__init__(f"{path} has {size:,} bytes; at most {limit:,} are read at once")
        self.args = (path, size, limit)
        self.path = path
        self.size = size
        self.limit = limit


class DigestMismatchError(StorageDriverError):
    """What was written is not what its digest promised; nothing was published."""

    def __init__(self, path: str, expected: str, actual: str) -> None:
        super().__init__(f"content of {path} has digest {actual}, expected {expected}; nothing was published")
        self.args = (path, expected, actual)
        self.path = path
        self.expected = expected
        self.actual = actual


class EndpointRefusedError(StorageDriverError):
    """The endpoint policy of this installation does not allow the host."""

    def __init__(self, host: str, address: str = "") -> None:
        what = f"{host} ({address})" if address and address != host else host
        super().__init__(
            f"the endpoint {what} is not a public address; add {host} to ENDPOINT_ALLOWLIST to allow it",
            kind=Kind.DENIED,
        )
        self.args = (host, address)
        self.host = host
        self.address = address


class StorageDriverErrors(StorageDriverError):  # noqa: N818 - several errors
    """Several failures of one call, for instance one per key of a batch delete. `errors` holds them in order."""

    def __init__(self, errors: Sequence[StorageDriverError]) -> None:
        details = [str(error).removeprefix(f"{DRIVER_NAME}: ") for error in errors]
        if not details:
            detail = "<nil>"
        elif len(details) == 1:
            detail = details[0]
        else:
            detail = "errors:\n" + "".join(f"{line}\n" for line in details)
        kinds = {error.kind for error in errors}
        super().__init__(detail, kind=kinds.pop() if len(kinds) == 1 else Kind.PERMANENT)
        self.args = (tuple(errors),)
        self.errors = tuple(errors)


class ParameterErrors(StorageDriverError, Mapping[str, list[str]]):  # noqa: N818 - several errors
    """Every refused parameter at once: a mapping of field name to messages, in the order of checking."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self._errors = {field: list(messages) for field, messages in errors.items()}
        super().__init__("; ".join(message for messages in self._errors.values() for message in messages))
        self.args = (self._errors,)

    def __getitem__(self, field: str) -> list[str]:
        return self._errors[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self._errors)

    def __len__(self) -> int:
        return len(self._errors)

    __hash__ = Exception.__hash__


class SkipDir(Exception):  # noqa: N818 - the reference's name
    """Raised by a walk's visitor: do not enter this directory."""


class StopWalk(Exception):  # noqa: N818 - the reference's name
    """Raised by a walk's visitor: end the walk, successfully."""


# What botocore, its HTTP client and the sockets below raise.
S3_FAILURES = (BotoCoreError, ClientError, HTTPError, OSError, ResponseParserError)
TRANSIENT_CODES = frozenset(
    {
        "500",
        "502",
        "503",
        "504",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
MISSING_CODES = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
DENIED_CODES = frozenset(
    {
        "401",
        "403",
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "AuthFailure",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "NotSignedUp",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
# botocore's exceptions by name: their classes share no base that tells a broken line from a broken setting.
TRANSIENT_EXCEPTIONS = frozenset(
    {
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "EndpointConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ReadTimeoutError",
        "ResponseStreamingError",
    }
)


def error_code(exception: BaseException) -> str:
    """Return the S3 error code of an exception, "" when it has none."""
    if isinstance(exception, StorageDriverError):
        return exception.code
    if isinstance(exception, ClientError):
        return str(exception.response.get("Error", {}).get("Code", ""))
    return ""


def classify(exception: BaseException) -> Kind:
    """Say how to treat an exception of botocore, of its HTTP client, or of this driver."""
    if isinstance(exception, StorageDriverError):
        return exception.kind
    if isinstance(exception, ClientError):
        code, status = error_code(exception), _metadata(exception).get("HTTPStatusCode", 0)
        for codes, kind in (
            (MISSING_CODES, Kind.MISSING),
            (DENIED_CODES, Kind.DENIED),
            (TRANSIENT_CODES, Kind.TRANSIENT),
        ):
            if code in codes:
                return kind
        return Kind.TRANSIENT if status >= 500 and status != 501 else Kind.PERMANENT
    if _refusal(exception) is not None:
        return Kind.DENIED
    if type(exception).__name__ == "SSLError":  # an OSError by descent, but a certificate does not mend itself
        return Kind.PERMANENT
    transient = type(exception).__name__ in TRANSIENT_EXCEPTIONS or isinstance(exception, (HTTPError, OSError))
    return Kind.TRANSIENT if transient else Kind.PERMANENT


def translate(
    exception: BaseException, parameters: DriverParameters, path: str | None = None, operation: str = ""
) -> StorageDriverError:
    """Turn an exception into one of the family. With `path`, a missing key becomes PathNotFoundError(path)."""
    if isinstance(exception, StorageDriverError):
        return exception
    if (refusal := _refusal(exception)) is not None:
        return refusal
    code = error_code(exception)
    if path is not None and code in {"NoSuchKey", "NoSuchUpload"}:
        return PathNotFoundError(path)
    metadata = _metadata(exception)
    return StorageDriverError(
        explain(exception, parameters),
        kind=classify(exception),
        code=code,
        request_id=str(metadata.get("RequestId", "")),
        status=int(metadata.get("HTTPStatusCode", 0)),
        operation=getattr(exception, "operation_name", operation),
    )


@contextmanager
def translating(parameters: DriverParameters, path: str | None = None) -> Iterator[None]:
    """Run S3 calls and read their answers; what fails leaves as a StorageDriverError, see `translate`."""
    try:
        yield
    except S3_FAILURES as exception:
        raise translate(exception, parameters, path) from exception
    except KeyError as missing:
        raise StorageDriverError(
            f"{parameters.endpoint_host} answered without {missing}; check that endpoint is an S3 service"
        ) from missing


def _metadata(exception: BaseException) -> dict[str, Any]:
    return dict(exception.response.get("ResponseMetadata", {})) if isinstance(exception, ClientError) else {}


def _refusal(exception: BaseException) -> EndpointRefusedError | None:
    """Return the policy's refusal that botocore's HTTP layer wrapped, if it is one."""
    wrapped = getattr(exception, "kwargs", {}).get("error")
    return wrapped if isinstance(wrapped, EndpointRefusedError) else None


def explain(exception: BaseException, parameters: DriverParameters) -> str:
    """Say in one sentence what went wrong and what to do, for an exception of botocore or of its HTTP client."""
    if isinstance(exception, StorageDriverError):
        return exception.detail
    if isinstance(exception, ClientError):
        return _explain_answer(exception, parameters)
    words = {"endpoint": parameters.endpoint_host, "error": getattr(exception, "kwargs", {}).get("error", exception)}
    words["error_msg"] = getattr(exception, "kwargs", {}).get("error_msg", exception)
    name = type(exception).__name__
    if name == "EndpointConnectionError":
        return _explain_connection(str(words["error"]), parameters.endpoint_host)
    if name in NETWORK_SENTENCES:
        return NETWORK_SENTENCES[name].format(**words)
    if classify(exception) is Kind.TRANSIENT:
        return f"Talking to {parameters.endpoint_host} failed ({exception}); try again."
    return f"The S3 client refused the call: {exception}"


def _explain_connection(error: str, host: str) -> str:
    if any(text in error for text in ("Name or service not known", "resolve", "nodename", "name resolution")):
        return f"The name {host} cannot be resolved; check region and endpoint, and the DNS of this server."
    if "refused" in error:
        return f"{host} refused the connection; check that the S3 service runs and that endpoint names the right port."
    if "unreachable" in error:
        return f"{host} cannot be reached from this server; check network and endpoint."
    return f"No connection to {host}; check endpoint, network and firewall."


def _explain_answer(exception: ClientError, parameters: DriverParameters) -> str:
    code, metadata = error_code(exception), _metadata(exception)
    error: dict[str, Any] = dict(exception.response.get("Error", {}))
    operation, message = str(exception.operation_name), str(error.get("Message", ""))[:300]
    region = error.get("Region") or metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region") or ""
    if code in WRONG_REGION_CODES or (region and region != parameters.region and metadata.get("HTTPStatusCode") == 400):
        advice = f"set region to {region}" if region else "find the bucket's region in the S3 console and set region"
        return f"Bucket {parameters.bucket} is not in region {parameters.region}; {advice}."
    if operation == "AssumeRole" and code in {"AccessDenied", "403"}:
        return (
            f"The role {parameters.rolearn} could not be assumed (sts:AssumeRole was denied): let its trust policy name"
            " this identity, and check rolearn and externalid."
        )
    if operation == "HeadBucket" and code == "404":
        code = "NoSuchBucket"
    sentence = SENTENCES.get(ALIASES.get(code, code))
    if sentence is None:
        status = metadata.get("HTTPStatusCode", "")
        if classify(exception) is Kind.TRANSIENT:
            return f"S3 at {parameters.endpoint_host} had an internal error ({code}) in {operation}; try again later."
        if not message or code == str(status):
            return f"{parameters.endpoint_host} answered {operation} with HTTP status {status}; check that it is an S3 service."
        return f"S3 at {parameters.endpoint_host} refused {operation}: {message} ({code})"
    return sentence.format(
        bucket=parameters.bucket,
        region=parameters.region,
        endpoint=parameters.endpoint_host,
        operation=operation,
        action=ACTIONS.get(operation, f"s3:{operation}"),
    )
