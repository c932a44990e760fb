"""Read questions from the Hub: one split of a data set at a pinned commit."""

from collections.abc import Sequence

from steadyphi.data.choices import Asker, final_answer
from steadyphi.data.row_files import distinct
from steadyphi.data.rows import Row
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.schema import Task

FROM_A_FILE = "ask questions from a file: task=questions and task_file=/path/to/questions.jsonl"


def read_hub(task: Task, split: str) -> list[Row]:
    """Return the rows of a split of `task.dataset`, at `task.revision`.

    `datasets` downloads it once into its cache. A private data set needs HF_TOKEN. No code of the data set
    is run. Raises SteadyPhiError, with the reason in one line, if the split cannot be read.
    """
    import datasets

    datasets.disable_progress_bars()
    assert task.dataset and task.revision  # compose ensures it
    place = f"{task.dataset}, split {split}"
    try:
        builder = datasets.load_dataset_builder(task.dataset, task.config, revision=task.revision)
        # If the Hub cannot be reached, `datasets` uses any commit that is in its cache.
        if builder.hash != task.revision:
            raise SteadyPhiError(
                f"{task.dataset}: the Hub is out of reach, and the latest commit in the cache is "
                f"{builder.hash}, not {task.revision}; connect once, or {FROM_A_FILE}"
            )
        builder.download_and_prepare()
        return list(distinct(builder.as_dataset(split=split), place))
    except SteadyPhiError:
        raise
    except Exception as error:  # each library below raises exceptions without a common base class
        raise SteadyPhiError(f"{place}: {_reason(error, task)}") from None


def _reason(error: Exception, task: Task) -> str:
    """Return in one line the reason of an error and what to do about it."""
    text = " ".join(str(error).split()) or type(error).__name__
    kinds = {kind.__name__ for e in _chain(error) for kind in type(e).__mro__}
    if "OfflineModeIsEnabled" in kinds or "OfflineModeIsEnabled" in text:
        return (
            "HF_HUB_OFFLINE is set and the data is not in the cache yet; unset it for the first run, "
            f"or {FROM_A_FILE}"
        )
    if "GatedRepoError" in kinds or "is a gated dataset" in text:
        return f"gated; accept its terms at huggingface.co/datasets/{task.dataset} and set HF_TOKEN"
    if "RevisionNotFoundError" in kinds or text.startswith("Revision"):
        return f"has no commit {task.revision}; see task.revision"
    if "DatasetNotFoundError" in kinds:
        return "not on the Hub, or private; check task.dataset, and set HF_TOKEN if it is yours"
    if "ConnectionError" in kinds:
        return f"the Hub is out of reach; the first run needs it, later ones read the cache; or {FROM_A_FILE}"
    return f"cannot be read ({text}); check task.config and task.split"


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
