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
from clearformer.checks.parts.common import finite, repeatable, untouched
from clearformer.checks.parts.norm import Layer, Rms
from clearformer.checks.parts.probe import PartProbe
from clearformer.checks.parts.rotary import Rotary
from clearformer.checks.parts.sinusoidal import Sinusoidal


@dataclass(frozen=True)
class Part:
    """How to call what was given, and the checks of it."""

    reads: type[PartProbe]
    checks: dict[str, Check]


def _common(part: str, random_weights: bool = False) -> dict[str, Check]:
    """`stirred`: on random weights, where those given may be zero."""
    return {
        f"{part}.finite": Check("random vectors give finite numbers", finite, random_weights=random_weights),
        f"{part}.repeatable": Check("in evaluation mode one input has one output", repeatable, random_weights=random_weights),
        f"{part}.input": Check("the input is as it was after the call", untouched, random_weights=random_weights),
    }


def _plain(claim: str, run: Callable[[Any], Outcome]) -> Check:
    """On the weights that were given."""
    return Check(claim, run, random_weights=False)


def _of_norm(part: str) -> dict[str, Check]:
    return {
        **_common(part),
        f"{part}.axis": _plain("each token is normalised on its own", norm_checks.axis),
        f"{part}.eps": _plain("a small number under the root keeps a vector without spread finite", norm_checks.eps),
        f"{part}.weight": _plain("the weight multiplies and the bias is added, after the norm", norm_checks.weight),
    }


PARTS: dict[str, Part] = {
    "attention": Part(
        AttentionProbe,
        {
            **_common("attention", random_weights=True),
            "attention.rows": Check("rows of a batch and heads do not see each other", attention_checks.rows),
            "attention.values": Check("the output is the weights times the values", attention_checks.values),
            "attention.softmax": Check("each query's weights sum to one over the keys", attention_checks.softmax),
            "attention.scale": Check("scores are scaled by 1/sqrt(E)", attention_checks.scale),
            "attention.causal": Check("every token is seen, or those up to the query's own", attention_checks.causal),
            "attention.mask": Check("a hidden key has weight zero, and the others share it", attention_mask.mask),
            "attention.finite-mask": Check("large scores do not overcome the mask", attention_mask.finite),
            "attention.empty-row": Check("a query that may attend to nothing stays finite", attention_mask.empty_row),
        },
    ),
    "layer-norm": Part(
        Layer,
        {
            **_of_norm("layer-norm"),
            "layer-norm.centre": _plain("a number added to the whole vector changes nothing", norm_checks.centre),
            "layer-norm.variance": _plain("the biased variance of what comes out is one", norm_checks.scale),
            "layer-norm.large": _plain("a large mean does not drown the variance", norm_checks.large),
        },
    ),
    "rms-norm": Part(
        Rms,
        {
            **_of_norm("rms-norm"),
            "rms-norm.direction": _plain("no mean is taken off", norm_checks.direction),
            "rms-norm.scale": _plain("the mean square of what comes out is one", norm_checks.scale),
        },
    ),
    "sinusoidal": Part(
        Sinusoidal,
        {
            "sinusoidal.layout": _plain("sine and cosine of the same angle stand in pairs", sinusoidal_checks.layout),
            "sinusoidal.frequencies": _plain(
                "frequencies fall evenly from 1 to 1/10000", sinusoidal_checks.frequencies
            ),
            "sinusoidal.start": _plain("the first position is 0", sinusoidal_checks.start),
            "sinusoidal.length": _plain("a position's vector does not depend on the length", sinusoidal_checks.length),
            "sinusoidal.added": _plain("positions are added to x, which stays as it is", sinusoidal_checks.added),
            **_common("sinusoidal"),
        },
    ),
    "rotary": Part(
        Rotary,
        {
            "rotary.layout": _plain("elements are turned in pairs of one of two layouts", rotary_checks.layout),
            "rotary.norm": _plain("a vector is turned and keeps its length", rotary_checks.norm),
            "rotary.relative": _plain("a score depends on the distance alone", rotary_checks.relative),
            "rotary.frequencies": _plain("angles fall by one factor from pair to pair", rotary_checks.frequencies),
            "rotary.start": _plain("at position 0 nothing is turned", rotary_checks.start),
            "rotary.offset": _plain("tokens after a cached past are turned as at their places", rotary_checks.offset),
            "rotary.both": _plain("queries and keys are turned by the same angles", rotary_checks.both),
            **_common("rotary"),
        },
    ),
    "feed-forward": Part(
        feed_forward.FeedForward,
        {
            **_common("feed-forward", random_weights=True),
            "feed-forward.activation": Check("there is an activation between the products", feed_forward.activation),
            "feed-forward.tokens": Check("no token sees another", feed_forward.tokens),
            "feed-forward.used": Check("every element is read, and every element is written", feed_forward.used),
        },
    ),
    "mask": Part(
        mask.Mask,
        {
            "mask.diagonal": _plain("each token may attend to itself and to those before it", mask.diagonal),
            "mask.values": _plain("its values hide what they should hide", mask.values),
            "mask.corner": _plain("with fewer queries than keys, the queries are the last ones", mask.corner),
        },
    ),
}
