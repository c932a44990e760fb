"""Compose checked settings from params.yaml and conf/.

Hydra composes conf/ with the options that params.yaml names. The other keys of params.yaml then override the
result. Every error message names the file with the mistake.
"""

import contextlib
import dataclasses
import re
import typing
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException, UnsupportedInterpolationType
from pydantic import ValidationError

from steadyphi.errors import SteadyPhiError
from steadyphi.files import check_yaml, read_bytes
from steadyphi.prompts import own_formats
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.settings.checks import did_you_mean, mistakes
from steadyphi.settings.schema import GROUPS, Settings
from steadyphi.settings.values import explain, location, validate

PARAMS = "params.yaml"
INTERPOLATION = re.compile(r"\$\{((?:[\w.-]|\$\{[\w.-]+\})+)\}")  # `${model.lr.${method.name}}`
UNREADABLE = (yaml.YAMLError, HydraException, OmegaConfBaseException, OSError, ValueError, RecursionError)
Parts = tuple[str, ...]
# Settings that a stage takes from another section. They are set there, not in the section of the stage.
SHARED = {
    "prepare": {
        "data_file": "data_file",
        "task_file": "task_file",
        "held_out": "held_out",
        "prompts": "conf/prompts",
    },
    "evaluate": {
        "prompts": "conf/prompts",
        "formats": "prepare.formats",
        "styles": "prepare.styles",
        "grammar": "prepare.grammar",
        "held_out": "held_out",
    },
}


def read_params(path: Path) -> dict[str, Any]:
    """Return the content of params.yaml. Raises SteadyPhiError if it is missing or not a YAML mapping."""
    if not path.is_file():
        raise _error(path.name, "no such file; create it, for example with the line `model: phi-tiny`")
    _refuse_aliases(path, path.name)
    try:
        # Not PyYAML's own loader, because it reads the `1e-05` that `dvc exp run -S` writes as text.
        params = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except UNREADABLE as error:
        raise _broken(path.name, error) from None
    if not params or not isinstance(params, dict):
        raise _error(path.name, "should be a mapping with keys, such as `model: phi-tiny`")
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
    for parts, value in _nodes(overrides):
        key = ".".join(parts)
        if parts not in settable:
            raise _error(PARAMS, f"{key}: {_unknown(parts, settable)}")
        if parts in SECTIONS and not isinstance(value, dict | None):
            raise _error(PARAMS, f"{key}: should be a mapping of keys, not {value!r}")
        if value == "???":
            raise _error(PARAMS, f"{key}: ??? is a placeholder; write a value, or null for that of conf/")
    for file in sorted(conf_dir.rglob("*.yaml")):
        _refuse_aliases(file, f"{conf_dir.name}/{file.relative_to(conf_dir)}")
    with _without_resolvers():
        return _Composed(_run_hydra(choices, conf_dir), _without_null(overrides), conf_dir).settings()


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
        raise _error(name, str(error)) from None


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


