"""`transformer.py` is a lesson of at most 350 lines, whose parts are correct and whose model learns."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from clearformer.engines.tinygrad import adapter
from clearformer.errors import CheckpointError

FILE = Path(__file__).parents[2] / "transformer.py"
MOST_LINES = 350
# float32 sums of up to 4 terms and an exponential, against float64: 1.2e-7 seen
HAND_TOLERANCE = 1e-6
# percentage of unseen words wholly correct after the default number of steps: 98.4, 99.6 and 100 seen for seeds 0, 1, 2
LEARNED = 95.0

needs_tinygrad = pytest.mark.skipif(bool(reason := adapter.reason_to_skip()), reason=reason)


@pytest.fixture(scope="module")
def lesson() -> Iterator[ModuleType]:
    from tinygrad import Context

    spec = importlib.util.spec_from_file_location("transformer_lesson", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with Context(NOOPT=1):  # as the file itself does: kernels compile ten times faster
        yield module


@pytest.fixture(scope="module")
def model(lesson: ModuleType) -> object:
    return lesson.Transformer(np.random.default_rng(1), d_model=8, num_heads=2)


def logits(lesson: ModuleType, model: object, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    return model(lesson.Tensor(source), lesson.Tensor(target)).numpy()


def run(*arguments: str, exit_code: int = 0) -> str:
    """Standard output of the command, or standard error if it is to fail."""
    done = subprocess.run([sys.executable, str(FILE), *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == exit_code, done.stderr
    return done.stderr if exit_code else done.stdout


def test_the_file_is_short():
    lines = FILE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= 120


@needs_tinygrad
def test_a_head_equals_its_formula_in_numpy(lesson: ModuleType):
    rng = np.random.default_rng(3)
    head = lesson.Head(rng, 4, 2)
    x, memory = rng.standard_normal((1, 2, 4)), rng.standard_normal((1, 3, 4))
    mask = np.array([[[True, True, False], [True, False, False]]])
    q, k, v = (a[0] @ w.numpy().astype(float) for a, w in ((x, head.query), (memory, head.key), (memory, head.value)))
    first = np.exp(np.array([q[0] @ k[0], q[0] @ k[1]]) / 2**0.5)
    expected = [(first[0] * v[0] + first[1] * v[1]) / first.sum(), v[0]]  # the second query may attend to one key only
    out = head(*(lesson.Tensor(a.astype(np.float32)) for a in (x, memory)), lesson.Tensor(mask)).numpy()[0]
    np.testing.assert_allclose(out, expected, atol=HAND_TOLERANCE)


@pytest.mark.slow
@needs_tinygrad
def test_future_tokens_cannot_change_past_logits(lesson: ModuleType, model: object):
    source, target = lesson.encode(["word"])
    other = target.copy()
    other[0, 3] += 1
    difference = np.abs(logits(lesson, model, source, target) - logits(lesson, model, source, other)).max(-1)[0]
    assert difference[:3].max() == 0.0
    assert difference[3:].min() > 0.0


@pytest.mark.slow
@needs_tinygrad
def test_padding_of_the_source_cannot_change_logits(lesson: ModuleType, model: object):
    source, target = lesson.encode(["word"])
    length = len("word") + 1
    assert (source[:, length:] == lesson.PAD).all()
    plain = logits(lesson, model, source, target)
    np.testing.assert_allclose(logits(lesson, model, source[:, :length], target), plain, atol=HAND_TOLERANCE)
    source[0, length - 1] += 1  # the last token before the padding can
    assert np.abs(logits(lesson, model, source, target) - plain).max() > 1e-3


@needs_tinygrad
def test_padding_of_the_target_does_not_count_in_the_loss(lesson: ModuleType):
    # two positions of four tokens: each token is as likely at the first, and the second is padding
    values = lesson.Tensor(np.array([[[0, 0, 0, 0], [9, 0, 0, 0]]], np.float32))
    loss = lesson.cross_entropy(values, lesson.Tensor(np.array([[2, lesson.PAD]], np.int32))).item()
    assert loss == pytest.approx(np.log(4), abs=HAND_TOLERANCE)


@needs_tinygrad
def test_targets_are_reversed_words_between_begin_and_end(lesson: ModuleType):
    source, target = lesson.encode(["abc"])
    assert source.tolist() == [[3, 4, 5, 2, 0, 0, 0, 0]]
    assert target.tolist() == [[1, 5, 4, 3, 2, 0, 0, 0, 0]]
    assert lesson.decode(target[0]) == "cba"
    assert lesson.exact(["abc", "abd"], np.concatenate([target, target])) == 0.5


@pytest.mark.slow
@needs_tinygrad
def test_a_reloaded_model_writes_the_same_tokens(lesson: ModuleType, model: object, tmp_path: Path):
    words = ["clear", "former"]
    other = lesson.Transformer(np.random.default_rng(2), d_model=8, num_heads=2)
    written = lesson.writer(model)(words)
    assert (lesson.writer(other)(words) != written).any()
    lesson.save(model, tmp_path / "model.safetensors")
    lesson.load(other, tmp_path / "model.safetensors")
    assert lesson.writer(other)(words).tolist() == written.tolist()


@needs_tinygrad
def test_a_file_that_does_not_fit_is_refused_and_changes_nothing(lesson: ModuleType, model: object, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    lesson.save(model, path)
    arrays = load_file(path)
    before = arrays["output"].copy()
    arrays["embedding"][0, 0] = np.nan
    arrays["extra"] = arrays.pop("decoder_norm.bias")
    arrays["output"] = np.zeros((3, 3), np.float32)
    save_file(arrays, path)
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        lesson.load(model, path)
    for name in ("embedding", "extra", r"decoder_norm.bias", "output"):
        assert name in str(caught.value)
    assert (model.output.numpy() == before).all()


@needs_tinygrad
@pytest.mark.slow
def test_the_model_learns_to_reverse_unseen_words_and_verbose_shows_shapes_losses_and_attention(tmp_path: Path):
    out = run("-v", "--out", str(tmp_path / "kept.safetensors"))
    assert float(re.search(r"wholly right: ([\d.]+)%", out).group(1)) > LEARNED
    assert float(re.search(r"untrained ([\d.]+)%", out).group(1)) < 1.0
    assert re.findall(r"step +(\d+)  loss", out) == ["1", *map(str, range(10, 401, 10))]
    assert re.search(r"logits  B T V +1 x 8 x 29", out)
    read, written = re.search(r"'(\w+)' is written \(rows\) from '(\w+)'", out).group(2, 1)
    pictures = re.findall(rf"head \d +{' '.join(read)} \.\n((?: +\S [ .:\-=+*#%@]+\n)+)", out)
    assert len(pictures) == 2
    for picture in pictures:
        rows = picture.splitlines()
        assert [row[11] for row in rows] == [*written, "."]
        assert {len(row) for row in rows} == {12 + 2 * (len(read) + 1)}
    assert "2,304 of 2,304 tokens are the same as before" in out
    assert load_file(tmp_path / "kept.safetensors")["embedding"].shape == (29, 32)


@pytest.mark.slow
@needs_tinygrad
@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--seed", "-1"], ["--out", "no/such/folder/file"]])
def test_invalid_arguments_are_refused_before_training(arguments: list[str]):
    error = run(*arguments, exit_code=2)
    assert "--steps must be at least 1, --seed at least 0, and the folder of --out must be there" in error
    assert "Traceback" not in error


@needs_tinygrad
def test_ctrl_c_ends_with_one_line(lesson: ModuleType, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lesson, "story", interrupted)
    monkeypatch.setattr(sys, "argv", ["transformer.py"])
    with pytest.raises(SystemExit, match=r"^\ntransformer.py: stopped before the end\.$"):
        lesson.main()


def test_without_a_device_it_fails_with_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DEV", "NOSUCH")
    error = run(exit_code=1)
    assert error.startswith("transformer.py: ")
    assert error.count("\n") == 1
