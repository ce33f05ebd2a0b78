"""The end of a PPO run: the kept weights, the policy at the root, the critic beside it, both read back."""

from __future__ import annotations

from data_recipes.files import sha256_file

from alignment import result
from alignment.ppo.casting import reference_hash
from alignment.ppo.checkpoint import CRITIC_FOLDER, save_critic
from alignment.ppo.checks import critic_read_back
from alignment.ppo.roles import POLICY
from alignment.runs.reference import same_reference


def finish(session, trainer, train) -> dict:
    """Puts the kept weights in place and finishes as every stage does; the critic goes to `critic/`."""
    roles, examiner = trainer.roles, trainer.examiner
    same_reference(session, session.job.run.manifest["reference"], reference_hash(roles, session))
    examiner.put_best(trainer)
    roles.act(POLICY)
    probe = [prompt.ids for prompt in trainer.prompts[: result.PROBES]]

    def also(model, folder) -> dict:
        save_critic(roles, folder)
        distance = critic_read_back(roles, folder, probe, session.renderer.pad_id)
        files = {file.name: sha256_file(file) for file in sorted((folder / CRITIC_FOLDER).iterdir())}
        return {"kept": examiner.summary(), "critic": {"read_back_distance": distance, "files": files}}

    kept = examiner.summary()
    session.job.ui.say(f"kept: the weights of step {kept['step']}, {kept['rule']} by {kept['by']}")
    return result.finish(session, trainer, train, also)
