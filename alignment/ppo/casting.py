"""Who plays which role: policy, reference, critic and reward from their runs, on one base where they share it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from peft import PeftConfig, PeftModel
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from data_recipes.errors import Failed, Refused
from data_recipes.render import Renderer
from reward.learned import RewardModel

from alignment import adapters
from alignment.adapters import weights as adapter_weights
from alignment.hardware.plan import Plan
from alignment.invariants import close
from alignment.models import adapter_folder, load_base, load_scorer, load_tokenizer, tolerance_of
from alignment.ppo import rewards as purses
from alignment.ppo.roles import CRITIC, POLICY, REFERENCE, REWARD, Roles, SeparateRoles, SharedRoles, ValueHead
from alignment.rewards import RewardSource
from alignment.session import Session, loading, trainable_model
from alignment.sources import Source


@dataclass
class Cast:
    """The roles on their weights, the rewards that are trained on, the gold, and where the critic began."""

    roles: Roles
    rewards: list[purses.OpenReward]
    gold: purses.OpenReward | None
    critic_from: str


def shares_base(session: Session, reward: RewardSource) -> bool:
    """Whether a reward can be an adapter beside the policy's: same base by content, template and its options, adapter type."""
    source = reward.source
    if source is None or session.full or source.kind != "run" or not source.is_adapter:
        return False
    theirs, template = source.manifest["base"], source.manifest["template"]
    ours = session.base_entry
    same_base = (theirs.get("hash") or (theirs.get("id"), theirs.get("revision"))) == (
        ours.get("hash") or (ours.get("id"), ours.get("revision"))
    )
    kind = str(source.adapter_config().get("peft_type"))
    return (
        same_base
        and template["fingerprint"] == session.preparation.template_fingerprint
        and template["stop_ids"] == list(session.preparation.stop_ids)
        and all(template["options"].get(name) == session.renderer.options.get(name) for name in ("system", "tools", "thinking"))
        and kind == _policy_type(session)
    )


def _policy_type(session: Session) -> str:
    if session.parent_adapter:
        return str(PeftConfig.from_pretrained(str(session.parent_adapter)).peft_type.value)
    return str(adapters.kind(session.choice.kind).peft)


def cast(session: Session, plan: Plan, rewards: list[RewardSource], gold: RewardSource | None) -> Cast:
    """Loads the roles and checks them at step 0.

    Raises:
        Refused: a reward without a trained score head, a critic that cannot begin where it was told to.
    """
    settings = session.config.ppo
    model = trainable_model(session, plan)
    names = shared_names(session, rewards, gold)
    judged = {reward.text: reward for reward in [*rewards, *([gold] if gold else [])]}
    heads = {name: _add_reward(model, judged[text].source, name) for text, name in names.items()}
    began = critic_start(settings, names)
    if session.full:
        roles = _separate(session, plan, model)
    else:
        roles = _shared(model, heads, began, settings.critic == "adapter")
    disable_dropout_in_model(roles.policy)
    opened = {text: _open(session, plan, reward, roles, names) for text, reward in judged.items()}
    roles.act(POLICY)
    return Cast(roles, [opened[r.text] for r in rewards], opened[gold.text] if gold else None, began)


def shared_names(session: Session, rewards: list[RewardSource], gold: RewardSource | None) -> dict[str, str]:
    """The adapter's name of each reward that shares the policy's base."""
    shared = [reward for reward in rewards if shares_base(session, reward)]
    names = {reward.text: REWARD if number == 0 else f"{REWARD}_{number + 1}" for number, reward in enumerate(shared)}
    return {**names, gold.text: "gold"} if gold and shares_base(session, gold) else names


def critic_start(settings, names: dict[str, str]) -> str:
    """What the critic begins from, `reward` or `policy`. Raises Refused where it cannot begin as it was told to."""
    wanted, shared = settings.critic_start, REWARD in names.values()
    if wanted == "reward" and not shared:
        raise Refused(
            "the critic cannot begin from the reward run, which does not share the policy's base",
            where="ppo.critic_start",
            expected="a reward run on the same base, with the same template and kind of adapter",
            do="Say --set ppo.critic_start=policy.",
        )
    return "reward" if shared and wanted != "policy" and settings.critic == "adapter" else "policy"


def _reward_state(source: Source) -> tuple[dict, torch.Tensor]:
    """Trunk and head of a reward run's adapter. Raises Refused where no trained head is in it."""
    state, head = adapter_weights.split_head(adapter_weights.load_adapter_file(adapter_folder(source)))
    if head is None:
        raise Refused(
            "this adapter has no trained score head",
            where=f"--reward {source.text}",
            expected="a reward run: its head is saved with its adapter",
            do="Train one with align reward; a random head would score noise.",
        )
    return state, head


def _add_reward(model: PeftModel, source: Source, name: str) -> ValueHead:
    state, head = _reward_state(source)
    adapter_weights.add_role(model, name, PeftConfig.from_pretrained(str(adapter_folder(source))), state)
    return ValueHead(head)


def _shared(model: PeftModel, heads: dict, began: str, own_critic: bool) -> SharedRoles:
    config = model.peft_config[POLICY]
    adapter_weights.add_role(model, REFERENCE, config, adapter_weights.adapter_state(model, POLICY))
    if own_critic:
        start = REWARD if began == "reward" else POLICY
        adapter_weights.add_role(model, CRITIC, model.peft_config[start], adapter_weights.adapter_state(model, start))
    heads[CRITIC] = ValueHead(heads[REWARD].weight) if began == "reward" else _zero_head(model)
    return SharedRoles(model, heads, own_critic=own_critic)


