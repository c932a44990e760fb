"""The page of `steadyphi inspect`: for eyes and logs, whatever the files say."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steadyphi.checkpoint import configs, convert
from steadyphi.inspection import glossary, inspect, page
from tests.checkpoint import by_hand
from tests.conftest import hub_config

ESCAPES = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202egnp.exe \r\n\t \u2028 \ud800 \U000e0041"


def page_of(folder: Path, **config: Any) -> str:
    (folder / "config.json").write_text(json.dumps({**hub_config(), **config}))
    return page.render(inspect.inspect(str(folder)))


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_page_of_phi_2(shared: Path) -> None:
    text = page.render(inspect.inspect(str(shared / "hub" / "phi-2")))
    for expected in (
        "A Phi checkpoint of 2,779,683,840 parameters, in the layout hub",
        "32 layers of width 2,560, 32 heads of 80 dimensions (32 rotated)",
        "2 problems; see the end.",
        "merges.txt 456,318 the merges of byte-pair encoding",
        "partial_rotary_factor 0.4 fraction of each head rotated by position",
        "float32 11.12 GB (10.36 GiB) bfloat16 5.56 GB (5.18 GiB)",
        "full 49.77 GB (46.35 GiB) = 16 × 2,779,683,840 + 2 × 2,648,442,880",
        "lora 5.75 GB (5.35 GiB) = 2 × 2,779,683,840 + 18 × 10,485,760",
        "index model.safetensors.index.json does not agree with the files: 453 tensors, total_size "
        "5,559,367,680",
    ):
        assert expected in words(text), expected
    assert text.rstrip().endswith("again") and "unknown here" not in text


def test_nothing_reaches_the_terminal_but_text(tmp_path: Path) -> None:
    for name in ("\x1b[31mred.txt", "a\nb", "\u202egpj.exe", "\udc80"):
        (tmp_path / name).write_text("")
    (tmp_path / "sub\x1b").mkdir()
    text = page_of(tmp_path, **{ESCAPES: ESCAPES, "deep": [{ESCAPES: [ESCAPES]}], "model_type": ESCAPES})
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"\x1b[31mred.txt" in text and r"a\nb" in text and r"\udc80" in text and r"sub\x1b/" in text


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(key=st.text(st.characters(), max_size=120), value=st.text(st.characters(), max_size=120))
def test_any_key_and_value(key: str, value: str, tmp_path: Path) -> None:
    text = page_of(tmp_path, **{key: value, "model_type": value})
    for line in text.split("\n"):
        assert line.isprintable() and len(line) <= 100


def test_long_values_are_cut_on_the_page_alone(tmp_path: Path) -> None:
    text = page_of(tmp_path, _name_or_path="x" * 500)
    assert "x" * 47 + "…" in text and "x" * 48 not in text
    facts = inspect.inspect(str(tmp_path))
    assert {"x" * 500} == {
        s["value"] for s in facts["settings"]["config.json"] if s["key"] == "_name_or_path"
    }


def test_what_is_unknown_is_shown_as_such(tmp_path: Path) -> None:
    (tmp_path / "strange.dat").write_text("12345")
    text = words(page_of(tmp_path, flux_capacitor=1.21))
    assert "strange.dat 5 unknown here" in text and "flux_capacitor 1.21 unknown here" in text


def test_of_many_problems_the_first_are_shown(tmp_path: Path) -> None:
    by_hand.make(tmp_path / "model", by_hand.random_state(tmp_path), "hub", "safetensors")
    text = page_of(tmp_path / "model", hidden_size=320, num_attention_heads=4)
    facts = inspect.inspect(str(tmp_path / "model"))
    count = len(facts["problems"])
    assert count == 2 * 14 + 5 - 1 - 2  # every tensor but the head's bias and each layer's fc1.bias
    assert f"{count} problems; see the end." in text
    assert text.count("the configuration asks for") == 20
    assert text.rstrip().endswith(f"… and {count - 20} more; --json lists all of them")


def test_problems_stand_at_the_end_and_are_counted_at_the_top(tmp_path: Path) -> None:
    text = page_of(tmp_path)
    assert "1 problem; see the end." in text.split("\n\n")[0] and "has no weights" in text.split("\n\n")[-1]


@pytest.mark.parametrize("kind", ["phi-msft", "mixformer-sequential"])
def test_every_setting_that_we_write_is_explained(tmp_path: Path, kind: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(hub_config()))
    config = configs.read(tmp_path)
    written = {
        "config.json": {**configs.to_hub(config, 0), **configs.to_microsoft(config, kind)},
        "model_config.yaml": configs.to_litgpt(config, "microsoft", "phi-2"),
        "lit_config.json": configs.to_legacy_litgpt(config, "microsoft", "phi-2"),
    }
    for name, values in written.items():
        assert not set(values) - set(glossary.SETTINGS[name]), name
    assert not set(by_hand.MIXFORMER_CONFIG) - set(glossary.SETTINGS["config.json"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model-00001-of-00002.safetensors", "a shard"),
        ("model.safetensors.index.json", "which shard"),
        ("pytorch_model.bin.index.json", "which shard"),
        ("pytorch_model-00001-of-00002.bin", "a shard"),
        ("modeling_mixformer_sequential.py", "never run"),
        ("configuration_phi.py", "never run"),
        ("handler.py", "never run"),
        ("NOTICE.md", "attribution"),
        ("Research License.docx", None),
    ],
)
def test_what_files_are_for(name: str, expected: str | None) -> None:
    purpose = glossary.what_file(name)
    assert purpose is None if expected is None else expected in (purpose or "")


def test_every_file_that_is_kept_is_explained() -> None:
    assert all(glossary.what_file(pattern.rstrip("*")) for pattern in convert.KEPT)
