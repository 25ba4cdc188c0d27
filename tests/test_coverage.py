"""docs/coverage.md is true: its headings, exercises and questions exist, and none of the lessons' is missing from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from grader.paths import ROOT, TEXT
from grader.text import Text, read_text

PAGE = ROOT / "docs" / "coverage.md"
TEXTS = {p.stem: read_text(p) for p in sorted(TEXT.glob("[0-9][0-9]_*.md"))}
each = pytest.mark.parametrize("stem", TEXTS)

# Phrases that a lesson's table must have a row for.
REQUIRED = {
    "01_patchify": [
        "image → grid → N×(P²C) sequence", "and back", "patch vector order (C, P, P)", "reshape and permute", "einops",
        "F.unfold", "strided convolution", "shown equal", "cost calculator", "non-square images",
        "indivisible sizes raise `ValueError`", "patch-size trade-off", "t-SNE", "myth", "when to choose", "BERT",
    ],
    "02_embeddings": [
        "linear projection", "Conv2d(kernel=stride=P) equivalence", "batch expand, position 0", "`torch.cat` fails",
        "learned positions (1, N+1, D), init 0.02", "1-D sinusoidal", "2-D sinusoidal", "shuffled-patch experiment",
        "another resolution", "non-square grids", "similarity maps", "myth", "when to choose", "BERT",
    ],
    "03_attention": [
        "scaled dot-product with weights returned", "√d_k", "multi-head split/merge", "fused qkv",
        "`F.scaled_dot_product_attention`", "`nn.MultiheadAttention`", "permutation equivariance", "O(N²) memory and time",
        "attention maps", "rollout", "interactive explorer", "myth: attention is local", "when to choose", "BERT",
    ],
    "04_vision_transformer": [
        "MLP", "pre-norm encoder block", "stochastic depth", "CLS or mean-pool read-out", "configuration table Ti/S/B/L/H",
        "parameter counts", "`torchvision.models.vit_b_16`", "trained for real on Fashion-MNIST", "ViT against a CNN",
        "hybrid ViT", "what each missing part costs", "myth: a ViT works on small data", "when to choose", "BERT",
    ],
    "05_deit_distillation": [
        "CNN teacher", "RegNetY-16GF", "distillation token", "soft loss with λ, T (T² factor)", "hard loss",
        "which token sees which loss", "mean of both heads", "RandAugment", "Mixup", "CutMix", "Random Erasing",
        "label smoothing", "stochastic depth", "AdamW", "held-out styles", "several seeds, equal-compute control",
        "deit_tiny_distilled", "myth", "when to choose", "BERT",
    ],
    "06_swin_windows": [
        "window partition/reverse", "cyclic shift", "mask", "relative position bias and index", "W-MSA/SW-MSA pair",
        "patch merging", "a small Swin", "linear against quadratic cost", "`torchvision.models.swin_t`",
        "non-square and non-multiple sizes", "myth", "when to choose", "BERT",
    ],
    "07_finetuning": [
        "`vit_b_16(weights=DEFAULT)`", "`model.heads.head`", "own small checkpoint offline", "linear probe",
        "full fine-tune", "layer-wise decay", "head replacement", "what to freeze and in which order",
        "position interpolation", "few-shot Emoji-12 → Emoji-10", "when pretraining does not help", "AMP",
        "gradient checkpointing", "accumulation", "patch size, positions, CLS, weights, normalisation", "OOM",
        "when to choose", "BERT",
    ],
    "08_dense_prediction": [
        "patch tokens back to a grid", "token-to-pixel head", "FPN/UPerNet-style multi-scale head",
        "composites whose masks are known", "mIoU", "why hierarchical backbones help", "when to choose", "BERT",
    ],
    "Across the lessons": [
        "myth: a ViT uses convolutions inside", "myth: attention is local", "myth: larger patches are always better",
        "myth: works on small data without tricks", "when to choose ViT, CNN, hybrid or Swin", "links to BERT/NLP",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    concept: str
    headings: list[str]
    tested: str

    @property
    def ids(self) -> list[str]:
        return re.findall(r"`([a-z_]+\.\w+)`", self.tested)


def tables(page: Path = PAGE) -> dict[str, list[Row]]:
    """The page's tables by the heading above them."""
    found: dict[str, list[Row]] = {}
    for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)[1:]:
        title, _, body = section.partition("\n")
        lines = [line for line in body.splitlines() if line.startswith("|")]
        if not lines:
            continue
        assert lines[0] == "| concept | where it is taught | tested by |", title
        rows = []
        for line in lines[2:]:
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert [bool(cell) for cell in cells] == [True] * 3, f"{title}: a row needs three cells: {line}"
            rows.append(Row(cells[0], cells[1].split(" · "), cells[2]))
        found[title.strip()] = rows
    return found


