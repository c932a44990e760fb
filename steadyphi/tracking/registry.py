"""Versions of a model in MLflow's registry, with the verdict of the gate.

A version is loaded by a module of this project, named in its `MLmodel` file; it contains no pickled code.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steadyphi.tracking import published

COLUMN, MOST_TOKENS = "instruction", "max_new_tokens"
GATE, REASONS, PASSED = "gate", "gate.reasons", "passed"  # tags of a version; the value of the first


def write_model(folder: Path, data: Path, loader: str, default_tokens: int) -> None:
    """Write an MLflow model: the `MLmodel` file, and a copy of `data`, which the module `loader` reads.

    The model takes a table with the column `instruction`, and the param `max_new_tokens`; it returns texts.
    """
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        Schema([ColSpec(DataType.string, COLUMN)]),
        Schema([ColSpec(DataType.string)]),
        ParamSchema([ParamSpec(MOST_TOKENS, DataType.integer, default_tokens)]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that an example is missing, which would load the model
        pyfunc.save_model(
            str(folder),
            loader_module=loader,
            data_path=str(data),
            signature=signature,
            pip_requirements=[],  # MLflow alone: PyPI's package of the loader's name may be another one
        )


def register(client: Any, run: Any, folder: str, version: Mapping[str, Any]) -> None:
    """Register the model in `folder`, which `write_model` wrote, as a version of the model `name`.

    version: `name`; `tags`, with those of `verdict`; `alias`, which the newest version that passed the gate
        has; `model` and `model_tags`, as in the summary of the run. A model that has a version gets no
        second one.
    """
    from mlflow.exceptions import MlflowException

    name, alias = version["name"], version["alias"]
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = published.log_model(client, run, version["model"], version["model_tags"])
    # The location and not `models:/ID`, which MLflow would look for in its default tracking store.
    place = client.get_logged_model(model_id).artifact_location
    registered = next(
        (v for v in client.search_model_versions(f"name = '{name}'") if v.source == place), None
    )
    if registered is None:
        client.log_model_artifacts(model_id, folder)
        registered = client.create_model_version(name, place, run.info.run_id, model_id=model_id)
    for key, value in version["tags"].items():
        client.set_model_version_tag(name, registered.version, key, value)
    if REASONS in registered.tags and REASONS not in version["tags"]:
        client.delete_model_version_tag(name, registered.version, REASONS)
    _set_alias(client, name, alias)


def verdict(passed: bool, reasons: Sequence[str]) -> dict[str, str]:
    """Return the gate's verdict as tags of a version."""
    return {GATE: PASSED if passed else "failed"} | ({REASONS: "; ".join(reasons)} if reasons else {})


def _set_alias(client: Any, name: str, alias: str) -> None:
    """Give the alias to the newest version that passed the gate; to none if there is none."""
    versions = client.search_model_versions(f"name = '{name}'")
    passed = [int(v.version) for v in versions if v.tags.get(GATE) == PASSED]
    holder = client.get_registered_model(name).aliases.get(alias)
    if passed and str(max(passed)) != str(holder):
        client.set_registered_model_alias(name, alias, str(max(passed)))
    elif holder and not passed:
        client.delete_registered_model_alias(name, alias)
