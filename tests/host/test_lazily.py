"""`lazily`: a factory that imports what it makes when it is made."""

from __future__ import annotations

import sys

import pytest

from lftool.api import lazily


def test_it_imports_when_it_is_called_and_passes_arguments_on():
    sys.modules.pop("colorsys", None)
    make = lazily("colorsys:rgb_to_hsv")
    assert "colorsys" not in sys.modules
    assert make(0.0, 0.0, 1.0) == (2 / 3, 1.0, 1.0)


@pytest.mark.parametrize(
    "place", ["", "module", "module:", ":Class", "module.Class", "a b:C", "module:Class.x", "module:Class "]
)
def test_what_names_no_class_is_refused_at_once(place):
    with pytest.raises(ValueError, match="write 'module:Class'"):
        lazily(place)


def test_a_class_that_is_not_there_is_an_error_of_the_call():
    with pytest.raises(AttributeError, match="Nothing"):
        lazily("colorsys:Nothing")()
