"""Mutants that cannot be told from the reference, each with the reason. `grader audit` does not ask for these to be caught.

A key is a mutant's id as the audit prints it. A key that no mutant has any more makes the audit fail, so the list stays
short and true.
"""

EQUIVALENT: dict[str, str] = {}
