"""Conversion between all layouts: every bit in its place, every contradiction named, all or nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from steadyphi.checkpoint import configs, layouts
from steadyphi.checkpoint import convert as convert_module
from steadyphi.checkpoint.convert import convert
from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_dir
from steadyphi.model import Phi
from tests.checkpoint import by_hand
from tests.conftest import make_hub_folder

HOW = ["safetensors", "safetensors-shards", "bin", "bin-shards"]
SOURCES = [(layout, how) for layout in ("hub", "hub-fused", "phi-msft", "mixformer") for how in HOW]
SOURCES += [("lit", "pth"), ("legacy", "pth")]


def expected(state: by_hand.State, layout: str) -> by_hand.State:
    made = by_hand.MAKERS[layout](state)
    return {name: tensor for name, tensor in made.items() if "inv_freq" not in name}


@pytest.mark.parametrize(("layout", "how"), SOURCES)
def test_any_source_to_any_target(state: by_hand.State, tmp_path: Path, layout: str, how: str) -> None:
    source = by_hand.make(tmp_path / "source", state, layout, how)
    digests = set()
    for name, wanted in layouts.LAYOUTS.items():
        with atomic_dir(tmp_path / name) as folder:
            made = convert(source, folder, "keep", wanted)
        by_hand.assert_equal(by_hand.load(tmp_path / name), expected(state, name))
        assert (made["source_layout"], made["layout"], made["dtype"]) == (layout, name, "float16")
        assert made["tensors"] == len(expected(state, name))
        digests.add(made["digest"])
    assert len(digests) == 1  # one model, whatever the layout and the shards


@pytest.mark.parametrize("via", list(layouts.LAYOUTS))
def test_there_and_back_is_the_same_files(phi_tiny: Path, tmp_path: Path, via: str) -> None:
    """The configuration survives as well, whichever dialect it goes through."""
    for name, source, layout in (
        ("first", phi_tiny, "hub"),
        ("via", tmp_path / "first", via),
        ("back", tmp_path / "via", "hub"),
    ):
        with atomic_dir(tmp_path / name) as folder:
            convert(source, folder, "keep", layouts.LAYOUTS[layout])
    first, back = tmp_path / "first", tmp_path / "back"
    for path in first.iterdir():
        if path.name not in ("manifest.json", "config.json"):
            assert path.read_bytes() == (back / path.name).read_bytes(), path.name
    assert configs.read(first) == configs.read(back) == configs.read(phi_tiny)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "how"), [("mixformer", "bin"), ("hub-fused", "safetensors-shards"), ("legacy", "pth")]
)
def test_transformers_loads_what_is_written_strictly(
    state: by_hand.State, tmp_path: Path, layout: str, how: str
) -> None:
    import transformers

    source = by_hand.make(tmp_path / "source", state, layout, how)
    with atomic_dir(tmp_path / "hub") as folder:
        convert(source, folder, "float32", layouts.HUB)
    model, facts = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "hub", output_loading_info=True, local_files_only=True
    )
    assert not any(facts[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert isinstance(model, transformers.PhiForCausalLM)
    assert model.generation_config.eos_token_id == 0  # phi-tiny's own
    transformers.AutoTokenizer.from_pretrained(tmp_path / "hub", local_files_only=True)
    reference = transformers.PhiForCausalLM(transformers.PhiConfig(**by_hand.hub_config()))
    reference.load_state_dict({k: v.float() for k, v in state.items()})
    tokens = torch.arange(40)
    with atomic_dir(tmp_path / "lit") as folder:
        convert(tmp_path / "hub", folder)
    with torch.no_grad():
        logits = reference.eval()(tokens[None]).logits[0]
        assert torch.equal(model.eval()(tokens[None]).logits[0], logits)
        ours = Phi.load(tmp_path / "lit", torch.float32)(tokens, [40])
    torch.testing.assert_close(ours, logits, atol=1e-5, rtol=0)


def test_large_models_are_sharded_as_the_hub_has_them(
    state: by_hand.State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert_module, "SHARD_BYTES", 700_000)
    source = by_hand.make(tmp_path / "source", state, "lit", "pth")
    with atomic_dir(tmp_path / "hub") as folder:
        made = convert(source, folder, "keep", layouts.HUB)
    index = json.loads((tmp_path / "hub" / "model.safetensors.index.json").read_text())
    shards = sorted(p.name for p in (tmp_path / "hub").glob("*.safetensors"))
    assert len(shards) > 2 and shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in state.values())
    assert set(index["weight_map"].values()) == set(shards) == set(made["files"])
    by_hand.assert_equal(by_hand.load(tmp_path / "hub"), state)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("layout", ["lit", "hub-fused"])
def test_dtype(tmp_path: Path, dtype: str, layout: str) -> None:
    state = by_hand.random_state(tmp_path, torch.float32)
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    with atomic_dir(tmp_path / "out") as folder:
        made = convert(source, folder, dtype, layouts.LAYOUTS[layout])
    wanted = {k: v.to(getattr(torch, dtype)) for k, v in expected(state, layout).items()}
    by_hand.assert_equal(by_hand.load(tmp_path / "out"), wanted)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert made["dtype"] == dtype == (written.get("dtype") or written.get("torch_dtype"))


def test_twice_gives_the_same_bytes(state: by_hand.State, tmp_path: Path) -> None:
    source = by_hand.make(tmp_path / "source", state, "mixformer", "bin")
    for name in ("one", "two"):
        with atomic_dir(tmp_path / name) as folder:
            convert(source, folder)
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert {"lit_model.pth", "model_config.yaml", "config.json", "tokenizer.json"} < set(names)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_the_manifest_by_hand(state: by_hand.State, tmp_path: Path) -> None:
    import xxhash

    source = by_hand.make(tmp_path / "source", state, "legacy", "pth")
    with atomic_dir(tmp_path / "out") as folder:
        convert(source, folder)
    made = json.loads((tmp_path / "out" / "manifest.json").read_text())
    lines = []
    for name, tensor in sorted(state.items()):
        digest = xxhash.xxh3_128(tensor.numpy().tobytes()).hexdigest()
        assert made["parts"][name] == {"shape": list(tensor.shape), "xxh3_128": digest}
        lines.append(f"{name} float16 {list(tensor.shape)} {digest}\n")
    assert made["digest"] == "xxh3_128:" + xxhash.xxh3_128("".join(lines).encode()).hexdigest()
    assert made["parameters"] == sum(t.numel() for t in state.values())
    size = (tmp_path / "out" / "lit_model.pth").stat().st_size
    assert made["files"] == {"lit_model.pth": {"size": size}}


def test_model_config_is_litgpts(lit_tiny: Path) -> None:
    """The keys and values of litgpt 0.5's own Phi-2 entry (litgpt/config.py), sizes aside."""
    written = yaml.safe_load((lit_tiny / "model_config.yaml").read_text())
    fixed = {
        "bias": True,
        "lm_head_bias": True,
        "gelu_approximate": "tanh",
        "parallel_residual": True,
        "shared_attention_norm": True,
        "norm_class_name": "LayerNorm",
        "mlp_class_name": "GptNeoxMLP",
    }
    assert {key: written[key] for key in fixed} == fixed
    assert written["n_embd"] == 256 and written["padded_vocab_size"] == 1280


