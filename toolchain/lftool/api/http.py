"""HTTP for plugins: a client with lftool's rules, its answers, and the pace that a connection must keep."""

from __future__ import annotations

from lftool.api.hosts import is_loopback
from lftool.api.http_answers import HTTPAnswer, masked_url
from lftool.api.http_client import HTTPClient
from lftool.api.stalls import Pace, header_seconds, least_rate, stall_seconds

__all__ = [
    "HTTPAnswer",
    "HTTPClient",
    "Pace",
    "header_seconds",
    "is_loopback",
    "least_rate",
    "masked_url",
    "stall_seconds",
]
