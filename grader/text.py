"""Read a text notebook (`notebooks/text/<NN_lesson>.md`, MyST Markdown) into a list of blocks.

jupytext splits the file into Markdown and code cells and keeps their line numbers. What the course adds:

* a code cell with `:exercise: attention.Attention` (and `:points:`, `:minutes:`, `:difficulty:`) is an exercise;
  `:objects: a b` names several objects that belong together, `:title:` a title in words;
* a code cell with `:object: attention.Helper` shows given code from `solutions/`;
* in Markdown, fenced directives `{hint} N`, `{symptom} TITLE`, `{details} TITLE`, `{note}`, `{warning}` fold or frame text;
* after a code cell, `{output}` states what it prints; nbval compares that with what the solved notebook prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jupytext
from jupytext.myst import myst_to_notebook

from grader.paths import shown
from vitcourse.lessons import Exercise, Lesson

FENCE = re.compile(
    r"^(?P<fence>`{3,}|~{3,})\{(?P<name>[\w-]+)\}[ \t]*(?P<title>[^\n]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.M | re.S
)
EXERCISE_OPTIONS = {"exercise", "points", "minutes", "difficulty", "objects", "title"}
FOLDED = {"hint", "symptom", "details"}
FRAMED = {"note": "Note", "warning": "Watch out"}


class TextError(Exception):
    """Something in a text notebook is wrong; the message names file and line."""

    def __init__(self, path: Path, line: int, message: str):
        super().__init__(f"{shown(path)}:{line}: {message}")


@dataclass
class Block:
    """One cell of a text notebook. `kind` is "markdown", "code", "exercise" or "object"."""

    kind: str
    source: str
    line: int
    tags: list[str] = field(default_factory=list)
    name: str = ""  # exercise id, or "<lesson>.<object>" of given code
    output: str | None = None  # what a code cell prints, where the text states it


@dataclass
class Text:
    """A text notebook: the lesson it describes and its blocks."""

    path: Path
    lesson: Lesson
    goals: list[str]
    blocks: list[Block]

    def line_of(self, exercise_id: str) -> int:
        return next((b.line for b in self.blocks if b.kind == "exercise" and b.name == exercise_id), 1)


def read_text(path: Path) -> Text:
    """Read one text notebook.

    Raises:
        TextError: the header, an option or a directive is wrong.
    """
    raw = path.read_text(encoding="utf-8")
    try:
        notebook = myst_to_notebook(raw, add_source_map=True)
    except (jupytext.myst.MystMetadataParsingError, ValueError) as error:
        raise TextError(path, 1, f"jupytext cannot read this file: {error}") from error
    header: dict[str, Any] = notebook.metadata.get("lesson") or {}
    missing = {"title", "summary", "minutes", "goals"} - set(header)
    if missing:
        raise TextError(path, 1, f"the header's `lesson:` needs {', '.join(sorted(missing))}")

    lines = raw.splitlines()
    blocks: list[Block] = []
    exercises: list[Exercise] = []
    number = int(path.stem.split("_", 1)[0])
    for cell, first in zip(notebook.cells, notebook.metadata["source_map"], strict=True):
        if cell.cell_type == "markdown":
            while first < len(lines) and not lines[first].strip():
                first += 1  # jupytext counts from the blank lines before the text
            first += 1
            if cell.source.strip():
                blocks.append(_markdown(path, cell.source, first, blocks))
            continue
        options = dict(cell.metadata)
        tags = [str(t) for t in options.pop("tags", [])]
        if "exercise" in options:
            unknown = set(options) - EXERCISE_OPTIONS
            if unknown:
                raise TextError(path, first, f"unknown option of an exercise: {', '.join(sorted(unknown))}")
            made = _exercise(path, first, options, f"{number}.{len(exercises) + 1}")
            exercises.append(made)
            blocks.append(Block("exercise", "", first, tags, made.id))
        elif "object" in options:
            blocks.append(Block("object", "", first, tags, str(options.pop("object"))))
        elif options:
            raise TextError(path, first, f"unknown option of a code cell: {', '.join(sorted(options))}")
        else:
            blocks.append(Block("code", cell.source, first, tags))
    blocks = [b for b in blocks if b.kind != "markdown" or b.source.strip()]
    ids = [e.id for e in exercises]
    for repeated in {i for i in ids if ids.count(i) > 1}:
        raise TextError(path, 1, f"exercise {repeated} stands here twice")
    lesson = Lesson(path.stem, str(header["title"]), str(header["summary"]), int(header["minutes"]), tuple(exercises))
    return Text(path, lesson, [str(g) for g in header["goals"]], blocks)


def _exercise(path: Path, line: int, options: dict[str, Any], number: str) -> Exercise:
    exercise_id = str(options["exercise"])
    lesson = path.stem.split("_", 1)[1]
    if not re.fullmatch(rf"{lesson}\.[A-Za-z_]\w*", exercise_id):
        raise TextError(path, line, f"the exercise id {exercise_id!r} is not of the form {lesson}.<object>")
    for option in ("points", "minutes", "difficulty"):
        if not str(options.get(option, "")).isdigit() or int(options[option]) < 1:
            raise TextError(path, line, f"exercise {exercise_id} needs `:{option}:` with a whole number from 1")
    if int(options["difficulty"]) > 5:
        raise TextError(path, line, f"exercise {exercise_id}: difficulty goes from 1 to 5")
    name = exercise_id.split(".")[1]
    objects = tuple(str(options.get("objects", name)).replace(",", " ").split())
    title = str(options.get("title", name.replace("_", " ")))
    return Exercise(exercise_id, number, title, int(options["points"]), int(options["minutes"]),
                    int(options["difficulty"]), objects)  # fmt: skip


def _markdown(path: Path, source: str, line: int, before: list[Block]) -> Block:
    """Turn the directives of a Markdown cell into plain HTML and quotes that every notebook front end renders."""

    def replace(match: re.Match[str]) -> str:
        name, title, body = match["name"], match["title"].strip(), match["body"].strip("\n")
        at = line + source[: match.start()].count("\n")
        if name == "output":
            if source[: match.start()].strip() or not before or before[-1].kind != "code":
                raise TextError(path, at, "{output} must follow a code cell directly")
            before[-1].output = body + "\n"
            return ""
        if name in FOLDED:
            if not title:
                raise TextError(path, at, f"{{{name}}} needs a title")
            label = f"Hint {title}" if name == "hint" else re.sub(r"`(.+?)`", r"<code>\1</code>", title)
            return f"<details><summary>{label}</summary>\n\n{body.strip()}\n\n</details>\n"
        if name in FRAMED:
            quoted = "\n".join(f"> {text}".rstrip() for text in body.strip().split("\n"))
            return f"> **{title or FRAMED[name]}**\n>\n{quoted}"
        raise TextError(path, at, f"unknown directive {{{name}}}")

    text = FENCE.sub(replace, source)
    return Block("markdown", text.strip("\n"), line)
