"""Every mistake is refused in one line that names the file and the key."""

import re
import shutil
from difflib import get_close_matches
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from steadyphi.errors import SteadyPhiError
from steadyphi.settings.compose import KEYS, SECTIONS, compose, read_params
from steadyphi.settings.schema import GROUPS
from tests.conftest import ROOT

TINY, LORA, CONFIG = "conf/model/phi-tiny.yaml", "conf/method/lora.yaml", "conf/config.yaml"
PHI2, QUICK = "conf/model/phi-2.yaml", "conf/suite/quick.yaml"
SECRET = "hf_" + "s3cret" * 4
DATA, TASK = "conf/data/textbook.yaml", "conf/task/textbook.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "assets" / "phi-tiny").mkdir(parents=True)
    return tmp_path


def refusal(root: Path, params: str | bytes) -> str:
    """Return the error message for `params`."""
    (root / "params.yaml").write_bytes(params if isinstance(params, bytes) else params.encode())
    with pytest.raises(SteadyPhiError) as caught:
        compose(read_params(root / "params.yaml"), root / "conf")
    text = str(caught.value)
    assert text
    assert len(text.splitlines()) == 1
    return text


# (text of params.yaml, start of the message, part of the message)
IN_PARAMS = [
    ("fetch: {source: conf}", "params.yaml: fetch.source: conf is not below assets/", "copy it there"),
    ("prepare: {data_file: a.jsonl}", "params.yaml: prepare.data_file: ", "; set data_file"),
    ("evaluate: {styles: [qa]}", "params.yaml: evaluate.styles: ", "; set prepare.styles"),
    ("evaluate: {formats: [qa]}", "params.yaml: evaluate.formats: ", "; set prepare.formats"),
    ("seed: '${now:%Y}'", "params.yaml: seed: ", "must not depend on the machine"),
    ("model: phi2", "params.yaml: model: unknown option 'phi2'", "did you mean phi-2?"),
    ("data: gms8k", "params.yaml: data: unknown option", "did you mean gsm8k?"),
    ("method: qdora", "params.yaml: method: unknown option", "did you mean qlora?"),
    ("evaluate: {families: {instructions: 20}}", "params.yaml: evaluate.families.instructions", "13"),
    (
        "evaluate: {families: {noise_levels: [0.2, 0.2]}}",
        "params.yaml: evaluate.families.noise_levels",
        "once",
    ),
    (
        "suite: thorough\nevaluate: {search: {cells: 100}}",
        "params.yaml: evaluate.search.cells: 100 is less",
        "320",
    ),
    ("suite: 3", "params.yaml: suite: unknown option 3", "choose from formats, quick, standard"),
    ("model: ../config", "params.yaml: model: unknown option", "choose from phi-1.5, phi-2, phi-tiny"),
    ("model: [phi-2]", "params.yaml: model: should be the name", "choose from phi-1.5, phi-2, phi-tiny"),
    ("model: {context: 9}", "params.yaml: model: should be the name", "phi-2"),
    ("modl: phi-2", "params.yaml: modl: unknown key", "did you mean model?"),
    ("finetune: {warmup: 0.1}", "params.yaml: finetune.warmup: unknown key", "finetune.warmup_ratio?"),
    ("finetune: {warmup_rato: null}", "params.yaml: finetune.warmup_rato: ", "mean finetune.warmup_ratio?"),
    ("warmup_ratio: 0.1", "params.yaml: warmup_ratio: unknown key", "did you mean finetune.warmup_ratio?"),
    ("finetune.lr: 1.0", "params.yaml: finetune.lr: unknown key", "finetune: {lr: ...}"),
    ("seed: {a: 1}", "params.yaml: seed.a: unknown key", "seed is one value"),
    ("zzz: {}", "params.yaml: zzz: unknown key", "choose from"),
    ("'a\\nb': 1", "params.yaml: a", "unknown key"),
    ("hydra: {verbose: true}", "params.yaml: hydra: unknown key", ""),
    ("publish: {digest: abc}", "params.yaml: publish.digest: unknown key", "experiment"),
    ("finetune: {lr: '1e-4'}", "params.yaml: finetune.lr: should be a valid number", "write 1.0e-4"),
    ("finetune: {lr: '2.5e4'}", "params.yaml: finetune.lr: should be a valid number", "write 2.5e+4"),
    (
        "finetune: {threads: 100000}",
        "params.yaml: finetune.threads: should be less than or equal to 40",
        "100",
    ),
    ("finetune: {lr: 0}", "params.yaml: finetune.lr: should be greater than 0", "not 0"),
    ("finetune: {lr: -1.0}", "params.yaml: finetune.lr: should be greater than 0", "not -1.0"),
    ("finetune: {lr: .nan}", "params.yaml: finetune.lr: ", "NaN"),
    ("finetune: {lr: .inf}", "params.yaml: finetune.lr: ", "Infinity"),
    ("finetune: {lr: yes}", "params.yaml: finetune.lr: should be a valid number", "true"),
    ("finetune: {epochs: '3'}", "params.yaml: finetune.epochs: should be a valid integer", '"3"'),
    ("seed: -1", "params.yaml: seed: should be greater", "not -1"),
    ("seed: 4294967296", "params.yaml: seed: should be less than 4294967296", ""),
    ("seed: 1.5", "params.yaml: seed: should be a valid integer", "1.5"),
    ("seed: 2024-01-01", "params.yaml: seed: should be a valid integer", "2024-01-01"),
    ("finetune: {warmup_ratio: 1}", "params.yaml: finetune.warmup_ratio: should be less than 1", "not 1"),
    ("finetune: {warmup_ratio: 1.5}", "params.yaml: finetune.warmup_ratio: should be less than 1", "1.5"),
    ("finetune: [1]", "params.yaml: finetune: should be a mapping", "[1]"),
    ("finetune: 3", "params.yaml: finetune: should be a mapping", "3"),
    ("finetune: {lr: '???'}", "params.yaml: finetune.lr: ???", "write a value"),
    (
        "method: lora\nfinetune: {method: {r: 0}}",
        "params.yaml: finetune.method.r: should be greater",
        "not 0",
    ),
    ("method: full\nfinetune: {method: {r: 4}}", "params.yaml: finetune.method.r: no such key", "method"),
    ("finetune: {method: {name: ia3}}", "params.yaml: finetune.method: name should be", "lora or full"),
    (
        "method: lora\nfinetune: {method: {targets: [mlp]}}",
        "params.yaml: finetune.method.targets: should be",
        "mlp.fc",
    ),
    ("prepare: {context: 513}", "params.yaml: prepare.context: 513 tokens are more", "512"),
    ("prepare: {formats: [phi2, ph2]}", "params.yaml: prepare.formats: unknown format 'ph2'", "phi2?"),
    ("prepare: {styles: [alpacca]}", "params.yaml: prepare.styles: unknown format", "did you mean alpaca?"),
    ("prepare: {formats: []}", "params.yaml: prepare.formats: should name at least one", "[]"),
    ("prepare: {formats: [qa, qa]}", "params.yaml: prepare.formats: should name qa once", "qa"),
    ("prepare: {styles: qa}", "params.yaml: prepare.styles: should be a list", "qa"),
    (
        "data_file: my.jsonl",
        "params.yaml: data_file: data textbook is generated by",
        "not read from my.jsonl",
    ),
    ("data: gsm8k\ndata_file: a.py", "params.yaml: data_file: data gsm8k", ".jsonl"),
    ("data: jsonl\ndata_file: a.txt", "params.yaml: data_file: data jsonl", ".jsonl"),
    ("data: svamp\ndata_file: a", "params.yaml: data_file: data svamp", ".jsonl"),
    (
        "data: svamp\ndata_file: a.json\nprepare: {format: alpaca}",
        "params.yaml: prepare.format: alpaca has columns of its own",
        "write columns",
    ),
    ("prepare: {format: alpacca}", "params.yaml: prepare.format: should be 'auto', 'alpaca'", "alpacca"),
    ("prepare: {too_long: cut}", "params.yaml: prepare.too_long: should be 'drop', 'truncate'", "cut"),
    ("task: gsm8k", "conf/task/gsm8k.yaml: task.source: jsonl needs", "textbook.py"),
    (
        "task: bbh\ntask_file: a.txt",
        "conf/task/bbh.yaml: task.source: jsonl",
        "task_file is a.txt",
    ),
    ("task_file: a.json", "params.yaml: task_file: task textbook is not read", "remove task_file"),
    (
        "prepare: {task_file: a.json}",
        "params.yaml: prepare.task_file: cannot be set here",
        "; set task_file",
    ),
    ("task: arc-easy\ntask_file: a.json", "params.yaml: task_file: task arc-easy", "file"),
    ("prepare: {shots: -1}", "params.yaml: prepare.shots: should be greater", "-1"),
    ("prepare: {task: {choices: [a]}}", "params.yaml: prepare.task.choices: should name a col", '["a"]'),
    ("prepare: {task: {choices: [no, yes]}}", "params.yaml: prepare.task.choices: should", "in quotes"),
    ("prepare: {task: {choices: [a, a]}}", "params.yaml: prepare.task.choices: should", '["a", "a"]'),
    ("prepare: {task: {choices: ''}}", "params.yaml: prepare.task.choices: should", '""'),
    ("prepare: {task: {labels: 3}}", "params.yaml: prepare.task.labels: should name a column", "3"),
    ("prepare: {task: {answer_is: letter}}", "params.yaml: prepare.task.answer_is: should be", "'index'"),
    (
        "prepare: {task: {answer_is: index}}",
        "conf/task/textbook.yaml: task.choices: null",
        "name their column",
    ),
    ("task: piqa\nprepare: {task: {revision: main}}", "params.yaml: prepare.task.revision: should", "commit"),
    ("task: piqa\nprepare: {task: {dataset: piqa}}", "params.yaml: prepare.task.dataset: 'piqa'", "Hub id"),
    ("task: piqa\nprepare: {task: {answer_is: auto}}", "params.yaml: prepare.task.answer_is: auto", "label"),
    ("task: piq", "params.yaml: task: unknown option 'piq'", "did you mean piqa?"),
    (
        "prepare: {task: {answer_pattern: (}}",
        "params.yaml: prepare.task.answer_pattern: should be a reg",
        "(",
    ),
    (
        "prepare: {task: {answer_pattern: '((a{9999}){9999})'}}",
        "params.yaml: prepare.task.answer_pattern: should not repeat a part",
        "1,000,000",
    ),
    (
        "prepare: {task: {answer_pattern: a}}",
        "params.yaml: prepare.task.answer_pattern: should have one",
        "0",
    ),
    ("prepare: {task: {answer_pattern: (a)(b)}}", "params.yaml: prepare.task.answer_pattern: should", "2"),
    (
        "prepare: {instruction: the question}",
        "params.yaml: prepare.instruction: should name",
        "{the question}",
    ),
    ("fetch: {source: 'https://huggingface.co/microsoft/phi-2'}", "params.yaml: fetch.source: ", "Hub id"),
    ("fetch: {source: phi-2}", "params.yaml: fetch.source: ", "Hub id"),
    ("fetch: {source: microsoft/phi-2}", "conf/model/phi-tiny.yaml: model.revision: null", "40 hex"),
    ("fetch: {revision: main}", "params.yaml: fetch.revision: should be a commit", "main"),
    ("finetune: {lr: '${model.lr.ful}'}", "params.yaml: finetune.lr: ", "did you mean model.lr.full?"),
    ("finetune: {lr: '${finetune.lr}'}", "params.yaml: finetune.lr: ", "ecursive"),
    ("finetune: {lr: '${'}", "params.yaml: finetune.lr: ", "${"),
    ("finetune: {lr: '${oc.env:HOME}'}", "params.yaml: finetune.lr: ", "must not depend on the machine"),
    ("model: phi-2\nseed: [1", "params.yaml: line 2: not YAML", ""),
    ("seed: 1\nmodel: phi-2\nseed: 2", "params.yaml: line 3: ", "duplicate key seed"),
    ("- model", "params.yaml: should be a mapping", "model: "),
    ("", "params.yaml: should be a mapping", "model: "),
    ("3", "params.yaml: ", ""),
    (b"\xff\xfe\x00", "params.yaml: ", "decode"),
]


