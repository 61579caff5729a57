"""The recipe paper-base is the base model of "Attention Is All You Need" (arXiv:1706.03762).

There is a test for each claim, named after its section, that compares the model with the paper's formula in NumPy where
there is one.
"""

import ast
import itertools
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clearformer.config import TransformerConfig
from clearformer.data.batches import IGNORE, PairBuckets, collate
from clearformer.generation.beam import Beam, beam_search
from clearformer.generation.sources import EXTRA_TOKENS
from clearformer.generation.translation import translate
from clearformer.models.build import build
from clearformer.models.initial import count_parameters
from clearformer.models.transformer import Transformer
from clearformer.recipes import RECIPES
from clearformer.runs.folder import create_folder
from clearformer.training.loop import Objective, accumulate_gradients, clip_gradients
from clearformer.training.optimizer import make_optimizer
from clearformer.training.schedule import learning_rate

Array = NDArray[np.float64]

PAPER = RECIPES["paper-base"]()
CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "paper.md"

# float32 against NumPy's float64, in sums of up to 2,048 products: 9e-7 seen, relative to 1 + the value
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def whole() -> Transformer:
    """The base model, with a smaller vocabulary and a shorter context."""
    model = build(replace(PAPER.model, vocab_size=40, context=70), seed=1)
    assert isinstance(model, Transformer)
    return model


@pytest.fixture
def base(whole: Transformer) -> Transformer:
    return whole.eval()


def run(model: Transformer, source: list[int], target: list[int]) -> Tensor:
    tokens = torch.tensor([source]), torch.tensor([target])
    with torch.no_grad():
        return model(*tokens, tokens[0] >= 0, tokens[1] >= 0)


def calls_of(modules: Iterable[nn.Module], do: Callable[[], object]) -> list[tuple[Tensor, ...]]:
    """The arguments of every call of one of `modules` while `do` runs, and the output last."""
    calls: list[tuple[Tensor, ...]] = []
    hooks = [module.register_forward_hook(lambda _, args, out: calls.append((*args, out))) for module in modules]
    do()
    for hook in hooks:
        hook.remove()
    return calls


def close(found: Tensor, expected: Array) -> None:
    np.testing.assert_allclose(found.detach().double().numpy(), expected, atol=TOLERANCE, rtol=TOLERANCE)


def array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def linear(x: Array, layer: nn.Linear) -> Array:
    return x @ array(layer.weight).T + array(layer.bias)


def normalised(x: Array) -> Array:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


# 3.1 Encoder and decoder stacks


def test_3_1_n_is_6_layers_of_two_sublayers_in_the_encoder_and_three_in_the_decoder(base: Transformer):
    for layers, sublayers in ((base.encoder.layers, 2), (base.decoder.layers, 3)):
        assert len(layers) == 6
        for layer in layers:
            assert sum(name.endswith("_residual") for name, _ in layer.named_children()) == sublayers


def test_3_1_every_sublayer_and_the_embedding_have_d_model_512_outputs(base: Transformer):
    ends = ("attention", "feed_forward", "embedding", "positions")
    modules = [module for name, module in base.named_modules() if name.endswith(ends)]
    calls = calls_of(modules, lambda: run(base, [4, 5, 6], [1, 7]))
    assert len(modules) == 6 * 2 + 6 * 3 + 2
    assert {output.shape[-1] for *_, output in calls} == {512}


def test_3_1_an_encoder_layer_is_layernorm_of_x_plus_sublayer_of_x_twice(base: Transformer):
    layer, x = base.encoder.layers[2], torch.randn(1, 5, 512)
    middle = normalised(array(x) + array(layer.attention(x)))
    inner = layer.feed_forward(torch.from_numpy(middle).float())
    close(layer(x), normalised(middle + array(inner)))


def test_3_1_a_decoder_layer_is_layernorm_of_x_plus_sublayer_of_x_three_times(base: Transformer):
    layer, x, memory = base.decoder.layers[2], torch.randn(1, 5, 512), torch.randn(1, 3, 512)
    first = normalised(array(x) + array(layer.attention(x)))
    over_memory = layer.cross_attention(torch.from_numpy(first).float(), memory)
    second = normalised(first + array(over_memory))
    close(layer(x, memory), normalised(second + array(layer.feed_forward(torch.from_numpy(second).float()))))


def test_3_1_the_stacks_end_with_their_last_layer(base: Transformer):
    x = torch.randn(1, 5, 512)
    expected = x
    for layer in base.encoder.layers:
        expected = layer(expected)
    assert torch.equal(base.encoder(x), expected)


