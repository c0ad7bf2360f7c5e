"""Registry rows in the admin, for superusers and for staff who administer a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.forms import BaseModelFormSet
from django.forms.widgets import Script
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST

from dashboard.forms.registries import MembershipForm, RegistryForm
from dashboard.jobs import KINDS
from dashboard.models import Job, Membership, Registry, Role
from dashboard.services import jobs, registries
from storagedriver.parameters import known_regions

if TYPE_CHECKING:  # at run time Django's admin takes no type arguments
    MembershipAdminInline = admin.TabularInline[Membership, Registry]
    RegistryModelAdmin = admin.ModelAdmin[Registry]
else:
    MembershipAdminInline, RegistryModelAdmin = admin.TabularInline, admin.ModelAdmin

TEST = "_test"  # the name of the button that saves and tests
SUGGESTED_USERS = 500


def _user(request: HttpRequest) -> User:
    return cast("User", request.user)


def administers(user: Any, registry: Registry | None = None) -> bool:
    """Say whether somebody may edit a registry here, or any registry at all if none is given."""
    if not (user.is_active and user.is_staff):
        return False
    if registry is not None:
        return registry.allows(user, Role.ADMINISTRATOR)
    return user.is_superuser or Membership.objects.filter(user=user, role=Role.ADMINISTRATOR).exists()


class MembershipInline(MembershipAdminInline):
    """Members and their roles."""

    model = Membership
    form = MembershipForm
    extra = 0
    verbose_name = "member"
    verbose_name_plural = "members"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return obj is None or administers(request.user, cast("Registry", obj))

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission


class RegistryChangeList(ChangeList):
    """The list of visible registries; those that the user does not administer lead to their page instead of the form."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.user = request.user

    def url_for_result(self, result: Any) -> str:
        if administers(self.user, result):
            return super().url_for_result(result)
        return str(result.get_absolute_url())


