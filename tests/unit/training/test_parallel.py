"""Several processes train what one trains, whoever holds which rows; and none can go on without the others."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pytest
import safetensors.numpy
import torch
import torch.distributed as dist

from clearformer.cli.main import main
from clearformer.config import Config, CosineSchedule, GPTConfig, TrainConfig, TransformerConfig
from clearformer.errors import ConfigError
from clearformer.models.initial import parameter_shapes
from clearformer.runs import metrics
from clearformer.runs.checkpoint import load_checkpoint, newest_step
from clearformer.runs.folder import create_folder, is_made_of, open_folder
from clearformer.runs.session import train_run
from clearformer.runs.tensor_files import Tensors
from clearformer.training.optimizer_state import optimizer_shapes
from clearformer.training.parallel import Group

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("parallel")]  # one worker starts the server of processes

T = TypeVar("T")

# float32 sums in another order: 1.5e-7 of the losses and norms measured, twenty times that allowed
CURVE_TOLERANCE = 3e-6
# absolute, of weights up to 1 after twelve steps of at most 0.01: 1.2e-7 measured
WEIGHT_TOLERANCE = 2e-6
LIMIT = 120
"""seconds of a process"""

# GELU: where a rounding error crosses the kink of ReLU, gradients differ by more than rounding
SIZES: dict[str, Any] = {
    "context": 8, "d_model": 16, "num_heads": 2, "num_layers": 2, "d_ff": 32, "dropout": 0.0, "activation": "gelu",
}  # fmt: skip
# 5 windows in a batch; epsilon exceeds rounding errors: else Adam would make whole steps of those of the keys' biases
TRAIN = TrainConfig(
    steps=12, batch_tokens=40, accumulation=2, schedule=CosineSchedule(1e-2, 1e-3, 3), epsilon=1e-4, log_every=1,
    validate_every=4, validation_tokens=100, checkpoint_every=4, device="cpu", parallel="ddp",
)  # fmt: skip

TRAINING = """
import os, sys
from pathlib import Path
os.environ |= {environment}
from clearformer.runs.folder import open_folder
from clearformer.runs.session import train_run
from clearformer.runs.tensor_files import Tensors
from clearformer.training.optimizer_state import optimizer_shapes
from clearformer.training.processes import joined
with joined() as processes:
    session = train_run(open_folder(Path({folder!r}), print), processes)
    for update in session:
        if update.record.step == {last}:
            session.close()
"""
WRITING = """
import os, time
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
write = HuggingFaceStorageWriter.write_data
def write_data(writer, plan, planner):
    {before}
    return write(writer, plan, planner)
HuggingFaceStorageWriter.write_data = write_data
"""
"""before TRAINING: what a process does before it writes its part of a checkpoint, in a thread beside training"""
READING = """
import os
from clearformer.runs import checkpoint
read = checkpoint.read_tensors
def read_tensors(folder, name, *others):
    found = read(folder, name, *others)
    print(os.environ["RANK"], name, sum(array.size for array in found.values()), file=open({record!r}, "a"))
    return found
checkpoint.read_tensors = read_tensors
"""
"""before TRAINING: writes down how many numbers a process gets out of a checkpoint's files"""
DRAWING = """
import os
from clearformer.engines import torch as engine
load = engine.load_weights
def load_weights(model, weights):
    assert not any(parameter.is_meta for parameter in model.parameters())
    print(os.environ["RANK"], sum(array.size for array in weights.values()), file=open({record!r}, "a"))
    load(model, weights)
engine.load_weights = load_weights
"""
"""before TRAINING: writes down how many numbers a process puts into its model"""
COMMAND = """
import os, sys
os.environ |= {environment}
from clearformer.cli.main import main
sys.stderr = open({errors!r}, "a", buffering=1)
sys.exit(main({arguments}))
"""
PRELOADED = ["torch._dynamo", *(f"clearformer.{name}" for name in ("cli.train", "engines.torch", "training.parallel"))]
"""what processes take from their server, which has loaded it once; an optimizer's first step loads torch._dynamo"""


