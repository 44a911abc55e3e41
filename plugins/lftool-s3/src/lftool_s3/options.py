"""What a recipe may say about an object store; whose credentials are sent where, only the user says."""

from __future__ import annotations

from attrs import field, frozen


@frozen(kw_only=True)
class Options:
    """`options` of an `s3:`, `gs:` or `az:` source."""

    endpoint: str | None = field(
        default=None,
        metadata={
            "doc": "URL of a server other than the provider's; default `AWS_ENDPOINT_URL`. Requests to any other"
            " endpoint are anonymous, unless your credentials.toml names its host."
        },
    )
    region: str | None = field(default=None, metadata={"doc": "Region of the bucket; default `AWS_REGION`."})
    anonymous: bool = field(default=False, metadata={"doc": "Send no credentials, for public buckets."})