def test_3_1_the_prediction_for_position_i_depends_on_outputs_before_i_alone(base: Transformer):
    one, other = run(base, [4, 5], [1, 6, 7, 8]), run(base, [4, 5], [1, 6, 9, 8])
    torch.testing.assert_close(one[:, :2], other[:, :2], atol=1e-6, rtol=0.0)
    assert (one[:, 2:] - other[:, 2:]).abs().amin(dim=1).max() > 1e-3


# 3.2 Attention


def test_3_2_1_scores_are_divided_by_the_root_of_d_k_64(base: Transformer):
    q, k, v = (torch.randn(1, 8, 5, 64) for _ in range(3))
    expected = softmax(array(q) @ array(k).swapaxes(-1, -2) / 8) @ array(v)
    close(base.encoder.layers[0].attention.core(q, k, v), expected)


def test_3_2_2_h_is_8_heads_of_d_k_and_d_v_64(base: Transformer):
    cores = [module for name, module in base.named_modules() if name.endswith(".core")]
    calls = calls_of(cores, lambda: run(base, [4, 5, 6], [1, 7]))
    assert [(x.shape[1], x.shape[3]) for q, k, v, *_ in calls for x in (q, k, v)] == [(8, 64)] * (3 * 18)


def test_3_2_2_heads_are_projected_side_by_side_and_projected_again(base: Transformer):
    attention, x = base.encoder.layers[1].attention, torch.randn(1, 5, 512)
    projected = linear(array(x)[0], attention.qkv_projection).reshape(5, 3, 8, 64)
    heads = []
    for head in range(8):
        q, k, v = (projected[:, part, head] for part in range(3))
        heads.append(softmax(q @ k.T / 8) @ v)
    close(attention(x)[0], linear(np.concatenate(heads, axis=-1), attention.output_projection))


def test_3_2_3_cross_attention_takes_queries_from_the_decoder_and_keys_and_values_from_the_encoder(base: Transformer):
    attention, x, memory = base.decoder.layers[0].cross_attention, torch.randn(1, 2, 512), torch.randn(1, 5, 512)
    ((q, k, v, *_),) = calls_of([attention.core], lambda: attention(x, memory))
    for part, expected in (
        (q, linear(array(x)[0], attention.query_projection)),
        (torch.cat((k, v), dim=1), linear(array(memory)[0], attention.kv_projection)),
    ):
        close(part[0].transpose(0, 1).flatten(1), expected)


def test_3_2_3_in_the_encoder_every_position_attends_to_all(base: Transformer):
    memory = [base.encode(torch.tensor([source]), torch.ones(1, 4).bool()) for source in ([4, 5, 6, 7], [4, 5, 6, 8])]
    assert (memory[0] - memory[1]).abs().amax(dim=-1).min() > 1e-3


# 3.3 Feed-forward


def test_3_3_ffn_is_max_of_0_and_xw1_plus_b1_times_w2_plus_b2_with_d_ff_2048(base: Transformer):
    for layer in (*base.encoder.layers, *base.decoder.layers):
        ffn, x = layer.feed_forward, torch.randn(1, 3, 512)
        assert ffn.linear1.weight.shape == (2048, 512)
        close(ffn(x), linear(np.maximum(0, linear(array(x), ffn.linear1)), ffn.linear2))


# 3.4 Embeddings and softmax


def test_3_4_one_matrix_is_source_embedding_target_embedding_and_projection(base: Transformer):
    assert base.output_projection.weight is base.embedding.weight
    assert base.output_projection.bias is None
    features = torch.randn(1, 2, 512)
    close(base.output_projection(features), array(features) @ array(base.embedding.weight).T)


def test_3_4_embeddings_are_multiplied_by_the_root_of_d_model(base: Transformer):
    close(base.embedding(torch.tensor([[4, 9]]))[0], math.sqrt(512) * array(base.embedding.weight)[[4, 9]])


# 3.5 Positions


def test_3_5_sinusoids_are_added_to_the_embeddings_at_the_bottom_of_both_stacks(base: Transformer):
    tokens = [4, 5, 6] * 20
    pe = np.zeros((60, 512))
    for pos, i in itertools.product(range(60), range(256)):
        pe[pos, 2 * i] = math.sin(pos / 10000 ** (2 * i / 512))
        pe[pos, 2 * i + 1] = math.cos(pos / 10000 ** (2 * i / 512))
    for stack in (base.encoder, base.decoder):
        ((x, *_),) = calls_of([stack], lambda: run(base, tokens, tokens))
        close(x[0], math.sqrt(512) * array(base.embedding.weight)[tokens] + pe)


# 5.1 and 5.2 Data, batches, steps


def test_5_1_source_and_target_share_a_byte_pair_vocabulary_of_37000_tokens(tmp_path: Path):
    assert (PAPER.tokenizer, PAPER.model.vocab_size) == ("bpe", 37_000)
    lines = [f"abababab {number}\txyxyxyxy {number}\n" for number in range(300)]
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    tokenizer = create_folder(
        tmp_path / "run", replace(PAPER, data=(str(tmp_path / "pairs.tsv"),)), pytest.fail
    ).tokenizer
    assert [len(tokenizer.encode(word)) for word in ("abababab", "xyxyxyxy")] == [1, 1]


