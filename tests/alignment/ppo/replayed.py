"""A PPO run on replayed rollouts, for one process or under a launcher: the answers are a function of prompt and rollout.

    accelerate launch ... tests/alignment/ppo/replayed.py FOLDER OUTPUT MICRO_BATCH
"""

import sys
from pathlib import Path

import numpy as np

from alignment.ppo.rollout import Row
from alignment.ppo.trainer import PPOTrainer
from tests.alignment.chains import run_stage


def replay(self, numbers, seed):
    """Instead of `PPOTrainer.sample`: the same answers whoever asks, with a reward for each."""
    rows = []
    for number in numbers:
        random = np.random.default_rng([number, seed[2]])
        said = random.integers(4, 200, size=random.integers(2, 9)).tolist()
        stopped = bool(random.random() < 0.8)
        ids = said + (list(self.renderer.stop_ids[:1]) if stopped else [])
        rows.append(Row(number, self.prompts[number].ids, ids, [True] * len(ids), stopped, [float(random.normal())]))
    return rows


def run(folder: Path, output: Path, micro: int | str = 2) -> None:
    PPOTrainer.sample = replay
    files = {"base": folder / "base", "ppo": folder / "demos.jsonl"}
    run_stage("ppo", files, folder / "base", output, reward="reward.rules:length_band(low=1, high=9)", adapter__dropout=0.0,
              ppo__kl_coefficient=0.1, hardware__micro_batch=int(micro), training__learning_rate=1e-3, training__max_steps=12)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
