"""Fuzzing: mutated runs, data files and command lines must each succeed or end with an error message.

    python benchmarks/robustness/mutate.py --cases 10000                 all three kinds
    python benchmarks/robustness/mutate.py --kind runs --seed 417        one case again, with its traceback

A failure is an uncaught exception, an exit code of an error without a message, a hang, or a run that loads other
weights than it saved. The exit code is 1 if there is any. Cases run in a temporary folder, without network, under a
memory limit; training is interrupted after a second.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

from clearformer.cli.main import COMMANDS, main
from clearformer.engine import engine_of
from clearformer.errors import ClearformerError
from clearformer.runs.checkpoint import checkpoint_folders
from clearformer.runs.folder import open_folder
from clearformer.runs.session import load_model

TRAINING_SECONDS, LONGEST_SECONDS = 1, 20
MEMORY = 4 << 30
"""the memory limit, in bytes beyond those in use"""

TINY = [
    *("--model.context", "8", "--model.d-model", "4", "--model.num-heads", "2", "--model.num-layers", "1"),
    *("--model.d-ff", "4", "--train.batch-tokens", "32", "--train.device", "cpu", "--train.validation-tokens", "32"),
]
TRAINED = [
    *("--train.steps", "4", "--train.checkpoint-every", "2", "--train.keep-checkpoints", "2"),
    *("--train.average-checkpoints", "2"),
]
LABELS = "text,label\n" + "".join(f"a {'good' if n % 2 else 'poor'} film {n},{'xy'[n % 2]}\n" for n in range(40))
FAMILIES = {
    "transformer": ("dates", "pairs.tsv", "".join(f"n {n}\t{n} n\n" for n in range(40))),
    "gpt": ("tinyshakespeare", "text.txt", "the quick brown fox jumps over the lazy dog.\n" * 8),
    "bert": ("bert", "words.txt", "the quick brown fox jumps over the lazy dog.\n" * 8),
    "classifier": ("polarity", "labels.csv", LABELS),
}
"""for each family a recipe, and the name and content of data for it"""
USES = {
    "transformer": ["translate", "--beam", "2"],
    "gpt": ["generate", "--prompt", "the", "--max-new-tokens", "2"],
    "bert": ["fill", "--prompt", "the <mask>"],
    "classifier": ["classify", "--text", "a film"],
}

deep: Any = []
for _ in range(60):
    deep = [deep]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, -1, 0.5, 1e308, 10**12, 2**63, 10**30, -(10**30), float("nan"), float("inf")),
    *("", "x", "\ud800", "a\0b", "é" * 3000, "float32", "1", [], [None], [[]], ["x", "x"], {}, {"kind": "gpt"}, deep),
]
RAW = [
    *(b"", b"null", b"[]", b"{}", b'"x"', b"0", b"\xff\xfe\x00", b"\x00" * 64, b"{", b"[" * 100_000, b"\xef\xbb\xbf{}"),
    *(b"1" * 5000, b'{"a":' * 100_000, b"NaN", b"\n", b"\n\n\n", b'{"step": 1}\n', b"[]\n", b"null\n", b"9" * 5000),
]
TEXTS = [
    text.encode()
    for text in ("\0", "\n", "\r", "\r\n", "\t", '"', ",", "\u2028", "\x85", "\ufeff", "e\u0301", "𝔸", "٣")
]
BYTES = [*TEXTS, b"\xff", b"\xed\xa0\x80"]
WORDS = [
    *("", " ", "-", "--", "---", "-1", "0", "1", "2", "3", "1.5", "nan", "inf", "-inf", "1e999", "1e30", "9" * 30),
    *("9" * 5000, "x", "é", "\udcff", "a\0b", "x" * 5000, "None", "True", "[]", "{}", "=", "--=", "--x", "--x=1", "-h"),
    *("--help", "--json", "..", ".", "a/b", "a\nb", "<mask>", "<pad>", "*", "%s", "{0}", "[red]", "100000000"),
]

NUMBERS = ["0", "1", "2", "3", "5", "7", "-1", "0.5", "100000", "100000000", "9" * 19, "9" * 30, "nan", "inf", "1e-30"]


@dataclass
class Outcome:
    """The result of a case: `status` is how it ended, `fault` the reason if that is a failure."""

    status: str
    fault: str = ""
    trace: str = field(default="", repr=False)


class HangError(BaseException):
    """Raised in a case that exceeds the time limit; the package catches no BaseException."""


@contextlib.contextmanager
def _limited(trains: bool) -> Iterator[None]:
    """A time limit: training is stopped as by Ctrl-C, anything else by HangError."""

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        if trains and len(alarms) < 2:  # the first Ctrl-C stops after the step, the second at once
            alarms.append(True)
            signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS / 2)
            os.kill(os.getpid(), signal.SIGINT)
        else:
            raise HangError

    alarms: list[bool] = []
    usual = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, TRAINING_SECONDS if trains else LONGEST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)


def outcome(action: Callable[[], int], trains: bool = False) -> Outcome:
    """Call it as the shell would, with strict UTF-8 on standard output, and classify how it ends."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    stdin = io.TextIOWrapper(io.BytesIO(b"a 1\n\n\0\n"), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch("sys.stdin", stdin):
            with _limited(trains):
                code = action()
            out.flush()
    except SystemExit as leaving:
        return Outcome("help") if not leaving.code else Outcome("failed", f"SystemExit {leaving.code!r}")
    except HangError:
        return Outcome("failed", "it hangs", traceback.format_exc())
    except BaseException as error:  # a panic of a Rust library is no Exception
        return Outcome("failed", f"{type(error).__name__}: {str(error)[:300]}", traceback.format_exc())
    err.flush()
    output = err.buffer.getvalue().decode()
    if "Traceback" in re.sub(r"Exception ignored in.*?(KeyboardInterrupt|HangError)", "", output, flags=re.DOTALL):
        return Outcome("failed", "a traceback was printed", output)
    if code in (1, 2) and not any(line.startswith("clearformer: ") for line in output.splitlines()):
        return Outcome("failed", f"exit code {code} without an error message: {output[-200:]!r}")
    return Outcome({0: "done", 1: "refused", 2: "refused", 130: "stopped"}.get(code, f"exit code {code}"), trace=output)


