"""Properties of model families, by their `config.model_type`, that cannot be read from the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

POST = {"bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert", "mpnet", "roformer", "bart"}
PRE = {
    *("gpt2", "gpt_neo", "gpt_neox", "gptj", "bloom", "falcon", "phi", "mbart", "pegasus", "t5", "mt5", "umt5"),
    *("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "stablelm"),
}
RELATIVE = {"t5", "mt5", "umt5", "bloom", "roformer"}
"""positions are relative, so that padding on the left needs no position_ids"""
SCALES: dict[str, Callable[[Any], float]] = {
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5", "gpt_neo"), lambda _: 1.0),
    **dict.fromkeys(("gemma2", "gemma3_text"), lambda config: config.query_pre_attn_scalar**-0.5),
    "granite": lambda config: config.attention_multiplier,
}
"""the factor on attention scores where it is not 1/sqrt(head width)"""


@dataclass(frozen=True)
class Facts:
    """Declared properties of a family; None: not known."""

    scale: float | None = None
    norm_order: Literal["pre", "post"] | None = None
    relative: bool = False


def facts(config: Any) -> Facts:
    family = getattr(config, "model_type", "")
    return Facts(
        scale=SCALES[family](config) if family in SCALES else None,
        norm_order="post" if family in POST else "pre" if family in PRE else None,
        relative=family in RELATIVE or bool(getattr(config, "alibi", False)),
    )
