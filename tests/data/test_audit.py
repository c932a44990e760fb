"""The audit of the training rows: what is left out, what is counted, and that clean rows stay as they are."""

import dataclasses
import json
from pathlib import Path

import pytest

from steadyphi.data import audit
from steadyphi.data.audit import Audit
from steadyphi.data.contamination import WORDS, Contamination
from steadyphi.data.prepare import prepare
from steadyphi.data.row_checks import RowChecks, garbled
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.tables import read_examples, read_items, read_table
from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object
from steadyphi.prompts.item import Item
from steadyphi.settings.compose import compose
from steadyphi.settings.groups import HubSplit, Mixed
from steadyphi.settings.schema import Prepare
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"


def item(question: str, name: str = "q") -> Item:
    return Item(name, "", question, ("a", "b"), 0)


def row(question: str, answer: str = "yes", name: str = "row-1") -> Dialogue:
    return Dialogue(name, ((question, answer),))


def overlap(question: str, *rows: Dialogue) -> list[str]:
    overlaps = Contamination([item(question)]).overlaps(rows)
    return [overlaps[n][1] if n in overlaps else "" for n in range(len(rows))]


def test_thirteen_words_in_common() -> None:
    words = LONG.split()
    inside = f"So: {' '.join(words[1:14]).upper()}!"
    less = f"So: {' '.join(words[1:13])}!"
    assert len(words[1:14]) == WORDS
    answers = [row("Q?", inside), row(inside), row(less), row(f"{less} {words[14]}"), row("Q?", "A")]
    assert overlap(LONG, *answers) == [f"{WORDS} words", f"{WORDS} words", "", "", ""]


def test_a_run_does_not_cross_texts() -> None:
    words = LONG.split()
    halves = (" ".join(words[:7]), " ".join(words[7:]))
    assert overlap(LONG, row(*halves), row(" ".join(halves))) == ["", "the whole question"]


def test_a_short_question_is_compared_as_a_whole() -> None:
    texts = ["what is  3 + 4", "What is 3 - 4?", "What is 3 + 4? Say it."]
    rows = [*map(row, texts), row("Hm?", "What is 3 + 4?")]
    assert overlap("What is 3 + 4?", *rows) == ["the whole question", "", "", "the whole question"]


def test_turns_and_system_texts_are_compared_too() -> None:
    later = Dialogue("row-1", (("Hello", "Hi"), ("Who wrote Emma?", "Austen")))
    system = Dialogue("row-2", (("Who?", "Austen"),), system="Read Emma.")
    assert overlap("who wrote emma", later, system) == ["the whole question", ""]
    assert overlap("Read Emma.\n\nWho?", later, system) == ["", "the whole question"]


def test_the_same_instruction_before_every_question_is_not_contamination() -> None:
    items = [item(f"{LONG} {name}?", name) for name in ("alpha", "beta", "gamma", "delta")]
    contamination = Contamination(items)
    assert not contamination.overlaps([row(f"{LONG} omega?")])
    assert contamination.overlaps([row(f"{LONG} gamma?")]) == {0: ("gamma", "the whole question")}
    assert contamination.overlaps([row(f"Well: {LONG} gamma?")]) == {0: ("gamma", f"{WORDS} words")}


def reference(rows: list[Dialogue], items: list[Item]) -> set[int]:
    """The rule by sets of tuples of words, without hashes."""

    def words(text: str) -> list[str]:
        return [w.strip(".,;:!?\"'()[]{}<>“”‘’…*_`") or w for w in text.casefold().split()]

    def runs(text: str) -> set[tuple[str, ...]]:
        split = words(text)
        return {tuple(split[n : n + 13]) for n in range(len(split) - 12)}

    of_items = [runs(i.question) for i in items]
    rare = {
        run for item_runs in of_items for run in item_runs if sum(run in other for other in of_items) <= 10
    }
    whole = {tuple(words(i.question)) for i in items}
    return {
        n
        for n, dialogue in enumerate(rows)
        for text in (dialogue.question, dialogue.turns[0][0], dialogue.response)
        if runs(text) & rare or tuple(words(text)) in whole
    }


def test_real_questions(shared: Path) -> None:
    folder = shared / "data" / "svamp"
    svamp = json.loads((folder / "SVAMP.json").read_text())
    texts = [f"{r['Body']} {r['Question']}" for r in svamp]
    items = [item(text, str(n)) for n, text in enumerate(texts[:200])]
    rows = [row(text, "5") for text in texts[200:]] + [row(texts[7])]
    expected = reference(rows, items)
    assert set(Contamination(items).overlaps(rows)) == expected
    assert len(rows) - 1 in expected and 50 < len(expected) < 400