def test_5_1_an_update_uses_about_25000_source_and_25000_target_tokens():
    batches = PairBuckets([([5] * 24, [6] * 24)] * 5_000, PAPER.train.batch_tokens, PAPER.train.seed)
    parts = [batches.batch(step) for step in range(PAPER.train.accumulation)]
    for tokens in (sum(part.source.size for part in parts), sum(part.target.size for part in parts)):
        assert tokens == pytest.approx(25_000, rel=0.01)


def test_5_2_the_base_model_is_trained_for_100000_steps():
    assert PAPER.train.steps == 100_000


# 5.3 Optimizer


def test_5_3_adam_has_betas_0_9_and_0_98_and_epsilon_1e_9_and_equals_its_papers_formula():
    model = nn.Linear(3, 2, bias=False).double()
    w, m, v = array(model.weight).copy(), np.zeros((2, 3)), np.zeros((2, 3))
    optimizer = make_optimizer(model, PAPER.train)
    rng = np.random.default_rng(1)
    for t in range(1, 5):
        # gradients as small as epsilon, so that it matters
        g = rng.normal(size=(2, 3)) * 1e-9
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g**2
        w -= 1e-2 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.98**t)) + 1e-9)
        model.weight.grad = torch.from_numpy(g)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2
        optimizer.step()
    np.testing.assert_allclose(array(model.weight), w, rtol=1e-10)


def test_5_3_gradients_are_not_clipped():
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[3e5, 4e5]])
    assert clip_gradients(model, PAPER.train.clip) == pytest.approx(5e5)
    assert model.weight.grad.tolist() == [[3e5, 4e5]]


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (1, 512**-0.5 * 4000**-1.5),
        (2000, 512**-0.5 * 2000 * 4000**-1.5),
        (4000, 1 / math.sqrt(512 * 4000)),  # the peak
        (16_000, 0.5 / math.sqrt(512 * 4000)),
        (100_000, 0.2 / math.sqrt(512 * 4000)),
    ],
)
def test_5_3_the_rate_rises_for_4000_steps_and_falls_with_the_root_of_the_step(step: int, rate: float):
    train = PAPER.train
    assert learning_rate(train.schedule, step, train.steps, PAPER.model.d_model) == pytest.approx(rate, rel=1e-12)


# 5.4 Regularisation


def test_5_4_dropout_0_1_applies_to_every_sublayers_output_before_it_is_added(whole: Transformer):
    whole.train()
    x, output = torch.full((1, 50, 512), 2.0), torch.ones(1, 50, 512)
    for layer in (*whole.encoder.layers, *whole.decoder.layers):
        for name, residual in layer.named_children():
            if name.endswith("_residual"):
                ((summed, _),) = calls_of([residual.norm], lambda block=residual: block(x, lambda _: output))
                assert_dropped(summed - x, output)


def test_5_4_dropout_0_1_applies_to_the_sums_of_embeddings_and_positions_in_both_stacks(whole: Transformer):
    tokens = [4, 5, 6] * 20
    for stack in (whole.encoder, whole.decoder):
        ((undropped, *_),) = calls_of([stack], lambda: run(whole.eval(), tokens, tokens))
        ((dropped, *_),) = calls_of([stack], lambda: run(whole.train(), tokens, tokens))
        assert_dropped(dropped, undropped)


def assert_dropped(found: Tensor, undropped: Tensor) -> None:
    """A tenth is zero, and the rest is divided by 0.9."""
    kept = found != 0
    torch.testing.assert_close(found, undropped * kept / 0.9)
    deviation = math.sqrt(0.1 * 0.9 / found.numel())
    assert abs((~kept).float().mean() - 0.1) < 5 * deviation


def test_5_4_there_is_no_dropout_inside_a_sublayer_nor_on_attention_weights(whole: Transformer):
    whole.train()
    x, memory = torch.randn(1, 5, 512), torch.randn(1, 3, 512)
    for layer in (*whole.encoder.layers, *whole.decoder.layers):
        assert torch.equal(layer.attention(x), layer.attention(x))
        assert torch.equal(layer.feed_forward(x), layer.feed_forward(x))
    for layer in whole.decoder.layers:
        assert torch.equal(layer.cross_attention(x, memory), layer.cross_attention(x, memory))


