"""This project's models, as they are recognised, pass every check that is about their kind."""

from typing import Any

import pytest

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import choose, run_checks
from clearformer.checks.recognise import recognise
from clearformer.config import BERTConfig, ClassifierConfig, GPTConfig, TransformerConfig
from clearformer.models.build import build

SIZES: dict[str, Any] = {"vocab_size": 23, "context": 16, "d_model": 32, "num_heads": 2, "num_layers": 2, "d_ff": 64}
MODELS: dict[str, Any] = {
    "gpt": GPTConfig(**SIZES, positions="learned"),
    "gpt-rotary": GPTConfig(**SIZES, positions="rotary"),
    "gpt-alibi": GPTConfig(**SIZES, positions="alibi"),
    "gpt-relative": GPTConfig(**SIZES, positions="relative"),
    "gpt-zero-outputs": GPTConfig(**SIZES, zero_outputs=True, tie_embeddings=False, positions="rotary"),
    "transformer": TransformerConfig(**SIZES, positions="sinusoidal"),
    "transformer-rotary": TransformerConfig(**SIZES, positions="rotary"),
    "transformer-alibi": TransformerConfig(**SIZES, positions="alibi"),
    "bert": BERTConfig(**SIZES),
    "classifier": ClassifierConfig(**SIZES),
}
OTHER_POSITIONS = ("gpt-alibi", "gpt-relative", "transformer-rotary", "transformer-alibi")
"""they differ from another model here in their positions alone, so that some groups of checks would be repeated"""
NO_METHODS = {"cache.methods", "generation.greedy", "generation.sampling", "loss.methods", "order.position-ids"}
"""a model here has one way in, `forward`; decoding, losses, generation and optimizers are beside it"""
INAPPLICABLE = {
    "gpt": {"batches.left-padding", "arguments.used", "generation.past-context", "generation.padded", "inference.paths"}
    | NO_METHODS,
    "transformer": {"batches.left-padding", "cache.unequal", "arguments.used"} | NO_METHODS,
    "bert": {"batches.left-padding", "generation.filled", "loss.binary", "loss.methods", "numbers.norm-order"}
    | {"order.position-ids"},
    "classifier": {"batches.left-padding", "order.position-ids", "parameters.tied"}
    | {name for name in CHECKS if name.startswith("loss.")},
}
"""checks of the right kind that need what the family does not have; `order.rotary` applies to rotary positions alone,
and `order.balance` to all but ALiBi's and relative ones, which are added to the scores"""
SAME = 1e-5
"""float32, products of other shapes: at most 2e-6 standard deviations in these models; the tolerance is 1e-4"""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if "-relative" in name or "transformer" in name else ())
        for name in MODELS
    ],
)
def test_every_check_passes_that_is_about_a_model_of_this_kind(name: str):
    subject = recognise(build(MODELS[name], 1))
    skipped = ["learning", *(["loss", "parameters", "state"] if name in OTHER_POSITIONS else [])]
    outcomes = {result.id: result.outcome for result in run_checks(subject, choose(skip=skipped))}
    inapplicable = {check for check in outcomes if subject.kind not in CHECKS[check].kinds}
    inapplicable |= (INAPPLICABLE[name.split("-")[0]] | {"parameters.optimizer"}) & outcomes.keys()
    if MODELS[name].positions != "rotary":
        inapplicable |= {"order.rotary"}
    if MODELS[name].positions in ("alibi", "relative"):
        inapplicable |= {"order.balance"}
    assert {check for check, outcome in outcomes.items() if outcome.status == "does not apply"} == inapplicable
    for check in outcomes.keys() - inapplicable:
        assert (outcomes[check].status, outcomes[check].cause) == ("passed", ""), outcomes[check]
        if check.startswith(("batches.", "cache.", "encoder-decoder.")):
            assert outcomes[check].measured < SAME, check


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt-rotary", "transformer", "bert", "classifier"])
def test_each_family_learns(name: str):
    subject = recognise(build(MODELS[name], 1))
    outcomes = {result.id: result.outcome for result in run_checks(subject, choose(only=["learning"], slow=True))}
    assert {check: outcome.status for check, outcome in outcomes.items()} == {
        check: "passed" if subject.kind in CHECKS[check].kinds else "does not apply" for check in outcomes
    }, outcomes
