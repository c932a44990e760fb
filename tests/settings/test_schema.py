"""Every choice composes, and its settings are the same after they are written and read back."""

import itertools
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.formats import FORMATS
from steadyphi.settings import schema, values
from steadyphi.settings.compose import compose
from steadyphi.settings.files import digest, load_settings, stage_files
from steadyphi.settings.groups import Full, Lora
from steadyphi.settings.schema import Finetune, Settings
from tests.conftest import ROOT

CLASSES = {stage: getattr(schema, stage.title()) for stage in schema.STAGES}
TEXTBOOK = "steadyphi/data/textbook.py"
GROUPS = ("model", "data", "method", "suite")
HUB_TASKS = ("arc-challenge", "arc-easy", "boolq", "commonsense-qa", "mmlu", "piqa", "sst2")
HUB_DATA = ("alpaca", "code-alpaca", "dolly", "gsm8k-hub", "open-platypus", "slimorca")
FILE_TASKS = ("bbh", "bbh-boolean", "questions")


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (ROOT / "conf" / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of conf/ and the folder that phi-tiny names."""
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(ROOT / "conf", root / "conf")
    (root / "assets" / "phi-tiny").mkdir(parents=True)
    (root / "data").mkdir()
    for name in ("a.json", "a.jsonl", "b.csv", "data/mine.jsonl"):
        (root / name).touch()
    return root


@pytest.fixture(scope="module")
def standard(root: Path) -> Settings:
    return compose({}, root / "conf")


def changed(before: Settings, after: Settings) -> set[str]:
    old, new = stage_files(before), stage_files(after)
    return {stage for stage in old if old[stage] != new[stage]}


def read_back(settings: Settings, folder: Path) -> dict[str, Any]:
    for stage, text in stage_files(settings).items():
        (folder / f"{stage}.yaml").write_text(text, encoding="utf-8")
    return {stage: load_settings(folder / f"{stage}.yaml", cls) for stage, cls in CLASSES.items()}


def test_the_options_are_the_promised_ones() -> None:
    assert [options(group) for group in (*GROUPS, "task")] == [
        ["phi-1.5", "phi-2", "phi-tiny"],
        sorted([*HUB_DATA, "gsm8k", "jsonl", "mixture", "svamp", "textbook"]),
        ["full", "lora", "qlora"],
        ["formats", "quick", "standard", "thorough"],
        sorted([*HUB_TASKS, *HUB_DATA, *FILE_TASKS, "gsm8k", "jsonl", "mixture", "svamp", "textbook"]),
    ]


CHOICES = [
    choice
    for choice in itertools.product(*map(options, GROUPS))
    if choice[1] not in (*HUB_DATA, "mixture") or (choice[0], *choice[2:]) == ("phi-tiny", "full", "quick")
]


@pytest.mark.parametrize("choice", CHOICES, ids=" ".join)
def test_every_choice_composes(choice: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    params: dict[str, Any] = dict(zip(GROUPS, choice, strict=True))
    params["data_file"] = TEXTBOOK if params["data"] in ("textbook", *HUB_DATA) else "data/mine.jsonl"
    if params["data"] == "mixture":
        params |= {"data_file": "data", "prepare": {"sources": [{"name": "mine", "file": "mine.jsonl"}]}}
    elif params["data"] in HUB_DATA:
        params["prepare"] = {"hub": {"revision": "0" * 40}}
    settings = compose(params, root / "conf")
    assert (settings.model.name, settings.data.name, settings.method.name, settings.suite.name) == choice
    assert settings.task.name == settings.data.name
    assert settings.finetune.lr == getattr(settings.model.lr, settings.method.name)
    assert settings.fetch.revision == settings.model.revision
    assert settings.evaluate.formats == settings.prepare.formats == settings.suite.formats
    back = read_back(settings, tmp_path)
    for stage in ("fetch", "convert", "prepare", "finetune"):
        assert back[stage] == getattr(settings, stage)
    asked = asdict(settings.evaluate)
    assert asdict(back["gate"]) == {"gate": asked.pop("gate")}  # in a file of its own
    assert asdict(back["evaluate"]) == asked
    assert back["publish"].experiment == settings.publish.experiment
    assert back["publish"].digest == digest(settings)
    assert [back["publish"].settings[group] for group in GROUPS] == list(choice)
    assert back["publish"].settings["finetune"]["lr"] == settings.finetune.lr


def test_params_of_the_repository_say_what_conf_says(root: Path, standard: Settings) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert compose(params, root / "conf") == standard


def test_values_that_others_rely_on(root: Path, standard: Settings) -> None:
    assert (standard.model.context, standard.model.threads, standard.finetune.batch_tokens) == (512, 1, 1024)
    assert (standard.finetune.lr, standard.prepare.examples, standard.prepare.items) == (7e-4, 14400, 200)
    assert standard.method == Full("full")
    lora = compose({"method": "lora"}, root / "conf").method
    assert lora == Lora("lora", 8, 16, 0.0, ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj"))
    assert len(standard.suite.formats) == 14
    params = {
        "model": "phi-2",
        "method": "full",
        "suite": "standard",
        "data": "gsm8k",
        "data_file": "a.jsonl",
    }
    other = compose(params, root / "conf")
    assert other.finetune.method == Full("full")
    assert (other.finetune.lr, other.finetune.threads, other.prepare.context) == (2e-5, None, 2048)
    assert other.suite.formats == tuple(FORMATS)
    assert other.fetch.revision == "ef382358ec9e382308935a992d908de099b64c23"
    assert (other.task.answer_pattern, other.data.examples) == ("#### (.+)$", None)


def test_conf_files_say_what_they_are_and_how_to_use_them() -> None:
    for file in (ROOT / "conf").rglob("*.yaml"):
        first, *rest = file.read_text(encoding="utf-8").splitlines()
        assert first.startswith("# "), file
        assert ": dvc " in first, file
        assert "oc.env" not in "".join(rest), file


def test_params_are_laid_on_top_and_null_means_what_conf_says(root: Path, standard: Settings) -> None:
    params = {
        "seed": 7,
        "task": None,
        "method": "lora",
        "finetune": {"lr": 1, "epochs": None, "method": {"r": 4, "alpha": None}},
        "prepare": {"styles": ["qa"], "task": {"n_choices": 3}, "context": 256},
    }
    settings = compose(params, root / "conf")
    assert settings.finetune.lr == 1.0
    assert isinstance(settings.finetune.lr, float)
    assert settings.finetune.epochs == standard.finetune.epochs
    assert isinstance(settings.finetune.method, Lora)
    assert isinstance(settings.method, Lora)
    assert (settings.finetune.method.r, settings.finetune.method.alpha, settings.method.r) == (4, 16, 8)
    assert (settings.prepare.seed, settings.finetune.seed) == (7, 7)
    # The later stages get the values that the data was prepared with.
    assert settings.evaluate.styles == ("qa",)
    assert (settings.prepare.task.n_choices, settings.task.n_choices) == (3, 4)


def test_task_may_differ_from_data(root: Path) -> None:
    settings = compose({"data": "jsonl", "task": "gsm8k", "data_file": "a.json"}, root / "conf")
    assert (settings.prepare.instruction, settings.prepare.task.question) == ("{instruction}", "{question}")


@pytest.mark.parametrize("name", [*HUB_TASKS, "gsm8k-hub"])
def test_tasks_by_hub_id_are_pinned(name: str, root: Path, tmp_path: Path) -> None:
    settings = compose({"task": name}, root / "conf")
    task = settings.prepare.task
    assert (task.name, task.source, task.open) == (name, "hub", name == "gsm8k-hub")
    assert task.dataset and task.split and task.revision and len(task.revision) == 40
    assert task.shots_split not in (None, task.split)
    assert read_back(settings, tmp_path)["prepare"] == settings.prepare


@pytest.mark.parametrize("name", [*FILE_TASKS, "gsm8k", "jsonl", "svamp"])
def test_a_task_may_have_a_file_of_its_own(name: str, root: Path, tmp_path: Path) -> None:
    settings = compose({"task": name, "task_file": "a.jsonl"}, root / "conf")
    assert (settings.prepare.data_file, settings.prepare.task_file) == (TEXTBOOK, "a.jsonl")
    assert read_back(settings, tmp_path)["prepare"] == settings.prepare
    with_data = {"task": name, "data": "jsonl", "data_file": "b.csv", "task_file": TEXTBOOK}
    assert compose(with_data, root / "conf").prepare.task.name == name  # asks what it learns from


def test_open_answers_are_for_tasks_that_have_them(root: Path) -> None:
    shown = {name: yaml.safe_load((root / f"conf/task/{name}.yaml").read_text()) for name in options("task")}
    free = {name for name, task in shown.items() if task.get("open")}
    assert free == {"gsm8k", "jsonl", "svamp", "textbook"}  # and gsm8k-hub, which is based on gsm8k


def test_settings_are_frozen(standard: Settings) -> None:
    with pytest.raises(AttributeError):
        standard.finetune.lr = 1.0  # type: ignore[misc]


def test_one_setting_changes_its_stage_and_publish_alone(root: Path, standard: Settings) -> None:
    other = compose({"finetune": {"warmup_ratio": 0.2}}, root / "conf")
    assert changed(standard, other) == {"finetune", "publish"}
    assert digest(other) != digest(standard)


@pytest.mark.parametrize(
    ("params", "stages"),
    [
        ({"model": "phi-2"}, {"fetch", "prepare", "finetune", "evaluate", "publish"}),
        ({"method": "lora"}, {"finetune", "publish"}),
        ({"suite": "standard"}, {"prepare", "evaluate", "publish"}),
        ({"seed": 1}, {"prepare", "finetune", "evaluate", "publish"}),
        ({"data": "svamp", "data_file": "a.jsonl"}, {"prepare", "publish"}),
        ({"convert": {"dtype": "float16"}}, {"convert", "publish"}),
        ({"publish": {"experiment": "mine"}}, {"publish"}),
        ({"evaluate": {"gate": True}}, {"gate"}),
        ({"finetune": {"lr": None}}, set()),
    ],
    ids=lambda value: str(value if isinstance(value, dict) else sorted(value)),
)
def test_a_choice_changes_the_stages_that_it_concerns(
    params: dict[str, Any], stages: set[str], root: Path, standard: Settings
) -> None:
    assert changed(standard, compose(params, root / "conf")) == stages


def test_digest_is_stable_and_12_hex_digits(root: Path, standard: Settings) -> None:
    assert digest(compose({}, root / "conf")) == digest(standard)
    assert len(digest(standard)) == 12
    assert int(digest(standard), 16) >= 0


def test_the_registry_changes_publish_but_no_result(root: Path, standard: Settings) -> None:
    other = compose({"publish": {"register": "mine", "copy_weights": True}}, root / "conf")
    assert changed(standard, other) == {"publish"}
    assert digest(other) == digest(standard)


def test_comments_and_another_spelling_of_numbers_change_no_byte(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for file in (tmp_path / "conf").rglob("*.yaml"):
        file.write_text("# another comment\n" + file.read_text(encoding="utf-8") + "\n# and one more\n")
    model = tmp_path / "conf/model/phi-tiny.yaml"
    model.write_text(model.read_text(encoding="utf-8").replace("8.0e-3", "0.00800"))
    assert stage_files(compose({}, tmp_path / "conf")) == stage_files(compose({}, root / "conf"))


def test_stage_files_hold_plain_yaml(standard: Settings) -> None:
    for text in stage_files(standard).values():
        assert text.isascii()
        assert not {"&", "*", "!"} & set(text)  # neither anchors nor tags
        assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("lr", [1e-5, 1 / 3, 5e-324, 1.7976931348623157e308, 2, 1e16, 0.1 + 0.2])
def test_floats_survive_exactly(lr: float, standard: Settings, tmp_path: Path) -> None:
    settings = replace(standard, finetune=replace(standard.finetune, lr=lr))
    assert read_back(settings, tmp_path)["finetune"].lr == lr


@pytest.mark.parametrize(
    "name", ["yes", "1e-4", "null", "a: b", "größe #1", "'", "2024-01-01", "{x}", "a\nb"]
)
def test_texts_that_look_like_other_things_survive(name: str, standard: Settings, tmp_path: Path) -> None:
    settings = replace(standard, publish=replace(standard.publish, experiment=name))
    assert read_back(settings, tmp_path)["publish"].experiment == name


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("lr: 0.008", "lr: 1e-4", "finetune.yaml: lr: should be a valid number"),
        ("clip: 1.0", "clop: 1.0", "finetune.yaml: cl"),
        ("r: 8", "r: 0", "finetune.yaml: method.r: should be greater"),
        ("lr: 0.008", "lr: [", "finetune.yaml: cannot be read as settings (line 15: "),
        (None, "", "finetune.yaml: cannot be read as settings (it is not a mapping"),
        (None, None, "finetune.yaml: No such file"),
    ],
)
def test_load_refuses_what_compose_did_not_write(
    old: str | None, new: str | None, says: str, root: Path, tmp_path: Path
) -> None:
    chosen = compose({"method": "lora"}, root / "conf")
    file, text = tmp_path / "finetune.yaml", stage_files(chosen)["finetune"]
    assert old is None or old in text
    if new is not None:
        file.write_text(new if old is None else text.replace(old, new))
    with pytest.raises(SteadyPhiError) as refusal:
        load_settings(file, Finetune)
    assert says in str(refusal.value)
    assert "dvc repro compose" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_suite_asks_for_no_more_than_there_is(root: Path) -> None:
    """The bounds are in the settings, so that `compose` need not load the modules with the lists."""
    from steadyphi.evaluation.suite import OPTION_STYLES
    from steadyphi.prompts.distractors import SENTENCES
    from steadyphi.prompts.grammar import count_formats
    from steadyphi.prompts.instructions import INSTRUCTIONS
    from steadyphi.prompts.perturbations import KINDS

    assert count_formats(with_options=False) == 5505
    most = {
        "instructions": len(INSTRUCTIONS),
        "distractors": len(SENTENCES),
        "option_styles": len(OPTION_STYLES),
    }
    for name, count in most.items():
        compose({"evaluate": {"families": {name: count}}}, root / "conf")
        with pytest.raises(SteadyPhiError, match=f"{name}: should be less than or equal to {count}"):
            compose({"evaluate": {"families": {name: count + 1}}}, root / "conf")
    assert get_args(values.Noise) == KINDS
