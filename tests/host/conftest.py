"""Fake installed distributions for the tests here."""

from tests.sites import interpreter, lftool, site

__all__ = ["interpreter", "lftool", "site"]