class Hostile:
    """Small runs of all families in `home`, and the cases made from them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data: dict[str, Path] = {}
        self.runs: dict[str, Path] = {}
        self.weights: dict[str, list[str]] = {}
        for family, (recipe, name, content) in FAMILIES.items():
            self.data[family] = home / name
            self.data[family].write_text(content, encoding="utf-8")
            self.runs[family] = home / family
            words = ["--tokenizer", "word"] if family in ("bert", "classifier") else []
            self._make(self.train(recipe, name, family, *words, *TRAINED))
            if family == "gpt":  # one run that starts from another
                self._make(self.train(recipe, name, "started", "--start-from", str(self.runs["gpt"]), *TRAINED))
                self.runs["gpt"] = home / "started"
            self.weights[family] = list(self._acceptable(self.runs[family]))

    def _make(self, arguments: list[str]) -> None:
        made = outcome(lambda: main(arguments))
        assert made.status == "done", made.trace

    def train(self, recipe: str, name: str, out: str, *flags: str) -> list[str]:
        """A command that trains a tiny run."""
        return ["train", recipe, "--data", str(self.home / name), "--out", str(self.home / out), *TINY, *flags]

    def _acceptable(self, folder: Path) -> Iterator[str]:
        """Digests of the weights that the run may load: its checkpoints' mean or, if one is damaged, the other."""
        yield _loaded(folder)
        for path in checkpoint_folders(folder / "checkpoints"):
            path.rename(folder / "aside")
            yield _loaded(folder)
            (folder / "aside").rename(path)

    def run_case(self, rng: random.Random) -> tuple[str, Outcome]:
        """Mutate one file of a run, and use the run."""
        family = rng.choice(list(FAMILIES))
        folder = self.home / "mutated"
        _remove(folder)
        shutil.copytree(self.runs[family], folder)
        path = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".html"))
        what = f"{family}/{path.relative_to(folder)}: {_mutate(path, rng)}"
        forged = path.suffix == ".safetensors" and path.is_file() and rng.random() < 0.5
        if forged:
            _forge(path)
        uses = [[*USES[family][:1], str(folder), *USES[family][1:]]] * 6 + [["evaluate", str(folder), "--json"]] * 4
        started = self.train(*FAMILIES[family][:2], "new", "--start-from", str(folder), "--train.steps", "1")
        arguments = rng.choice([*uses, ["resume", str(folder)], ["resume", str(folder)], started])
        if "start" in path.parts:  # read by a run that has no checkpoint yet
            arguments = ["resume", str(folder)]
            _remove(folder / "checkpoints")
        trains = arguments[0] in ("resume", "train")
        _remove(self.home / "new")
        found = outcome(lambda: main(arguments), trains)
        if not found.fault and not trains and not forged:
            with contextlib.suppress(ClearformerError):
                if _loaded(folder) not in self.weights[family] and found.status == "done":
                    found = Outcome("failed", "it loaded other weights than were saved")
        return f"{what}; {arguments[0]}{', with its hash' * forged}", found

    def data_case(self, rng: random.Random) -> tuple[str, Outcome]:
        """Mutate a data file, and train a step on it."""
        family = rng.choice(list(FAMILIES))
        recipe, name, _ = FAMILIES[family]
        suffix = rng.choice([Path(name).suffix] * 3 + [".txt", ".tsv", ".csv", ".gz"]) + rng.choice(["", "", "", ".gz"])
        path = self.home / f"hostile{suffix}"
        _remove(path)
        content = _table(rng) if rng.random() < 0.3 else self.data[family].read_bytes()
        path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") and rng.random() < 0.7 else content)
        what = f"{family} on {path.name}: {_mutate(path, rng)}"
        arguments = self.train(recipe, path.name, "new", "--train.steps", "1")
        if rng.random() < 0.3:  # the kind of data must be recognised from the file
            arguments.remove(recipe)
            arguments += ["--tokenizer", rng.choice(["character", "word", "bpe"])]
        _remove(self.home / "new")
        return what, outcome(lambda: main(arguments), trains=True)

    def line_case(self, rng: random.Random) -> tuple[str, Outcome]:
        """Mutate a command line."""
        family = rng.choice(list(FAMILIES))
        recipe, name, _ = FAMILIES[family]
        run = str(self.runs[rng.choice(list(FAMILIES))])
        lines = [
            self.train(recipe, name, "new", "--train.steps", "1", "--train.schedule.peak", "0.1"),
            [USES[family][0], run, *USES[family][1:]],
            ["generate", run, "--prompt", "the", "--max-new-tokens", "2", "--temperature", "1", "--top-k", "2"],
            ["generate", run, "--top-p", "0.5", "--seed", "2", "--no-slide", "--no-cache", "--max-new-tokens", "9"],
            ["translate", run, "--n-best", "2", "--beam", "2", "--length-penalty", "1", "--engine", "numpy"],
            ["evaluate", run, "--split", "train", "--beam", "2", "--engine", "numpy", "--json"],
            ["fill", run, "--top", "2", "--json"],
            ["classify", run, "--top", "2", "--json"],
            ["draw", run, "the fox", "--target", "n", "--layer", "0", "--head", "1", "--attention", "cross"],
            ["resume", run],
            ["recipes"],
            ["data", "list"],
            ["data", "get", "multi30k"],
            ["check", "missing.py:model", "--only", "masks", "--junit", "x.xml", "--as", "attention"],
            ["check", "--explain", "masks.future"],
            [rng.choice(list(COMMANDS)), "--help"],
        ]
        arguments = _changed_line(rng.choice(lines), rng)
        if arguments[:1] in (["demo"], ["grok"]):
            arguments.insert(rng.randint(1, len(arguments)), "--help")  # they take minutes
        endless = ("train", "resume", "generate", "translate", "evaluate")  # mutated flags can make them run forever
        _remove(self.home / "new")
        with mock.patch("socket.create_connection", side_effect=OSError("no network here")):
            return repr(arguments)[:1000], outcome(lambda: main(arguments), bool({*arguments[:1]} & {*endless}))

    def case(self, kind: str, seed: int) -> tuple[str, Outcome]:
        """Run a case: what was mutated, and the outcome. The same seed makes the same case."""
        makers = {"runs": self.run_case, "data": self.data_case, "lines": self.line_case}
        os.chdir(self.home)  # where `train` without --out makes its folder
        with mock.patch.dict(os.environ, {"CLEARFORMER_CACHE": str(self.home / "cache")}):
            return makers[kind](random.Random(f"{kind} {seed}"))