def _zero_head(model: torch.nn.Module) -> ValueHead:
    weight = model.get_input_embeddings().weight
    return ValueHead(torch.zeros(model.config.get_text_config().hidden_size, device=weight.device))


def _separate(session: Session, plan: Plan, model: torch.nn.Module) -> SeparateRoles:
    """Whole models: the reference and the critic are the parent again, the critic's head starts at zero."""
    if plan.world > 1:
        raise Refused(
            "tuning whole models with PPO runs in one process",
            where="adapter.kind",
            expected="an adapter, or one process",
            do="Use adapter.kind=lora: policy, reference, critic and reward then share one base.",
        )
    models = {POLICY: model, REFERENCE: load_base(session.base, loading(session, plan))}
    temperature = session.config.ppo.temperature
    add_fused_lm_head(models[REFERENCE], temperature=temperature)
    own = session.config.ppo.critic == "adapter"
    if own:
        models[CRITIC] = load_base(session.base, loading(session, plan)).train()
        if plan.checkpointing:  # the Trainer turns it on for the policy alone
            models[CRITIC].gradient_checkpointing_enable()
    for one in models.values():
        disable_dropout_in_model(one)
    return SeparateRoles(models, {CRITIC: _zero_head(model)}, own_critic=own)


def _open(session: Session, plan: Plan, reward: RewardSource, roles: Roles, names: dict) -> purses.OpenReward:
    if reward.rule is not None:
        return purses.open_rule(reward.rule)
    if reward.text in names:
        return purses.SharedReward(reward.text, names[reward.text], roles, _own_renderer(session, reward.source)).opened()
    loaded = load_scorer(reward.source, dtype=plan.weights, device=plan.device)
    loaded.model.requires_grad_(False)
    session.job.ui.say(f"{reward.text}: does not share the policy's base, so it is loaded beside and given text")
    return purses.open_beside(RewardModel(loaded.model, loaded.renderer(max_length=None), name=reward.text))


def _own_renderer(session: Session, source: Source) -> Renderer:
    """The reward run's renderer: its rows are rendered as they were when it was trained."""
    tokenizer, _ = load_tokenizer(source, trust_remote_code=session.config.model.trust_remote_code)
    return Renderer.from_options(tokenizer, source.manifest["template"]["options"], max_length=None)


# ------------------------------------------------------------------------------------------------------------- step 0


def check_critic(cast: Cast, rows: list[list[int]]) -> float:
    """The critic that began as the reward model values a row as the reward model scores it; returns the distance."""
    shared = next((r for r in cast.rewards if r.role == REWARD), None)
    if cast.critic_from != "reward" or shared is None:
        return 0.0
    roles, device = cast.roles, next(cast.roles.policy.parameters()).device
    ids_BT, real_BT = purses.right_padded(rows, shared.score.reader.renderer.pad_id, device)
    with torch.no_grad(), roles.acting(CRITIC):
        values_B = roles.heads[CRITIC](purses.at_ends(roles.hidden(CRITIC, ids_BT, real_BT), real_BT))
    scores_B = torch.tensor(shared.score.ids(rows), device=device)
    return close(values_B, scores_B, tolerance_of(roles.policy), "the critic's values are not the reward model's scores")


def check_padding(cast: Cast, prompts: list[list[dict]]) -> float:
    """Answers that a reward model scores together score as each alone does; returns the largest relative distance.

    Raises:
        Failed: beyond the tolerance; padding, attention mask or positions are not what the model was trained with.
    """
    said, worst = ["yes" + " yes" * number for number in range(len(prompts))], 0.0
    for reward in (r for r in [*cast.rewards, cast.gold] if r is not None and r.texts is not None):
        together = torch.tensor(reward.texts(prompts, said))
        alone = torch.tensor([reward.texts([prompt], [text])[0] for prompt, text in zip(prompts, said, strict=True)])
        what = f"padded rows score otherwise than alone with {reward.name}"
        worst = max(worst, close(together, alone, tolerance_of(cast.roles.policy), what))
    return worst


def once_in_memory(roles: Roles) -> int:
    """Bytes of base weights. Raises Failed where two roles hold a base weight of the same name twice."""
    if not isinstance(roles, SharedRoles):
        return sum(p.numel() * p.element_size() for role in roles.models.values() for p in role.parameters())
    seen: dict[str, int] = {}
    for name, parameter in roles.policy.named_parameters(remove_duplicate=False):
        plain = name.replace(".base_layer", "")
        if plain in seen and seen[plain] != parameter.data_ptr():
            raise Failed(f"the base weight '{plain}' is in memory twice")
        seen[plain] = parameter.data_ptr()
    trained = {id(p) for r in (POLICY, CRITIC) for p in roles.trained(r)}
    return sum(p.numel() * p.element_size() for p in roles.policy.parameters() if id(p) not in trained)


def reference_hash(roles: Roles, session: Session) -> dict:
    """What the manifest pins of the reference."""
    if isinstance(roles, SharedRoles):
        return {"kind": "adapter", "hash": adapter_weights.state_hash(adapter_weights.adapter_state(roles.policy, REFERENCE))}
    entry = session.base_entry
    return {"kind": "model", "hash": entry["hash"] or f"{entry.get('id')}@{entry.get('revision')}"}
