"""Who is who: policy, reference, critic and reward model, as adapters on one frozen base or as whole models.

    default   the policy; trained            ref      its frozen copy, the reference
    critic    trained, with a value head     reward   a reward run on the same base, frozen, with its score head

TRL and PEFT fix the first two names. PEFT's `set_adapter` makes the active adapter trainable and freezes the others, so that
gradients would be lost at each change of role: `act` sets them again after each switch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import PeftModel
from torch import Tensor, nn

from data_recipes.errors import Refused

POLICY, REFERENCE, CRITIC, REWARD = "default", "ref", "critic", "reward"


class ValueHead(nn.Module):
    """A number for each hidden state: w h + b in float32, whatever the trunk's dtype. Not part of any PeftModel: a vLLM
    engine would be sent it as an unknown weight."""

    def __init__(self, weight_H: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight_H.detach().reshape(-1).float().clone())
        self.bias = nn.Parameter(torch.tensor([float(bias)], device=weight_H.device))

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., H) to (...)."""
        with torch.autocast(hidden.device.type, enabled=False):
            return hidden.float() @ self.weight + self.bias

    @torch.no_grad()
    def rescale(self, mean: float, std: float) -> None:
        """From scores to normalised ones: the value v becomes (v - mean) / std."""
        self.weight.div_(std)
        self.bias.sub_(mean).div_(std)


class Roles:
    """What both forms share. `policy` is the module that the trainer holds; `heads` has `critic`, and `reward` if here."""

    def __init__(self, policy: nn.Module, heads: dict[str, ValueHead], *, own_critic: bool) -> None:
        self.policy, self.heads, self.own_critic = policy, nn.ModuleDict(heads), own_critic
        self.heads.to(next(policy.parameters()).device)
        for name, parameter in self.heads.named_parameters():
            parameter.requires_grad_(name.startswith(CRITIC))

    def act(self, role: str) -> None:
        """Makes `role` the one that answers when a module is called."""
        raise NotImplementedError

    def module(self, role: str) -> nn.Module:
        """The causal model (or trunk with a language head) that answers as `role` once it acts."""
        raise NotImplementedError

    def trained(self, role: str) -> list[nn.Parameter]:
        """The parameters of a role that are trained, its head's among them."""
        raise NotImplementedError

    @contextmanager
    def acting(self, role: str) -> Iterator[None]:
        """`act(role)` for a while, then the policy again."""
        self.act(role)
        try:
            yield
        finally:
            self.act(POLICY)

    def hidden(self, role: str, ids_BT: Tensor, real_BT: Tensor) -> Tensor:
        """Last hidden states of `role`'s trunk, shape (B, T, H); `act(role)` comes first."""
        trunk = backbone(self.module(role))
        return trunk(input_ids=ids_BT, attention_mask=real_BT.long(), use_cache=False).last_hidden_state


class SharedRoles(Roles):
    """Adapters on one base."""

    def __init__(self, model: PeftModel, heads: dict[str, ValueHead], *, own_critic: bool) -> None:
        super().__init__(model, heads, own_critic=own_critic)
        self.active = ""
        self.parameters = {}
        for role in (POLICY, CRITIC) if own_critic else (POLICY,):
            model.set_adapter(role)
            self.parameters[role] = [p for p in model.parameters() if p.requires_grad]
        self.act(POLICY)

    def act(self, role: str) -> None:
        if role == self.active:
            return
        self.policy.set_adapter(role)
        for parameters in self.parameters.values():
            for parameter in parameters:
                parameter.requires_grad_(True)
        if role not in self.parameters:  # set_adapter made the reference or the reward model trainable
            self.policy.set_requires_grad(role, False)
        self.active = role

    def module(self, role: str) -> nn.Module:
        return self.policy

    def trained(self, role: str) -> list[nn.Parameter]:
        head = list(self.heads[CRITIC].parameters()) if role == CRITIC else []
        return self.parameters.get(role, []) + head


class SeparateRoles(Roles):
    """Whole models beside each other, for tuning weights of their own; one process only. The policy says which: what it
    comes with as trainable is trained, of the critic too."""

    def __init__(self, models: dict[str, nn.Module], heads: dict[str, ValueHead], *, own_critic: bool) -> None:
        super().__init__(models[POLICY], heads, own_critic=own_critic)
        self.models = models
        trained = {name for name, p in models[POLICY].named_parameters() if p.requires_grad}
        models[REFERENCE].requires_grad_(False)
        if CRITIC in models:  # what is trained of the policy; its language head (or score head) takes no part
            trunk = {id(p) for p in backbone(models[CRITIC]).parameters()}
            for name, parameter in models[CRITIC].named_parameters():
                parameter.requires_grad_(name in trained and id(parameter) in trunk)

    def act(self, role: str) -> None:
        """Each role is a model of its own: nothing to switch."""

    def module(self, role: str) -> nn.Module:
        return self.models[role]

    def trained(self, role: str) -> list[nn.Parameter]:
        model = [p for p in self.models[role].parameters() if p.requires_grad] if role in self.models else []
        return model + (list(self.heads[CRITIC].parameters()) if role == CRITIC else [])


def backbone(model: nn.Module) -> nn.Module:
    """The trunk that gives hidden states, without the head on top.

    Raises:
        Refused: a class of model that does not say which of its modules that is.
    """
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    trunk = causal.base_model
    if trunk is causal:  # transformers' answer where a class names no backbone
        raise Refused(f"{type(causal).__name__} does not say which module gives its hidden states", where="model")
    return trunk
