"""The settings that Hydra composed: resolved, validated and checked. An error names the file to correct."""

import dataclasses
import re
import typing
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, UnsupportedInterpolationType
from pydantic import ValidationError

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import own_formats
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.settings.checks import mistakes
from steadyphi.settings.keys import KEYS, SHARED, nodes, unknown
from steadyphi.settings.schema import Settings
from steadyphi.settings.values import explain, location, validate

PARAMS = "params.yaml"
INTERPOLATION = re.compile(r"\$\{((?:[\w.-]|\$\{[\w.-]+\})+)\}")  # `${model.lr.${method.name}}`


class Composed:
    """The composed settings, and the file in which each value was written."""

    def __init__(self, tree: dict[str, Any], overrides: dict[str, Any], conf_dir: Path):
        self.chosen = tree.pop("hydra")["runtime"]["choices"]
        self.conf, self.overrides, self.conf_dir = tree, overrides, conf_dir
        self.merged = OmegaConf.create(tree)
        for name, value in overrides.items():
            try:
                self.merged = typing.cast(DictConfig, OmegaConf.merge(self.merged, {name: value}))
            except OmegaConfBaseException as error:  # a date, for example
                raise error_at(PARAMS, f"{error.full_key or name}: {first_line(error)}") from None

    def settings(self) -> Settings:
        """Return the resolved and checked settings."""
        for parts, value in nodes(OmegaConf.to_container(self.merged, resolve=False)):
            key = ".".join(parts)
            if parts not in KEYS:
                raise self.refusal(key, unknown(parts, KEYS))
            if value == "???":
                raise self.refusal(key, "??? is a placeholder; write a value")
        # In the order of the fields, so that a mistake in a group is reported before the stages that use it.
        hints = typing.get_type_hints(Settings, include_extras=True)
        settings = Settings(**{name: self.section(name, kind) for name, kind in hints.items()})
        formats = own_formats.read(self.conf_dir / "prompts")
        for key, problem in mistakes(settings, self.conf_dir.parent, FORMATS | formats):
            raise self.refusal(key, problem)
        return _with_formats(settings, formats)

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
        problem = first_line(error)
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
        name = f"{group}/{self.chosen[group]}.yaml" if group in self.chosen else "config.yaml"
        file = PARAMS if self.overridden(key) else f"{self.conf_dir.name}/{name}"
        return error_at(file, f"{key}: {problem}")

    def origin(self, key: str) -> str:
        """Return the key that holds the value of `key`, found by following `${...}`."""
        seen: set[str] = set()
        while key not in seen and not self.overridden(key):
            seen.add(key)
            key = self.interpolated_from(key)
        return key

    def overridden(self, key: str) -> bool:
        """Return whether params.yaml has the key, or a list that it belongs to."""
        given = ((".".join(parts), value) for parts, value in nodes(self.overrides))
        return any(key == name or (isinstance(v, list) and key.startswith(f"{name}.")) for name, v in given)

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


def _with_formats(settings: Settings, formats: dict[str, Format]) -> Settings:
    """Return the settings with those of the `formats` of conf/prompts that they name.

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
    names = {*prepare.styles, *(prepare.answers or ()), *prepare.formats, *trained}
    prompts = own_formats.named(formats, names)
    return dataclasses.replace(
        settings,
        prepare=dataclasses.replace(prepare, prompts=prompts),
        evaluate=dataclasses.replace(settings.evaluate, prompts=prompts, styles=trained, grammar=grammar),
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).partition("\n")[0] or type(error).__name__


def error_at(where: str, problem: str) -> SteadyPhiError:
    """Return the error about a file, in one line."""
    return SteadyPhiError(" ".join(f"{where}: {problem}".split()))
