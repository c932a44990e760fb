"""The estimate beside what real steps allocate, and what people are told."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from steadyphi.budget import free_memory, known_shapes, memory
from steadyphi.budget.free_memory import FreeMemory
from steadyphi.budget.memory import Estimate
from steadyphi.data.packing import Example, collate
from steadyphi.errors import SteadyPhiError
from steadyphi.inspection import sizes
from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig
from steadyphi.runtime.device import pick_dtype
from steadyphi.settings.defaults import lora_settings
from steadyphi.settings.groups import Full, Lora
from steadyphi.settings.schema import Finetune
from steadyphi.training import loss
from steadyphi.training.lora import adapt
from steadyphi.training.optimizer import make_optimizer
from steadyphi.training.parallel import distribute
from tests.conftest import ROOT
from tests.inspection.test_sizes import PHI_2, TARGETS, shape
from tests.training import made

TOKENS = 2400
ALL: dict[str, Any] = {"name": "lora", "r": 8, "alpha": 16, "dropout": 0.0, "targets": tuple(TARGETS)}
LORA = Lora(**ALL)


def settings(**changes: Any) -> Finetune:
    tokens = {"batch_tokens": 2 * TOKENS, "micro_tokens": TOKENS}
    return made.settings(**({"method": LORA, "precision": "auto", **tokens} | changes))


def allocated(run: Callable[[], None]) -> int:
    """The most bytes that torch's allocator holds at one time of what is allocated within `run`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def as_on_a_gpu(model: Phi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a CPU compute as a GPU does: autocast's norms in float32, and a chunk's logits all at once."""
    monkeypatch.setattr(loss, "ROWS", loss.CHUNK)
    for norm in model.modules():
        if isinstance(norm, torch.nn.LayerNorm):
            norm.float().register_forward_pre_hook(lambda _, arguments: (arguments[0].float(),))


