"""Write docs/evidence.md: the learning claims that need longer than a notebook, with numbers read from the logs.

    python -m experiments.evidence            # rewrites the tables between the page's markers
    python -m experiments.evidence --check    # exits with 1 if the page is not what the logs say

A claim is a sentence that a lesson states, the log that shows it, and a function that asks the log whether it is so.
Claims of lessons whose text is not there are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "evidence.md"
BEGIN, END = "<!-- evidence:begin -->", "<!-- evidence:end -->"
Groups = dict[str, list[float]]


@dataclass(frozen=True)
class Found:
    """What a log says about a claim: shares by label (one value per seed), and whether the claim is true of them."""

    groups: Groups
    seeds: set[int]
    seconds: float
    clock: str
    holds: bool


@dataclass(frozen=True)
class Claim:
    """A sentence of a lesson, the script and log behind it, and how to ask the log."""

    lesson: str
    words: str
    script: str
    log: str
    ask: Callable[[Any], Found]


def read_log(path: Path) -> Any:
    """A log as Python data: `.jsonl` is one run per line, everything else is one JSON value."""
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def grouped(pairs: Iterable[tuple[str, float]]) -> Groups:
    """Values by label, in the order of the log."""
    groups: Groups = {}
    for label, value in pairs:
        groups.setdefault(label, []).append(value)
    return groups


# ------------------------------------------------------------------------------------------------- lesson 02: positions


def _positions(chosen: Callable[[Mapping[str, Any]], list[tuple[str, float]]], holds: Callable[[Groups], bool]) -> Any:
    def ask(runs: list[dict[str, Any]]) -> Found:
        groups = grouped(pair for run in runs for pair in chosen(run))
        seconds = sum(run["seconds"] for run in runs)
        return Found(groups, {run["seed"] for run in runs}, seconds, "wall clock", holds(groups))

    return ask


def _shuffled(run: Mapping[str, Any]) -> list[tuple[str, float]]:
    if run["kind"] not in ("learned", "none"):
        return []
    return [
        (f"{run['kind']}: pictures as they are", run["test"]),
        (f"{run['kind']}: shuffled", run["test, each shuffled"]),
    ]


# ----------------------------------------------------------------------------------------------------- lesson 03: maps


def _maps(log: dict[str, Any]) -> Found:
    groups = {"test": [log["accuracy"]["test"]], "held-out styles": [log["accuracy"]["heldout"]]}
    chance = 1 / 12
    return Found(groups, {0}, log["cpu_seconds"], "CPU", all(values[0] > 3 * chance for values in groups.values()))


# ------------------------------------------------------------------------------------------------- lesson 04: ablation


def _ablation(names: Mapping[str, str], holds: Callable[[Groups], bool]) -> Any:
    def ask(log: dict[str, Any]) -> Found:
        runs = [run for run in log["runs"] if run["name"] in names]
        groups: Groups = {label: [] for label in names.values()}
        for run in runs:
            groups[names[run["name"]]].append(run["accuracy"])
        seconds = sum(run["cpu_seconds"] for run in log["runs"])
        return Found(groups, {run["seed"] for run in runs}, seconds, "CPU", holds(groups))

    return ask


def _each(groups: Groups, better: str, worse: str) -> bool:
    """The first is ahead of the second with every seed."""
    return all(a > b for a, b in zip(groups[better], groups[worse], strict=True))


# --------------------------------------------------------------------------------------------- lesson 05: distillation

ARMS = {"teacher": "CNN", "plain": "ViT alone", "longer": "ViT alone, longer", "soft": "ViT, soft", "hard": "ViT, hard"}
RECIPES = {"basic": "light", "strong": "recipe"}
SPLITS = {"test": "seen", "heldout": "held-out"}
Runs = dict[tuple[int, str, str], dict[str, float]]  # (seed, recipe, arm) -> accuracy by split


def _distillation(arms: str, recipes: str, splits: str, holds: Callable[[Runs], bool]) -> Any:
    def ask(log: dict[str, Any]) -> Found:
        runs: Runs = {(r["seed"], r["recipe"], r["arm"]): {s: r[s]["mean"] for s in SPLITS} for r in log["runs"]}
        groups = grouped(
            (f"{ARMS[arm]}, {RECIPES[recipe]}, {SPLITS[split]}", runs[seed, recipe, arm][split])
            for recipe in recipes.split()
            for split in splits.split()
            for arm in arms.split()
            for seed in sorted({key[0] for key in runs})
            if (seed, recipe, arm) in runs
        )
        seconds = sum(run["cpu_seconds"] for run in log["runs"])
        seeds = {seed for seed, recipe, arm in runs if recipe in recipes.split() and arm in arms.split()}
        return Found(groups, seeds, seconds, "CPU", holds(runs))

    return ask


def _cnn_first(runs: Runs) -> bool:
    return all(
        runs[seed, recipe, "teacher"][split] > found[split]
        for (seed, recipe, arm), found in runs.items()
        if arm != "teacher" and (seed, recipe, "teacher") in runs
        for split in SPLITS
    )


def _ahead(first: str, second: str, recipe: str, splits: Iterable[str] = SPLITS) -> Callable[[Runs], bool]:
    """One arm is ahead of another with every seed that has both, and there is such a seed."""

    def holds(runs: Runs) -> bool:
        pairs = [
            (runs[seed, recipe, first][split], runs[seed, recipe, second][split])
            for seed in range(20)
            for split in splits
            if (seed, recipe, first) in runs and (seed, recipe, second) in runs
        ]
        return bool(pairs) and all(a > b for a, b in pairs)

    return holds


def _small_gain(runs: Runs) -> bool:
    """On seen styles a teacher's mean gain is smaller than the spread of the ViT alone over its seeds."""
    plain = {seed: found["test"] for (seed, recipe, arm), found in runs.items() if (recipe, arm) == ("basic", "plain")}
    gains = [
        mean(runs[seed, "basic", arm]["test"] - plain[seed] for seed in plain if (seed, "basic", arm) in runs)
        for arm in ("soft", "hard")
    ]
    return max(map(abs, gains)) < max(plain.values()) - min(plain.values())


