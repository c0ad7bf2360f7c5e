"""Where a registry's credentials come from: its own keys, a profile, a role to assume, or this server's identity.

A source never falls back to another one: blank keys, or a profile without credentials, are an error.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
    ReadOnlyCredentials,
)
from botocore.exceptions import CredentialRetrievalError, NoCredentialsError

from storagedriver.endpoints import EndpointPolicy, guard_client
from storagedriver.parameters import DriverParameters

if TYPE_CHECKING:
    from botocore.loaders import Loader

SESSION_NAME = "wharfinger"
STS_CONFIG = Config(
    connect_timeout=5,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # the stubs miss it
)
# What botocore asks when a profile holds no credentials: the environment, the container, the machine.
SERVER_SOURCES = ("env", "container-role", "iam-role")


def session(parameters: DriverParameters, loader: Loader | None, policy: EndpointPolicy) -> boto3.Session:
    """Return a session that signs with the parameters' credentials; a role is assumed when it is first needed.

    `loader` is a botocore data loader to share, since it keeps the parsed service models. Raises ValueError for static
    credentials without keys, and botocore's ProfileNotFound.
    """
    source = parameters.credentials
    core = botocore.session.Session(profile=parameters.profile or None)
    if loader is not None:
        core.register_component("data_loader", loader)
    keys = _keys(parameters) if source == "static" or parameters.accesskey else {}
    if parameters.profile:
        resolver = core.get_component("credential_provider")
        for method in SERVER_SOURCES:
            resolver.remove(method)
    if source == "role":
        provider = _AssumedRole(core, parameters, keys, policy)
        core.register_component("credential_provider", CredentialResolver([provider]))
        keys = {}
    return boto3.Session(botocore_session=core, region_name=parameters.region, **keys)


def _keys(parameters: DriverParameters) -> dict[str, str]:
    if not (parameters.accesskey and parameters.secretkey):
        # Empty strings would make boto3 fall back to the server's own identity.
        raise ValueError("static credentials need accesskey and secretkey")
    keys = {"aws_access_key_id": parameters.accesskey, "aws_secret_access_key": parameters.secretkey.reveal()}
    if parameters.sessiontoken:
        keys["aws_session_token"] = parameters.sessiontoken.reveal()
    return keys


class _Resolved:
    """Credentials that are looked for when they are first used, not when a client is built."""

    def __init__(self, resolver: CredentialResolver) -> None:
        self._resolver = resolver

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        found = self._resolver.load_credentials()
        if found is None:
            raise NoCredentialsError
        frozen: ReadOnlyCredentials = found.get_frozen_credentials()
        return frozen


class _AssumedRole(CredentialProvider):
    """Assumes the parameters' role, by their keys, their profile or this server's identity, and renews it in time."""

    METHOD = "assume-role"

    def __init__(
        self,
        core: botocore.session.Session,
        parameters: DriverParameters,
        keys: dict[str, str],
        policy: EndpointPolicy,
    ) -> None:
        super().__init__()
        self._core, self._parameters, self._policy = core, parameters, policy
        self._source: Any = (
            Credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"], keys.get("aws_session_token"))
            if keys
            else _Resolved(core.get_component("credential_provider"))
        )

    def load(self) -> DeferredRefreshableCredentials:
        """Return credentials that call STS when they are first used and whenever they are about to expire."""
        arguments = {"RoleSessionName": SESSION_NAME}
        if self._parameters.externalid:
            arguments["ExternalId"] = self._parameters.externalid
        fetcher = AssumeRoleCredentialFetcher(self._sts, self._source, self._parameters.rolearn, extra_args=arguments)

        def fetch() -> dict[str, Any]:
            found: dict[str, Any] = fetcher.fetch_credentials()
            if datetime.fromisoformat(found["expiry_time"]) <= datetime.now(
                UTC
            ):  # botocore's own error is no BotoCoreError
                raise CredentialRetrievalError(
                    provider=self.METHOD, error_msg="they have expired already; synchronise this server's clock (NTP)"
                )
            return found

        return DeferredRefreshableCredentials(refresh_using=fetch, method=self.METHOD)

    def _sts(self, service: str, **keys: str) -> Any:
        client = self._core.create_client(
            service,
            region_name=self._parameters.region,
            endpoint_url=self._parameters.sts_url,
            use_ssl=True,
            verify=False if self._parameters.skipverify else None,
            config=STS_CONFIG,
            **keys,
        )
        guard_client(client, self._policy)
        return client
