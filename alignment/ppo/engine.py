"""From prompts to a rollout: TRL's engine writes and rewards the answers, the roles score them, the numerics value them."""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl import GRPOTrainer
from trl.chat_template_utils import parse_response

from alignment.generation.batched import only_our_settings
from alignment.ppo import drawing, engines, numerics
from alignment.ppo.log import StepLog, an_answer
from alignment.ppo.roles import CRITIC, POLICY, REFERENCE, Roles
from alignment.ppo.rollout import Deal, MicroBatch, Rollout, Row, keep_of, micro_batch, prompt_numbers
from alignment.training.trainers import Seams

GROUP_METRICS = ("reward", "reward_std", "frac_reward_zero_std")  # of groups, which are none here


class RolloutEngine(Seams, GRPOTrainer):
    """The half of the trainer that makes rollouts. `trainer.PPOTrainer` sets the attributes below."""

    roles: Roles
    prompts: list
    objective: object
    renderer: object
    settings: object
    deal: Deal
    steps: StepLog
    kl_coefficient: float
    hidden_BTH: Tensor | None
    drawn_here = folds = False  # whether answers are drawn by `drawing.draw`, with the adapter folded
    turn: Callable[[list[list[int]]], list[list[int]]] | None = None  # draws a turn instead of TRL's engine

    def collect(self, number: int) -> Rollout:
        """Answers, rewards, log-probabilities, values and advantages of rollout `number`."""
        numbers = prompt_numbers(number, prompts=len(self.prompts), rows=self.deal.rows, samples=self.settings.samples,
                                 seed=self.deal.seed)
        began = time.perf_counter()
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        mine = self.sample(numbers[rank::world], seed=[self.deal.seed, 3, number, rank])
        rows = _interleaved(gather_object([mine]) if world > 1 else [mine])
        rollout = Rollout(number, rows, keep_of(rows))
        self.steps.seconds["rollout"] += time.perf_counter() - began
        began = time.perf_counter()
        self._score(rollout)
        self._value_rollout(rollout)
        self.steps.seconds["scoring"] += time.perf_counter() - began
        self._total_train_tokens += sum(len(row.ids) for row in rows)
        return rollout

    @torch.no_grad()
    def sample(self, numbers: list[int], seed: list[int]) -> list[Row]:
        """Answers to these prompts with their rewards, in their order, by TRL's own rollout engine."""
        order = sorted(range(len(numbers)), key=lambda i: len(self.prompts[numbers[i]].ids))
        rows: list[Row | None] = [None] * len(numbers)
        with seeded(seed, self.accelerator.device):
            for start in range(0, len(order), self.settings.generation_batch):
                chosen = order[start : start + self.settings.generation_batch]
                for place, row in zip(chosen, self._answered([numbers[i] for i in chosen]), strict=True):
                    rows[place] = row
        return rows

    def _answered(self, numbers: list[int]) -> list[Row]:
        chosen = [self.prompts[i] for i in numbers]
        self.asked = [prompt.ids for prompt in chosen]
        inputs = [{"prompt": prompt.messages, "number": i} for prompt, i in zip(chosen, numbers, strict=True)]
        # the folder's own generation settings would draw from another distribution than the one that is scored
        with only_our_settings(self.roles.policy):
            made = super()._generate_and_score_completions(inputs)
        for name in GROUP_METRICS:
            self._metrics["train"].pop(name, None)
        prompt_ids, completion_ids, tool_mask, completions = self.written
        correction = made.get("importance_sampling_ratio")
        stops = set(self.renderer.stop_ids)
        return [
            Row(
                prompt=numbers[i],
                prompt_ids=list(prompt_ids[i]),
                completion_ids=list(completion_ids[i]),
                actions=[bool(x) for x in tool_mask[i]] if tool_mask is not None else [True] * len(completion_ids[i]),
                stopped=completion_ids[i][-1] in stops,
                rewards=self.scored_BS[i].tolist(),
                correction=_own(correction, i, len(completion_ids[i])),
                said=completions[i] if self.tools else None,
            )
            for i in range(len(numbers))
        ]

    def _tokenize_prompts(self, prompts: list):
        """The prompts as the suite renders them, in training and everywhere else."""
        return self.asked, None, {}

    def _generate(self, prompts: list):
        made = super()._generate(prompts)
        self.written = made[:4]
        return made

    def _generate_single_turn(self, prompt_ids: list, *args, **kwargs):
        """Of an answer with tools each turn is drawn by itself, behind what stands there so far."""
        if self.turn is not None:
            return self.turn(prompt_ids), None
        if not self.drawn_here:
            with engines.lent(self.roles.policy) if self.use_vllm else nullcontext():
                return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        return self.draw(prompt_ids)[0], None

    def draw(self, prompt_ids: list[list[int]]) -> tuple[list[list[int]], list[list[float]]]:
        """Answers of the policy and their log-probabilities, by `drawing.draw`."""
        training = self.model.training
        self.model.eval()  # gradient checkpointing keeps no cache in training mode
        with self.folding(), self.accelerator.autocast():
            made = drawing.draw(self.roles.policy, prompt_ids, new_tokens=self.settings.max_new_tokens,
                                temperature=self.settings.temperature, stops=list(self.renderer.stop_ids),
                                pad_id=self.renderer.pad_id)
        self.model.train(training)
        return made

    def folding(self):
        """The policy's adapter in the base's weights for a while, where it is folded at all."""
        return drawing.folded(self.roles.policy, POLICY) if self.folds else nullcontext()

    def converse(self, asked: list, first: list[list[int]], turn: Callable) -> list[tuple[list[int], list[bool], list[dict]]]:
        """Answers that begin with `first` and go on behind each tool's result with `turn(ids)`: ids, actions, messages.

        For evaluation, where processes may have unequal shares; `_generate` gathers figures of equal ones.
        """
        prompt_ids = [list(prompt.ids) for prompt in asked]
        said = [[parse_response(self._tokenizer, ids, prefix=before, tools=self.tools)]
                for before, ids in zip(prompt_ids, first, strict=True)]
        kinds = [{tool.__name__: tool for tool in self.tools if inspect.iscoroutinefunction(tool) == later}
                 for later in (False, True)]
        self._sync_tool_dicts, self._async_tool_dicts = ([kind] * len(asked) for kind in kinds)
        self.turn = turn
        try:
            messages = [copy.deepcopy(prompt.messages) for prompt in asked]
            actions, said, ids, *_ = self._tool_call_loop(messages, prompt_ids, first, said, None, None, {})
        finally:
            self.turn = None
        return [(ids[i], [bool(x) for x in actions[i]], said[i]) for i in range(len(asked))]

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """As TRL does, and kept: what TRL hands back are only its groups' advantages. Shape (B, S), this process's rows."""
        began = time.perf_counter()
        gathered = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        rank, size = self.accelerator.process_index, len(prompts)
        self.scored_BS = gathered[rank * size : (rank + 1) * size].cpu().double()
        took = time.perf_counter() - began
        self.steps.seconds["scoring"] += took
        self.steps.seconds["rollout"] -= took  # it is within the time of the rollout
        return gathered

    @torch.no_grad()
    def _score(self, rollout: Rollout) -> None:
        """Log-probabilities of policy and reference and the critic's values, in the shapes of the first pass."""
        lengths = [len(row.ids) for row in rollout.rows]
        names = ("logps", "ref_logps", "values")
        made = {name: torch.zeros(rollout.keep.shape) for name in names}
        self.model.eval()
        for mine in self.deal.first_pass(rollout.number, lengths, self.accelerator.process_index):
            batch = micro_batch(rollout.rows, mine, self.renderer.pad_id, self.accelerator.device)
            width = batch.keep_BA.shape[1]
            for name, value_BA in zip(names, self._three(batch), strict=True):
                made[name][mine, :width] = value_BA.float().cpu()
        self.model.train()
        if self.accelerator.num_processes > 1:  # each row was scored by one process; the others hold zeros
            made = {name: self.accelerator.reduce(x.to(self.accelerator.device), "sum").cpu() for name, x in made.items()}
        rollout.figures.update(made)
        if rollout.rows[0].correction is not None:
            rollout.figures["correction"] = _corrections(rollout)

    @torch.no_grad()
    def logps_of(self, rows: list[Row]) -> tuple[Tensor, Tensor]:
        """Log-probabilities of these answers under policy and reference, shape (B, T) each."""
        made = torch.zeros(2, *keep_of(rows).shape)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i].ids))
        size = max(self.deal.micro, 8)
        for start in range(0, len(order), size):
            mine = order[start : start + size]
            batch = micro_batch(rows, mine, self.renderer.pad_id, self.accelerator.device)
            for number, role in enumerate((POLICY, REFERENCE)):
                with self.roles.acting(role):
                    logps_BA, _ = self._logps(self.roles.module(role), batch)
                made[number, mine, : logps_BA.shape[1]] = logps_BA.cpu()
        self.hidden_BTH = None
        return made[0], made[1]

    def _three(self, batch: MicroBatch) -> tuple[Tensor, Tensor, Tensor]:
        logps_BA, _ = self._logps(self.roles.module(POLICY), batch)
        values_BA = None if self.roles.own_critic else self._values_seen(batch)
        with self.roles.acting(REFERENCE):
            ref_logps_BA, _ = self._logps(self.roles.module(REFERENCE), batch)
        if values_BA is None:
            with self.roles.acting(CRITIC):
                values_BA = self._values(CRITIC, batch)
        return logps_BA, ref_logps_BA, values_BA

    def _value_rollout(self, rollout: Rollout) -> None:
        """Rewards placed and KL-shaped, advantages and returns; and what the log says of the rollout."""
        ours, made, keep = self.settings, rollout.figures, rollout.keep
        scores_BS = np.array([row.rewards for row in rollout.rows])
        proxy_B = self.objective.proxy(scores_BS)
        stopped_B = torch.tensor([row.stopped for row in rollout.rows])
        final_B = numerics.end_scores(torch.tensor(self.objective.maximised(proxy_B)).float(), stopped_B,
                                      how=ours.missing_stop, value=ours.missing_stop_value)
        kl = {kind: numerics.kl_estimate(made["logps"], made["ref_logps"], kind) for kind in numerics.ESTIMATORS}
        inside = self.kl_coefficient if ours.kl_in == "reward" else 0.0
        rewards = numerics.shaped_rewards(final_B, kl[ours.kl_estimator], keep, coefficient=inside)
        if ours.whiten_rewards:
            rewards = numerics.whiten(rewards, keep, shift_mean=False)
        advantages, made["returns"] = numerics.gae(rewards, made["values"], keep, gamma=ours.gamma, lam=ours.gae_lambda)
        made["advantages"] = numerics.whiten(advantages, keep) if ours.whiten_advantages else advantages
        self.steps.rollout(rollout, proxy_B, final_B, kl, advantages, self.kl_coefficient)
        if ours.kl_target:
            self.kl_coefficient = numerics.steered(self.kl_coefficient, an_answer(kl["k1"], keep), target=ours.kl_target,
                                                   horizon=ours.kl_horizon, rows=len(rollout))

    def _logps(self, model, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies of the actions at the sampling temperature, 0 elsewhere; shape (B, A) each."""
        with self.accelerator.autocast():
            made = model(input_ids=batch.ids_BT, attention_mask=batch.real_BT.long(), labels=batch.labels_BT,
                         fused_lm_head=True)
        entropy = made.entropy if made.entropy is not None else torch.zeros_like(made.log_probs)
        return (torch.where(batch.keep_BA, batch.at_actions(x).float(), 0.0) for x in (made.log_probs, entropy))

    def _values(self, role: str, batch: MicroBatch) -> Tensor:
        """The critic's value before each action, by a forward pass of its own; shape (B, A)."""
        with self.accelerator.autocast():
            hidden_BTH = self.roles.hidden(role, batch.ids_BT, batch.real_BT)
        return torch.where(batch.keep_BA, self.roles.heads[CRITIC](batch.at_actions(hidden_BTH)), 0.0)

    def _values_seen(self, batch: MicroBatch) -> Tensor:
        """The same from the policy's own forward pass, where the critic is a head on its trunk."""
        hidden_BTH, self.hidden_BTH = self.hidden_BTH, None
        return torch.where(batch.keep_BA, self.roles.heads[CRITIC](batch.at_actions(hidden_BTH)), 0.0)


@contextmanager
def seeded(seed: list[int], device):
    """Draws random numbers from `seed` inside; the run's own generators are as before afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices) if device.type != "mps" else nullcontext():
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1)))
        yield


def _interleaved(by_process: list[list[Row]]) -> list[Row]:
    """Rows back in the order of the rollout: process r answered the rows r, r + world, ..."""
    world = len(by_process)
    return [by_process[i % world][i // world] for i in range(sum(map(len, by_process)))]


def _own(correction: Tensor | None, row: int, length: int) -> list[float] | None:
    if correction is None:
        return None
    values = correction[row].tolist()
    return values[:length] if len(values) > 1 else values * length  # one for the whole answer


def _corrections(rollout: Rollout) -> Tensor:
    made = torch.ones(rollout.keep.shape)
    for i, row in enumerate(rollout.rows):
        chosen = [c for c, action in zip(row.correction, row.actions, strict=True) if action]
        made[i, : len(chosen)] = torch.tensor(chosen)
    return made


