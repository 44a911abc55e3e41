"""What a recipe may say about an object store; credentials come from the environment."""

from __future__ import annotations

from attrs import field, frozen


@frozen(kw_only=True)
class Options:
    """`options` of an `s3:`, `gs:` or `az:` source."""

    endpoint: str | None = field(
        default=None, metadata={"doc": "URL of another server than the provider's; default `AWS_ENDPOINT_URL`."}
    )
    region: str | None = field(default=None, metadata={"doc": "Region of the bucket; default `AWS_REGION`."})
    profile: str | None = field(
        default=None, metadata={"doc": "Profile of the shared AWS credentials file; default `AWS_PROFILE`."}
    )
    anonymous: bool = field(default=False, metadata={"doc": "Ask without credentials, as for public buckets."})
