"""The form of a registry row. Shape is checked here; meaning by `services.registries.check`, which asks the driver."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import MinLengthValidator

from dashboard.models import Membership, Registry
from dashboard.services import registries
from storagedriver.parameters import BUCKET_RULES, DEFAULT_CHUNK_BYTES, Rule
from storagedriver.parts import MAX_PART_BYTES, MAX_PARTS, MIB, MIN_PART_BYTES

if TYPE_CHECKING:  # at run time Django's forms take no type arguments
    RegistryModelForm = forms.ModelForm[Registry]
    MembershipModelForm = forms.ModelForm[Membership]
else:
    RegistryModelForm = MembershipModelForm = forms.ModelForm

ENDPOINT_RULES = (
    Rule("Begins with https:// or http://, or names the host alone.", r"(?:https?://(?!.*://)|(?!.*://)).*"),
    Rule("Has no path, user or question mark: host and, if need be, a port.", r"(?:[^/]*://)?[^/?#@\s]*/?"),
)
STORAGE_CLASSES = {
    "STANDARD": "STANDARD: for images that are pulled",
    "NONE": "NONE: send no class, the store decides (2.6 and later)",
    "REDUCED_REDUNDANCY": "REDUCED_REDUNDANCY: outdated, loses objects",
    "STANDARD_IA": "STANDARD_IA: half the price, each read costs; 30 days, 128 KB at least (3.x)",
    "ONEZONE_IA": "ONEZONE_IA: like STANDARD_IA, lost with its zone (3.x)",
    "INTELLIGENT_TIERING": "INTELLIGENT_TIERING: moves with use, a fee per object (3.x)",
    "GLACIER_IR": "GLACIER_IR: cheap to keep, dear to read; 90 days at least (3.x)",
    "EXPRESS_ONEZONE": "EXPRESS_ONEZONE: fast, in one zone, directory buckets only (3.x)",
    "OUTPOSTS": "OUTPOSTS: for S3 on Outposts only (3.x)",
}
STORED = "Stored. Leave empty to keep it."


class RuledField(forms.CharField):
    """Text whose rules the page shows as a list and checks while one types; the driver checks them again."""

    def __init__(self, *, rules: tuple[Rule, ...], **options: Any) -> None:
        super().__init__(**options)
        self.rules = rules


class MebibytesField(forms.Field):
    """A number of bytes, entered and shown in MiB, within S3's limits for parts."""

    widget = forms.NumberInput

    def prepare_value(self, value: Any) -> Any:
        return f"{(Decimal(value) / MIB).normalize():f}" if isinstance(value, int) else value

    def to_python(self, value: Any) -> int | None:
        """Return bytes."""
        if value in self.empty_values:
            return None
        low, high = MIN_PART_BYTES // MIB, MAX_PART_BYTES // MIB
        try:
            number = Decimal(str(value).strip())
            fits = low <= number <= high  # before the conversion: 1e999999 is a short text and a long int
        except InvalidOperation:
            fits = False
        if not fits:
            raise ValidationError(f"Enter a number of MiB from {low} to {high}: S3 takes no smaller or larger parts.")
        return int(number * MIB)


class SecretField(forms.CharField):
    """A secret on one line; what is stored never enters the page."""

    def __init__(self, **options: Any) -> None:
        widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password", "class": "vTextField"})
        super().__init__(widget=widget, required=False, **options)


class UnshownTextarea(forms.Textarea):
    """A text area that never shows its value, not even what was just sent."""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        return super().get_context(name, None, attrs)


