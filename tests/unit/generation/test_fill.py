"""Candidates at a mask are the model's predictions there, and the text around it stays as it was typed."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearformer.config import BERTConfig
from clearformer.data.tokenizers import MASK, UNK, Tokenizer, train_tokenizer
from clearformer.errors import PromptError
from clearformer.generation.fill import Filler
from clearformer.models.bert import BERT

TEXT = "the cat sat on the mat, and the dog sat on the cat\n"
CONTEXT = 12
# float32 logits, softmax in float64; padding changes the order of sums: by 1e-7 at most
TOLERANCE = 1e-6


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Tokenizer]:
    sizes = {"character": 60, "word": 60, "bpe": 300}
    return {kind: train_tokenizer(kind, [TEXT], size, mask=True) for kind, size in sizes.items()}


@pytest.fixture(scope="session")
def model(scramble: Callable[..., None]) -> Callable[[Tokenizer], BERT]:
    """A model of the tokenizer's size, no weight of which is 0 or 1."""

    def make(tokenizer: Tokenizer) -> BERT:
        sizes = {"d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "dropout": 0.0, "segments": 2}
        bert = BERT(BERTConfig(vocab_size=tokenizer.vocab_size, context=CONTEXT, **sizes))
        scramble(bert)
        return bert.eval()

    return make


def prefer(model: BERT, tokenizer: Tokenizer, **scores: float) -> BERT:
    """Make the model output these logits everywhere, with _ for a space, and 0 for all other tokens."""
    with torch.no_grad():
        model.transform_norm.weight.zero_()
        model.transform_norm.bias.zero_()
        model.output_projection.bias.zero_()
        for word, score in scores.items():
            (index,) = tokenizer.encode(word.replace("_", " "))
            model.output_projection.bias[index] = score
    return model


def test_the_likeliest_token_is_filled_in_with_its_probability(tokenizers, model):
    tokenizer = tokenizers["word"]
    filler = Filler(prefer(model(tokenizer), tokenizer, _dog=2.0, _cat=1.0), tokenizer)
    (filled,) = filler(["the <mask> sat"], top=2)
    assert filled.text == "the dog sat"
    # by hand: the words with a space before them are cat, sat, on, the, mat, and, dog; five have the logit 0
    whole = math.exp(2) + math.exp(1) + 5
    assert [candidate.token for candidate in filled.masks[0]] == [" dog", " cat"]
    expected = [math.exp(2) / whole, math.exp(1) / whole]
    assert [candidate.probability for candidate in filled.masks[0]] == pytest.approx(expected, rel=TOLERANCE)


def test_probabilities_are_softmax_of_the_logits_at_the_mask(tokenizers, model):
    tokenizer = tokenizers["character"]
    bert = model(tokenizer)
    (filled,) = Filler(bert, tokenizer)(["th<mask> c"], top=99)
    tokens = torch.tensor([[*tokenizer.encode("th"), MASK, *tokenizer.encode(" c")]])
    with torch.no_grad():
        logits = bert(tokens, tokens >= 0, tokens * 0)[0, 2, MASK + 1 :]
    p = dict(
        zip([tokenizer.token_text(i) for i in range(5, tokenizer.vocab_size)], logits.softmax(-1).tolist(), strict=True)
    )
    assert {candidate.token: candidate.probability for candidate in filled.masks[0]} == pytest.approx(
        p, rel=TOLERANCE * 10
    )
    found = [candidate.probability for candidate in filled.masks[0]]
    assert found == sorted(found, reverse=True)
    assert sum(found) == pytest.approx(1.0)


def test_special_tokens_and_incomplete_characters_are_never_offered(tokenizers, model):
    tokenizer = tokenizers["bpe"]
    bert = prefer(model(tokenizer), tokenizer)
    with torch.no_grad():
        bert.output_projection.bias[: MASK + 1] = 9.0
    (filled,) = Filler(bert, tokenizer)(["a<mask>"], top=999)
    offered = [candidate.token for candidate in filled.masks[0]]
    assert len(offered) > 100
    assert not {"<pad>", "<bos>", "<eos>", "<unk>", "<mask>", ""} & set(offered)
    assert not any("\ufffd" in token for token in offered)


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_space_before_a_mask_belongs_to_its_token(tokenizers, model, kind: str):
    tokenizer = tokenizers[kind]
    filler = Filler(prefer(model(tokenizer), tokenizer, cat=3.0, _cat=2.0, _the=1.0) if kind == "bpe" else
                    prefer(model(tokenizer), tokenizer, the=3.0, _cat=2.0), tokenizer)  # fmt: skip
    spaced, joined = filler(["the <mask>", "the<mask>"], top=99)
    assert spaced.text == "the cat"
    assert all(candidate.token.startswith(" ") for candidate in spaced.masks[0])
    assert joined.text == ("thecat" if kind == "bpe" else "thethe")
    assert not any(candidate.token.startswith(" ") and len(candidate.token) > 1 for candidate in joined.masks[0])


def test_with_characters_a_space_is_a_separate_token(tokenizers, model):
    tokenizer = tokenizers["character"]
    filler = Filler(prefer(model(tokenizer), tokenizer, c=1.0), tokenizer)
    assert filler(["the <mask>at"])[0].text == "the cat"
    assert len(filler(["the <mask>at"], top=99)[0].masks[0]) == tokenizer.vocab_size - 5


def test_the_model_reads_mask_tokens_where_they_are_typed_and_fills_all_in_one_pass(tokenizers, model):
    tokenizer = tokenizers["word"]
    bert, calls = model(tokenizer), []
    bert.register_forward_pre_hook(lambda _model, inputs: calls.append([value.tolist() for value in inputs]))
    (filled,) = Filler(bert, tokenizer)(["the <mask> sat on the <mask>"])
    cat, the, sat, on = (tokenizer.encode(word)[0] for word in (" cat", "the", " sat", " on"))
    assert cat != MASK
    tokens = [the, MASK, sat, on, tokenizer.encode(" the")[0], MASK]
    assert calls == [[[tokens], [[True] * 6], [[0] * 6]]]
    assert len(filled.masks) == 2


def test_a_batch_of_unequal_lengths_gives_what_each_text_gives_alone(tokenizers, model):
    tokenizer = tokenizers["word"]
    filler = Filler(model(tokenizer), tokenizer)
    texts = ["<mask> cat", "the <mask> sat on the mat, and <mask> dog", "<mask>"] * 40  # more than one batch
    for together, text in zip(filler(texts, top=3), texts, strict=True):
        (alone,) = filler([text], top=3)
        assert together.text == alone.text
        for one, other in zip(together.masks, alone.masks, strict=True):
            assert [candidate.token for candidate in one] == [candidate.token for candidate in other]
            expected = pytest.approx([candidate.probability for candidate in other], rel=TOLERANCE * 10)
            assert [candidate.probability for candidate in one] == expected


@pytest.mark.slow
@given(pieces=st.lists(st.text(alphabet="thecat ,\n", max_size=3), min_size=2, max_size=3))
@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_the_text_around_the_masks_is_as_it_was_typed(tokenizers, model, kind: str, pieces: list[str]):
    tokenizer = tokenizers[kind]
    (filled,) = Filler(model(tokenizer), tokenizer)(["<mask>".join(pieces)])
    expected = pieces[0]
    for candidates, piece in zip(filled.masks, pieces[1:], strict=True):
        token = candidates[0].token
        expected += (token[1:] if expected.endswith(" ") and kind != "character" else token) + piece
    assert filled.text == expected


def test_unknown_tokens_around_a_mask_are_counted(tokenizers, model):
    filled = Filler(model(tokenizers["word"]), tokenizers["word"])(["the horse <mask>", "the cat <mask>"])
    assert [each.unknown for each in filled] == [1, 0]
    assert tokenizers["word"].encode(" horse") == [UNK]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the cat", r"a text with a hole to fill was expected, found 'the cat'; type <mask> for the hole"),
        ("", r"a text with a hole to fill was expected, found ''; type <mask>"),
        ("the" + " cat" * 11 + " <mask>", r"a text of at most 12 tokens was expected, .* found 13; shorten it"),
    ],
)
def test_a_text_that_cannot_be_filled_is_refused(tokenizers, model, text: str, message: str):
    with pytest.raises(PromptError, match=message):
        Filler(model(tokenizers["word"]), tokenizers["word"])([text])


def test_a_text_that_just_fits_the_context_is_filled(tokenizers, model):
    (filled,) = Filler(model(tokenizers["word"]), tokenizers["word"])(["the" + " cat" * 10 + " <mask>"])
    assert filled.text.startswith("the cat cat")
