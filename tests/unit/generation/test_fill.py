"""What is offered at a mask is what the model says of that place, and the text around it stays as it was typed."""

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
# float32 logits, softmax in float64; padded rows sum in another order: 1e-7 seen
TOLERANCE = 1e-6


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Tokenizer]:
    sizes = {"character": 60, "word": 60, "bpe": 300}
    return {kind: train_tokenizer(kind, [TEXT], size, mask=True) for kind, size in sizes.items()}


@pytest.fixture(scope="session")
def model(scramble: Callable[..., None]) -> Callable[[Tokenizer], BERT]:
    """A model of the tokenizer's size, of which every weight counts."""

    def make(tokenizer: Tokenizer) -> BERT:
        sizes = {"d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "dropout": 0.0, "segments": 2}
        made = BERT(BERTConfig(vocab_size=tokenizer.vocab_size, context=CONTEXT, **sizes))
        scramble(made)
        return made.eval()

    return make


def prefer(model: BERT, tokenizer: Tokenizer, **scores: float) -> BERT:
    """Let the model answer everywhere with these logits, spelled with _ for a space, and 0 for all others."""
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
    assert [guess.token for guess in filled.masks[0]] == [" dog", " cat"]
    expected = [math.exp(2) / whole, math.exp(1) / whole]
    assert [guess.probability for guess in filled.masks[0]] == pytest.approx(expected, rel=TOLERANCE)


def test_what_is_offered_is_softmax_of_the_logits_at_the_mask(tokenizers, model):
    tokenizer = tokenizers["character"]
    made = model(tokenizer)
    (filled,) = Filler(made, tokenizer)(["th<mask> c"], top=99)
    tokens = torch.tensor([[*tokenizer.encode("th"), MASK, *tokenizer.encode(" c")]])
    with torch.no_grad():
        logits = made(tokens, tokens >= 0, tokens * 0)[0, 2, MASK + 1 :]
    p = dict(
        zip([tokenizer.label(i) for i in range(5, tokenizer.vocab_size)], logits.softmax(-1).tolist(), strict=True)
    )
    assert {guess.token: guess.probability for guess in filled.masks[0]} == pytest.approx(p, rel=TOLERANCE * 10)
    found = [guess.probability for guess in filled.masks[0]]
    assert found == sorted(found, reverse=True)
    assert sum(found) == pytest.approx(1.0)


def test_special_tokens_and_pieces_of_characters_are_never_offered(tokenizers, model):
    tokenizer = tokenizers["bpe"]
    made = prefer(model(tokenizer), tokenizer)
    with torch.no_grad():
        made.output_projection.bias[: MASK + 1] = 9.0
    (filled,) = Filler(made, tokenizer)(["a<mask>"], top=999)
    offered = [guess.token for guess in filled.masks[0]]
    assert len(offered) > 100
    assert not {"<pad>", "<bos>", "<eos>", "<unk>", "<mask>", ""} & set(offered)
    assert not any("\ufffd" in token for token in offered)


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_space_before_a_mask_belongs_to_the_token_behind_it(tokenizers, model, kind: str):
    tokenizer = tokenizers[kind]
    filler = Filler(prefer(model(tokenizer), tokenizer, cat=3.0, _cat=2.0, _the=1.0) if kind == "bpe" else
                    prefer(model(tokenizer), tokenizer, the=3.0, _cat=2.0), tokenizer)  # fmt: skip
    spaced, joined = filler(["the <mask>", "the<mask>"], top=99)
    assert spaced.text == "the cat"
    assert all(guess.token.startswith(" ") for guess in spaced.masks[0])
    assert joined.text == ("thecat" if kind == "bpe" else "thethe")
    assert not any(guess.token.startswith(" ") and len(guess.token) > 1 for guess in joined.masks[0])


def test_a_space_is_a_token_of_its_own_where_tokens_are_characters(tokenizers, model):
    tokenizer = tokenizers["character"]
    filler = Filler(prefer(model(tokenizer), tokenizer, c=1.0), tokenizer)
    assert filler(["the <mask>at"])[0].text == "the cat"
    assert len(filler(["the <mask>at"], top=99)[0].masks[0]) == tokenizer.vocab_size - 5


def test_the_model_sees_a_mask_where_it_is_typed_and_all_are_filled_by_one_pass(tokenizers, model):
    tokenizer = tokenizers["word"]
    made, seen = model(tokenizer), []
    made.register_forward_pre_hook(lambda _model, inputs: seen.append([value.tolist() for value in inputs]))
    (filled,) = Filler(made, tokenizer)(["the <mask> sat on the <mask>"])
    cat, the, sat, on = (tokenizer.encode(word)[0] for word in (" cat", "the", " sat", " on"))
    assert cat != MASK
    tokens = [the, MASK, sat, on, tokenizer.encode(" the")[0], MASK]
    assert seen == [[[tokens], [[True] * 6], [[0] * 6]]]
    assert len(filled.masks) == 2


def test_texts_of_unequal_lengths_together_give_what_each_gives_alone(tokenizers, model):
    tokenizer = tokenizers["word"]
    filler = Filler(model(tokenizer), tokenizer)
    texts = ["<mask> cat", "the <mask> sat on the mat, and <mask> dog", "<mask>"] * 40  # more than go together
    for together, text in zip(filler(texts, top=3), texts, strict=True):
        (alone,) = filler([text], top=3)
        assert together.text == alone.text
        for one, other in zip(together.masks, alone.masks, strict=True):
            assert [guess.token for guess in one] == [guess.token for guess in other]
            expected = pytest.approx([guess.probability for guess in other], rel=TOLERANCE * 10)
            assert [guess.probability for guess in one] == expected


@pytest.mark.slow
@given(pieces=st.lists(st.text(alphabet="thecat ,\n", max_size=3), min_size=2, max_size=3))
@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_the_text_around_the_masks_is_as_it_was_typed(tokenizers, model, kind: str, pieces: list[str]):
    tokenizer = tokenizers[kind]
    (filled,) = Filler(model(tokenizer), tokenizer)(["<mask>".join(pieces)])
    expected = pieces[0]
    for guesses, piece in zip(filled.masks, pieces[1:], strict=True):
        token = guesses[0].token
        expected += (token[1:] if expected.endswith(" ") and kind != "character" else token) + piece
    assert filled.text == expected


def test_unknown_tokens_around_a_mask_are_counted(tokenizers, model):
    filled = Filler(model(tokenizers["word"]), tokenizers["word"])(["the horse <mask>", "the cat <mask>"])
    assert [each.unknown for each in filled] == [1, 0]
    assert tokenizers["word"].encode(" horse") == [UNK]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the cat", r"a text with a hole to fill was expected, found 'the cat'; type <mask> for the hole"),
        ("", r"a text with a hole to fill was expected, found ''; type <mask>"),
        ("the" + " cat" * 11 + " <mask>", r"a text of at most 12 tokens was expected, .* found 13; shorten it"),
    ],
)
def test_a_text_that_cannot_be_filled_is_refused(tokenizers, model, text: str, words: str):
    with pytest.raises(PromptError, match=words):
        Filler(model(tokenizers["word"]), tokenizers["word"])([text])


def test_a_text_that_just_fits_the_context_is_filled(tokenizers, model):
    (filled,) = Filler(model(tokenizers["word"]), tokenizers["word"])(["the" + " cat" * 10 + " <mask>"])
    assert filled.text.startswith("the cat cat")
