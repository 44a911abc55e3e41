"""Check the licence of a bundle, an SPDX expression that tools read in its bill of materials."""

from __future__ import annotations

from lftool.errors import RecipeError


def check_license(expression: str | None) -> None:
    """Raise unless a licence is an SPDX expression in its canonical spelling (SPDX specification, annex D).

    Raises:
        RecipeError: It is not an SPDX expression, or is spelled differently.
    """
    if expression is None:
        return
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression  # noqa: PLC0415 - for locking only

    what = f"bundle.license: {expression!r} is not an SPDX license expression"
    try:
        canonical = canonicalize_license_expression(expression)
    except InvalidLicenseExpression as error:
        raise RecipeError(
            f"{what}: {error}",
            hints=("such as Apache-2.0, or MIT OR Apache-2.0; a license without an SPDX name: LicenseRef-NAME",),
        ) from None
    if canonical != expression:
        raise RecipeError(f"{what}", hints=(f"write {canonical}",))
