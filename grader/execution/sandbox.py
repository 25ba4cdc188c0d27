"""Lock the running process in: namespaces, a file tree of its own, Landlock, limits. Linux only, standard library only.

Called in a fork of the warm template, before a line of the learner's code runs. No daemon, no set-up, no root needed:
`enter` takes the process out of the machine step by step, and any step that fails stops the start, never the lock.

1. `unshare`: user (not for root, who drops to an unused uid instead), mount, pid, network, ipc, uts namespaces.
2. A root directory of its own: bind mounts, read only, of what a notebook needs; the working folder; a private /tmp.
   What is not mounted does not exist in there: the course folder, other submissions, `solutions`, `grader`, /home.
3. Landlock allows the same paths once more, so that a hole in one layer is not a hole in the sandbox.
4. Resource limits, no capabilities, no new privileges.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import resource
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

libc = ctypes.CDLL(None, use_errno=True)

# unshare(2), mount(2), prctl(2) and the numbers of calls that libc does not wrap.
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}.get(platform.machine(), -1)
CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91}.get(platform.machine(), -1)
MOUNT_SETATTR, LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 442, 444, 445, 446  # the same on every machine
FIRST_UID, UIDS = 200_000, 60_000  # where root finds an unused uid for each sandbox

# What a notebook reads outside Python: libraries, fonts, the clock. Of /etc only these, since people keep secrets there.
SYSTEM = (
    "/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/opt/conda/lib",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/fonts", "/etc/localtime",
    "/etc/mime.types", "/etc/nsswitch.conf", "/etc/ssl/openssl.cnf", "/sys/devices/system/cpu",
)  # fmt: skip
OLD_PROC = "/.proc"  # the machine's /proc, there until the sandbox has one of its own
PROC_FILES = ("cpuinfo", "meminfo", "stat", "loadavg", "uptime", "version", "filesystems", "sys")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class SandboxError(Exception):
    """This machine lacks a part of the sandbox; the message says which and what to do."""


@dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    memory_mb: int = 2500  # beyond what the warm template itself holds
    processes: int = 64  # processes and threads together
    file_mb: int = 50
    cpu_seconds: int = 300


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise SandboxError(f"{what}: {os.strerror(code)}")


def landlock_abi() -> int:
    """The version of Landlock this kernel has; 0 where it has none."""
    return max(0, libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


@lru_cache(maxsize=1)
def missing_part() -> str:
    """What this machine lacks for the sandbox, in a sentence; empty where nothing is missing."""
    if platform.system() != "Linux" or PIVOT_ROOT < 0:
        return f"the sandbox needs Linux on x86-64 or ARM64, this is {platform.system()} on {platform.machine()}"
    if landlock_abi() < 1:
        return "this kernel has no Landlock (Linux 5.13 or newer, with `landlock` among the boot parameter lsm=)"
    child = os.fork()
    if child == 0:  # try the namespaces where they cannot hurt
        try:
            _unshare(os.geteuid(), os.getegid())
            os._exit(0)
        except BaseException:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        return (
            "this machine does not let a process make namespaces of its own (containers need --security-opt "
            "seccomp=unconfined or --cap-add SYS_ADMIN; Ubuntu needs kernel.apparmor_restrict_unprivileged_userns=0)"
        )
    return ""


# ---------------------------------------------------------------------------------------------------------- what to show


def readable_paths(roots: Iterable[str], hidden: Iterable[str]) -> list[str]:
    """The roots, with each that contains a hidden path replaced by its entries, so that the hidden ones are left out.

    Landlock allows whole trees and knows no exceptions; an exception is made by naming all its neighbours.
    """
    hide = {os.path.realpath(h) for h in hidden}

    def entries(path: str) -> Iterator[str]:
        real = os.path.realpath(path)
        if any(real == h or real.startswith(h + "/") for h in hide):
            return
        if os.path.isdir(real) and any(h.startswith(real.rstrip("/") + "/") for h in hide):
            for entry in sorted(os.listdir(path)):
                yield from entries(os.path.join(path, entry))
        elif os.path.lexists(path):
            yield path

    found = [p for root in roots for p in entries(root)]
    return list(dict.fromkeys(found))


# ------------------------------------------------------------------------------------------------------- the single steps


def _unshare(uid: int, gid: int) -> None:
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    if uid != 0:
        flags |= CLONE_NEWUSER
    _check(libc.unshare(flags), "unshare")
    if uid != 0:
        for name, content in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(content)


def _mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    arguments = [x.encode() if x is not None else None for x in (source, target, kind)]
    result = libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None)
    _check(result, f"mount {target}")


def _read_only(target: str) -> None:
    """Make a mount and all below it read only; mount_setattr respects the flags an outer namespace has locked."""
    attributes = struct.pack("<QQQQ", 0x1 | 0x2 | 0x4, 0, 0, 0)  # RDONLY | NOSUID | NODEV
    _check(libc.syscall(MOUNT_SETATTR, -100, target.encode(), 0x8000, attributes, ctypes.c_size_t(32)),
           f"mount_setattr {target}")  # fmt: skip


def _bind(source: str, root: str, read_only: bool) -> None:
    """Show a path at the same place below the new root; a path that leads through links is shown as a link."""
    real = os.path.realpath(source)
    target = root + real
    if not os.path.exists(real):
        return
    if not os.path.lexists(target) or not read_only:
        os.makedirs(target if os.path.isdir(real) else os.path.dirname(target), exist_ok=True)
        if not os.path.isdir(real):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        # A writable folder comes alone: the new root itself may be mounted below it.
        _mount(real, target, flags=MS_BIND | (MS_REC if read_only else 0))
        if read_only:
            _read_only(target)
    if real != source and not os.path.lexists(root + source):
        os.makedirs(os.path.dirname(root + source), exist_ok=True)
        os.symlink(real, root + source)


def _outer_first(paths: list[str]) -> list[str]:
    """Sorted so that a tree comes before what lies in it, which then is there already and needs no mount."""
    return sorted(paths, key=lambda path: (os.path.realpath(path).count("/"), path))


def _new_root(read_only: list[str], writable: list[str], hidden: list[str], at: str, shared_mb: int) -> None:
    """Build a file tree at `at` from bind mounts and move into it. The old tree is gone afterwards."""
    _mount(None, "/", flags=MS_REC | MS_PRIVATE)
    _mount("tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=16m")
    for path in _outer_first(read_only):
        _bind(path, at, read_only=True)
    for path in hidden:  # inside a tree that is shown: cover it with an empty, read-only folder
        if os.path.isdir(at + path):
            _mount("tmpfs", at + path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=000,size=4k")
            _read_only(at + path)
    for path in DEVICES:
        _bind(path, at, read_only=False)
    for path in ("/tmp", "/dev/shm"):
        os.makedirs(at + path, exist_ok=True)
        _mount("tmpfs", at + path, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={shared_mb}m")
    for path in writable:
        _bind(path, at, read_only=False)
    os.makedirs(f"{at}/etc", exist_ok=True)
    for path in ("/proc", OLD_PROC):
        os.makedirs(at + path, exist_ok=True)
    _mount("/proc", at + OLD_PROC, flags=MS_BIND | MS_REC)
    os.chdir(at)
    _check(libc.syscall(PIVOT_ROOT, b".", b"."), "pivot_root")
    _check(libc.umount2(b".", MNT_DETACH), "umount the old root")
    os.chdir("/")


def own_proc() -> None:
    """A /proc that shows this sandbox's processes only; to be called by the first process of the pid namespace.

    Containers hide parts of /proc, and where they do, the system lets nobody but root mount another. Then a few files of
    the machine's /proc are shown, and the kernel's own entry as /proc/self (see `own_entry`).
    """
    try:
        _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except SandboxError:
        for name in PROC_FILES:
            source, target = f"{OLD_PROC}/{name}", f"/proc/{name}"
            if os.path.isdir(source):
                os.mkdir(target)
            else:
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
            _mount(source, target, flags=MS_BIND | MS_REC)
    else:
        _check(libc.umount2(OLD_PROC.encode(), MNT_DETACH), "umount the old /proc")


def own_entry() -> None:
    """Show this process its own entry of the machine's /proc, and remove the rest of it; where `own_proc` had to."""
    if os.path.exists(f"{OLD_PROC}/self"):
        os.mkdir("/proc/self")
        _mount(f"{OLD_PROC}/{os.readlink(f'{OLD_PROC}/self')}", "/proc/self", flags=MS_BIND)
        _check(libc.umount2(OLD_PROC.encode(), MNT_DETACH), "umount the old /proc")


