"""The model card of an exported folder: README.md with the metadata that the Hub reads."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from steadyphi.checkpoint.manifest import NAME as MANIFEST
from steadyphi.cli import lock
from steadyphi.cli.compare import git
from steadyphi.files import read_bytes, sha256, write_text
from steadyphi.prompts.dialogue import stops
from steadyphi.prompts.formats import Format
from steadyphi.report import families
from steadyphi.report.wording import Q_MEANING, count, percent, points, points_interval, probability
from steadyphi.results import stored
from steadyphi.results.stored import Evaluation
from steadyphi.settings.files import load_settings
from steadyphi.settings.schema import Publish
from steadyphi.stats.catalogue import used_in

LICENCES = {"microsoft/phi-1_5": "mit", "microsoft/phi-2": "mit"}  # as their model cards say
SNIPPET = """
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
messages = [{"role": "user", "content": question}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=256STOPS)
```"""
Runs = tuple[Evaluation | None, Evaluation | None]
CHOICES = ("model", "data", "method", "suite", "seed")


@dataclass(frozen=True)
class Card:
    """What the card is about.

    manifest: of the exported folder. style: the recorded format.
    project: the folder of the pipeline's project; None if the model does not lie in one.
    settings: of the run that made the model; None if they have changed since, as dvc.lock says.
    runs: its evaluations, before and after fine-tuning.
    The last three may be missing, and the card is then shorter.
    """

    trained: bool  # False: the weights are those of `convert`
    manifest: Mapping[str, Any]
    style: Format
    project: Path | None
    settings: Publish | None
    runs: Runs


def of_pipeline(manifest: Mapping[str, Any], style: Format, tuned: Path, runs: Runs) -> Card:
    """Return what is known about the model in `tuned`, if it is the folder that the pipeline writes."""
    trained = not (tuned / MANIFEST).is_file()  # `convert` writes a manifest, `finetune` does not
    artifacts = tuned.absolute().parent
    path, project = artifacts / "config" / "publish.yaml", artifacts.parent
    if tuned.name != "tuned" or not path.is_file():
        return Card(trained, manifest, style, None, None, runs)
    known = project if (project / "dvc.lock").is_file() else None
    if lock.outdated(project, lock.TRAINING):  # compose has written settings that no stage has used yet
        return Card(trained, manifest, style, known, None, runs)
    settings = load_settings(path, Publish)
    if not manifest.get("revision"):  # a whole model does not record the base that it was trained from
        manifest = {**manifest, **{key: settings.settings["fetch"][key] for key in ("source", "revision")}}
    return Card(trained, manifest, style, known, settings, runs)


def write(folder: Path, card: Card) -> None:
    """Write README.md into an exported folder, through `huggingface_hub.ModelCard`."""
    from huggingface_hub import ModelCard, ModelCardData

    base, licence = hub_id(card.manifest), _licence(folder, card.manifest)
    adapter = card.manifest["layout"] == "peft"
    data = ModelCardData(
        base_model=base,
        base_model_relation=("adapter" if adapter else "finetune") if base and card.trained else None,
        library_name="peft" if adapter else "transformers",
        license=licence,
        pipeline_tag="text-generation",
        tags=["phi", "steadyphi"],
    )
    text = "\n".join([*_opening(card), *_asking(card), *_steadiness(card), *_making(card, licence)])
    write_text(folder / "README.md", str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")))


def hub_id(manifest: Mapping[str, Any]) -> str | None:
    """Return the id of the base on the Hub. A base from a folder has no revision, and so no id."""
    return str(manifest["source"]) if manifest.get("revision") else None


def _base(manifest: Mapping[str, Any]) -> str:
    if source := hub_id(manifest):
        return f"[{source}](https://huggingface.co/{source}) at revision `{manifest['revision']}`"
    return f"`{Path(str(manifest['source'])).name}`"  # without its folder, which is of one machine


def _licence(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """Return the licence as the Hub names it; None if it is neither in the folder nor known."""
    for path in sorted(folder.glob("LICENSE*")):
        if b"MIT License" in read_bytes(path)[:1000]:
            return "mit"
    return LICENCES.get(hub_id(manifest) or "")


def _opening(card: Card) -> Iterator[str]:
    if not card.trained:
        yield f"# {Path(str(card.manifest['source'])).name}, converted with SteadyPhi"
        yield f"\nThe weights of {_base(card.manifest)}."
        return
    kind = "A LoRA adapter for" if card.manifest["layout"] == "peft" else "A model fine-tuned from"
    yield f"# {Path(str(card.manifest['source'])).name}, fine-tuned with SteadyPhi"
    yield f"\n{kind} {_base(card.manifest)}."


def _asking(card: Card) -> Iterator[str]:
    tuned = card.runs[1]
    recommendation = tuned.result.recommendation if tuned else None
    yield f"\n## The prompt\n\nAsk it in the format `{card.style.name}`, which is the folder's chat template:"
    yield f"\n```json\n{json.dumps(card.style.template, ensure_ascii=False)}\n```"
    yield "\nThe question goes in place of `{question}`. White space at the end of the prompt matters."
    if tuned and recommendation and recommendation.variant == card.style.name != tuned.result.default:
        interval = points_interval(recommendation.low, recommendation.high)
        yield (
            f"The evaluation recommends this format: expect {points(recommendation.gain)} points against "
            f"`{tuned.result.default}` (interval {interval})."
        )
    ends = list(
        stops(card.style)
    )  # not in generation_config.json, because generate() needs the tokenizer then
    yield SNIPPET.replace("STOPS", f", tokenizer=tokenizer, stop_strings={json.dumps(ends)}" if ends else "")


def _steadiness(card: Card) -> Iterator[str]:
    before, after = card.runs
    if not before or not after:
        return
    comparison = stored.side_by_side(before, after)
    formats = [row for row in after.result.variants if row.family == "format"]
    best, worst = (pick(row.accuracy for row in formats) for pick in (max, min))
    asked = f"{count(comparison.items, 'question')} in {count(len(comparison.variants), 'format')}"
    yield f"\n## Steadiness\n\n{asked}. Depending on the format, {percent(worst)} to {percent(best)} of the"
    yield "answers are right after fine-tuning, so the format should stay the one above."
    yield f"The intervals have a confidence of {after.result.confidence:.0%}. {Q_MEANING}.\n"
    yield "| measure | base | fine-tuned | change | interval | q |\n|---|---|---|---|---|---|"
    summary = {measure.key for measure in used_in("summary")}
    for change in comparison.measures:
        if change.key in summary:
            yield f"| {' | '.join([*families.texts(change), probability(change.q_value)])} |"


def _making(card: Card, licence: str | None) -> Iterator[str]:
    if card.settings:
        chosen, data = card.settings.settings, card.settings.settings.get("prepare", {})
        choices = {key: chosen[key] for key in CHOICES if key in chosen}
        shown = {**choices, "data_file": Path(str(data.get("data_file"))).name, "styles": data.get("styles")}
        shown |= {key: data[key] for key in ("files", "hub", "sources") if data.get(key)}
        shown |= {key: data[key] for key in ("grammar", "renderings", "examples") if key in data}
        text = yaml.safe_dump({**shown, "finetune": chosen.get("finetune")}, sort_keys=False)
        yield f"\n## Training\n\nThe data and the settings of the fine-tuning:\n\n```yaml\n{text}```"
    yield "\n## Reproduce\n"
    if card.project and (revision := git("rev-parse", "HEAD", folder=card.project)):
        changed = git("status", "--porcelain", "--untracked-files=no", folder=card.project)
        note = ", with changes that are not committed" if changed else ""
        yield f"- git revision `{revision}`{note}; `dvc repro`"
        yield f"- SHA-256 of `dvc.lock`: `{sha256(card.project / 'dvc.lock')}`"
    if card.settings:
        yield f"- digest of the settings: `{card.settings.digest}`"
    for name, content in (("weights", card.manifest.get("digest")), ("adapter", _adapter(card.manifest))):
        if content:
            yield f"- digest of the {name}: `{content}`"
    licensed = {"mit": "MIT."}.get(licence or "", "That of the base model.")
    yield f"\n## Licence\n\n{licensed}"


def _adapter(manifest: Mapping[str, Any]) -> str | None:
    adapter = manifest.get("adapter")
    return f"sha256:{adapter['sha256']}" if adapter else None
