"""Which weights become the result, and whether to stop before the end: by one figure on held-out rows.

For every stage on transformers' Trainer: `settle` reads `training.keep` and `training.early_stopping`, `loop.fit` adds the
callback. What it knows (the best step, the evaluations waited) lies in each checkpoint's seal, the best weights lie once
beside the checkpoints with a hash of their own, so that a run that was stopped ends as one that never was.

Early stopping as in Prechelt, Early Stopping - But When? (1998), his criterion UP: so many evaluations without a better one.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from data_recipes.errors import Failed, Refused

from alignment.training.checkpoints import BEST, best_folder, counters, problem, seal, sealed

WEIGHTS = "trained.safetensors"
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Figure:
    """A figure of the Trainer's evaluations, by the name it has there (`eval_loss`), and which way is better."""

    name: str
    better: Better = "lower"

    def improves(self, value: float, before: float) -> bool:
        """Strictly: of equal ones the earlier stays."""
        return value < before if self.better == "lower" else value > before


LOSS = Figure("eval_loss")


@dataclass(frozen=True)
class Watch:
    """What is watched. keep: which weights become the result; asked: whether somebody said so. patience: evaluations without
    a better one; None: no end."""

    figure: Figure = LOSS
    keep: Literal["last", "best"] = "last"
    patience: int | None = None
    asked: bool = True


@dataclass(frozen=True)
class Standing:
    """Where a run stands: the best and the last evaluation ({step, value}), evaluations since the best, whether it stopped."""

    best: dict | None = None
    last: dict | None = None
    waited: int = 0
    stopped: bool = False


def advance(standing: Standing, watch: Watch, step: int, value: float) -> Standing:
    """The standing after one more evaluation. What is no finite number is never the best."""
    now = {"step": step, "value": value}
    if math.isfinite(value) and (standing.best is None or watch.figure.improves(value, standing.best["value"])):
        return Standing(best=now, last=now)
    waited = standing.waited + 1
    return replace(standing, last=now, waited=waited, stopped=watch.patience is not None and waited >= watch.patience)


def settle(config, held_out: int, figure: Figure | tuple[str, Better] = LOSS) -> Watch:
    """The watch that a config asks for. A default that needs held-out rows gives way where there are none.

    Args:
        config: the stage's; its `training` section has `keep` and `early_stopping`. held_out: number of held-out rows.
    Raises:
        Refused: somebody asked for what cannot be told without held-out rows.
    """
    training, figure = config.training, Figure(*figure) if isinstance(figure, tuple) else figure
    watch = Watch(figure, training.keep, training.early_stopping, config.given("training.keep"))
    if held_out:
        return watch
    asked = [key for key, set_ in (("keep", watch.keep == "best" and config.given("training.keep")),
                                   ("early_stopping", watch.patience is not None)) if set_]
    if asked:
        raise Refused(
            "no row is held out, so nothing can tell which weights are the best", where=f"training.{asked[0]}",
            expected="data.validation_share above 0, or --validation FILE",
        )
    return Watch(figure, "last", None)


