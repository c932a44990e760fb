"""Each dialect of the configuration, read and written; what another model says is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from steadyphi.checkpoint import configs, layouts
from steadyphi.errors import SteadyPhiError
from steadyphi.model_config import PhiConfig
from tests.checkpoint import by_hand

PHI_2 = PhiConfig(32, 32, 2560, 10240, 51200, 2048, 0.4, 10000.0, 1e-5, resid_pdrop=0.1)


def test_the_real_ones(shared: Path) -> None:
    assert configs.read(shared / "hub" / "phi-2") == PHI_2
    small = replace(PHI_2, n_layer=24, n_embd=2048, intermediate_size=8192, rotary_percentage=0.5)
    assert configs.read(shared / "hub" / "phi-1_5") == replace(small, resid_pdrop=0.0)


@pytest.mark.parametrize("layout", list(layouts.LAYOUTS))
def test_the_hand_written_ones(tmp_path: Path, layout: str) -> None:
    name, text = by_hand.config_of(layout)
    (tmp_path / name).write_text(text)
    expected = PhiConfig(2, 2, 160, 640, 1280, 512, 0.4, 10000.0, 1e-5)
    assert configs.read(tmp_path) == expected


@pytest.mark.parametrize("layout", list(layouts.LAYOUTS.values()), ids=list(layouts.LAYOUTS))
def test_what_is_written_is_read_back(tmp_path: Path, layout: layouts.Layout) -> None:
    configs.write(tmp_path, layout, PHI_2, tmp_path, name="microsoft/phi-2", dtype="float16", eos_id=7)
    assert configs.read(tmp_path) == PHI_2
    if layout is layouts.HUB:
        written = json.loads((tmp_path / "config.json").read_text())
        assert (written["eos_token_id"], written["torch_dtype"]) == (7, "float16")
        assert "auto_map" not in written
    if layout is layouts.LIT:
        written = yaml.safe_load((tmp_path / "model_config.yaml").read_text())
        assert written["hf_config"] == {"org": "microsoft", "name": "phi-2"}


def test_the_vocabulary_is_padded_as_microsofts_code_pads_it(tmp_path: Path) -> None:
    values = {**by_hand.MIXFORMER_CONFIG, "vocab_size": 50257, "pad_vocab_size_multiple": 64}
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert configs.read(tmp_path).padded_vocab_size == 50304


def test_contradictions(tmp_path: Path) -> None:
    for layout in ("hub", "lit"):
        name, text = by_hand.config_of(layout)
        (tmp_path / name).write_text(text.replace("rope_base: 10000", "rope_base: 500"))
    with pytest.raises(SteadyPhiError, match=r"config\.json says rope_base is 10000.*model_config\.yaml 500"):
        configs.read(tmp_path)


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("hub", {"model_type": "llama"}, "only 'phi' is supported"),
        ("hub", {"num_key_value_heads": 1}, "num_key_value_heads"),
        ("hub", {"qk_layernorm": True}, "qk_layernorm"),
        ("hub", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ("hub", {"rope_scaling": {"type": "linear"}}, "rope_scaling"),
        ("hub", {"rope_parameters": {"rope_type": "linear", "factor": 4.0}}, "rope_parameters"),
        ("hub", {"num_attention_heads": 0}, "not a positive whole number"),
        ("hub", {"hidden_size": None}, "not a positive whole number"),
        ("hub", {"num_attention_heads": 3}, "not a multiple of 3 heads"),
        ("hub", {"layer_norm_eps": "small"}, "not a number of zero or more"),
        ("hub", {"num_hidden_layers": 10**9}, "too large for a Phi model"),
        ("hub", {"vocab_size": 2**40}, "too large for a Phi model"),
        ("hub", {"rope_parameters": "linear"}, "not a group of settings"),
        ("mixformer", {"n_head_kv": 1}, "n_head_kv"),
        ("mixformer", {"n_embd": "wide"}, "not a positive whole number"),
        ("mixformer", {"n_head": 0}, "not a positive whole number"),
        ("mixformer", {"activation_function": "relu"}, "activation_function"),
        ("legacy", {"n_query_groups": 1}, "n_query_groups"),
        ("legacy", {"parallel_residual": False}, "parallel_residual"),
        ("legacy", {"n_layer": 2.5}, "not a positive whole number"),
    ],
)
def test_other_architectures_are_refused(
    tmp_path: Path, layout: str, change: dict[str, object], message: str
) -> None:
    name, text = by_hand.config_of(layout)
    (tmp_path / name).write_text(json.dumps(json.loads(text) | change))
    with pytest.raises(SteadyPhiError, match=message) as caught:
        configs.read(tmp_path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_missing_keys_and_files(tmp_path: Path) -> None:
    with pytest.raises(SteadyPhiError, match=r"config\.json: not found"):
        configs.read(tmp_path)
    for layout in ("hub", "mixformer", "legacy"):
        name, text = by_hand.config_of(layout)
        for key in ("hidden_size", "n_embd"):
            values = json.loads(text)
            if values.pop(key, None) is not None:
                (tmp_path / name).write_text(json.dumps(values))
                with pytest.raises(SteadyPhiError, match=f"{key} is missing"):
                    configs.read(tmp_path)
        (tmp_path / name).unlink()
    for text in ("[", "[3]", "3", '{"a":' * 100_000):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(SteadyPhiError, match=r"config\.json: cannot be read as settings"):
            configs.read(tmp_path)
