"""The WSGI application. It refuses to start when a system check finds an error: gunicorn runs no checks itself."""

from __future__ import annotations

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

application = get_wsgi_application()
call_command("check", verbosity=0)
