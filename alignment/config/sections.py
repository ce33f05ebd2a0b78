"""The schema: one section a class, one stage a class. Every key says in one line what it does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from alignment.config.defaults import BY_STAGE
from alignment.config.values import AsNumber, AsWhole, Section, Several, Switch

Names = Annotated[list[str], Several]
LossType = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
]


class Model(Section):
    """Which model is tuned, and how it is held in memory."""

    path: str = Field("", description="hub id, model folder or run; the same as --model")
    revision: str | None = Field(None, description="hub revision: branch, tag or commit")
    base: str | None = Field(None, description="where the local base model lies now, if it was moved")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="type of the loaded weights; auto follows hardware.precision"
    )
    quantisation: Literal["none", "4bit", "8bit"] = Field(
        "none", description="load the base in 4 or 8 bits (bitsandbytes; adapters only)"
    )
    attention: str = Field("auto", description="attention code by transformers' names (sdpa, eager, ...)")
    trust_remote_code: Switch = Field(False, description="run Python code that comes with the model: never by default")
    add_tokens: Names = Field(
        [], description="special tokens to add (sft): each is a new embedding row; vLLM takes no adapter with such rows"
    )


class Data(Section):
    """Which rows are read, checked and rendered."""

    train: Annotated[list[str], Several] = Field(
        [], description="training file, files or hub data set id; the same as --data"
    )
    validation: str | None = Field(None, description="file of held-out rows, instead of a split of the training rows")
    validation_share: Annotated[float, Field(ge=0.0, le=0.5), AsNumber] = Field(
        0.05, description="share of the prompts held out where no validation file is given; 0 for none"
    )
    format: str = Field("auto", description="format of the rows; auto detects it and says which")
    max_length: Annotated[int, Field(ge=8), AsWhole] = Field(
        1024, description="longest row in tokens; longer chats and texts are cut and counted, longer pairs refused"
    )
    max_rejected: Annotated[float, Field(ge=0.0, le=1.0), AsNumber] = Field(
        0.0, description="share of bad rows that may be dropped; at 0 any bad row stops the stage"
    )
    system: str | None = Field(None, description="system prompt put before rows that have none")
    tools: str | None = Field(None, description="JSON file of tool definitions given to the chat template")
    thinking: Literal["template", "off", "keep"] = Field(
        "template", description="reasoning in assistant turns: as the template does, none, or kept in every turn"
    )


class SftData(Data):
    """As in every stage, and which assistant turns carry loss."""

    train_on: Literal["all", "last"] = Field(
        "all", description="assistant turns that carry loss: all of them or the last"
    )


class Adapter(Section):
    """What is trained on top of the base."""

    kind: Literal["lora", "rslora", "dora", "full"] = Field(
        "lora", description="kind of adapter, or full for all weights"
    )
    rank: Annotated[int, Field(ge=1), AsWhole] = Field(16, description="rank of the adapter's matrices")
    alpha: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        32.0, description="scale: alpha / rank (rsLoRA: alpha / square root of rank)"
    )
    dropout: Annotated[float, Field(ge=0.0, lt=1.0), AsNumber] = Field(
        0.05, description="dropout before the adapter's matrices"
    )
    targets: str | list[str] = Field(
        "all-linear", description="layers with an adapter: all-linear, names, or a pattern"
    )
    on_parent: Literal["continue", "merge"] = Field(
        "continue", description="parent run with an adapter: tune a copy of it, or merge it and start a fresh one"
    )


class PairAdapter(Adapter):
    """As in every stage, without dropout: TRL turns it off in these, as the reference must see what the policy sees."""

    dropout: Annotated[float, Field(ge=0.0, lt=1.0), AsNumber] = Field(
        0.0, description="dropout before the adapter's matrices; needs trainer.disable_dropout: false"
    )


class Training(Section):
    """How long, how fast and in what steps. Batch size and epochs differ by stage, see the classes below."""

    learning_rate: Annotated[float, Field(gt=0.0), AsNumber] | Literal["auto"] = Field(
        "auto", description="peak learning rate; auto by stage and adapter kind"
    )
    epochs: Annotated[float, Field(gt=0.0), AsNumber] = Field(1.0, description="passes over the training rows")
    max_steps: Annotated[int, Field(ge=1), AsWhole] | None = Field(
        None, description="stop after so many optimizer steps instead"
    )
    batch_size: Annotated[int, Field(ge=1), AsWhole] = Field(
        16, description="rows (or pairs) an optimizer step, over all devices"
    )
    warmup: Annotated[float, Field(ge=0.0), AsNumber] = Field(
        0.03, description="below 1 a share of the steps, otherwise a number of steps"
    )
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate after the warm-up")
    weight_decay: Annotated[float, Field(ge=0.0), AsNumber] = Field(0.0, description="AdamW's weight decay")
    max_grad_norm: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        1.0, description="gradients are clipped to this norm"
    )
    save_every: Annotated[int, Field(ge=1), AsWhole] = Field(100, description="optimizer steps between checkpoints")
    keep_checkpoints: Annotated[int, Field(ge=0), AsWhole] = Field(
        2, description="complete checkpoints kept; 0: one while training, none once the run is completed"
    )
    eval_every: Annotated[int, Field(ge=1), AsWhole] | None = Field(
        None, description="optimizer steps between evaluations; null: at each epoch's end"
    )
    seed: Annotated[int, Field(ge=0, lt=2**32), AsWhole] = Field(
        42, description="seed of split, order, adapter and dropout"
    )
    group_by_length: Switch = Field(True, description="batches of rows of like length: less padding")


class SftTraining(Training):
    """Supervised tuning: several passes."""

    epochs: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        BY_STAGE["sft", "training.epochs"].value, description="passes over the training rows"
    )


class PairTraining(Training):
    """Reward and DPO: one pass in larger batches."""

    batch_size: Annotated[int, Field(ge=1), AsWhole] = Field(
        BY_STAGE["reward", "training.batch_size"].value, description="pairs an optimizer step, over all devices"
    )


class Hardware(Section):
    """What is decided by itself, printed and recorded unless it is said here."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where to train")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="type of the arithmetic; bfloat16 only where the processor has it natively"
    )
    checkpointing: Literal["auto", "on", "off"] = Field(
        "auto", description="gradient checkpointing: recompute activations to save memory"
    )
    threads: Annotated[int, Field(ge=1), AsWhole] | Literal["auto"] = Field("auto", description="processor threads")
    micro_batch: Annotated[int, Field(ge=1), AsWhole] | Literal["auto"] = Field(
        "auto", description="rows in memory at once; the effective batch stays training.batch_size"
    )
    deterministic: Switch = Field(False, description="only deterministic kernels: resumes to the bit on a GPU, slower")


