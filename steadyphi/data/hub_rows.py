"""Read rows from the Hub: one split of a data set at a pinned commit."""

from collections.abc import Iterator, Sequence

from steadyphi.data.choices import Asker, final_answer
from steadyphi.data.row_files import distinct
from steadyphi.data.rows import Row
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.groups import HubSplit, Task


def read_hub(task: Task, split: str) -> list[Row]:
    """Return the rows of a split of `task.dataset`, at `task.revision`, as `read_split` reads them."""
    assert task.dataset and task.revision  # compose ensures it
    return list(read_split(HubSplit(task.dataset, split, task.config, task.revision), "task"))


def read_split(split: HubSplit, key: str, part: str = "") -> Iterator[Row]:
    """Yield the rows of a split of a data set.

    `datasets` downloads it once into its cache. A private data set needs HF_TOKEN. No code of the data set
    is run. key: the setting that names the split. part: the name of the source, if there are several.
    Raises SteadyPhiError, with the reason in one line, if the split cannot be read.
    """
    import datasets

    datasets.disable_progress_bars()
    place = f"{split.dataset}, split {split.split}"
    try:
        builder = datasets.load_dataset_builder(split.dataset, split.config, revision=split.revision)
        # If the Hub cannot be reached, `datasets` uses any commit that is in its cache.
        if builder.hash != split.revision:
            raise SteadyPhiError(
                f"{split.dataset}: the Hub is out of reach, and the latest commit in the cache is "
                f"{builder.hash}, not {split.revision}; connect once, or {_otherwise(key)}"
            )
        builder.download_and_prepare()
        yield from distinct(builder.as_dataset(split=split.split), place, part)
    except SteadyPhiError:
        raise
    except Exception as error:  # each library below raises exceptions without a common base class
        raise SteadyPhiError(f"{place}: {_reason(error, split, key)}") from None


def _reason(error: Exception, split: HubSplit, key: str) -> str:
    """Return in one line the reason of an error and what to do about it."""
    text, otherwise = " ".join(str(error).split()) or type(error).__name__, _otherwise(key)
    kinds = {kind.__name__ for e in _chain(error) for kind in type(e).__mro__}
    if "OfflineModeIsEnabled" in kinds or "OfflineModeIsEnabled" in text:
        return (
            "HF_HUB_OFFLINE is set and the data is not in the cache yet; unset it for the first run, "
            f"or {otherwise}"
        )
    if "GatedRepoError" in kinds or "is a gated dataset" in text:
        return f"gated; accept its terms at huggingface.co/datasets/{split.dataset} and set HF_TOKEN"
    if "RevisionNotFoundError" in kinds or text.startswith("Revision"):
        return f"has no commit {split.revision}; see {key}.revision"
    if "DatasetNotFoundError" in kinds:
        return f"not on the Hub, or private; check {key}.dataset, and set HF_TOKEN if it is yours"
    if "ConnectionError" in kinds:
        return f"the Hub is out of reach; the first run needs it, later ones read the cache; or {otherwise}"
    return f"cannot be read ({text}); check {key}.config and {key}.split"


def _otherwise(key: str) -> str:
    """Return what works without the Hub, for the setting that names the split."""
    if key == "task":
        return "ask questions from a file: task=questions and task_file=/path/to/questions.jsonl"
    return "train on a file: data=jsonl and data_file=/path/to/rows.jsonl"


def _chain(error: BaseException | None) -> list[BaseException]:
    errors = []
    while error is not None and error not in errors:
        errors.append(error)
        error = error.__cause__ or error.__context__
    return errors


def usable(rows: Sequence[Row], task: Task) -> list[Row]:
    """Return the rows that can be converted to an item; the others cannot be repaired at a pinned commit.

    Known unusable rows have two equal choices (MMLU) or an empty choice (PIQA). If more than half of the
    rows are unusable, the settings must be wrong, and the SteadyPhiError of the first such row is raised.
    """
    kept, first = [], None
    for row in rows:
        try:
            _try(row, task)
            kept.append(row)
        except SteadyPhiError as error:
            first = first or error
    if first and len(kept) < len(rows) / 2:
        raise first
    return kept


def _try(row: Row, task: Task) -> None:
    assert task.question
    row.text(task.question)
    if task.choices is None:
        final_answer(row, task)
    else:
        Asker([], task, seed=0).item(row)
