"""The site: settings, URLs, Celery, WSGI and the checks that refuse an unsafe production."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