class Reward(Section):
    """The reward stage's own settings."""

    center_coefficient: Annotated[float, Field(ge=0.0), AsNumber] = Field(
        0.0, description="pulls the mean score of a pair to zero (Eisenstein et al. 2023; 0.01 is usual)"
    )


class Dpo(Section):
    """The DPO stage's own settings."""

    beta: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        0.1, description="distance from the reference: higher stays closer"
    )
    loss_type: Annotated[list[LossType], Several, Field(min_length=1)] = Field(
        ["sigmoid"], description="TRL's loss or losses (sigmoid is the DPO paper's)"
    )
    loss_weights: Annotated[list[Annotated[float, AsNumber]], Several] | None = Field(
        None, description="weight of each loss, if several"
    )
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5), AsNumber] = Field(
        0.0, description="share of labels taken to be flipped (robust and exo_pair losses)"
    )
    precompute_reference: Switch = Field(False, description="score the reference once before training, then forget it")


class PpoTraining(PairTraining):
    """One pass over the prompts; a row is an answer."""

    max_grad_norm: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        1.0, description="gradients of policy and critic are each clipped to this norm"
    )
    batch_size: Annotated[int, Field(ge=1), AsWhole] = Field(
        BY_STAGE["ppo", "training.batch_size"].value, description="answers an optimizer step (a minibatch), over all devices"
    )
    eval_every: Annotated[int, Field(ge=1), AsWhole] | None = Field(
        None, description="optimizer steps between evaluations; null: eight times a run"
    )
    warmup: Annotated[float, Field(ge=0.0), AsNumber] = Field(
        0.0, description="below 1 a share of the steps, otherwise a number of steps"
    )
    schedule: Literal["cosine", "linear", "constant"] = Field("linear", description="learning rate after the warm-up")


