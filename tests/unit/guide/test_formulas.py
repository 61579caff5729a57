"""Formulas are readable in a terminal; code between backticks keeps its dollars."""

import io

import pytest
from rich.console import Console
from rich.markdown import Markdown

from clearformer.guide.formulas import as_unicode, plain


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"q \cdot k = \sum_e q_e k_e", "q · k = ∑ₑ qₑ kₑ"),
        (r"\text{score}_s = q \cdot k_s / \sqrt{E}", "scoreₛ = q · kₛ / √E"),
        (r"e^{a_{ts}} / \sum_{r \leq t} e^{a_{tr}}", "e^aₜₛ / ∑_(r ≤ t) e^aₜᵣ"),
        (r"x + \text{part}(\text{norm}(x))", "x + part(norm(x))"),
        (r"\left(\text{SiLU}(z) \odot x\right) + 10^{-5}", "(SiLU(z) ⊙ x) + 10⁻⁵"),
        (r"\sqrt{\frac{1}{D} \sum_j x_j^2 + \epsilon}", "√(1/D ∑ⱼ xⱼ² + ε)"),
        (r"\frac{QK^\top}{\sqrt{E}} \, V", "QKᵀ/√E V"),
        (r"\frac{a + b}{2}", "(a + b)/2"),
        (r"10000^{-2i/E}, \quad e^{a - b}, \qquad e^{-\infty} = 0", "10000^(−2i/E), eᵃ⁻ᵇ, e^(−∞) = 0"),
        (r"\sin(2\pi) \times \ln V", "sin(2π) × ln V"),
        (r"W_Q \to W_{de}", "W_Q → W_de"),
    ],
)
def test_a_formula_reads_as_it_is_said(tex: str, expected: str):
    assert as_unicode(tex) == expected


def test_subscripts_of_a_text_are_all_low_or_none_is():
    assert plain("$W_u$ or $k_s$") == "Wᵤ or kₛ"
    assert plain("$W_u$ or $W_g$") == r"W\_u or W\_g"  # Unicode has no small g


def test_dollars_in_code_stay_and_signs_of_a_formula_mean_nothing_in_markdown():
    assert plain("`$x$`\n```\n$x_1$\n```\n$x_1$") == "`$x$`\n```\n$x_1$\n```\nx₁"
    out = io.StringIO()
    Console(file=out, width=80).print(Markdown(plain("$[K; k_t]$, $W_q$ and *$W_g$*")))
    assert out.getvalue().strip() == "[K; k_t], W_q and W_g"
