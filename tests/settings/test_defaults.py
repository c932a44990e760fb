"""The settings of a method for an estimate: from the current folder, or else from this repository."""

from pathlib import Path

import pytest

import steadyphi
from steadyphi.inspection import sizes
from steadyphi.settings.defaults import lora_settings
from steadyphi.settings.groups import Lora
from tests.conftest import ROOT
from tests.inspection.test_sizes import PHI_2


def lora_row() -> dict[str, object]:
    row: dict[str, object] = sizes.memory(PHI_2)["finetune"]["lora"]
    return row


def test_from_another_folder_inspect_still_estimates_lora(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    here = lora_row()
    monkeypatch.chdir(tmp_path)
    assert lora_row() == here and here["bytes"]


def test_the_current_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "method").mkdir(parents=True)
    text = (ROOT / "conf" / "method" / "lora.yaml").read_text()
    (tmp_path / "conf" / "method" / "lora.yaml").write_text(text.replace("r: 8", "r: 3"))
    monkeypatch.chdir(tmp_path)
    settings = lora_settings("lora")
    assert isinstance(settings, Lora) and settings.r == 3


def test_without_any_conf_the_reason_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(steadyphi, "__file__", str(tmp_path / "elsewhere" / "steadyphi" / "__init__.py"))
    reason = lora_settings("lora")
    assert isinstance(reason, str) and "conf/method/lora.yaml" in reason
    assert lora_row() == {"bytes": None, "trained": None, "formula": None, "why": reason}


@pytest.mark.parametrize("text", ["name: lora\nr: 0\n", "- a\n", "name: [\n"])
def test_broken_settings_are_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "conf" / "method").mkdir(parents=True)
    (tmp_path / "conf" / "method" / "lora.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    reason = lora_settings("lora")
    assert isinstance(reason, str) and "lora.yaml" in reason and "\n" not in reason
