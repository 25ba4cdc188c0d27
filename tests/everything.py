"""What `make test` runs, part by part, with the time of each: lint, types, unit tests, builds, notebooks, demo, audit.

Run one part with `python -m tests.everything NAME` ("notebooks", "unit", ...).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
NOTEBOOK_SECONDS, NOTEBOOK_GB, NOTEBOOK_KB = 120, 3.0, 300
PARTS = {
    "lint": [[PYTHON, "-m", "ruff", "check", "."], [PYTHON, "-m", "ruff", "format", "--check", "."]],
    "types": [[PYTHON, "-m", "mypy"]],
    "build": [[PYTHON, "-m", "grader", "build"], [PYTHON, "-m", "grader", "build", "--check"]],
    "unit": [[PYTHON, "-m", "pytest", "tests"]],
    "notebooks": [],  # one nbval run per solved notebook, below
    "demo": [[PYTHON, "-m", "grader", "demo"]],
    "audit": [[PYTHON, "-m", "grader", "audit", "--no-mutants", "--seeds", "5"]],
}


def run(command: list[str]) -> tuple[int, float, float]:
    """Run a command in the repository; returns (exit status, seconds, peak memory of its process tree in GB)."""
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    peak = 0.0
    stop = threading.Event()

    def watch() -> None:
        nonlocal peak
        parent = psutil.Process(process.pid)
        while not stop.wait(0.2):
            total = 0
            try:
                for child in [parent, *parent.children(recursive=True)]:
                    total += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            peak = max(peak, total / 1e9)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    status = process.wait()
    stop.set()
    watcher.join()
    return status, time.monotonic() - began, peak


def notebooks() -> bool:
    """nbval on every solved notebook, held to the budgets; writes build/notebooks.json."""
    fine, rows = True, {}
    solved = sorted((ROOT / "build" / "solved").glob("*.ipynb"))
    if not solved:
        print("no solved notebooks: run `grader build` first")
        return False
    for path in solved:
        learner = ROOT / "notebooks" / path.name
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        status, seconds, memory = run(
            [PYTHON, "-m", "pytest", "--nbval-lax", "--nbval-cell-timeout", "900", "-p", "no:cacheprovider", str(path)]
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        size = learner.stat().st_size / 1000
        # On a busy machine a notebook takes longer than on one of its own; its CPU time does not.
        over = min(seconds, cpu) > NOTEBOOK_SECONDS or memory > NOTEBOOK_GB or size > NOTEBOOK_KB
        rows[path.stem] = {
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "peak_gb": round(memory, 2),
            "kb": round(size),
            "passed": status == 0,
        }
        print(
            f"{path.stem}: {seconds:.0f} s, {memory:.2f} GB, {size:.0f} kB" + (" OVER BUDGET" if over else ""),
            flush=True,
        )
        fine = fine and status == 0 and not over
    (ROOT / "build" / "notebooks.json").write_text(json.dumps(rows, indent=1) + "\n")
    return fine


def main() -> int:
    """Run the parts; returns the exit status."""
    chosen = sys.argv[1:] or list(PARTS)
    unknown = set(chosen) - set(PARTS)
    if unknown:
        print(f"unknown parts: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
        return 2
    results = []
    for name in chosen:
        print(f"\n=== {name}", flush=True)
        began = time.monotonic()
        fine = notebooks() if name == "notebooks" else all(run(command)[0] == 0 for command in PARTS[name])
        results.append((name, fine, time.monotonic() - began))
    print("\npart        result   seconds")
    for name, fine, seconds in results:
        print(f"{name:11s} {'passed' if fine else 'FAILED':8s} {seconds:7.0f}")
    failed = [name for name, fine, _ in results if not fine]
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
