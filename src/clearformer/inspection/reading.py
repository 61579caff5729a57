"""A text as a model reads it: the model's inputs and its tokens, and what inspection can show of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clearformer.config import ClassifierConfig
from clearformer.data.tokenizers import Tokenizer
from clearformer.errors import InspectionError, PromptError
from clearformer.inspection.attention import CROSS, SELF, AttentionHeads, AttentionMap
from clearformer.inspection.attribution import integrated_gradients
from clearformer.inspection.contributions import contributions
from clearformer.inspection.families import in_range
from clearformer.inspection.inputs import model_inputs
from clearformer.inspection.lens import logit_lens
from clearformer.inspection.record import record
from clearformer.inspection.scores import has_induction, head_scores, induction_scores
from clearformer.inspection.views import Contributions, HeadScores, Lens, TokenValues
from clearformer.models.build import Model
from clearformer.models.classifier import Classifier
from clearformer.models.transformer import Transformer
from clearformer.training.device import move

Part = Literal["cross", "encoder", "decoder"]
"""of a translator's attention: from target to source, within the source, within the target"""
CANDIDATES = 5
"""outputs at each point of a lens"""


@dataclass(frozen=True, repr=False)
class Reading:
    """One text, or a translator's pair, as `inputs` of a model. Make one with `read`, or `run.inspect(text)`."""

    model: Model
    tokenizer: Tokenizer
    inputs: tuple[Tensor, ...]
    """of one row: `model(*reading.inputs)`"""
    texts: tuple[list[str], ...]
    """the tokens that the model reads: one text, or source and target"""
    written: list[str]
    """the tokens that a translator writes, beside those of the target that it reads; else none"""
    classes: Sequence[str] = ()
    """names of a classifier's classes; if there are none, their numbers"""

    def __repr__(self) -> str:
        sizes = " and ".join(str(len(tokens)) for tokens in self.texts)
        methods = "attention, heads, lens, contributions, attribution and scores"
        return f"Reading({sizes} tokens of a {self.model.config.kind}; has inputs, {methods})"

    def heads(self, part: Part | None = None) -> AttentionHeads:
        """The attention weights of every head of every layer; of a translator's cross-attention, or another part.

        Raises InspectionError for a part of a model that reads one text.
        """
        rows = columns = self.texts[0]
        stack, core = "", ".attention.core"
        if isinstance(self.model, Transformer):
            stack = "encoder" if part == "encoder" else "decoder"
            if part == "decoder":
                rows = columns = self.texts[1]
            elif part != "encoder":
                rows, core = self.written, ".cross_attention.core"
        elif part:
            raise InspectionError(
                f"a translator was expected for attention of its {part}, found a model of one text; leave it out"
            )
        with torch.inference_mode(), record(self.model, "attention") as trace:
            self.model(*self.inputs)
        layers = [
            weights[0] for name, weights in trace.attention.items() if name.startswith(stack) and name.endswith(core)
        ]
        weights, labels = torch.stack(layers).float().cpu().numpy(), CROSS if rows is self.written else SELF
        numbers = list(range(weights.shape[0])), list(range(weights.shape[1]))
        return AttentionHeads(weights, *numbers, rows, columns, labels)

    def attention(self, layer: int = -1, head: int | None = None, part: Part | None = None) -> AttentionMap:
        """One head's weights, or the mean over the heads; layers count from 0, or from the end if negative.

        Raises InspectionError for a layer, head or part that does not exist.
        """
        return self.heads(part).map(layer, head)

    def lens(self) -> Lens:
        """The likeliest outputs at each point of the residual stream, for each token (`logit_lens`)."""
        best = logit_lens(self.model, self.inputs)[:, 0].float().softmax(-1)
        values, indices = best.topk(min(CANDIDATES, best.shape[-1]))
        names = [[[self._output(index) for index in token] for token in point] for point in indices.tolist()]
        candidates = [
            [list(zip(*token, strict=True)) for token in zip(*point, strict=True)]
            for point in zip(names, values.tolist(), strict=True)
        ]
        return Lens(self.texts[-1], candidates)

    def contributions(self, position: int = -1, output: str | int | None = None) -> Contributions:
        """What each part adds to the logit of an output, by default the likeliest, at a token (`contributions`).

        `output` is a token or class, or its number. Raises InspectionError if there is no such output or position.
        """
        index = self._index(position, output)
        parts = contributions(self.model, self.inputs, index, position)
        at = "" if isinstance(self.model, Classifier) else self.texts[-1][position]
        return Contributions(self._output(index), at, {name: float(value) for name, value in parts.items()})

    def attribution(self, position: int = -1, output: str | int | None = None) -> TokenValues:
        """What each token that the model reads is worth for an output (`integrated_gradients`); as `contributions`."""
        index = self._index(position, output)
        found = integrated_gradients(self.model, self.inputs, index, position)
        values = [values.float().cpu().numpy() for values in found.texts]
        return TokenValues(self._output(index), list(zip(self.texts, values, strict=True)), found.gap)

    def scores(self, alignment: Collection[tuple[int, int]] = ()) -> HeadScores:
        """The scores of every head on this text (`head_scores`); of a causal model also for induction."""
        found = head_scores(self.model, self.inputs, alignment)
        if has_induction(self.model):
            for place, score in induction_scores(self.model).items():
                found[place]["induction"] = score
        return HeadScores(found)

    def _output(self, index: int) -> str:
        """A token, or a class, as text."""
        if not isinstance(self.model, Classifier):
            return self.tokenizer.token_text(index)
        return self.classes[index] if self.classes else str(index)

    def _index(self, position: int, output: str | int | None) -> int:
        """The number of an output, from 0 on."""
        if isinstance(output, int):
            config = self.model.config
            count = config.num_classes if isinstance(config, ClassifierConfig) else config.vocab_size
            return in_range("output", output, count) % count
        if output is None:
            with torch.inference_mode():
                logits = self.model(*self.inputs)[0]
            if logits.dim() == 2:
                logits = logits[in_range("position", position, len(logits))]
            return int(logits.argmax())
        if isinstance(self.model, Classifier):
            found = [index for index, name in enumerate(self.classes) if name == output]
        else:
            found = self.tokenizer.target.encode(output)
        if len(found) != 1:
            raise InspectionError(
                f"one output of the model was expected, found {output!r}, which is {len(found)} of them"
            )
        return found[0]


def read(model: Model, tokenizer: Tokenizer, text: str, target: str = "", classes: Sequence[str] = ()) -> Reading:
    """A text, or a translator's text and `target`, as the model reads it; the model is put into evaluation mode.

    A classifier's text is truncated to the context. Raises PromptError for other longer texts, or an empty one.
    """
    inputs, ids, written = model_inputs(model, tokenizer, text, target)
    context = model.config.context
    for tokens in ids:
        if not 0 < len(tokens) <= context:
            raise PromptError(f"a text of 1 to {context} tokens was expected, the model's context, found {len(tokens)}")
    *texts, writes = ([tokenizer.token_text(int(index)) for index in tokens] for tokens in (*ids, written))
    device = next(model.parameters()).device
    tensors = tuple(move(array, device) for array in inputs)
    return Reading(model.eval(), tokenizer, tensors, tuple(texts), writes, classes)
