"""Where CONTRIBUTING sends a newcomer, there is what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
TEXT = (CHECKOUT / "CONTRIBUTING.md").read_text()
ROOTS = (CHECKOUT, CHECKOUT / "plugin" / "orthanc_liver", CHECKOUT / "model")
NAMED = sorted(set(re.findall(r"`((?!build/)[\w./]+\.(?:py|json|md)|[\w/]+/state_\w+)`", TEXT)))
FILE = r"`([\w/]+\.(?:py|json))`"
INSIDE = [
    *re.findall(rf"{FILE}(?:: | \()`(?:\w+\.)?(\w+)`", TEXT),
    *(pair[::-1] for pair in re.findall(rf"`(\w+)`(?: \([^)]*\))? in {FILE}", TEXT)),
]

# What a recipe names besides files is in one of the files that it names.
RECIPES = [
    (word, tuple(re.findall(r"`([\w./]+\.py)`", recipe)))
    for recipe in re.findall(r"^\*\*.+?(?:\n\n|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    for word in sorted(set(re.findall(r"`(?:\w+\.)?(?!py|json|md)([A-Za-z_]\w+)`", recipe)))
]


def place_of(name: str) -> Path | None:
    """A file named alone stands beside another that is named in full."""
    places = [root / name for root in ROOTS if (root / name).exists()]
    return next(iter([*places, *CHECKOUT.glob(f"plugin/orthanc_liver/**/{name}")]), None)


@pytest.mark.parametrize("name", NAMED)
def test_every_file_that_is_named_is_there(name: str) -> None:
    assert place_of(name)


@pytest.mark.parametrize(("file", "name"), INSIDE)
def test_what_a_file_is_named_for_is_in_it(file: str, name: str) -> None:
    place = place_of(file)
    assert place
    assert re.search(rf"^\s*(def |class |\")?{name}\b", place.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("word", "files"), RECIPES)
def test_what_a_recipe_names_is_in_a_file_that_it_names(word: str, files: tuple[str, ...]) -> None:
    texts = [place.read_text() for one in files if (place := place_of(one))]
    assert any(re.search(rf"^\s*(def |class )?{word}\b", one, re.MULTILINE) for one in texts)


def test_what_stands_inside_is_found() -> None:
    assert len(INSIDE) >= 14
    assert len(RECIPES) >= 14
