import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.data.modular import number_tokenizer
from clearformer.data.tokenizers import BOS, EOS, PAD, UNK, train_tokenizer
from clearformer.errors import PromptError
from clearformer.generation.decoding import decode_stream, generate
from clearformer.generation.sampling import GREEDY, Sampler, Sampling

CONTEXT = 7
SAMPLINGS = [GREEDY, Sampling(temperature=2.0, seed=5), Sampling(top_k=3), Sampling(top_p=0.8)]
VARIANTS = [{}, {"norm_order": "post"}, {"positions": "sinusoidal"}, {"norm": "rms", "tie_embeddings": False}]


def generated(*args, **kwargs) -> list[list[int]]:
    """The new tokens of each row."""
    return [list(row) for row in zip(*generate(*args, **kwargs), strict=True)]


def by_hand(model, prompts: list[list[int]], new: int, sampling: Sampling, slide_to: int | None = None):
    """Each prompt alone, one full forward pass per token; longer rows are cut to `slide_to`."""
    rows, sampler, steps = prompts, Sampler(sampling, len(prompts), suppressed=[PAD, BOS, EOS, UNK]), []
    for _ in range(new):
        rows = [row[-slide_to:] if len(row) > CONTEXT else row for row in rows]
        with torch.no_grad():
            logits = [model(torch.tensor([row]))[0, -1].numpy() for row in rows]
        steps.append(sampler(np.stack(logits)).tolist())
        rows = [[*row, token] for row, token in zip(rows, steps[-1], strict=True)]
    return [list(row) for row in zip(*steps, strict=True)]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("length", range(1, CONTEXT + 1))
def test_generation_follows_the_logits_of_the_full_forward(tiny, sampling: Sampling, length: int):
    for seed, variant in enumerate(VARIANTS):
        model, new = tiny("gpt", seed, **variant), CONTEXT - length + 1
        prompt = torch.randint(11, (length,)).tolist()
        assert generated(model, [prompt], new, sampling) == by_hand(model, [prompt], new, sampling)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("length", range(1, CONTEXT + 1))
def test_with_and_without_the_cache_the_tokens_are_the_same(tiny, sampling: Sampling, length: int):
    for seed, variant in enumerate(VARIANTS):
        model = tiny("gpt", seed, **variant)
        prompts = torch.randint(11, (3, length)).tolist()
        cached, uncached = (
            generated(model, prompts, CONTEXT - length + 1, sampling, cached=cached) for cached in (True, False)
        )
        assert cached == uncached


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, CONTEXT), min_size=1, max_size=4),
    variant=st.sampled_from(VARIANTS),
    sampling=st.sampled_from(SAMPLINGS),
    cached=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_batch_of_unequal_lengths_gives_what_each_prompt_gives_alone(
    tiny, lengths, variant, sampling, cached, seed: int
):
    torch.manual_seed(seed)
    model = tiny("gpt", seed, **variant)
    prompts = [torch.randint(11, (length,)).tolist() for length in lengths]
    new = CONTEXT - max(lengths) + 1
    expected = by_hand(model, prompts, new, sampling)
    assert generated(model, prompts, new, sampling, cached=cached) == expected


def test_the_first_row_does_not_depend_on_the_rest_of_the_batch(tiny):
    model, sampling = tiny("gpt"), Sampling(temperature=2.0, seed=4)
    together = generated(model, [[5, 6], [7], [8, 9, 10]], 5, sampling)
    assert together[0] == generated(model, [[5, 6]], 5, sampling)[0]


