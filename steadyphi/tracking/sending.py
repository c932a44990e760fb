"""The operations of a stage run, sent to MLflow.

An operation is a mapping of plain values, so that one that cannot be sent can be kept and sent later. Sending
an operation again changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from filelock import FileLock

from steadyphi.tracking import mlflow_store as store
from steadyphi.tracking import published, registry
from steadyphi.tracking.values import flat_params

BATCH = 100  # params per request; a request may hold ten times as many metrics
Operation = dict[str, Any]
# Operations that need the artifact store, which may fail while the server answers.
ON_ARTIFACTS = ("artifact", "text", "register")


def row(
    experiment: str, digest: str, settings: Mapping[str, Any], title: str, name: str | None
) -> dict[str, Any]:
    """Return what identifies the row of an experiment, and its params; see `stage_run`.

    name: what DVC calls the experiment, if it has a name.
    """
    return {
        "experiment": experiment,
        "name": name or title,
        "tags": store.row_tags(digest, name),
        "params": flat_params(settings),
    }


def start_line(operation: Operation) -> str | None:
    """Return the name of the run that an operation starts; None for another operation."""
    if operation["do"] != "start":
        return None
    child = operation["child"]
    return str(child["name"] if child else operation["row"]["name"])


def refused(error: Exception) -> bool:
    """Return whether MLflow refuses an operation because of its content, so that it need not be kept."""
    return getattr(error, "error_code", "") in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


class Sender:
    """Sends the operations of one stage run, the first of which is `start`.

    again: the operations were kept. They may have been sent before, in part, and stages that started later
        may have changed the row since. What these stages wrote stays.
    """

    def __init__(self, again: bool = False) -> None:
        self.again = again
        self.client: Any = None
        self.parent: Any = None
        self.time = 0  # of the start, in ms
        self.stage = ""
        self._stays = False  # the row was complete, and is written without a stage
        self.run_id = ""  # of the stage; empty where an experiment's row is written without a stage
        self._known: dict[str, Callable[..., None]] = {
            "start": self._start,
            "params": self._params,
            "metrics": self._metrics,
            "artifact": self._artifact,
            "text": self._text,
            "tag": self._tag,
            "summary": self._summary,
            "register": self._register,
            "end": self._end,
        }

    def send(self, operation: Operation) -> None:
        """Send an operation. Raises what MLflow raises."""
        values = dict(operation)
        self._known[values.pop("do")](**values)

    def reap(self) -> None:
        """End the runs whose process has ended, such as that of the operations which were sent again."""
        if self.parent:
            with FileLock(store.lock(), timeout=store.LOCK_SECONDS):
                store.reap(self.client, self.parent.info.experiment_id)

    @property
    def parent_id(self) -> str:
        """The id of the experiment's parent run."""
        return str(self.parent.info.run_id)

    def _start(self, row: Mapping[str, Any], child: Mapping[str, Any] | None, time: int) -> None:
        """Find or create the parent run, log its params, and create the run of the stage."""
        # Without the lock, processes that start together would create the database and the parent run twice.
        with FileLock(store.lock(), timeout=store.LOCK_SECONDS):
            self.client = store.open_client()
            experiment = store.experiment_id(self.client, row["experiment"])
            self.time, self.stage = time, child["tags"][store.STAGE] if child else ""
            self.parent = self._row(experiment, row)
            if not self.again:  # else in `reap`, because the process of what was kept may have ended
                store.reap(self.client, experiment)
            if child:
                self.run_id = self._find(experiment, child) or self._create(experiment, child, time)
            # Now, because a later stage may fail.
            self._log_params(self.parent_id, row["params"])

    def _row(self, experiment: str, row: Mapping[str, Any]) -> Any:
        """Find or create the parent run. Set it RUNNING unless it exists and a later stage wrote it."""
        parent = store.find_parent(self.client, experiment, row["tags"])
        if parent is None:
            return self.client.create_run(
                experiment, start_time=self.time, run_name=row["name"], tags=dict(row["tags"])
            )
        complete = store.PUBLISHED in parent.data.tags and parent.info.status != "RUNNING"
        self._stays = complete and not self.stage
        if not self.stage or (self.again and store.has_later_run(self.client, parent, self.time)):
            return parent
        return store.restart(self.client, parent, row["name"], row["tags"])

    def _create(self, experiment: str, child: Mapping[str, Any], time: int) -> str:
        tags = {**child["tags"], store.PARENT: self.parent_id}
        run = self.client.create_run(experiment, start_time=time, run_name=child["name"], tags=tags)
        return str(run.info.run_id)

    def _find(self, experiment: str, child: Mapping[str, Any]) -> str | None:
        """Return the run of the stage, if it was created before."""
        if not self.again:
            return None
        query = f"tags.`{store.RECORD}` = '{child['tags'][store.RECORD]}'"
        runs = self.client.search_runs([experiment], query)
        return str(runs[0].info.run_id) if runs else None

    def _params(self, params: Mapping[str, str]) -> None:
        if self.run_id:
            self._log_params(self.run_id, params)

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        # Params cannot be changed, and logging a second value is an error, so the first value is kept.
        known = self.client.get_run(run_id).data.params
        new = [Param(key, value) for key, value in params.items() if key not in known]
        for i in range(0, len(new), BATCH):
            self.client.log_batch(run_id, params=new[i : i + BATCH])

    def _metrics(self, points: Iterable[tuple[str, float, int, int]]) -> None:
        """Log points: the key, the value, the time in ms, and the step. MLflow keeps equal points once."""
        from mlflow.entities import Metric

        metrics = [Metric(*point) for point in points] if self.run_id else []
        for i in range(0, len(metrics), 10 * BATCH):
            self.client.log_batch(self.run_id, metrics=metrics[i : i + 10 * BATCH])

    def _artifact(self, path: str, folder: str, of_row: bool) -> None:
        if of_row and self._published_later():
            return
        if run_id := self.parent_id if of_row else self.run_id:
            self.client.log_artifact(run_id, path, folder or None)

    def _text(self, text: str, name: str) -> None:
        if self.run_id:
            self.client.log_text(self.run_id, text, name)

    def _tag(self, key: str, value: str) -> None:
        if self.run_id:
            self.client.set_tag(self.run_id, key, value)

    def _published_later(self) -> bool:
        """Return whether the row shows what was published by a later run of the stage.

        A row that is written without a stage is not published again.
        """
        if store.PUBLISHED not in self.parent.data.tags:
            return False
        if not self.stage:
            return True
        return self.again and store.has_later_run(self.client, self.parent, self.time, self.stage)

    def _summary(self, content: Mapping[str, Any]) -> None:
        if self._published_later():
            return
        published.write(self.client, self.parent, content)
        self.client.set_tag(self.parent_id, store.PUBLISHED, "true")
        self.parent = self.client.get_run(self.parent_id)
        if self.stage and not self.again:  # else in `_end`
            store.settle(self.client, self.parent)

    def _register(self, path: str, version: Mapping[str, Any]) -> None:
        self.parent = self.client.get_run(self.parent_id)  # with the model that the summary logged
        registry.register(self.client, self.parent, path, version)

    def _end(self, status: str, time: int) -> None:
        if self.run_id:
            self.client.set_terminated(self.run_id, status, time)
        with FileLock(store.lock(), timeout=store.LOCK_SECONDS):
            parent = self.client.get_run(self.parent_id)
            if not self.stage:
                working = parent.info.status == "RUNNING" and store.PROCESS in parent.data.tags
                if not (working or self._stays):
                    store.settle(self.client, parent, self.time)
            elif not (self.again and store.has_later_run(self.client, parent, self.time)):
                self._end_row(parent, status)

    def _end_row(self, parent: Any, status: str) -> None:
        if status != "FINISHED":  # no later stage will run; the next attempt sets it RUNNING again
            self.client.set_terminated(self.parent_id, status)
        elif store.PUBLISHED in parent.data.tags:
            # If the stage's output is unchanged, DVC skips publish, and the parent run is already complete.
            store.settle(self.client, parent)
