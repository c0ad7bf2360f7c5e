"""Signing in by password and by link."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dashboard.services import accounts
from tests.dashboard.factories import PASSWORD, make_superuser, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return make_user("alice")


@pytest.fixture(autouse=True)
def _cache(settings: object) -> None:
    """A cache of the test's own: the embedded one is a table that migrations do not make."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}  # type: ignore[attr-defined]
    accounts.cache.clear()


def attempt(client: Client, username: str, password: str, address: str = "192.0.2.1") -> int:
    data = {"username": username, "password": password}
    return client.post(reverse("sign_in"), data, REMOTE_ADDR=address).status_code


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


class TestPassword:
    def test_it_works(self, client: Client, alice: User) -> None:
        assert attempt(client, "alice", PASSWORD) == 302
        assert is_signed_in(client)

    def test_it_goes_to_the_page_that_was_asked_for(self, client: Client, alice: User) -> None:
        response = client.post(reverse("sign_in"), {"username": "alice", "password": PASSWORD, "next": "/jobs/"})
        assert response["Location"] == "/jobs/"

    def test_it_goes_to_no_other_site(self, client: Client, alice: User) -> None:
        data = {"username": "alice", "password": PASSWORD, "next": "https://evil.example/"}
        assert client.post(reverse("sign_in"), data)["Location"] == "/"

    @pytest.mark.parametrize("username", ["alice", "nobody"])
    def test_it_says_the_same_of_wrong_passwords_and_unknown_users(
        self, client: Client, alice: User, username: str
    ) -> None:
        response = client.post(reverse("sign_in"), {"username": username, "password": "wrong"})
        assert "do not match an active account" in response.content.decode()

    def test_it_says_the_same_of_inactive_users(self, client: Client, alice: User) -> None:
        User.objects.update(is_active=False)
        response = client.post(reverse("sign_in"), {"username": "alice", "password": PASSWORD})
        assert "do not match an active account" in response.content.decode()

    def test_it_never_repeats_the_password(self, client: Client, alice: User) -> None:
        response = client.post(reverse("sign_in"), {"username": "alice", "password": "hunter2-hunter2"})
        assert "hunter2" not in response.content.decode()


