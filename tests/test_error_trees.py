"""The trees that three modules draw of their errors are those that there are."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.support.orthanc_server import CHECKOUT

TREES = {
    "LiverError": "plugin/orthanc_liver/liver_errors.py",
    "HostError": "plugin/orthanc_liver/host/errors.py",
    "ModelError": "model/liver_unet/model_errors.py",
}


@cache
def bases_of_all_classes() -> dict[str, list[str]]:
    """Every class of the product with the names that it inherits from."""
    modules = [*CHECKOUT.glob("plugin/orthanc_liver/**/*.py"), *CHECKOUT.glob("model/**/*.py")]
    classes = [
        node
        for module in modules
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    return {one.name: [ast.unparse(base) for base in one.bases] for one in classes}


def drawn_in(path: Path, root: str) -> dict[str, str]:
    """Each error of the drawn tree with the one that it is drawn below."""
    lines = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in lines[lines.index(next(one for one in lines if one.split()[:1] == [root])) :]:
        if not line.strip():
            break
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        above[depth:] = [name]
        if depth:
            parents[name] = above[depth - 1]
    return parents


@pytest.mark.parametrize("root", TREES)
def test_the_drawn_tree_is_the_tree(root: str) -> None:
    bases = bases_of_all_classes()
    family = {root}
    while more := {name for name, of in bases.items() if family & set(of)} - family:
        family |= more
    there_are = {name: bases[name][0] for name in family - {root}}
    assert drawn_in(CHECKOUT / TREES[root], root) == there_are


def test_no_error_stands_outside_the_trees() -> None:
    """But for those that are errors of Python's own kinds."""
    loose = {name for name, of in bases_of_all_classes().items() if "Exception" in of}
    assert loose - set(TREES) == {"HttpError"}
