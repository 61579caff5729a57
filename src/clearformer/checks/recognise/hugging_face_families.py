"""What is known of families of models by their `config.model_type`, and cannot be read from their code."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

POST = {"bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert", "mpnet", "roformer", "bart"}
PRE = {
    *("gpt2", "gpt_neo", "gpt_neox", "gptj", "bloom", "falcon", "phi", "mbart", "pegasus", "t5", "mt5", "umt5"),
    *("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "stablelm"),
}
RELATIVE = {"t5", "mt5", "umt5", "bloom", "roformer"}
"""only how far apart two tokens are counts, so that padding on the left needs no positions"""
SCALES: dict[str, Callable[[Any], float]] = {
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5", "gpt_neo"), lambda _: 1.0),
    **dict.fromkeys(("gemma2", "gemma3_text"), lambda config: config.query_pre_attn_scalar**-0.5),
    "granite": lambda config: config.attention_multiplier,
}
"""what scores are multiplied by where it is not 1/sqrt(head width)"""


@dataclass(frozen=True)
class Facts:
    """What checks expect of a model of the family."""

    scale: float | None = None
    norm_order: Literal["pre", "post"] | None = None
    relative: bool = False


def facts(config: Any) -> Facts:
    """None of it is known of a family that is not listed."""
    family = getattr(config, "model_type", "")
    return Facts(
        scale=SCALES[family](config) if family in SCALES else None,
        norm_order="post" if family in POST else "pre" if family in PRE else None,
        relative=family in RELATIVE or bool(getattr(config, "alibi", False)),
    )