def _recipe_costs(runs: Runs) -> bool:
    """On seen styles every network is worse with the recipe; on held-out styles no mean is better."""
    arms = {arm for _, recipe, arm in runs if recipe == "strong" and arm != "longer"}  # longer: not 12 epochs
    both = {arm: [seed for seed in range(20) if {(seed, r, arm) for r in RECIPES} <= set(runs)] for arm in arms}
    seen = all(runs[s, "strong", arm]["test"] < runs[s, "basic", arm]["test"] for arm in arms for s in both[arm])
    gains = [
        mean(runs[s, "strong", a]["heldout"] - runs[s, "basic", a]["heldout"] for s in both[a]) for a in arms if both[a]
    ]
    return seen and bool(gains) and max(gains) <= 0


# ----------------------------------------------------------------------------------------------- lesson 07: fine-tuning


def _finetuning(kind: str, only: str, holds: Callable[[dict[str, Groups]], bool]) -> Any:
    def ask(log: dict[str, Any]) -> Found:
        runs = {tuple(name.split("/")): run for name, run in log["runs"].items() if name.startswith(f"{kind}/")}
        shots = [only] if only else sorted({key[1] for key in runs}, key=int)
        by_shot: dict[str, Groups] = {}  # what is compared: the seeds that all ways have
        groups: Groups = {}
        for shot in shots:
            found = {
                way: {int(key[3]): run["test"] for key, run in runs.items() if key[1:3] == (shot, way)}
                for way in ("scratch", "probe", "full", "layerwise")
            }
            found = {way: values for way, values in found.items() if values}
            common = set.intersection(*map(set, found.values())) if found else set()
            by_shot[shot] = {way: [values[s] for s in sorted(common)] for way, values in found.items() if common}
            groups |= {f"{way}, {shot} per class": list(values.values()) for way, values in found.items()}
        seeds = {int(key[3]) for key in runs if key[1] in shots}
        seconds = sum(run["cpu_seconds"] for run in log["runs"].values())
        return Found(groups, seeds, seconds, "CPU", all(by_shot.values()) and holds(by_shot))

    return ask


def _checkpoint(log: dict[str, Any]) -> Found:
    run = log["runs"]["checkpoint"]
    groups = {"test": [run["test"]], "held-out styles": [run["heldout"]]}
    seconds = sum(other["cpu_seconds"] for other in log["runs"].values())
    return Found(groups, {run["seed"]}, seconds, "CPU", run["test"] > 0.5)


def _all_beat_scratch(by_shot: dict[str, Groups]) -> bool:
    return all(
        min(values) > max(ways["scratch"])
        for ways in by_shot.values()
        for way, values in ways.items()
        if way != "scratch"
    )


def _full_leads(by_shot: dict[str, Groups]) -> bool:
    ways = {way: mean(values) for way, values in by_shot["100"].items()}
    return ways["full"] == max(ways.values())


# ---------------------------------------------------------------------------------------------- lesson 08: segmentation


def _dense(log: dict[str, Any]) -> Found:
    groups = grouped((f"{run['model']}, {SPLITS[split]}", run[split]) for split in SPLITS for run in log["runs"])
    costs = {run["model"]: run["gflops"] for run in log["runs"]}
    seconds = sum(run["cpu_seconds"] for run in log["runs"])
    return Found(
        groups, {run["seed"] for run in log["runs"]}, seconds, "CPU", max(costs.values()) < 1.5 * min(costs.values())
    )