def _loaded(folder: Path) -> str:
    """A digest of the weights that a run loads."""
    model, _ = load_model(open_folder(folder, lambda _: None), "torch")
    weights = engine_of(model).weights_of(model)
    return hashlib.sha256(b"".join(name.encode() + weights[name].tobytes() for name in sorted(weights))).hexdigest()


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _mutate(path: Path, rng: random.Random) -> str:
    """Mutate a file; return a description."""
    content = path.read_bytes()
    structured = path.suffix in (".json", ".jsonl", ".safetensors")
    kind = rng.choices(["json", "raw", "bytes", "cut", "double", "gone"], [70 * structured + 1, 10, 15, 5, 2, 3])[0]
    if kind == "json" and structured:
        return _mutate_json(path, content, rng)
    if kind == "raw":
        raw = rng.choice([*RAW, content.decode(errors="replace").encode("utf-16"), b"\xef\xbb\xbf" + content])
        path.write_bytes(raw)
        return f"its content is {raw[:20]!r}"
    if kind == "cut":
        place = rng.randrange(len(content) + 1)
        path.write_bytes(content[:place])
        return f"cut at byte {place}"
    if kind == "double":
        path.write_bytes(content * 2)
        return "twice its content"
    if kind == "gone":
        path.unlink()
        how = rng.choice(["missing", "a folder", "a link to itself", "a link to nothing"])
        if how == "a folder":
            path.mkdir()
        elif how != "missing":
            path.symlink_to(path.name if how == "a link to itself" else "nothing")
        return how
    changed, palette = (
        bytearray(content),
        rng.choice([TEXTS, TEXTS, TEXTS, BYTES, [bytes([number]) for number in range(256)]]),
    )
    for _ in range(rng.choice([1, 1, 1, 3, 30])):
        place = rng.randrange(len(changed) + 1)
        changed[place : place + rng.randint(0, 2)] = rng.choice(palette)
    path.write_bytes(bytes(changed))
    return "some bytes changed"


