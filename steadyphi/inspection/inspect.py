"""The facts about a checkpoint that `steadyphi inspect` shows, collected without running the model."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from steadyphi.checkpoint import causes, configs, indexes, layouts, manifest, source
from steadyphi.checkpoint.convert import check_tokenizer, source_runs
from steadyphi.checkpoint.layouts import Layout
from steadyphi.checkpoint.source import Checkpoint, Survey
from steadyphi.errors import SteadyPhiError
from steadyphi.files import parse_object
from steadyphi.inspection import adapter_facts, contents, glossary, sizes
from steadyphi.inspection.locations import Folder, Place, Repository, content, find
from steadyphi.model_config import PhiConfig
from steadyphi.tokenizer import TextTokenizer, missing

KINDS = {indexes.SAFETENSORS: "safetensors", indexes.BIN: ".bin", indexes.LIT_WEIGHTS: "lit-gpt"}
MOST_VALUES = 10_000  # maximum number of values kept from the settings files


def inspect(where: str, revision: str | None = None) -> dict[str, Any]:
    """Return the facts about the checkpoint or adapter `where`, in types that JSON can represent.

    where: a folder or the name of a repository on the Hub. Of a repository, only the listing, the small
    JSON files and the headers are read. revision: a branch, tag or commit of the repository.

    The keys are always present unless stated otherwise. A value is None where it is unknown:

    - where, commit (of a repository), kind ("checkpoint" or "adapter")
    - problems: one line for each contradiction or defect; notes: other useful facts, one line each
    - files: for each file its `name`, `size` in bytes, purpose (`what`), and `digest` as the Hub lists it;
      folders: the names of subfolders, which are not read
    - settings: file -> for each setting its `key`, `value` and `meaning`
    - weights: `kind` (safetensors, .bin or lit-gpt), `files`, the number of `tensors` and of `buffers`
      among them, `bytes`, `dtypes` (dtype -> the number of tensors)
    - index: `file`, `tensors` and `total_size` from the index, `bytes` of the tensors found, `agrees`
    - layout: `name` and a description (`what`)
    - shape: layers, heads, width and so on, as in `steadyphi.model_config.PhiConfig`
    - tokenizer: `tokens`, `eos_id`, `rows` of the embedding
    - parameters: `total`, `layers`, `per_layer`, `from` ("config" or "tensors"), `parts`: for each
      `part`, `in_layer`, `each` (in one layer), `total`, `share`
    - memory: `load`: bytes in each dtype; `finetune`: for each method `bytes`, `trained` parameters,
      `formula`, `why`; `activations`, which are additional: `bytes_per_token`, `loss_bytes`, `formula`,
      `why`
    - digest: `kind` "content" (of the weights, the same in every layout) or "listing" (of the files as
      the Hub lists them), `value`, `manifest` (the digest in manifest.json), `agrees`
    - adapter (None for a checkpoint): `type`, `dora`, `r`, `alpha`, `scale`, `targets`, `base`, `parameters`

    Raises SteadyPhiError if there is nothing to inspect.
    """
    place = find(where, revision)
    problems: list[str] = []
    settings = _settings(place, problems)
    facts: dict[str, Any] = {"where": where, "commit": place.commit, "kind": "checkpoint"}
    facts |= {"problems": problems, "notes": [], "files": _files(place), "folders": place.folders}
    facts["settings"] = {
        name: _explained(name, values) for name, values in settings.items() if name in glossary.SETTINGS
    }
    keys = ("weights", "index", "layout", "shape", "tokenizer", "parameters", "memory", "digest", "adapter")
    facts |= dict.fromkeys(keys)
    if isinstance(place, Repository):
        facts["digest"] = _digest_of_listing(place)
    try:
        single = source.choose(set(place.files), None, where)
    except SteadyPhiError as error:
        if place.files.keys() & {adapter_facts.CONFIG, *adapter_facts.WEIGHTS}:
            facts |= adapter_facts.gather(place, settings, problems)
        elif place.files.keys() & set(configs.FILES):
            problems.append(str(error))
            _gather(place, settings, Survey(), facts)
        else:
            raise SteadyPhiError(f"{error}; there is no {configs.HUB_FILE} either") from None
    else:
        local = isinstance(place, Folder)
        survey = source.survey(place.path, single, set(place.files), place.open, places=local)
        problems += survey.problems
        facts["weights"] = {"kind": KINDS[single], "files": survey.files}
        _gather(place, settings, survey, facts)
    _manifest(place, settings.get(manifest.NAME), facts)
    problems[:] = dict.fromkeys(problems)  # a file that two parts read is reported once
    _shorten(facts)
    return facts


def _gather(place: Place, settings: Mapping[str, Any], survey: Survey, facts: dict[str, Any]) -> None:
    """Add the facts from the configuration, from the tensors, and from comparing the two."""
    config = _shape(place, settings, facts["problems"])
    layout = _layout(place, survey, facts)
    if facts["weights"]:
        facts["weights"] |= _weights(survey, layout)
    if survey.index:
        facts["index"] = _index(survey)
    if config:
        facts["shape"] = {**asdict(config), "head_size": config.head_size, "rope_n_elem": config.rope_n_elem}
        facts["parameters"], facts["memory"] = sizes.parameters(config), sizes.memory(config)
    elif layout and survey.tensors:
        facts["parameters"] = sizes.stored_parameters(layout, survey.tensors)
    _tokenizer(place, config, facts)
    if layout and config and survey.tensors:
        _compare(place, Checkpoint(place.path, layout, config, survey.tensors), survey, facts)
    _notes(place, settings, facts)
    if survey.prefix:
        facts["notes"].append(f"the names of the tensors begin with {survey.prefix}, which is left out")


def _layout(place: Place, survey: Survey, facts: dict[str, Any]) -> layouts.Layout | None:
    """Return the layout of the tensors, which is added to the facts; None, with the problem, if unknown."""
    if cause := causes.of_model(place.path, survey.tensors):
        facts["problems"].append(cause)
        return None
    names = survey.tensors or survey.weight_map
    if not names:
        return None
    try:
        layout = layouts.detect(names)
    except SteadyPhiError as error:
        facts["problems"].append(f"{place.path}: {error}")
        return None
    facts["layout"] = {"name": layout.name, "what": layout.what}
    return layout


def _compare(place: Place, checkpoint: Checkpoint, survey: Survey, facts: dict[str, Any]) -> None:
    """Add where the tensors contradict the configuration, and their digest if they do not."""
    elsewhere = {name for name, file in survey.weight_map.items() if file not in survey.files}
    misfits = list(source.misfits(checkpoint, elsewhere))
    mixture = checkpoint.mixture()
    facts["problems"] += [*misfits, *([mixture] if mixture else [])]
    if isinstance(place, Folder) and not misfits and not elsewhere:
        dtype = None if mixture else checkpoint.dtype
        shapes, runs = layouts.part_shapes(checkpoint.config), source_runs(checkpoint)
        facts["digest"] = contents.digest(place.path, runs, shapes, dtype, facts["problems"])


def _settings(place: Place, problems: list[str]) -> dict[str, dict[str, Any]]:
    """Return the contents of the settings files that can be read."""
    settings = {}
    for name in (*glossary.SETTINGS, manifest.NAME):
        if name in place.files:
            try:
                settings[name] = parse_object(content(place, name), place.path / name)
            except SteadyPhiError as error:
                problems.append(str(error))
    return settings


def _files(place: Place) -> list[dict[str, Any]]:
    rows = []
    for name, listed in sorted(place.files.items()):
        digest = None if listed.kind == "none" else {"kind": listed.kind, "value": listed.digest}
        rows.append({"name": name, "size": listed.size, "what": glossary.what_file(name), "digest": digest})
    return rows


def _explained(name: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    meanings = glossary.SETTINGS[name]
    rows = [{"key": k, "value": v, "meaning": meanings.get(k)} for k, v in values.items()]
    # peft also writes dozens of settings of other kinds of adapters. They are all off, so they are omitted.
    return [s for s in rows if name != adapter_facts.CONFIG or s["meaning"] or s["value"]]


def _shape(place: Place, settings: Mapping[str, Any], problems: list[str]) -> PhiConfig | None:
    stated = {}
    for name in configs.FILES:
        if name not in settings:
            continue
        path = place.path / name
        try:
            stated[name] = configs.shape(settings[name], path)
        except SteadyPhiError as error:
            problems.append(str(error))
        except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
            problems.append(f"{path}: cannot be read as the shape of a Phi ({error})")
    if not stated:
        if not any(name in place.files for name in configs.FILES):
            problems.append(f"{place.path / configs.HUB_FILE}: not found; a checkpoint folder needs it")
        return None
    problems += configs.disagreements(stated, place.path)
    return next(iter(stated.values()))


def _weights(survey: Survey, layout: Layout | None) -> dict[str, Any]:
    dtypes: dict[str, int] = {}
    buffers = {name for name in survey.tensors if layout and layouts.is_buffer(layout, name)}
    for name, tensor in survey.tensors.items():
        if name not in buffers:
            dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + 1
    total = sum(tensor.nbytes for tensor in survey.tensors.values())
    return {"tensors": len(survey.tensors), "buffers": len(buffers), "bytes": total, "dtypes": dtypes}


def _index(survey: Survey) -> dict[str, Any]:
    total = sum(tensor.nbytes for tensor in survey.tensors.values())
    return {
        "file": survey.index,
        "tensors": len(survey.weight_map),
        "total_size": survey.total_size,
        "bytes": total,
        "agrees": not survey.problems,
    }


def _tokenizer(place: Place, config: PhiConfig | None, facts: dict[str, Any]) -> None:
    if problem := missing(place.files, place.path):
        facts["problems"].append(problem)
        return
    if not isinstance(place, Folder) or "tokenizer.json" not in place.files:
        return
    try:
        rows = config.padded_vocab_size if config else None
        if rows is not None:
            check_tokenizer(place.path, rows)
        tokenizer = TextTokenizer(place.path)
        facts["tokenizer"] = {"tokens": tokenizer.size, "eos_id": tokenizer.eos_id, "rows": rows}
    except SteadyPhiError as error:
        facts["problems"].append(str(error))


def _digest_of_listing(place: Repository) -> dict[str, Any]:
    """Return the digest of the Hub's listing, which depends on every byte of every file."""
    lines = [f"{f.name} {f.size} {f.kind} {f.digest}\n" for _, f in sorted(place.files.items())]
    value = "sha256:" + hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return {"kind": "listing", "value": value, "manifest": None, "agrees": None}