def together(programs: Sequence[str], **values: Any) -> list[int | None]:
    """Run each program in a process of its own, numbered as torchrun does; return their exit codes."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(len(programs)),
        "LOCAL_WORLD_SIZE": str(len(programs)), "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0",
    }  # fmt: skip
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    processes = []
    for rank, program in enumerate(programs):
        environment = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        code = program.format(environment=environment, **values)
        processes.append(context.Process(target=exec, args=(code, {})))
        processes[-1].start()
    for process in processes:
        process.join(LIMIT)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def train_together(size: int, folder: Path, last: int = 0) -> None:
    """Train a run in `size` processes to its end, or to the step `last`."""
    assert together([TRAINING] * size, folder=str(folder), last=last) == [0] * size


def writing(before: str) -> str:
    return WRITING.replace("{before}", before) + TRAINING


def train_alone(folder: Path) -> None:
    for _ in train_run(open_folder(folder, print)):
        pass


@pytest.fixture
def make(tmp_path: Path, text_file: Path, pairs_file: Path):
    """A new run of a tiny model: `make("gpt", steps=3)`."""

    def create(kind: str = "gpt", settings: dict[str, Any] | None = None, **changes: Any) -> Path:
        train = replace(TRAIN, **changes)
        if kind == "gpt":
            gpt = GPTConfig(vocab_size=60, **SIZES, **(settings or {}))
            config = Config("own", gpt, data=(str(text_file),), train=train)
        else:
            model = TransformerConfig(vocab_size=60, **SIZES)
            config = Config("own", model, data=(str(pairs_file),), train=replace(train, batch_tokens=100))
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        create_folder(folder, config, lambda _: None)
        return folder

    return create


def twin(folder: Path) -> Path:
    """A copy of a run."""
    return Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-twin")))


def divide(folder: Path, parallel: str) -> None:
    """Let processes share a run's work otherwise from now on."""
    config = json.loads((folder / "config.json").read_text())
    config["train"]["parallel"] = parallel
    (folder / "config.json").write_text(json.dumps(config))


def curve(folder: Path) -> list[dict[str, float]]:
    return metrics.read(folder / "metrics.jsonl")


def state(folder: Path, name: str = "model", step: int = TRAIN.steps) -> Tensors:
    """Weights, or "optimizer": moments, as one process reads them, of the newest checkpoint or that of `step`."""
    wanted = {name: shapes(folder)[name]}
    return load_checkpoint(folder / "checkpoints" / f"step-{step:06d}", wanted).tensors[name]


