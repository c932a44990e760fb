"""dvc.yaml names the code that makes each stage's output: all of it that the stage imports."""

import ast
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

# What every stage uses and what cannot change an output: who runs it, what is said meanwhile, where
# it is recorded, how settings are read back (a change of theirs changes the settings file itself), and
# whether the machine can do it.
NOT_IN_OUTPUTS = {
    "stages/common.py",
    "steadyphi/config.py",
    "steadyphi/errors.py",
    "steadyphi/fields.py",
    "steadyphi/foresight.py",
    "steadyphi/launching.py",
    "steadyphi/progress.py",
    "steadyphi/tracking.py",
    "steadyphi/tracking_store.py",
    "steadyphi/training/flops.py",
    "steadyphi/training/memory.py",
}
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def imports(path: Path) -> set[Path]:
    """Return the project's modules that a module imports, anywhere in its text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    candidates = {
        ROOT / (name.replace(".", "/") + ".py") for name in names if name.startswith(("steadyphi", "stages"))
    }
    return {c for c in candidates if c.exists()}


def closure(path: Path) -> set[str]:
    """Return the module and all that it imports, directly or not by way of what cannot change an output."""
    found: set[Path] = set()
    todo = {path}
    while todo:
        found |= todo
        todo = {i for p in todo if _name(p) not in NOT_IN_OUTPUTS for i in imports(p)} - found
    return {_name(p) for p in found}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("stage", STAGES)
def test_imported_code_is_a_dependency(stage: str) -> None:
    deps = STAGES[stage].get("do", STAGES[stage])["deps"]
    needed = closure(ROOT / "stages" / f"{stage}.py") - NOT_IN_OUTPUTS
    if stage == "compose":
        needed |= {"steadyphi/config.py", "steadyphi/fields.py"}
    missing = {m for m in needed if not any(m == d or m.startswith(f"{d}/") for d in deps)}
    assert not missing
    for dep in deps:  # and none that is not there
        assert dep.startswith(("artifacts/", "metrics/", "$")) or (ROOT / dep).exists(), dep