def test_a_seed_gives_the_same_text_and_another_seed_another(tiny):
    model = tiny("gpt", context=60)
    first, again, other = (generated(model, [[5]], 50, Sampling(temperature=3.0, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("length", [1, CONTEXT])
def test_a_full_context_raises_after_all_tokens_that_fit(tiny, length: int, cached: bool):
    tokens = generate(tiny("gpt"), [[5] * length], 100, GREEDY, cached=cached)
    fit = CONTEXT - length + 1  # the last token is generated, but never read
    for _ in range(fit):
        next(tokens)
    with pytest.raises(PromptError) as error:
        next(tokens)
    assert str(error.value) == (
        f"the context of 7 tokens is full after {fit} of 100 new tokens; "
        "ask for fewer, or add --slide to go on from the last half"
    )


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("length", [1, 3, CONTEXT, CONTEXT + 4])
def test_sliding_reads_the_last_half_of_the_context_again(tiny, length: int, sampling: Sampling, cached: bool):
    model = tiny("gpt", length)
    prompt = torch.randint(11, (length,)).tolist()
    expected = by_hand(model, [prompt], 20, sampling, slide_to=3)  # half of 7
    assert generated(model, [prompt], 20, sampling, slide=True, cached=cached) == expected


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_each_row_slides_when_it_is_full(tiny, sampling: Sampling, cached: bool):
    model = tiny("gpt")
    prompts = [[5, 6, 7, 8, 9, 10], [6], [7, 5, 4]]
    expected = by_hand(model, prompts, 20, sampling, slide_to=3)
    assert generated(model, prompts, 20, sampling, slide=True, cached=cached) == expected


def test_a_context_of_one_token_can_slide(tiny):
    model = tiny("gpt", context=1)
    assert len(generated(model, [[5]], 4, GREEDY, slide=True)[0]) == 4


@pytest.mark.parametrize("prompts", [[[]], [[5], []]])
def test_an_empty_prompt_is_refused(tiny, prompts: list[list[int]]):
    with pytest.raises(PromptError, match="a prompt of at least one token was expected, found an empty one; type a"):
        next(generate(tiny("gpt"), prompts, 3, GREEDY))


def test_a_prompt_longer_than_the_context_is_refused_unless_it_may_slide(tiny):
    message = "a prompt of at most 7 tokens was expected, the model's context, found 8; shorten it, or add --slide"
    with pytest.raises(PromptError, match=message):
        next(generate(tiny("gpt"), [[5] * 8], 1, GREEDY))
    assert len(generated(tiny("gpt"), [[5] * 8], 1, GREEDY, slide=True)[0]) == 1


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_special_tokens_are_never_generated(tiny, sampling: Sampling):
    # a vocabulary with one token besides them
    model = tiny("gpt", vocab_size=UNK + 2)
    assert generated(model, [[PAD], [BOS], [EOS], [UNK]], CONTEXT, sampling) == [[UNK + 1] * CONTEXT] * 4


def test_a_prompt_is_left_as_it_is(tiny):
    prompts = [[5, 6], [7]]
    generated(tiny("gpt"), prompts, 3, GREEDY)
    assert prompts == [[5, 6], [7]]


def test_a_step_reads_one_token_with_the_cache_and_all_without(tiny):
    model, lengths = tiny("gpt"), []
    model.embedding.register_forward_hook(lambda _, inputs, __: lengths.append(inputs[0].shape[1]))
    generated(model, [[5, 6, 7]], 4, GREEDY)
    assert lengths == [3, 1, 1, 1]
    lengths.clear()
    generated(model, [[5, 6, 7]], 4, GREEDY, cached=False)
    assert lengths == [3, 4, 5, 6]


@given(text=st.text(alphabet="a é漢🙂\n\ufffd"))
def test_streamed_text_comes_in_whole_characters_and_is_complete(text: str):
    tokenizer = train_tokenizer("bpe", ["a é"], 270)  # other characters are one token per byte
    ids = tokenizer.encode(text)
    assert "".join(decode_stream(tokenizer, ids)) == tokenizer.decode(ids) == text
    assert list(decode_stream(tokenizer, tokenizer.encode("漢")[:2])) == ["\ufffd"]


def test_streamed_words_have_spaces_between_them_and_after_the_prompt():
    tokenizer = number_tokenizer(97)
    assert list(decode_stream(tokenizer, tokenizer.encode("38 5"))) == ["38", " 5"]
    assert list(decode_stream(tokenizer, tokenizer.encode("38 5"), tokenizer.encode("45 90 ="))) == [" 38", " 5"]
