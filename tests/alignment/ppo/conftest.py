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


class Stopped(Exception):
    """Ends a stage once its trainer was made."""


@pytest.fixture
def made(chain, tmp_path, monkeypatch):
    """A function that gives the trainer of a stage before its first step, with all that step 0 checks passed."""

    def make(model=None, **settings):
        caught = []

        def only_build(session, plan, train, build):
            session.job.run.manifest = {}
            caught.append(build(plan))
            raise Stopped

        monkeypatch.setattr("alignment.training.loop.fit", only_build)
        settings.setdefault("reward", str(chain["reward_run"]))
        with pytest.raises(Stopped):
            run_stage("ppo", chain, model or chain["sft_run"], tmp_path / "made", **settings)
        return caught[0]

    return make