def test_from_safetensors_can_be_forced(state: by_hand.State, tmp_path: Path) -> None:
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    by_hand.save(source, {k: v * 2 for k, v in state.items()}, "bin-shards")
    for asked, factor in ((None, 1), (True, 1), (False, 2)):
        with atomic_dir(tmp_path / "out") as folder:
            convert(source, folder, "keep", layouts.HUB, from_safetensors=asked)
        by_hand.assert_equal(by_hand.load(tmp_path / "out"), {k: v * factor for k, v in state.items()})
    (source / "model.safetensors").unlink()
    with pytest.raises(SteadyPhiError, match="has no weights in safetensors"):
        convert(source, tmp_path, "keep", layouts.HUB, from_safetensors=True)


def test_numbers_that_are_none(state: by_hand.State, tmp_path: Path) -> None:
    name = "model.layers.1.self_attn.v_proj.bias"
    for bad in (float("nan"), float("-inf")):
        broken = {k: v.clone() for k, v in state.items()}
        broken[name][7] = bad
        source = by_hand.make(tmp_path / f"source{bad}", broken, "legacy", "pth")
        with (
            pytest.raises(SteadyPhiError, match=f"{name} has NaN or infinite"),
            atomic_dir(tmp_path / "out") as out,
        ):
            convert(source, out)
        assert not (tmp_path / "out").exists()
        with atomic_dir(tmp_path / "out") as out:
            convert(source, out, "keep", layouts.HUB, check_finite=False)
        number = by_hand.load(tmp_path / "out")[name][7]
        assert torch.isnan(number) if bad != bad else number == bad
        (tmp_path / "out").rename(tmp_path / f"kept{bad}")


def test_numbers_that_a_type_cannot_hold(tmp_path: Path) -> None:
    state = by_hand.random_state(tmp_path, torch.float32)
    state["model.layers.0.mlp.fc1.weight"][3, 3] = 70_000.0
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    with pytest.raises(SteadyPhiError, match=r"model\.layers\.0\.mlp\.fc1\.weight has .*float16"):
        convert(source, tmp_path, "float16")
    with atomic_dir(tmp_path / "out") as out:
        convert(source, out, "bfloat16")


def test_tensors_that_do_not_fit_are_named(state: by_hand.State, tmp_path: Path) -> None:
    fc1 = "model.layers.0.mlp.fc1.weight"
    extra, turned = "model.layers.0.extra.weight", state[fc1].T.contiguous()
    cases = {
        f"{fc1} is missing": {k: v for k, v in state.items() if k != fc1},
        f"{extra} belongs to no part": {**state, extra: torch.ones(2)},
        rf"{fc1} is \(160, 640\), the configuration asks for \(640, 160\)": {**state, fc1: turned},
        "several dtypes: .* is float32": {**state, fc1: state[fc1].float()},
    }
    for place, (message, broken) in enumerate(cases.items()):
        source = by_hand.make(tmp_path / str(place), broken, "hub", HOW[place])
        with pytest.raises(SteadyPhiError, match=message) as caught, atomic_dir(tmp_path / "out") as out:
            convert(source, out)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
    with atomic_dir(tmp_path / "out") as out:  # types may be mixed when one is asked for
        convert(source, out, "float16", layouts.HUB)
    by_hand.assert_equal(by_hand.load(tmp_path / "out"), state)