@pytest.mark.parametrize(("params", "start", "says"), IN_PARAMS, ids=[str(case[0]) for case in IN_PARAMS])
def test_mistakes_in_params(params: str | bytes, start: str, says: str, root: Path) -> None:
    text = refusal(root, params)
    assert text.startswith(start), text
    assert says in text, text


def test_params_missing(root: Path) -> None:
    with pytest.raises(SteadyPhiError, match=r"^params\.yaml: no such file"):
        read_params(root / "params.yaml")


# (file, old text, new text, start of the message after the file name, part of the message)
WHOLE = (ROOT / CONFIG).read_text(encoding="utf-8")
IN_CONF = [
    (TINY, "context:", "contex:", "model.contex: unknown key", "did you mean model.context?"),
    (TINY, "full:", "ful:", "model.lr.ful: unknown key", "did you mean model.lr.full?"),
    (TINY, "context: 512", "", "model.context: missing", ""),
    (TINY, "512", "5k", "model.context: should be a valid integer", '"5k"'),
    (TINY, "512", "???", "model.context: ???", ""),
    (TINY, "8.0e-3", "0", "model.lr.lora: should be greater than 0", ""),
    (TINY, "8.0e-3", "'1e-4'", "model.lr.lora: should be a valid number", "1.0e-4"),
    (TINY, "lr: {lora: 8.0e-3, full: 7.0e-4, qlora: 8.0e-3}", "lr: 1.0", "model.lr: should be a mapping", ""),
    (TINY, "512", "${modl.x}", "model.context: ", "modl.x"),
    (TINY, "512", "${oc.env:HOME}", "model.context: ", "must not depend on the machine"),
    (TINY, "512", "${", "context: ", "${"),
    (TINY, "assets/phi-tiny", "assets/phi", "model.revision: null", "assets/phi "),
    (TINY, "assets/phi-tiny", "http://a/b", "model.source: ", "Hub id"),
    (TINY, "name: phi-tiny\nsource", "name: [\nsource", "line 4: not YAML", ""),
    (TINY, "name:", "epochs: 1\nname:", "line 11: not YAML", "duplicate key epochs"),
    (LORA, "r: 8", "r: 0", "method.r: should be greater", ""),
    (LORA, "name: lora", "name: ia3", "method: name should be", "lora or full"),
    (LORA, "r: 8", "rank: 8", "method.rank: unknown key", ""),
    (QUICK, "- bare", "- bear", "suite.formats: unknown format 'bear'", "did you mean bare?"),
    (QUICK, "- bare", "- qa", "suite.formats: should name qa once", ""),
    (QUICK, "200", "0", "suite.items: should be greater", ""),
    (DATA, "[phi2, phi2, phi2, bare]", "[phi3]", "data.styles: unknown format 'phi3'", "did you mean phi2?"),
    (CONFIG, "[input, q]", "[input, Q]", "held_out.descriptor: unknown atom 'Q'", "choose from"),
    (
        CONFIG,
        "gap: [dashes, sep]",
        "gap: [comma]",
        "held_out.development.gap: 'comma' is held out",
        "another atom",
    ),
    (QUICK, "unseen: 24", "unseen: 999", "suite.unseen: 999 unseen formats requested", "hold out more"),
    (TASK, "source: textbook", "source: jsonl", "task.source: jsonl needs", "data_file"),
    (TASK, "n_choices: 4", "n_choices: 1", "task.n_choices: should be greater", ""),
    (CONFIG, "warmup_ratio:", "warmup:", "finetune.warmup: unknown key", "finetune.warmup_ratio?"),
    (CONFIG, "fetch:", "fech:", "fech: unknown key", "did you mean fetch?"),
    (CONFIG, "clip: 1.0", "clip: ???", "finetune.clip: ???", ""),
    (CONFIG, "clip: 1.0", "clip: big", "finetune.clip: should be a valid number", ""),
    (CONFIG, "${suite.items}", "${suite.item}", "prepare.items: ", "did you mean suite.items?"),
    (CONFIG, "{method.name}", "{method.nam}", "finetune.lr: ", "did you mean method.name?"),
    (CONFIG, "${model.context}", "4096", "prepare.context: 4096 tokens are more", "phi-tiny"),
    (CONFIG, "publish:" + WHOLE.rpartition("publish:")[2], "", "publish: missing", ""),
    (CONFIG, "register: null", "register: a/b", "publish.register: should be letters", ""),
    (CONFIG, "alias: champion", "alias: latest", "publish.alias: MLflow keeps this name", "such as champion"),
    (CONFIG, "model: phi-tiny", "model: phi-tine", "defaults: ", "did you mean model/phi-tiny?"),
    (CONFIG, "- method:", "- metho:", "defaults: ", "did you mean method/full?"),
    (CONFIG, "${data} ", "${dat} ", "", "dat"),
    (CONFIG, "defaults:", "defaults: 3\nx:", "", "defaults"),
    (CONFIG, "seed: 0", "seed: [", "line 1", "not YAML"),
]


