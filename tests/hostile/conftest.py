"""Fake installed distributions for the tests here."""

from tests.sites import interpreter, site

__all__ = ["interpreter", "site"]