class RegistryForm(RegistryModelForm):
    """Settings of one registry. `actor`, set by a subclass, is who edits.

    Secrets are write-only: their fields always show empty, and empty keeps what is stored.
    """

    actor: ClassVar[User]

    revision_seen = forms.IntegerField(required=False, widget=forms.HiddenInput)
    bucket = RuledField(
        label="Bucket",
        rules=BUCKET_RULES,
        max_length=255,  # longer than allowed, so that the rule itself can say so
        help_text="The bucket must exist. Wharfinger creates none.",
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false", "autocapitalize": "none"}),
    )
    region = forms.CharField(
        label="Region",
        max_length=64,
        required=False,
        help_text="The bucket's region, such as eu-central-1. With an endpoint of your own it may stay empty.",
        widget=forms.TextInput(attrs={"class": "vTextField", "list": "regions", "spellcheck": "false"}),
    )
    region_endpoint = RuledField(
        label="Endpoint",
        rules=ENDPOINT_RULES,
        max_length=255,
        required=False,
        help_text="Empty for Amazon S3. For another store its address, such as https://minio.example.org:9000.",
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false", "inputmode": "url"}),
    )
    chunk_size = MebibytesField(
        label="Chunk size",
        initial=DEFAULT_CHUNK_BYTES,
        help_text="MiB, from 5 to 5120. Layers are uploaded in parts of this size; a worker holds some of them in memory.",
        widget=forms.NumberInput(attrs={"min": MIN_PART_BYTES // MIB, "max": MAX_PART_BYTES // MIB, "step": "any"}),
    )
    storage_class = forms.ChoiceField(
        label="Storage class",
        choices=list(STORAGE_CLASSES.items()),
        initial="STANDARD",
        help_text="For new blobs. Classes that must be restored before reading are missing: images could not be pulled.",
    )
    secret_key = SecretField(label="Secret key", max_length=256)
    cloudfront_private_key = forms.CharField(
        label="Private key",
        required=False,
        max_length=16384,
        validators=[MinLengthValidator(64, "This is too short for a private key.")],
        widget=UnshownTextarea(attrs={"rows": 6, "class": "vLargeTextField mono", "spellcheck": "false"}),
    )
    cloudfront_off = forms.BooleanField(
        label="Turn CloudFront off",
        required=False,
        help_text="Forgets base URL, key pair ID and private key when you save.",
    )

    class Meta:
        model = Registry
        fields = registries.CONFIGURATION
        labels = {
            "slug": "Short name",
            "credentials_source": "Credentials",
        }
        help_texts = {
            "name": "What people read.",
            "slug": "For addresses and commands: /r/short-name/. Changing it breaks bookmarks.",
            "version": "Which registry software uses the bucket. It decides which values are allowed.",
            "root_directory": "Prefix of all keys, as in the registry's rootdirectory. Empty for the top of the bucket.",
            "secure": "For an endpoint that is written without http:// or https://.",
            "v4auth": "Keep it on. Only old stores know nothing but version 2.",
            "encryption": "Asked for with each object that is written; it never changes what is already there.",
            "kms_key_id": "Key ID, ARN or alias. Readers and writers need kms:Decrypt and kms:GenerateDataKey on it.",
            "access_key": "Identifier of the key, not secret. Give it only what the registry needs.",
            "cloudfront_base_url": "The distribution in front of the bucket, such as https://d111111abcdef8.cloudfront.net. "
            "Its origin path must be empty.",
            "cloudfront_key_pair_id": "Identifier of the public key in the distribution's key group, such as K2JCJMDEHXQW5F.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stored = self.instance.pk is not None
        self._kept = {name: getattr(self.instance, name) for name in ("secret_key", "cloudfront_private_key")}
        self.initial.update(dict.fromkeys(self._kept, ""), revision_seen=self.instance.revision if stored else None)
        for name, value in self._kept.items():
            self.fields[name].help_text = STORED if value else ""
        self.fields["cloudfront_private_key"].help_text = (
            f"{STORED if self._kept['cloudfront_private_key'] else ''} The text between and including "
            "-----BEGIN and END-----, RSA, unencrypted."
        ).strip()
        if not self.instance.cloudfront_base_url:
            del self.fields["cloudfront_off"]
        self._offer_choices()

    def _offer_choices(self) -> None:
        """Offer the server's own identity to superusers only, and a stored class that is none of the known."""
        field, server = self.fields["credentials_source"], Registry.Credentials.SERVER
        if not self.actor.is_superuser and self.instance.credentials_source != server:
            field.choices = [choice for choice in field.choices if choice[0] != server]  # type: ignore[attr-defined]
            field.help_text = "Only a superuser may let a registry use this server's own identity."
        stored_class = self.instance.storage_class
        if stored_class not in STORAGE_CLASSES:
            self.fields["storage_class"].choices.append((stored_class, stored_class))  # type: ignore[attr-defined]

    @property
    def largest_layer(self) -> int:
        """Bytes of the largest layer that the registry itself can upload with the stored chunk size."""
        return self.instance.chunk_size * MAX_PARTS

    def clean(self) -> dict[str, Any] | None:
        """Keep what is stored where nothing was entered, and refuse to overwrite what another changed meanwhile."""
        values = super().clean() or self.cleaned_data
        seen = values.get("revision_seen")
        if self.instance.pk is not None and seen != self.instance.revision:
            self.add_error(
                None, "Somebody changed this registry after you opened the form. Open it again and repeat your changes."
            )
        self._secret_entered = bool(values.get("secret_key"))
        for name, kept in self._kept.items():
            values[name] = values.get(name) or kept
        if values.get("cloudfront_off"):
            values.update(dict.fromkeys(registries.CLOUDFRONT_FIELDS.values(), ""))
        return values

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        shapeless = {name for name in self.errors if name in registries.CONFIGURATION}
        try:
            registries.check(self.instance, actor=self.actor, secret_entered=self._secret_entered)
        except ValidationError as problem:
            for field, messages in problem.message_dict.items():
                if field not in shapeless:  # a value that did not arrive cannot be judged
                    self.add_error(field, messages)


class MembershipForm(MembershipModelForm):
    """A member, named by username."""

    user = forms.ModelChoiceField(
        User.objects.filter(is_active=True),
        to_field_name="username",
        widget=forms.TextInput(attrs={"class": "vTextField", "list": "usernames", "autocomplete": "off"}),
        error_messages={"invalid_choice": "There is no active user of this name. A superuser can add one under Users."},
    )

    class Meta:
        model = Membership
        fields = ("user", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            self.initial["user"] = self.instance.user
