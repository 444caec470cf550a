"""Where metrics go besides the run's own file: TensorBoard, Weights & Biases (offline, no account), MLflow; by default nowhere."""

from pathlib import Path
from typing import Any, Protocol

from model.data.errors import Refused

NAMES = ("none", "tensorboard", "wandb", "mlflow")
Metrics = dict[str, float]


class Tracker(Protocol):
    """Takes a run's metrics."""

    def log(self, step: int, metrics: Metrics) -> None:
        """Take the figures of a step."""

    def end(self) -> None:
        """Write out what is held."""


class Nowhere:
    """Keeps nothing: the run's own `metrics.jsonl` has all."""

    def log(self, step: int, metrics: Metrics) -> None:
        """Take the figures of a step."""

    def end(self) -> None:
        """Write out what is held."""


class TensorBoard:
    """Event files below `folder`."""

    def __init__(self, folder: Path) -> None:
        """Open the event file."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def log(self, step: int, metrics: Metrics) -> None:
        """Take the figures of a step."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def end(self) -> None:
        """Write out what is held."""
        self._writer.close()


class WeightsAndBiases:
    """An offline run below `folder`; `wandb sync` sends it when the user wishes.

    Its own steps never fall: it drops what is logged at a smaller one than before. A run has several trainings, each beginning at its first
    step, so that each is drawn over steps of its own: `fold-00-0-try/loss` over `fold-00-0-try/step`.
    """

    def __init__(self, folder: Path, name: str, config: dict[str, Any]) -> None:
        """Begin the run."""
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(
            mode="offline", dir=str(folder), project="stratagem", name=name, config=config,
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )  # fmt: skip
        self._over: dict[str, str] = {}

    def log(self, step: int, metrics: Metrics) -> None:
        """Take the figures of a step."""
        for name in metrics.keys() - self._over.keys():
            training, slash, _ = name.rpartition("/")
            self._over[name] = f"{training}{slash}step"
            self._run.define_metric(name, step_metric=self._over[name])
        self._run.log(dict(metrics) | {self._over[name]: step for name in metrics})

    def end(self) -> None:
        """Write out what is held."""
        import wandb

        self._run.finish()
        wandb.teardown()  # its service writes the file after `finish` has returned: wait until it has ended


class MLflow:
    """A run in a SQLite file below `folder`, which `mlflow ui --backend-store-uri sqlite:///…` shows. MLflow's own counting of its users is off."""

    def __init__(self, folder: Path, name: str, config: dict[str, Any]) -> None:
        """Begin the run."""
        import mlflow

        self._mlflow: Any = mlflow
        self._mlflow.environment_variables.MLFLOW_DISABLE_TELEMETRY.set("true")
        self._mlflow.telemetry.set_telemetry_client()  # reads that again: else the next call would ask a server of theirs
        folder.mkdir(parents=True, exist_ok=True)
        self._mlflow.set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
        self._mlflow.set_experiment("stratagem")
        self._mlflow.start_run(run_name=name)
        self._mlflow.log_params({key: str(value) for key, value in config.items()})

    def log(self, step: int, metrics: Metrics) -> None:
        """Take the figures of a step."""
        self._mlflow.log_metrics(metrics, step=step)

    def end(self) -> None:
        """Write out what is held."""
        self._mlflow.end_run()


def tracker(which: str, folder: Path, name: str, config: dict[str, Any]) -> Tracker:
    """A tracker by name, writing below `folder`.

    Raises:
        Refused: there is no such tracker, or its package is not installed.
    """
    try:
        match which:
            case "none":
                return Nowhere()
            case "tensorboard":
                return TensorBoard(folder)
            case "wandb":
                return WeightsAndBiases(folder, name, config)
            case "mlflow":
                return MLflow(folder, name, config)
            case _:
                raise Refused(f"no tracker {which!r}: one of {', '.join(NAMES)}")
    except ImportError:
        raise Refused(f"the tracker {which} is not installed: pip install 'stratagem[trackers]'") from None
