"""Compose checked settings from params.yaml and conf/.

Hydra composes conf/ with the options that params.yaml names. The other keys of params.yaml then override the
result. Every error message names the file with the mistake.
"""

import contextlib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

from steadyphi.errors import SteadyPhiError
from steadyphi.files import check_yaml, read_bytes
from steadyphi.settings.checks import did_you_mean
from steadyphi.settings.composed import PARAMS, Composed, error_at, first_line
from steadyphi.settings.keys import KEYS, SECTIONS, nodes, unknown
from steadyphi.settings.schema import GROUPS, Settings

UNREADABLE = (yaml.YAMLError, HydraException, OmegaConfBaseException, OSError, ValueError, RecursionError)


def read_params(path: Path) -> dict[str, Any]:
    """Return the content of params.yaml. Raises SteadyPhiError if it is missing or not a YAML mapping."""
    if not path.is_file():
        raise error_at(path.name, "no such file; create it, for example with the line `model: phi-tiny`")
    _refuse_aliases(path, path.name)
    try:
        # Not PyYAML's own loader, because it reads the `1e-05` that `dvc exp run -S` writes as text.
        params = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except UNREADABLE as error:
        raise _broken(path.name, error) from None
    if not params or not isinstance(params, dict):
        raise error_at(path.name, "should be a mapping with keys, such as `model: phi-tiny`")
    return typing.cast(dict[str, Any], params)


def compose(params: dict[str, Any], conf_dir: Path) -> Settings:
    """Compose conf/ with the choices in `params` and return the checked settings.

    params: options of the groups (`model: phi-2`), and values that override any other key of the composed
    settings; None keeps the value of conf/.
    conf_dir: the folder conf/. Folders named in settings are relative to its parent.
    Raises SteadyPhiError with one line that names the file and the key of the first mistake.
    """
    choices = {g: _option(g, params[g], conf_dir) for g in GROUPS if params.get(g) is not None}
    overrides = {key: value for key, value in params.items() if key not in GROUPS}
    settable = {parts for parts in KEYS if len(parts) == 1 or parts[0] not in GROUPS}
    for parts, value in nodes(overrides):
        key = ".".join(parts)
        if parts not in settable:
            raise error_at(PARAMS, f"{key}: {unknown(parts, settable)}")
        if parts in SECTIONS and not isinstance(value, dict | None):
            raise error_at(PARAMS, f"{key}: should be a mapping of keys, not {value!r}")
        if value == "???":
            raise error_at(PARAMS, f"{key}: ??? is a placeholder; write a value, or null for that of conf/")
    for file in sorted(conf_dir.rglob("*.yaml")):
        _refuse_aliases(file, f"{conf_dir.name}/{file.relative_to(conf_dir)}")
    with _without_resolvers():
        return Composed(_run_hydra(choices, conf_dir), _without_null(overrides), conf_dir).settings()


@contextlib.contextmanager
def _without_resolvers() -> Iterator[None]:
    """Disable all resolvers within the block, so that `${oc.env:HF_TOKEN}` is refused."""
    registered = dict(BaseContainer._resolvers)
    BaseContainer._resolvers.clear()
    try:
        yield
    finally:
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(registered)


def _refuse_aliases(path: Path, name: str) -> None:
    """Raise SteadyPhiError for a YAML file that is too large, or has aliases, as `check_yaml` says."""
    try:
        check_yaml(read_bytes(path).decode("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return  # the function that reads the file reports the error
    except ValueError as error:
        raise error_at(name, str(error)) from None


def _run_hydra(choices: dict[str, str], conf_dir: Path) -> dict[str, Any]:
    overrides = [f"{group}={option}" for group, option in choices.items()]
    try:
        with hydra.initialize_config_dir(str(conf_dir.absolute()), version_base="1.3"):
            BaseContainer._resolvers.clear()  # Hydra has registered its own resolvers by now
            composed = hydra.compose("config", overrides, return_hydra_config=True)
    except MissingConfigException as error:
        raise _no_file(error.missing_cfg_file, conf_dir) from None
    except UNREADABLE as error:
        raise _blame(error, conf_dir) from None
    return typing.cast(dict[str, Any], OmegaConf.to_container(composed, resolve=False))


def _without_null(tree: dict[str, Any]) -> dict[str, Any]:
    trimmed = {k: _without_null(v) if isinstance(v, dict) else v for k, v in tree.items()}
    return {k: v for k, v in trimmed.items() if v is not None}


def _option(group: str, option: object, conf_dir: Path) -> str:
    options = [file.stem for file in (conf_dir / group).glob("*.yaml")]
    if isinstance(option, dict | list):
        raise error_at(PARAMS, f"{group}: should be the name of an option; {did_you_mean('', options)}")
    if str(option) not in options:
        raise error_at(PARAMS, f"{group}: unknown option {option!r}; {did_you_mean(str(option), options)}")
    return str(option)


def _no_file(missing: str | None, conf_dir: Path) -> SteadyPhiError:
    """Return the error for an option in the defaults list that has no file in conf/."""
    config = f"{conf_dir.name}/config.yaml"
    if not missing or not (conf_dir / "config.yaml").is_file():
        return error_at(config, "missing; compose needs it")
    options = {f"{file.parent.name}/{file.stem}" for file in conf_dir.glob("*/*.yaml")}
    problem = f"defaults: there is no {conf_dir.name}/{missing}.yaml; {did_you_mean(missing, options)}"
    return error_at(config, problem)


def _blame(error: Exception, conf_dir: Path) -> SteadyPhiError:
    """Return the error for the first file in conf/ that cannot be read; for config.yaml if all can."""
    for file in sorted(conf_dir.rglob("*.yaml")):
        try:
            OmegaConf.load(file)
        except UNREADABLE as reason:
            return _broken(f"{conf_dir.name}/{file.relative_to(conf_dir)}", reason)
    return error_at(f"{conf_dir.name}/config.yaml", first_line(error))


def _broken(file: str, error: Exception) -> SteadyPhiError:
    if not isinstance(error, yaml.YAMLError):
        key = getattr(error, "full_key", None)
        return error_at(file, (f"{key}: " if key else "") + first_line(error))
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", error)
    return error_at(file, f"line {mark.line + 1}: not YAML: {problem}" if mark else f"not YAML: {problem}")
