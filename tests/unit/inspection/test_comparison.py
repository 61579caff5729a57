"""Runs side by side: the table says what differs, and the curves are those of the metrics."""

import dataclasses
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from clearformer.config import Config, CosineSchedule, GPTConfig, ModularConfig, TrainConfig, TransformerConfig
from clearformer.inspection.comparison import Compared, Comparison

SIZES: dict[str, Any] = {"vocab_size": 10, "context": 8, "d_model": 4, "num_heads": 2, "num_layers": 1, "d_ff": 8}
CONFIG = Config("numbers", GPTConfig(**SIZES))
LINES = [
    {"step": 1, "loss": 3.0, "tokens": 10},
    {"step": 2, "loss": 2.5, "tokens": 10, "validation_loss": 2.75},
    {"step": 4, "loss": 2.0, "tokens": 20, "validation_loss": 2.25},
    {"step": 8, "loss": 1.5, "tokens": 10, "validation_loss": 2.5},
]


def with_rate(rate: float) -> Config:
    return dataclasses.replace(CONFIG, train=TrainConfig(schedule=CosineSchedule(peak=rate, final=0.0)))


def lines_of(figure: Figure) -> list[tuple[list[float], list[float]]]:
    (axes,) = figure.axes
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]


def test_only_settings_that_differ_are_in_the_table_and_the_best_loss_is_the_lowest():
    runs = [Compared("slow", with_rate(0.001), LINES), Compared("fast", with_rate(0.01), LINES[:3])]
    assert str(Comparison(runs)).splitlines() == [
        "                            slow       fast",
        # embedding 40, positions 32, three norms 24, queries, keys and values 60, output 20, feed-forward 40 + 36
        "parameters                   252        252",
        "step                           8          4",
        "validation loss, last   2.5 at 8  2.25 at 4",
        "validation loss, best  2.25 at 4  2.25 at 4",
        "train.schedule.peak        0.001       0.01",
    ]


def test_a_setting_that_one_family_lacks_is_absent_there():
    both = [Compared("a", CONFIG, LINES), Compared("b", Config("numbers", TransformerConfig(**SIZES)), LINES[:1])]
    found = Comparison(both).differences()
    assert found["model.kind"] == ["gpt", "transformer"]
    assert found["model.norm_order"] == ["pre", "post"]
    assert "model.d_model" not in found
    last = next(row for row in Comparison(both).rows() if row[0] == "validation loss, last")
    assert last[1:] == ["2.5 at 8", "-"]
    modular = dataclasses.replace(CONFIG, tokenizer="number", modular=ModularConfig(7))
    assert Comparison([both[0], Compared("c", modular, LINES)]).differences()["modular.modulus"] == [None, 7]


def test_programs_read_the_same_values():
    (found,) = Comparison([Compared("one", CONFIG, LINES)]).to_list()
    assert found["settings"] == {}
    assert (found["last"], found["best"]) == (
        {"validation_loss": 2.5, "step": 8},
        {"validation_loss": 2.25, "step": 4},
    )


def test_curves_are_drawn_over_steps_or_over_the_tokens_read_until_then():
    run = Compared("one", CONFIG, LINES)
    assert lines_of(Comparison([run]).figure()) == [
        ([1, 2, 4, 8], [3.0, 2.5, 2.0, 1.5]),
        ([2, 4, 8], [2.75, 2.25, 2.5]),
    ]
    # steps 3 and 4 had 20 tokens each, 5 to 8 had 10 each
    assert [x for x, _ in lines_of(Comparison([run], "tokens").figure())] == [[10, 20, 60, 100], [20, 60, 100]]


def test_thirty_runs_are_told_apart_by_colour_and_shape():
    figure = Comparison([Compared(str(index), CONFIG, LINES) for index in range(30)]).figure()
    (axes,) = figure.axes
    assert len({(line.get_color(), line.get_marker()) for line in axes.get_lines()[1::2]}) == 30


def test_axes_are_logarithmic_where_losses_span_powers_of_ten_and_of_equations():
    grokked = [{"step": step, "loss": loss, "tokens": 1} for step, loss in ((1, 4.5), (100, 1e-3), (1000, 1e-6))]
    equations = dataclasses.replace(CONFIG, tokenizer="number", modular=ModularConfig(7))
    scales = []
    for config, lines in ((CONFIG, LINES), (CONFIG, grokked), (equations, grokked)):
        (axes,) = Comparison([Compared("a", config, lines)]).figure().axes
        scales.append((axes.get_xscale(), axes.get_yscale()))
    assert scales == [("linear", "linear"), ("linear", "log"), ("log", "log")]
    assert np.isfinite([y for _, ys in lines_of(Comparison([Compared("a", CONFIG, LINES)]).figure()) for y in ys]).all()
