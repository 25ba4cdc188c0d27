"""docs/evidence.md says what the logs say: fresh, true, and recomputed here by other means than the page's own script."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from experiments import evidence
from grader.paths import ROOT, TEXT

CLAIMS = evidence.claims()
each = pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: f"{c.lesson[:2]}-{c.words[:40]}")


def rows() -> list[list[str]]:
    """The cells of the page's tables."""
    page = evidence.PAGE.read_text(encoding="utf-8").split(evidence.BEGIN)[1].split(evidence.END)[0]
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| claim")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_page_is_what_the_logs_say() -> None:
    assert evidence.PAGE.read_text(encoding="utf-8") == evidence.page(), "run: python -m experiments.evidence"


def test_every_claim_has_a_row() -> None:
    assert [cells[0] for cells in rows()] == [claim.words for claim in CLAIMS]


@each
def test_claim_is_true_of_its_log(claim: evidence.Claim) -> None:
    assert evidence.asked(claim).holds, f"{claim.lesson} must not claim this: {claim.words}"


@pytest.mark.parametrize("cells", rows(), ids=lambda c: c[0][:40])
def test_script_and_log_exist(cells: list[str]) -> None:
    for cell in cells[1:3]:
        assert (ROOT / cell.strip("`")).is_file(), cell


def test_every_experiment_stands_on_the_page() -> None:
    named = {Path(cells[1].strip("`")).name for cells in rows()}
    scripts = {p.name for p in (ROOT / "experiments").glob("*.py")} - {"evidence.py", "__init__.py"}
    assert scripts <= named, f"no claim rests on {sorted(scripts - named)}"


# How to find a label's values in a log: independent of experiments/evidence.py.


def values_02(log: list[dict], label: str) -> list[float]:
    kind, _, how = label.partition(": ")
    return [run["test, each shuffled" if how == "shuffled" else "test"] for run in log if run["kind"] == kind]


def values_03(log: dict, label: str) -> list[float]:
    return [log["accuracy"]["test" if label == "test" else "heldout"]]


NAMES_04 = {"with positions": "class token", "mean of patches": "mean-pool", "first patch": "first patch read",
            "with attention": "mean-pool", "pre-norm": "class token", "ViT, 10 000": "class token",
            "CNN, 10 000": "CNN, 10000"}  # fmt: skip


def values_04(log: dict, label: str, claim: str) -> list[float]:
    name = NAMES_04.get(label, label)
    if label == "without":
        name = "no positions" if "positions" in claim else "no attention"
    return [run["accuracy"] for run in log["runs"] if run["name"] == name]


ARMS_05 = [("longer", "ViT alone, longer"), ("plain", "ViT alone"), ("soft", "ViT, soft"), ("hard", "ViT, hard"),
           ("teacher", "CNN")]  # fmt: skip


def values_05(log: dict, label: str) -> list[float]:
    arm, words = next((arm, words) for arm, words in ARMS_05 if label.startswith(words + ", "))
    recipe, split = label.removeprefix(words + ", ").split(", ")
    recipe, split = {"light": "basic", "recipe": "strong"}[recipe], {"seen": "test", "held-out": "heldout"}[split]
    return [run[split]["mean"] for run in log["runs"] if (run["recipe"], run["arm"]) == (recipe, arm)]


def values_07(log: dict, label: str, claim: str) -> list[float]:
    if label in ("test", "held-out styles"):
        return [log["runs"]["checkpoint"]["test" if label == "test" else "heldout"]]
    way, shot = re.fullmatch(r"(\w+), (\d+) per class", label).groups()  # type: ignore[union-attr]
    kind = "fashion" if "Fashion" in claim else "few_shot"
    return [run["test"] for name, run in log["runs"].items() if name.startswith(f"{kind}/{shot}/{way}/")]


def values_08(log: dict, label: str) -> list[float]:
    model, _, split = label.rpartition(", ")
    return [run["test" if split == "seen" else "heldout"] for run in log["runs"] if run["model"] == model]


@pytest.mark.parametrize("cells", rows(), ids=lambda c: c[0][:40])
def test_numbers_are_the_mean_and_range_of_the_log(cells: list[str]) -> None:
    claim, script, path = cells[0], cells[1].strip("`"), ROOT / cells[2].strip("`")
    text = path.read_text(encoding="utf-8")
    log: Any = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
    for entry in cells[5].split("<br>"):
        match = re.fullmatch(r"(.+): ([\d.]+) %(?: \(([\d.]+) to ([\d.]+)\))?(?:, (\d+) of (\d+) seeds)?", entry)
        assert match, f"cannot read {entry!r}"
        label, middle, low, high, some, _ = match.groups()
        stem = Path(script).stem
        if stem == "embeddings_positions":
            values = values_02(log, label)
        elif stem == "attention_maps":
            values = values_03(log, label)
        elif stem == "vit_ablation":
            values = values_04(log, label, claim)
        elif stem == "deit_distillation":
            values = values_05(log, label)
        elif stem == "finetuning":
            values = values_07(log, label, claim)
        else:
            values = values_08(log, label)
        percent = 100 * np.array(values)
        assert float(middle) == pytest.approx(percent.mean(), abs=0.0501), (label, values)
        assert (low is None) == (len(values) == 1), entry
        if low is not None:
            assert float(low) == pytest.approx(percent.min(), abs=0.0501), (label, values)
            assert float(high) == pytest.approx(percent.max(), abs=0.0501), (label, values)
        assert len(values) == int(some or cells[3].split()[0]), (label, cells[3])


def test_every_lesson_with_a_log_states_its_claims() -> None:
    """A lesson whose text names a script under experiments/ has claims on the page."""
    for path in sorted(TEXT.glob("[0-9][0-9]_*.md")):
        for script in set(re.findall(r"experiments/\w+\.py", path.read_text(encoding="utf-8"))):
            assert any(claim.script == script for claim in CLAIMS), f"{path.name} rests on {script}"


def header(asset: str) -> dict[str, str]:
    with safe_open(evidence.ROOT / "vitcourse" / "assets" / asset, "pt") as file:
        return file.metadata()


def test_what_lessons_plot_is_what_the_logs_hold() -> None:
    """Lessons read copies that are installed with the course; a copy must not lag behind its log."""
    runs = evidence.read_log(ROOT / evidence.POSITIONS["log"])
    assert json.loads(header("embeddings_positions.safetensors")["runs"]) == runs
    assert (
        header("attention_vit.safetensors")["summary"]
        == evidence.read_log(ROOT / "experiments/attention_maps.log")["summary"]
    )
    copy = evidence.read_log(ROOT / "vitcourse" / "assets" / "deit_distillation_log.json")
    assert copy["runs"] == evidence.read_log(ROOT / evidence.DISTILLATION["log"])["runs"]
    results = ROOT / "vitcourse" / "assets" / "finetuning_results.json"
    if results.exists():
        log = evidence.read_log(ROOT / evidence.FINETUNING["log"])["runs"]
        shown = evidence.read_log(results)
        for kind in ("few_shot", "fashion"):
            for shot, ways in shown[kind].items():
                for way, values in ways.items():
                    found = [run["test"] for name, run in log.items() if name.startswith(f"{kind}/{shot}/{way}/")]
                    assert sorted(np.round(found, 4)) == sorted(values), (kind, shot, way)
