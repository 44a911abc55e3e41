"""A report, and no rule: modules whose public names no importer has in common. They may be two ideas in one file.

Two names belong together if a module imports both, or if one is used where the other is defined. What is left in separate groups
is printed, largest modules first.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = [ROOT / "toolchain" / "lftool", *sorted((ROOT / "plugins").glob("*/src/*"))]


def _module(path: Path, package: Path) -> str:
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _modules() -> dict[str, ast.Module]:
    return {
        _module(path, package): ast.parse(path.read_bytes())
        for package in CODE
        for path in sorted(package.rglob("*.py"))
    }


def _defined(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return the public functions, classes and constants of a module, with what defines them."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


def _imported(trees: dict[str, ast.Module]) -> dict[str, dict[str, set[str]]]:
    """Return module to importer to the names that it takes."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for importer, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in trees and node.module != importer:
                found[node.module][importer] |= {alias.name for alias in node.names}
    return found


def _groups(names: set[str], links: list[set[str]]) -> list[set[str]]:
    groups = [{name} for name in sorted(names)]
    for link in links:
        touched = [group for group in groups if group & link]
        if len(touched) > 1:
            groups = [group for group in groups if group not in touched] + [set().union(*touched)]
    return groups


def report() -> list[str]:
    """Return a line for each such module."""
    trees = _modules()
    imported = _imported(trees)
    found = []
    for module, tree in trees.items():
        defined = _defined(tree)
        taken = {name for names in imported[module].values() for name in names} & defined.keys()
        links = [names & taken for names in imported[module].values()]
        # What one of them uses, directly or through helpers of the module.
        uses = {
            name: {node.id for node in ast.walk(body) if isinstance(node, ast.Name)} & defined.keys()
            for name, body in defined.items()
        }
        for name in defined:
            reached, left = {name}, [name]
            while left:
                for other in uses[left.pop()] - reached:
                    reached.add(other)
                    left.append(other)
            links.append(reached & taken)
        groups = _groups(taken, links)
        if len(groups) > 1:
            told = " | ".join(
                ", ".join(sorted(group)) for group in sorted(groups, key=lambda group: (-len(group), min(group)))
            )
            found.append((len(groups), f"{module}: {told}"))
    return [line for _, line in sorted(found, key=lambda item: (-item[0], item[1]))]


if __name__ == "__main__":
    lines = report()
    sys.stdout.write(f"{len(lines)} modules have public names that no importer has in common (a report, no rule):\n")
    sys.stdout.writelines(f"  {line}\n" for line in lines)
