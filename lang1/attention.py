"""Attention over one note: torch's fused kernels, and a pass of our own where those are slow.

On CPU the fused kernel's gradient takes several times its forward pass at the lengths of a note. Batched products that
keep the attention weights do forward and gradient 1.6 to 2.2 times as fast there (bench/results/attention.json).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

MAX_KEPT_WEIGHTS = 2048 * 2048
"""Above this many weights a head, keeping them costs more memory than the time is worth."""


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention: queries (1, heads, Q, D), keys and values (1, heads, K, D) -> (1, heads, Q, D).

    `mask` is bool (Q, K), True where a query may look; None means causal, with Q == K.
    """
    learns = torch.is_grad_enabled() and queries.requires_grad
    if learns and queries.device.type == "cpu" and queries.shape[2] * keys.shape[2] <= MAX_KEPT_WEIGHTS:
        if mask is None:
            bias = _causal_bias(queries.dtype)[: queries.shape[2], : keys.shape[2]]
        else:
            bias = torch.zeros(mask.shape, dtype=queries.dtype).masked_fill_(~mask, -math.inf)
        return _KeptWeights.apply(queries[0], keys[0], values[0], bias).unsqueeze(0)  # type: ignore[no-any-return,no-untyped-call]
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=mask is None)


@cache
def _causal_bias(dtype: torch.dtype) -> Tensor:
    """(2048, 2048): -inf above the diagonal; its corner serves every shorter note."""
    side = math.isqrt(MAX_KEPT_WEIGHTS)
    return torch.full((side, side), -math.inf, dtype=dtype).triu_(1)


class _KeptWeights(torch.autograd.Function):
    """Attention that keeps its weights for the gradient. queries (heads, Q, D), bias (Q, K)."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        ctx.scale = 1 / math.sqrt(queries.shape[-1])
        scores = torch.baddbmm(bias.expand(queries.shape[0], -1, -1), queries, keys.transpose(1, 2), alpha=ctx.scale)
        weights = torch.softmax(scores, dim=-1)
        ctx.save_for_backward(queries, keys, values, weights)
        return torch.bmm(weights, values)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        queries, keys, values, weights = ctx.saved_tensors
        mixed = outputs[0].contiguous()
        d_weights = torch.bmm(mixed, values.transpose(1, 2))
        d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype).mul_(ctx.scale)
        return (
            torch.bmm(d_scores, keys),
            torch.bmm(d_scores.transpose(1, 2), queries),
            torch.bmm(weights.transpose(1, 2), mixed),
            None,
        )