@pytest.fixture(scope="module")
def settings() -> Prepare:
    return dataclasses.replace(compose({}, ROOT / "conf").prepare, source="jsonl", data_file="rows.jsonl")


def test_findings(settings: Prepare, phi_tiny: Path) -> None:
    rows = [
        row("What is Emma?", "A novel.", "row-1"),
        row("Who wrote Emma?", "Austen.", "row-2"),
        row("what is emma", "a novel", "row-3"),
        row("Say <|im_start|>.", "caf\u00c3\u00a9 [/INST]", "row-4"),
        row("Nothing?", "…", "row-5"),
        row("Say it.", "Yes.<|endoftext|> Yes.", "row-6"),
    ]
    audited = Audit(settings, [item("Who wrote Emma?", "item-9")], TextTokenizer(phi_tiny))
    assert [d.id for d in audited.kept(rows)] == ["row-1", "row-3", "row-4", "row-5", "row-6"]
    findings = audited.findings()
    assert findings["contaminated"]["rows"] == [
        {"row": "row-2", "question": "item-9", "shared": "the whole question"}
    ]
    assert findings["special_text"] == {
        "count": 2,
        "rows": [{"row": "row-4", "text": "<|im_start|>"}, {"row": "row-6", "text": "<|endoftext|>"}],
    }
    assert findings["garbled"]["rows"] == [{"row": "row-4", "text": "\u00c3\u00a9"}]
    assert findings["empty_answer"]["rows"] == [{"row": "row-5", "text": "…"}]
    assert findings["exact_duplicates"] == {"count": 1, "rows": [{"row": "row-3"}]}
    counts = audit.counts(findings)
    assert counts["contaminated_rows"] == 1 and counts["exact_duplicates"] == 1
    others = {"train_examples": 4, "skipped_examples": 1, "end_token_coverage": 0.9}
    alarms = "\n".join(audit.alarms({**counts, **others}))
    for text in (
        "10.0% of the answers",
        "left out: 1 of 6",
        "in 2 of 6 training rows: the text of",
    ):
        assert text in alarms
    clean = dict.fromkeys(counts, 0)
    assert not list(audit.alarms({**clean, **others, "end_token_coverage": 1}))


def test_too_much_contamination_is_refused(settings: Prepare, phi_tiny: Path) -> None:
    rows = [row(f"What is {n}?", str(n), f"row-{n}") for n in range(8)]
    for count, refused in ((2, False), (3, True)):
        asked = [item(f"What is {n}?") for n in range(count)]
        audited = Audit(settings, asked, TextTokenizer(phi_tiny))
        assert len(list(audited.kept(rows))) == 8 - count
        if refused:
            with pytest.raises(SteadyPhiError, match=r"3 of 8 training rows .* raise prepare.contamination"):
                audited.check()
            # Rows of the Hub are not in data_file.
            hub = HubSplit("me/rows", "train")
            audited._settings = dataclasses.replace(settings, source="hub", hub=hub)
            with pytest.raises(SteadyPhiError, match="me/rows: 3 of 8"):
                audited.check()
            mixed = (Mixed("a", hub=hub), Mixed("b", hub=HubSplit("me/more", "train")))
            audited._settings = dataclasses.replace(settings, source="mixture", sources=mixed)
            with pytest.raises(SteadyPhiError, match="me/rows, me/more: 3 of 8"):
                audited.check()
        else:
            audited.check()  # 0.25 is not more than 0.25


