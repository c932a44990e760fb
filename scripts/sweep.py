"""Search for settings with Optuna: each trial is an experiment of DVC, pruned by its validation accuracy.

    python scripts/sweep.py space.yaml --trials 20

The file names the settings and their values:

    finetune.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
    finetune.method.r: {choices: [4, 8, 16]}
    prepare.grammar: {low: 0.2, high: 0.8}
    prepare.sources: {choices: [[{file: a.jsonl}], [{file: a.jsonl, weight: 2.0}, {file: b.jsonl}]]}

Each worker runs one trial at a time: one worker per GPU, without a GPU one per two cores. A trial is stopped
if its accuracy is below the median of the earlier trials at the same step. Run the command again to continue
a sweep that was stopped. Needs Optuna: make cloud.
"""

import argparse
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object

METRICS, OBJECTIVE = "metrics/finetune.json", "valid_accuracy"
SECONDS = 5  # between two looks at a running trial


def suggest(trial: Any, space: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a value for each setting. Choices are chosen by their number, because they may be lists."""
    values = {}
    for key, kind in space.items():
        if "choices" in kind:
            values[key] = kind["choices"][trial.suggest_categorical(key, list(range(len(kind["choices"]))))]
        else:
            low, high = kind["low"], kind["high"]
            whole = isinstance(low, int) and isinstance(high, int)
            number = trial.suggest_int if whole else trial.suggest_float
            values[key] = number(key, low, high, log=kind.get("log", False))
    return values


def read_space(path: Path) -> dict[str, dict[str, Any]]:
    """Return the settings to search. Raises SteadyPhiError for a setting without a range or choices."""
    space = read_object(path, "a search space")
    for key, kind in space.items():
        if problem := _problem(kind):
            raise SteadyPhiError(f"{path}: {key}: {problem}")
    return space


def _problem(kind: Any) -> str:
    """Return what is wrong with a setting's range or choices."""
    if isinstance(kind, dict) and kind.get("choices") and isinstance(kind["choices"], list):
        return ""
    if not isinstance(kind, dict) or not {"low", "high"} <= kind.keys():
        return "should have low and high, or a list of choices"
    for name in ("low", "high"):
        if type(kind[name]) not in (int, float):
            return f"{name} should be a number, not {kind[name]!r} (write 1e-4 as 1.0e-4)"
    if kind["low"] > kind["high"]:
        return "low should not be above high"
    return "low should be above 0, because log is true" if kind.get("log") and kind["low"] <= 0 else ""


def command(name: str, values: Mapping[str, Any], targets: Sequence[str]) -> list[str]:
    """Return the command that runs an experiment in a copy of the repository."""
    # ++ sets a key whether params.yaml has it or not. JSON is also the syntax of Hydra's lists.
    changes = [word for key, value in values.items() for word in ("-S", f"++{key}={_hydra(value)}")]
    run = ["exp", "run", "--temp", "--name", name, *changes, *targets]
    return [sys.executable, "-m", "dvc", "--wait-for-lock", *run]


def _hydra(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_hydra(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_hydra, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)


class Stopped(SteadyPhiError):
    """The sweep was stopped while a trial ran."""


class Sweep:
    """The trials of a sweep. slots: the environment of each worker. stopping: whether trials should end."""

    def __init__(
        self, name: str, space: Mapping[str, Any], targets: Sequence[str], slots: Sequence[dict[str, str]]
    ):
        self.name, self.space, self.targets = name, space, targets
        self.slots: queue.Queue[dict[str, str]] = queue.Queue()
        for slot in slots:
            self.slots.put(slot)
        self.stopping = False

    def optimize(self, study: Any, trials: int) -> None:
        """Run a number of trials. Raises Stopped after SIGINT or SIGTERM.

        The trials that the signal stops are enqueued for the next sweep. A second one ends this at once.
        """
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._stop) for number in numbers}
        jobs = self.slots.qsize()
        try:
            study.optimize(self.trial, trials, n_jobs=jobs, catch=SteadyPhiError, callbacks=[self._ended])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.stopping:
            raise Stopped("stopped; the same command continues")

    def _stop(self, number: int, _: object) -> None:
        # Only a flag, because Optuna waits for its threads before an exception leaves `study.optimize`.
        self.stopping = True
        signal.signal(number, signal.SIG_DFL)

    def _ended(self, study: Any, trial: Any) -> None:
        if self.stopping:
            study.stop()
        elif trial.value is not None:
            ended = f"trial {trial.number}: {trial.state.name.lower()}, {OBJECTIVE} {trial.value:.4f}"
            print(ended, file=sys.stderr, flush=True)

    def trial(self, trial: Any) -> float:
        """Run an experiment; return its validation accuracy, or raise TrialPruned or SteadyPhiError."""
        from optuna import TrialPruned

        slot = self.slots.get()
        try:
            return self._run(trial, slot)
        except Stopped:
            trial.study.enqueue_trial(trial.params)
            raise
        except SteadyPhiError as error:
            print(f"trial {trial.number} failed: {error}", file=sys.stderr, flush=True)
            raise
        except TrialPruned:
            raise
        except BaseException:
            self.stopping = True  # otherwise Optuna would wait for the other trials
            raise
        finally:
            self.slots.put(slot)

    def _run(self, trial: Any, slot: Mapping[str, str]) -> float:
        from optuna import TrialPruned

        name = f"{self.name}-{trial.number:03}"
        trial.set_user_attr("experiment", name)
        log = Path(".cache") / "sweep" / f"{name}.log"
        words = command(name, suggest(trial, self.space), self.targets)
        with log.open("wb") as file:
            process = subprocess.Popen(
                words, stdout=file, stderr=file, env=os.environ | slot, start_new_session=True
            )
        try:
            reported = -1
            while process.poll() is None:
                if self.stopping:
                    raise Stopped(name)
                for step, accuracy in accuracies(name):
                    if step > reported:
                        trial.report(accuracy, reported := step)
                if trial.should_prune():
                    raise TrialPruned
                self._pause(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)  # DVC then removes its copy of the repository
                process.wait()
        if process.returncode:
            raise SteadyPhiError(f"the experiment {name} failed; see {log}")
        return result(name)

    def _pause(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait for the next look at a process, or for its end."""
        end = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < end and not self.stopping:
            time.sleep(0.1)


def accuracies(experiment: str) -> Iterator[tuple[int, float]]:
    """Yield the steps at which a running experiment was validated, and the mean accuracy over the formats."""
    from steadyphi.tracking import mlflow_store as store

    client = store.open_client()
    names = [each.experiment_id for each in client.search_experiments()]
    for run in client.search_runs(names, f"tags.`dvc.experiment` = '{experiment}'"):
        shares: dict[int, list[float]] = {}
        for key in run.data.metrics:
            if key.startswith(f"{OBJECTIVE}/"):
                for point in client.get_metric_history(run.info.run_id, key):
                    shares.setdefault(point.step, []).append(point.value)
        yield from ((step, statistics.fmean(values)) for step, values in sorted(shares.items()))


def result(experiment: str) -> float:
    """Return the validation accuracy of a finished experiment."""
    words = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    # In a session of its own, which Ctrl-C does not reach: the trial is done.
    shown = subprocess.run(words, capture_output=True, text=True, check=True, start_new_session=True).stdout
    for commit in json.loads(shown):
        for each in commit["experiments"] or ():
            if each["name"] == experiment:
                return float(each["revs"][0]["data"]["metrics"][METRICS]["data"][OBJECTIVE])
    raise SteadyPhiError(f"{experiment}: dvc exp show does not list it")


def slots(workers: int | None) -> list[dict[str, str]]:
    """Return the environment of each worker: its GPU, or its share of the cores."""
    import torch

    if count := torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
        return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in visible[: workers or count]]
    cores = len(os.sched_getaffinity(0))
    count = workers or max(1, cores // 2)
    return [{"OMP_NUM_THREADS": str(max(1, cores // count)), "OMP_WAIT_POLICY": "passive"}] * count


def open_study(name: str) -> Any:
    """Create a study or open it again. A trial that was running when the sweep was stopped is tried again."""
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # without a traceback for each trial that fails
    folder = Path(".cache") / "sweep"
    folder.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / f"{name}.journal")))
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    # Another seed each time, because a sweep that is continued would draw its first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials), constant_liar=True)
    return study


def best_trial(study: Any) -> Any:
    """Return the trial with the best accuracy. Raises SteadyPhiError if no trial was completed."""
    try:
        return study.best_trial
    except ValueError:
        logs = Path(".cache") / "sweep"
        raise SteadyPhiError(f"no trial was completed; {logs} has the log of each") from None


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("space", type=Path, help="a YAML file with the settings to search")
    parser.add_argument("--trials", type=int, default=20, help="number of trials in all (%(default)s)")
    parser.add_argument("--workers", type=int, help="trials at a time (one per GPU, else per two cores)")
    parser.add_argument("--target", action="append", default=[], help="stages to run (the whole pipeline)")
    options = parser.parse_args()
    from optuna.trial import TrialState

    os.environ.setdefault("DVC_ROOT", str(Path.cwd()))
    try:
        space = read_space(options.space)
        study, places = open_study(options.space.stem), slots(options.workers)
        done = len(study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)))
        sweep = Sweep(options.space.stem, space, options.target, places)
        if (left := options.trials - done) > 0:
            sweep.optimize(study, left)
        best = best_trial(study)
    except Stopped as error:
        sys.exit(str(error))
    except SteadyPhiError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues")
    print(f"best: {best.user_attrs['experiment']}, {OBJECTIVE} {best.value:.4f}; dvc exp apply takes it over")


if __name__ == "__main__":
    main()
