"""What each role of a run takes, counted before anything is loaded: parameters, bytes held, bytes at the peak of its work."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch

from alignment.adapters import weights as adapter_weights
from alignment.hardware.memory import WIDTHS, ModelShape, drawing_bytes, scoring_bytes, size_text, weight_bytes
from alignment.hardware.plan import Plan, best_device, choose_precision, weights_dtype
from alignment.models import adapter_folder, load_config
from alignment.ppo.casting import critic_start, shared_names
from alignment.ppo.rewards import BATCH
from alignment.ppo.roles import CRITIC, POLICY, REFERENCE, REWARD
from alignment.rewards import RewardSource
from alignment.session import Session
from alignment.sources import base_of
from alignment.tasks import SCORE

HEADER = ("", "parameters", "held", "for training", "at work")
TWO_PASSES = 1.65  # on a CPU: what the policy's pass leaves on the heap serves the critic's in part only (measured, 51 M)
MOMENTS = 12  # bytes a trained parameter: its gradient and Adam's two moments, float32


@dataclass(frozen=True)
class Share:
    """One role. held: bytes of its weights. training: of gradients and moments. work: while it works, at the peak."""

    role: str
    parameters: int
    held: int
    training: int = 0
    work: int = 0


@dataclass(frozen=True)
class Account:
    """The roles of a run, and the model's shape with all that they take. own_critic: not a head on the policy's trunk."""

    shares: list[Share]
    shape: ModelShape
    own_critic: bool
    began: str  # what the critic begins from
    length: int

    def rows(self, plan: Plan) -> list[tuple[str, ...]]:
        """What is printed: a line a role, and the peak, when all are held and one works."""
        names = {CRITIC: f"{CRITIC}, from the {self.began}"}
        lines = [(names.get(s.role, s.role), f"{s.parameters:,}",
                  *(size_text(x) if x else "-" for x in (s.held, s.training, s.work))) for s in self.settled(plan)]
        beside = f", beside {size_text(plan.held)} held already" if plan.held else ""
        return [*lines, ("peak", "", "", "", f"{size_text(plan.total)}{beside}")]

    def settled(self, plan: Plan) -> list[Share]:
        """The shares with what an update and a pass over a micro-batch take, which the plan decides."""
        activations, width = plan.estimate["activations"], WIDTHS[plan.precision]
        passes = {
            POLICY: activations + plan.estimate["logits"],
            CRITIC: activations if self.own_critic else 0,
            REFERENCE: scoring_bytes(self.shape, rows=plan.micro_batch, length=self.length, width=width, logits=True),
        }
        return [replace(share, work=max(share.work, passes.get(share.role, 0))) for share in self.shares]

    def as_dict(self, plan: Plan) -> dict:
        """For the manifest and `--json`, in bytes."""
        return {share.role: {key: value for key, value in asdict(share).items() if key != "role"}
                for share in self.settled(plan)}


def account(session: Session, shape: ModelShape, rewards: list[RewardSource], gold: RewardSource | None, *,
            length: int) -> Account:
    """The roles of this run. shape: of the policy alone. length: tokens of the longest prompt with its answer."""
    settings, dtypes = session.config.ppo, _dtypes(session)
    drawn = drawing_bytes(shape, rows=min(settings.generation_batch, settings.rollout_size), length=length,
                          width=WIDTHS[dtypes.precision], folded=_folds(session, dtypes))
    judges = [reward for reward in [*rewards, *([gold] if gold else [])] if reward.source is not None]
    names = shared_names(session, rewards, gold)
    own, began = settings.critic == "adapter", critic_start(settings, names)
    adapters = {names[r.text]: _adapter(r, names[r.text], shape, dtypes, length) for r in judges if r.text in names}
    if session.full:
        shares = _whole_models(shape, drawn, dtypes, own=own)
    else:
        learner = adapters[REWARD].parameters - shape.hidden if began == "reward" else shape.trained
        shares = [
            Share("base, once", shape.parameters, int(shape.parameters * weight_bytes(shape, dtypes.weights))),
            Share(POLICY, shape.trained, 4 * shape.trained, MOMENTS * shape.trained, drawn),
            Share(REFERENCE, shape.trained, 4 * shape.trained),
            _critic(learner if own else 0, shape.hidden),
        ]
    shares += [*adapters.values(), *(_beside(r, session, dtypes, length) for r in judges if r.text not in names)]
    shape = _with_all(shape, shares)
    if own and best_device(session.config.hardware.device).type == "cpu":
        shape = replace(shape, kept=TWO_PASSES * shape.in_all_layers)
    return Account(shares, shape, own, began, length)


@dataclass(frozen=True)
class Dtypes:
    """What is computed in and what the base's weights are in."""

    precision: str
    weights: str


