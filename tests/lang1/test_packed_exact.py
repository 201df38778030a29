"""The packed pass equals five separate prompts, as transformers computes them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig as HfLlamaConfig
from transformers import LlamaForCausalLM

from lang1.llama import PackedLlama
from lang1.packing import batches_by_tokens, pack
from lang1.prompt import PackedPrompt, TaskSuffix
from lang1.scores import softmax
from tests.tiny_bundle import tiny_model

VOCAB = 600
# Stated bound of bf16 against fp32 on probabilities, over random models with logits of several units.
BF16_PROBABILITY_BOUND = 0.06


def as_transformers(model: PackedLlama) -> LlamaForCausalLM:
    reference = LlamaForCausalLM(HfLlamaConfig(**model.config.to_hf(), attn_implementation="eager"))
    reference.load_state_dict(model.state_dict())
    return reference.eval()


def separate_logits(reference: LlamaForCausalLM, prompt: PackedPrompt) -> list[torch.Tensor]:
    """One plain call a question: the note, the question, the logits after the last token."""
    answers = []
    for suffix in prompt.suffixes:
        ids = torch.tensor([[*prompt.prefix_ids, *suffix.token_ids]])
        with torch.no_grad():
            answers.append(reference(ids).logits[0, -1, list(suffix.option_ids)].float())
    return answers


def assert_close(packed: list[torch.Tensor], separate: list[torch.Tensor]) -> None:
    assert len(packed) == len(separate)
    for ours, theirs in zip(packed, separate, strict=True):
        bound = 1e-4 * torch.clamp(theirs.abs() / 10, min=1.0)
        assert ((ours - theirs).abs() <= bound).all(), (ours, theirs)


def make_prompt(generator: torch.Generator, note_length: int, suffixes: int) -> PackedPrompt:
    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, VOCAB, (count,), generator=generator).tolist())

    return PackedPrompt(
        prefix_ids=ids(note_length),
        suffixes=tuple(
            TaskSuffix(f"task_{k}", ids(int(torch.randint(1, 60, (), generator=generator))), ids(2 + k % 4))
            for k in range(suffixes)
        ),
        note_type=None,
        note_tokens=note_length,
        dropped_tokens=0,
    )


MODELS: dict[str, dict[str, object]] = {
    "grouped heads, tied": {},
    "full heads, untied": {"num_key_value_heads": 4, "tie_word_embeddings": False},
    "one layer, one kv head": {"num_hidden_layers": 1, "num_key_value_heads": 1},
    "biases, odd head size": {"attention_bias": True, "mlp_bias": True, "head_dim": 6, "num_hidden_layers": 3},
    "llama3 rope": {
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "linear rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}},
}  # fmt: skip


@pytest.fixture(scope="module", params=MODELS, ids=lambda name: name.replace(" ", "_"))
def model_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make_pair(name: str, seed: int) -> tuple[PackedLlama, LlamaForCausalLM]:
    model = tiny_model(seed=seed, vocab_size=VOCAB, max_position_embeddings=4096, **MODELS[name])
    return model, as_transformers(model)


@given(
    seed=st.integers(0, 2**32 - 1),
    # Short notes in company and, now and then, one of up to 2,000 tokens among them.
    lengths=st.tuples(
        st.lists(st.integers(1, 300), min_size=1, max_size=3), st.lists(st.integers(1, 2000), max_size=1)
    ),
    data=st.data(),
)
@settings(max_examples=8, deadline=None)
def test_packed_equals_separate(
    model_name: str, seed: int, lengths: tuple[list[int], list[int]], data: st.DataObject
) -> None:
    model, reference = make_pair(model_name, seed)
    generator = torch.Generator().manual_seed(seed)
    prompts = [make_prompt(generator, length, data.draw(st.integers(1, 5))) for length in [*lengths[0], *lengths[1]]]
    with torch.no_grad():
        packed = model.option_logits(pack(prompts))
    assert_close(packed, [logits for prompt in prompts for logits in separate_logits(reference, prompt)])


@pytest.mark.parametrize("note_length", [1, 2, 511, 2000])
def test_packed_equals_separate_at_the_edges(model_name: str, note_length: int) -> None:
    model, reference = make_pair(model_name, 3)
    prompt = make_prompt(torch.Generator().manual_seed(note_length), note_length, 5)
    with torch.no_grad():
        assert_close(model.option_logits(pack([prompt])), separate_logits(reference, prompt))


def test_bf16_stays_within_its_bound() -> None:
    worst = 0.0
    for seed in range(6):
        model = tiny_model(seed=seed, vocab_size=VOCAB)
        prompts = [make_prompt(torch.Generator().manual_seed(seed * 10 + i), 20 + 90 * i, 5) for i in range(4)]
        with torch.no_grad():
            exact = model.option_logits(pack(prompts))
            rounded = model.bfloat16().option_logits(pack(prompts))
        for full, half in zip(exact, rounded, strict=True):
            gap = torch.tensor(softmax(full.tolist())) - torch.tensor(softmax(half.tolist()))
            worst = max(worst, gap.abs().max().item())
    assert 0 < worst <= BF16_PROBABILITY_BOUND


def test_no_note_sees_another_and_order_does_not_matter() -> None:
    model = tiny_model(seed=5, vocab_size=VOCAB)
    generator = torch.Generator().manual_seed(1)
    prompts = [make_prompt(generator, length, 5) for length in (40, 7, 130)]
    changed = make_prompt(torch.Generator().manual_seed(99), 300, 2)
    with torch.no_grad():
        alone = model.option_logits(pack(prompts[:1]))
        together = model.option_logits(pack(prompts))[:5]
        reversed_order = model.option_logits(pack(prompts[::-1]))[-5:]
        with_a_stranger = model.option_logits(pack([changed, prompts[0]]))[-5:]
    for other in (together, reversed_order, with_a_stranger):
        assert_close(other, alone)


def test_no_question_sees_another() -> None:
    model = tiny_model(seed=6, vocab_size=VOCAB)
    prompt = make_prompt(torch.Generator().manual_seed(2), 60, 5)
    with torch.no_grad():
        all_five = model.option_logits(pack([prompt]))
        for k, suffix in enumerate(prompt.suffixes):
            alone = PackedPrompt(prompt.prefix_ids, (suffix,), None, prompt.note_tokens, 0)
            assert_close(model.option_logits(pack([alone])), [all_five[k]])


def test_the_note_is_read() -> None:
    """A pass that dropped the note would pass every test above that compares it with itself."""
    model = tiny_model(seed=7, vocab_size=VOCAB)
    generator = torch.Generator().manual_seed(3)
    one, other = make_prompt(generator, 50, 1), make_prompt(generator, 50, 1)
    swapped = PackedPrompt(other.prefix_ids, one.suffixes, None, 50, 0)
    with torch.no_grad():
        gap = model.option_logits(pack([one]))[0] - model.option_logits(pack([swapped]))[0]
    assert gap.abs().max() > 0.01


@given(lengths=st.lists(st.integers(1, 400), max_size=30), budget=st.integers(1, 1200))
def test_batches_keep_order_and_budget(lengths: list[int], budget: int) -> None:
    generator = torch.Generator().manual_seed(0)
    prompts = [make_prompt(generator, length, 1) for length in lengths]
    groups = list(batches_by_tokens(prompts, budget))
    assert [index for group in groups for index in group] == list(range(len(prompts)))
    for group in groups:
        assert len(group) == 1 or sum(prompts[i].total_tokens for i in group) <= budget
