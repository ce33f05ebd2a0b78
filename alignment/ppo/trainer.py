"""The PPO trainer: TRL's GRPOTrainer writes and rewards the answers; the critic and the update are ours.

Of GRPOTrainer this takes the constructor (fused head, generation settings, vLLM), `_generate_and_score_completions` (sampling
by transformers, continuous batching or vLLM, tools, reward calls) and `log`. Its groups, sampler and buffer are not used:
the loader is a clock, and which rows a step trains is a pure function of seed, rollout and step (`rollout.Deal`), so that
a run resumes at any step. The seams are listed in `SEAMS`; each has a contract test that fails first when TRL moves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from trl import GRPOConfig

from data_recipes.errors import Refused

from alignment.ppo import drawing, numerics
from alignment.ppo.checkpoint import restore, save_state
from alignment.ppo.engine import RolloutEngine
from alignment.ppo.log import StepLog
from alignment.ppo.longest import LongestFirst
from alignment.ppo.roles import CRITIC, POLICY, REFERENCE, Roles, SharedRoles, backbone
from alignment.ppo.rollout import Deal, MicroBatch, Rollout, Row, micro_batch
from alignment.training.label_head import attach_label_head

# What this file leans on in TRL and transformers; tests/alignment/ppo/test_seams.py and test_engines.py hold a test for each.
SEAMS = (
    "GRPOConfig.__post_init__", "GRPOTrainer._generate", "GRPOTrainer._tokenize_prompts", "GRPOTrainer._calculate_rewards",
    "GRPOTrainer._generate_single_turn", "GRPOTrainer._tool_call_loop", "GRPOTrainer._get_tool_suffix_ids",
    "GRPOTrainer._generate_and_score_completions", "GRPOTrainer.log", "Trainer.get_train_dataloader", "Trainer.training_step",
    "Trainer._clip_grad_norm", "Trainer.create_optimizer", "Trainer.evaluate", "Trainer._save_checkpoint",
    "Trainer._load_from_checkpoint", "GRPOTrainer._get_per_token_logps_and_entropies", "VLLMGeneration.sync_weights",
)


class PpoArguments(GRPOConfig):
    """GRPO's arguments with one answer a prompt allowed: TRL refuses fewer than two, since its advantages need a group."""

    def __post_init__(self):
        self.num_generations = self.steps_per_generation = 2
        self.num_generations_eval = 1
        super().__post_init__()
        # one step a generation: TRL then computes no log-probabilities of its own beside ours
        self.num_generations = self.steps_per_generation = 1


@dataclass(frozen=True)
class Prompted:
    """One prompt, ready to be answered. columns: what reward functions are given besides."""

    messages: list[dict]
    ids: list[int]
    where: str
    columns: dict


