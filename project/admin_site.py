"""The admin site, wearing the dashboard's shell."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.decorators import method_decorator


class WharfingerAdminSite(admin.AdminSite):
    """Django's admin with our name; templates/admin/base_site.html gives it the dashboard's colours."""

    site_header = "Wharfinger administration"
    site_title = "Wharfinger"
    index_title = "Settings"

    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Send visitors to the dashboard's sign-in: one door, with one brake on guessing passwords."""
        # Models cannot be imported while this module, an app's config, is loaded.
        from django.contrib.auth.views import redirect_to_login

        target = request.GET.get(REDIRECT_FIELD_NAME) or reverse("admin:index")
        if self.has_permission(request):
            return redirect("admin:index")
        if request.user.is_authenticated:
            raise PermissionDenied("The administration is for staff accounts. Ask a superuser to make yours one.")
        return redirect_to_login(target)


class WharfingerAdminConfig(AdminConfig):
    """Makes WharfingerAdminSite the default site."""

    default_site = "project.admin_site.WharfingerAdminSite"
