"""Imports point one way: between packages as docs/architecture.md says, and without a cycle of modules."""

import ast
import graphlib
from pathlib import Path

import pytest

from tests.conftest import ROOT

LEAVES = {"errors", "files", "progress"}  # every package may import these
# What each package, or module beside the packages, may import. The order is from the bottom up.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "progress": set(),
    "model_config": set(),
    "pre_tokens": set(),
    "tokenizer": {"pre_tokens"},
    "stats": set(),
    "runtime": set(),
    "tracking": set(),
    "revisions": set(),
    "prompts": {"tokenizer"},
    "settings": {"prompts"},
    "model": {"model_config"},
    "checkpoint": {"model_config", "tokenizer"},
    "hub": {"checkpoint"},
    "budget": {"checkpoint", "model_config", "runtime", "settings"},
    "inspection": {"budget", "checkpoint", "hub", "model_config", "settings", "tokenizer"},
    "data": {"prompts", "settings", "tokenizer"},
    "training": {"budget", "checkpoint", "data", "model", "model_config", "runtime", "settings"},
    "inference": {"checkpoint", "data", "model", "model_config", "runtime", "tokenizer"},
    "results": {"data", "prompts", "settings", "stats", "tokenizer"},
    "export_prompt": {"checkpoint", "prompts", "results"},
    "serving": {"checkpoint", "inference", "prompts", "runtime", "tokenizer"},
    "evaluation": {"data", "inference", "prompts", "results", "settings", "stats", "tokenizer"},
    "report": {"prompts", "results", "stats"},
    "preview": {"data", "report", "tokenizer"},
    "cli": {
        *("checkpoint", "data", "evaluation", "export_prompt", "hub", "inference", "inspection", "model"),
        *("prompts", "report", "results", "runtime", "settings", "stats", "tokenizer"),
    },
}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "steadyphi").rglob("*.py"))
}


def imported_modules(path: Path) -> set[str]:
    """Return the modules of this project that a module imports, anywhere in its text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                names.add(submodule if submodule in MODULES else node.module)
    ours = ("steadyphi", "stages", "tests", "benchmarks", "scripts")
    return {name for name in names if name.partition(".")[0] in ours}


GRAPH = {name: imported_modules(path) for name, path in MODULES.items()}


def package(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_package_has_a_place() -> None:
    assert {package(module) for module in MODULES} - {""} == set(MAY_IMPORT)


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_imports_point_down(name: str) -> None:
    allowed = MAY_IMPORT[name] | LEAVES | {name, ""}
    if name == "stats":
        allowed = {"errors", "stats"}
    upward = [
        f"{module} imports {target}"
        for module in MODULES
        if package(module) == name
        for target in GRAPH[module]
        if not target.startswith("steadyphi") or package(target) not in allowed
    ]
    assert not upward


def test_packages_form_no_cycle() -> None:
    list(graphlib.TopologicalSorter(MAY_IMPORT).static_order())  # raises CycleError


def test_modules_form_no_cycle() -> None:
    graph = {module: targets - {module} for module, targets in GRAPH.items()}
    list(graphlib.TopologicalSorter(graph).static_order())


def test_statistics_results_and_settings_do_without_torch() -> None:
    for module, path in MODULES.items():
        if package(module) in ("stats", "prompts", "results", "report", "settings", "hub"):
            text = path.read_text(encoding="utf-8")
            assert "import torch" not in text and "from torch" not in text, module
