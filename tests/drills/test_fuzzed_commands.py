"""Two hundred command lines with mistakes in them: an answer or a short error, never a traceback."""

import random

import pytest

from commands import COMMANDS
from robust_transfer.cli import train
from tiny_runs import snapshot, tiny

pytestmark = pytest.mark.drill

SHARES = {"rt-train": 80, "rt-eval": 50, "rt-data": 30, "rt-report": 40}
WILD = ("", "nan", "inf", "-1", "0", "1e309", "true", "null", "[]", "[1,2", "{a:1}", "${seed}", "${nothing}")
WILD += (
    "???",
    "'",
    '"',
    "../..",
    "a b",
    "☃",
    "\x00",
    "1,2",
    "choice(1,2)",
    "=",
    "--",
    "x" * 300,
    "@",
    "~",
    "/",
)
FLAGS = ("--force", "-x", "--plna", "--help=1", "--cfg", "--", "-", "--config-dir=nowhere", "-m", "--store")
LETTERS = "abcxyz019.=-_+~@,[]{}'\"$\\ "


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzzed") / "runs"
    assert train.main(tiny("none", "cr", root, "evaluators=[clean,certify]")) == 0
    return root


def valid(program, store, out, keys):
    """Return valid command lines of a program, and the words at their end that stay as they are."""
    finetune, clean = keys
    lines = {
        "rt-train": [
            (tiny("cr", "cr", store)[:-1], [f"store={store}", "--plan"]),
            (
                ["-m", "pretrain=none,st", "finetune=at", "dataset=digits", "seed=0,1"],
                [f"store={store}", "--plan"],
            ),
            (["experiment=quickstart", "seed=0", "finetune.max_steps=2"], [f"store={store}", "--plan"]),
            # Runs nothing either: its data are missing.
            (["pretrain=simclr", "source=imagenet", "finetune=at", "dataset=pets"], [f"store={store}"]),
        ],
        "rt-eval": [
            (
                ["certify", f"checkpoint={finetune}", "dataset=digits", "certify.sigma=0.5"],
                [f"store={store}", "--plan"],
            ),
            (
                ["clean", f"checkpoint={finetune}", "dataset=digits", "clean.subset=9"],
                [f"store={store}", "--plan"],
            ),
        ],
        "rt-data": [
            (["status", "pets", "digits"], ["--root", str(out)]),
            (["check", "pets", "--partition", "1"], ["--root", str(out)]),
        ],
        "rt-report": [
            (["runs"], ["--store", str(store), "--out", str(out)]),
            (["show", clean], ["--store", str(store), "--out", str(out)]),
            (["table", "quickstart"], ["--store", str(store), "--out", str(out)]),
            (["table", "2", "--source", "published"], ["--store", str(store), "--out", str(out)]),
            (["compare", clean, clean], ["--store", str(store), "--out", str(out)]),
        ],
    }
    return lines[program]


def mutated(words, chance):
    """Make one to three mistakes."""
    words = list(words)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(words))
        key, _, value = words[place].partition("=")
        mistake = chance.randrange(8)
        if mistake == 0 and words[place]:
            at = chance.randrange(len(words[place]))
            words[place] = words[place][:at] + words[place][at + 1 :]
        elif mistake == 1:
            at = chance.randrange(len(words[place]) + 1)
            words[place] = words[place][:at] + chance.choice(LETTERS) + words[place][at:]
        elif mistake == 2:
            other = chance.randrange(len(words))
            other_key, _, other_value = words[other].partition("=")
            words[place], words[other] = f"{key}={other_value}", f"{other_key}={value}"
        elif mistake == 3:
            words[place] = f"{key}={chance.choice(WILD)}"
        elif mistake == 4:
            words.insert(place, chance.choice(FLAGS))
        elif mistake == 5:
            words.insert(place, words[place])
        elif mistake == 6:
            words[place] = chance.choice(("+", "++", "~", "")) + words[place].replace(
                ".", chance.choice(("..", "/", ""))
            )
        else:
            words[place] = chance.choice(WILD)
    return words


def fuzzed(program, store, out, keys):
    chance = random.Random(program.removeprefix("rt-"))
    for _ in range(SHARES[program]):
        words, kept = chance.choice(valid(program, store, out, keys))
        yield [*mutated(words, chance), *kept]


@pytest.mark.parametrize("program", COMMANDS)
def test_fuzzed_command_lines(program, store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RT_DATA", str(tmp_path / "data"))
    (finetune,) = (path.name[-12:] for path in (store / "finetune").iterdir())
    (clean,) = (path.name[-12:] for path in (store / "eval").glob("clean-*"))
    before, wrong, codes = snapshot(store), [], []
    for words in fuzzed(program, store, tmp_path / "out", (finetune, clean)):
        try:
            code = COMMANDS[program](words)
        except SystemExit as left:
            code = left.code
        except BaseException as error:  # what a user would see as a traceback
            code = f"{type(error).__name__}: {error}"
        answer, said = capsys.readouterr()
        # A plan that could not run is an answer too: exit 2, and the plan says what is missing.
        if (
            code not in (0, 2)
            or "Traceback" in said
            or (code == 2 and (said.count("\n") > 3 or not answer + said))
        ):
            wrong.append(f"{words}: {code}\n{said}")
        codes.append(code)
    assert not wrong, "\n\n".join(wrong)
    assert codes.count(2) > len(codes) / 3
    assert snapshot(store) == before