def taken_by_a_step(model: Phi, chosen: Finetune, dtype: torch.dtype) -> int:
    """Bytes that a step of two micro-batches really takes at its fullest, the second step of a run."""
    objective = distribute(model, dtype, chosen)
    optimizer = make_optimizer(model, 1e-4, 0.1)
    document = [i % model.config.padded_vocab_size for i in range(TOKENS // 2)]
    batch = collate([Example(document, 1)] * 2)

    def step() -> None:
        for _ in range(2):
            objective(batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    held = [*model.parameters(), *(v for state in optimizer.state.values() for v in state.values())]
    return sum(tensor.nbytes for tensor in held) + allocated(step)


SHAPES = {
    "narrow": {},
    "wide": {"n_embd": 256, "intermediate_size": 512, "n_layer": 4},
    "deep": {"n_layer": 8, "n_head": 2, "padded_vocab_size": 2048},
    "vocabulary": {"padded_vocab_size": 8192, "n_layer": 2},
    "dropout": {"resid_pdrop": 0.1, "n_layer": 4},
}
METHODS = {
    "full": Full("full"),
    "lora": LORA,
    "rank 64": Lora(**(ALL | {"r": 64})),
    "two targets": Lora(**(ALL | {"targets": ("attn.proj", "mlp.fc")})),
    "head": Lora(**(ALL | {"targets": (*TARGETS, "lm_head")})),
    "dora": Lora(**(ALL | {"dora": True})),
    "lora dropout": Lora(**(ALL | {"dropout": 0.1})),
}
KINDS = [("bfloat16", 0), ("float32", 1)]
CASES = [
    (s, m, *KINDS[(i + j) % 2], "cpu")
    for i, s in enumerate(list(SHAPES)[1:])
    for j, m in enumerate(("full", "lora"))
]
CASES += [("deep", m, *KINDS[i % 2], "cpu") for i, m in enumerate(list(METHODS)[2:])]
CASES += [(s, m, "bfloat16", c, "gpu") for s, c in (("wide", 1), ("vocabulary", 0)) for m in ("full", "lora")]
QUICK = [("narrow", "full", "bfloat16", 0, "cpu"), ("narrow", "lora", "bfloat16", 0, "gpu")]
NAMES = ("shape_name", "method", "dtype", "checkpointing", "device")


def compare(
    monkeypatch: pytest.MonkeyPatch, shape_name: str, method: str, dtype: str, checkpointing: int, device: str
) -> None:
    config = shape(**{"block_size": TOKENS, **SHAPES[shape_name]})
    chosen = settings(method=METHODS[method], checkpointing=bool(checkpointing))
    torch.manual_seed(0)
    model = Phi(config).train()
    if isinstance(chosen.method, Lora):
        adapt(model.to(getattr(torch, dtype)), chosen.method)
    if device == "gpu":
        as_on_a_gpu(model, monkeypatch)
    estimate = Estimate(config, chosen, dtype, gpu=device == "gpu")
    # Without bfloat16 instructions, oneDNN may convert whole operands to float32. `auto` picks float32 there.
    native = pick_dtype("auto", torch.device("cpu")) == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=native or dtype == "float32"):
        taken = taken_by_a_step(model, chosen, getattr(torch, dtype))
    print(shape_name, method, dtype, checkpointing, device, round(estimate.total / taken, 3))
    assert estimate.total == pytest.approx(taken, rel=0.15)


@pytest.mark.parametrize(NAMES, QUICK)
def test_is_what_a_step_takes(
    shape_name: str, method: str, dtype: str, checkpointing: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(monkeypatch, shape_name, method, dtype, checkpointing, device)


@pytest.mark.slow
@pytest.mark.parametrize(NAMES, CASES)
def test_is_what_steps_of_all_kinds_take(
    shape_name: str, method: str, dtype: str, checkpointing: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(monkeypatch, shape_name, method, dtype, checkpointing, device)


def test_inspect_states_the_same() -> None:
    config, tokens = PHI_2, 4096
    facts = sizes.memory(config)
    for method, memory_facts in facts["finetune"].items():
        chosen = METHODS[method] if method == "full" else lora_settings(method)
        estimate = Estimate(
            config, settings(method=chosen, micro_tokens=tokens, batch_tokens=tokens), "bfloat16"
        )
        assert estimate.parts.lasting == memory_facts["bytes"]
        if method == "full":
            stated = tokens * facts["activations"]["bytes_per_token"] + facts["activations"]["loss_bytes"]
            assert estimate.parts.activations == pytest.approx(stated, rel=0.02)


def test_full_fine_tuning_of_phi_2_by_hand() -> None:
    """16 bytes a parameter and 2 for each that is rounded, as everybody says of mixed precision."""
    needs = Estimate(PHI_2, settings(method=Full("full")), "bfloat16").parts
    count = 2_779_683_840
    rounded = count - 51200 * 2560 - (32 + 1) * 2 * 2560
    assert needs.weights == 4 * count + 2 * rounded
    assert (needs.gradients, needs.optimizer) == (4 * count, 8 * count)


def test_processes_share_what_trains_in_full_alone() -> None:
    chosen = settings(method=Full("full"), batch_tokens=4 * TOKENS)
    one, four = (Estimate(PHI_2, chosen, "bfloat16", ranks).parts for ranks in (1, 4))
    assert four.optimizer == round(one.optimizer / 4) and four.gradients == round(one.gradients / 4)
    assert four.activations == one.activations
    # With several micro-batches too; and two machines of two processes hold all weights twice.
    several = replace(chosen, batch_tokens=8 * TOKENS)
    assert Estimate(PHI_2, several, "bfloat16", 4).parts.gradients == four.gradients
    apart = Estimate(PHI_2, several, "bfloat16", 4, machines=2).parts
    assert apart.optimizer == 2 * four.optimizer and apart.gradients == 2 * four.gradients
    lora = [Estimate(PHI_2, settings(), "bfloat16", ranks).parts for ranks in (1, 2)]
    assert lora[0].lasting == lora[1].lasting


def test_qlora_holds_half_a_byte_a_number() -> None:
    lora, qlora = (
        Estimate(PHI_2, settings(method=Lora(**(ALL | {"name": n}))), "bfloat16").parts
        for n in ("lora", "qlora")
    )
    in_matrices = 32 * 12 * 2560**2
    assert lora.weights - qlora.weights == pytest.approx(in_matrices * (2 - 0.516), rel=0.001)


@pytest.mark.parametrize(
    ("changes", "more"), [({"micro_tokens": 3000}, True), ({"checkpointing": True}, False)]
)
def test_tokens_and_checkpointing_count(changes: dict[str, Any], more: bool) -> None:
    before, after = (Estimate(PHI_2, settings(**c), "bfloat16").total for c in ({}, changes))
    assert (after > before) is more and before != after


def test_a_document_longer_than_a_micro_batch_counts() -> None:
    assert Estimate(PHI_2, settings(), "bfloat16", longest=3000).total == (
        Estimate(PHI_2, settings(micro_tokens=3000), "bfloat16").total
    )


def changed(chosen: Finetune, text: str) -> tuple[Finetune, int]:
    """What a suggestion makes of the settings, read from its text as a person would; and of how many GPUs."""
    ranks = 1
    if match := re.search(r"STEADYPHI_NPROC=(\d+)", text):
        ranks = int(match[1])
    if match := re.search(r"micro_tokens: (\d+)", text):
        chosen = replace(chosen, micro_tokens=int(match[1]))
    if "checkpointing: true" in text:
        chosen = replace(chosen, checkpointing=True)
    if match := re.search(r"method: (\w+)", text):
        method = lora_settings(match[1])
        assert isinstance(method, Lora)
        chosen = replace(chosen, method=method)
    return chosen, ranks


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("gigabytes", [7, 10, 16, 24, 40, 60])
def test_what_is_suggested_fits(method: str, gigabytes: int) -> None:
    chosen = settings(method=METHODS[method], micro_tokens=8192, batch_tokens=16384)
    estimate = Estimate(PHI_2, chosen, "bfloat16")
    here = FreeMemory(gigabytes * 10**9, "the GPU", gpu=True)
    refused = memory.refusal(estimate, here)
    if estimate.total <= here.usable:
        assert refused is None
        return
    assert refused and "\n" not in refused
    assert f"the GPU has {gigabytes}.0 GB free; what would fit: " in refused
    for text in refused.split("what would fit: ")[1].split(" · "):
        after, ranks = changed(chosen, text)
        assert (after, ranks) != (chosen, 1), text
        assert Estimate(PHI_2, after, "bfloat16", ranks).total <= here.usable, text
        if "micro_tokens" in text:  # and it is the largest, in steps of 64
            over = replace(after, micro_tokens=after.micro_tokens + 64)
            assert Estimate(PHI_2, over, "bfloat16", ranks).total > here.usable


def test_a_gpu_is_not_planned_full() -> None:
    """At 8,192 tokens too a twelfth stays free, for gaps in torch's allocator; a CPU's system needs none."""
    estimate = Estimate(PHI_2, settings(micro_tokens=8192, batch_tokens=8192), "bfloat16")
    for gpu, refused in ((True, True), (False, False)):
        assert bool(memory.refusal(estimate, FreeMemory(estimate.total * 105 // 100, "it", gpu))) is refused
        assert not memory.refusal(estimate, FreeMemory(estimate.total * 110 // 100, "it", gpu))


def test_nothing_that_fits_is_said_so() -> None:
    estimate = Estimate(PHI_2, settings(), "bfloat16")
    refused = memory.refusal(estimate, FreeMemory(10**9, "the GPU", gpu=True))
    assert refused and refused.endswith("take a GPU with more memory, or a smaller model")


def test_on_a_cpu_neither_four_bits_nor_gpus_are_suggested() -> None:
    estimate = Estimate(PHI_2, settings(method=Full("full")), "float32", gpu=False)
    remedies = " ".join(memory.remedies(estimate, 30 * 10**9))
    assert "method: lora" in remedies and "qlora" not in remedies and "GPU" not in remedies


def test_out_of_memory_suggests_clearly_less() -> None:
    estimate = Estimate(PHI_2, settings(), "bfloat16")
    error = memory.out_of_memory(estimate, FreeMemory(80 * 10**9, "the GPU", gpu=True))
    assert isinstance(error, SteadyPhiError) and str(error).startswith("out of memory: finetune needs about ")
    texts = str(error).split("what would fit: ")[1].split(" · ")
    assert texts
    for text in texts:
        assert Estimate(PHI_2, changed(settings(), text)[0], "bfloat16").total <= 0.8 * estimate.total


def test_check_prints_refuses_and_can_be_told_not_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(memory.SKIP, raising=False)
    monkeypatch.setattr(memory, "free_memory", lambda *_: FreeMemory(10**9, "this machine", gpu=False))
    memory.check(shape(), settings(), "cpu")
    printed = capsys.readouterr().err
    assert re.fullmatch(
        r"finetune needs about [\d.]+ MB \(weights [\d.]+, gradients [\d.]+, optimizer [\d.]+, activations "
        r"[\d.]+\); this machine has 1\.0 GB free\n",
        printed,
    )
    with pytest.raises(SteadyPhiError, match=f"{memory.SKIP}=1 starts it anyway"):
        memory.check(PHI_2, settings(), "cpu")
    monkeypatch.setenv(memory.SKIP, "1")
    memory.check(PHI_2, settings(), "cpu")
    printed = capsys.readouterr().err
    assert printed.startswith("warning: finetune needs about ") and memory.SKIP not in printed


def test_the_type_is_the_one_that_will_be_computed_in() -> None:
    device = torch.device("cpu")
    for precision in ("auto", "float32", "bfloat16"):
        dtype = free_memory.computed_in(precision, "cpu")
        assert dtype == str(pick_dtype(precision, device)).removeprefix("torch.")


def test_memory_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path)
    free = free_memory.free_memory("cpu", 1).free
    (tmp_path / "memory.max").write_text("100000\n")
    (tmp_path / "memory.current").write_text("60000\n")
    (tmp_path / "memory.stat").write_text("anon 50000\ninactive_file 10000\n")
    assert free_memory.free_memory("cpu", 1) == FreeMemory(50000, "this machine", gpu=False)
    assert free_memory.free_memory("cpu", 2).free == 25000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory.free_memory("cpu", 1).free == pytest.approx(free, rel=0.2)


def test_without_a_gpu_torch_is_not_imported() -> None:
    program = (
        "import sys; from steadyphi.budget import free_memory, memory; "
        "free_memory.free_memory(free_memory.likely_device(), 1); free_memory.computed_in('auto', 'cpu'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": "", "STEADYPHI_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize(("name", "folder"), [("microsoft/phi-2", "phi-2"), ("microsoft/phi-1_5", "phi-1_5")])
def test_known_shapes_are_those_of_the_hub(shared: Path, name: str, folder: str) -> None:
    values = json.loads((shared / "hub" / folder / "config.json").read_text())
    assert known_shapes.KNOWN[name] == PhiConfig.from_hub(values, Path(folder))


def test_the_shape_of_a_folder(phi_tiny: Path, tmp_path: Path) -> None:
    assert known_shapes.shape("assets/phi-tiny", ROOT) == PhiConfig.from_folder(phi_tiny)
    assert known_shapes.shape("somebody/phi", ROOT) is None
    (tmp_path / "empty").mkdir()
    assert known_shapes.shape("empty", tmp_path) is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_is_explained(error: Exception) -> None:
    estimate = Estimate(known_shapes.shape("microsoft/phi-2", ROOT), settings(), "bfloat16")
    with (
        pytest.raises(
            SteadyPhiError, match=r"^out of memory: finetune needs about .*what would fit: finetune\."
        ),
        memory.explained(estimate, FreeMemory(24 * 10**9, "the GPU", gpu=True)),
    ):
        raise error


def test_other_errors_pass() -> None:
    estimate = Estimate(known_shapes.shape("microsoft/phi-2", ROOT), settings(), "bfloat16")
    with (
        pytest.raises(RuntimeError, match="shapes"),
        memory.explained(estimate, FreeMemory(1, "the GPU", gpu=True)),
    ):
        raise RuntimeError("shapes do not match")
