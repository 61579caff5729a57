"""Subject: a model and how to use it, which is all that the checks know of it.

Most models are recognised by `recognise`; for another, write a function that returns a `Subject`:

    def model():
        return Subject(MyModel(), call=lambda model, tokens: model(tokens)["scores"], vocab_size=100)

Every function gets the model as its first argument, since some checks run a copy of it. Tokens are int64 [B, T]; `real`
is boolean [B, T], True for a token and False for padding. A check that needs a field which is None does not apply.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["causal", "bidirectional", "encoder-decoder", "classifier"]
MAX_LENGTH = 512
"""tokens: no longer input is ever tried, whatever the model's context"""


@dataclass(frozen=True)
class Subject:
    """A model and how to use it. In an encoder-decoder `tokens` are the decoder's, and `source` comes before them."""

    model: Any
    """usually a torch.nn.Module; a function or another engine's model will do, with fewer checks"""

    call: Callable[..., Any]
    """(model, tokens) or (model, source, tokens) -> logits [B, T, V]; of a classifier [B, C]"""

    kind: Kind = "causal"
    """causal: predicts the next token; bidirectional: sees both sides, like BERT; classifier: one label per sequence"""

    vocab_size: int | None = None
    """random tokens are drawn below it; None where the model reads vectors of `width` instead"""

    width: int | None = None
    """the model reads vectors [B, T, width] instead of tokens"""

    context: int | None = None
    """the longest input, in tokens; None where there is no limit"""

    reserved: tuple[int, ...] = ()
    """special tokens (padding, begin, end), which are never drawn"""

    pad: int = 0
    """the padding token"""

    padded: Callable[..., Any] | None = None
    """(model, tokens, real) or (model, source, tokens, source_real, real) -> logits"""

    prefixed: Callable[..., Any] | None = None
    """(model, tokens, lengths) -> logits, where so many tokens of each row are a prefix, which sees itself whole"""

    sides: tuple[Literal["left", "right"], ...] = ("right",)
    """the sides on which `padded` supports padding"""

    step: Callable[..., Any] | None = None
    """(model, tokens, cache) or (model, source, tokens, cache) -> (logits, cache): the tokens follow those in the
    cache, which is None at first"""

    steps: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """further steps of the model, by the call that takes them, each like `step`"""

    keeps_cache: bool = False
    """the model keeps the cache itself, so that there can be no second one"""

    prefill: Callable[..., Any] | None = None
    """(model, tokens, real) -> (logits, cache): the first step, on prompts of unequal length, padded on `sides[0]`;
    `step` then continues each row after its own prompt"""

    generate: Callable[..., Any] | None = None
    """(model, tokens, count) or (model, source, count) -> the new tokens [B, count], written greedily"""

    generators: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """further methods that write, by their call, each like `generate`"""

    samplers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """methods that draw tokens, each like `generate`, with settings under which only the likeliest can be drawn"""

    end: int | None = None
    """the token that ends a text, if there is one"""

    fill: Callable[..., Any] | None = None
    """(model, tokens) -> tokens [B, T], with the likeliest one in each place that holds `mask`"""

    mask: int | None = None
    """the token of a masked place"""

    paths: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """other paths to logits, by their call: (model, tokens) -> logits of all positions or the last, or their softmax"""

    positions: Callable[..., Any] | None = None
    """(model, tokens, positions) -> logits, with the position of each token"""

    loss: Callable[..., Any] | None = None
    """(model, tokens, labels) or (model, source, labels) -> mean loss in nats. labels [B, T] are aligned with the
    tokens, not shifted, and -100 is ignored"""

    smoothing: float = 0.0
    """label smoothing in `loss`"""

    accumulate: Callable[..., Any] | None = None
    """(model, batches) -> None: leaves in `.grad` the gradients of all batches, pairs (tokens, labels), as of one"""

    losses: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """further losses of the model, by the call that gives them, each like `loss`"""

    start: int | None = None
    """the decoder's first token, where `loss` makes the decoder's input from the labels"""

    norm_order: Literal["pre", "post"] | None = None
    """norms before each sub-layer or after it; None: not declared"""

    scale: float | None = None
    """the factor on attention scores; None: 1/sqrt(head width)"""

    tied: bool | None = None
    """the input embedding and the output projection share one matrix; None: not declared"""

    name: str = ""
    """the model's name in reports"""

    ways: tuple[str, ...] = ()
    """how the model is used, where that was found out by trying: one sentence each, for the report"""

    unused: tuple[str, ...] = ()
    """names of arguments of `forward` that have no influence on purpose"""

    learned_elsewhere: tuple[str, ...] = ()
    """names of parameters that get no gradient on purpose"""

    def with_model(self, model: Any) -> "Subject":
        """The same subject with another model, such as a copy."""
        return dataclasses.replace(self, model=model)


@dataclass(frozen=True)
class PartSubject:
    """A single part, and what it is declared to be where several conventions are right.

        PartSubject(rotary, {"layout": "interleaved"})

    attention: `mask` ("allow", "hide" or "additive"), `scale`, `causal`; norms: `eps`; sinusoidal: `layout`
    ("interleaved" or "halves"), `base`; rotary: `layout` ("interleaved" or "half-split"), `base`;
    mask: `mask` ("allow", "hide" or "additive").
    """

    part: Any
    declared: dict[str, Any] = field(default_factory=dict)
