"""What the hidden region of a source notebook imports, so that stock `nbgrader autograde` gives the same points.

This runs learners' code and expected values in one process, as stock nbgrader always does. `grader autograde` does not.
"""

from __future__ import annotations

from vitcourse.checking import CheckFailed, answer_from
from vitcourse.lessons import exercise


def check(exercise_id: str) -> float:
    """Run the hidden cases on the notebook's answer; returns the points, which nbgrader reads as partial credit."""
    from IPython import get_ipython

    from grader.grading import grade_here

    found = exercise(exercise_id)
    try:
        answer = answer_from(found, get_ipython().user_ns)
    except CheckFailed as missing:
        print(missing)
        return 0.0
    result = grade_here(exercise_id, answer)
    print(f"{found.label}: {result.reason}" + (f". {result.detail}" if result.detail else ""))
    return float(result.points)
