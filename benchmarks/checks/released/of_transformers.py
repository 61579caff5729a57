"""Small models of Hugging Face transformers, with random weights. Each runs in the versions that its bug names."""

from typing import Any

import torch
import transformers
from torch import nn

WIDTH, LAYERS, HEADS = 32, 2, 4
SETTINGS: dict[str, Any] = {
    **{"vocab_size": 67, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": LAYERS},
    **{"num_attention_heads": HEADS, "max_position_embeddings": 32},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
GROUPED = {**SETTINGS, "num_key_value_heads": 2, "head_dim": WIDTH // HEADS}
MAMBA2 = {**{f"mamba_{name}": 8 for name in ("d_state", "d_head", "chunk_size")}, "mamba_n_heads": 8, "mamba_d_ssm": 64}
LINEAR = {
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    "layer_types": ["linear_attention", "full_attention"],
}


def build(name: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    family = getattr(transformers, name)
    return family(family.config_class(**settings))


def roformer() -> nn.Module:
    return build("RoFormerForCausalLM", **SETTINGS, is_decoder=True, embedding_size=WIDTH)


def rembert() -> nn.Module:
    return build(
        "RemBertForCausalLM", **SETTINGS, is_decoder=True, input_embedding_size=WIDTH, output_embedding_size=WIDTH
    )


def megatron_bert() -> nn.Module:
    return build("MegatronBertForCausalLM", **SETTINGS, is_decoder=True)


def big_bird() -> nn.Module:
    longer = {**SETTINGS, "max_position_embeddings": 128}
    return build("BigBirdForCausalLM", **longer, is_decoder=True, attention_type="original_full")


def doge() -> nn.Module:
    return build("DogeForCausalLM", **GROUPED)


def falcon_h1() -> nn.Module:
    return build("FalconH1ForCausalLM", **GROUPED, **MAMBA2)


def lfm2() -> nn.Module:
    return build(
        "Lfm2ForCausalLM",
        **SETTINGS,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
        block_multiple_of=8,
    )


def qwen3_next() -> nn.Module:
    return build(
        "Qwen3NextForCausalLM",
        **GROUPED,
        **LINEAR,
        **{"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
        shared_expert_intermediate_size=16,
    )


def qwen3_5() -> nn.Module:
    return build("Qwen3_5ForCausalLM", **GROUPED, **LINEAR)


def mamba2() -> nn.Module:
    return build(
        "Mamba2ForCausalLM",
        **{"vocab_size": 67, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_heads": 8, "head_dim": 8},
        **{"state_size": 8, "n_groups": 1, "chunk_size": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    )


def zamba2() -> nn.Module:
    return build(
        "Zamba2ForCausalLM",
        **SETTINGS,
        **{"layers_block_type": ["mamba", "hybrid"], "n_mamba_heads": 8, "mamba_d_state": 8, "chunk_size": 8},
        use_mem_rope=True,
    )


def gemma2() -> nn.Module:
    return build("Gemma2ForCausalLM", **GROUPED, sliding_window=16)


def bert_with_relative_positions() -> nn.Module:
    return build("BertLMHeadModel", **SETTINGS, is_decoder=True, position_embedding_type="relative_key")


def xglm() -> nn.Module:
    return build(
        "XGLMForCausalLM",
        **{"vocab_size": 67, "max_position_embeddings": 32, "d_model": WIDTH, "ffn_dim": 2 * WIDTH},
        **{"num_layers": LAYERS, "attention_heads": HEADS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    )


def gemma4() -> nn.Module:
    layers = ["sliding_attention", "full_attention"] * 2
    return build(
        "Gemma4ForCausalLM",
        sliding_window=16,
        **{**GROUPED, "num_hidden_layers": len(layers), "layer_types": layers, "global_head_dim": WIDTH // HEADS},
        **{"num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 67},
    )
