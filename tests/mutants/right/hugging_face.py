"""Models of transformers, with small random weights. Each class takes what it knows of one list of settings."""

import inspect
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers

WIDTH, HEADS, LAYERS = 32, 4, 2
SETTINGS: dict[str, Any] = {
    "vocab_size": 61,
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "attention_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "num_decoder_layers"), LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), LAYERS),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "hidden_dim", "n_inner", "ffn_hidden_size"), 2 * WIDTH),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 2 * WIDTH),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), 24),
    **{"num_key_value_heads": 2, "head_dim": 8, "d_kv": 8, "type_vocab_size": 2, "embedding_size": WIDTH},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "num_labels": 3},
}
LONGER = {"max_position_embeddings": 26, "pad_token_id": 1, "bos_token_id": 0}
"""of models that count positions from behind the padding token's id"""
BEGINS = {"decoder_start_token_id": 2, "forced_eos_token_id": None}

FAMILIES: dict[str, dict[str, Any]] = {
    # decoders
    **{f"{name}ForCausalLM": {} for name in ("Llama", "Qwen2", "Qwen3", "Gemma", "Phi", "Phi3", "StableLm")},
    **{f"{name}ForCausalLM": {} for name in ("Olmo", "Olmo2", "Cohere", "Granite", "Starcoder2", "Nemotron", "Glm")},
    **{f"{name}ForCausalLM": {} for name in ("SmolLM3", "Helium", "SeedOss", "OPT", "XGLM", "BioGpt", "GPTBigCode")},
    "MistralForCausalLM": {"sliding_window": 16},
    "Gemma2ForCausalLM": {"sliding_window": 16},
    "MixtralForCausalLM": {"num_local_experts": 4},
    "GPT2LMHeadModel": {},
    "GPTNeoXForCausalLM": {},
    "GPTJForCausalLM": {"rotary_dim": 4},
    "CodeGenForCausalLM": {"rotary_dim": 4, "n_head": 4},
    "BloomForCausalLM": {},
    "FalconForCausalLM": {"alibi": False},
    "MptForCausalLM": {},
    "BertLMHeadModel": {"is_decoder": True},
    "RobertaForCausalLM": {"is_decoder": True, **LONGER},
    # encoders
    **{f"{name}ForMaskedLM": {} for name in ("Bert", "DistilBert", "Electra", "RoFormer")},
    "ModernBertForMaskedLM": {"cls_token_id": 1, "sep_token_id": 2},
    **{f"{name}ForMaskedLM": LONGER for name in ("Roberta", "MPNet", "Camembert")},
    "AlbertForMaskedLM": {"embedding_size": 16},
    # encoder-decoders
    **{f"{name}ForConditionalGeneration": BEGINS for name in ("Bart", "Blenderbot", "Pegasus", "M2M100")},
    **{f"{name}ForConditionalGeneration": {"decoder_start_token_id": 0} for name in ("T5", "MT5")},
    "MarianMTModel": BEGINS,
    # classifiers
    **{f"{name}ForSequenceClassification": {} for name in ("Bert", "DistilBert", "GPT2", "Llama")},
}


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    family = getattr(transformers, name)
    takes = inspect.signature(family.config_class).parameters.keys() | family.config_class.attribute_map.keys()
    settings = {key: value for key, value in SETTINGS.items() if key in takes} | FAMILIES[name]
    return family(family.config_class(**settings))


MODELS: dict[str, Callable[[], nn.Module]] = {name: partial(make, name) for name in FAMILIES}
NOT_COUNTED = (
    "huggingface/transformers #47688: num_items_in_batch is taken in **kwargs and ignored, so that accumulated batches "
    "are not divided"
)
KNOWN = {name: {"loss.accumulation": NOT_COUNTED} for name in FAMILIES if name.endswith("ForMaskedLM")}
