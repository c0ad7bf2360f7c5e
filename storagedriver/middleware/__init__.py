"""Storage middlewares: what answers redirects in the driver's place."""

from __future__ import annotations

from storagedriver.middleware.chain import Chain, build
from storagedriver.middleware.cloudfront import CloudFront
from storagedriver.middleware.redirect import Redirect
from storagedriver.middleware.rewrite import Rewrite

__all__ = ["Chain", "CloudFront", "Redirect", "Rewrite", "build"]
