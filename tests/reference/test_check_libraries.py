"""No false alarms: models of widely used libraries pass every check, but for known faults of those libraries."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from clearformer.checks.models.run import choose, run_checks
from clearformer.checks.recognise import recognise
from clearformer.checks.subject import Kind

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers", reason="it is in the dev extra")
x_transformers = pytest.importorskip("x_transformers", reason="it is in the dev extra")

VOCABULARY, CONTEXT, WIDTH, HEADS, LAYERS = 67, 24, 32, 4, 2
"""heads of width 8, and a context longer than any window below"""
LLAMA = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
BERT = {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"} | {"type_vocab_size": 2}
GPT2 = {
    **{"vocab_size": VOCABULARY, "n_positions": CONTEXT, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS},
    **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
}
BART = {
    **{"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "d_model": WIDTH, "pad_token_id": 0},
    **{f"{side}_layers": LAYERS for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": HEADS for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 2 * WIDTH for side in ("encoder", "decoder")},
    **{"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": None},
}
T5 = {
    **{"vocab_size": VOCABULARY, "d_model": WIDTH, "d_kv": WIDTH // HEADS, "d_ff": 2 * WIDTH, "num_layers": LAYERS},
    **{"num_heads": HEADS, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
}

MODELS: dict[str, dict[str, Any]] = {
    "GPT2LMHeadModel": GPT2,
    "LlamaForCausalLM": LLAMA,
    "Qwen2ForCausalLM": LLAMA,
    "Qwen3ForCausalLM": LLAMA | {"head_dim": 8},
    "MistralForCausalLM": LLAMA | {"sliding_window": 16},
    "GemmaForCausalLM": LLAMA | {"head_dim": 8},
    "Gemma2ForCausalLM": LLAMA | {"head_dim": 8, "sliding_window": 16},
    "GPTNeoXForCausalLM": BERT,
    "GPTJForCausalLM": GPT2 | {"rotary_dim": 4},
    "GPTNeoForCausalLM": {
        **{"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "hidden_size": WIDTH, "num_layers": LAYERS},
        **{"num_heads": HEADS, "attention_types": [[["global", "local"], 1]], "window_size": 16},
        **{"bos_token_id": 1, "eos_token_id": 2},
    },
    "OPTForCausalLM": BERT | {"ffn_dim": 2 * WIDTH, "word_embed_proj_dim": WIDTH},
    "BloomForCausalLM": {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS},
    "PhiForCausalLM": LLAMA,
    "Mamba2ForCausalLM": {
        **{"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_heads": 8, "head_dim": 8},
        **{"state_size": 8, "n_groups": 1, "chunk_size": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    },
    "FalconForCausalLM": LLAMA | {"alibi": False},
    "StableLmForCausalLM": LLAMA,
    "BertForMaskedLM": BERT,
    "RobertaForMaskedLM": BERT | {"pad_token_id": 1, "bos_token_id": 0, "max_position_embeddings": CONTEXT + 2},
    "DistilBertForMaskedLM": {
        **{"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "dim": WIDTH, "hidden_dim": 2 * WIDTH},
        **{"n_layers": LAYERS, "n_heads": HEADS, "pad_token_id": 0},
    },
    "ElectraForMaskedLM": BERT | {"embedding_size": WIDTH},
    "AlbertForMaskedLM": BERT | {"embedding_size": 16},
    "MPNetForMaskedLM": BERT | {"pad_token_id": 1, "bos_token_id": 0, "max_position_embeddings": CONTEXT + 2},
    "BertLMHeadModel": BERT | {"is_decoder": True},
    "RoFormerForCausalLM": BERT | {"is_decoder": True, "embedding_size": WIDTH},
    "RoFormerForMaskedLM": BERT | {"embedding_size": WIDTH},
    "T5ForConditionalGeneration": T5,
    "BartForConditionalGeneration": BART,
    "MBartForConditionalGeneration": BART | {"decoder_start_token_id": None},
    "MarianMTModel": BART,
    "PegasusForConditionalGeneration": BART | {"decoder_start_token_id": 0},
    "BertForSequenceClassification": BERT | {"num_labels": 3},
    "GPT2ForSequenceClassification": GPT2 | {"num_labels": 3},
}


def hugging_face(name: str) -> nn.Module:
    family = getattr(transformers, name)
    torch.manual_seed(0)
    return family(family.config_class(**MODELS[name]))


def wrapper(layers: Any, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return x_transformers.TransformerWrapper(
        num_tokens=VOCABULARY, max_seq_len=CONTEXT, attn_layers=layers(dim=WIDTH, depth=LAYERS, heads=HEADS, **settings)
    )


def x_transformer() -> nn.Module:
    torch.manual_seed(0)
    sides = {
        f"{side}_{name}": value
        for side in ("enc", "dec")
        for name, value in {"num_tokens": VOCABULARY, "max_seq_len": CONTEXT, "depth": LAYERS, "heads": HEADS}.items()
    }
    return x_transformers.XTransformer(dim=WIDTH, **sides)


def of_torch(name: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    settings = {"nhead": HEADS, "dim_feedforward": 2 * WIDTH, "d_model": WIDTH, **settings}
    if name == "Transformer":
        return nn.Transformer(num_encoder_layers=LAYERS, num_decoder_layers=LAYERS, **settings)
    layer = getattr(nn, f"{name}Layer")(**settings)
    return getattr(nn, name)(layer, LAYERS)


OTHERS: dict[str, tuple[Callable[[], nn.Module], Kind | None]] = {
    "x-transformers decoder": (lambda: wrapper(x_transformers.Decoder), None),
    "x-transformers decoder, rotary": (
        lambda: wrapper(x_transformers.Decoder, rotary_pos_emb=True, use_rmsnorm=True, ff_swish=True, ff_glu=True),
        None,
    ),
    "x-transformers decoder, ALiBi": (lambda: wrapper(x_transformers.Decoder, alibi_pos_bias=True), None),
    "x-transformers decoder, relative": (lambda: wrapper(x_transformers.Decoder, rel_pos_bias=True), None),
    "x-transformers decoder, flash": (lambda: wrapper(x_transformers.Decoder, attn_flash=True), None),
    "x-transformers decoder, post-norm": (lambda: wrapper(x_transformers.Decoder, pre_norm=False), None),
    "x-transformers decoder, grouped": (lambda: wrapper(x_transformers.Decoder, attn_kv_heads=2), None),
    "x-transformers encoder": (lambda: wrapper(x_transformers.Encoder), None),
    "x-transformers encoder-decoder": (x_transformer, None),
    "torch.nn.Transformer": (lambda: of_torch("Transformer", batch_first=True), None),
    "torch.nn.Transformer, pre-norm, batch second": (lambda: of_torch("Transformer", norm_first=True), None),
    "torch.nn.TransformerEncoder": (lambda: of_torch("TransformerEncoder", batch_first=True), None),
    "torch.nn.TransformerEncoder, batch second": (lambda: of_torch("TransformerEncoder"), None),
    "torch.nn.TransformerEncoder, causal": (lambda: of_torch("TransformerEncoder", batch_first=True), "causal"),
    "torch.nn.TransformerDecoder": (lambda: of_torch("TransformerDecoder", batch_first=True), None),
}


FAST_PATH = (
    "torch's fast path for inference returns NaN where a padded token on the left may attend to nothing; without it, "
    "after torch.backends.mha.set_fastpath_enabled(False), the same modules pass: see the test below"
)
NOT_COUNTED = (
    "huggingface/transformers #47688: these models accept num_items_in_batch in **kwargs and ignore it, and Trainer, "
    "which inspects the signature, then does not divide by the number of batches: with BertForMaskedLM and 2 or 4 "
    "batches its gradients were 2.0 and 4.0 times those of one (transformers 5.23.0), with LlamaForCausalLM 1.0"
)
KNOWN: dict[tuple[str, str], str] = {
    (model, check): FAST_PATH
    for model in ("torch.nn.Transformer", "torch.nn.TransformerEncoder, causal", "torch.nn.TransformerDecoder")
    for check in ("batches.left-padding", "batches.padding-unseen")
} | {(model, "loss.accumulation"): NOT_COUNTED for model in MODELS if model.endswith("ForMaskedLM")}
"""checks that fail because of the library, with the reason"""


LIKE_BART = {"MBartForConditionalGeneration", "MarianMTModel", "PegasusForConditionalGeneration"}
"""their layers are Bart's, so training, which takes 10 seconds each, is checked with Bart only"""


