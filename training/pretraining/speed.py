"""Tokens a second, and how much of the device's peak they use (MFU).

MFU = tokens/s a device x FLOPs a token / peak FLOP/s. FLOPs a token = 6 N + 12 L H Q T: N weights that multiply (all
but the embedding table, the output head with them), L layers, H heads of Q, T the context. It is the count of PaLM's
appendix B, with no discount for the causal mask and none for recomputation, so that runs compare.
"""

from __future__ import annotations

import time
from collections import deque

import torch

from training.pretraining.recipe import PretrainShape

# Dense bf16 TFLOP/s by NVIDIA's data sheets, without sparsity. The longest name that fits counts.
PEAK_TFLOPS = {
    "A100": 312.0, "H100": 989.4, "H100 PCIe": 756.0, "H100 NVL": 835.0, "H200": 989.4, "H800": 989.4, "L4": 121.0,
    "L40": 181.0, "L40S": 362.0, "B200": 2250.0, "GB200": 2250.0,
}  # fmt: skip


def multiplied_weights(shape: PretrainShape, vocab_size: int) -> int:
    """Weights of matrices, the embedding table left out."""
    head = shape.hidden_size // shape.num_attention_heads
    attention = shape.hidden_size * head * (2 * shape.num_attention_heads + 2 * shape.num_key_value_heads)
    mlp = 3 * shape.hidden_size * shape.intermediate_size
    return shape.num_hidden_layers * (attention + mlp) + vocab_size * shape.hidden_size


def flops_per_token(shape: PretrainShape, vocab_size: int) -> int:
    """Forward and backward, at the whole context."""
    attention = 12 * shape.num_hidden_layers * shape.hidden_size * shape.max_position_embeddings
    return 6 * multiplied_weights(shape, vocab_size) + attention


def device_peak(device: torch.device, precision: str, given_tflops: float | None) -> tuple[float, str]:
    """Peak FLOP/s of a device and where the number is from: given, a data sheet, or a matrix product just timed."""
    if given_tflops is not None:
        return given_tflops * 1e12, "given"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = [chip for chip in PEAK_TFLOPS if all(part in name.replace("-", " ").split() for part in chip.split())]
        if known:
            return PEAK_TFLOPS[max(known, key=len)] * 1e12, f"data sheet of {name}"
    return measured_peak(device, precision), "measured: the best of 5 matrix products"


def measured_peak(device: torch.device, precision: str, side: int = 1024) -> float:
    """FLOP/s of square matrix products in the training type, with the threads that training has."""
    side = 8192 if device.type == "cuda" else side
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    times = []
    for _ in range(6):
        _wait(device)
        started = time.perf_counter()
        a @ b
        _wait(device)
        times.append(time.perf_counter() - started)
    return 2 * side**3 / min(times[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Pace:
    """Seconds a step over the last 50 steps."""

    def __init__(self, steps: int, tokens_per_step: int, devices: int, flops_per_token: int, peak: float) -> None:
        self._steps, self._tokens, self._devices = steps, tokens_per_step, devices
        self._flops, self._peak = flops_per_token, peak
        self._seconds: deque[float] = deque(maxlen=50)
        self._last = time.perf_counter()

    def start(self) -> None:
        """What was done since the last step (a checkpoint, a validation) does not count."""
        self._last = time.perf_counter()

    def step(self, done: int) -> dict[str, float]:
        """A step was taken; `done` in all. Rates and the seconds that are left."""
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        seconds = sum(self._seconds) / len(self._seconds)
        per_device = self._tokens / seconds / self._devices
        return {
            "step_s": round(now - self._last, 4),
            "tokens_per_s": round(per_device * self._devices, 1),
            "tokens_per_s_per_device": round(per_device, 1),
            "mfu": round(per_device * self._flops / self._peak, 4),
            "eta_s": round((self._steps - done) * seconds, 1),
        }
