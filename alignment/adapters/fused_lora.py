"""LoRA's update added to its layer's output by one matrix product: the same sum with less memory traffic.

    y = W x + s B (A x)        Hu et al. 2021, arXiv 2106.09685, equation 3

PEFT forms B (A x), a tensor as large as y, multiplies it by s into a second and adds both into a third; its backward pass
multiplies a gradient of that size by s again. `addmm` adds s B (A x) to W x as it is made, and s meets the small tensors only.

The layer is given to PEFT where PEFT takes layers of others. What is more than a plain update of a dense layer goes PEFT's way,
and so does all that is loaded for answering: an adapter is proven after saving by PEFT's own arithmetic.
"""

from __future__ import annotations

import torch
from peft import LoraConfig, PeftConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn


class FusedLinear(Linear):
    """PEFT's LoRA layer on a dense layer; see the module's text."""

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        """As PEFT's. x: [..., inputs]; returns [..., outputs]."""
        if args or kwargs or not self._fuses(x):
            return super().forward(x, *args, **kwargs)
        (name,) = self.active_adapters
        rows = x.reshape(-1, x.shape[-1])  # in two dimensions, or autograd would copy the output's gradient for a view of it
        reduced = self.lora_A[name](self.lora_dropout[name](rows))
        output = self.base_layer(rows)  # a dense layer keeps its input for the backward pass, so its output may be changed
        output.addmm_(reduced, self.lora_B[name].weight.t(), alpha=self.scaling[name])
        return output.view(*x.shape[:-1], output.shape[-1])  # by name: of no rows (an expert without tokens) -1 says nothing

    def _fuses(self, x: Tensor) -> bool:
        """Whether one plain update, all of one dtype, is to be added to a plain dense layer."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return False
        name = self.active_adapters[0]
        if name not in self.lora_A or name in self.lora_variant or self.lora_B[name].bias is not None:
            return False
        weights = (self.base_layer.weight, self.lora_A[name].weight, self.lora_B[name].weight)
        # what is sharded (DeepSpeed's `ds_id`, tensors of a mesh) is gathered by the layer's own forward pass
        whole = all(type(weight) is nn.Parameter and not hasattr(weight, "ds_id") for weight in weights)
        return whole and all(weight.dtype == x.dtype for weight in weights) and not torch.is_autocast_enabled(x.device.type)


def register(config: PeftConfig, model: nn.Module) -> None:
    """Has PEFT make the dense layers of a LoRA adapter as `FusedLinear`; before it wraps `model`.

    Not where a dense layer is of a kind of its own: quantised ones have layers of PEFT's that this one would displace.
    """
    plain = all(type(layer) is nn.Linear for layer in model.modules() if isinstance(layer, nn.Linear))
    if type(config) is LoraConfig and not config.target_parameters and plain:
        config._register_custom_module({nn.Linear: FusedLinear})