def _loopback() -> None:
    """Switch the loopback device of the empty network namespace on: some libraries bind to 127.0.0.1 at import."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sH14s", b"lo", 1, b"")  # IFF_UP
        fcntl.ioctl(handle, 0x8914, request)  # SIOCSIFFLAGS


def _landlock(read_only: list[str], writable: list[str]) -> None:
    """Deny this process and its children every path but these."""
    abi = landlock_abi()
    if abi < 1:
        raise SandboxError("this kernel has no Landlock")
    handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    scoped = 0b11 if abi >= 6 else 0  # no signals and no abstract sockets to the outside
    attributes = struct.pack("<QQQ", handled, 0, scoped)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = libc.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    _check(ruleset, "landlock_create_ruleset")
    for paths, access in ((read_only, 0b1101), (writable, handled)):
        for path in paths:
            try:
                handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue  # what does not exist needs no permission
            rights = access if os.path.isdir(path) else access & 0b100000000000111 & handled
            _check(libc.syscall(LANDLOCK_ADD, ruleset, 1, struct.pack("<Qi", rights, handle), 0), f"landlock {path}")
            os.close(handle)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _check(libc.syscall(LANDLOCK_RESTRICT, ruleset, ctypes.c_uint32(0)), "landlock_restrict_self")
    os.close(ruleset)


def _drop_capabilities() -> None:
    header, nothing = struct.pack("<Ii", 0x20080522, 0), bytes(24)
    _check(libc.syscall(CAPSET, header, nothing), "capset")


def status_kb(field: str) -> int:
    """A number of /proc/self/status, in KB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))


