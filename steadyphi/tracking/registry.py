"""Versions of a model in MLflow's registry, with the verdict of the gate.

A version is loaded by a module of this project, named in its `MLmodel` file; it contains no pickled code.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steadyphi.tracking import published

COLUMN, MOST_TOKENS = "instruction", "max_new_tokens"


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
    requirements = [loader.partition(".")[0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that an example is missing, which would load the model
        pyfunc.save_model(
            str(folder),
            loader_module=loader,
            data_path=str(data),
            signature=signature,
            pip_requirements=requirements,
        )


def register(client: Any, run: Any, folder: str, version: Mapping[str, Any]) -> None:
    """Register the model in `folder`, which `write_model` wrote, as a version of the model `name`.

    version: `name`; `tags`; `alias`, which the version gets, or loses if `passed` is false; `model` and
        `model_tags`, as in the summary of the run. A model that has a version gets no second one.
    """
    from mlflow.exceptions import MlflowException

    name, alias = version["name"], version["alias"]
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = published.log_model(client, run, version["model"], version["model_tags"])
    versions = client.search_model_versions(f"name = '{name}'")
    # The location and not `models:/ID`, which MLflow would look for in its default tracking store.
    place = client.get_logged_model(model_id).artifact_location
    found = next((v for v in versions if v.source == place), None)
    if found is None:
        client.log_model_artifacts(model_id, folder)
        found = client.create_model_version(
            name, place, run.info.run_id, model_id=model_id, tags=dict(version["tags"])
        )
    for key, value in version["tags"].items():
        client.set_model_version_tag(name, found.version, key, value)
    if version["passed"]:
        client.set_registered_model_alias(name, alias, found.version)
    elif client.get_registered_model(name).aliases.get(alias) == found.version:
        client.delete_registered_model_alias(name, alias)