def _dtypes(session: Session) -> Dtypes:
    config = session.config
    precision, _ = choose_precision(config.hardware.precision, best_device(config.hardware.device))
    return Dtypes(precision, weights_dtype(config.model.dtype, precision, full=session.full))


def _with_all(shape: ModelShape, shares: list[Share]) -> ModelShape:
    """The shape for the plan: what is trained in all roles, what they hold beside the first, their largest pass."""
    trained = sum(share.training for share in shares) // MOMENTS
    return replace(shape, trained=trained, beside=sum(share.held for share in shares[1:]), ungraded=max(s.work for s in shares))


def _critic(adapter: int, hidden: int) -> Share:
    """An adapter of its own (or none: then it reads the policy's trunk) and a head of weights and a bias."""
    parameters = adapter + hidden + 1
    return Share(CRITIC, parameters, 4 * parameters, MOMENTS * parameters)


def _whole_models(shape: ModelShape, drawn: int, dtypes: Dtypes, *, own: bool) -> list[Share]:
    """Full tuning: policy, reference and, where it has weights of its own, the critic are models beside each other."""
    held, training = WIDTHS[dtypes.weights] * shape.parameters, MOMENTS * shape.trained
    head = _critic(0, shape.hidden)
    critic = Share(CRITIC, shape.parameters + head.parameters, held + head.held, training + head.training) if own else head
    return [Share(POLICY, shape.parameters, held, training, drawn), Share(REFERENCE, shape.parameters, held), critic]


def _adapter(reward: RewardSource, role: str, shape: ModelShape, dtypes: Dtypes, length: int) -> Share:
    """A reward run's adapter on the policy's base, with its head."""
    size = _adapter_size(reward)
    work = scoring_bytes(shape, rows=BATCH, length=length, width=WIDTHS[dtypes.precision], logits=False)
    return Share(role, size, 4 * size, work=work)


def _adapter_size(reward: RewardSource) -> int:
    return sum(tensor.numel() for tensor in adapter_weights.load_adapter_file(adapter_folder(reward.source)).values())


def _beside(reward: RewardSource, session: Session, dtypes: Dtypes, length: int) -> Share:
    """A reward model on a base of its own, counted on the meta device."""
    trusted = session.config.model.trust_remote_code
    config = load_config(base_of(reward.source), trust_remote_code=trusted)
    config.update(SCORE.settings())
    with torch.device("meta"):
        model = SCORE.auto_class().from_config(config, trust_remote_code=trusted)
    size = sum(p.numel() for p in model.parameters()) + (_adapter_size(reward) if reward.source.is_adapter else 0)
    text, width = config.get_text_config(), WIDTHS[dtypes.weights]
    shape = ModelShape(size, 0, text.num_hidden_layers, text.hidden_size, text.vocab_size)
    work = scoring_bytes(shape, rows=BATCH, length=length, width=width, logits=False)
    return Share(reward.text, size, width * size, work=work)


def _folds(session: Session, dtypes: Dtypes) -> bool:
    """Whether the adapter may be folded in while answers are drawn, which keeps the tuned matrices twice."""
    exact = session.config.model.quantisation == "none" and dtypes.weights == "float32"
    return exact and not session.full and session.config.ppo.fast_rollout != "off"
