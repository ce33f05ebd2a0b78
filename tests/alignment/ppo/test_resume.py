"""PPO stopped and continued is, to the byte, PPO that was never stopped: rewards, ratios, losses, policy, critic."""

import json

import pytest

from data_recipes.errors import Failed, Interrupted
from tests.alignment.chains import StoppingUi, metrics, run_stage, weights

def train(chain, output, ui=None, **settings):
    reward = settings.pop("reward", None) or str(chain["reward_run"])
    model = settings.pop("model", chain["sft_run"])
    return run_stage("ppo", chain, model, output, ui=ui, reward=reward, **settings)


def test_the_best_weights_lie_once_beside_the_checkpoints_and_must_be_whole(chain, tmp_path):
    """In no checkpoint and not in memory; gone once the run has them, kept as long as a checkpoint leads back to them."""
    from safetensors import safe_open

    run, settings = tmp_path / "run", {"ppo__kl_budget": 1e-12, "training__learning_rate": 1e-2}  # step 0 stays the best
    with pytest.raises(Interrupted):
        train(chain, run, ui=StoppingUi(at=7), **settings)
    assert [path.name for path in (run / "checkpoints").glob("best-*")] == ["best-0"]
    for file in (run / "checkpoints").glob("checkpoint-*/ppo.safetensors"):
        with safe_open(file, "pt") as tensors:
            assert {name.split("/")[0] for name in tensors.keys()} <= {"trained", "rollout"}
    folders = {path.name for path in (run / "checkpoints").glob("checkpoint-*/*") if path.is_dir()}
    assert folders == {"critic"}  # frozen adapters are where they came from
    kept = run / "checkpoints" / "best-0" / "trained.safetensors"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(Failed, match="trained.safetensors was altered"):
        train(chain, run, **settings)
    kept.write_bytes(whole)
    train(chain, run, **settings)
    assert not list((run / "checkpoints").glob("best-*"))
    assert (run / "adapter_model.safetensors").read_bytes() == (chain["sft_run"] / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("stops", "settings"),
    [
        ([2], {}),  # within the first rollout
        ([1, 4, 8], {"ppo__kl_target": 0.5}),  # and at its end, and within the third; the KL coefficient is steered
        ([5], {"ppo__critic": "head", "ppo__value_coefficient": 0.1}),
        ([3, 6], {"adapter__kind": "full", "training__learning_rate": 1e-4, "model": "base"}),
    ],
)
def test_stopped_and_continued_equals_never_stopped(chain, tmp_path, stops, settings):
    if "model" in settings:
        settings = {**settings, "model": chain["base"]}
    straight = train(chain, tmp_path / "straight", **settings)
    for step in stops:
        with pytest.raises(Interrupted):
            train(chain, tmp_path / "stopped", ui=StoppingUi(at=step), **settings)
        assert json.loads((tmp_path / "stopped" / "align.json").read_text())["state"] == "interrupted"
    stopped = train(chain, tmp_path / "stopped", **settings)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "straight")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "straight")
    assert stopped["counts"] == straight["counts"] and stopped["content_hash"] == straight["content_hash"]
    lines = [(tmp_path / name / "private" / "completions.jsonl").read_text() for name in ("stopped", "straight")]
    assert lines[0] == lines[1]
