from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lang1 import attention


def tensors(queries: int, keys: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(queries * 1000 + keys)
    shapes = ((1, 3, queries, 16), (1, 3, keys, 16), (1, 3, keys, 16))
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def suffix_mask(queries: int, keys: int) -> Tensor:
    """The first half of the queries may not see the last keys."""
    mask = torch.ones(queries, keys, dtype=torch.bool)
    mask[: queries // 2, keys - 3 :] = False
    return mask


@pytest.mark.parametrize(("queries", "keys", "masked"), [(1, 1, False), (37, 37, False), (8, 50, True), (40, 41, True)])
def test_the_pass_that_learns_agrees_with_torch(queries: int, keys: int, masked: bool) -> None:
    mask = suffix_mask(queries, keys) if masked else None
    inputs = tensors(queries, keys)
    ours = attention.attend(*inputs, mask)
    theirs = F.scaled_dot_product_attention(*inputs, attn_mask=mask, is_causal=mask is None)
    assert ours.grad_fn is not None and "KeptWeights" in str(ours.grad_fn.next_functions)
    assert torch.allclose(ours, theirs, atol=1e-6)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad((theirs * weight).sum(), inputs)
    for mine, other in zip(torch.autograd.grad((ours * weight).sum(), inputs), expected, strict=True):
        assert torch.allclose(mine, other, atol=1e-5)


def test_bfloat16_stays_near_float32() -> None:
    exact = [tensor.bfloat16().float().detach().requires_grad_() for tensor in tensors(64, 64)]
    rounded = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    grads = []
    for inputs in (exact, rounded):
        attention.attend(*inputs, None).float().square().sum().backward()
        grads.append([tensor.grad.float() for tensor in inputs if tensor.grad is not None])
    for mine, other in zip(*grads, strict=True):
        assert (mine - other).norm() < 0.02 * mine.norm()


def test_without_gradient_and_beyond_the_limit_torch_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = tensors(10, 10)
    with torch.no_grad():
        assert attention.attend(*inputs, None).grad_fn is None
    attention.attend(*inputs, None)  # the bias is made before the limit is changed
    monkeypatch.setattr(attention, "MAX_KEPT_WEIGHTS", 99)
    assert "KeptWeights" not in str(attention.attend(*inputs, None).grad_fn)
