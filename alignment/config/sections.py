"""What the sections hold that all stages share: one section a class. Every key says in one line what it does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from alignment.config.defaults import BY_STAGE, REPLAY_SHARE
from alignment.config.values import AsNumber, AsWhole, Section, Several, Switch

Names = Annotated[list[str], Several]


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
    dropout: Annotated[float, Field(ge=0.0, lt=1.0), AsNumber] | None = Field(
        None, description="the model's own dropout while it is tuned; null: as its config says"
    )
    trust_remote_code: Switch = Field(False, description="run Python code that comes with the model: never by default")
    add_tokens: Names = Field(
        [], description="special tokens to add (sft): each is a new embedding row; vLLM takes no adapter with such rows"
    )


class Rows(Section):
    """Which rows are read and checked."""

    train: Annotated[list[str], Several] = Field(
        [], description="training file, files or hub data set id; the same as --data"
    )
    validation: str | None = Field(None, description="file of held-out rows, instead of a split of the training rows")
    validation_share: Annotated[float, Field(ge=0.0, le=0.5), AsNumber] = Field(
        0.05, description="share of the prompts held out where no validation file is given; 0 for none"
    )
    split_seed: Annotated[int, Field(ge=0, lt=2**32), AsWhole] | None = Field(
        None, description="seed of the split alone; null: training.seed"
    )
    format: str = Field("auto", description="format of the rows; auto detects it and says which")
    max_length: Annotated[int, Field(ge=8), AsWhole] = Field(
        1024, description="longest row in tokens; longer chats and texts are cut and counted, longer pairs refused"
    )
    max_rejected: Annotated[float, Field(ge=0.0, le=1.0), AsNumber] = Field(
        0.0, description="share of bad rows that may be dropped; at 0 any bad row stops the stage"
    )


class Data(Rows):
    """Which rows are read, checked and rendered."""

    system: str | None = Field(None, description="system prompt put before rows that have none")
    tools: str | None = Field(None, description="JSON file of tool definitions given to the chat template")
    thinking: Literal["template", "off", "keep"] = Field(
        "template", description="reasoning in assistant turns: as the template does, none, or kept in every turn"
    )


class Replay(Section):
    """General rows among the stage's own, against forgetting."""

    source: str = Field(description="file or hub data set of demonstrations or texts")
    share: Annotated[float, Field(gt=0.0, lt=1.0), AsNumber] = Field(
        REPLAY_SHARE.value, description="share of each epoch's rows that comes from it"
    )


class SftData(Data):
    """As in every stage, which assistant turns carry loss, and general rows to replay."""

    train_on: Literal["all", "last"] = Field(
        "all", description="assistant turns that carry loss: all of them or the last"
    )
    max_target_length: Annotated[int, Field(ge=1), AsWhole] = Field(
        512, description="longest answer of an encoder-decoder model in tokens (max_length is its input); longer ones are cut"
    )
    prefix: str | None = Field(
        None, description="text in front of all that an encoder reads, such as 'summarize: ' (encoder-decoder models)"
    )
    replay: Replay | None = Field(
        None, description="general rows mixed in against forgetting: {source: FILE|HUB, share: 0.05}",
        examples=[{"source": "general.jsonl", "share": 0.1}],
    )


class Adapter(Section):
    """What is trained on top of the base, or of its own weights. Each kind has a few keys of its own."""

    kind: Literal[
        "lora", "rslora", "dora", "qlora", "ia3", "bottleneck", "prefix", "prompt", "full", "head"
    ] | Annotated[str, Field(pattern=r"^peft:\w+$", title="peft:NAME")] = Field(
        "lora", description="kind of adapter (peft:NAME: another one of PEFT's); full: all weights; head: the head alone"
    )
    rank: Annotated[int, Field(ge=1), AsWhole] = Field(16, description="rank of the adapter's matrices (LoRA's kinds)")
    alpha: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        32.0, description="scale: alpha / rank (rsLoRA: alpha / square root of rank)"
    )
    dropout: Annotated[float, Field(ge=0.0, lt=1.0), AsNumber] = Field(
        0.05, description="dropout before the adapter's matrices"
    )
    targets: str | list[str] = Field(
        "all-linear", description="layers with an adapter: all-linear, names, or a pattern; other kinds have their own"
    )
    virtual_tokens: Annotated[int, Field(ge=1), AsWhole] = Field(20, description="trained positions (prefix, prompt)")
    bottleneck_size: Annotated[int, Field(ge=1), AsWhole] = Field(64, description="width of a bottleneck")
    placement: Literal["pfeiffer", "houlsby"] = Field(
        "pfeiffer", description="bottlenecks after the feed-forward layer, or after attention too"
    )
    activation: Literal["relu", "gelu", "silu", "tanh"] = Field("relu", description="nonlinearity of a bottleneck")
    trainable: Names = Field([], description="kind full or head: names or patterns of the weights to train; the rest is frozen")
    options: dict[str, Any] = Field({}, description="the kind's other arguments, by PEFT's own names, checked")
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


class WatchedTraining(Training):
    """With held-out rows that decide when to stop and which weights are kept."""

    early_stopping: Annotated[int, Field(ge=1), AsWhole] | None = Field(
        None, description="stop after so many evaluations without a better held-out figure; null: train to the end"
    )
    keep: Literal["last", "best"] = Field("last", description="which weights become the result; best by training.watch")
    watch: Literal["loss", "accuracy"] = Field("loss", description="held-out figure that says which weights are the best")


class SftTraining(WatchedTraining):
    """Supervised tuning: several passes."""

    epochs: Annotated[float, Field(gt=0.0), AsNumber] = Field(
        BY_STAGE["sft", "training.epochs"].value, description="passes over the training rows"
    )
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0), AsNumber] = Field(
        0.0, description="share of the target given to all tokens alike, in training only; 0.1 is usual"
    )
    neftune_alpha: Annotated[float, Field(gt=0.0), AsNumber] | None = Field(
        None, description="noise on the input embeddings while training (NEFTune; 5 is usual); null: none"
    )


class PairTraining(WatchedTraining):
    """Reward and DPO: one pass in larger batches."""

    batch_size: Annotated[int, Field(ge=1), AsWhole] = Field(
        BY_STAGE["reward", "training.batch_size"].value, description="pairs an optimizer step, over all devices"
    )


class RewardTraining(PairTraining):
    """As for all pairs; the best weights are kept where rows are held out."""

    keep: Literal["last", "best"] = Field(
        BY_STAGE["reward", "training.keep"].value, description="which weights become the result; best by training.watch"
    )


class PpoTraining(Training):
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
    max_hours: Annotated[float, Field(gt=0.0), AsNumber] | None = Field(
        None, description="a run whose first steps say that it takes longer is refused"
    )
    max_gib: Annotated[float, Field(gt=0.0), AsNumber] | None = Field(
        None, description="a run that needs more memory a process (on a GPU: of the GPU) is refused"
    )
