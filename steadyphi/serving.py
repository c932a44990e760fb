"""A model of MLflow's registry: the fine-tuned weights, asked with the prompt that the evaluation recommends.

MLflow calls `_load_pyfunc` of this module, which the `MLmodel` file names. The folder that it is given has
either a whole checkpoint, as `steadyphi export` writes it, or `reference.json`, which names weights on this
machine.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steadyphi.checkpoint import chat_files, manifest
from steadyphi.checkpoint.adapter import is_adapter
from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object, write_json
from steadyphi.prompts import own_formats
from steadyphi.prompts.dialogue import stops
from steadyphi.prompts.formats import DEFAULT, FORMATS, Format

REFERENCE = "reference.json"
MODULE = "steadyphi.serving"
MOST_TOKENS = 256


def write_reference(folder: Path, base: Path, tuned: Path, where: Path, style: Format) -> None:
    """Write `reference.json` for the weights in `tuned`, on `base` if they are an adapter.

    where: the folder in which artifacts/ will be looked for. The files of `tuned` and the digest of the base
    are checked when the model is loaded.
    """
    weights = {"tuned": str(where / tuned), "files": manifest.make(tuned)["files"]}
    if is_adapter(tuned):
        weights |= {"base": str(where / base), "base_digest": manifest.read(base).get("digest")}
    write_json(folder / REFERENCE, {**weights, "style": style.name, "texts": own_formats.written(style)})


def _load_pyfunc(data_path: str) -> "Served":
    """Return the model for MLflow. Raises SteadyPhiError if the weights are missing or have changed."""
    from steadyphi.inference.load import load_tuned
    from steadyphi.inference.packed import pack
    from steadyphi.runtime.device import pick_device, pick_dtype
    from steadyphi.tokenizer import TextTokenizer

    folder = Path(data_path)
    base, tuned, name, texts = _reference(folder) if (folder / REFERENCE).exists() else _checkpoint(folder)
    style = own_formats.parsed(dict(texts)) if texts else FORMATS.get(name)
    if style is None:
        raise SteadyPhiError(f"{folder}: records the unknown prompt style {name!r}")
    device = pick_device()
    model = pack(load_tuned(base, tuned, pick_dtype("auto", device), device))
    return Served(model, TextTokenizer(base), style)


def _checkpoint(folder: Path) -> tuple[Path, None, str, Mapping[str, Any] | None]:
    return folder, None, chat_files.recorded_style(folder) or DEFAULT, chat_files.recorded_format(folder)


def _reference(folder: Path) -> tuple[Path, Path, str, Mapping[str, Any] | None]:
    """Return the base, the tuned folder and the prompt format that a reference names, after checking them."""
    named = read_object(folder / REFERENCE, "a reference to weights")
    tuned = Path(named["tuned"])
    base = Path(named.get("base") or tuned)
    advice = (
        "restore them with dvc exp apply, or git checkout and dvc checkout; publish.copy_weights keeps a copy"
    )
    for path in (tuned, base):
        if not path.is_dir():
            raise SteadyPhiError(f"{path}: the weights of this version are not on this machine; {advice}")
    same = base == tuned or manifest.read(base).get("digest") == named.get("base_digest")
    if not same or manifest.make(tuned)["files"] != named["files"]:
        changed = tuned if same else base
        raise SteadyPhiError(f"{changed}: has other weights than this version; {advice}")
    return base, tuned, named["style"], named["texts"]


class Served:
    """The model as MLflow calls it."""

    def __init__(self, model: Any, tokenizer: Any, style: Format) -> None:
        self.model, self.tokenizer, self.style = model, tokenizer, style

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[str]:
        """Return the greedy answer to each instruction.

        model_input: a table with the column `instruction`, or a list of texts. params: `max_new_tokens`.
        """
        from steadyphi.inference.generate import Options, generate

        questions = model_input["instruction"] if hasattr(model_input, "columns") else model_input
        prompts = [self.tokenizer.encode(self.style.prompt(q)) for q in questions]
        most = (params or {}).get("max_new_tokens", MOST_TOKENS)
        options = Options(max_new_tokens=most, stop=tuple(stops(self.style)))
        return [each.text.strip() for each in generate(self.model, self.tokenizer, prompts, options)]
