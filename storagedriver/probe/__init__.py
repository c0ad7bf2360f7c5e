"""Asking a bucket, live, whether it does what a registry needs."""

from __future__ import annotations

from storagedriver.probe.connection import TIMEOUTS, CheckResult, Outcome, check_connection

__all__ = ["TIMEOUTS", "CheckResult", "Outcome", "check_connection"]
