"""LoRA: small matrices beside the layers' projections learn and the model's own weights stay (peft).

They are added to the projections before a bundle is made, so a bundle is a plain model and serving knows nothing of it.
"""

from __future__ import annotations

import torch
from torch import nn

from lang1.llama import PackedLlama
from training.recipe import Lora

_ADAPTER = "default"


def add_lora(model: PackedLlama, lora: Lora, seed: int) -> list[nn.Parameter]:
    """Put adapters beside the target projections of `model`, in place, and return what learns.

    Until a step is made the model answers as before: one matrix of each pair starts at zero.
    """
    from peft import LoraConfig, LoraModel

    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.targets), bias="none"
    )
    # The wrapper is let go: its layers are in the model, and that is what is trained.
    LoraModel(model, config, _ADAPTER)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def merge_lora(model: PackedLlama) -> None:
    """Add the adapters to the projections, in place, and take them out: parameter names are as before `add_lora`.

    Raises FloatingPointError when a weight would not be finite.
    """
    from peft.tuners.lora import LoraLayer

    for name, layer in [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]:
        try:
            layer.merge(safe_merge=True)
        except ValueError:
            raise FloatingPointError(f"{name}: a weight is not finite; lower learning_rate or lora.alpha") from None
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, layer.get_base_layer())
    model.requires_grad_(False).eval()
