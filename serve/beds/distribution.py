"""Laws of counts by their characteristic functions: independent Bernoullis (the Poisson-binomial) and gamma-mixed
Poissons.

A sum of independent parts is a product of characteristic functions, and a discrete Fourier transform takes that back
to probabilities. It is exact but for rounding and for what wraps around a window chosen too short (`window_size`).
Hong, "On computing the distribution function for the Poisson binomial distribution", CSDA 59 (2013), section 2.
"""

from __future__ import annotations

import numpy as np

from serve.beds.arrays import Complexes, Floats, Ints

_TAIL_SDS = 8.5
_TAIL_ROOM = 14.0
_POISSON = 1e-9
"""A dispersion below this is none."""
_BLOCK = 16
"""Bernoullis whose sum is made by plain convolution before the transform takes over."""
SMALL = 0.1
_TERMS = 12
"""Of the series for probabilities up to SMALL: what is left out is below 1e-10 of each."""


def frequencies(size: int) -> Complexes:
    """exp(i w) - 1 at the first size / 2 + 1 frequencies; `size` is even."""
    return np.asarray(np.exp(2j * np.pi * np.arange(size // 2 + 1) / size) - 1)


def window_size(mean: float, variance: float) -> int:
    """An even size that holds all but some 1e-12 of a law of this mean and variance, from `window_start`."""
    reach = _TAIL_SDS * variance**0.5 + _TAIL_ROOM
    return int(16 * np.ceil((min(2 * reach, mean + reach) + 2) / 16))


def window_start(mean: Floats, variance: Floats) -> Ints:
    """First count of the window, any shape."""
    return np.maximum(np.floor(mean - _TAIL_SDS * np.sqrt(variance) - _TAIL_ROOM), 0).astype(np.int64)


def frequencies_needed(z: Complexes, variance: float) -> int:
    """How many of the frequencies matter for a sum of Bernoullis with at least this variance.

    |1 + p z|^2 <= exp(-2 p (1 - p) (1 - cos w)), so the product has vanished where variance * (1 - cos w) is over 30.
    """
    return max(int(np.searchsorted(-z.real * variance, 30.0)), 1)


def bernoulli_factor(product: Complexes, probabilities: Floats, z: Complexes) -> None:
    """Multiply `product` (C, F) in place by 1 + p z for each row of `probabilities` (N, C)."""
    blocks = -(-len(probabilities) // _BLOCK)
    padded = np.zeros((blocks * _BLOCK, probabilities.shape[1]))
    padded[: len(probabilities)] = probabilities
    by_block = padded.reshape(blocks, _BLOCK, probabilities.shape[1])
    law = np.zeros((blocks, probabilities.shape[1], _BLOCK + 1))
    law[..., 0] = 1.0
    for member in range(_BLOCK):
        p = by_block[:, member, :, None]
        moved = p * law[..., : member + 1]
        law[..., : member + 1] -= moved
        law[..., 1 : member + 2] += moved
    powers = np.ones((_BLOCK + 1, len(z)), dtype=np.complex128)
    powers[1:] = np.cumprod(np.broadcast_to(1 + z, (_BLOCK, len(z))), axis=0)
    for each in law:
        product *= each @ powers.real + 1j * (each @ powers.imag)


def power_sums(probabilities: Floats) -> Floats:
    """Sums over the N rows of p, p^2, ...: (N, C) to (terms, C)."""
    power, sums = probabilities, [probabilities.sum(axis=0)]
    for _ in range(_TERMS - 1):
        power = power * probabilities
        sums.append(power.sum(axis=0))
    return np.stack(sums)


def small_bernoulli_exponent(sums: Floats, z: Complexes) -> Complexes:
    """Logarithm of the product of 1 + p z over rows with p up to SMALL, (C, F), from their power sums (terms, C)."""
    orders = np.arange(1, _TERMS + 1)
    series = np.cumprod(np.broadcast_to(z, (_TERMS, len(z))), axis=0) * ((-1.0) ** (orders + 1) / orders)[:, None]
    return np.asarray(sums.T @ series.real + 1j * (sums.T @ series.imag))


def gamma_poisson_exponent(mean: Floats, dispersion: float, z: Complexes) -> Complexes:
    """Logarithm for a negative binomial with variance mean + dispersion mean^2, (C,) to (C, F). 0: Poisson."""
    if dispersion < _POISSON:
        return np.asarray(mean[:, None] * z)
    # ln(1 - dispersion mean z) by its parts: the real functions are many times faster than the complex logarithm.
    real = 1 - dispersion * mean[:, None] * z.real
    imaginary = -dispersion * mean[:, None] * z.imag
    exponent = np.empty(real.shape, dtype=np.complex128)
    exponent.real = np.log(real * real + imaginary * imaginary) / (-2 * dispersion)
    exponent.imag = np.arctan(imaginary / real) / -dispersion
    return exponent


def probabilities_of(characteristic: Complexes, size: int, start: Ints) -> Floats:
    """(..., F) to probabilities (..., size) of the counts start, start + 1, ...; `start` (...,). Rows add up to 1."""
    angle = -2j * np.pi * np.arange(size // 2 + 1) / size
    moved = characteristic * np.exp(start[..., None] * angle)
    mass = np.maximum(np.fft.irfft(np.conj(moved), size, axis=-1), 0.0)
    return np.asarray(mass / mass.sum(axis=-1, keepdims=True))


def poisson_binomial(probabilities: Floats) -> Floats:
    """P(k of N independent events happen), k = 0 .. N, for probabilities (N,)."""
    size = 2 * ((len(probabilities) + 2) // 2)
    z = frequencies(size)
    product = np.ones((1, len(z)), dtype=np.complex128)
    bernoulli_factor(product, probabilities[:, None], z)
    return probabilities_of(product[0], size, np.array(0))[: len(probabilities) + 1]
