"""The dashboard's addresses. Repository names come last: they hold slashes and must not collide with a page's verb."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path, register_converter

from dashboard.views import accounts, archives, health, jobs, manifests, registries, repositories, uploads
from storagedriver.layout.digests import check_digest
from storagedriver.layout.references import check_repository


class RepositoryConverter:
    """A repository name by the registry's grammar."""

    regex = "[a-z0-9._/-]{1,255}"

    def to_python(self, value: str) -> str:
        return check_repository(value)

    def to_url(self, value: str) -> str:
        return value


class DigestConverter:
    """A whole digest, algorithm and all."""

    regex = "[a-z0-9]+:[0-9a-f]+"

    def to_python(self, value: str) -> str:
        return check_digest(value)

    def to_url(self, value: str) -> str:
        return value


register_converter(RepositoryConverter, "repository")
register_converter(DigestConverter, "digest")

urlpatterns = [
    path("", registries.overview, name="overview"),
    path("registries/", registries.registry_list, name="registry_list"),
    path("r/<slug:slug>/", registries.registry_detail, name="registry_detail"),
    path("r/<slug:slug>/scan/", registries.scan_start, name="scan_start"),
    path("r/<slug:slug>/check/", registries.check_start, name="check_start"),
    path("r/<slug:slug>/repositories/", repositories.repository_list, name="repository_list"),
    path("r/<slug:slug>/tags/<repository:repository>", repositories.repository_tags, name="repository_tags"),
    path(
        "r/<slug:slug>/manifests/<digest:digest>/<repository:repository>",
        manifests.manifest_detail,
        name="manifest_detail",
    ),
    path("r/<slug:slug>/raw/<digest:digest>/<repository:repository>", manifests.manifest_raw, name="manifest_raw"),
    path("r/<slug:slug>/uploads/", uploads.upload_list, name="upload_list"),
    path("r/<slug:slug>/import/", archives.archive_upload, name="archive_upload"),
    path("jobs/", jobs.job_list, name="job_list"),
    path("jobs/<int:pk>/", jobs.job_detail, name="job_detail"),
    path("jobs/<int:pk>/progress/", jobs.job_progress, name="job_progress"),
    path("jobs/<int:pk>/cancel/", jobs.job_cancel, name="job_cancel"),
    path("jobs/<int:pk>/retry/", jobs.job_retry, name="job_retry"),
    path("sign-in/", accounts.SignInView.as_view(), name="sign_in"),
    path("sign-in/link/<str:uidb64>/<str:token>/", accounts.sign_in_link, name="sign_in_link"),
    path("sign-out/", LogoutView.as_view(), name="sign_out"),
    path("account/password/", accounts.PasswordView.as_view(), name="password"),
    path("healthz/live", health.live, name="health_live"),
    path("healthz/ready", health.ready, name="health_ready"),
]