def set_limits(limits: Limits) -> None:
    """Resource limits of this process and its children.

    Memory is limited relative to what the template already maps: torch's CUDA build maps 4 GB of addresses at import.
    The data segment is the honest measure; the address space, with room for thread stacks, stops shared mappings.
    """
    memory, slack = limits.memory_mb << 20, 3 << 30
    wanted = {
        resource.RLIMIT_DATA: (status_kb("VmData") << 10) + memory,
        resource.RLIMIT_AS: (status_kb("VmSize") << 10) + memory + slack,
        resource.RLIMIT_FSIZE: limits.file_mb << 20,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_NOFILE: 512,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 1 << 20,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for limit, value in wanted.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent is gone."""
    libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


# -------------------------------------------------------------------------------------------------------------- in order


def leave_the_machine(
    read_only: list[str], writable: list[str], hidden: list[str], mount_point: str, shared_mb: int
) -> int:
    """Steps 1 and 2, in the process that will be the parent of the sandbox's first process.

    Returns:
        The uid that the sandboxed processes shall have.
    """
    uid, gid = os.geteuid(), os.getegid()
    learner = FIRST_UID + os.getpid() % UIDS if uid == 0 else uid
    if uid == 0:
        for folder in writable:
            for parent, folders, files in os.walk(folder):
                for name in [parent, *(os.path.join(parent, n) for n in (*folders, *files))]:
                    os.chown(name, learner, learner, follow_symlinks=False)
    _unshare(uid, gid)
    _new_root(read_only, writable, hidden, mount_point, shared_mb)
    try:
        _loopback()
    except OSError as error:  # without it the network is just as closed
        if error.errno not in (errno.EPERM, errno.ENODEV):
            raise
    return learner


def lock(learner: int, read_only: list[str], writable: list[str], limits: Limits) -> None:
    """Steps 3 and 4, in the process that will run the learner's code, inside the pid namespace."""
    own_entry()
    with open("/etc/passwd", "w") as passwd, open("/etc/group", "w") as group:
        passwd.write(f"learner:x:{learner}:{learner}::{writable[0]}:/bin/sh\n")
        group.write(f"learner:x:{learner}:\n")
    for capability in range(64):  # EINVAL beyond the last one: fine
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if os.geteuid() == 0 and learner != 0:
        os.setgroups([])
        os.setresgid(learner, learner, learner)
        os.setresuid(learner, learner, learner)
    _drop_capabilities()
    _landlock([*read_only, *DEVICES[:3], *DEVICES[3:], "/proc", "/etc/passwd", "/etc/group"],
              [*writable, "/tmp", "/dev/shm", "/dev/null", "/dev/zero", "/dev/full"])  # fmt: skip
    set_limits(limits)
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or /proc/self belongs to root
