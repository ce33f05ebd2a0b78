"""TRL's GRPOTrainer by hand: what `ppo.py` compares with. It imports nothing of ours but the reward that all arms share.

    python benchmarks/plain_grpo.py SETTINGS.json

The settings name base, adapter (a PEFT folder to go on with, or none), prompts, reward, steps and sizes. Prints one JSON line:
seconds spent in generation with its scoring, and in updates; tokens generated.
"""

from __future__ import annotations

import json
import sys
import time


def timed(trainer_class):
    """GRPOTrainer that notes where its time goes: `_prepare_inputs` generates, scores and hands out, the rest is update."""

    class Timed(trainer_class):
        prepared = updated = 0.0

        def _prepare_inputs(self, batch):
            began = time.perf_counter()
            made = super()._prepare_inputs(batch)
            self.prepared += time.perf_counter() - began
            return made

        def training_step(self, *args, **kwargs):
            began, before = time.perf_counter(), self.prepared
            loss = super().training_step(*args, **kwargs)
            self.updated += time.perf_counter() - began - (self.prepared - before)
            return loss

    return Timed


def reward_of(text: str):
    """A rule by its name, or a reward run: the same functions that `align ppo` calls."""
    from alignment.evaluate.evaluation import load_reward
    from alignment.rewards import named

    scorer = load_reward(text, named(text).source, how={}, batch_size=64)

    def reward(prompts, completions, **columns):
        return scorer(prompts, completions)

    return reward


def main() -> None:
    """Trains and prints."""
    given = json.loads(open(sys.argv[1], encoding="utf-8").read())
    import torch
    from datasets import Dataset
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(given["threads"])
    base = AutoModelForCausalLM.from_pretrained(given["base"], dtype=torch.float32)
    if given.get("adapter"):
        model = PeftModel.from_pretrained(base, given["adapter"], is_trainable=True)
    else:
        model = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    tokenizer = AutoTokenizer.from_pretrained(given["tokenizer"])
    rows = [json.loads(line) for line in open(given["prompts"], encoding="utf-8")]
    arguments = GRPOConfig(
        output_dir=given["output"], per_device_train_batch_size=given["batch"], num_iterations=given["epochs"],
        steps_per_generation=given["rollout"] // given["batch"], num_generations=given["group"], beta=given["beta"],
        max_completion_length=given["new_tokens"], max_steps=given["steps"], learning_rate=given["rate"], seed=given["seed"],
        lr_scheduler_type="linear", temperature=1.0, disable_dropout=True, bf16=False, gradient_checkpointing=False,
        use_cpu=True, logging_steps=1, save_strategy="no", report_to=[], dataloader_pin_memory=False,
    )
    prompts = Dataset.from_list([{"prompt": row["prompt"]} for row in rows])
    trainer = timed(GRPOTrainer)(model=model, reward_funcs=reward_of(given["reward"]), args=arguments, train_dataset=prompts,
                                 processing_class=tokenizer)
    trainer.generation_config.eos_token_id = given["stops"]
    trainer.eos_token_ids = given["stops"]
    trainer.train()
    model.save_pretrained(given["output"], selected_adapters=["default"])
    tokenizer.save_pretrained(given["output"])
    lengths = [row["completions/mean_length"] for row in trainer.state.log_history if "completions/mean_length" in row]
    generated = sum(lengths) * given["rollout"]
    print(json.dumps({"prepare": trainer.prepared, "update": trainer.updated, "generated": generated, "steps": given["steps"],
                      "rewards": [row["reward"] for row in trainer.state.log_history if "reward" in row]}))


if __name__ == "__main__":
    main()
