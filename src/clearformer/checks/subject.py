"""Subject: what must be known of a model so that it can be checked.

Most models are recognised by `adapters`; for another, a function returns a `Subject` that its author has filled in:

    def model():
        return Subject(MyModel(), call=lambda model, tokens: model(tokens)["scores"], vocab_size=100)

Every function gets the model first, since some checks run a copy of it. Tokens are int64 [B, T]; `real` is boolean
[B, T], True for a token and False for padding. What is left None is not checked, and the report says so.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["causal", "bidirectional", "encoder-decoder", "classifier"]
LONGEST = 512
"""a longer context is tried up to here"""


@dataclass(frozen=True)
class Subject:
    """A model and how to use it. In an encoder-decoder `tokens` are the decoder's, and `source` comes before them."""

    model: Any
    """usually a torch.nn.Module; a function or another engine's model will do, with fewer checks"""

    call: Callable[..., Any]
    """(model, tokens) or (model, source, tokens) -> logits [B, T, V]; of a classifier [B, C]"""

    kind: Kind = "causal"
    """causal: predicts the next token; bidirectional: sees both sides, like BERT; classifier: logits of a whole text"""

    vocab_size: int | None = None
    """tokens are drawn below it; None where the model reads vectors, of `width`"""

    width: int | None = None
    """the model reads vectors [B, T, width] in place of tokens"""

    context: int | None = None
    """the longest input; None where there is no limit"""

    reserved: tuple[int, ...] = ()
    """tokens with a meaning of their own (padding, begin, end), which are not drawn"""

    pad: int = 0
    """the token that fills padded places"""

    padded: Callable[..., Any] | None = None
    """(model, tokens, real) or (model, source, tokens, source_real, real) -> logits"""

    sides: tuple[Literal["left", "right"], ...] = ("right",)
    """where `padded` may have its padding"""

    step: Callable[..., Any] | None = None
    """(model, tokens, cache) or (model, source, tokens, cache) -> (logits, cache): tokens come after those in the
    cache, which is None at first"""

    prefill: Callable[..., Any] | None = None
    """(model, tokens, real) -> (logits, cache): a first step with prompts of unequal length, padded on `sides[0]`;
    `step` goes on with each row at its own length"""

    loss: Callable[..., Any] | None = None
    """(model, tokens, labels) or (model, source, labels) -> mean loss. labels [B, T] stand where the tokens stand, not
    shifted, and -100 is not predicted"""

    smoothing: float = 0.0
    """label smoothing in `loss`"""

    accumulate: Callable[..., Any] | None = None
    """(model, batches) -> None: leaves in `.grad` what the batches, pairs of (tokens, labels), give as one batch"""

    start: int | None = None
    """the token a decoder begins with, where `loss` makes the decoder's input from the labels"""

    norm_order: Literal["pre", "post"] | None = None
    """norms before each sub-layer or after it; None: as found"""

    scale: float | None = None
    """attention's scores are multiplied by it; None: 1/sqrt(head width)"""

    tied: bool | None = None
    """input embedding and output share one matrix; None: as found"""

    name: str = ""
    """what reports call it"""

    learned_elsewhere: tuple[str, ...] = ()
    """parameters that no gradient reaches on purpose, by name"""

    def with_model(self, model: Any) -> "Subject":
        """The same, for a copy of the model."""
        return dataclasses.replace(self, model=model)