class _Composed:
    """The composed settings, and the file in which each value was written."""

    def __init__(self, tree: dict[str, Any], overrides: dict[str, Any], conf_dir: Path):
        self.chosen = tree.pop("hydra")["runtime"]["choices"]
        self.conf, self.overrides, self.conf_dir = tree, overrides, conf_dir
        self.merged = OmegaConf.create(tree)
        for name, value in overrides.items():
            try:
                self.merged = typing.cast(DictConfig, OmegaConf.merge(self.merged, {name: value}))
            except OmegaConfBaseException as error:  # a date, for example
                raise _error(PARAMS, f"{error.full_key or name}: {_first_line(error)}") from None

    def settings(self) -> Settings:
        """Return the resolved and checked settings."""
        for parts, value in _nodes(OmegaConf.to_container(self.merged, resolve=False)):
            key = ".".join(parts)
            if parts not in KEYS:
                raise self.refusal(key, _unknown(parts, KEYS))
            if value == "???":
                raise self.refusal(key, "??? is a placeholder; write a value")
        # In the order of the fields, so that a mistake in a group is reported before the stages that use it.
        hints = typing.get_type_hints(Settings, include_extras=True)
        settings = Settings(**{name: self.section(name, kind) for name, kind in hints.items()})
        own = own_formats.read(self.conf_dir / "prompts")
        for key, problem in mistakes(settings, self.conf_dir.parent, FORMATS | own):
            raise self.refusal(key, problem)
        return _with_formats(settings, own)

    def section(self, name: str, kind: Any) -> Any:
        """Return the section `name` of the settings, resolved and validated as `kind`."""
        if name not in self.merged:
            raise self.refusal(name, "missing")
        try:
            value = self.merged[name]
            plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            return validate(self.with_shared(name, plain), kind)
        except OmegaConfBaseException as error:
            raise self.unresolved(error, name) from None
        except ValidationError as error:
            first = error.errors()[0]
            raise self.refusal(location(first, name), explain(first)) from None

    def with_shared(self, name: str, section: Any) -> Any:
        """Return a section together with the settings that its stage takes from other sections."""
        if not isinstance(section, dict):
            return section
        sources = {key: source for key, source in SHARED.get(name, {}).items() if key != "prompts"}
        shared = {key: OmegaConf.select(self.merged, source) for key, source in sources.items()}
        plain = {
            k: OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v
            for k, v in shared.items()
        }
        return {**section, **plain, "prompts": []} if plain else section

    def unresolved(self, error: OmegaConfBaseException, section: str) -> SteadyPhiError:
        """Return the error for an interpolation that cannot be resolved."""
        if isinstance(error, UnsupportedInterpolationType):
            problem = "settings must not depend on the machine; write the value itself"
            return self.refusal(error.full_key or section, problem, follow=False)
        problem = _first_line(error)
        target = re.search("'(.+)' not found", problem)
        if target and (near := get_close_matches(target[1], map(".".join, KEYS), 1)):
            problem += f"; did you mean {near[0]}?"
        key = error.full_key or section
        return self.refusal(key, problem, follow=False)

    def refusal(self, key: str, problem: str, follow: bool = True) -> SteadyPhiError:
        """Return the error that names the file in which the value of `key` is written.

        follow: follow `${...}` to the key that holds the value.
        """
        key = self.origin(key) if follow else key
        group = key.split(".")[0]
        file = f"{group}/{self.chosen[group]}.yaml" if group in self.chosen else "config.yaml"
        return _error(PARAMS if self.overridden(key) else f"{self.conf_dir.name}/{file}", f"{key}: {problem}")

    def origin(self, key: str) -> str:
        """Return the key that holds the value of `key`, found by following `${...}`."""
        seen: set[str] = set()
        while key not in seen and not self.overridden(key):
            seen.add(key)
            key = self.interpolated_from(key)
        return key

    def overridden(self, key: str) -> bool:
        """Return whether params.yaml has the key, or a list that it belongs to."""
        nodes = ((".".join(parts), value) for parts, value in _nodes(self.overrides))
        return any(key == name or (isinstance(v, list) and key.startswith(f"{name}.")) for name, v in nodes)

    def interpolated_from(self, key: str) -> str:
        """Return the key that `key`, or a mapping that contains it, refers to; else `key` itself."""
        parts, node = key.split("."), typing.cast(Any, self.conf)
        for i, part in enumerate(parts, 1):
            node = node.get(part) if isinstance(node, dict) else None
            if isinstance(node, str) and (whole := INTERPOLATION.fullmatch(node)):
                target = re.sub(
                    r"\$\{([\w.]+)\}", lambda m: str(OmegaConf.select(self.merged, m[1])), whole[1]
                )
                return ".".join([target, *parts[i:]])
        return key


def _with_formats(settings: Settings, own: dict[str, Format]) -> Settings:
    """Return the settings with the prompt formats of conf/prompts that they name.

    `evaluate` gets the formats that any source is trained in, and the mean share of the grammar.
    """
    prepare = settings.prepare
    shares = [prepare.grammar if s.grammar is None else s.grammar for s in prepare.sources]
    styles = [
        name
        for source, share in zip(prepare.sources, shares, strict=True)
        for name in (source.styles or prepare.styles)
        if share < 1
    ]
    trained = tuple(dict.fromkeys(styles or prepare.styles))
    grammar = sum(shares) / len(shares) if shares else prepare.grammar
    prompts = own_formats.named(own, {*prepare.styles, *(prepare.answers or ()), *prepare.formats, *trained})
    return dataclasses.replace(
        settings,
        prepare=dataclasses.replace(prepare, prompts=prompts),
        evaluate=dataclasses.replace(settings.evaluate, prompts=prompts, styles=trained, grammar=grammar),
    )


