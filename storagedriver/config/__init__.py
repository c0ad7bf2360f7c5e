"""A registry's config.yml and REGISTRY_* environment: read into typed sections, written for a chosen version."""

from __future__ import annotations

from storagedriver.config.document import ConfigError
from storagedriver.config.reading import parse_config
from storagedriver.config.rendering import render_config, render_environment
from storagedriver.config.sections import (
    Cache,
    CloudFrontMiddleware,
    Delete,
    Maintenance,
    Middleware,
    Redirect,
    RedirectMiddleware,
    RegistryConfig,
    RewriteMiddleware,
    Tag,
    UnknownMiddleware,
    UploadPurging,
)

__all__ = [
    "Cache",
    "CloudFrontMiddleware",
    "ConfigError",
    "Delete",
    "Maintenance",
    "Middleware",
    "Redirect",
    "RedirectMiddleware",
    "RegistryConfig",
    "RewriteMiddleware",
    "Tag",
    "UnknownMiddleware",
    "UploadPurging",
    "parse_config",
    "render_config",
    "render_environment",
]
