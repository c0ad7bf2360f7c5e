"""Signing in by password or by a one-time link, and setting a password."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm, SetPasswordForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from dashboard.forms.accounts import SignInForm
from dashboard.services import accounts


class SignInView(LoginView):
    """The sign-in page. It answers 429 while a name is throttled."""

    form_class = SignInForm
    template_name = "dashboard/sign_in.html"
    redirect_authenticated_user = True

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        throttled = isinstance(form, SignInForm) and form.throttled
        return self.render_to_response(self.get_context_data(form=form), status=429 if throttled else 200)


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_link(request: HttpRequest, uidb64: str, token: str) -> HttpResponse:
    """Show a button that spends the link. Opening it spends nothing: mail scanners and previews open links too."""
    user = accounts.link_user(uidb64, token)
    if user is None or (request.method == "POST" and not accounts.redeem(user)):
        return render(request, "dashboard/sign_in_link_void.html", status=410)
    if request.method == "POST":
        login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
        return redirect(settings.LOGIN_REDIRECT_URL)
    return render(request, "dashboard/sign_in_link.html", {"account": user})


class PasswordView(PasswordChangeView):
    """Changes one's password; who came by a link and has none yet sets the first."""

    template_name = "dashboard/password.html"
    success_url = reverse_lazy("overview")

    def get_form_class(self) -> type[Any]:
        user = cast("User", self.request.user)
        return super().get_form_class() if user.has_usable_password() else SetPasswordForm

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, "Your password is set.")
        return super().form_valid(form)