class Ppo(Section):
    """The PPO stage's own settings."""

    reward: Names = Field(
        [], description="what is maximised: reward runs, folders, hub ids or module:function; the same as --reward"
    )
    weights: Annotated[list[Annotated[float, AsNumber]], Several] | None = Field(
        None, description="weight of each reward, if several"
    )
    combine: Literal["sum", "mean", "minimum", "lower"] = Field(
        "sum", description="several rewards into one; lower: mean minus `deviations` standard deviations over them"
    )
    deviations: Annotated[float, Field(ge=0.0), AsNumber] = Field(
        1.0, description="standard deviations taken off by combine: lower"
    )
    gold: str | None = Field(
        None, description="a second reward, measured on held-out prompts and never trained on; the same as --gold"
    )
    normalise: Literal["none", "running", "calibration"] = Field(
        "calibration", description="scale of the score: as it is, running statistics, or the reward run's held-out scores"
    )
    reward_clip: Annotated[float, Field(gt=0.0), AsNumber] | None = Field(
        None, description="scores are clipped to plus and minus this, after normalising"
    )
    whiten_rewards: Switch = Field(False, description="divide the shaped rewards by their deviation in each rollout")
    missing_stop: Literal["none", "subtract", "replace"] = Field(
        "subtract", description="score of an answer that ran into max_new_tokens"
    )
    missing_stop_value: Annotated[float, AsNumber] = Field(
        1.0, description="what is subtracted from such a score, or put in its place"
    )
    kl_coefficient: Annotated[float, Field(ge=0.0), AsNumber] = Field(
        BY_STAGE["ppo", "ppo.kl_coefficient"].value, description="weight of the KL from the reference"
    )
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k1", description="estimator of the KL (Schulman 2020)")
    kl_in: Literal["reward", "loss"] = Field("reward", description="where the KL acts: in each action's reward, or in the loss")
    kl_target: Annotated[float, Field(gt=0.0), AsNumber] | None = Field(
        None, description="steer the coefficient so that an answer's KL comes to this, in nats"
    )
    kl_horizon: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        10000.0, description="answers over which the steering acts (Ziegler et al. 2019)"
    )
    kl_stop: Annotated[float, Field(gt=0.0), AsNumber] | None = Field(
        None, description="end a rollout's updates once the policy's KL from its beginning passes this, in nats a token"
    )
    kl_budget: Annotated[float, Field(gt=0.0), AsNumber] | None = Field(
        None, description="without gold, the kept checkpoint has at most this KL from the reference, in nats an answer"
    )
    keep: Literal["best", "last"] = Field("best", description="which checkpoint becomes the result")
    rollout_size: Annotated[int, Field(ge=1), AsWhole] = Field(
        BY_STAGE["ppo", "ppo.rollout_size"].value, description="answers a rollout, a multiple of training.batch_size"
    )
    samples: Annotated[int, Field(ge=1), AsWhole] = Field(1, description="answers a prompt in a rollout")
    update_epochs: Annotated[int, Field(ge=1), AsWhole] = Field(
        BY_STAGE["ppo", "ppo.update_epochs"].value, description="passes over a rollout"
    )
    max_new_tokens: Annotated[int, Field(ge=1), AsWhole] = Field(128, description="longest answer in tokens")
    temperature: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        1.0, description="sampling temperature; log-probabilities are taken at the same"
    )
    generation_batch: Annotated[int, Field(ge=1), AsWhole] = Field(64, description="answers sampled at once in one process")
    gamma: Annotated[float, Field(gt=0.0, le=1.0), AsNumber] = Field(1.0, description="discount a token")
    gae_lambda: Annotated[float, Field(ge=0.0, le=1.0), AsNumber] = Field(
        BY_STAGE["ppo", "ppo.gae_lambda"].value, description="lambda of the generalised advantages"
    )
    whiten_advantages: Switch = Field(True, description="advantages of a rollout with mean 0 and deviation 1")
    clip: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        BY_STAGE["ppo", "ppo.clip"].value, description="the ratio's clipping range"
    )
    value_clip: Annotated[float, Field(gt=0.0), AsNumber] | None = Field(
        BY_STAGE["ppo", "ppo.value_clip"].value, description="range in which the value may move a rollout; null: any"
    )
    value_coefficient: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        1.0, description="weight of the value loss; 0.1 is usual with critic: head"
    )
    entropy_coefficient: Annotated[float, Field(ge=0.0), AsNumber] = Field(0.0, description="weight of the entropy bonus")
    critic: Literal["adapter", "head"] = Field(
        "adapter", description="the critic has an adapter of its own, or only a head on the policy's trunk"
    )
    critic_start: Literal["auto", "reward", "policy"] = Field(
        "auto", description="where the critic begins: the reward run if it shares the base, or the policy with a zero head"
    )
    critic_learning_rate: Annotated[float, Field(gt=0.0), AsNumber] | None = Field(
        None, description="the critic's peak learning rate; null: training.learning_rate"
    )
    critic_warmup: Annotated[int, Field(ge=0), AsWhole] = Field(
        0, description="rollouts in which the critic alone is trained and the policy stands still"
    )
    eval_rows: Annotated[int, Field(ge=1), AsWhole] = Field(128, description="held-out prompts answered at each evaluation")