def test_other_models_are_told_apart(state: by_hand.State, tmp_path: Path) -> None:
    gpt2 = {f"h.{n}.attn.c_attn.weight": torch.ones(4, 4) for n in range(9)}
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    by_hand.save(source, gpt2, "safetensors")
    with pytest.raises(SteadyPhiError, match="match no known layout of Phi"):
        convert(source, tmp_path)


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    make_hub_folder(tmp_path / "hub")
    values = json.loads((tmp_path / "hub" / "config.json").read_text()) | {"vocab_size": 100}
    (tmp_path / "hub" / "config.json").write_text(json.dumps(values))
    with pytest.raises(SteadyPhiError, match=r"is \(1280, 160\), the configuration asks for \(100, 160\)"):
        convert(tmp_path / "hub", tmp_path)


PROGRAM = """
import sys, resource
from pathlib import Path
from steadyphi.checkpoint import copying, layouts
from steadyphi.checkpoint.convert import convert
from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_dir, sha256
if sys.argv[3] == "small":  # as on a full disk, each write beyond this fails
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
if sys.argv[3] == "slow":
    import time
    write = copying._write
    copying._write = lambda *a: (time.sleep(0.02), write(*a), print("w", flush=True))
try:
    with atomic_dir(Path(sys.argv[2])) as folder:
        convert(Path(sys.argv[1]), folder, "keep", layouts.LAYOUTS[sys.argv[4]])
except SteadyPhiError as error:
    sys.exit(f"error: {error}")
"""


@pytest.mark.parametrize("layout", ["lit", "hub"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    state: by_hand.State, tmp_path: Path, layout: str
) -> None:
    source = by_hand.make(tmp_path / "source", state, "phi-msft", "safetensors")
    arguments = [sys.executable, "-c", PROGRAM, str(source), str(tmp_path / "out"), "small", layout]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ") and "cannot be written" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def test_too_little_room_is_seen_before(
    state: by_hand.State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(SteadyPhiError, match=r"2\.06 MB are needed, 1 bytes are free; free 2\.06 MB"):
        convert(source, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_at_any_moment_the_target_is_absent(
    state: by_hand.State, tmp_path: Path, how: signal.Signals
) -> None:
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    arguments = [sys.executable, "-c", PROGRAM, str(source), str(tmp_path / "out"), "slow", "lit"]
    for writes in (1, 9, 25):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(writes):
            process.stdout.readline()
        process.send_signal(how)
        start = time.monotonic()
        process.communicate()
        assert process.returncode != 0 and time.monotonic() - start < 5
        assert not (tmp_path / "out").exists()
    with atomic_dir(tmp_path / "out") as folder:
        convert(source, folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]  # nothing is left of the killed
    by_hand.assert_equal(by_hand.load(tmp_path / "out"), expected(state, "lit"))


@pytest.mark.slow
def test_memory_stays_small(tmp_path: Path) -> None:
    """600 MB of weights through a process whose own memory stays below 100 MB."""
    from benchmarks.convert import OURS, QUICK, make_phi, measure

    make_phi(tmp_path / "source", QUICK)
    used = measure([sys.executable, "-c", OURS, str(tmp_path / "source"), str(tmp_path / "out")])
    assert (tmp_path / "out" / "lit_model.pth").stat().st_size > 600_000_000
    assert 5 < used["anonymous_mb"] < 100


@pytest.mark.skipif(not Path(".venv-peers/bin/python").exists(), reason="needs LitGPT: make peers")
@pytest.mark.slow
def test_litgpt_loads_what_is_written(state: by_hand.State, tmp_path: Path) -> None:
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors-shards")
    with atomic_dir(tmp_path / "lit") as folder:
        convert(source, folder, "float32")
    program = (
        "import sys, torch; from litgpt.config import Config; from litgpt.model import GPT\n"
        "model = GPT(Config.from_file(sys.argv[1] + '/model_config.yaml'))\n"
        "state = torch.load(sys.argv[1] + '/lit_model.pth', mmap=True, weights_only=True)\n"
        "model.load_state_dict(state, strict=True)\n"
        "torch.save(model.eval()(torch.arange(40)[None])[0].detach(), sys.argv[1] + '/logits')"
    )
    env = os.environ | {"PYTHONPATH": ""}
    subprocess.run([".venv-peers/bin/python", "-c", program, str(tmp_path / "lit")], check=True, env=env)
    logits = torch.load(tmp_path / "lit" / "logits", weights_only=True)
    ours = Phi.load(tmp_path / "lit", torch.float32)(torch.arange(40), [40])
    torch.testing.assert_close(ours.detach(), logits, atol=1e-5, rtol=0)
