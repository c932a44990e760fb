"""Exact ids: nothing added, padded, cut or taken for a command."""

import json
import shutil
from pathlib import Path

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.tokenizer import END_OF_TEXT, TextTokenizer, missing


def test_padding_and_truncation_of_the_file_are_not_obeyed(phi_tiny: Path, tmp_path: Path) -> None:
    values = json.loads((phi_tiny / "tokenizer.json").read_text())
    values["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": END_OF_TEXT,
    }
    values["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    texts = ["a", "a text that is longer than five tokens are, by far"]
    expected = [TextTokenizer(phi_tiny).encode(text) for text in texts]
    assert TextTokenizer(tmp_path).encode_batch(texts) == expected
    assert len(expected[1]) > 5


def test_the_end_token_written_in_a_text_is_text(phi_tiny: Path) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    ids = tokenizer.encode(f"one{END_OF_TEXT}two")
    assert tokenizer.eos_id not in ids
    assert tokenizer.decode(ids) == f"one{END_OF_TEXT}two"


def test_real_tokenizers(shared: Path) -> None:
    for name in ("phi-2", "phi-1_5"):
        tokenizer = TextTokenizer(shared / "hub" / name)
        assert (tokenizer.eos_id, tokenizer.size) == (50256, 50295)
        # The space matters: ` Paris` is another token than `Paris`.
        assert tokenizer.encode("Output:") + tokenizer.encode(" Paris") == tokenizer.encode("Output: Paris")
        assert tokenizer.encode("Output: ") + tokenizer.encode("Paris") != tokenizer.encode("Output: Paris")


def test_no_tokenizer(phi_tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(SteadyPhiError, match=r"tokenizer\.json: no tokenizer could be read"):
        TextTokenizer(tmp_path)
    shutil.copyfile(phi_tiny / "config.json", tmp_path / "tokenizer.json")
    with pytest.raises(SteadyPhiError, match="no tokenizer could be read"):
        TextTokenizer(tmp_path)


def test_files_of_a_tokenizer_without_the_one_that_is_read() -> None:
    for names in ({"tokenizer.json", "vocab.json"}, {"tokenizer.json"}, {"merges.txt"}, set[str]()):
        assert missing(names, Path("phi")) is None
    assert str(missing({"vocab.json", "merges.txt"}, Path("phi"))).startswith("phi: has vocab.json, but no")
