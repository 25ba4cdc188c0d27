"""What a submission can reach: started by `test_sandbox.py`, runs attempts in a sandboxed kernel and prints what came of them.

It puts things worth stealing around the sandbox first: a gradebook, another student's files, servers, a secret in the
environment. An attempt that raises prints the error's name; one that succeeds prints what it got.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

from grader.execution.provisioner import Template
from grader.execution.runner import Cell, Job, run

ROOT = Path(__file__).resolve().parent.parent

ATTEMPTS = {
    "list the repository": "os.listdir(ROOT)",
    "read the grader": "open(ROOT + '/grader/grading.py').read()",
    "read the cases": "open(ROOT + '/grader/cases/__init__.py').read()",
    "read the solutions": "open(ROOT + '/solutions/__init__.py').read()",
    "see that solutions exist": "os.stat(ROOT + '/solutions')",
    "import solutions": "__import__('solutions')",
    "import the grading": "__import__('grader.grading')",
    "import the cases": "__import__('grader.cases')",
    "list home": "os.listdir(HOME)",
    "list /root": "os.listdir('/root')",
    "read the gradebook": "open(OUTSIDE + '/gradebook.db').read()",
    "see the gradebook": "os.stat(OUTSIDE + '/gradebook.db')",
    "write the gradebook": "open(OUTSIDE + '/gradebook.db', 'w').write('5 of 5')",
    "read another submission": "open(OUTSIDE + '/other/answer.py').read()",
    "delete another submission": "os.remove(OUTSIDE + '/other/answer.py')",
    "read through a link": "os.symlink(OUTSIDE + '/gradebook.db', 'link') or open('link').read()",
    "read through ..": "open('../' * 20 + OUTSIDE + '/gradebook.db').read()",
    "read shadow": "open('/etc/shadow').read()",
    "read other processes' environment": "open('/proc/1/environ').read()",
    "read other processes' memory": "open('/proc/1/mem', 'rb').read(1)",
    "enter another root": "os.listdir('/proc/1/root')",
    "see the grader's process": "open(f'/proc/{GRADER}/cmdline').read()",
    "signal the grader": "os.kill(GRADER, 0)",
    "signal the first process": "os.kill(1, 9) or os.kill(os.getppid(), 9) or sys.exit('still here')",
    "write into a package": "open(json.__file__, 'a')",
    "write into vitcourse": "open(sys.modules['vitcourse'].__file__, 'a')",
    "write to /etc/passwd": "open('/etc/passwd', 'a')",
    "write to the root": "open('/intruder', 'w')",
    "connect to a TCP server": "socket.create_connection(('127.0.0.1', PORT), 1)",
    "connect to the world": "socket.create_connection(('1.1.1.1', 53), 1)",
    "ask DNS": "socket.gethostbyname('example.org')",
    "send UDP": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('10.0.0.1', 9))",
    "connect to an abstract socket": "socket.socket(socket.AF_UNIX).connect(ABSTRACT)",
    "connect to a socket file": "socket.socket(socket.AF_UNIX).connect(OUTSIDE + '/server.sock')",
    "become root": "os.setuid(0) if os.getuid() else sys.exit('already root')",
    "change the root": "os.chroot('/')",
    "mount": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) and 1 / 0",
    "leave for another namespace": "os.open('/proc/1/ns/mnt', os.O_RDONLY)",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))",
    "trace a process": "libc.ptrace(16, os.getppid(), 0, 0) and 1 / 0",
    "make a device": "os.mknod('device', 0o20666, os.makedev(1, 1))",
}
ALLOWED = {
    "write a file": "open('mine.txt', 'w').write('x')",
    "write to /tmp": "open('/tmp/mine.txt', 'w').write('x')",
    "read vitcourse's checks": "len(open(sys.modules['vitcourse'].__path__[0] + '/checks/__init__.py').read()) > 0",
    "import a check": "__import__('vitcourse.checks')",
    "import lazily": "__import__('sqlite3') and __import__('sklearn.linear_model') and True",
    "read a package": "len(open(json.__file__).read()) > 0",
    "use shared memory": "torch.ones(3).share_memory_().sum().item()",
    "start a process": "subprocess.run([sys.executable, '-c', 'print(1)'], check=True, capture_output=True).stdout",
    "listen to itself": "socket.create_server(('127.0.0.1', 0)).getsockname()[0]",
    "own process": "open('/proc/self/status').readline()",
    "load data": "__import__('vitcourse.data').data and True",
    "draw": "__import__('matplotlib.pyplot').pyplot.figure().savefig('figure.png')",
}
SEEN = {
    "uid": "os.getuid()",
    "groups": "os.getgroups()",
    "processes": "[p for p in os.listdir('/proc') if p.isdigit()]",
    "environment": "dict(os.environ)",
    "initial environment": "open('/proc/self/environ').read()",
    "arguments": "sys.argv + [open('/proc/self/cmdline').read()]",
    "modules": "sorted(m for m in sys.modules if m.split('.')[0] in ('grader', 'solutions'))",
    "open files": "[os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if int(n) > 2 and os.path.exists(f'/proc/self/fd/{n}')]",
    "folder": "os.listdir('.')",
    "tmp": "os.listdir('/tmp')",
    "everything below tmp": "[os.path.join(p, n) for p, d, f in os.walk('/tmp') for n in d + f][:200]",
    "core": "resource.getrlimit(resource.RLIMIT_CORE)",
    "capabilities": "[l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')]",
    "interfaces": "[n for _, n in socket.if_nameindex()]",
}  # fmt: skip
PROGRAM = """
import ctypes, json, os, resource, socket, subprocess, sys, torch, vitcourse
libc = ctypes.CDLL(None, use_errno=True)
globals().update(json.loads(FACTS))
said = {}
for name, code in json.loads(PROGRAM_PARTS).items():
    try:
        said[name] = ["did", repr(eval(code))[:20000]]
    except BaseException as error:
        said[name] = ["raised", type(error).__name__ + ": " + str(error)[:200]]
