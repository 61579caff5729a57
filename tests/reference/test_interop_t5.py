"""T5's encoder-decoders become runs that translate, and ours become theirs, with the same logits and text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from folders import (
    CONTEXT,
    ENGINES,
    SENTENCES,
    STD,
    TEXT,
    assert_not_exported,
    assert_refused,
    assert_same_logits,
    assert_same_translations,
    edited_config,
    imported,
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

SPARE = 3
"""rows of the embedding that are no token's, as T5 has 28"""
SIZES = {
    "d_model": 16, "num_layers": 2, "num_heads": 4, "d_kv": 4, "d_ff": 40, "n_positions": CONTEXT,
    "decoder_start_token_id": 0,
}  # fmt: skip
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "as T5": ("T5", {"feed_forward_proj": "relu"}),
    "as T5 1.1": ("T5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "as mT5": ("MT5", {"tie_word_embeddings": False}),
    "as T5 11B, wider heads": ("T5", {"feed_forward_proj": "relu", "d_kv": 16}),
    "as mT5 small, heads that do not divide the width": (
        "MT5",
        {"tie_word_embeddings": False, "num_heads": 3, "d_kv": 16},
    ),
    "tied, with another gate": ("T5", {"feed_forward_proj": "gated-silu"}),
}


def foreign(folder: Path, family: str = "T5", **changes: Any) -> Any:
    """Save a tiny model with random weights and its tokenizer into `folder`, and return it."""
    backend = unigrams("<pad>", "</s>", "<unk>")
    settings = SIZES | {"vocab_size": backend.get_vocab_size() + SPARE} | changes
    configuration = getattr(transformers, f"{family}Config")(**settings)
    torch.manual_seed(3)
    model = getattr(transformers, f"{family}ForConditionalGeneration")(configuration).eval()
    if not settings.get("tie_word_embeddings", True):
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * STD + (1.0 if "norm.weight" in name else 0.0))
        for stack in (model.encoder, model.decoder):
            stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight.normal_()
        model.decoder.final_layer_norm.weight.mul_(-4)  # or each token would be followed by itself, where it is tied
    save_translator(model, backend, folder)
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_t5_has_the_same_logits_in_every_engine_and_returns(variant, tmp_path, capsys):
    family, changes = VARIANTS[variant]
    model = foreign(tmp_path / "theirs", family, **changes)
    run = imported(tmp_path / "theirs", tmp_path / "run", capsys)
    numbers = theirs_of(run, tmp_path / "theirs")
    assert (numbers >= 0).sum() == model.config.vocab_size - SPARE
    for engine in ENGINES:
        assert_same_logits(run, model, numbers, engine)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "back"), "--to", "hf"]) == 0
    back = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "back").eval()
    assert type(back) is transformers.T5ForConditionalGeneration
    for name, value in model.state_dict().items():
        if ".block." in name:  # the embedding has other rows; heads of width 4, so that queries are doubled and halved
            assert torch.equal(value, back.state_dict()[name]), name
    assert_same_logits(run, back, np.arange(run.config.model.vocab_size))


@pytest.mark.parametrize("variant", ["as T5", "as T5 1.1"])
def test_greedy_translations_are_the_same_in_both_directions(variant, tmp_path, capsys):
    family, changes = VARIANTS[variant]
    model = foreign(tmp_path / "theirs", family, **changes)
    run = imported(tmp_path / "theirs", tmp_path / "run", capsys)
    assert_same_translations(run, model, [0, 2], tmp_path)


OURS: dict[str, Any] = {
    "norm": "rms", "norm_order": "pre", "positions": "relative", "bias": False, "scale_embeddings": False,
}  # fmt: skip


def own_run(folder: Path, **changes: Any) -> Run:
    """A translator of ours with random weights."""
    tokenizer = train_tokenizer("bpe", [TEXT], 280)
    sizes: dict[str, Any] = {"context": CONTEXT, "d_model": 24, "num_heads": 4, "num_layers": 2, "d_ff": 40}
    model = TransformerConfig(vocab_size=tokenizer.vocab_size, **sizes | OURS | changes)
    config = Config(dataset="dates", tokenizer="bpe", model=model)
    rng, drawn = np.random.default_rng(1), initial_weights(model, 1)
    weights = {name: value + rng.normal(0, STD, value.shape).astype(np.float32) for name, value in drawn.items()}
    return run_of(folder, config, tokenizer, "pairs", weights)


@pytest.mark.parametrize("changes", [{}, {"activation": "geglu_tanh", "tie_embeddings": False}], ids=str)
def test_a_run_with_relative_positions_is_exported_and_imported_with_the_same_logits(changes, tmp_path, capsys):
    run = own_run(tmp_path / "run", **changes)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "hf"), "--to", "hf"]) == 0
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "hf").eval()
    same = np.arange(run.config.model.vocab_size)
    assert_same_logits(run, model, same)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert tokenizer(SENTENCES[0])["input_ids"] == [*run.tokenizer.encode(SENTENCES[0]), model.config.eos_token_id]
    again = imported(tmp_path / "hf", tmp_path / "again", capsys)
    assert_same_logits(again, model, same)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"activation": "geglu"}, "T5ForConditionalGeneration, lacks activation geglu"),
        ({"window": 3}, "T5ForConditionalGeneration, lacks window 3"),
        ({"bias": True}, "T5ForConditionalGeneration, lacks bias True"),
    ],
)
def test_a_run_that_t5_cannot_hold_is_refused_before_anything_is_written(changes, words, tmp_path, capsys):
    own_run(tmp_path / "run", **changes)
    assert_not_exported(words, tmp_path, capsys)


BROKEN: dict[str, tuple[Any, str]] = {
    "no width of heads": (edited_config(d_kv="4"), "d_kv must be a whole number above 0"),
    "a smaller decoder": (edited_config(num_decoder_layers=1), "num_decoder_layers 2, as in the encoder, was expected"),
    "more buckets": (edited_config(relative_attention_num_buckets=64), "relative_attention_num_buckets 32 was"),
    "farther buckets": (edited_config(relative_attention_max_distance=256), "relative_attention_max_distance 128 was"),
    "another activation": (edited_config(feed_forward_proj="gated-relu"), "feed_forward_proj of relu, gelu"),
    "two tables": (
        with_tensor("lm_head.weight", lambda tensors: tensors["shared.weight"] + 1),
        "one matrix was expected in lm_head.weight and shared.weight",
    ),
    "a table in each layer": (
        with_tensor("encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight", lambda _: np.ones((32, 4))),
        "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight maps to nothing",
    ),
    "umT5": (edited_config(model_type="umt5", architectures=["UMT5ForConditionalGeneration"]), "in each layer"),
    "LongT5": (edited_config(model_type="longt5", architectures=["LongT5ForConditionalGeneration"]), "summaries"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "t5"
    foreign(folder)
    return folder


@pytest.mark.parametrize("broken", BROKEN)
def test_what_our_models_lack_of_t5_is_refused_in_one_sentence_and_nothing_is_written(broken, whole, tmp_path, capsys):
    assert assert_refused(whole, *BROKEN[broken], tmp_path, capsys) == 2


@pytest.mark.slow
def test_an_imported_t5_is_trained_further(whole, tmp_path, capsys):
    losses = train_further(str(imported(whole, tmp_path / "run", capsys).folder), tmp_path)
    assert losses[-1] < losses[0]