def failures(model: nn.Module, kind: Kind | None = None, skip: Sequence[str] = ()) -> dict[str, str]:
    """The ids of all checks that failed or crashed, with their outcomes."""
    outcomes = {result.id: result.outcome for result in run_checks(recognise(model, kind=kind), choose(skip=skip))}
    return {
        check: f"{outcome.status} {outcome.cause} {outcome.measured}: {outcome.case}"
        for check, outcome in outcomes.items()
        if outcome.status in ("failed", "crashed")
    }


def assert_only_known_failures(name: str, failed: dict[str, str]) -> None:
    """All failures are known, and all known ones still fail."""
    known = {check for model, check in KNOWN if model == name}
    assert failed.keys() == known, "\n".join(f"{check}: {outcome}" for check, outcome in failed.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_of_hugging_face_pass_every_check(name: str):
    assert_only_known_failures(name, failures(hugging_face(name), skip=["learning"] * (name in LIKE_BART)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")  # raised for all but the default
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")  # raised for the default
@pytest.mark.parametrize("name", OTHERS)
def test_models_of_x_transformers_and_torch_pass_every_check(name: str):
    make, kind = OTHERS[name]
    assert_only_known_failures(name, failures(make(), kind))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({model for model, _ in KNOWN} & OTHERS.keys()))
def test_torchs_modules_pass_without_their_fast_path(name: str):
    make, kind = OTHERS[name]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert not failures(make(), kind)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_the_cache_of_x_transformers_is_found_without_an_attribute_of_later_versions():
    model: Any = wrapper(x_transformers.Decoder)
    del model.can_cache_kv  # it came with 1.23, the cache with 1.22
    assert recognise(model).step is not None


def test_the_cache_of_mamba_is_found_by_its_own_name():
    assert recognise(hugging_face("Mamba2ForCausalLM")).step is not None
