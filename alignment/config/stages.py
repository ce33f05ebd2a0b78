"""One stage a class, and the section that is a stage's own. Every key says in one line what it does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from alignment.config.defaults import BY_STAGE
from alignment.config.sections import (
    Adapter,
    Data,
    Hardware,
    Model,
    Names,
    PairAdapter,
    PairTraining,
    PpoTraining,
    RewardTraining,
    Rows,
    SftData,
    SftTraining,
    Training,
)
from alignment.config.values import AsNumber, AsTexts, AsWhole, Section, Several, Switch

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


class ClassifyData(Rows):
    """Which rows are read; the held-out ones stop the training, calibrate and measure."""

    validation_share: Annotated[float, Field(ge=0.0, le=0.5), AsNumber] = Field(
        0.1, description="share of the texts of each class held out where no validation file is given; 0 for none"
    )
    max_length: Annotated[int, Field(ge=8), AsWhole] = Field(
        BY_STAGE["classify", "data.max_length"].value, description="longest text in tokens; longer ones are cut and counted"
    )


class ClassifyTraining(Training):
    """A few passes; the weights that are best on held-out rows are kept."""

    epochs: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        BY_STAGE["classify", "training.epochs"].value, description="passes over the training rows"
    )
    batch_size: Annotated[int, Field(ge=1), AsWhole] = Field(
        BY_STAGE["classify", "training.batch_size"].value, description="rows an optimizer step, over all devices"
    )
    keep: Literal["last", "best"] = Field(
        "best", description="which weights become the result: the last, or the best by classify.metric"
    )
    early_stopping: Annotated[int, Field(ge=1), AsWhole] | None = Field(
        None, description="evaluations without a better one after which training stops; null: never"
    )
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0), AsNumber] = Field(
        0.0, description="share of the target given to all classes alike, in training only; 0.1 is usual"
    )


class Classify(Section):
    """The classify stage's own settings."""

    task: Literal["auto", "single", "multi", "regression", "token"] = Field(
        "auto", description="one class, several, a number, or a class for each word; the same as --task"
    )
    labels: Annotated[list[str], Several, AsTexts] = Field(
        [], description="the classes in their order; by default those of the rows. Rows may also say a class by its place"
    )
    text: Names = Field([], description="column of the text, or two columns of a pair; by default told by its name")
    label: str | None = Field(None, description="column of the label; by default told by its name")
    separator: str | None = Field(None, min_length=1, description="what parts several classes in one cell")
    group: str | None = Field(None, description="column by whose values the rates are reported, each with an interval")
    class_weights: Literal["none", "balanced"] | list[Annotated[float, Field(gt=0.0), AsNumber]] = Field(
        "none", description="weight of each class in the loss; balanced: rare classes count as much as common ones"
    )
    metric: Literal[
        "auto", "loss", "accuracy", "macro_f1", "weighted_f1", "micro_f1", "precision", "recall", "auroc", "matthews",
        "entity_f1", "entity_macro_f1", "pearson", "spearman", "mae", "rmse", "r2",
    ] = Field("auto", description="held-out figure by which weights are kept and training stops; auto: the task's main one")


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
    tools: Names = Field(
        [], description="tools that the policy may call while it answers, as module:function; each runs for real"
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
    fast_rollout: Literal["auto", "on", "off"] = Field(
        "auto", description="fold the adapter into the base while answers are drawn, and compute no finished answer further"
    )
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
        """`sft`, `reward`, `dpo`, `ppo` or `classify`."""
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

    def usual(self) -> frozenset[str]:
        """Dotted keys of the sections that nobody wrote and that have the schema's default."""
        return frozenset(
            f"{section}.{key}"
            for section, content in self
            if isinstance(content, Section)
            for key, known in type(content).model_fields.items()
            if not self.given(f"{section}.{key}")
            and getattr(content, key) == known.get_default(call_default_factory=True)
        )


class SftConfig(StageConfig):
    """`align sft`."""

    data: SftData = Field(default_factory=SftData, description="which rows are read")
    training: SftTraining = Field(default_factory=SftTraining, description="how long, how fast, in what steps")


class RewardConfig(StageConfig):
    """`align reward`."""

    adapter: PairAdapter = Field(default_factory=PairAdapter, description="what is trained on top of the base")
    training: RewardTraining = Field(default_factory=RewardTraining, description="how long, how fast, in what steps")
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


class ClassifyConfig(StageConfig):
    """`align classify`."""

    data: ClassifyData = Field(default_factory=ClassifyData, description="which rows are read")
    training: ClassifyTraining = Field(default_factory=ClassifyTraining, description="how long, how fast, in what steps")
    classify: Classify = Field(default_factory=Classify, description="the classify stage's own")


CONFIGS: dict[str, type[StageConfig]] = {
    "sft": SftConfig,
    "reward": RewardConfig,
    "dpo": DpoConfig,
    "ppo": PpoConfig,
    "classify": ClassifyConfig,
}
