"""Safe and fast execution of submissions.

    grader's side                                   learner's side (forked from the template, then locked in)
    runner.py       what runs, limits, reasons  ──→ kernel.py     an IPython kernel that also answers probe requests
    provisioner.py  jupyter_client's extension  ──→ template.py   a warm Python with torch, which only forks
                                                    sandbox.py    namespaces, Landlock, limits

The modules on the learner's side import nothing of this repository but each other and `vitcourse`: what the template
has in memory, every learner's process has in memory. This file therefore stays empty.
"""
