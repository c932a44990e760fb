"""The file of settings of each stage, which `compose` writes and the stage reads."""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object
from steadyphi.settings.schema import GROUPS, STAGES, Publish, Settings
from steadyphi.settings.values import explain, location, validate

T = TypeVar("T")


def _plain(value: object) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def digest(settings: Settings) -> str:
    """Return 12 hex digits that identify all settings that affect results: SHA-256 of canonical JSON."""
    tree = _plain(settings)
    tree["evaluate"].pop("gate")
    tree["publish"] = {"experiment": tree["publish"]["experiment"]}  # the registry does not affect results
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stage_files(settings: Settings) -> dict[str, str]:
    """Return the YAML text of the settings of each stage. The same settings give the same bytes."""
    tree = _plain(settings)
    # `gate` has its own file, so that switching it on does not repeat the evaluation.
    tree["gate"] = {"gate": tree["evaluate"].pop("gate")}
    record = {group: tree[group]["name"] for group in GROUPS} | {"seed": tree["seed"]}
    record |= {stage: tree[stage] for stage in STAGES if stage not in ("publish", "gate")}
    sections = {stage: tree[stage] for stage in STAGES}
    sections["publish"] = {**tree["publish"], "digest": digest(settings), "settings": record}
    return {
        stage: yaml.safe_dump(section, sort_keys=False, allow_unicode=True, width=110)
        for stage, section in sections.items()
    }


def load_settings(path: Path, cls: type[T]) -> T:
    """Read the settings file of one stage, such as artifacts/config/finetune.yaml with the class `Finetune`.

    Raises SteadyPhiError if the file is missing, or not as `compose` writes it.
    """
    try:
        section: T = validate(read_object(path, advice="run `dvc repro compose`"), cls)
    except OSError as error:
        raise SteadyPhiError(f"{path}: {error.strerror}; run `dvc repro compose`") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ": ".join(filter(None, (str(path), location(first))))
        raise SteadyPhiError(f"{where}: {explain(first)}; run `dvc repro compose`") from None
    return section


def load_published(path: Path) -> Publish:
    """Read the settings of the stage `publish` of any commit, without the registry, which older ones lack.

    Raises SteadyPhiError if the file is not as `compose` writes it.
    """
    known = read_object(path, "settings of publish")
    try:
        given = {key: known[key] for key in ("experiment", "digest", "settings")}
        return Publish(**given, register=None, alias="champion", copy_weights=False)
    except (KeyError, ValidationError) as error:
        raise SteadyPhiError(f"{path}: is not as compose writes it: {error}") from None