POSITIONS = {"script": "experiments/embeddings_positions.py", "log": "experiments/embeddings_positions.jsonl"}
ABLATION = {"script": "experiments/vit_ablation.py", "log": "vitcourse/assets/logs/vit_ablation.json"}
DISTILLATION = {"script": "experiments/deit_distillation.py", "log": "experiments/logs/deit_distillation.json"}
FINETUNING = {"script": "experiments/finetuning.py", "log": "experiments/logs/finetuning.json"}

CLAIMS = [
    Claim("02_embeddings", "Any kind of position beats none: with each seed, the worst kind is ahead of the model without.",
          **POSITIONS, ask=_positions(lambda run: [(run["kind"], run["test"])],
          lambda g: min(min(v) for k, v in g.items() if k != "none") > max(g["none"]))),
    Claim("02_embeddings", "One shuffle for all pictures does no visible harm to learned positions (less than one point).",
          **POSITIONS, ask=_positions(lambda run: [(run["kind"], run["test"])] if "learned" in run["kind"] else [],
          lambda g: abs(mean(g["learned"]) - mean(g["learned, one shuffle for all"])) < 0.01)),
    Claim("02_embeddings", "Shuffling each test picture costs a model without positions nothing, and one with learned "
          "positions more than half of its accuracy.", **POSITIONS, ask=_positions(_shuffled, lambda g: (
          g["none: pictures as they are"] == g["none: shuffled"]
          and mean(g["learned: shuffled"]) < mean(g["learned: pictures as they are"]) / 2))),
    Claim("03_attention", "The ViT whose maps the lesson shows is far above chance (8 %), on styles it never saw too. "
          "One seed: it serves for looking, not for comparing.",
          "experiments/attention_maps.py", "experiments/attention_maps.log", _maps),
    Claim("04_vision_transformer", "Without positions accuracy falls, with both seeds.", **ABLATION, ask=_ablation(
          {"class token": "with positions", "no positions": "without"}, lambda g: _each(g, "with positions", "without"))),
    Claim("04_vision_transformer", "Which token is read hardly matters (means within two points).", **ABLATION, ask=_ablation(
          {"class token": "class token", "mean-pool": "mean of patches", "first patch read": "first patch"},
          lambda g: max(map(mean, g.values())) - min(map(mean, g.values())) < 0.02)),
    Claim("04_vision_transformer", "On this data, in 300 steps, a model without attention is as good as mean-pool with it.",
          **ABLATION, ask=_ablation({"mean-pool": "with attention", "no attention": "without"},
          lambda g: mean(g["without"]) > mean(g["with attention"]) - 0.01)),
    Claim("04_vision_transformer", "Post-norm does no harm at four blocks.", **ABLATION, ask=_ablation(
          {"class token": "pre-norm", "post-norm": "post-norm"}, lambda g: mean(g["post-norm"]) > mean(g["pre-norm"]) - 0.01)),
    Claim("04_vision_transformer", "The CNN is ahead of the ViT on 500, 2000 and 10 000 pictures, with both seeds.",
          **ABLATION, ask=_ablation(
              {"ViT, 500": "ViT, 500", "CNN, 500": "CNN, 500", "ViT, 2000": "ViT, 2000", "CNN, 2000": "CNN, 2000",
               "class token": "ViT, 10 000", "CNN, 10000": "CNN, 10 000"},
              lambda g: all(_each(g, f"CNN, {n}", f"ViT, {n}") for n in ("500", "2000", "10 000")))),
    Claim("05_deit_distillation", "In every run the CNN is ahead of every ViT of its seed and recipe, on seen and on "
          "held-out styles.", **DISTILLATION,
          ask=_distillation("teacher plain longer soft hard", "basic strong", "test heldout", _cnn_first)),
    Claim("05_deit_distillation", "With light augmentation, on seen styles, a teacher adds less than the spread of the seeds.",
          **DISTILLATION, ask=_distillation("plain soft hard", "basic", "test", _small_gain)),
    Claim("05_deit_distillation", "At equal compute distillation loses there: the ViT alone, trained longer, is ahead of both "
          "taught ones with every seed.", **DISTILLATION, ask=_distillation("longer soft hard", "basic", "test", lambda runs: (
          _ahead("longer", "soft", "basic", ["test"])(runs) and _ahead("longer", "hard", "basic", ["test"])(runs)))),
    Claim("05_deit_distillation", "On held-out styles both teachers help: ahead of the equally long ViT alone with every seed.",
          **DISTILLATION, ask=_distillation("plain soft hard", "basic", "heldout", lambda runs: (
          _ahead("soft", "plain", "basic", ["heldout"])(runs) and _ahead("hard", "plain", "basic", ["heldout"])(runs)))),
    Claim("05_deit_distillation", "With DeiT's recipe the hard teacher is ahead of the equally long ViT alone with every seed, "
          "on both kinds of pictures.", **DISTILLATION,
          ask=_distillation("plain hard", "strong", "test heldout", _ahead("hard", "plain", "strong"))),
    Claim("05_deit_distillation", "The recipe does not pay in 12 epochs: on seen styles every network is worse with it, on "
          "held-out styles no mean is better.", **DISTILLATION,
          ask=_distillation("teacher plain soft hard", "basic strong", "test heldout", _recipe_costs)),
    Claim("07_finetuning", "The course's checkpoint knows Emoji-12: far above chance (8 %).", **FINETUNING, ask=_checkpoint),
    Claim("07_finetuning", "On Emoji-10 every way that starts from the checkpoint beats training from scratch at each number "
          "of pictures: its worst seed is above the best one from scratch.", **FINETUNING,
          ask=_finetuning("few_shot", "", _all_beat_scratch)),
    Claim("07_finetuning", "With 100 pictures a class full fine-tuning is ahead of the probe and of the layer-wise run, whose "
          "rate was chosen at 10.", **FINETUNING, ask=_finetuning("few_shot", "100", _full_leads)),
    Claim("07_finetuning", "When pretraining does not help: on Fashion-MNIST, 10 pictures a class, a probe on frozen features "
          "is within three points of training from scratch.", **FINETUNING, ask=_finetuning("fashion", "10",
          lambda by: abs(mean(by["10"]["probe"]) - mean(by["10"]["scratch"])) < 0.03)),
    Claim("07_finetuning", "With all 10 000 pictures of Fashion-MNIST, frozen features fall behind training from scratch.",
          **FINETUNING, ask=_finetuning("fashion", "1000",
          lambda by: mean(by["1000"]["probe"]) < mean(by["1000"]["scratch"]))),
    Claim("08_dense_prediction", "Segmentation (mIoU) with a plain ViT, a ViT with a pyramid, and Swin, at costs within a "
          "factor 1.5 of each other.", "experiments/dense_prediction.py", "vitcourse/assets/dense_prediction.json", _dense),
]  # fmt: skip


