"""Formulas between dollars, written as a terminal can show them: `$e^{-x} / \\sqrt{2}$` becomes e^(−x) / √2."""

import re
from collections.abc import Callable

CODE_OR_FORMULA = re.compile(
    r"^(?P<fence>`{3,}).*?^(?P=fence)$|`[^`\n]+`|\$(?P<formula>[^$]+)\$", re.DOTALL | re.MULTILINE
)
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~#])")
"""what means something in Markdown"""
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)

SYMBOLS = {
    **{"-": "−", r"\cdot": "·", r"\times": "×", r"\odot": "⊙", r"\sum": "∑", r"\leq": "≤", r"\infty": "∞"},
    **{r"\to": "→", r"\leftarrow": "←", r"\mid": "|", r"\dots": "…", r"\top": "T"},
    **{r"\pi": "π", r"\sigma": "σ", r"\theta": "θ", r"\epsilon": "ε"},
    **dict.fromkeys((r"\,", r"\;", r"\quad", r"\qquad"), " "),
    **dict.fromkeys((r"\left", r"\right", r"\text", r"\mathrm", r"\mathcal"), ""),
}
"""a command that is not here is shown as its name, such as sin for `\\sin`"""
RAISED = dict(zip("0123456789+−abszT", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵃᵇˢᶻᵀ", strict=True))
LOWERED = dict(zip("0123456789+−aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))


def replace_formulas(markdown: str, replacement: Callable[[str], str]) -> str:
    """Markdown with each `$…$` outside code replaced by what the function makes of it."""
    return CODE_OR_FORMULA.sub(lambda found: replacement(found["formula"]) if found["formula"] else found[0], markdown)


def plain(markdown: str) -> str:
    """Markdown with each formula in Unicode; it is still Markdown, in which a formula's own signs are escaped.

    Unicode has no subscripts for some letters: if a text has one of those, as in $W_q$, all keep their underscores.
    """
    formulas = [found["formula"] for found in CODE_OR_FORMULA.finditer(markdown) if found["formula"]]
    lowered = not any(re.search(r"_\w", as_unicode(tex)) for tex in formulas)
    return replace_formulas(markdown, lambda tex: MARKDOWN.sub(r"\\\1", as_unicode(tex, lowered)))


def as_unicode(tex: str, lowered: bool = True) -> str:
    """A formula on one line; subscripts are small letters or, if they are not `lowered`, behind an underscore."""
    return " ".join(_until("", TOKEN.findall(tex)[::-1], lowered).split())


def _until(end: str, tokens: list[str], lowered: bool) -> str:
    """What is next, up to a token; tokens are taken from the back of the list."""
    parts = []
    while tokens and (token := tokens.pop()) != end:
        parts.append(_written(token, tokens, lowered))
    return "".join(parts)


def _written(token: str, tokens: list[str], lowered: bool) -> str:
    """A token with its arguments, which are next."""
    if token == "{":
        return _until("}", tokens, lowered)
    if token in ("^", "_"):
        return _script(token, _argument(tokens, lowered), lowered)
    if token == r"\frac":
        return f"{_grouped(_argument(tokens, lowered))}/{_grouped(_argument(tokens, lowered))}"
    if token == r"\sqrt":
        radicand = _argument(tokens, lowered)
        return f"√{radicand if len(radicand) == 1 else f'({radicand})'}"
    return SYMBOLS.get(token, token.removeprefix("\\"))


def _argument(tokens: list[str], lowered: bool) -> str:
    while tokens[-1].isspace():
        tokens.pop()
    return _written(tokens.pop(), tokens, lowered).strip()


def _script(sign: str, text: str, lowered: bool) -> str:
    small = RAISED if sign == "^" else LOWERED if lowered else {}
    letters = text.replace(" ", "")
    return "".join(small[letter] for letter in letters) if set(letters) <= set(small) else sign + _grouped(text)


def _grouped(text: str) -> str:
    """In parentheses, unless it is one word or number."""
    return text if re.fullmatch(r"[\w.√]+", text) else f"({text})"