def headings(text: Text) -> set[str]:
    """All headings of a text notebook's Markdown."""
    words = (re.sub(r"^```.*?^```", "", b.source, flags=re.M | re.S) for b in text.blocks if b.kind == "markdown")
    return {h.strip() for source in words for h in re.findall(r"^#+ (.*)$", source, re.M)}


def asked(text: Text) -> set[str]:
    """Ids of all questions of a lesson."""
    return {
        i for b in text.blocks if b.kind == "code" for i in re.findall(r"\b(?:predict|quiz)\(\"([\w.]+)\"", b.source)
    }


def ids(text: Text) -> set[str]:
    """Ids of all exercises and questions of a lesson."""
    return {e.id for e in text.lesson.exercises} | asked(text)


def table_of(stem: str) -> list[Row]:
    assert stem in tables(), f"docs/coverage.md has no table ## {stem}"
    return tables()[stem]


@each
def test_headings_exist(stem: str) -> None:
    wrong = [h for row in table_of(stem) for h in row.headings if h not in headings(TEXTS[stem])]
    assert not wrong, f"not headings of {stem}: {wrong}"


@each
def test_ids_exist(stem: str) -> None:
    wrong = [i for row in table_of(stem) for i in row.ids if i not in ids(TEXTS[stem])]
    assert not wrong, f"neither exercise nor question of {stem}: {wrong}"


@each
def test_every_exercise_and_question_has_a_row(stem: str) -> None:
    missing = ids(TEXTS[stem]) - {i for row in table_of(stem) for i in row.ids}
    assert not missing, f"{stem} has exercises or questions that stand in no row of docs/coverage.md: {sorted(missing)}"


@pytest.mark.parametrize("title", REQUIRED)
def test_every_required_concept_has_a_row(title: str) -> None:
    concepts = [row.concept.lower() for row in table_of(title)]
    missing = [phrase for phrase in REQUIRED[title] if not any(phrase.lower() in c for c in concepts)]
    assert not missing, f"{title}: no row for {missing}"


@pytest.mark.parametrize("title", tables())
def test_a_row_names_ids_or_says_shown(title: str) -> None:
    for row in tables()[title]:
        assert bool(row.ids) != (row.tested == "shown"), f"{title}: {row.concept!r} needs ids, or the word shown alone"
        stray = re.sub(r"`[a-z_]+\.\w+`|,|\s", "", row.tested)
        assert stray in ("", "shown"), f"{title}: {row.concept!r}: cannot read {row.tested!r}"
    concepts = [row.concept for row in tables()[title]]
    assert len(concepts) == len(set(concepts)), f"{title} has a concept twice"


def test_across_the_lessons_points_at_what_exists() -> None:
    everything = set().union(*(ids(text) for text in TEXTS.values()))
    for row in table_of("Across the lessons"):
        assert row.ids, f"{row.concept}: must be met as a question"
        assert set(row.ids) <= everything, f"{row.concept}: {set(row.ids) - everything}"
        for place in row.headings:
            stem, _, heading = place.partition(": ")
            assert heading in headings(TEXTS[stem]), place


def test_no_table_without_its_lesson() -> None:
    strange = set(tables()) - set(TEXTS) - {"Across the lessons"}
    assert not strange, f"tables without a lesson: {sorted(strange)}"
