"""The use of processor, memory, disk, network and GPU while a stage runs, by MLflow's own monitors."""

from collections.abc import Callable
from typing import Any

Log = Callable[[dict[str, float], int], None]


def monitor(log: Log, seconds: float) -> Any:
    """Return a monitor with `start` and `finish`, which calls `log` with metrics and a step every `seconds`.

    MLflow's own monitor sends its metrics itself and ends when the server does not answer; so here they go
    through `log`.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    class Monitor(SystemMetricsMonitor):
        def monitor(self) -> None:
            self.collect_metrics()  # the first values are differences from here
            while not self._shutdown_event.wait(self.sampling_interval):
                self.collect_metrics()
                self.publish_metrics(self.aggregate_metrics())
            # The rest of an interval; a short stage has no other.
            self.collect_metrics()
            self.publish_metrics(self.aggregate_metrics())

        def publish_metrics(self, metrics: dict[str, float]) -> None:
            log({f"{self._metrics_prefix}{key}": value for key, value in metrics.items()}, self._logging_step)
            self._logging_step += 1
            for each in self.monitors:
                each.clear_metrics()

    return Monitor("", seconds)