def test_5_4_label_smoothing_0_1_spreads_a_tenth_over_all_tokens(tiny: Callable[..., Transformer]):
    model, batch = tiny("transformer"), collate([([4, 5], [6, 7, 8]), ([9], [10])])
    loss = accumulate_gradients(Objective(model, PAPER.train), [batch])
    logits = array(model(*map(torch.from_numpy, batch.inputs)))
    log_p = np.log(softmax(logits))
    rows, positions = np.nonzero(batch.targets != IGNORE)
    targets = np.full((6, 11), 0.1 / 11)  # six tokens
    targets[range(6), batch.targets[rows, positions]] += 0.9
    assert loss == pytest.approx(-(targets * log_p[rows, positions]).sum() / 6, rel=1e-5)


# 6.1 Averaging and beam search


def test_6_1_the_last_5_checkpoints_written_10_minutes_apart_are_averaged():
    train = PAPER.train
    assert train.average_checkpoints == train.keep_checkpoints == 5
    assert train.checkpoint_every * 0.4 == 10 * 60  # section 5.2: 0.4 seconds a step


def test_6_1_beam_search_has_by_default_a_beam_of_4_and_a_length_penalty_of_0_6():
    assert (Beam().size, Beam().length_penalty) == (4, 0.6)
    # ((5 + length) / 6)^0.6 (Wu et al. 2016, equation 14): 1 for one token, 2^0.6 for seven
    np.testing.assert_allclose(Beam().penalty(np.array([1, 7])), [1.0, 2**0.6], rtol=1e-12)


def test_6_1_a_translation_ends_at_most_50_tokens_after_its_source(tiny: Callable[..., Transformer]):
    assert EXTRA_TOKENS == 50
    model = tiny("transformer", context=80, tie_embeddings=False)
    norm = model.decoder.layers[-1].feed_forward_residual.norm
    with torch.no_grad():  # token 4 is always the likeliest, so no output ends by itself
        norm.weight.zero_()
        norm.bias.fill_(1.0)
        model.output_projection.weight.zero_()
        model.output_projection.weight[4] = 1.0
    sources = [[5], [5, 6, 7]]
    assert [len(output) for output in translate(model, sources)] == [51, 53]
    assert [len(best.tokens) for best, *_ in beam_search(model, sources, Beam())] == [51, 53]


# Table 3


def test_table_3_the_base_model_has_63_082_496_parameters_with_37000_tokens():
    assert count_parameters(PAPER.model) == 63_082_496


# With a vocabulary of 41,000 every row that differs from the base in N, d_model or d_ff is met to the million. So the 2
# million by which the base's 65 exceed ours are rows of the embedding, and the layers are the paper's.
@pytest.mark.parametrize(
    ("changes", "millions"),
    [
        ({}, 65),
        ({"num_layers": 2}, 36),
        ({"num_layers": 4}, 50),
        ({"num_layers": 8}, 80),
        ({"d_model": 256}, 28),
        ({"d_model": 1024}, 168),
        ({"d_ff": 1024}, 53),
        ({"d_ff": 4096}, 90),
    ],
    ids=str,
)
def test_table_3_parameters_are_the_papers_if_its_vocabulary_had_41000_tokens(changes: dict[str, int], millions: int):
    config = replace(TransformerConfig(vocab_size=41_000), **changes)
    assert round(count_parameters(config) / 1e6) == millions


# docs/paper.md


def symbols(body: list[ast.stmt], prefix: str = "") -> set[str]:
    """The names that a module defines at its top level, and those of its classes as "Class.name"."""
    names = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(prefix + node.name)
            names |= symbols(node.body, f"{node.name}.") if isinstance(node, ast.ClassDef) else set()
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {prefix + target.id for target in targets if isinstance(target, ast.Name)}
    return names


TEXT = DOCUMENT.read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/.]+\.py):([\w.]+)`", TEXT)))


@pytest.mark.parametrize(("path", "symbol"), NAMED, ids=[":".join(named) for named in NAMED])
def test_every_symbol_that_the_document_names_exists(path: str, symbol: str):
    assert symbol in symbols(ast.parse((ROOT / path).read_text(encoding="utf-8")).body)


def test_the_document_links_each_symbol_to_its_file():
    links = re.findall(r"\[`([\w/.]+\.py):[\w.]+`\]\(\.\./([\w/.]+)\)", TEXT)
    assert len(links) == len(re.findall(r"\.py:", TEXT)) > 40
    assert all(named == target for named, target in links)


def test_the_document_has_every_numbered_part_of_the_paper():
    sections = ["3.1", "3.2", "3.2.1", "3.2.2", "3.2.3", "3.3", "3.4", "3.5", "5.1", "5.2", "5.3", "5.4"]
    numbered = [
        f"{kind} {i + 1}" for kind, count in (("equation", 3), ("figure", 2), ("table", 4)) for i in range(count)
    ]
    parts = [*(f"\n| {section} |" for section in sections), *numbered]
    assert [part for part in parts if part not in TEXT.lower()] == []