def claims() -> list[Claim]:
    """The claims of the lessons whose text is there."""
    return [claim for claim in CLAIMS if (ROOT / "notebooks" / "text" / f"{claim.lesson}.md").exists()]


def asked(claim: Claim) -> Found:
    """What the claim's log says."""
    return claim.ask(read_log(ROOT / claim.log))


def shown(values: list[float], seeds: int) -> str:
    """Shares as a mean with its range, or one value as it is; says so where a label has fewer seeds than its row."""
    text = f"{100 * mean(values):.1f} %"
    if len(values) > 1:
        text += f" ({100 * min(values):.1f} to {100 * max(values):.1f})"
    if len(values) < seeds:
        text += f", {len(values)} of {seeds} seeds"
    return text


def tables() -> str:
    """The tables, one per lesson."""
    lines: list[str] = []
    lesson = ""
    for claim in claims():
        if claim.lesson != lesson:
            lesson = claim.lesson
            number, name = lesson.split("_", 1)
            lines += [
                "",
                f"## {number} {name}",
                "",
                "| claim | script | log | seeds | time it took | numbers |",
                "|---|---|---|---|---|---|",
            ]
        found = asked(claim)
        seeds = f"{len(found.seeds)} ({', '.join(map(str, sorted(found.seeds)))})"
        numbers = "<br>".join(f"{label}: {shown(values, len(found.seeds))}" for label, values in found.groups.items())
        cells = [
            claim.words,
            f"`{claim.script}`",
            f"`{claim.log}`",
            seeds,
            f"{found.seconds / 60:.0f} min, {found.clock}",
            numbers,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines).strip()


def page() -> str:
    """The whole page as the logs want it: what stands outside the markers stays."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the page is out of date")
    options = parser.parse_args()
    wanted = page()
    fresh = wanted == PAGE.read_text(encoding="utf-8")
    if not options.check:
        PAGE.write_text(wanted, encoding="utf-8")
    for claim in claims():
        if not asked(claim).holds:
            print(f"{claim.lesson}: the log does not bear out: {claim.words}")
    if options.check and not fresh:
        print("docs/evidence.md is not what the logs say; run: python -m experiments.evidence")
    return int(options.check and not fresh)


if __name__ == "__main__":
    sys.exit(main())