def _mutate_json(path: Path, content: bytes, rng: random.Random) -> str:
    """Mutate a value in a JSON file, in a line of metrics.jsonl, or in the header of a safetensors file."""
    before, after = b"", b""
    if path.suffix == ".safetensors":
        size = int.from_bytes(content[:8], "little")
        content, after = content[8 : 8 + size], content[8 + size :]
    elif path.suffix == ".jsonl":
        lines = content.splitlines(keepends=True)
        place = rng.randrange(len(lines))
        before, content, after = b"".join(lines[:place]), lines[place], b"".join([b"\n", *lines[place + 1 :]])
    tree = json.loads(content)
    holder, key, where = _place(tree, rng)
    how = rng.choice(["value", "value", "value", "value", "delete", "add", "twice"])
    value = rng.choice(VALUES)
    if how == "value":
        holder[key] = value
    elif how == "delete":
        del holder[key]
    elif isinstance(holder, dict):
        holder["twin" if how == "twice" else rng.choice(["extra", "", "\ud800", "kind", "format"])] = value
    else:
        holder.append(value)
    text = json.dumps(tree)
    if how == "twice":
        text = text.replace('"twin"', json.dumps(key))
    changed = text.encode()
    if path.suffix == ".safetensors":
        before = len(changed).to_bytes(8, "little")
    path.write_bytes(before + changed + after)
    return f"{how} at {where}: {str(value)[:40]!r}"