def _manifest(place: Place, stored: Mapping[str, Any] | None, facts: dict[str, Any]) -> None:
    """Compare the folder with its manifest: the sizes of the files and the digest of the weights."""
    if stored is None:
        return
    path, files = place.path / manifest.NAME, stored.get("files")
    for name, stated in (files if isinstance(files, dict) else {}).items():
        size = stated.get("size") if isinstance(stated, dict) else None
        if name not in place.files and "/" not in name:
            facts["problems"].append(f"{path}: names {name}, which does not exist")
        elif name in place.files and size not in (None, place.files[name].size):
            facts["problems"].append(
                f"{path}: says {name} has {size} bytes, but it has {place.files[name].size}"
            )
    digest, recorded = facts["digest"], stored.get("digest")
    if digest and isinstance(recorded, str):
        digest["manifest"] = recorded
        if digest["kind"] == "content":
            digest["agrees"] = recorded == digest["value"]
            if not digest["agrees"]:
                facts["problems"].append(
                    f"{path}: says the digest of the weights is {recorded}, but it is {digest['value']}"
                )


def _notes(place: Place, settings: Mapping[str, Any], facts: dict[str, Any]) -> None:
    notes, hub = facts["notes"], settings.get(configs.HUB_FILE, {})
    tokenizer, weights = facts["tokenizer"], facts["weights"]
    if tokenizer and hub and hub.get("eos_token_id") is None:
        notes.append(
            "config.json does not state which token ends a text; "
            f"SteadyPhi uses {tokenizer['eos_id']}, from the tokenizer's files"
        )
    if tokenizer and tokenizer["rows"] and tokenizer["rows"] > tokenizer["tokens"]:
        rows, tokens = tokenizer["rows"], tokenizer["tokens"]
        notes.append(f"{rows - tokens:,} of {rows:,} rows of the vocabulary belong to no token")
    stated = hub.get("dtype", hub.get("torch_dtype"))
    if weights and weights["dtypes"] and isinstance(stated, str) and stated not in weights["dtypes"]:
        notes.append(f"config.json says {stated}, the weights are {', '.join(weights['dtypes'])}")
    for single, kind in KINDS.items():
        there = {single, indexes.INDEXES.get(single)} & set(place.files)
        if weights and there and kind != weights["kind"]:
            notes.append(f"there are also {kind} weights; they were not read")
    if "auto_map" in hub:
        notes.append("auto_map names code in the repository; SteadyPhi does not run it or need it")


def _shorten(facts: dict[str, Any]) -> None:
    """Cut settings that are nested deeply, and all that follow after `MOST_VALUES` values."""
    left = MOST_VALUES

    def short(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > 12:
            return "…"
        if isinstance(value, dict):
            return {key: short(inner, depth + 1) for key, inner in value.items()}
        return [short(inner, depth + 1) for inner in value] if isinstance(value, list | tuple) else value

    for explained in facts["settings"].values():
        for setting in explained:
            setting["value"] = short(setting["value"], 0)
    if facts["adapter"]:
        facts["adapter"] = short(facts["adapter"], 0)