@pytest.mark.parametrize(
    ("file", "old", "new", "start", "says"), IN_CONF, ids=[f"{c[0]} {c[2]}" for c in IN_CONF]
)
def test_mistakes_in_conf(file: str, old: str, new: str, start: str, says: str, root: Path) -> None:
    before = (root / file).read_text(encoding="utf-8")
    assert old in before
    (root / file).write_text(before.replace(old, new, 1), encoding="utf-8")
    text = refusal(root, "method: lora" if file == LORA else "seed: 0")
    assert text.startswith(f"{file}: {start}"), text
    assert says in text, text


@pytest.mark.parametrize("template", ["instruction", "response"])
def test_data_file_without_the_column_to_read(template: str, root: Path) -> None:
    file = root / "conf/data/gsm8k.yaml"
    file.write_text(re.sub(f"{template}: .*", f"{template}: null", file.read_text(encoding="utf-8")))
    text = refusal(root, "data: gsm8k\ndata_file: a.jsonl")
    assert text.startswith(f"conf/data/gsm8k.yaml: data.{template}: missing"), text


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ("data: jsonl\ndata_file: data/mine.jsonl", "data_file"),
        ("task: questions\ntask_file: data/mine.jsonl", "task_file"),
    ],
)
def test_files_are_looked_for(
    root: Path,
    params: str,
    key: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    start = f"params.yaml: {key}: "
    missing = f"there is no file data/mine.jsonl; a relative path starts at {root}"
    assert refusal(root, params) == start + missing
    (root / "data" / "mine.jsonl").mkdir(parents=True)
    if key == "task_file":  # the rows to train on may be those of a folder
        assert refusal(root, params) == f"{start}data/mine.jsonl is a folder; name a file in it"
    # As in `dvc exp run --temp`: the working folder is a copy of what git tracks.
    repository = tmp_path_factory.mktemp("repository")
    (repository / "data").mkdir()
    (repository / "data" / "mine.jsonl").touch()
    (root / "data" / "mine.jsonl").rmdir()
    monkeypatch.setenv("DVC_ROOT", str(repository))
    untracked = "git does not have data/mine.jsonl, so this temporary copy lacks it; git add or dvc add it"
    assert refusal(root, params) == f"{start}{untracked}, or give an absolute path"
    absolute = params.replace("data/mine.jsonl", str(repository / "data" / "mine.jsonl"))
    for text, file in ((absolute, None), (params, "data/mine.jsonl.dvc"), (params, "data/mine.jsonl")):
        if file:
            (root / file).touch()
        (root / "params.yaml").write_text(text)
        assert compose(read_params(root / "params.yaml"), root / "conf")


def test_a_model_folder_that_git_does_not_have(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path_factory.mktemp("repository")
    (repository / "assets" / "mine").mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(repository))
    text = refusal(root, "fetch: {source: assets/mine}")
    assert text.startswith("params.yaml: fetch.source: git does not have assets/mine"), text


def test_hub_id_without_a_revision(root: Path) -> None:
    file = root / PHI2
    file.write_text(re.sub("revision: .*", "revision: null", file.read_text(encoding="utf-8")))
    assert refusal(root, "model: phi-2").startswith(f"{PHI2}: model.revision: null, but microsoft/phi-2")


@pytest.mark.parametrize("key", ["dataset", "split", "revision"])
def test_task_by_hub_id_without_what_it_needs(key: str, root: Path) -> None:
    file = root / "conf/task/boolq.yaml"
    file.write_text(re.sub(f"^{key}: .*", f"{key}: null", file.read_text(), flags=re.MULTILINE))
    text = refusal(root, "task: boolq")
    assert text.startswith(f"conf/task/boolq.yaml: task.{key}: "), text
    assert key != "revision" or "google/boolq is read from the Hub; write the commit, 40 hex digits" in text


def test_rehearsal_of_data_without_a_pretraining_split(root: Path) -> None:
    (root / "a.jsonl").touch()
    text = refusal(root, "data: jsonl\ndata_file: a.jsonl\nprepare: {rehearsal: true}")
    assert text == (
        "params.yaml: prepare.rehearsal: true, but data jsonl has no pretraining split; "
        "mix in general data with data=mixture, and set it to false"
    )


def test_option_without_its_task(root: Path) -> None:
    shutil.copy(root / "conf/data/jsonl.yaml", root / "conf/data/mine.yaml")
    assert "there is no conf/task/mine.yaml" in refusal(root, "data: mine\ndata_file: a.jsonl")


def test_conf_missing(root: Path) -> None:
    shutil.rmtree(root / "conf")
    assert refusal(root, "seed: 0").startswith("conf/config.yaml: missing")


def test_option_that_builds_on_another(root: Path) -> None:
    file = root / "conf/model/mine.yaml"
    file.write_text("defaults: [phi-2, _self_]\nname: mine\nepochs: 1\n")
    settings = compose({"model": "mine"}, root / "conf")
    assert (settings.model.name, settings.finetune.epochs, settings.prepare.context) == ("mine", 1, 2048)


SETTABLE = sorted(parts for parts in KEYS - SECTIONS if parts[0] not in GROUPS and len(parts[-1]) > 3)
LETTER = st.sampled_from("abcdefghijklmnopqrstuvwxyz_")


@st.composite
def misspelt(draw: st.DrawFn) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A key of the settings, and the same key with one letter missing, added, changed or swapped."""
    right = draw(st.sampled_from(SETTABLE))
    name, at = right[-1], draw(st.integers(0, len(right[-1]) - 1))
    head, tail, letter = name[:at], name[at:], draw(LETTER)
    edits = [
        head + tail[1:],
        head + letter + tail,
        head + letter + tail[1:],
        head + tail[1:2] + tail[0] + tail[2:],
    ]
    wrong = (*right[:-1], draw(st.sampled_from(edits)))
    assume(wrong not in KEYS)
    beside = [key[-1] for key in KEYS if key[:-1] == right[:-1]]
    assume(
        get_close_matches(wrong[-1], beside, 1) == [name]
    )  # `nchoices` is nearer to n_choices than to choices
    return right, wrong


@settings(max_examples=300, deadline=None)
@given(misspelt(), st.sampled_from([None, 1, "text", {}]))
def test_a_misspelt_key_is_refused_with_the_right_one(
    pair: tuple[tuple[str, ...], tuple[str, ...]], value: object
) -> None:
    right, wrong = pair
    for part in reversed(wrong):
        value = {part: value}
    assert isinstance(value, dict)
    with pytest.raises(SteadyPhiError) as caught:
        compose(value, ROOT / "conf")
    expected = f"params.yaml: {'.'.join(wrong)}: unknown key; did you mean {'.'.join(right)}?"
    assert str(caught.value) == expected


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


def test_aliases_are_refused_wherever_they_stand(root: Path) -> None:
    (root / "params.yaml").write_text("model: phi-tiny\n" + BOMB)
    with pytest.raises(SteadyPhiError, match=r"^params\.yaml: line 3: \*a repeats a value"):
        read_params(root / "params.yaml")
    (root / "conf" / "suite" / "mine.yaml").write_text(BOMB)
    text = refusal(root, "model: phi-tiny")
    assert text == "conf/suite/mine.yaml: line 2: *a repeats a value; write the value itself"


@pytest.mark.parametrize(
    "value",
    ["${oc.env:HF_TOKEN}", "${${model.name}:HF_TOKEN}", "${oc.decode:${oc.env:HF_TOKEN}}", "${now:%Y}"],
)
def test_no_resolver_works(root: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    (root / "conf" / "model" / "mine.yaml").write_text(
        (root / "conf" / "model" / "phi-tiny.yaml").read_text()
    )
    path = root / "conf" / "model" / "mine.yaml"
    path.write_text(path.read_text().replace("name: phi-tiny", "name: oc.env"))
    text = refusal(root, f"model: mine\npublish: {{experiment: '{value}'}}")
    assert "must not depend on the machine" in text and SECRET not in text


def test_no_resolver_works_in_a_defaults_list(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    path = root / "conf" / "config.yaml"
    path.write_text(path.read_text().replace("- task: ${data}", "- task: ${oc.env:HF_TOKEN}"))
    text = refusal(root, "model: phi-tiny")
    assert "oc.env:HF_TOKEN" in text and SECRET not in text


def test_resolvers_work_again_afterwards(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "again")
    refusal(root, "model: nothing")
    compose({}, root / "conf")
    assert OmegaConf.create({"a": "${oc.env:WORD}"}).a == "again"
