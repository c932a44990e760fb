"""`steadyphi inspect`: every kind of checkpoint, every contradiction, a folder and the Hub."""

from pathlib import Path
from typing import Any

import pytest

from steadyphi.checkpoint import layouts
from steadyphi.checkpoint.convert import convert
from steadyphi.errors import SteadyPhiError
from steadyphi.inspection import inspect
from tests.checkpoint import by_hand
from tests.inspection.inspected import (
    INNER,
    LAYERS,
    VOCAB,
    H,
    assert_page,
    digest_of,
    edit_json,
    make_shards,
    random_state,
)

KINDS = [("hub", how) for how in ("safetensors", "safetensors-shards", "bin", "bin-shards")]
KINDS += [("hub-fused", "safetensors"), ("phi-msft", "bin"), ("mixformer", "bin-shards")]
KINDS += [("lit", "pth"), ("legacy", "pth")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_shards(tmp_path)


@pytest.mark.parametrize(("layout", "how"), KINDS)
def test_every_kind_of_checkpoint(layout: str, how: str, tmp_path: Path) -> None:
    facts = inspect.inspect(str(by_hand.make(tmp_path / "model", random_state(), layout, how)))
    assert facts["problems"] == [] and facts["kind"] == "checkpoint" and facts["commit"] is None
    assert facts["layout"]["name"] == layout
    assert facts["weights"]["kind"] == {"pth": "lit-gpt", "bin": ".bin"}.get(how.split("-")[0], "safetensors")
    assert len(facts["weights"]["files"]) == (2 if how.endswith("shards") else 1)
    made = by_hand.MAKERS[layout](random_state())
    buffers = [name for name in made if name.endswith("inv_freq")]
    assert facts["weights"]["tensors"] == len(made) and facts["weights"]["buffers"] == len(buffers)
    assert facts["weights"]["bytes"] == sum(t.nbytes for t in made.values())
    assert facts["weights"]["dtypes"] == {"float16": len(made) - len(buffers)}
    if how.endswith("shards"):
        assert facts["index"]["agrees"] and facts["index"]["total_size"] == facts["weights"]["bytes"]
    assert facts["parameters"]["total"] == sum(t.numel() for t in random_state().values())
    assert facts["digest"] == {
        "kind": "content",
        "value": digest_of(random_state()),
        "manifest": None,
        "agrees": None,
    }
    assert_page(facts)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_the_digest_is_the_manifests(layout: str, tmp_path: Path) -> None:
    source = by_hand.make(tmp_path / "source", random_state(), "hub", "safetensors")
    (tmp_path / "made").mkdir()
    made = convert(source, tmp_path / "made", "bfloat16", layouts.LAYOUTS[layout])
    facts = inspect.inspect(str(tmp_path / "made"))
    assert facts["problems"] == []
    assert facts["digest"]["value"] == facts["digest"]["manifest"] == made["digest"]
    assert facts["digest"]["agrees"] is True
    assert facts["digest"]["value"] == digest_of(
        {n: t.bfloat16() for n, t in random_state().items()}, "bfloat16"
    )
    assert all(file["what"] for file in facts["files"])
    assert all(s["meaning"] for values in facts["settings"].values() for s in values)


def test_parameters_part_by_part(folder: Path) -> None:
    """Counted by hand: matrices rows × columns, a bias for each row, a norm's two vectors."""
    parameters = inspect.inspect(str(folder))["parameters"]
    each = {
        "norm": 2 * H,
        "attention qkv": 3 * (H * H + H),
        "attention dense": H * H + H,
        "MLP fc1": INNER * H + INNER,
        "MLP fc2": H * INNER + H,
    }
    once = {"embedding": VOCAB * H, "final norm": 2 * H, "head": VOCAB * H + VOCAB}
    parts = {part["part"]: part for part in parameters["parts"]}
    assert {name: parts[name]["each"] for name in each} == each
    assert {name: part["total"] for name, part in parts.items()} == {
        **once,
        **{name: LAYERS * count for name, count in each.items()},
    }
    assert parameters["per_layer"] == sum(each.values()) and parameters["layers"] == LAYERS
    assert parameters["total"] == sum(once.values()) + LAYERS * sum(each.values())
    assert sum(part["share"] for part in parameters["parts"]) == pytest.approx(1)


def test_without_a_config_the_tensors_are_counted(folder: Path) -> None:
    whole = inspect.inspect(str(folder))["parameters"]
    (folder / "config.json").unlink()
    facts = inspect.inspect(str(folder))
    assert facts["problems"] == [f"{folder}/config.json: not found; a checkpoint folder needs it"]
    assert facts["parameters"]["from"] == "tensors" and facts["layout"]["name"] == "hub"
    for part, expected in zip(facts["parameters"]["parts"], whole["parts"], strict=True):
        assert (part["part"], part["total"]) == (expected["part"], expected["total"])
    assert_page(facts)


def test_weights_of_both_kinds(folder: Path) -> None:
    by_hand.save(folder, random_state(), "bin")
    facts = inspect.inspect(str(folder))
    assert facts["weights"]["kind"] == "safetensors"
    assert "there are also .bin weights; they were not read" in facts["notes"]


def test_what_is_worth_knowing(folder: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config.update(eos_token_id=None, torch_dtype="bfloat16", auto_map={"AutoConfig": "x"})

    edit_json(folder / "config.json", change)
    notes = " ".join(inspect.inspect(str(folder))["notes"])
    assert "which token ends a text; SteadyPhi uses 0" in notes
    assert "config.json says bfloat16, the weights are float16" in notes
    assert "SteadyPhi does not run it" in notes


@pytest.mark.parametrize("content", [{}, {"README.md": "x"}, {"tokenizer.json": "{}"}])
def test_nothing_of_a_phi(content: dict[str, str], tmp_path: Path) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(
        SteadyPhiError, match=r"^[^\n]*has no weights; [^\n]*; there is no config\.json either$"
    ):
        inspect.inspect(str(tmp_path))


def test_a_file_and_a_revision_of_a_folder(folder: Path) -> None:
    with pytest.raises(SteadyPhiError, match="is a file; give the folder"):
        inspect.inspect(str(folder / "config.json"))
    with pytest.raises(SteadyPhiError, match="is a folder, which has no revision main"):
        inspect.inspect(str(folder), "main")


def test_settings_alone_are_worth_a_page(shared: Path) -> None:
    facts = inspect.inspect(str(shared / "hub" / "phi-2"))
    assert [p.partition(": ")[2] for p in facts["problems"]] == [
        "No such file or directory; fetch it again"
    ] * 2
    assert facts["layout"]["name"] == "hub"  # by the names in the index
    assert facts["parameters"]["total"] == 2_779_683_840
    assert facts["index"]["total_size"] == facts["memory"]["load"]["float16"] == 5_559_367_680
    assert facts["tokenizer"] == {"tokens": 50295, "eos_id": 50256, "rows": 51200}
    assert "905 of 51,200 rows of the vocabulary belong to no token" in facts["notes"]
    facts = inspect.inspect(str(shared / "hub" / "phi-1_5"))
    assert facts["problems"] == [
        f"{shared / 'hub' / 'phi-1_5'}: has no weights; looked for model.safetensors, pytorch_model.bin, "
        "lit_model.pth and their indexes"
    ]
    assert any("which token ends a text; SteadyPhi uses 50256" in note for note in facts["notes"])
    for name in ("phi-2", "phi-1_5"):
        facts = inspect.inspect(str(shared / "hub" / name))
        assert all(file["what"] for file in facts["files"])
        assert all(s["meaning"] for values in facts["settings"].values() for s in values)
