"""The weights of the best evaluation: one sealed folder beside the checkpoints, in memory and in no checkpoint.

Checkpoints name the step of the evaluation that was the best so far; a folder goes once no checkpoint leads back to it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from alignment.ppo.checkpoint import STATE, put_trained, trained_state
from alignment.training.best import WEIGHTS, check_best, write_best
from alignment.training.callbacks import same_loss
from alignment.training.checkpoints import BEST, best_folder, counters, sealed


@dataclass(frozen=True)
class Kept:
    """Best weights of a run whose checkpoints lie in `folder`."""

    folder: Path

    def write(self, trainer) -> None:
        """Keeps the trained weights of this step, sealed before they get their name."""
        probe = trainer.probe()  # in every process, as all that computes
        if trainer.is_world_process_zero():
            write_best(best_folder(self.folder, trainer.state.global_step), trained_state(trainer.roles), probe)
        trainer.accelerator.wait_for_everyone()

    def check(self, step: int) -> Path:
        """The folder of `step`. Raises Failed where it is not there, not whole or was altered."""
        check_best(folder := best_folder(self.folder, step))
        return folder

    def put(self, trainer, step: int) -> None:
        """Gives policy and critic the weights of `step`; their probe must be what it was."""
        folder = self.check(step)
        put_trained(trainer.roles, load_file(str(folder / WEIGHTS)))
        same_loss(counters(folder)["first_rows_loss"], trainer.probe(), trainer, lambda text: None)

    def forget_others(self, step: int | None) -> None:
        """Removes what neither `step` nor a sealed checkpoint has as its best."""
        needed = {step}
        for path in sealed(self.folder):
            best = json.loads((path / STATE).read_text(encoding="utf-8"))["examiner"]["best"]
            needed.add(best["step"] if best else None)
        for path in self.folder.glob(BEST + "*"):
            if path not in {best_folder(self.folder, one) for one in needed if one is not None}:
                shutil.rmtree(path)
