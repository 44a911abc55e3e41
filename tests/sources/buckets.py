"""Buckets of the Swift server that `conftest.py` starts."""

from __future__ import annotations

import datetime as dt
import urllib.request
import uuid

import obstore
from obstore.store import S3Store

KEYS = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}


def store_of(swift: str, bucket: str) -> S3Store:
    return S3Store(
        bucket,
        endpoint=swift,
        access_key_id="test:tester",
        secret_access_key="testing",
        region="us-east-1",
        client_options={"allow_http": True},
    )


def new_bucket(swift: str) -> str:
    """Make an empty bucket and return its name."""
    name = f"b-{uuid.uuid4().hex[:12]}"
    signed = obstore.sign(store_of(swift, name), "PUT", "", dt.timedelta(minutes=1))
    with urllib.request.urlopen(urllib.request.Request(signed, method="PUT", data=b"")) as answer:
        assert answer.status == 200
    return name
