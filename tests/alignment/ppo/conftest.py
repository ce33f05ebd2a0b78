"""One chain for all PPO tests: a base, an SFT run and a reward run on it, each of a few steps."""

import pytest

from tests.alignment.chains import run_stage, world


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ppo-chain")
    files = world(folder)
    run_stage("sft", files, files["base"], folder / "sft", training__epochs=1)
    run_stage("reward", files, folder / "sft", folder / "reward", training__epochs=1, data__validation_share=0.3)
    return {**files, "sft_run": folder / "sft", "reward_run": folder / "reward"}
