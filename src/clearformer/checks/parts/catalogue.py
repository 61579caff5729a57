"""All parts, and the checks of each, by id: `part.name`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clearformer.checks.check import Check
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts import (
    attention_checks,
    attention_mask,
    feed_forward,
    mask,
    norm_checks,
    rotary_checks,
    sinusoidal_checks,
)
from clearformer.checks.parts.attention import AttentionProbe
from clearformer.checks.parts.common import finite, repeatable, unchanged_input
from clearformer.checks.parts.norm import LayerNormProbe, RMSNormProbe
from clearformer.checks.parts.probe import PartProbe
from clearformer.checks.parts.rotary import RotaryProbe
from clearformer.checks.parts.sinusoidal import SinusoidalProbe


@dataclass(frozen=True)
class Part:
    """The probe of a kind of part, and its checks."""

    probe: type[PartProbe]
    checks: dict[str, Check]


def _common_checks(part: str, random_weights: bool = False) -> dict[str, Check]:
    """`random_weights`: for parts whose initial weights may be zero."""
    return {
        f"{part}.finite": Check("random vectors give finite numbers", finite, random_weights=random_weights),
        f"{part}.repeatable": Check(
            "in evaluation mode one input has one output", repeatable, random_weights=random_weights
        ),
        f"{part}.input": Check("the part does not change its input", unchanged_input, random_weights=random_weights),
    }


def _own_weights(claim: str, run: Callable[[Any], Outcome]) -> Check:
    """A check that runs with the part's own weights."""
    return Check(claim, run, random_weights=False)


def _norm_checks(part: str) -> dict[str, Check]:
    return {
        **_common_checks(part),
        f"{part}.axis": _own_weights("each token is normalised on its own", norm_checks.axis),
        f"{part}.eps": _own_weights("a small number under the root keeps a constant vector finite", norm_checks.eps),
        f"{part}.weight": _own_weights(
            "the weight multiplies and the bias is added, after the norm", norm_checks.weight
        ),
    }


PARTS: dict[str, Part] = {
    "attention": Part(
        AttentionProbe,
        {
            **_common_checks("attention", random_weights=True),
            "attention.rows": Check("rows of a batch and heads do not influence each other", attention_checks.rows),
            "attention.values": Check("the output is the weights times the values", attention_checks.values),
            "attention.softmax": Check("each query's weights sum to one over the keys", attention_checks.softmax),
            "attention.scale": Check("scores are scaled by 1/sqrt(E)", attention_checks.scale),
            "attention.causal": Check(
                "every token is attended to, or those up to the query's own", attention_checks.causal
            ),
            "attention.mask": Check("a hidden key has weight zero, and the others share it", attention_mask.mask),
            "attention.finite-mask": Check("large scores do not overcome the mask", attention_mask.finite),
            "attention.empty-row": Check("a query that may attend to nothing stays finite", attention_mask.empty_row),
        },
    ),
    "layer-norm": Part(
        LayerNormProbe,
        {
            **_norm_checks("layer-norm"),
            "layer-norm.centre": _own_weights(
                "a constant added to the whole vector changes nothing", norm_checks.centre
            ),
            "layer-norm.variance": _own_weights("the biased variance of the output is one", norm_checks.scale),
            "layer-norm.large": _own_weights("a large mean does not drown the variance", norm_checks.large),
        },
    ),
    "rms-norm": Part(
        RMSNormProbe,
        {
            **_norm_checks("rms-norm"),
            "rms-norm.direction": _own_weights("no mean is subtracted", norm_checks.direction),
            "rms-norm.scale": _own_weights("the mean square of the output is one", norm_checks.scale),
        },
    ),
    "sinusoidal": Part(
        SinusoidalProbe,
        {
            "sinusoidal.layout": _own_weights(
                "sine and cosine of the same angle are in pairs", sinusoidal_checks.layout
            ),
            "sinusoidal.frequencies": _own_weights(
                "frequencies fall evenly from 1 to 1/10000", sinusoidal_checks.frequencies
            ),
            "sinusoidal.start": _own_weights("the first position is 0", sinusoidal_checks.start),
            "sinusoidal.length": _own_weights(
                "a position's vector does not depend on the length", sinusoidal_checks.length
            ),
            "sinusoidal.added": _own_weights("positions are added to x, which is unchanged", sinusoidal_checks.added),
            **_common_checks("sinusoidal"),
        },
    ),
    "rotary": Part(
        RotaryProbe,
        {
            "rotary.layout": _own_weights("elements are rotated in pairs of one of two layouts", rotary_checks.layout),
            "rotary.norm": _own_weights("a vector is rotated and keeps its length", rotary_checks.norm),
            "rotary.relative": _own_weights("a score depends on the distance alone", rotary_checks.relative),
            "rotary.frequencies": _own_weights(
                "angles fall by a constant factor from pair to pair", rotary_checks.frequencies
            ),
            "rotary.start": _own_weights("at position 0 nothing is rotated", rotary_checks.start),
            "rotary.offset": _own_weights(
                "tokens after cached ones are rotated by their positions", rotary_checks.offset
            ),
            "rotary.both": _own_weights("queries and keys are rotated by the same angles", rotary_checks.both),
            **_common_checks("rotary"),
        },
    ),
    "feed-forward": Part(
        feed_forward.FeedForwardProbe,
        {
            **_common_checks("feed-forward", random_weights=True),
            "feed-forward.activation": Check(
                "there is an activation between the linear layers", feed_forward.activation
            ),
            "feed-forward.tokens": Check("tokens do not influence each other", feed_forward.tokens),
            "feed-forward.used": Check("every element of input and output is used", feed_forward.used),
        },
    ),
    "mask": Part(
        mask.MaskProbe,
        {
            "mask.diagonal": _own_weights("each token may attend to itself and to earlier tokens", mask.diagonal),
            "mask.values": _own_weights("its values hide what they should hide", mask.values),
            "mask.corner": _own_weights("with fewer queries than keys, the queries are the last ones", mask.corner),
        },
    ),
}
