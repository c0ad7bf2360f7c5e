"""What an error of S3 or of the network is taken for, and the sentence that says what to do."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    SSLError,
)

from storagedriver import DriverParameters, ParameterErrors, PathNotFoundError, S3Driver, StorageDriverError
from storagedriver.clients import Timeouts
from storagedriver.errors import (
    DigestMismatchError,
    EndpointRefusedError,
    Kind,
    StorageDriverErrors,
    classify,
    explain,
    translate,
)
from tests.storagedriver.conftest import ScriptedServer, respond

PARAMETERS = DriverParameters.parse(
    {"region": "us-east-1", "bucket": "images", "accesskey": "a", "secretkey": "canary"}, version="3"
)


def client_error(
    code: str, operation: str = "PutObject", status: int = 400, message: str = "", **error: str
) -> ClientError:
    headers = {"x-amz-bucket-region": error.pop("header")} if "header" in error else {}
    return ClientError(
        {
            "Error": {"Code": code, "Message": message, **error},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "R1", "HTTPHeaders": headers},
        },  # type: ignore[typeddict-item,typeddict-unknown-key]
        operation,
    )


class TestClassify:
    @pytest.mark.parametrize(
        ("code", "status", "kind"),
        [
            ("NoSuchKey", 404, Kind.MISSING),
            ("404", 404, Kind.MISSING),
            ("NoSuchUpload", 404, Kind.MISSING),
            ("NoSuchBucket", 404, Kind.PERMANENT),
            ("AccessDenied", 403, Kind.DENIED),
            ("403", 403, Kind.DENIED),
            ("SignatureDoesNotMatch", 403, Kind.DENIED),
            ("ExpiredToken", 400, Kind.DENIED),
            ("SlowDown", 503, Kind.TRANSIENT),
            ("InternalError", 500, Kind.TRANSIENT),
            ("Unheard", 502, Kind.TRANSIENT),
            ("NotImplemented", 501, Kind.PERMANENT),
            ("InvalidArgument", 400, Kind.PERMANENT),
        ],
    )
    def test_answers(self, code: str, status: int, kind: Kind) -> None:
        assert classify(client_error(code, status=status)) is kind

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (ConnectTimeoutError(endpoint_url="http://x"), Kind.TRANSIENT),
            (SSLError(endpoint_url="https://x", error="certificate verify failed"), Kind.PERMANENT),
            (EndpointConnectionError(endpoint_url="http://x"), Kind.TRANSIENT),
            (ConnectionResetError(), Kind.TRANSIENT),
            (NoCredentialsError(), Kind.PERMANENT),
            (PathNotFoundError("/a"), Kind.MISSING),
            (ValueError(), Kind.PERMANENT),
        ],
    )
    def test_exceptions(self, error: Exception, kind: Kind) -> None:
        assert classify(error) is kind


class TestExplain:
    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (client_error("SignatureDoesNotMatch", status=403), "enter secretkey again"),
            (client_error("InvalidAccessKeyId", status=403), "does not know this accesskey"),
            (
                client_error("NoSuchBucket", status=404),
                "Bucket images does not exist at s3.us-east-1.amazonaws.com; create it",
            ),
            (client_error("404", "HeadBucket", 404), "Bucket images does not exist"),
            (client_error("AccessDenied", "ListObjectsV2", 403), "denied s3:ListBucket on bucket images"),
            (client_error("403", "HeadObject", 403), "denied s3:GetObject on bucket images"),
            (client_error("AccessDenied", "PutBucketLifecycle", 403), "denied s3:PutBucketLifecycle"),
            (client_error("SlowDown", status=503), "fewer requests"),
            (client_error("RequestTimeTooSkewed", status=403), "synchronise the clock"),
            (client_error("AccessControlListNotSupported"), "set objectacl to none"),
            (client_error("NotImplemented", "CopyObject", 501), "does not implement CopyObject"),
            (client_error("InternalError", status=500), "internal error (InternalError) in PutObject; try again later"),
            (client_error("Odd", message="Something odd"), "refused PutObject: Something odd (Odd)"),
            (client_error("418", status=418, message=""), "HTTP status 418; check that it is an S3 service"),
            (NoCredentialsError(), "enter accesskey and secretkey"),
            (ConnectTimeoutError(endpoint_url="http://x"), "the connection timed out"),
            (SSLError(endpoint_url="https://x", error="certificate verify failed"), "certificate verify failed"),
        ],
    )
    def test_it_says_what_to_do(self, error: BotoCoreError | ClientError, text: str) -> None:
        assert text in explain(error, PARAMETERS)

    @pytest.mark.parametrize(
        "error",
        [
            client_error("PermanentRedirect", status=301, header="eu-west-1"),
            client_error("301", "HeadBucket", 301, header="eu-west-1"),
            client_error("AuthorizationHeaderMalformed", Region="eu-west-1"),
            client_error("400", "HeadObject", 400, header="eu-west-1"),
        ],
    )
    def test_it_names_the_right_region(self, error: ClientError) -> None:
        assert explain(error, PARAMETERS) == "Bucket images is not in region us-east-1; set region to eu-west-1."

    def test_it_says_where_to_find_an_unknown_region(self) -> None:
        assert "find the bucket's region" in explain(client_error("PermanentRedirect", status=301), PARAMETERS)


class TestTranslate:
    def test_it_keeps_code_status_request_id_and_operation(self) -> None:
        error = translate(client_error("AccessDenied", "GetObject", 403), PARAMETERS)
        assert (error.code, error.status, error.request_id, error.operation) == ("AccessDenied", 403, "R1", "GetObject")
        assert error.kind is Kind.DENIED

    def test_a_missing_key_names_the_path(self) -> None:
        error = translate(client_error("NoSuchKey", "GetObject", 404), PARAMETERS, "/a")
        assert isinstance(error, PathNotFoundError)
        assert str(error) == "s3aws: Path not found: /a"

    def test_one_of_the_family_stays(self) -> None:
        error = PathNotFoundError("/a")
        assert translate(error, PARAMETERS) is error


class TestTexts:
    def test_no_errors(self) -> None:
        assert str(StorageDriverErrors([])) == "s3aws: <nil>"

    def test_one_error(self) -> None:
        assert str(StorageDriverErrors([StorageDriverError("first")])) == "s3aws: first"

    def test_two_errors(self) -> None:
        errors = StorageDriverErrors([StorageDriverError("first"), StorageDriverError("second")])
        assert str(errors) == "s3aws: errors:\nfirst\nsecond\n"

    def test_parameter_errors_are_a_mapping(self) -> None:
        assert dict(ParameterErrors({"bucket": ("one", "two")})) == {"bucket": ["one", "two"]}

    @pytest.mark.parametrize(
        "error",
        [
            PathNotFoundError("/a"),
            DigestMismatchError("/a", "sha256:x", "sha256:y"),
            ParameterErrors({"bucket": ["one"]}),
            EndpointRefusedError("minio", "10.0.0.1"),
            StorageDriverErrors([StorageDriverError("first")]),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_they_survive_pickling(self, error: StorageDriverError) -> None:
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


class TestEndpoints:
    """Operations against endpoints that are no S3 service, for real."""

    @pytest.fixture
    def failure(self, parameters: Callable[..., DriverParameters]) -> Callable[[str], StorageDriverError]:
        def fail(endpoint: str, **values: Any) -> StorageDriverError:
            driver = S3Driver(
                parameters(regionendpoint=endpoint, **values), timeouts=Timeouts(connect=1, read=0.5, attempts=1)
            )
            with pytest.raises(StorageDriverError) as caught:
                driver.put_content("/a", b"content")
            return caught.value

        return fail

    @pytest.fixture
    def silent(self) -> Iterator[str]:
        """Listen, but never answer."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"

    def test_one_that_hangs(self, failure: Callable[..., StorageDriverError], silent: str) -> None:
        error = failure(silent)
        assert error.kind is Kind.TRANSIENT
        assert "did not answer in time" in str(error)

    def test_one_that_refuses(self, failure: Callable[..., StorageDriverError]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        assert f"127.0.0.1:{port} refused the connection" in str(failure(f"http://127.0.0.1:{port}"))

    def test_one_without_a_name(self, failure: Callable[..., StorageDriverError]) -> None:
        assert "The name nowhere.invalid cannot be resolved" in str(failure("http://nowhere.invalid"))

    def test_one_that_speaks_no_tls(self, failure: Callable[..., StorageDriverError], silent: str) -> None:
        error = failure(silent.replace("http:", "https:"))
        assert error.kind in {Kind.TRANSIENT, Kind.PERMANENT}
        assert silent.removeprefix("http://") in str(error)

    @pytest.mark.parametrize("status", [200, 400, 404])
    def test_one_that_answers_a_web_page(
        self,
        failure: Callable[..., StorageDriverError],
        scripted: Callable[..., ScriptedServer],
        parameters: Callable[..., DriverParameters],
        status: int,
    ) -> None:
        def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
            handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
            respond(handler, status, b"<html><body><p>Welcome<br></body></html>", Content_Type="text/html")

        endpoint = scripted(answer).endpoint
        driver = S3Driver(parameters(regionendpoint=endpoint), timeouts=Timeouts(attempts=1))
        for call in (
            lambda: driver.list("/"),
            lambda: driver.put_content("/a", b"content"),
            lambda: driver.writer("/a"),
            lambda: driver.get_content("/a"),
            lambda: driver.delete("/a"),
            lambda: list(driver.multipart_uploads("/")),
        ):
            with pytest.raises(StorageDriverError):
                call()

    def test_one_that_closes_at_once(
        self, failure: Callable[..., StorageDriverError], scripted: Callable[..., ScriptedServer]
    ) -> None:
        endpoint = scripted(lambda handler, number: handler.connection.shutdown(socket.SHUT_RDWR)).endpoint
        assert "closed the connection before answering" in str(failure(endpoint))
