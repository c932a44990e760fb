"""`steadyphi inspect` of what contradicts itself: everything is said, nothing stops it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steadyphi.inspection import inspect
from tests.checkpoint import by_hand
from tests.hub.hub_fixtures import SHARDS
from tests.inspection.inspected import (
    VOCAB,
    assert_page,
    digest_of,
    edit_json,
    edit_shard,
    index_of,
    make_shards,
    random_state,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_shards(tmp_path)


def missing_shard(folder: Path) -> str:
    (folder / SHARDS[1]).unlink()
    return f"{SHARDS[1]}: No such file or directory; fetch it again"


def lying_total(folder: Path) -> str:
    edit_json(index_of(folder), lambda index: index["metadata"].update(total_size=12))
    return "total_size is 12, the tensors take"


def tensor_twice(folder: Path) -> str:
    edit_shard(folder, lambda tensors: tensors.update({"lm_head.bias": torch.zeros(VOCAB).half()}), 1)
    return f"both {SHARDS[0]} and {SHARDS[1]} have the tensor lm_head.bias"


def tensor_elsewhere(folder: Path) -> str:
    edit_json(index_of(folder), lambda index: index["weight_map"].update({"lm_head.bias": SHARDS[1]}))
    return f"says that lm_head.bias is in {SHARDS[1]}, but it is not"


def not_in_the_index(folder: Path) -> str:
    edit_json(index_of(folder), lambda index: index["weight_map"].pop("lm_head.bias"))
    return f"does not name lm_head.bias, which is in {SHARDS[0]}"


def wrong_shape(folder: Path) -> str:
    edit_shard(folder, lambda tensors: tensors.update({"lm_head.bias": torch.zeros(7).half()}))
    return f"lm_head.bias is (7,), the configuration asks for ({VOCAB},)"


def tensor_missing(folder: Path) -> str:
    edit_shard(folder, lambda tensors: tensors.pop("lm_head.bias"))
    return "the tensor lm_head.bias is missing"


def tensor_too_many(folder: Path) -> str:
    edit_shard(folder, lambda tensors: tensors.update({"model.extra": torch.zeros(7).half()}))
    return "the tensor model.extra belongs to no part"


def double_precision(folder: Path) -> str:
    edit_shard(folder, lambda tensors: tensors.update({"lm_head.bias": torch.zeros(VOCAB).double()}))
    return "lm_head.bias has the dtype F64; weights are float16, bfloat16, float32"


def mixed_types(folder: Path) -> str:
    edit_shard(folder, lambda tensors: tensors.update({"lm_head.bias": torch.zeros(VOCAB)}))
    return "have several dtypes: lm_head.bias is float32"


def not_a_number(folder: Path) -> str:
    edit_shard(folder, lambda tensors: tensors["lm_head.bias"].fill_(torch.nan))
    return "lm_head.bias has NaN or infinite numbers"


def infinite_in_one_chunk(folder: Path) -> str:
    edit_shard(folder, lambda tensors: tensors["lm_head.bias"][-1:].fill_(torch.inf))
    return "lm_head.bias has NaN or infinite numbers"


def truncated(folder: Path) -> str:
    data = (folder / SHARDS[0]).read_bytes()
    (folder / SHARDS[0]).write_bytes(data[:-100])
    return f"{SHARDS[0]}: is not a whole safetensors file"


def git_lfs(folder: Path) -> str:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 4995584424\n"
    (folder / SHARDS[0]).write_text(text)
    return f"{SHARDS[0]}: is a pointer of Git LFS, not the weights"


def no_index(folder: Path) -> str:
    index_of(folder).write_text("[]")
    return "model.safetensors.index.json: cannot be read as a weight index"


def config_of_a_llama(folder: Path) -> str:
    edit_json(folder / "config.json", lambda config: config.update(model_type="llama"))
    return "model_type is 'llama'"


def config_is_no_json(folder: Path) -> str:
    (folder / "config.json").write_text("{")
    return "config.json: cannot be read as settings"


def config_of_another_size(folder: Path) -> str:
    edit_json(folder / "config.json", lambda config: config.update(intermediate_size=320))
    return "fc1.weight is (640, 160), the configuration asks for (320, 160)"


def endless_layers(folder: Path) -> str:
    edit_json(folder / "config.json", lambda config: config.update(num_hidden_layers=10**9))
    return "config.json: a size is too large for a Phi model"


def configs_disagree(folder: Path) -> str:
    name, text = by_hand.config_of("lit")
    (folder / name).write_text(text.replace("block_size: 512", "block_size: 1024"))
    return "config.json says block_size is 512, model_config.yaml 1024"


def too_many_tokens(folder: Path) -> str:
    edit_json(folder / "config.json", lambda config: config.update(vocab_size=100))
    return "tokenizer.json has the token id 1279, but the model has 100 rows (ids up to 99)"


def broken_tokenizer(folder: Path) -> str:
    (folder / "tokenizer.json").write_text("{}")
    return "tokenizer.json: no tokenizer could be read"


def manifest_names_more(folder: Path) -> str:
    (folder / "manifest.json").write_text(json.dumps({"files": {"merges.txt": {"size": 3}}}))
    return "manifest.json: names merges.txt, which does not exist"


def manifest_of_another_size(folder: Path) -> str:
    (folder / "manifest.json").write_text(json.dumps({"files": {"config.json": {"size": 3}}}))
    return "manifest.json: says config.json has 3 bytes"


def manifest_of_other_numbers(folder: Path) -> str:
    (folder / "manifest.json").write_text(json.dumps({"digest": "xxh3_128:00"}))
    return "manifest.json: says the digest of the weights is xxh3_128:00, but it is xxh3_128:"


WRONGS = [missing_shard, lying_total, tensor_twice, tensor_elsewhere, not_in_the_index, wrong_shape]
WRONGS += [tensor_missing, tensor_too_many, double_precision, mixed_types, not_a_number, truncated, git_lfs]
WRONGS += [infinite_in_one_chunk, no_index, config_of_a_llama, config_is_no_json, config_of_another_size]
WRONGS += [endless_layers, configs_disagree, too_many_tokens, broken_tokenizer, manifest_names_more]
WRONGS += [manifest_of_another_size, manifest_of_other_numbers]


@pytest.mark.parametrize("wrong", WRONGS)
def test_what_is_wrong_is_listed_and_the_rest_is_said(wrong: Callable[[Path], str], folder: Path) -> None:
    expected = wrong(folder)
    facts = inspect.inspect(str(folder))
    assert any(expected in problem for problem in facts["problems"]), facts["problems"]
    assert all("\n" not in problem for problem in facts["problems"])
    assert len(facts["files"]) >= 6  # and the page goes on
    text = assert_page(facts)
    assert expected[:30] in " ".join(text.split())
    if facts["index"] and "total_size" in expected:
        assert facts["index"]["agrees"] is False


def test_all_problems_are_found_at_once(folder: Path) -> None:
    weight_map = json.loads(index_of(folder).read_text())["weight_map"]
    gone, bent, *_ = (name for name, shard in weight_map.items() if shard == SHARDS[0])

    def spoil(tensors: by_hand.State) -> None:
        del tensors[gone]
        tensors[bent] = torch.zeros(7).half()

    edit_shard(folder, spoil)
    lying_total(folder)
    edit_json(folder / "config.json", lambda config: config.update(torch_dtype=["x"]))
    (folder / "manifest.json").write_text(json.dumps({"files": {"merges.txt": {}}}))
    problems = inspect.inspect(str(folder))["problems"]
    expected = [f"says that {gone} is in", "total_size is 12", f"{gone} is missing", f"{bent} is (7,)"]
    expected += ["names merges.txt"]
    assert len(problems) == len(expected)
    assert all(any(text in problem for problem in problems) for text in expected)


def test_a_nan_that_finite_numbers_follow(tmp_path: Path) -> None:
    """In lit-gpt's old layout q lies in two places: the first head's rows, and the second's."""
    state = dict(random_state())
    name = "model.layers.1.self_attn.q_proj.bias"
    state[name] = state[name].clone().index_fill_(0, torch.tensor(3), torch.nan)
    folder = by_hand.make(tmp_path / "model", state, "legacy", "pth")
    facts = inspect.inspect(str(folder))
    assert facts["problems"] == [f"{folder}: {name} has NaN or infinite numbers"]
    assert facts["digest"]["value"] == digest_of(state)


