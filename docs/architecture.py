"""Draw docs/architecture.svg, the way of the data through the folders: `python docs/architecture.py`."""

from pathlib import Path

WIDTH, MARGIN, GAP = 440, 10, 44
BOX, LINE = 58, 19
WAY = [
    ("text", "data", "corpora, tokenizers, batches"),
    ("batches of tokens", "blocks, models", "parts, and models made of them"),
    ("logits", "training", "loss, optimizer, schedule, loop"),
    ("weights", "runs", "a folder, checkpoints, resuming"),
]
"""what arrives, the folders that take it, what they have"""
USES = [("generation", "sampling, beams"), ("evaluation", "loss, BLEU, …"), ("inspection", "record, cut, patch")]
ENGINES = ["engines", "the same in", "NumPy, tinygrad", "and C"]
EDGE = ("api, cli, demo, guide, checks, explorer, interop", "stand at the edge and use all of it")
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328; text-anchor: middle }
.name { font-weight: 600 }
.small, .flow { font-size: 13px; fill: #57606a }
.flow { text-anchor: start }
rect { fill: #eef3fc; stroke: #2952a3 }
.edge { stroke-dasharray: 4 3 }
path { fill: none; stroke: #57606a; marker-end: url(#arrow) }
marker path { fill: #57606a; stroke: none; marker-end: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small, .flow { fill: #9da7b3 }
  rect { fill: #16233d; stroke: #7aa2f7 }
  path { stroke: #9da7b3 } marker path { fill: #9da7b3 }
}"""
DESCRIPTION = (
    "Text goes into data, which makes batches of tokens, blocks and models logits of them, training weights, and "
    "runs keeps checkpoints. From these work generation, evaluation and inspection. Beside models and training stand "
    "the engines, and at the edge api, cli, demo, guide, checks, explorer and interop."
)


def box(x: float, y: float, width: float, lines: list[str], kind: str = "", height: float = BOX) -> str:
    """A box with a name and small lines under it."""
    first = y + height / 2 - LINE * (len(lines) - 1) / 2 + 5
    middle = x + width / 2
    texts = [
        f'<text class="{"small" if number else "name"}" x="{middle:g}" y="{first + number * LINE:g}">{line}</text>'
        for number, line in enumerate(lines)
    ]
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>' + "".join(texts)


def arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path d="M{x:g} {y:g}L{to_x:g} {to_y:g}"/>'


def draw() -> str:
    """The picture as SVG."""
    parts, y, main = [], GAP, 276
    for flow, name, has in WAY:
        parts.append(arrow(MARGIN + main / 2, y - GAP + 4, MARGIN + main / 2, y - 5))
        parts.append(f'<text class="flow" x="{MARGIN + main / 2 + 12:g}" y="{y - GAP / 2 + 4:g}">{flow}</text>')
        parts.append(box(MARGIN, y, main, [name, has]))
        y += BOX + GAP
    side, top = main + 2 * MARGIN + 12, GAP + BOX + GAP
    parts.append(box(side, top, WIDTH - MARGIN - side, ENGINES, height=2 * BOX + GAP))
    width = (WIDTH - 4 * MARGIN) / 3
    for number, (name, has) in enumerate(USES):
        x = MARGIN + number * (width + MARGIN)
        parts.append(arrow(MARGIN + main / 2, y - GAP + 4, x + width / 2, y - 5))
        parts.append(box(x, y, width, [name, has]))
    y += BOX + 2 * MARGIN
    parts.append(box(MARGIN, y, WIDTH - 2 * MARGIN, list(EDGE), "edge"))
    height = y + BOX + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-labelledby="title description">\n<title id="title">The way of the data</title>\n'
        f'<desc id="description">{DESCRIPTION}</desc>\n<style>{STYLE}\n</style>\n'
        '<marker id="arrow" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker>\n' + "\n".join(parts) + "\n</svg>\n"
    )


if __name__ == "__main__":
    picture = Path(__file__).with_suffix(".svg")
    picture.write_text(draw(), encoding="utf-8")
    print(picture)
