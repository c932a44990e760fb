"""Questions by Hub id: one split of a data set, at a pinned commit."""

from collections.abc import Sequence

from steadyphi.data.choices import Asker, final_answer
from steadyphi.data.row_files import distinct
from steadyphi.data.rows import Row
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.schema import Task


def read_hub(task: Task, split: str) -> list[Row]:
    """Return the rows of a split of `task.dataset`, at `task.revision`.

    `datasets` fetches it, once, into its own cache; a private data set needs HF_TOKEN. No code of the
    data set's is run. Raises SteadyPhiError in one line for whatever stands in the way.
    """
    import datasets

    datasets.disable_progress_bars()
    assert task.dataset and task.revision  # compose sees to it
    place = f"{task.dataset}, split {split}"
    try:
        builder = datasets.load_dataset_builder(task.dataset, task.config, revision=task.revision)
        # Without the Hub `datasets` takes any commit that it has in its cache.
        if builder.hash != task.revision:
            raise SteadyPhiError(
                f"{task.dataset}: the Hub is out of reach, and the latest commit in the cache is "
                f"{builder.hash}, not {task.revision}; connect once"
            )
        builder.download_and_prepare()
        return list(distinct(builder.as_dataset(split=split), place))
    except SteadyPhiError:
        raise
    except Exception as error:  # every layer beneath raises exceptions of its own, some of no common kind
        raise SteadyPhiError(f"{place}: {_reason(error, task)}") from None


def _reason(error: Exception, task: Task) -> str:
    """Say in one line what went wrong, and what to do about it."""
    text = " ".join(str(error).split()) or type(error).__name__
    kinds = {kind.__name__ for e in _chain(error) for kind in type(e).__mro__}
    if "OfflineModeIsEnabled" in kinds or "OfflineModeIsEnabled" in text:
        return "HF_HUB_OFFLINE is set and the data is not in the cache yet; unset it for the first run"
    if "GatedRepoError" in kinds or "is a gated dataset" in text:
        return f"gated; accept its terms at huggingface.co/datasets/{task.dataset} and set HF_TOKEN"
    if "RevisionNotFoundError" in kinds or text.startswith("Revision"):
        return f"has no commit {task.revision}; see task.revision"
    if "DatasetNotFoundError" in kinds:
        return "not on the Hub, or private; check task.dataset, and set HF_TOKEN if it is yours"
    if "ConnectionError" in kinds:
        return "the Hub is out of reach; the first run needs it, later ones read the cache"
    return f"cannot be read ({text}); check task.config and task.split"


def _chain(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def usable(rows: Sequence[Row], task: Task) -> list[Row]:
    """Return the rows that an item can be made of: nobody can mend the others at a pinned commit.

    Known ones are two equal choices in MMLU and an empty one in PIQA. Where most rows cannot be used
    the settings must be wrong, and the first row's SteadyPhiError is raised.
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