@admin.register(Registry)
class RegistryAdmin(RegistryModelAdmin):
    """Adds, edits, tests and forgets registries. What counts is `services.registries`; this is its door."""

    form = RegistryForm
    inlines = (MembershipInline,)
    list_display = ("name", "short_name", "bucket", "place", "version", "encryption", "storage_class")
    search_fields = ("name", "slug", "bucket")
    prepopulated_fields = {"slug": ("name",)}
    actions = None  # deleting goes one by one, with its page
    save_on_top = False

    class Media:
        js = (Script("dashboard/registry-form.js", type="module"),)

    @admin.display(description="short name", ordering="slug")
    def short_name(self, registry: Registry) -> str:
        return registry.slug

    @admin.display(description="region or endpoint", ordering="region_endpoint")
    def place(self, registry: Registry) -> str:
        return registry.region_endpoint or registry.region

    # Who may do what

    def get_queryset(self, request: HttpRequest) -> QuerySet[Registry]:
        return Registry.objects.visible_to(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return administers(request.user) or self.has_add_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Registry | None = None) -> bool:
        return self.has_module_permission(request) if obj is None else administers(request.user, obj)

    def has_change_permission(self, request: HttpRequest, obj: Registry | None = None) -> bool:
        return administers(request.user, obj)

    has_delete_permission = has_change_permission

    def get_prepopulated_fields(self, request: HttpRequest, obj: Registry | None = None) -> Any:
        return {} if obj else self.prepopulated_fields

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RegistryChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"title": "Registries", **(extra_context or {})})

    # The form

    def get_fieldsets(self, request: HttpRequest, obj: Registry | None = None) -> Any:
        """Group the fields by subject, in the order in which somebody with a config.yml at hand fills them in."""
        cloudfront = ["cloudfront_base_url", "cloudfront_key_pair_id", "cloudfront_private_key"]
        if obj is not None and obj.cloudfront_base_url:
            cloudfront.append("cloudfront_off")
        return [
            ("Identity", {"fields": ["revision_seen", "name", "slug", "version", "public_host"]}),
            (
                "Bucket",
                {
                    "fields": ["bucket", "region", "region_endpoint", "secure", "v4auth", "root_directory"],
                    "description": "Where the registry keeps its objects, as under storage.s3 in its config.yml.",
                },
            ),
            (
                "Credentials",
                {
                    "fields": ["credentials_source", "access_key", "secret_key"],
                    "description": "Secrets are stored encrypted and are never shown again.",
                },
            ),
            ("Encryption and storage class", {"fields": ["encryption", "kms_key_id", "storage_class"]}),
            ("Transfers", {"fields": ["chunk_size"]}),
            (
                "CloudFront",
                {
                    "fields": cloudfront,
                    "description": "Only if pulls are redirected to a CloudFront distribution: all three values or none.",
                },
            ),
        ]

    def get_form(self, request: HttpRequest, obj: Registry | None = None, change: bool = False, **kwargs: Any) -> Any:
        return type("RegistryForm", (super().get_form(request, obj, change=change, **kwargs),), {"actor": request.user})

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Registry | None = None,
    ) -> HttpResponse:
        context |= {
            "regions": sorted(known_regions()),
            "usernames": self.suggested_users(request),
            "show_save_and_add_another": False,
            "test_button": TEST,
        }
        if obj is not None:
            form = context["adminform"].form
            context["setting_warnings"] = [] if form.is_bound else labelled(form, registries.warnings(obj))
            context |= connection_context(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def suggested_users(self, request: HttpRequest) -> list[str]:
        """Return names for the members' field; only a superuser is told who has an account here."""
        if not _user(request).is_superuser:
            return []
        users = User.objects.filter(is_active=True).order_by("username")
        return list(users.values_list("username", flat=True)[:SUGGESTED_USERS])

    # Saving

    @method_decorator(sensitive_post_parameters("secret_key", "cloudfront_private_key"))
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except registries.RegistryChanged:
            messages.error(
                request, "Somebody else has just changed this registry. Nothing was saved; look at it again."
            )
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Registry, form: Any, change: bool) -> None:
        if change:
            registries.update(registry=obj, actor=_user(request))
        else:
            registries.create(registry=obj)

    def save_related(
        self, request: HttpRequest, form: Any, formsets: list[BaseModelFormSet[Any, Any]], change: bool
    ) -> None:
        super().save_related(request, form, formsets, change)
        if not change:
            registries.admit_creator(registry=form.instance, actor=_user(request))

    def response_add(self, request: HttpRequest, obj: Registry, post_url_continue: str | None = None) -> HttpResponse:
        return self.saved(request, obj) or super().response_add(request, obj, post_url_continue)

    def response_change(self, request: HttpRequest, obj: Registry) -> HttpResponse:
        return self.saved(request, obj) or super().response_change(request, obj)

    def saved(self, request: HttpRequest, registry: Registry) -> HttpResponse | None:
        """Tell the warnings; after "Save and test connection" start the test and come back to its panel."""
        for field, message in registries.warnings(registry):
            messages.warning(request, f"{field_label(field)}: {message}" if field else message)
        if TEST not in request.POST or IS_POPUP_VAR in request.POST:
            return None
        messages.success(request, f"{registry} was saved.")
        self.start_check(request, registry)
        return HttpResponseRedirect(f"{reverse('admin:dashboard_registry_change', args=[registry.pk])}#connection")

    # The connection test

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/check/", wrap(require_POST(self.check_view)), name="dashboard_registry_check"),
            path("<int:pk>/connection/", wrap(require_GET(self.connection_view)), name="dashboard_registry_connection"),
            *super().get_urls(),
        ]

    def administered(self, request: HttpRequest, pk: int) -> Registry:
        """Return the registry. Raises Http404 for strangers and PermissionDenied below administrator."""
        registry = self.get_object(request, str(pk))
        if registry is None:
            raise Http404
        if not self.has_change_permission(request, registry):
            raise PermissionDenied
        return registry

    def check_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Start a connection test with the stored settings."""
        registry = self.administered(request, pk)
        self.start_check(request, registry)
        return HttpResponseRedirect(f"{reverse('admin:dashboard_registry_change', args=[pk])}#connection")

    @method_decorator(never_cache)
    def connection_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The panel of the last connection test, which htmx renews while the test runs."""
        registry = self.administered(request, pk)
        return render(request, "admin/dashboard/registry/_connection.html", connection_context(registry))

    def start_check(self, request: HttpRequest, registry: Registry) -> None:
        try:
            jobs.start(kind="check", registry=registry, actor=_user(request))
        except jobs.JobRefused as refused:
            messages.warning(request, str(refused))

    # Deleting

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return counts: a list of a million blobs helps nobody. Active jobs stand in the way."""
        registry = objs[0]
        counts = {
            "repositories": registry.repositories.count(),
            "manifests": registry.manifests.count(),
            "blobs": registry.blobs.count(),
            "members": registry.memberships.count(),
            "jobs with their logs": registry.jobs.count(),
        }
        active = [f"Job {job.pk}, {KINDS[job.kind].title}" for job in registry.jobs.active()]
        return [str(registry)], counts, set(), active

    def delete_model(self, request: HttpRequest, obj: Registry) -> None:
        registries.delete(registry=obj, actor=_user(request))


def connection_context(registry: Registry) -> dict[str, Any]:
    """Return what the connection panel shows: the last test, the checks it has made, and whether it fits the settings."""
    job = Job.objects.filter(registry=registry, kind="check").first()
    if job is None:
        return {"registry": registry, "check_job": None}
    checks = job.result.get("checks")
    if checks is None:
        shard = job.shards.first()
        checks = shard.result.get("checks", []) if shard else []
    return {
        "registry": registry,
        "check_job": job,
        "checks": checks,
        "check_is_old": job.revision != registry.revision,
        "failed_checks": [check for check in checks if check["outcome"] == "failed"],
        "warned_checks": [check for check in checks if check["outcome"] == "warning"],
    }


def field_label(field: str) -> str:
    """Return the form's name of a field."""
    return str(RegistryForm.base_fields[field].label)


def labelled(form: Any, warnings: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Return warnings with the label and the id of the field that each is about, empty for none."""
    return [
        {"label": field_label(field), "id": form[field].id_for_label, "message": message}
        if field
        else {"label": "", "id": "", "message": message}
        for field, message in warnings
    ]
