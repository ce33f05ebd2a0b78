"""What the Trainer does not save: heads, critic, KL coefficient, running statistics, the rollout at work.

Written into the Trainer's own checkpoint folder before it is sealed, as JSON and safetensors.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from alignment.adapters.weights import adapter_state, load_adapter_file, put_adapter
from alignment.ppo.roles import CRITIC, POLICY, Roles, SharedRoles
from alignment.ppo.rollout import Rollout, Row, keep_of

STATE, TENSORS = "ppo.json", "ppo.safetensors"
CRITIC_FOLDER, HEAD_FILE = "critic", "value_head.safetensors"


def trained_state(roles: Roles, names: tuple[str, ...] = (POLICY, CRITIC)) -> dict[str, Tensor]:
    """Copies of all trained tensors on the CPU, under `role/name`; the value head is `head/...`."""
    found = {f"head/{name}": value for name, value in roles.heads[CRITIC].state_dict().items()}
    for role in names:
        if role == CRITIC and not roles.own_critic:
            continue
        state = adapter_state(roles.policy, role) if isinstance(roles, SharedRoles) else roles.module(role).state_dict()
        found.update({f"{role}/{name}": value for name, value in state.items()})
    return {name: value.detach().cpu().clone().contiguous() for name, value in found.items()}


def put_trained(roles: Roles, state: dict[str, Tensor]) -> None:
    """Sets all trained tensors to those of `trained_state`. Raises Failed where one finds no place."""
    by_role: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        role, _, rest = name.partition("/")
        by_role.setdefault(role, {})[rest] = value
    roles.heads[CRITIC].load_state_dict(by_role.pop("head"))
    for role, tensors in by_role.items():
        if isinstance(roles, SharedRoles):
            put_adapter(roles.policy, tensors, role)
        else:
            roles.module(role).load_state_dict(tensors)


def save_state(trainer, folder: str) -> None:
    """Adds the PPO state to a checkpoint folder."""
    rollout = trainer.rollout
    at_work = rollout is not None and trainer.state.global_step % trainer.deal.steps != 0
    running = trainer.objective.running
    state = {
        "kl_coefficient": trainer.kl_coefficient,
        "running": running.state() if running else None,
        "rollout": _rollout_state(rollout) if at_work else None,
        "examiner": trainer.examiner.state(),
    }
    # an adapter's tensors are the Trainer's to save, a second model's are not
    extra = trained_state(trainer.roles, () if isinstance(trainer.roles, SharedRoles) else (CRITIC,))
    tensors = {f"trained/{name}": value for name, value in extra.items()}
    if at_work:
        tensors |= {f"rollout/{name}": value.contiguous() for name, value in rollout.figures.items()}
    trainer.examiner.forget_others()
    if isinstance(trainer.roles, SharedRoles):  # PEFT writes each adapter; the frozen ones are where they came from
        for frozen in set(trainer.roles.policy.peft_config) - {POLICY, CRITIC}:
            shutil.rmtree(Path(folder, frozen))
    Path(folder, STATE).write_text(json.dumps(state), encoding="utf-8")
    save_file(tensors, str(Path(folder, TENSORS)))


def restore(trainer, folder: str) -> None:
    """The opposite of `save_state`, with the adapters that the Trainer saved; the checkpoint's hashes were checked before."""
    state = json.loads(Path(folder, STATE).read_text(encoding="utf-8"))
    tensors: dict[str, dict[str, Tensor]] = {"trained": {}, "rollout": {}}
    for name, value in load_file(str(Path(folder, TENSORS))).items():
        group, _, rest = name.partition("/")
        tensors[group][rest] = value
    if isinstance(trainer.roles, SharedRoles):
        put_adapter(trainer.roles.policy, load_adapter_file(Path(folder)), POLICY)
        if trainer.roles.own_critic:
            put_adapter(trainer.roles.policy, load_adapter_file(Path(folder, CRITIC)), CRITIC)
    else:
        _whole_model(trainer.roles.module(POLICY), Path(folder))
    put_trained(trainer.roles, tensors["trained"])
    trainer.kl_coefficient = state["kl_coefficient"]
    if state["running"]:
        trainer.objective.running = type(trainer.objective.running)(**state["running"])
    trainer.rollout = _rollout(state["rollout"], tensors["rollout"]) if state["rollout"] else None
    trainer.examiner.restore(state["examiner"])


def _whole_model(model: torch.nn.Module, folder: Path) -> None:
    """The weights of a model that the Trainer saved as a whole, in one file or several; tied ones are in it once."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        found.update(load_file(str(file)))
    missing, unexpected = model.load_state_dict(found, strict=False)
    tied = set(getattr(model, "all_tied_weights_keys", None) or getattr(model, "_tied_weights_keys", None) or ())
    if unexpected or set(missing) - tied:
        from data_recipes.errors import Failed

        raise Failed(f"the checkpoint has not the model's weights ({[*unexpected, *missing][:3]})", where=str(folder))


def _rollout_state(rollout: Rollout) -> dict:
    return {"number": rollout.number, "stopped_update": rollout.stopped_update, "rows": [asdict(row) for row in rollout.rows]}


def _rollout(state: dict, figures: dict[str, Tensor]) -> Rollout:
    rows = [Row(**row) for row in state["rows"]]
    return Rollout(state["number"], rows, keep_of(rows), dict(figures), state["stopped_update"])


# ------------------------------------------------------------------------------------------------------ the run's critic


def save_critic(roles: Roles, folder: Path) -> None:
    """The critic under `critic/`: its adapter (or whole model) and its value head, in safetensors."""
    target = folder / CRITIC_FOLDER
    if isinstance(roles, SharedRoles):
        if roles.own_critic:
            config = roles.policy.peft_config[CRITIC]
            config.base_model_name_or_path = roles.policy.peft_config[POLICY].base_model_name_or_path
            config.revision = roles.policy.peft_config[POLICY].revision
            roles.policy.save_pretrained(folder, selected_adapters=[CRITIC], save_embedding_layers=False)
    elif roles.own_critic:
        roles.module(CRITIC).save_pretrained(target)
    target.mkdir(parents=True, exist_ok=True)
    (target / "README.md").unlink(missing_ok=True)
    head = {name: value.detach().cpu().contiguous() for name, value in roles.heads[CRITIC].state_dict().items()}
    save_file(head, str(target / HEAD_FILE))
