"""Marian's encoder-decoders become runs that translate, and ours become theirs, with the same logits and text."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from folders import (
    CONTEXT,
    ENGINES,
    MARIAN_SIZES,
    SENTENCES,
    TEXT,
    assert_not_exported,
    assert_refused,
    assert_same_logits,
    assert_same_translations,
    edited_config,
    imported,
    random_marian,
    run_of,
    save_translator,
    theirs_of,
    train_further,
    unigrams,
    with_tensor,
)

from clearformer.api.run import Run
from clearformer.cli.main import main
from clearformer.config import Config, TransformerConfig
from clearformer.data.tokenizers import train_tokenizer
from clearformer.models.initial import initial_weights

FIRST = ("</s>", "<unk>")
"""tokens of a vocabulary like Marian's, whose last is <pad>"""
VARIANTS: dict[str, dict[str, Any]] = {
    "as the translators of Helsinki": {"activation_function": "swish"},
    "ReLU, embeddings that are not scaled": {"activation_function": "relu", "scale_embedding": False},
    "a letter to begin with": {"decoder_start_token_id": unigrams(*FIRST).token_to_id("i")},
}


def foreign(folder: Path, **changes: Any) -> Any:
    """Save a tiny model with random weights and its tokenizer into `folder`, and return it."""
    backend = unigrams(*FIRST)
    pad = backend.token_to_id("<pad>")
    ids = {"pad_token_id": pad, "decoder_start_token_id": pad, "eos_token_id": 0, "forced_eos_token_id": None}
    model = random_marian(**MARIAN_SIZES | ids | {"vocab_size": backend.get_vocab_size()} | changes)
    save_translator(model, backend, folder)
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_translator_has_the_same_logits_in_every_engine_and_returns(variant, tmp_path, capsys):
    model = foreign(tmp_path / "theirs", **VARIANTS[variant])
    run = imported(tmp_path / "theirs", tmp_path / "run", capsys)
    numbers = theirs_of(run, tmp_path / "theirs")
    assert (numbers >= 0).sum() == model.config.vocab_size
    for engine in ENGINES:
        assert_same_logits(run, model, numbers, engine)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "back"), "--to", "hf"]) == 0
    back = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "back").eval()
    assert type(back) is transformers.MarianMTModel
    for name, value in model.state_dict().items():
        if ".layers." in name:  # the embedding has other rows
            assert torch.equal(value, back.state_dict()[name]), name
    assert_same_logits(run, back, np.arange(run.config.model.vocab_size))


@pytest.mark.parametrize("variant", ["as the translators of Helsinki", "a letter to begin with"])
def test_greedy_translations_are_the_same_in_both_directions(variant, tmp_path, capsys):
    model = foreign(tmp_path / "theirs", **VARIANTS[variant])
    run = imported(tmp_path / "theirs", tmp_path / "run", capsys)
    assert_same_translations(run, model, [model.config.pad_token_id, model.config.decoder_start_token_id, 1], tmp_path)


def own_run(folder: Path, **changes: Any) -> Run:
    """A translator of ours with random weights."""
    tokenizer = train_tokenizer("bpe", [TEXT], 280)
    sizes: dict[str, Any] = {"context": CONTEXT, "d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 40}
    model = TransformerConfig(vocab_size=tokenizer.vocab_size, **sizes | changes)
    config = Config(dataset="dates", tokenizer="bpe", model=model)
    return run_of(folder, config, tokenizer, "pairs", initial_weights(model, 1))


@pytest.mark.parametrize("changes", [{}, {"activation": "gelu", "bias": False, "scale_embeddings": False}], ids=str)
def test_a_translator_of_ours_is_exported_and_imported_with_the_same_logits_and_numbers(changes, tmp_path, capsys):
    run = own_run(tmp_path / "run", **changes)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "hf"), "--to", "hf"]) == 0
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "hf").eval()
    same = np.arange(run.config.model.vocab_size)
    assert_same_logits(run, model, same)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert tokenizer(SENTENCES[0])["input_ids"] == [*run.tokenizer.encode(SENTENCES[0]), model.config.eos_token_id]
    again = imported(tmp_path / "hf", tmp_path / "again", capsys)
    assert_same_logits(again, model, same)
    assert again.tokenizer.encode(SENTENCES[0]) == run.tokenizer.encode(SENTENCES[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm_order": "pre"}, "MarianMTModel, lacks norm_order pre"),
        ({"activation": "geglu"}, "MarianMTModel, lacks activation geglu"),
        ({"activation": "swiglu"}, "as MarianMTModel has no gates, found others"),
    ],
)
def test_a_translator_that_marian_cannot_hold_is_refused_before_anything_is_written(changes, words, tmp_path, capsys):
    own_run(tmp_path / "run", **changes)
    assert_not_exported(words, tmp_path, capsys)


BROKEN: dict[str, tuple[Any, str]] = {
    "positions of their own": (
        with_tensor("model.encoder.embed_positions.weight", lambda _: np.ones((CONTEXT, 16))),
        "the sines and cosines of positions were expected in model.encoder.embed_positions.weight",
    ),
    "two embeddings": (
        with_tensor("model.decoder.embed_tokens.weight", lambda tensors: tensors["model.shared.weight"] + 1),
        "one matrix was expected in model.decoder.embed_tokens.weight and model.shared.weight",
    ),
    "two vocabularies": (edited_config(share_encoder_decoder_embeddings=False), "share_encoder_decoder_embeddings"),
    "a smaller decoder": (edited_config(decoder_layers=1), "decoder_layers 2, as in the encoder, was expected"),
    "no token to begin with": (edited_config(decoder_start_token_id=None), "decoder_start_token_id must be the number"),
    "padding that ends a text": (edited_config(pad_token_id=0), "another eos_token_id than pad_token_id"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "marian"
    foreign(folder)
    return folder


@pytest.mark.parametrize("broken", BROKEN)
def test_what_our_translators_lack_is_refused_in_one_sentence_and_nothing_is_written(broken, whole, tmp_path, capsys):
    assert assert_refused(whole, *BROKEN[broken], tmp_path, capsys) == 2


def test_positions_and_copies_that_a_file_holds_besides_are_read(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "theirs")
    model = transformers.MarianMTModel.from_pretrained(whole).eval()
    positions = "model.decoder.embed_positions.weight"
    with_tensor(positions, lambda _: model.state_dict()[positions].numpy().astype(np.float16))(tmp_path / "theirs")
    with_tensor("lm_head.weight", lambda tensors: tensors["model.shared.weight"])(tmp_path / "theirs")
    run = imported(tmp_path / "theirs", tmp_path / "run", capsys)
    assert_same_logits(run, model, theirs_of(run, whole))


@pytest.mark.slow
def test_an_imported_translator_is_drawn_and_trained_further(whole, tmp_path, capsys):
    run = str(imported(whole, tmp_path / "run", capsys).folder)
    assert main(["draw", run, "the quick dog", "--out", str(tmp_path / "heads.svg")]) == 0
    losses = train_further(run, tmp_path)
    assert losses[-1] < losses[0]
