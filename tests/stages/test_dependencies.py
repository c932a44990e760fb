"""dvc.yaml names the code that makes each stage's output: all of it that the stage imports."""

import ast
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

# These packages and modules are used by stages but cannot change an output: who runs a stage, what is printed
# meanwhile, where it is recorded, how settings are read back (a change there changes the file of settings
# itself), and whether the machine can run it.
NOT_IN_OUTPUTS = (
    "stages/common.py",
    "stages/rebuild.py",
    "stages/register.py",
    "steadyphi/__init__.py",
    "steadyphi/budget/footprint.py",
    "steadyphi/budget/free_memory.py",
    "steadyphi/budget/memory.py",
    "steadyphi/budget/spare_memory.py",
    "steadyphi/errors.py",
    "steadyphi/progress.py",
    "steadyphi/runtime/launch.py",
    "steadyphi/settings/",
    "steadyphi/tracking/",
)
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def imports(path: Path) -> set[Path]:
    """Return the project's modules that a module imports, anywhere in its text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    places = [ROOT / name.replace(".", "/") for name in names if name.startswith(("steadyphi", "stages"))]
    candidates = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    return {file for file in candidates if file.exists() and len(ast.parse(file.read_text()).body) > 1}


def closure(path: Path) -> set[str]:
    """Return the module and all that it imports, directly or not by way of what cannot change an output."""
    modules: set[Path] = set()
    todo = {path}
    while todo:
        modules |= todo
        todo = {i for p in todo if not _name(p).startswith(NOT_IN_OUTPUTS) for i in imports(p)} - modules
    return {_name(p) for p in modules}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("stage", STAGES)
def test_imported_code_is_a_dependency(stage: str) -> None:
    deps = STAGES[stage].get("do", STAGES[stage])["deps"]
    needed = closure(ROOT / "stages" / f"{stage}.py")
    if stage != "compose":
        needed = {name for name in needed if not name.startswith(NOT_IN_OUTPUTS)}
    else:
        free = tuple(name for name in NOT_IN_OUTPUTS if "budget" not in name and "settings" not in name)
        needed = {name for name in needed if not name.startswith(free)}
    missing = {m for m in needed if not any(m == d or m.startswith(f"{d}/") for d in deps)}
    assert not missing
    for dep in deps:  # and none that is not there
        assert dep.startswith(("artifacts/", "metrics/", "$")) or (ROOT / dep).exists(), dep


@pytest.mark.parametrize(
    ("edited", "stages"),
    [
        ("steadyphi/report/style.css", {"publish"}),
        ("steadyphi/cli/chat.py", set()),
        ("steadyphi/budget/memory.py", {"compose"}),
        ("steadyphi/inspection/page.py", set()),
        ("steadyphi/hub/fetch.py", {"fetch"}),
        ("steadyphi/tracking/stage_run.py", set()),
    ],
)
def test_an_edit_reruns_only_the_stages_whose_output_it_can_change(edited: str, stages: set[str]) -> None:
    assert (ROOT / edited).is_file()
    rerun = {
        stage
        for stage, entry in STAGES.items()
        if any(edited == d or edited.startswith(f"{d}/") for d in entry.get("do", entry)["deps"])
    }
    assert rerun == stages