class TestThrottle:
    @pytest.mark.parametrize("username", ["alice", "nobody"])
    def test_the_sixth_attempt_is_refused(self, client: Client, alice: User, username: str) -> None:
        codes = [attempt(client, username, "wrong") for _ in range(6)]
        assert codes == [200] * 5 + [429]

    def test_a_right_password_does_not_pass_it(self, client: Client, alice: User) -> None:
        for _ in range(5):
            attempt(client, "alice", "wrong")
        assert attempt(client, "alice", PASSWORD) == 429
        assert not is_signed_in(client)

    def test_it_counts_a_name_however_it_is_written(self, client: Client, alice: User) -> None:
        for username in ("alice", "ALICE", "Alice", "aLICE", "alicE"):
            attempt(client, username, "wrong")
        assert attempt(client, "alice", PASSWORD) == 429

    def test_it_leaves_other_addresses_alone(self, client: Client, alice: User) -> None:
        for _ in range(5):
            attempt(client, "alice", "wrong")
        assert attempt(client, "alice", PASSWORD, address="192.0.2.2") == 302

    def test_a_forged_header_is_no_other_address(self, client: Client, alice: User) -> None:
        for number in range(5):
            data = {"username": "alice", "password": "wrong"}
            client.post(reverse("sign_in"), data, REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")
        assert attempt(client, "alice", PASSWORD) == 429

    def test_behind_a_trusted_proxy_each_visitor_counts_alone(self, client: Client, alice: User, settings: Any) -> None:
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
        data = {"username": "alice", "password": "wrong"}
        for number in range(5):
            claimed = f"192.0.2.{number}, 198.51.100.7"  # the proxy wrote the last one
            client.post(reverse("sign_in"), data, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=claimed)
        answers = [
            client.post(reverse("sign_in"), data, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=address).status_code
            for address in ("198.51.100.7", "198.51.100.8")
        ]
        assert answers == [429, 200]

    def test_success_forgets_failures(self, client: Client, alice: User) -> None:
        for _ in range(4):
            attempt(client, "alice", "wrong")
        attempt(client, "alice", PASSWORD)
        client.logout()
        assert [attempt(client, "alice", "wrong") for _ in range(5)] == [200] * 5

    def test_the_admin_has_no_other_door(self, client: Client, alice: User) -> None:
        response = client.post("/admin/login/", {"username": "alice", "password": PASSWORD})
        assert response["Location"].startswith(reverse("sign_in"))
        assert not is_signed_in(client)


class TestLink:
    def test_it_works(self, client: Client, alice: User) -> None:
        link = accounts.sign_in_link(alice)
        assert "Sign in as alice" in client.get(link).content.decode()
        assert client.post(link)["Location"] == "/"
        assert is_signed_in(client)

    def test_looking_at_it_does_not_spend_it(self, client: Client, alice: User) -> None:
        link = accounts.sign_in_link(alice)
        client.get(link)
        assert not is_signed_in(client)
        assert client.get(link).status_code == 200

    def test_it_works_once(self, client: Client, alice: User) -> None:
        link = accounts.sign_in_link(alice)
        client.post(link)
        assert Client().post(link).status_code == 410

    def test_it_works_once_even_within_the_second_of_an_earlier_sign_in(self, client: Client, alice: User) -> None:
        now = timezone.now().replace(microsecond=1)
        User.objects.update(last_login=now)
        alice.refresh_from_db()
        link = accounts.sign_in_link(alice)
        User.objects.update(last_login=now.replace(microsecond=2))
        assert client.post(link).status_code == 410

    def test_of_two_at_once_one_wins(self, alice: User) -> None:
        first, second = User.objects.get(), User.objects.get()
        assert [accounts.redeem(first), accounts.redeem(second)] == [True, False]

    def test_it_expires(self, client: Client, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
        link = accounts.sign_in_link(alice)
        now = accounts._tokens._now()  # type: ignore[attr-defined]
        monkeypatch.setattr(accounts._tokens, "_now", lambda: now + timedelta(hours=24, seconds=1))
        assert client.get(link).status_code == 410

    def test_it_is_no_password_reset_token(self, alice: User) -> None:
        from django.contrib.auth.tokens import default_token_generator

        uid, token = accounts.sign_in_link(alice).strip("/").split("/")[-2:]
        assert accounts.link_user(uid, token) == alice
        assert not default_token_generator.check_token(alice, token)

    @pytest.mark.parametrize("path", ["!!/x", "AAAA/x", "MQ/x-y", "OTk5OTk5OTk5OTk5OTk5OTk5OTk/x"])
    def test_nonsense_is_void(self, client: Client, alice: User, path: str) -> None:
        assert client.get(f"/sign-in/link/{path}/").status_code == 410

    def test_an_inactive_user_has_none(self, client: Client, alice: User) -> None:
        link = accounts.sign_in_link(alice)
        User.objects.update(is_active=False)
        assert client.post(link).status_code == 410


class TestFirstPassword:
    def test_who_has_none_sets_one_without_the_old(self, client: Client) -> None:
        user = make_superuser()
        user.set_unusable_password()
        user.save(update_fields=["password"])
        client.force_login(user)
        password = "an anchor in the mud"
        client.post(reverse("password"), {"new_password1": password, "new_password2": password})
        user.refresh_from_db()
        assert user.check_password(password)

    def test_who_has_one_needs_it(self, client: Client, alice: User) -> None:
        client.force_login(alice)
        password = "an anchor in the mud"
        client.post(reverse("password"), {"new_password1": password, "new_password2": password})
        alice.refresh_from_db()
        assert alice.check_password(PASSWORD)