def test_a_missing_shard_is_one_problem_not_hundreds(folder: Path) -> None:
    missing_shard(folder)
    facts = inspect.inspect(str(folder))
    assert len(facts["problems"]) == 1 and facts["digest"] is None
    assert facts["parameters"]["total"] > 0 and facts["weights"]["files"] == [SHARDS[0]]


def test_a_pickle_with_code_is_not_executed(folder: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "owned",)

    for path in folder.glob("model*"):
        path.unlink()
    torch.save({"lm_head.weight": Evil()}, folder / "pytorch_model.bin")
    facts = inspect.inspect(str(folder))
    assert "it was not executed" in facts["problems"][0] and not (tmp_path / "owned").exists()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3))
NAMES = st.sampled_from(
    ["model_type", "hidden_size", "n_layer", "num_hidden_layers", "vocab_size", "auto_map"]
)
NAMES |= st.sampled_from(["rope_parameters", "num_attention_heads", "torch_dtype", "eos_token_id", "n_embd"])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    base=st.sampled_from(["hub", "phi-msft", "lit"]),
    changes=st.dictionaries(NAMES | st.text(max_size=60), VALUES, max_size=6),
    name=st.sampled_from(["config.json", "model_config.yaml", "lit_config.json", "adapter_config.json"]),
)
def test_no_configuration_breaks_it(
    base: str, changes: dict[str, Any], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    _, text = by_hand.config_of(base)
    values = json.loads(text) if text.startswith("{") else {"n_layer": 2, "n_embd": 160, "bias": True}
    (folder / name).write_text(json.dumps({**values, **changes}))  # JSON is YAML too, nearly
    (folder / "generation_config.json").write_text(json.dumps(changes))
    (folder / "manifest.json").write_text(json.dumps({"files": changes, **changes}))
    assert_page(inspect.inspect(str(folder)))
    shutil.rmtree(folder)


BOMB = "k0: &k0 [1, 1]\n" + "".join(f"k{i}: &k{i} [*k{i - 1}, *k{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: 2001-01-01\nb: !!set {x, y}\nc: .nan",
        f"a: 0x{'f' * 9000}",
        BOMB,
        "1: 2\n? [1]\n: 3",
        "\x00",
    ],
)
def test_strange_yaml(text: str, tmp_path: Path) -> None:
    (tmp_path / "model_config.yaml").write_text(text)
    facts = inspect.inspect(str(tmp_path))
    assert facts["problems"]
    assert_page(facts)
