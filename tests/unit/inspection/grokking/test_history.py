"""Measures of models: of all equations at once, by checkpoint, as JSON."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F

from clearformer.data.corpora import EquationCorpus
from clearformer.data.modular import OPERATIONS
from clearformer.errors import InspectionError
from clearformer.inspection.grokking import circuit, fourier
from clearformer.inspection.grokking.activations import attention, every_equation, modulus, neurons, number_logits
from clearformer.inspection.grokking.cycles import cycle
from clearformer.inspection.grokking.history import history, measure, tabulate, trained_frequencies
from clearformer.inspection.record import record
from clearformer.models.build import weights_of

P = 7
SETTINGS = {"vocab_size": P + 5, "context": 3, "activation": "relu", "norm": "none", "tie_embeddings": False}
# the last position alone, and all positions, by float32 products that add in another order
SAME_MODEL = {"atol": 1e-5, "rtol": 1e-5}


def equations(operation: str, learned: int) -> EquationCorpus:
    """All equations; those whose a + 3 b modulo P is below `learned` are for training."""
    every = [(a, b, int(OPERATIONS[operation][1](a, b, P))) for a in range(P) for b in range(P)]
    train = [triple for triple in every if (triple[0] + 3 * triple[1]) % P < learned]
    return EquationCorpus(operation, train, [triple for triple in every if triple not in train])


@pytest.mark.parametrize("layers", [1, 2])
def test_activations_are_those_of_the_model_at_the_last_position(layers: int, tiny):
    model = tiny("gpt", num_layers=layers, **SETTINGS)
    a, b = 5, 2
    tokens = torch.tensor([[4 + a, 4 + b, 4 + P]])
    assert every_equation(P)[a, b].tolist() == tokens[0].tolist()
    with torch.no_grad(), record(model, "attention", "neurons") as trace:
        logits = model(tokens)
    last = f"decoder.layers.{layers - 1}"
    expected_weights = trace.attention[f"{last}.attention.core"][0, :, -1].double()
    expected_neurons = trace["neurons"][f"{last}.feed_forward.linear2"][0, -1].double()
    torch.testing.assert_close(number_logits(model)[a, b], logits[0, -1, 4:-1].double(), **SAME_MODEL)
    torch.testing.assert_close(attention(model)[:, a, b], expected_weights, **SAME_MODEL)
    torch.testing.assert_close(neurons(model)[a, b], expected_neurons, **SAME_MODEL)


def test_a_model_of_something_else_is_refused(tiny):
    for changes in ({"context": 2}, {"vocab_size": 7}):
        with pytest.raises(InspectionError, match="a model of equations a b =, with at least"):
            modulus(tiny("gpt", **changes))


def test_losses_and_accuracies_are_those_of_the_equations(tiny):
    model, corpus = tiny("gpt", **SETTINGS), equations("add", 4)
    found = measure(model, 5, tabulate(corpus, "add", P), [1])
    for triples, loss, accuracy in (
        (corpus.train, found.loss, found.accuracy),
        (corpus.validation, found.held_out_loss, found.held_out_accuracy),
    ):
        a, b, answers = torch.tensor(triples).T
        with torch.no_grad():
            logits = model(torch.stack((a + 4, b + 4, torch.full_like(a, P + 4)), dim=1))[:, -1, 4:-1]
        assert loss == pytest.approx(float(F.cross_entropy(logits, answers)), rel=SAME_MODEL["rtol"])
        assert accuracy == pytest.approx(float((logits.argmax(1) == answers).float().mean()))


def test_measures_on_the_circle_are_those_of_logits_and_weights(tiny):
    model, corpus = tiny("gpt", **SETTINGS), equations("add", 4)
    found, logits = measure(model, 5, tabulate(corpus, "add", P), [1, 3]), number_logits(model)
    right, every = circuit.sums(P), torch.ones(P, P, dtype=torch.bool)
    train = torch.zeros_like(every)
    for a, b, _ in corpus.train:
        train[a, b] = True
    assert found.restricted_loss == circuit.outcome(circuit.restricted(logits, [1, 3]), right, every).loss
    assert found.excluded_loss == circuit.outcome(circuit.excluded(logits, [1, 3]), right, train).loss
    assert found.explained == circuit.explained_share(logits, [1, 3])
    embedding = model.embedding.weight[4:-1].detach()
    assert found.embedding_gini == fourier.gini(fourier.components(embedding))
    assert found.unembedding_gini != found.embedding_gini
    assert found.squared_weights["positions.weight"] == pytest.approx(
        float(model.positions.weight.detach().square().sum())
    )
    assert set(found.squared_weights) == {name for name, _ in model.named_parameters()}


def test_a_history_measures_each_checkpoint_by_the_trained_model_s_frequencies(tiny):
    trained, early, corpus = tiny("gpt", seed=3, **SETTINGS), tiny("gpt", seed=4, **SETTINGS), equations("add", 4)
    before = {name: weight.copy() for name, weight in weights_of(trained).items()}
    found = history(trained, [(0, weights_of(early)), (50, weights_of(trained))], corpus, "add")
    assert found.frequencies == trained_frequencies(trained, "add") != trained_frequencies(early, "add")
    assert found.measures == [
        measure(early, 0, tabulate(corpus, "add", P), found.frequencies),
        measure(trained, 50, tabulate(corpus, "add", P), found.frequencies),
    ]
    assert all((before[name] == weight).all() for name, weight in weights_of(trained).items())
    assert json.loads(json.dumps(dataclasses.asdict(found))) == dataclasses.asdict(found)


def test_an_operation_without_a_circle_is_measured_without_frequencies(tiny):
    model = tiny("gpt", **SETTINGS)
    found = history(model, [(0, weights_of(model))], equations("quadratic", 4), "quadratic")
    assert found.frequencies == []
    assert found.measures[0].restricted_loss is None
    assert found.measures[0].held_out_loss > 0


def test_products_are_measured_on_the_circle_of_their_exponents(tiny):
    model = tiny("gpt", **SETTINGS)
    found = measure(model, 0, tabulate(equations("multiply", 4), "multiply", P), [1])
    logits = cycle("multiply", P).logits(number_logits(model))
    assert found.explained == circuit.explained_share(logits, [1])
    exponents = [1, 3, 2, 6, 4, 5]  # the powers of 3 modulo 7
    for weight, inequality in (
        (model.embedding.weight, found.embedding_gini),
        (model.output_projection.weight, found.unembedding_gini),
    ):
        assert inequality == fourier.gini(fourier.components(weight.detach()[4:-1][exponents]))


def test_a_table_has_each_equation_in_its_split():
    corpus = equations("quadratic", 2)
    found = tabulate(corpus, "quadratic", P)
    assert [int(found.answers[a, b]) for a, b, _ in corpus.train] == [c for *_, c in corpus.train]
    assert found.train.nonzero().tolist() == sorted([a, b] for a, b, _ in corpus.train)
    assert torch.equal(found.held_out, ~found.train)
