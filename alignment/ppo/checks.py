"""What must hold of PPO at step 0, and of its critic after saving."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftConfig
from safetensors.torch import load_file

from data_recipes.errors import Failed, Refused

from alignment.adapters.weights import add_role, load_adapter_file
from alignment.generation.batched import pad_left
from alignment.models import compare, distance, tolerance_of
from alignment.ppo.checkpoint import CRITIC_FOLDER, HEAD_FILE
from alignment.ppo.engine import seeded
from alignment.ppo.rewards import right_padded
from alignment.ppo.roles import CRITIC, POLICY, Roles, SharedRoles
from alignment.ppo.rollout import Row, micro_batch


def first_rollout(trainer) -> None:
    """Ratio exactly 1 and KL exactly 0: the policy scored twice, and its reference, give the very same numbers.

    Raises:
        Failed: they differ; dropout is on somewhere, or an adapter is not the other's copy.
    """
    rows = [Row(0, p.ids[:1], p.ids[1:], [True] * (len(p.ids) - 1), True, []) for p in trainer.prompts[:4]]
    batch = micro_batch(rows, list(range(len(rows))), trainer.renderer.pad_id, trainer.accelerator.device)
    trainer.model.train()
    with torch.no_grad():
        old_BA, ref_BA, _ = trainer._three(batch)
    new_BA, _ = trainer._logps(trainer.roles.module(POLICY), batch)
    for name, seen_BA in (("ratio is not exactly 1", new_BA.detach()), ("KL is not exactly 0", ref_BA)):
        apart = (seen_BA - old_BA).abs().max().item()
        if apart != 0:
            raise Failed(
                f"step 0: the {name}: log-probabilities differ by {apart:.2e}",
                expected="the same numbers, with dropout off in every role",
            )


def drawn_as_scored(trainer) -> str:
    """The log-probabilities with which answers are drawn are those that are scored; returns what a user should know.

    It is folding, cache, positions and temperature at once: any of them wrong would draw from another distribution. Where it is
    beyond the tolerance of the weights' precision, `ppo.fast_rollout: auto` draws by TRL's engine instead.

    Raises:
        Failed: it is, and `ppo.fast_rollout` is on.
    """
    if not trainer.drawn_here:
        if trainer.use_vllm:
            weighed_as_scored(trainer)
        return ""
    asked = [prompt.ids for prompt in trainer.prompts[:4]]
    with seeded([0], trainer.accelerator.device):
        said, drawn = trainer.draw(asked)
    rows = [Row(0, before, ids, [True] * len(ids), True, []) for before, ids in zip(asked, said, strict=True)]
    batch = micro_batch(rows, list(range(len(rows))), trainer.renderer.pad_id, trainer.accelerator.device)
    with torch.no_grad():
        logps_BA, _ = trainer._logps(trainer.roles.module(POLICY), batch)
    scored, seen = logps_BA[batch.keep_BA].cpu(), torch.tensor([logp for row in drawn for logp in row])
    found = distance(scored, seen)
    if found <= tolerance_of(trainer.roles.policy):
        return ""
    what = f"log-probabilities of drawing and scoring differ by {found:.1e}"
    if trainer.settings.fast_rollout == "on":
        raise Failed(f"step 0: {what}", where="ppo.fast_rollout", do="Say --set ppo.fast_rollout=off.")
    trainer.drawn_here = trainer.folds = False
    return f"answers are drawn by TRL's own engine, since {what}"


@torch.no_grad()
def weighed_as_scored(trainer) -> None:
    """TRL weighs vLLM's answers by log-probabilities of its own, from rows padded on the left: they are those that are scored.

    Raises:
        Refused: they are not; a model with learned positions sees others there.
    """
    ids = max((prompt.ids for prompt in trainer.prompts[:4]), key=len)
    rows = [Row(0, row[:-1], row[-1:], [True], True, []) for row in (ids, ids[len(ids) // 2 :])]
    batch = micro_batch(rows, [0, 1], trainer.renderer.pad_id, trainer.accelerator.device)
    left_BT = [x.to(trainer.accelerator.device) for x in pad_left([row.ids for row in rows], trainer.renderer.pad_id)]
    scored_BA, _ = trainer._logps(trainer.roles.module(POLICY), batch)
    weighed_BA, *_ = trainer._get_per_token_logps_and_entropies(trainer.model, *left_BT, 1)
    found = distance(scored_BA, weighed_BA)
    if found > tolerance_of(trainer.roles.policy):
        raise Refused(
            f"TRL weighs vLLM's answers by log-probabilities of rows padded on the left, and those of this model differ by "
            f"{found:.1e} from the ones that are scored (its positions are learned)",
            where="trainer.use_vllm", do="Leave it out: ppo.fast_rollout draws without it.",
        )


@torch.no_grad()
def critic_read_back(roles: Roles, folder: Path, rows: list[list[int]], pad_id: int) -> float:
    """The critic in `folder` gives the values of the one in memory; returns the largest relative distance.

    Raises:
        Failed: beyond the tolerance of its precision.
    """
    target = folder / CRITIC_FOLDER
    head = load_file(str(target / HEAD_FILE))
    for name, value in roles.heads[CRITIC].state_dict().items():
        if not torch.equal(head[name], value.cpu()):
            raise Failed(f"the value head's {name} read back from disk is another one", where=target)
    if not isinstance(roles, SharedRoles) or not roles.own_critic:
        return 0.0
    ids_BT, real_BT = right_padded(rows, pad_id, next(roles.policy.parameters()).device)
    with roles.acting(CRITIC):
        expected = roles.heads[CRITIC](roles.hidden(CRITIC, ids_BT, real_BT))
    add_role(roles.policy, "proof", PeftConfig.from_pretrained(str(target)), load_adapter_file(target))
    roles.policy.eval()  # what is loaded anew has its dropout, and is in training mode
    with roles.acting("proof"):
        seen = roles.heads[CRITIC](roles.hidden("proof", ids_BT, real_BT))
    roles.policy.delete_adapter("proof")
    kept = real_BT.to(seen.device)
    return compare(expected[kept], seen[kept], tolerance=tolerance_of(roles.policy), what="the critic read back from disk")