open("said.json", "w").write(json.dumps(said))
print(open("said.json").read())
"""


def main() -> None:
    os.environ["SECRET_OF_THE_GRADER"] = "postgresql://user:password@host"
    outside = Path(tempfile.mkdtemp(prefix="spied-"))
    (outside / "gradebook.db").write_text("points")
    (outside / "other").mkdir()
    (outside / "other" / "answer.py").write_text("answer")
    server = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0spied-{os.getpid()}")
    abstract.listen()
    file = socket.socket(socket.AF_UNIX)
    file.bind(str(outside / "server.sock"))
    file.listen()
    facts = {"ROOT": str(ROOT), "HOME": str(Path.home()), "OUTSIDE": str(outside), "GRADER": os.getpid(),
             "PORT": server.getsockname()[1], "ABSTRACT": f"\0spied-{os.getpid()}"}  # fmt: skip
    parts = {**ATTEMPTS, **ALLOWED, **SEEN}
    program = f"FACTS = {json.dumps(json.dumps(facts))}\nPROGRAM_PARTS = {json.dumps(json.dumps(parts))}\n{PROGRAM}"
    job = Job((Cell("spy", program),), (), "", "", 0, {"helper.py": b"x = 1"}, isolation=sys.argv[1])
    outcome = asyncio.run(run(job))
    cell = outcome.cells[0]
    Template.stop()
    text = "".join(o.get("text", "") for o in cell.outputs)
    print(json.dumps({"status": cell.status, "error": cell.error, "said": json.loads(text) if text else {},
                      "intact": (outside / "gradebook.db").read_text() == "points" and (outside / "other/answer.py").exists()}))  # fmt: skip


if __name__ == "__main__":
    main()
