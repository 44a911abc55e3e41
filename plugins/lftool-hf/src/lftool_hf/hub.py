"""The Hub that the user names: its address, the token for it, and its client's errors as ours."""

from __future__ import annotations

import contextlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lftool.api import FetchError, TransientError, UnavailableError, UsageError
from lftool.api.http import masked_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lftool.api import Credentials
    from lftool_hf.address import Address

_PASSING = {408, 429, 500, 502, 503, 504}
SIGN_IN = "set HF_TOKEN to a token with read access, or run `hf auth login`"
SIGN_IN_TO_WRITE = (
    "set HF_TOKEN to a token with write access, or run `hf auth login` with one; a push creates no repository:"
    " `hf repo create OWNER/NAME` does"
)


def endpoint() -> str:
    """Return the URL of the Hub.

    Raises:
        UsageError: `HF_ENDPOINT` has no scheme.
    """
    from huggingface_hub.constants import ENDPOINT

    if not ENDPOINT.startswith(("https://", "http://")):
        raise UsageError(
            f"HF_ENDPOINT is {ENDPOINT!r}, which has no scheme", hints=(f"write HF_ENDPOINT=https://{ENDPOINT}",)
        )
    return str(ENDPOINT)


def headers_for_hub(credentials: Credentials) -> Mapping[str, str]:
    """Return the headers for the endpoint's host, and for no other."""
    from huggingface_hub import get_token
    from huggingface_hub.constants import ENDPOINT

    named = credentials.named(ENDPOINT)
    if named is not None and named.headers:
        return named.headers
    token = get_token()
    return {} if token is None else {"authorization": f"Bearer {token}"}


def _broken_connections() -> type[Exception]:
    """Return what huggingface_hub lets through when it gets no answer: line 0 asks with requests, later ones with httpx2."""
    if metadata.version("huggingface-hub").startswith("0."):
        from requests import RequestException  # noqa: PLC0415 - what is there depends on the line

        return RequestException
    from httpx2 import TransportError

    return TransportError


def _reason(error: BaseException) -> str:
    """Return what the system says of a connection: what is around it repeats addresses, attempts and request ids."""
    found: str | None = None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.strerror:
            found = cause.strerror
        cause = cause.__cause__ or cause.__context__
    return found or type(error).__name__


@contextlib.contextmanager
def sorted_errors(what: str, address: Address, sign_in: str = SIGN_IN) -> Iterator[None]:
    """Turn huggingface_hub's errors into ours; its own messages hold URLs and request ids, ours what to do.

    Args:
        what: What is done, for messages, such as `source 'hf://…'`.
        address: Where.
        sign_in: What to do where a token is missing, or may not do this.
    """
    from huggingface_hub import errors

    broken = _broken_connections()
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise UnavailableError(
            f"{what}: HF_HUB_OFFLINE is set, so lftool does not contact the Hub",
            hints=("unset it: env -u HF_HUB_OFFLINE lftool …",),
        ) from error
    except errors.GatedRepoError as error:
        raise FetchError(
            f"{what}: {address.repository} is gated: you must accept its terms first",
            hints=("accept them on the repository's page", sign_in),
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FetchError(f"{what}: {address.repository} has no revision {address.ref!r}") from error
    except errors.RepositoryNotFoundError as error:
        raise FetchError(
            f"{what}: there is no {address.kind} {address.repository}, or it is private", hints=(sign_in,)
        ) from error
    except errors.HfHubHTTPError as error:
        answer: Any = error.response
        status = answer.status_code
        if status in _PASSING:
            raise TransientError(f"the Hub returned {status}") from error
        raise FetchError(
            f"{what}: the Hub returned {status}", hints=(sign_in,) if status in {401, 403} else ()
        ) from error
    except broken as error:
        from huggingface_hub.constants import ENDPOINT

        raise TransientError(f"the Hub cannot be reached at {masked_url(ENDPOINT)}: {_reason(error)}") from error
