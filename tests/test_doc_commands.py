"""Every command in the documentation can be parsed; a test runs it, or a list says why none does."""

import itertools
import re
import shlex
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from steadyphi.cli.main import _options
from steadyphi.settings.compose import compose, read_params
from tests.conftest import ROOT
from tests.test_docs import PAGES

PROGRAM = r"(?:steadyphi|dvc|make|python)\b"
# Commands by how they begin, and the test that runs them, or their like with other files.
RUN = {
    r"steadyphi (inspect|convert)\b": "tests/cli/test_main.py",
    r"steadyphi export\b": "tests/cli/test_export.py",
    r"steadyphi (generate|chat)\b": "tests/cli/test_chat.py",
    r"steadyphi compare\b": "tests/cli/test_compare.py",
    r"steadyphi preview\b": "tests/cli/test_preview.py",
    r"steadyphi plan\b": "tests/cli/test_plan.py",
    r"steadyphi evaluate\b": "tests/cli/test_evaluate.py",
    r"steadyphi experiments\b": "tests/cli/test_experiments.py",
    r"(STEADYPHI_NPROC=4 )?dvc repro": "tests/pipeline/test_repro.py",
    r"dvc exp run.* data_file=/tmp/": "tests/data/test_walk_throughs.py",
    r"make (repro|ui|lint|test)$": "tests/stages/test_makefile.py",
    r"make slurm$": "tests/slurm/test_two_nodes.py",
    r"python -c": "tests/data/test_walk_throughs.py",
    r"python scripts/document_measures.py": "tests/stats/test_catalogue.py",
    r"python -m stages.finetune": "tests/pipeline/test_repro.py",
    r"python -m stages.publish --all": "tests/stages/test_rebuild.py",
    r"python -m stages.publish --pending": "tests/tracking/test_server.py",
    r"python scripts/sweep.py": "tests/test_sweep.py",
}
# Commands that no test runs, and why.
NOT_RUN = {
    r"steadyphi inspect microsoft/phi-2": "needs the Hub; tests run it on a loopback Hub",
    r"steadyphi export .* --push": "needs the Hub; tests/hub/test_push.py runs it on a loopback Hub",
    r"dvc exp run -S (model=phi-2|task=commonsense-qa)": "needs the Hub",
    r"dvc exp run --queue -S model=phi-1.5,phi-2": "needs the Hub and a GPU",
    r"dvc exp run": "minutes for each; the settings are composed below",
    r"dvc (add|commit|exp apply|metrics|plots|queue|remote|push|pull)\b": "DVC's own",
    r"make clean": "removes the outputs",
    r"make (bench|llama-cpp|cloud|\.venv/ready)": "downloads packages",
    r"make docs": "tests/test_doc_pages.py builds the pages",
    r"python -m (benchmarks|pytest)\b": "hours, or the tests themselves",
    r"python (scripts/steadiness|assets/phi-tiny/recipe)\.py": "minutes to hours of training",
}


def commands() -> dict[str, str]:
    """Return the commands of all pages, and the page where each is."""
    places: dict[str, str] = {}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        lines = [line for block in blocks for line in block.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", text)
        for line in lines:
            command = line.split("  #")[0].strip()
            if re.match(rf"(?:[A-Z_]+=\S+ )*{PROGRAM} \S", command):
                places.setdefault(command, page)
    return places


COMMANDS = commands()


def of(program: str, most: str = "") -> list[str]:
    return [command for command in COMMANDS if re.match(program, command) and re.search(most, command)]


@pytest.mark.parametrize("command", COMMANDS)
def test_is_run_or_listed(command: str) -> None:
    listed = [place for start, place in [*NOT_RUN.items(), *RUN.items()] if re.match(start, command)]
    assert listed, f"{COMMANDS[command]}: add the command to RUN or NOT_RUN"


def test_the_lists_are_about_commands_that_exist() -> None:
    for start in [*RUN, *NOT_RUN]:
        assert of(start), start
    for test in RUN.values():
        assert (ROOT / test).is_file(), test


@pytest.mark.parametrize("command", of(r"steadyphi \w+ \S"))
def test_options_exist(command: str) -> None:
    words = shlex.split(command.replace("$'", "'").replace("\\'", ""), comments=True)
    assert _options(words[1:]).command == words[1]


@pytest.mark.parametrize("command", of(r"dvc exp run .*-S", r"-S '?\+?\w+(\.\w+)*=(?!\.\.\.|value)"))
def test_settings_exist(command: str, tmp_path: Path) -> None:
    command = re.sub(r"=([\w.-]+),[\w.,-]+", r"=\1", command.split("&&")[0])  # the first of a queue
    for path in re.findall(r"=(/(?:path/to|tmp)/\S+)", command):
        (tmp_path / Path(path).name).write_text("{}\n")
        command = command.replace(path, str(tmp_path / Path(path).name))
    words = shlex.split(command)
    overrides = [value for option, value in itertools.pairwise(words) if option == "-S"]
    shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(str(tmp_path / "params.yaml"), overrides)  # as `dvc exp run -S` does
    compose(read_params(tmp_path / "params.yaml"), ROOT / "conf")


@pytest.mark.parametrize("command", of(r"make \S"))
def test_targets_exist(command: str) -> None:
    target = command.split()[1]
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", of(r"python (?!-c)\S"))
def test_programs_exist(command: str) -> None:
    words = shlex.split(command)
    name = f"{words[2].replace('.', '/')}" if words[1] == "-m" else words[1].removesuffix(".py")
    assert name == "pytest" or (ROOT / f"{name}.py").is_file(), name
