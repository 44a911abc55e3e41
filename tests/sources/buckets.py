"""Buckets of the Swift server that `conftest.py` starts."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import urllib.request
import uuid
from urllib.parse import urlsplit

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


def keep_versions(swift: str, bucket: str) -> None:
    """Turn on versioning, which obstore cannot: one request, signed as S3 wants it (Signature Version 4)."""
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    host, now = urlsplit(swift).netloc, dt.datetime.now(dt.UTC)
    day, stamp, digest = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    canonical = "\n".join(["PUT", f"/{bucket}", "versioning=", *lines, "", names, digest])
    scope = f"{day}/us-east-1/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + KEYS["AWS_SECRET_ACCESS_KEY"].encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    identity = f"{KEYS['AWS_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={identity}, SignedHeaders={names}, Signature={signature}"
    request = urllib.request.Request(f"{swift}/{bucket}?versioning", method="PUT", data=body, headers=headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