class StageConfig(Section):
    """What all stages share. Made by `alignment.config.load`, which also knows where each value came from."""

    model: Model = Field(default_factory=Model, description="which model is tuned")
    data: Data = Field(default_factory=Data, description="which rows are read")
    adapter: Adapter = Field(default_factory=Adapter, description="what is trained on top of the base")
    training: Training = Field(default_factory=Training, description="how long, how fast, in what steps")
    trainer: dict[str, Any] = Field({}, description="other arguments by TRL's own names, checked")
    hardware: Hardware = Field(default_factory=Hardware, description="auto unless said")
    report_to: Annotated[list[Literal["trackio", "tensorboard", "wandb"]], Several] = Field(
        [], description="trackers besides metrics.jsonl"
    )
    _stage: str = PrivateAttr("")
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def stage(self) -> str:
        """`sft`, `reward`, `dpo` or `ppo`."""
        return self._stage

    def given(self, key: str) -> bool:
        """Whether somebody wrote this dotted key; a default or an inherited value was not given."""
        return key in self._origins

    def origin(self, key: str) -> str:
        """Where a value was written (`file.yaml:3`, `--lr`, `--set training.seed`); empty for defaults."""
        return self._origins.get(key, "")

    def resolved(self) -> dict[str, Any]:
        """All keys and values as plain JSON-able types: what the manifest and config.yaml hold."""
        return self.model_dump(mode="json")


class SftConfig(StageConfig):
    """`align sft`."""

    data: SftData = Field(default_factory=SftData, description="which rows are read")
    training: SftTraining = Field(default_factory=SftTraining, description="how long, how fast, in what steps")


class RewardConfig(StageConfig):
    """`align reward`."""

    adapter: PairAdapter = Field(default_factory=PairAdapter, description="what is trained on top of the base")
    training: PairTraining = Field(default_factory=PairTraining, description="how long, how fast, in what steps")
    reward: Reward = Field(default_factory=Reward, description="the reward stage's own")


class DpoConfig(StageConfig):
    """`align dpo`."""

    adapter: PairAdapter = Field(default_factory=PairAdapter, description="what is trained on top of the base")
    training: PairTraining = Field(default_factory=PairTraining, description="how long, how fast, in what steps")
    dpo: Dpo = Field(default_factory=Dpo, description="the DPO stage's own")


class PpoConfig(StageConfig):
    """`align ppo`."""

    adapter: PairAdapter = Field(default_factory=PairAdapter, description="what is trained on top of the base")
    training: PpoTraining = Field(default_factory=PpoTraining, description="how long, how fast, in what steps")
    ppo: Ppo = Field(default_factory=Ppo, description="the PPO stage's own")


CONFIGS: dict[str, type[StageConfig]] = {"sft": SftConfig, "reward": RewardConfig, "dpo": DpoConfig, "ppo": PpoConfig}