class Examinations(TrainerCallback):
    """Before the first step and after the last one too: a run is judged against what it began with."""

    def __init__(self, trainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self.trainer.evaluate()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps:
            control.should_evaluate = True


class PPOTrainer(RolloutEngine):
    """PPO with a critic, Schulman et al. 2017 (arXiv 1707.06347) as in Ziegler et al. 2019 (arXiv 1909.08593).

    Args:
        roles: policy, reference, critic and reward on their weights. prompts: what is answered.
        objective: `rewards.Objective`. renderer: of the policy. settings: the config's `ppo` section.
        deal: how a rollout is dealt out. rates: learning rate by role. examiner: measures on held-out prompts.
        tools: functions that the policy may call; `tokenizer` is then `tools.reading`'s.
    """

    own_clock = True

    def __init__(self, roles: Roles, prompts: list[Prompted], objective, renderer, settings, deal: Deal, rates: dict,
                 *, reward_functions: list, args: PpoArguments, tokenizer, examiner, tools: list | None = None) -> None:
        self.roles, self.prompts, self.objective, self.renderer = roles, prompts, objective, renderer
        self.settings, self.deal, self.rates, self.examiner = settings, deal, rates, examiner
        rows = Dataset.from_dict({"prompt": [str(i) for i in range(len(prompts))]})
        super().__init__(model=roles.policy, reward_funcs=reward_functions, args=args, train_dataset=rows,
                         eval_dataset=rows, processing_class=tokenizer, tools=tools)
        self._trained_in_float32()
        self.hidden_BTH: Tensor | None = None
        causal = self.roles.module(POLICY)
        self._watch_hidden(causal)
        for role in (POLICY, REFERENCE):
            if role == POLICY or self.roles.module(role) is not causal:
                attach_label_head(self.roles.module(role))
        self.num_generations = self.num_generations_eval = 1
        self.eos_token_ids = list(renderer.stop_ids)
        if hasattr(self, "generation_config"):
            self.generation_config.eos_token_id = list(renderer.stop_ids)
        self.kl_coefficient = settings.kl_coefficient
        self.rollout: Rollout | None = None
        self.micro_step: int | None = None
        self.drawing_note = self._how_to_draw()
        self.steps = StepLog(self._metrics["train"], self.accelerator)
        for callback in (LongestFirst(self), Examinations(self)):
            self.add_callback(callback)

    def _how_to_draw(self) -> str:
        """Settles whether answers are drawn by `drawing.draw`; returns what a user should know of it.

        Raises:
            Refused: they cannot be, where `ppo.fast_rollout` is on.
        """
        if self.settings.fast_rollout == "off":
            return ""
        if why := drawing.in_the_way(self.roles.policy, self.args, self.accelerator.distributed_type.name):
            if self.settings.fast_rollout == "on":
                raise Refused(f"answers cannot be drawn faster: {why}", where="ppo.fast_rollout", expected="auto or off")
            return f"answers are drawn by TRL's own engine, since {why}"
        unfolded = drawing.not_foldable(self.roles.policy, POLICY)
        self.drawn_here, self.folds = True, not unfolded
        shared = isinstance(self.roles, SharedRoles)
        return f"answers are drawn with the adapter beside the base, since {unfolded}" if unfolded and shared else ""

    def _trained_in_float32(self) -> None:
        """TRL casts what is trained on a quantised base to bfloat16: small updates would vanish in it, and the policy would no
        longer be its reference, which stays float32."""
        if isinstance(self.roles, SharedRoles):
            for parameter in self.trained_parameters():
                parameter.data = parameter.data.float()

    def trained_parameters(self) -> list:
        return self.roles.trained(POLICY) + self.roles.trained(CRITIC)

    # ------------------------------------------------------------------------------------------------------ clock, order

    def get_train_dataloader(self) -> DataLoader:
        """A clock: one tick a micro-batch and process; what is trained at a tick is asked of the deal."""
        ticks = self.args.max_steps * self.args.gradient_accumulation_steps * self.accelerator.num_processes
        return self.accelerator.prepare(DataLoader(range(ticks), batch_size=1, collate_fn=_tick_batch))

    def _tick(self) -> tuple[int, int, int]:
        """(rollout, step in it, micro-batch in that) of this micro-step; after a resume counted from the global step."""
        if self.micro_step is None:
            self.micro_step = self.state.global_step * self.args.gradient_accumulation_steps
        step, micro = divmod(self.micro_step, self.args.gradient_accumulation_steps)
        self.micro_step += 1
        return *divmod(step, self.deal.steps), micro

    # ------------------------------------------------------------------------------------------------------------ update

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """One micro-batch: the policy's backward while it acts, then the critic's while that acts.

        Gradient checkpointing recomputes with whatever adapter is active, so one backward for both would be wrong. The
        policy goes through the wrapped model and the critic past the wrapper: DDP then sees one forward a step, and each
        trained weight once.
        """
        model.train()
        number, step, micro = self._tick()
        if self.rollout is None or self.rollout.number != number:
            self.rollout = self.collect(number)
        if micro == 0:  # the Trainer empties the gradients of its model alone: the value head is outside of it
            self._forget(self.roles.trained(CRITIC))
        began = time.perf_counter()
        lengths = [len(row.ids) for row in self.rollout.rows]
        mine = self.deal.micro_batches(number, step, lengths, self.accelerator.process_index)[micro]
        self.step_rows.append(torch.tensor([self.rollout.rows[i].prompt for i in mine]))
        if self.rollout.stopped_update:
            loss = torch.zeros((), device=self.accelerator.device)
        else:
            everyone = self.deal.minibatch(number, step)
            actions = sum(sum(self.rollout.rows[i].actions) for i in everyone)
            loss = self._learn(model, mine, actions, warming=number < self.settings.critic_warmup)
        self.step_losses.append(loss)
        self.steps.seconds["update"] += time.perf_counter() - began
        return loss

    def _learn(self, model, rows: list[int], actions: int, *, warming: bool) -> Tensor:
        """Gradients of one micro-batch. DDP takes the mean over processes, so each gives its sum times their number."""
        batch = micro_batch(self.rollout.rows, rows, self.renderer.pad_id, self.accelerator.device)
        share = self.accelerator.num_processes / actions
        if self.roles.own_critic:
            return self._learn_apart(model, batch, share, warming=warming)
        policy = self._policy_loss(model, batch) * share
        loss = (policy * 0 if warming else policy) + self._value_loss(self._values_seen(batch), batch) * share
        self.accelerator.backward(loss)
        return loss.detach()

    def _learn_apart(self, model, batch: MicroBatch, share: float, *, warming: bool) -> Tensor:
        """The policy's backward, then that of the critic's own adapter. While the critic warms up the policy has none; but DDP
        waits for every weight's gradient, so that among several processes it is made of zeros, and forgotten before the
        update."""
        total = torch.zeros((), device=batch.ids_BT.device)
        if not warming or self.accelerator.num_processes > 1:
            policy = self._policy_loss(model, batch) * share * (0.0 if warming else 1.0)
            self.accelerator.backward(policy)
            total = policy.detach()
        with self.roles.acting(CRITIC):
            value = self._value_loss(self._values(CRITIC, batch), batch) * share
            self.accelerator.backward(value)
        return total + value.detach()

    def _policy_loss(self, model, batch: MicroBatch) -> Tensor:
        """Clipped surrogate, KL in the loss where it was asked for, entropy bonus; a sum over actions."""
        made, ours = self._figures(batch), self.settings
        logps_BA, entropy_BA = self._logps(model, batch)
        loss, seen = numerics.policy_loss(logps_BA, made["logps"], made["advantages"], batch.keep_BA, clip=ours.clip,
                                          weights_BT=made.get("correction"))
        if ours.kl_in == "loss":
            kl_BA = numerics.kl_estimate(logps_BA, made["ref_logps"], ours.kl_estimator)
            loss = loss + self.kl_coefficient * torch.where(batch.keep_BA, kl_BA, 0.0).sum()
        if ours.entropy_coefficient:
            loss = loss - ours.entropy_coefficient * torch.where(batch.keep_BA, entropy_BA, 0.0).sum()
        entropy = torch.where(batch.keep_BA, entropy_BA.detach(), 0.0).sum()
        self.steps.add("policy", {"loss": loss.detach(), "entropy": entropy, "actions": batch.keep_BA.sum(), **seen})
        return loss

    def _value_loss(self, values_BA: Tensor, batch: MicroBatch) -> Tensor:
        made = self._figures(batch)
        loss, seen = numerics.value_loss(values_BA, made["values"], made["returns"], batch.keep_BA,
                                         clip=self.settings.value_clip)
        self.steps.add("value", {"loss": loss.detach(), "actions": batch.keep_BA.sum(), **seen})
        return self.settings.value_coefficient * loss

    def _figures(self, batch: MicroBatch) -> dict[str, Tensor]:
        """The rollout's figures of these rows, cut to their most actions."""
        width, device = batch.keep_BA.shape[1], batch.ids_BT.device
        return {name: x[batch.indices, :width].to(device) for name, x in self.rollout.figures.items()}

    def _watch_hidden(self, model) -> None:
        """Keeps the trunk's hidden states of the last pass, before the label head's hook makes them compact."""
        if self.roles.own_critic:
            return

        def keep(module, args, output):
            self.hidden_BTH = output.last_hidden_state

        backbone(model).register_forward_hook(keep)

    # ------------------------------------------------------------------------------------- before each optimizer's update

    def create_optimizer(self, model=None):
        """The optimizer that was asked for, over the trained roles, each with its own learning rate."""
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            groups = [{"params": self.roles.trained(role), "lr": self.rates[role]} for role in (POLICY, CRITIC)]
            self.optimizer = kind(groups, **{**options, "weight_decay": self.args.weight_decay})
        return self.optimizer

    def _clip_grad_norm(self, model) -> Tensor:
        """Gradients of policy and critic clipped each by itself: the critic's errors must not shrink the policy's step.

        It is called once before each update, so this is also where a rollout's updates are ended (`ppo.kl_stop`).
        """
        self._share_head_gradients()
        sums = self.steps.reduced()
        self.rollout.stopped_update |= self._too_far(sums)
        self.steps.update(sums, stopped=self.rollout.stopped_update)
        if self.rollout.number < self.settings.critic_warmup:
            self._forget(self.roles.trained(POLICY))
        if self.rollout.stopped_update:
            self._forget(self.trained_parameters())
        self.accelerator.unscale_gradients()
        norms = {role: torch.nn.utils.clip_grad_norm_(self.roles.trained(role), self.args.max_grad_norm)
                 for role in (POLICY, CRITIC)}
        for role, name in ((POLICY, "policy"), (CRITIC, "critic")):
            self.steps.note(f"grad_norm/{name}", norms[role].item())
        return norms[POLICY]

    def _share_head_gradients(self) -> None:
        """The value head is outside of what DDP wraps: its gradients are averaged here."""
        if self.accelerator.num_processes > 1:
            for parameter in self.roles.heads[CRITIC].parameters():
                if parameter.grad is not None:
                    parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")

    def _too_far(self, sums: dict[str, float]) -> bool:
        bound = self.settings.kl_stop
        return bool(bound) and sums.get("policy/approx_kl", 0.0) / max(1, sums.get("policy/actions", 1)) > bound

    @staticmethod
    def _forget(parameters: list) -> None:
        """No gradient, no update: AdamW passes over a weight without one, and leaves its moments alone."""
        for parameter in parameters:
            parameter.grad = None

    # ------------------------------------------------------------------------------------------- evaluation, checkpoints

    @property
    def held_out_rows(self) -> int:
        return len(self.examiner.prompts) if self.examiner.held_out else 0

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Held-out prompts answered and judged; nothing of it is trained on, and no random number of the run is drawn."""
        self.model.eval()
        figures = self.examiner.examine(self)
        logs = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        self.log(logs)  # while the model is in evaluation mode: GRPO's `log` would add the training step's figures else
        self.model.train()
        return logs

    def probe(self) -> float:
        """A number that tells whether a restored run is the one that was saved: policy's log-probability and critic's value
        on the first prompts."""
        rows = [Row(0, p.ids[:1], p.ids[1:], [True] * (len(p.ids) - 1), True, []) for p in self.prompts[:2]]
        batch = micro_batch(rows, list(range(len(rows))), self.renderer.pad_id, self.accelerator.device)
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            logps_BA, _, values_BA = self._three(batch)
        self.model.train(training)
        return (numerics.masked_mean(logps_BA, batch.keep_BA) + numerics.masked_mean(values_BA, batch.keep_BA)).item()

    def _save_checkpoint(self, model, trial) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            save_state(self, f"{self.args.output_dir}/checkpoint-{self.state.global_step}")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        restore(self, resume_from_checkpoint)


def _tick_batch(ticks: list[int]) -> dict[str, Tensor]:
    return {"tick": torch.tensor(ticks)}
