"""The admin site, wearing the dashboard's shell."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig


class WharfingerAdminSite(admin.AdminSite):
    """Django's admin with our name; templates/admin/base_site.html gives it the dashboard's colours."""

    site_header = "Wharfinger administration"
    site_title = "Wharfinger"
    index_title = "Settings"


class WharfingerAdminConfig(AdminConfig):
    """Makes WharfingerAdminSite the default site."""

    default_site = "project.admin_site.WharfingerAdminSite"