def _keys(kind: Any) -> Iterator[Parts]:
    """Yield the key of every setting in a dataclass, or in a union of dataclasses.

    A list of dataclasses is one setting, because its members have no names.
    """
    if typing.get_origin(kind) is tuple:
        return
    for member in typing.get_args(kind):
        yield from _keys(member)
    if dataclasses.is_dataclass(kind):
        for name, hint in typing.get_type_hints(kind).items():
            yield (name,)
            yield from ((name, *parts) for parts in _keys(hint))


KEYS = frozenset(key for key in _keys(Settings) if not set(key[1:2]) & set(SHARED.get(key[0], ())))
SECTIONS = frozenset(parts[:-1] for parts in KEYS)


def _nodes(tree: Any, above: Parts = ()) -> Iterator[tuple[Parts, Any]]:
    """Yield the key and value of every mapping and leaf in `tree`, outer ones before inner ones."""
    for name, value in tree.items() if isinstance(tree, dict) else ():
        parts = (*above, str(name))
        yield parts, value
        yield from _nodes(value, parts)


def _without_null(tree: dict[str, Any]) -> dict[str, Any]:
    trimmed = {k: _without_null(v) if isinstance(v, dict) else v for k, v in tree.items()}
    return {k: v for k, v in trimmed.items() if v is not None}


def _unknown(parts: Parts, known: typing.Collection[Parts]) -> str:
    """Return the message for an unknown key, with the nearest key of the same mapping, else of any."""
    last = parts[-1]
    if len(parts) == 2 and last in SHARED.get(parts[0], {}):
        return f"cannot be set here; set {SHARED[parts[0]][last]}"
    if "." in last and tuple(last.split(".")) in known:
        return f"unknown key; write it as {last.replace('.', ': {')}: ..." + "}" * last.count(".")
    beside = {k[-1]: k for k in sorted(known) if k[:-1] == parts[:-1]}
    if not beside:
        return f"unknown key; {'.'.join(parts[:-1])} is one value, not a mapping"
    anywhere = {k[-1]: k for k in sorted(known)}
    for pool in (beside, anywhere):
        if near := get_close_matches(last, pool, 1):
            return f"unknown key; did you mean {'.'.join(pool[near[0]])}?"
    return f"unknown key; {did_you_mean(last, beside)}"


def _option(group: str, option: object, conf_dir: Path) -> str:
    options = [file.stem for file in (conf_dir / group).glob("*.yaml")]
    if isinstance(option, dict | list):
        raise _error(PARAMS, f"{group}: should be the name of an option; {did_you_mean('', options)}")
    if str(option) not in options:
        raise _error(PARAMS, f"{group}: unknown option {option!r}; {did_you_mean(str(option), options)}")
    return str(option)


def _no_file(missing: str | None, conf_dir: Path) -> SteadyPhiError:
    """Return the error for an option in the defaults list that has no file in conf/."""
    config = f"{conf_dir.name}/config.yaml"
    if not missing or not (conf_dir / "config.yaml").is_file():
        return _error(config, "missing; compose needs it")
    options = {f"{file.parent.name}/{file.stem}" for file in conf_dir.glob("*/*.yaml")}
    problem = f"defaults: there is no {conf_dir.name}/{missing}.yaml; {did_you_mean(missing, options)}"
    return _error(config, problem)


def _blame(error: Exception, conf_dir: Path) -> SteadyPhiError:
    """Return the error for the first file in conf/ that cannot be read; for config.yaml if all can."""
    for file in sorted(conf_dir.rglob("*.yaml")):
        try:
            OmegaConf.load(file)
        except UNREADABLE as reason:
            return _broken(f"{conf_dir.name}/{file.relative_to(conf_dir)}", reason)
    return _error(f"{conf_dir.name}/config.yaml", _first_line(error))


def _broken(file: str, error: Exception) -> SteadyPhiError:
    if not isinstance(error, yaml.YAMLError):
        key = getattr(error, "full_key", None)
        return _error(file, (f"{key}: " if key else "") + _first_line(error))
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", error)
    return _error(file, f"line {mark.line + 1}: not YAML: {problem}" if mark else f"not YAML: {problem}")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _error(where: str, problem: str) -> SteadyPhiError:
    return SteadyPhiError(" ".join(f"{where}: {problem}".split()))