@dataclass
class BestCallback(TrainerCallback):
    """Follows the evaluations of a run. Stands behind `SealCallback`, whose seals take `state()`.

    folder: the run's checkpoints. restored: what the seal says of a run that continues.
    """

    trainer: object
    watch: Watch
    folder: Path
    restored: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.standing = Standing(**self.restored)

    def state(self) -> dict:
        """What a checkpoint's seal keeps."""
        return dict(vars(self.standing))

    def on_train_begin(self, args, state, control, **kwargs):
        if self.watch.keep == "last":
            return
        if self.trainer.is_fsdp_enabled or self.trainer.is_deepspeed_enabled:
            if self.watch.asked:
                raise Refused("weights that are sharded over processes cannot be kept aside", where="training.keep",
                              expected="last", do="Or launch without FSDP and DeepSpeed.")
            self.watch = replace(self.watch, keep="last")
            return
        if self.standing.best:
            check_best(best_folder(self.folder, self.standing.best["step"]))

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        if self.watch.figure.name not in metrics:  # of other rows than the held-out ones
            return
        before, self.standing = self.standing, advance(
            self.standing, self.watch, state.global_step, float(metrics[self.watch.figure.name])
        )
        if self.watch.keep == "best" and self.standing.best != before.best:
            self._keep(state)
        if self.standing.stopped:
            control.should_training_stop = True
            control.should_save = False  # a checkpoint of this step would be trained on when it is continued

    def on_save(self, args, state, control, **kwargs):
        """Best weights that no checkpoint can lead back to are removed."""
        if state.is_world_process_zero and self.watch.keep == "best":
            seals = [counters(path).get("watch") or {} for path in sealed(self.folder)]
            needed = {(found.get("best") or {}).get("step") for found in [*seals, self.state()]}
            for path in self.folder.glob(BEST + "*"):
                if path not in {best_folder(self.folder, step) for step in needed if step is not None}:
                    shutil.rmtree(path)

    def finish(self, say: Callable[[str], None]) -> dict:
        """Gives the model the weights that become the result; returns what the manifest says of them.

        Raises:
            Failed: none was ever finite.
        """
        standing, name = self.standing, self.watch.figure.name
        if standing.best is None and (self.watch.keep == "best" or self.watch.patience):
            raise Failed(f"no evaluation gave a finite {name}", where="training.keep", expected="one at least")
        last = self.trainer.state.global_step
        kept = standing.best["step"] if self.watch.keep == "best" else last
        if standing.stopped:
            say(f"stopped at step {last}: {standing.waited} evaluations without a better {name} than "
                f"{standing.best['value']:.4f} at step {standing.best['step']}")
        if self.watch.keep == "best":
            self._put(best_folder(self.folder, kept))
            say(f"kept: the weights of step {kept}, best by {name}")
        return {"rule": self.watch.keep, "by": name, "step": kept, "best": standing.best, "last": standing.last,
                "stopped_early": standing.stopped}

    # ----------------------------------------------------------------------------------------------------------- weights

    def _model(self) -> torch.nn.Module:
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def _keep(self, state) -> None:
        """Writes the trained weights beside the checkpoints, sealed before they get their name."""
        probe = self.trainer.probe()  # in every process: computing a loss gathers
        if state.is_world_process_zero:
            write_best(best_folder(self.folder, state.global_step), trained_weights(self._model()), probe)
        self.trainer.accelerator.wait_for_everyone()

    def _put(self, folder: Path) -> None:
        """Reads the weights back; the loss on the first rows must be what it was when they were kept."""
        from alignment.training.callbacks import same_loss

        check_best(folder)
        put_weights(self._model(), load_file(str(folder / WEIGHTS)), folder)
        same_loss(counters(folder)["first_rows_loss"], self.trainer.probe(), self.trainer, lambda text: None)


def write_best(target: Path, tensors: dict[str, torch.Tensor], probe: float) -> None:
    """Best weights in a folder that is sealed before it gets its name. probe: the trainer's, compared when they are put."""
    part = target.with_name(f".{target.name}")
    if part.exists():  # of a process that was killed
        shutil.rmtree(part)
    part.mkdir(parents=True)
    save_file(tensors, str(part / WEIGHTS))
    seal(part, {"first_rows_loss": probe})
    if target.exists():
        shutil.rmtree(target)
    part.rename(target)


def check_best(folder: Path) -> None:
    """Raises Failed where best weights are gone, not whole or altered."""
    if reason := problem(folder):
        raise Failed(f"the best weights cannot be used: {reason}", where=folder,
                     do="Begin anew with --restart; the old run is kept beside.")


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All that training changes, by parameter name, on the CPU: an adapter, a head, some layers or the whole model."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def put_weights(model: torch.nn.Module, state: dict[str, torch.Tensor], where: Path) -> None:
    """The opposite of `trained_weights`. Raises Failed where the two do not name the same parameters."""
    places = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if strange := sorted(places.keys() ^ state.keys()):
        raise Failed(f"the kept weights are not the model's: '{strange[0]}'", where=where / WEIGHTS)
    with torch.no_grad():
        for name, value in state.items():
            places[name].copy_(value)