def test_listings_are_bounded(settings: Prepare, phi_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LISTED", 3)
    monkeypatch.setattr(audit, "BATCH", 4)
    audited = Audit(settings, [item("Q?")], TextTokenizer(phi_tiny))
    assert len(list(audited.kept(row("Same?", "…", f"row-{n}") for n in range(10)))) == 10
    findings = audited.findings()
    assert findings["empty_answer"]["count"] == 10 and len(findings["empty_answer"]["rows"]) == 3
    assert findings["exact_duplicates"]["count"] == 9
    assert findings["exact_duplicates"]["rows"] == [{"row": f"row-{n}"} for n in (1, 2, 3)]


def test_prepare_leaves_them_out(phi_tiny: Path, tmp_path: Path) -> None:
    story = "Ann and Ben went to the old mill by the river and counted every duck that they saw"
    endings = ("Who went?", "Why?", "When was it?", "And then?")
    asked = [f"{n}: {story if n == 0 else 'Ann slept.'} {end}" for n, end in enumerate(endings)]
    rows = [f"Double {n}." for n in range(40)]
    rows[3] = f"{story}, and 7 geese. How many geese?"
    rows[5] = asked[1].upper()
    for name, texts in (("rows", rows), ("asked", asked)):
        lines = [json.dumps({"instruction": t, "response": str(2 * n)}) for n, t in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    changes = {"valid": 2, "items": 4, "shots": 0, "grammar": 0, "renderings": 1, "seed": 1}
    files = {"data_file": str(tmp_path / "rows.jsonl"), "task_file": str(tmp_path / "asked.jsonl")}
    params = {"data": "jsonl", "task": "jsonl", **files, "prepare": changes}
    settings = compose(params, ROOT / "conf").prepare
    tokenizer = TextTokenizer(phi_tiny)
    counts = prepare(settings, tmp_path / "rows.jsonl", tokenizer, tmp_path / "out")
    assert len(read_items(tmp_path / "out" / "items.parquet")) == 4
    kept = {r["id"] for part in ("train", "valid") for r in read_table(tmp_path / "out" / f"{part}.parquet")}
    # row-6 asks a question of the evaluation, so `sources.load` left it out already.
    assert {f"row-{n}" for n in range(1, 41)} - kept == {"row-4", "row-6"}
    (listed,) = read_object(tmp_path / "out" / audit.FILE)["contaminated"]["rows"]
    assert listed == {"row": "row-4", "question": "row-1", "shared": "13 words"}
    assert counts["contaminated_rows"] == 1 and counts["train_examples"] == 36
    with pytest.raises(SteadyPhiError, match="1 of 37 training rows"):
        changed = dataclasses.replace(settings, contamination=0.0)
        prepare(changed, tmp_path / "rows.jsonl", tokenizer, tmp_path / "no")
    assert not list((tmp_path / "no").iterdir())


def test_the_textbook_shares_sentences_but_no_question(phi_tiny: Path, tmp_path: Path) -> None:
    changes = {"examples": 400, "valid": 8, "items": 60}
    settings = compose({"prepare": changes}, ROOT / "conf").prepare
    tokenizer = TextTokenizer(phi_tiny)
    counts = prepare(settings, Path(settings.data_file), tokenizer, tmp_path)
    assert counts["train_examples"] == 400 and counts["contaminated_rows"] == 0
    assert counts["end_token_coverage"] == 1
    examples = read_examples(tmp_path / "train.parquet")
    share = sum(e.supervised for e in examples) / sum(len(e.tokens) for e in examples)
    assert counts["supervised_share"] == pytest.approx(share, abs=1e-6)


WRONG = [
    "two\r\nlines",
    "donâ€™t",
    "cafÃ©",
    "Â£5",
    "ðŸ™‚",
    "Ð¿Ñ€Ð¸",
    "a\ufffdb",
    "a\x00b",
    "it\x92s",
    "æ—¥æœ¬",
]
RIGHT = [
    "don’t",
    "café",
    "£5",
    "🙂",
    "при",
    "São Tomé",
    "Ångström",
    "a\tb\n",
    "«Âge»",
    "« été\xa0»",
    "日本語",
]


@pytest.mark.parametrize("text", WRONG)
def test_wrongly_decoded(text: str) -> None:
    assert garbled(f"He said: {text} and left.")


@pytest.mark.parametrize("text", RIGHT)
def test_rightly_decoded(text: str) -> None:
    assert garbled(f"He said: {text} and left.") is None


def test_wrong_decoding_is_what_other_encodings_make(shared: Path) -> None:
    lines = (shared / "data" / "self-instruct" / "seed_tasks.jsonl").read_text().splitlines()
    texts = [text for text in map(json.loads, lines) for text in [json.dumps(text, ensure_ascii=False)]]
    odd = [text for text in texts if not text.isascii()]
    assert odd and not [text for text in texts if garbled(text)]
    for text in odd:
        for encoding in ("cp1252", "latin-1"):
            assert garbled(text.encode().decode(encoding, errors="replace"))


def test_an_answer_that_says_nothing() -> None:
    checks = RowChecks(())
    answers = ("…", "-", ".", "+", "π", "5", "yes")
    empty = [answer for answer in answers if checks.suspicions(row("Q?", answer))]
    assert empty == ["…", "-", "."]
