"""A version of the fine-tuned model in MLflow's registry, for the stage `publish`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from stages import common
from steadyphi import serving
from steadyphi.checkpoint.export import export
from steadyphi.export_prompt import chat_of, measured_style
from steadyphi.prompts import own_formats
from steadyphi.prompts.formats import FORMATS
from steadyphi.results.stored import Evaluation
from steadyphi.settings.schema import Publish
from steadyphi.tracking import registry
from steadyphi.tracking.published import Published
from steadyphi.tracking.stage_run import StageRun


def register(
    run: StageRun, settings: Publish, tuned: Evaluation, passed: bool, reasons: Sequence[str], row: Published
) -> None:
    """Register the fine-tuned model with the gate's verdict.

    tuned: its evaluation, which recommends the prompt. row: what the row of the experiment shows.
    """
    formats = own_formats.read(own_formats.FOLDER)
    own_formats.define(formats.values())
    style = FORMATS[measured_style(tuned)]
    with tempfile.TemporaryDirectory() as name:
        data, model = Path(name) / "weights", Path(name) / "model"
        data.mkdir()
        if settings.copy_weights:
            export(common.TUNED, common.MODEL, data, as_adapter=False, chat=chat_of(style))
        else:
            serving.write_reference(data, common.MODEL, common.TUNED, common.root().absolute(), style)
        registry.write_model(model, data, serving.MODULE, serving.MOST_TOKENS)
        verdict = registry.verdict(passed, reasons)
        version = {
            "name": settings.register,
            "alias": settings.alias,
            "tags": {**row.model_tags, **verdict, "prompt_style": style.name},
            "model": row.model,
            "model_tags": row.model_tags,
        }
        run.register(model, version)