def _place(tree: Any, rng: random.Random) -> tuple[Any, Any, str]:
    """A random container inside the tree, one of its keys, and the path to it."""
    where = ""
    while True:
        key = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
        where += f"/{key}"
        if not isinstance(tree[key], dict | list) or not tree[key] or rng.random() < 0.15:
            return tree, key, where
        tree = tree[key]


def _forge(path: Path) -> None:
    """Write the file's new hash into its state.json, so that loading goes on to its tensors."""
    state = path.parent / "state.json"
    values = json.loads(state.read_text())
    values["sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    state.write_text(json.dumps(values))


def _table(rng: random.Random) -> bytes:
    """A table of unusual cells."""
    separator, width = rng.choice([b",", b"\t"]), rng.choice([1, 2, 2, 2, 3, 5, 300])
    cells = [b"", b"label", b"text", b"1", b"2.5", b"nan", b'"a"', b'"', b'"a\nb"', b"a b c", b"x", b"y", b" ", *BYTES]
    some = rng.sample(cells, rng.randint(2, len(cells)))
    return b"".join(separator.join(rng.choices(some, k=width)) + b"\n" for _ in range(rng.choice([1, 3, 30, 200])))


def _changed_line(arguments: list[str], rng: random.Random) -> list[str]:
    """Change values of flags; replace, delete, insert, repeat, join or reverse words."""
    arguments = list(arguments)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        place = rng.randrange(len(arguments) + 1)
        last = min(place, len(arguments) - 1)
        how = rng.choice(["value"] * 4 + ["replace"] * 2 + ["delete", "insert", "repeat", "join", "turn"])
        values = [n for n in range(1, len(arguments)) if arguments[n - 1].startswith("--")]
        if how == "value" and values:
            arguments[rng.choice(values)] = rng.choice(NUMBERS)
        elif how == "insert" or last < 0:
            arguments.insert(place, rng.choice(WORDS))
        elif how == "replace":
            arguments[last] = rng.choice([*WORDS, rng.choice(arguments)])
        elif how == "delete":
            del arguments[last]
        elif how == "repeat":
            arguments[place:place] = arguments[last : last + 2]
        elif how == "join":
            arguments[last : last + 2] = ["=".join(arguments[last : last + 2])]
        else:
            arguments[last] = arguments[last][::-1]
    return arguments


def _limit_memory() -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kind", choices=["runs", "data", "lines"], help="by default all three")
    parser.add_argument("--cases", type=int, default=10_000, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--seed", type=int, help="run this one case, and print its traceback")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore SIGINT
    kinds = [options.kind] if options.kind else ["runs", "data", "lines"]
    failures = 0
    with tempfile.TemporaryDirectory() as home:
        hostile = Hostile(Path(home).resolve())
        _limit_memory()
        for kind in kinds:
            counts: Counter[str] = Counter()
            seeds = range(options.first, options.first + options.cases) if options.seed is None else [options.seed]
            for number, seed in enumerate(seeds, 1):
                what, found = hostile.case(kind, seed)
                counts[found.status] += 1
                if number % 500 == 0:
                    print(f"{kind}: {number:,} of {len(seeds):,} cases", file=sys.stderr, flush=True)
                if found.fault:
                    last = "\n    ".join(found.trace.splitlines()[-4:])
                    print(f"--kind {kind} --seed {seed}: {what}\n    {found.fault}\n    {last}", flush=True)
                if options.seed is not None:
                    print(what, found.status, found.trace, sep="\n")
            print(f"{kind}: {', '.join(f'{count:,} {status}' for status, count in counts.most_common())}", flush=True)
            failures += counts["failed"]
        os.chdir("/")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(_main())