def shapes(folder: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    """Of weights, "model", and moments, "optimizer"."""
    config = open_folder(folder, print).config
    model = parameter_shapes(config.model)
    return {"model": model, "optimizer": optimizer_shapes(model, config.train)}


def assert_same_training(folder: Path, other: Path) -> None:
    """The same losses, norms and weights, up to the order of sums."""
    for line, expected in zip(curve(folder), curve(other), strict=True):
        assert line == pytest.approx(expected, rel=CURVE_TOLERANCE)
    weights, expected_weights = state(folder), state(other)
    assert weights.keys() == expected_weights.keys()
    for name, weight in expected_weights.items():
        np.testing.assert_allclose(weights[name], weight, rtol=0, atol=WEIGHT_TOLERANCE, err_msg=name)


def assert_identical(folder: Path, other: Path) -> None:
    assert (folder / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    for name in ("model", "optimizer"):
        expected = state(other, name)
        assert [key for key, value in state(folder, name).items() if not np.array_equal(value, expected[key])] == []


@pytest.mark.parametrize(
    ("size", "kind", "changes"),
    [
        (2, "gpt", {}),  # 3 windows and 2
        (4, "gpt", {"batch_tokens": 16, "optimizer": "muon"}),  # 2 windows: two processes have none
        (4, "transformer", {"parallel": "none", "clip": 0.1}),  # made for one process; rows of unequal length
        (2, "gpt", {"parallel": "fsdp", "optimizer": "muon"}),
        (3, "transformer", {"parallel": "fsdp", "label_smoothing": 0.1, "clip": 0.1}),  # parts of different sizes
    ],
)
def test_several_processes_train_as_one_does(make: Any, size: int, kind: str, changes: dict[str, Any]):
    folder = make(kind, **changes)
    alone = twin(folder)
    train_together(size, folder)
    train_alone(alone)
    assert_same_training(folder, alone)


@pytest.mark.parametrize(("parallel", "size", "others"), [("ddp", 3, [1, 2]), ("fsdp", 2, [1, 4])])
def test_a_run_resumes_exactly_with_as_many_processes_and_to_rounding_with_others(
    make: Any, parallel: str, size: int, others: list[int]
):
    whole = make(parallel=parallel)
    stopped = twin(whole)
    train_together(size, whole)
    train_together(size, stopped, last=7)
    assert [path.name for path in sorted((stopped / "checkpoints").iterdir())] == ["step-000004", "step-000007"]
    for number in others:
        resumed = twin(stopped)
        train_together(number, resumed) if number > 1 else train_alone(resumed)
        assert_same_training(resumed, whole)
        shutil.rmtree(resumed)
    train_together(size, stopped)
    assert_identical(stopped, whole)


def test_a_run_goes_on_with_fsdp_from_ddp_and_back(make: Any):
    alone = make(settings={"ngram_buckets": 2, "positions": "rotary"}, optimizer="muon")
    moved = twin(alone)
    train_alone(alone)
    train_together(2, moved, last=3)
    divide(moved, "fsdp")
    train_together(4, moved, last=7)  # two of which own nothing of tables of two rows
    divide(moved, "ddp")
    train_together(2, moved)
    assert_same_training(moved, alone)


def test_to_go_on_with_fsdp_a_process_reads_its_own_part_and_no_more(make: Any, tmp_path: Path):
    folder, record = make(settings={"ngram_buckets": 2}, parallel="fsdp", optimizer="muon"), tmp_path / "read"
    train_together(2, folder, last=4)
    assert together([READING + TRAINING] * 3, folder=str(folder), last=5, record=str(record)) == [0, 0, 0]
    numbers = {  # of each part, as torch.chunk divides rows; all have the scalars
        (rank, name): sum(own_size(shape, rank, 3) for shape in found.values())
        for name, found in shapes(folder).items()
        for rank in range(3)
    }
    assert sorted(record.read_text().splitlines()) == sorted(f"{r} {name} {n}" for (r, name), n in numbers.items())


def test_to_begin_with_fsdp_a_process_keeps_its_own_part_of_new_weights_and_no_more(make: Any, tmp_path: Path):
    folder, record = make(settings={"ngram_buckets": 2}, parallel="fsdp"), tmp_path / "drawn"
    assert together([DRAWING + TRAINING] * 3, folder=str(folder), last=1, record=str(record)) == [0, 0, 0]
    sizes = [sum(own_size(shape, rank, 3) for shape in shapes(folder)["model"].values()) for rank in range(3)]
    assert sorted(record.read_text().splitlines()) == [f"{rank} {size}" for rank, size in enumerate(sizes)]


def own_size(shape: tuple[int, ...], rank: int, size: int) -> int:
    return sum(chunk.numel() for chunk in torch.empty(shape).chunk(size)[rank : rank + 1]) if shape else 1


def test_a_checkpoint_in_which_one_process_finds_damage_is_skipped_by_all(make: Any):
    whole = make(parallel="fsdp")
    damaged = twin(whole)
    train_together(2, whole)
    train_together(2, damaged, last=7)
    part = damaged / "checkpoints" / "step-000007" / "shard-00002-model-00002-of-00002.safetensors"
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # which its SHA-256 alone can tell
    train_together(2, damaged)
    assert_identical(damaged, whole)


def test_parts_of_a_checkpoint_are_written_while_training_goes_on_and_are_of_their_step(make: Any):
    at_once = make(parallel="fsdp", keep_checkpoints=3)
    beside = twin(at_once)
    train_together(2, at_once)
    # no process writes the checkpoint of step 4 before step 6 is done; those of steps 8 and 12 find it done
    done = f"'\"step\": 6' in open({str(beside / 'metrics.jsonl')!r}).read()"
    wait = f"while not {done}: time.sleep(0.01)"
    assert together([writing(wait)] * 2, folder=str(beside), last=0) == [0, 0]
    for step in (4, 8, 12):
        for name in ("model", "optimizer"):
            expected = state(at_once, name, step)
            found = state(beside, name, step)
            assert [key for key, value in expected.items() if not np.array_equal(found[key], value)] == []


def test_a_checkpoint_in_parts_is_safetensors_and_json_alone(make: Any):
    folder = make(parallel="fsdp", steps=3)
    train_together(2, folder)
    (checkpoint,) = (folder / "checkpoints").iterdir()
    parts = [f"shard-0000{rank}-model-0000{file}-of-00002.safetensors" for rank in (1, 2) for file in (1, 2)]
    assert sorted(path.name for path in checkpoint.iterdir()) == [*parts, "state.json"]
    assert json.loads((checkpoint / "state.json").read_text())["sha256"].keys() == set(parts)
    for part in parts:
        assert safetensors.numpy.load((checkpoint / part).read_bytes()), part  # nothing else than tensors can be read


def test_a_process_killed_while_it_writes_leaves_the_checkpoint_before_from_which_all_go_on(make: Any):
    whole = make(parallel="fsdp")
    killed = twin(whole)
    train_together(2, whole)
    dies = 'if "000008" in str(writer.path): os.kill(os.getpid(), 9)'
    codes = together([TRAINING, writing(dies)], folder=str(killed), last=0)
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, None)
    names = sorted(path.name for path in (killed / "checkpoints").iterdir())
    assert names == [".writing-step-000008", "step-000004"]
    train_together(2, killed)
    assert_identical(killed, whole)
    assert not (killed / "checkpoints" / ".writing-step-000008").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of torchrun in /proc")
def test_a_killed_process_starts_again_from_the_last_checkpoint_and_a_signal_stops_all(make: Any):
    model = make(steps=20_000, checkpoint_every=5, parallel="fsdp")
    config, folder = model / "config.json", model.with_name("run")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    command = [*torchrun, "-m", "clearformer", "train", str(config), "--out", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as run:
        first = wait_for(lambda: workers(run.pid) if newest_step(folder / "checkpoints") else [])
        os.kill(first[1], signal.SIGKILL)
        second = wait_for(lambda: [pid for pid in workers(run.pid) if pid not in first] if first_ended(first) else [])
        logged = len(curve(folder))
        wait_for(lambda: len(curve(folder)) > logged + 1)
        run.terminate()
        _, errors = run.communicate(timeout=LIMIT)
    assert second
    assert run.returncode != 0
    assert errors.count("holds a run of this configuration, which goes on") == 1
    assert errors.count("which is saved; continue with: clearformer resume") == 1
    last = newest_step(folder / "checkpoints")
    assert last is not None
    assert [line["step"] for line in curve(folder)] == [*range(1, last + 1)]
    for update in train_run(open_folder(model, print)):  # alone
        if update.record.step == last:
            break
    for line, expected in zip(curve(folder), curve(model), strict=True):
        assert line == pytest.approx(expected, rel=CURVE_TOLERANCE)


def wait_for(condition: Callable[[], T]) -> T:
    """Wait until the condition is true, and return it."""
    for _ in range(20 * LIMIT):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("the processes did not get that far")


def workers(torchrun: int) -> list[int]:
    """The processes that torchrun has started and that run, in order."""
    children = [int(word) for word in Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()]
    return [pid for pid in children if "clearformer" in command_of(pid)]


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def first_ended(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_run_is_made_of_the_configuration_typed_and_of_no_other(make: Any):
    folder = make()
    made = open_folder(folder, print).config
    typed = replace(made, model=replace(made.model, vocab_size=60))
    assert made.model.vocab_size < 60
    assert is_made_of(made, typed)
    assert not is_made_of(made, replace(typed, train=replace(typed.train, steps=13)))
    assert not is_made_of(made, replace(typed, model=TransformerConfig(vocab_size=60, **SIZES)))


def test_an_engine_besides_pytorch_does_not_share_work():
    with pytest.raises(ConfigError, match="engine torch was expected in several processes, found one of c;"):
        Group(0, 2).distribute(SimpleNamespace(engine="c"), TRAIN)


def command_errors(errors: Path, *commands: list[str]) -> str:
    """What the commands print to standard error, each in a process of its own, none of which may succeed."""
    programs = [COMMAND.replace("{arguments}", repr(command)) for command in commands]
    assert 0 not in together(programs, errors=str(errors))
    return errors.read_text(encoding="utf-8")


def test_processes_of_different_configurations_end_with_one_sentence(tmp_path: Path, text_file: Path):
    command = ["train", "tinyshakespeare", "--data", str(text_file), "--train.parallel", "ddp"]
    command += ["--out", str(tmp_path / "run"), "--train.steps"]
    assert command_errors(tmp_path / "errors", [*command, "10"], [*command, "12"]) == (
        "clearformer: the same configuration was expected in all processes, but that of process 1 is not that of "
        'process 0: "steps": 12 there, "steps": 10 here; type the same line on every machine\n'
    )
    assert not (tmp_path / "run").exists()


def test_what_was_mistyped_in_all_processes_is_said_once(tmp_path: Path):
    command = ["train", "reverse", "--train.parallel", "dpp"]
    assert command_errors(tmp_path / "errors", command, command).count("clearformer: ") == 1


def test_processes_that_do_not_share_work_are_refused(tmp_path: Path):
    command = ["train", "reverse", "--out", str(tmp_path / "run")]
    assert command_errors(tmp_path / "errors", command, command) == (
        "clearformer: one process was expected, as --train.parallel is none, but torchrun started 2; "
        "add --train.parallel ddp\n"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--train.parallel", "ddp"], "type: torchrun --nproc-per-node 2 "),
        (["--train.parallel", "ddp", "--engine", "numpy"], "--train.parallel must be none but with torch, found 'ddp'"),
    ],
)
def test_one_process_is_told_what_to_type(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["train", "reverse", "--out", str(tmp_path / "run"), *arguments]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
