"""What a hostile unit does: attacks picked at random by seed, until somebody ends it.

    attacks.py SEED BASE PORT FLAGS    (started as a unit by the driver; BASE: where the bench lives)

Each attack is a function below its one-line reason; `ATTACKS` at the end is the table. An attack may fail in any way: what counts is what becomes
of everybody else. What one finds that it must not have (a canary's text, a foreign process opened) it writes down in BASE/loot.
"""

import array
import ctypes
import fcntl
import glob
import json
import os
import random
import resource
import shutil
import signal
import socket
import stat
import struct
import sys
import time

SEED, BASE, PORT, FLAGS = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].split(",")
UNIT = os.environ.get("MS_UNIT", "?")
STATE = f"{BASE}/run/.ms-supervisor"
RUN = f"{BASE}/service"
OWN = f"{BASE}/own/{UNIT.split('@')[0]}"
CANARY = f"{BASE}/canary"
NOTIFY = os.environ.get("NOTIFY_SOCKET", "")
NOTIFY_DIRECTORY = os.path.dirname(NOTIFY) or f"{RUN}/notify"
CREDENTIALS = os.environ.get("CREDENTIALS_DIRECTORY", "")
OTHERS = ["witness", "helper", "honest@1", "honest@2", "honest@3", "pair@1", "notify", "watchdog", "landlock"]

libc = ctypes.CDLL(None, use_errno=True)
rng = random.Random()


# --- small tools ------------------------------------------------------------------------------------------------------------------------------

def loot(what):
    """Something it must not have."""
    with open(f"{BASE}/loot/{UNIT}.{os.getpid()}", "a") as file:
        print(what, file=file)


def tried(call, *arguments):
    """The result, or None: an attack goes on whatever fails."""
    try:
        return call(*arguments)
    except (OSError, ValueError, OverflowError, RecursionError, MemoryError):
        return None


def until(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


def pids(mine_too=False):
    found = [int(name) for name in tried(os.listdir, "/proc") or [] if name.isdigit()]
    rng.shuffle(found)
    return found if mine_too else [pid for pid in found if pid != os.getpid()]


def uid_of(pid):
    """The real user of a process."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("Uid:"))
    except (OSError, StopIteration):
        return None


def foreign(pid):
    """Whether it is somebody else's: another user's, or the daemon's own, whose user a unit may have."""
    uid = uid_of(pid)
    if uid is None or uid != os.getuid():
        return uid is not None
    line = command_line(pid)
    return "/ms-supervisor" in line or "/deps/hostile" in line or is_honest(pid)


def in_child(work, seconds):
    """Does it in a process of its own, which ends by itself."""
    if tried(os.fork) == 0:
        signal.alarm(int(seconds) + 1)
        try:
            work()
        finally:
            os._exit(0)


def reap():
    while tried(os.waitpid, -1, os.WNOHANG) not in (None, (0, 0)):
        pass


def targets():
    """Whom a signal may hit. Root's processes are the daemon's as well, and the kernel lets one user stop his own: left to --own-user."""
    return [-1, *pids()] if os.getuid() != 0 else reachable()


def reachable():
    """Whom it may do anything to. The bench itself, and what it looks after, is nobody's target."""
    if os.getuid() != 0:
        return pids()
    if "own-user" in FLAGS:
        return [pid for pid in pids() if pid > 1 and "424242" not in command_line(pid)]
    return [pid for pid in pids() if uid_of(pid) == 0 and is_ours(pid)]


def is_ours(pid):
    return "attacks.py" in command_line(pid)


def is_honest(pid):
    return f"{BASE}/honest" in command_line(pid)


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as line:
            return line.read()
    except OSError:
        return ""


def tell(text, path=None, descriptors=()):
    """A datagram to a notification socket."""
    path = path or NOTIFY
    if not path:
        return
    data = text if isinstance(text, bytes) else text.encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as own:
        tried(lambda: own.sendmsg([data], rights, 0, path))


def control(method, path, body=None):
    """A command to the control socket; its status line."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(2)
        stream.connect(f"{RUN}/control.sock")
        text = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        stream.sendall(head.encode() + text)
        return stream.recv(4096).decode(errors="replace")


def replace(path, make):
    """Puts something else where `path` is, at once."""
    new = f"{path}.new{os.getpid()}"
    tried(os.unlink, new)
    if tried(make, new) is None and not os.path.lexists(new):
        return
    if os.path.isdir(path) and not os.path.islink(path):
        tried(shutil.rmtree, path)
    tried(os.rename, new, path)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return True


# --- processes --------------------------------------------------------------------------------------------------------------------------------

def stop_everything():
    """SIGSTOP hits children of the launcher between setresuid and execve"""
    everybody = [-1] if os.getuid() != 0 else targets()
    for _ in until(0.4):
        for pid in everybody:
            tried(os.kill, pid, rng.choice([signal.SIGSTOP, signal.SIGTSTP]))


def kill_everything():
    """so does SIGKILL, and the others of its user start again at once"""
    for pid in targets()[:50]:
        tried(os.kill, pid, signal.SIGKILL)


def any_signal():
    """a signal that dumps core, stops or is caught, to everybody"""
    for pid in targets()[:100]:
        tried(os.kill, pid, rng.choice([signal.SIGQUIT, signal.SIGTTIN, signal.SIGABRT, signal.SIGCONT, signal.SIGHUP, signal.SIGCHLD, 64]))


def trace():
    """a process that is traced stands still when it executes, and can be written to"""
    for pid in pids()[:60]:
        request = rng.choice([16, 0x4206])  # PTRACE_ATTACH, PTRACE_SEIZE
        options = 0x10 if request == 0x4206 else 0  # PTRACE_O_TRACEEXEC
        if libc.ptrace(request, pid, 0, options) == 0 and foreign(pid):
            loot(f"traces process {pid}")
    time.sleep(0.1)


def foreign_memory():
    """/proc/PID/mem and process_vm_writev(2)"""
    for pid in pids()[:80]:
        for name in ["mem", "environ", "auxv", "stack", "root", "cwd"]:
            found = tried(os.open, f"/proc/{pid}/{name}", os.O_RDWR if name == "mem" else os.O_RDONLY)
            if found is not None:
                # Opened for a process between two users, it says nothing: what is in it does.
                read = tried(os.read, found, 64)
                os.close(found)
                if read and name in ("mem", "environ") and foreign(pid):
                    loot(f"opened {name} of process {pid}")
        text = ctypes.create_string_buffer(b"x" * 8)
        vector = struct.pack("QQ", ctypes.addressof(text), 8)
        there = struct.pack("QQ", 0x400000, 8)
        libc.process_vm_writev(pid, vector, 1, there, 1, 0)


def slow_down():
    """nice, scheduler, disk class and limits of whoever it may: also of a child of the launcher that is not yet its program"""
    for _ in until(0.3):
        for pid in reachable()[:100]:
            tried(os.setpriority, os.PRIO_PROCESS, pid, 19)
            tried(os.sched_setscheduler, pid, os.SCHED_IDLE, os.sched_param(0))
            tried(os.sched_setaffinity, pid, {0})
            libc.syscall(251, 1, pid, 3 << 13)  # ioprio_set, idle
            limit, value = rng.choice([(resource.RLIMIT_NOFILE, 3), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CPU, 1), (resource.RLIMIT_NPROC, 0), (resource.RLIMIT_STACK, 4096)])
            tried(resource.prlimit, pid, limit, (value, value))


def odd_process():
    """prctl(2): not dumpable, a subreaper, a name that breaks /proc/PID/stat, signals ignored and blocked"""
    libc.prctl(4, rng.choice([0, 1]))  # PR_SET_DUMPABLE
    libc.prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    libc.prctl(15, rng.choice([b") R 1 1 1", b"\x1b[2J\n", b"ms-supervisor"]))  # PR_SET_NAME
    libc.prctl(0x59616D61, -1)  # PR_SET_PTRACER, any
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))


def fork_bomb():
    """a hundred processes, some in sessions of their own without anything in their environment"""
    for number in range(100):
        if tried(os.fork) == 0:
            if number % 3 == 0 and tried(os.fork) != 0:
                os._exit(0)
            if number % 2 == 0:
                tried(os.setsid)
            os.closerange(0, 64)
            tried(os.execve, "/bin/sleep", ["sleep", str(1 + number % 7 * 20)], {} if number % 2 else dict(os.environ))
            os._exit(1)


def own_namespaces():
    """unshare -Urm: /proc is what it wants it to be, and the main process is in there"""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 or libc.unshare(0x10000000 | 0x20000) != 0:  # CLONE_NEWUSER | CLONE_NEWNS
        return
    for name, text in [("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")]:
        tried(write, f"/proc/self/{name}", text)
    if libc.mount(b"none", b"/proc", b"tmpfs", 0, None) == 0:
        tried(os.mkdir, "/proc/self")
        if rng.random() < 0.3:
            tried(os.mkfifo, "/proc/self/oom_score_adj")
        else:
            tried(os.symlink, f"{CANARY}/secret", "/proc/self/oom_score_adj")
    libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)
    libc.mount(b"none", f"{OWN}".encode(), b"tmpfs", 0, None)
    time.sleep(rng.choice([0.5, 3]))
    os._exit(3)


def cgroups():
    """freezes, kills and moves what it can reach of the cgroup file system"""
    for directory, _, files in os.walk("/sys/fs/cgroup"):
        for name, text in [("cgroup.freeze", "1"), ("cgroup.kill", "1"), ("cgroup.procs", str(os.getpid())), ("cgroup.max.descendants", "0"), ("cgroup.threads", "0")]:
            if name not in files:
                continue
            if tried(write, f"{directory}/{name}", text) and UNIT.split("@")[0] not in directory:
                loot(f"wrote {directory}/{name}")
        tried(os.mkdir, f"{directory}/hostile")


# --- what it tells ----------------------------------------------------------------------------------------------------------------------------

LIES = [
    "READY=1", "STOPPING=1", "RELOADING=1", "WATCHDOG=1", "WATCHDOG=trigger", "ERRNO=4095", "EXTEND_TIMEOUT_USEC=99999999999999",
    "STATUS=\x1b]0;x\x07\x1b[2J\r\b", "STATUS=" + "s" * 4000, "MAINPID=1", "MAINPID=2", "MAINPID=99999", "MAINPID=-1", "FDSTORE=1\nFDNAME=x",
    "BUSERROR=\x00\xff", "WATCHDOG_USEC=1", "FDSTOREREMOVE=1\nFDNAME=x",
]


def notify_flood():
    """as much as it can of everything that can be told, with descriptors"""
    null = os.open("/dev/null", os.O_RDONLY)
    kind = rng.choice([["MAINPID=99999\n" * 290], [f"MAINPID={os.getpid()}"], LIES, [os.urandom(64)]])
    for _ in until(1):
        for _ in range(50):
            tell(rng.choice(kind), descriptors=[null] * rng.choice([0, 0, 1, 200]))
    os.close(null)


def notify_main():
    """its own processes by turns: each is asked about"""
    children = [child for child in (tried(os.fork) for _ in range(2)) if child is not None]
    if 0 in children:
        time.sleep(2)
        os._exit(0)
    for _ in until(0.5):
        tell("\n".join(f"MAINPID={pid}" for pid in [*children, os.getpid()]))


def notify_others():
    """what is told to others' sockets is none of theirs"""
    names = [f"{NOTIFY_DIRECTORY}/{name}.sock" for name in OTHERS]
    for path in {*names, *glob.glob(f"{NOTIFY_DIRECTORY}/*")}:
        if path != NOTIFY:
            for text in ["READY=1", "WATCHDOG=trigger", f"MAINPID={os.getpid()}", "STOPPING=1", "STATUS=hostile"]:
                tell(text, path)


def sockets():
    """connects to every socket of the run directory, sends nonsense and descriptors, and never reads"""
    null = os.open("/dev/null", os.O_RDONLY)

    def hold():
        kept = []
        for path in [*glob.glob(f"{RUN}/**/*", recursive=True), f"{RUN}/keeper", f"{RUN}/control.sock"]:
            for kind in [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM]:
                own = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
                if tried(lambda own=own, path=path: own.connect(path) or True):
                    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 3))]
                    tried(lambda own=own: own.sendmsg([os.urandom(100)], rights))
                    kept.append(own)
        time.sleep(2)

    in_child(hold, 5)
    os.close(null)


def escapes():
    """terminals obey what they are told"""
    for text in ["\x1b]52;c;eA==\x07", "\x1b[2J\x1b]0;title\x07", "\r\bno\n", "\x9b31m", "\x00\x7f"]:
        tell(f"STATUS={text}")
        tried(os.write, 1, text.encode() + b"\n")


# --- the daemon's doors -----------------------------------------------------------------------------------------------------------------------

def commands():
    """stops others, changes what they execute, has the daemon replaced"""
    everybody = ["helper", "witness", "honest", "pinging", "piped"]
    evil = json.dumps(["/bin/sh", "-c", "sleep 1000"])
    orders = [
        ("/v1/overrides", {"target": "helper", "values": [["exec", evil]], "for": None}),
        ("/v1/stop", {"targets": everybody}), ("/v1/restart", {"targets": everybody}), ("/v1/pause", {"targets": everybody}),
        ("/v1/signal", {"targets": everybody, "signal": "SIGKILL"}), ("/v1/reload", {}), ("/v1/upgrade", {"program": "/bin/true"}),
        ("/v1/heartbeat", {"targets": everybody}), ("/v1/rotate", {"targets": everybody}),
    ]
    rng.shuffle(orders)
    for path, body in orders:
        answer = tried(control, "POST", path, body)
        if answer and " 20" in answer.split("\r\n")[0]:
            loot(f"{path}: {answer.splitlines()[0]}")
    for path in ["/v1/units/helper/environment", "/v1/plan", "/v1/events", "/v1/overrides"]:
        if "CANARY" in (tried(control, "GET", path) or ""):
            loot(f"{path} shows a canary")


def hold_doors():
    """connections that never ask, never finish a request, or never read the answers"""
    def hold():
        kept = []
        text = rng.choice([b"", b"GET /metrics HTTP/1.1\r\nHo", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2000])
        for number in range(300):
            family = socket.AF_INET if number % 2 else socket.AF_UNIX
            stream = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            tried(lambda stream=stream, family=family: stream.connect_ex(("127.0.0.1", PORT) if family == socket.AF_INET else f"{RUN}/control.sock"))
            kept.append(stream)
        for _ in until(5):
            for stream in kept:
                tried(stream.send, text)
            time.sleep(0.2)

    in_child(hold, 8)


def odd_requests():
    """what no client sends"""
    for _ in range(30):
        with socket.socket() as stream:
            stream.settimeout(0.2)
            tried(stream.connect, ("127.0.0.1", PORT))
            tried(stream.sendall, rng.choice([os.urandom(2000), b"GET " + b"/" * 70000 + b" HTTP/1.1\r\n\r\n", b"POST /v1/stop HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n{", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]))


# --- its output -------------------------------------------------------------------------------------------------------------------------------

def output_flood():
    """faster than anybody can look"""
    line = rng.choice([b"y\n", b"x" * 1000 + b"\n", b"\0" * 4096, b"no end"]) * 200
    total = 0
    for _ in until(1):
        total += tried(os.write, 1, line) or 0
        if total > 100 << 20:
            break


def flood_unstopped():
    """another process than the main one writes, and sends SIGCONT to whoever is stopped for it"""
    main_process = os.getpid()

    def write_on():
        total = 0
        for _ in until(4):
            tried(os.kill, main_process, signal.SIGCONT)
            total += tried(os.write, 1, b"z" * 100_000) or 0
            if total > 300 << 20:
                break

    in_child(write_on, 5)


def forge_log():
    """its log is a file it may write to: shorter, with holes, with room taken in advance, with a mark that says it is being rotated"""
    magic = b"\0ms-supervisor rotates this log\0" + struct.pack("<QQ", rng.choice([0, 4095, 1 << 40]), rng.choice([1, 4096, 1 << 30]))
    deeds = [
        lambda log: os.ftruncate(log, 0),
        lambda log: os.ftruncate(log, 1 << 40),
        lambda log: (os.ftruncate(log, 0), os.write(log, magic.ljust(64, b"\0"))),
        lambda log: (os.ftruncate(log, 0), os.pwrite(log, magic.ljust(64, b"\0"), 0)),
        lambda log: libc.fallocate(log, 1, ctypes.c_long(0), ctypes.c_long(64 << 20)),
        lambda log: libc.fallocate(log, 0, ctypes.c_long(1 << 30), ctypes.c_long(64 << 20)),
        lambda log: os.fchmod(log, 0),
        lambda log: os.fchmod(log, 0o7777),
        lambda log: fcntl.fcntl(log, fcntl.F_SETFL, 0),
        lambda log: fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB),
        lambda log: fcntl.lockf(log, fcntl.LOCK_EX | fcntl.LOCK_NB),
        lambda log: fcntl.fcntl(log, 1024, fcntl.F_WRLCK),  # F_SETLEASE
        lambda log: os.setxattr(f"/proc/self/fd/{log}", "user.x", b"x" * 3000),
        lambda log: os.utime(log, (0, 0)),
        lambda log: os.set_blocking(log, False),
    ]
    for deed in rng.sample(deeds, 4):
        tried(deed, 1)
        tried(os.write, 1, b"after that\n" * 100)
    again = tried(os.open, "/proc/self/fd/1", os.O_RDWR | os.O_NONBLOCK)
    if again is not None:
        tried(os.pwrite, again, magic.ljust(64, b"\0"), 0)
        tried(os.pwrite, again, b"far", 1 << 36)
        os.close(again)


# --- its files --------------------------------------------------------------------------------------------------------------------------------

def fill_credentials():
    """what was made for it is its own: deep, wide, and full of links"""
    if not CREDENTIALS:
        return
    for path in [CREDENTIALS, os.path.dirname(CREDENTIALS)]:
        tried(os.chmod, path, 0o700)
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    if tried(os.chdir, CREDENTIALS) is None and os.access(CREDENTIALS, os.W_OK):
        os.chdir(CREDENTIALS)
        tried(os.symlink, CANARY, "link")
        tried(os.symlink, "/proc/self/root", "root")
        tried(os.mkfifo, "fifo")
        for number in range(500):
            tried(write, f"file{number}", "x")
        for _ in range(16_000):
            if tried(os.mkdir, "d") is None and not os.path.isdir("d"):
                break
            os.chdir("d")
    tried(os.fchdir, here)
    os.close(here)
    if rng.random() < 0.5:
        os._exit(0)


FILES = ["env", "password", "x.pid", "watched.pid", "beat", "ca"]

MADE = [
    ("a FIFO", os.mkfifo),
    ("/dev/zero", lambda path: os.symlink("/dev/zero", path)),
    ("/dev/tty", lambda path: os.symlink("/dev/tty", path)),
    ("/etc/shadow", lambda path: os.symlink("/etc/shadow", path)),
    ("a canary that looks like what is read", lambda path: os.symlink(f"{CANARY}/secret", path)),
    ("itself", lambda path: os.symlink(path, path)),
    ("a directory", os.mkdir),
    ("a socket", lambda path: socket.socket(socket.AF_UNIX).bind(path)),
    ("/proc/kmsg", lambda path: os.symlink("/proc/kmsg", path)),
    ("a file without end", lambda path: write(path, "A=b\n") and os.truncate(path, 1 << 40)),
    ("a large file", lambda path: write(path, "A=bcdefghijklmnop\n" * 300_000)),
    ("odd variables", lambda path: write(path, "LD_PRELOAD=/x\nMS_UNIT=helper\nNOTIFY_SOCKET=/x\nA=\x1b[2J\n=\nB\nPATH=\n")),
    ("a good one", lambda path: write(path, "A=b\n")),
    ("nothing", lambda path: None),
]


def swap_files():
    """what is read for it is something else each time, also while it is read"""
    path = f"{OWN}/{rng.choice(FILES)}"
    for _ in until(rng.choice([0.05, 0.5])):
        replace(path, rng.choice(MADE)[1])
    replace(path, rng.choice(MADE)[1])


def lease_files():
    """a lease: who opens the file waits until it is given back"""
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    for name in FILES:
        path = f"{OWN}/{name}"
        replace(path, lambda new: write(new, "A=b\n"))
        file = tried(os.open, path, os.O_RDWR)
        if file is not None:
            tried(fcntl.fcntl, file, 1024, fcntl.F_WRLCK)  # F_SETLEASE


def pid_lies():
    """pid files that name root's processes"""
    for name in ["x.pid", "watched.pid"]:
        pid = rng.choice([1, 2, 3, os.getppid(), os.getpid(), -1, 0, 2**31, *pids()[:5]])
        replace(f"{OWN}/{name}", lambda new, pid=pid: write(new, f"{pid}\n"))


def inodes():
    """many files in whatever it may write to"""
    for directory in [OWN, ".", CREDENTIALS or OWN, "/tmp"]:
        for number in range(2000):
            if tried(write, f"{directory}/i{number}", "") is None:
                break
        for number in range(2000):
            tried(os.unlink, f"{directory}/i{number}")


def directory_away():
    """its working directory is removed, renamed, closed, or a link to something else"""
    path = f"{OWN}/cwd"
    tried(os.chmod, path, 0o700)
    deed = rng.choice(["remove", "rename", "close", "link", "fifo", "back"])
    if deed == "close":
        tried(os.chmod, path, 0)
    elif deed == "remove":
        tried(shutil.rmtree, path)
    else:
        tried(os.rename, path, f"{OWN}/away{rng.randrange(5)}")
    if deed == "link":
        tried(os.symlink, CANARY, path)
    elif deed == "fifo":
        tried(os.mkfifo, path)
    elif deed == "back":
        tried(os.unlink, path)
        tried(os.mkdir, path)


def links():
    """links in its own directories to what is root's, for whoever writes there as root"""
    for directory in [OWN, os.path.dirname(NOTIFY), CREDENTIALS, f"{STATE}/logs", f"{STATE}/incidents"]:
        for name in ["x.pid", "core", "link", f"{UNIT}.log", f"{UNIT}.sock"]:
            if directory:
                tried(os.symlink, f"{CANARY}/directory/new", f"{directory}/{name}")
                tried(os.link, f"{CANARY}/secret", f"{directory}/{name}")
    tried(os.unlink, NOTIFY)
    tried(os.symlink, f"{CANARY}/secret", NOTIFY)


def read_forbidden():
    """others' environments, logs, credentials, state, events, and what root alone may read"""
    places = [CANARY, f"{BASE}/keys", STATE, RUN, f"{STATE}/logs", "/etc/shadow"]
    for place in places:
        for path in [place, *glob.glob(f"{place}/**/*", recursive=True)][:300]:
            file = tried(os.open, path, os.O_RDONLY | os.O_NONBLOCK)
            if file is None:
                continue
            text = tried(os.read, file, 1 << 20) or b""
            os.close(file)
            mine = CREDENTIALS and path.startswith(CREDENTIALS)
            if b"CANARY" in text and not mine:
                loot(f"read a canary from {path}")
            elif path == "/etc/shadow" and os.getuid() != 0:
                loot("read /etc/shadow")


def write_forbidden():
    """what is root's: canaries, state, logs of others, the kernel's settings (these are only opened)"""
    tried(write, f"{CANARY}/directory/new", "hostile")
    tried(write, f"{CANARY}/secret", "hostile")
    for path in [f"{BASE}/run/units/all.yaml", "/etc/passwd", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", *glob.glob(f"{STATE}/**/*", recursive=True)[:200], *glob.glob(f"{RUN}/**/*", recursive=True)[:200]]:
        kind = tried(os.lstat, path)
        if kind is None or not (stat.S_ISREG(kind.st_mode)) or f"/{UNIT}." in path or (CREDENTIALS and path.startswith(CREDENTIALS)):
            continue
        file = tried(os.open, path, os.O_WRONLY | os.O_NONBLOCK)
        if file is not None:
            os.close(file)
            loot(f"may write to {path}")
    for pid in pids()[:40]:
        # One that is not dumpable has files of root's: an honest one is.
        if uid_of(pid) != os.getuid() and is_honest(pid) or uid_of(pid) == 0 and (os.getuid() != 0 or "own-user" in FLAGS):
            file = tried(os.open, f"/proc/{pid}/oom_score_adj", os.O_WRONLY)
            if file is not None:
                written = tried(os.write, file, b"999")
                os.close(file)
                if written and uid_of(pid) not in (os.getuid(), None) and is_honest(pid):
                    loot(f"wrote the oom_score_adj of process {pid}")


def become_root():
    """a setuid program, a file capability, setuid(2), keyctl: none may help who gains no privileges"""
    with open("/proc/self/status") as status:
        if "NoNewPrivs:\t1" in status.read():
            in_child(lambda: os.execv(f"{BASE}/own/setuid", ["setuid", "2"]), 4)
    for call in [lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])]:
        if os.getuid() != 0 and tried(lambda call=call: (call(), True)):
            loot("became root")
    libc.prctl(47, 2, 0, 0, 0)  # PR_CAP_AMBIENT_RAISE
    libc.setns(tried(os.open, "/proc/1/ns/mnt", os.O_RDONLY) or -1, 0)
    tried(os.chroot, "/")


def huge_arguments():
    """evidence of a hang holds its arguments: as many as there may be"""
    arguments = [sys.executable, *sys.argv[:1], SEED, BASE, str(PORT), ",".join([*FLAGS, "trigger"]), *["x" * 100_000] * 15]
    os.execv(sys.executable, [arguments[0], "-u", *arguments[1:]])


def end():
    """ends in some way"""
    how = rng.choice(["exit", "signal", "stop"])
    if how == "signal":
        os.kill(os.getpid(), rng.choice([signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT]))
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(rng.choice([0, 1, 77, 255]))


# --- servers that probes ask ------------------------------------------------------------------------------------------------------------------

def serve_nonsense():
    """answers probes of PostgreSQL, Redis and HTTP with what has no end"""
    def serve():
        with socket.socket() as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("127.0.0.1", PORT + 1))
            door.listen(50)
            door.settimeout(1)
            for _ in until(4):
                peer = tried(door.accept)
                if peer is None:
                    continue
                stream = peer[0]
                stream.settimeout(0.5)
                asked = tried(stream.recv, 4096) or b""
                if asked[:1] in (b"*", b"P", b"A"):  # Redis
                    answer = rng.choice([b"$2147483647\r\n", b"+PONG", b"*99999999\r\n"])
                elif asked[:4] == b"GET ":
                    answer = b"HTTP/1.1 200 OK\r\n\r\n"
                else:
                    tried(stream.sendall, b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
                    tried(stream.recv, 4096)
                    answer = b"T\0\0\0\x1e\0\x01a\0" + b"\0" * 18 + b"D\x7f\xff\xff\xff\0\x01\x7f\xff\xff\xf0"
                tried(stream.sendall, answer)
                for _ in until(1):
                    if tried(stream.sendall, b"z" * (1 << 20)) is None and tried(stream.getpeername) is None:
                        break
                stream.close()

    in_child(serve, 6)


ATTACKS = [
    stop_everything, kill_everything, any_signal, trace, foreign_memory, slow_down, odd_process, fork_bomb, own_namespaces, cgroups,
    notify_flood, notify_main, notify_others, sockets, escapes, commands, hold_doors, odd_requests, output_flood,
    flood_unstopped, forge_log,
    fill_credentials, swap_files, lease_files, pid_lies, inodes, directory_away, links, read_forbidden, write_forbidden, become_root,
    huge_arguments, end, serve_nonsense,
]

# What a unit of a kind is there for, and so does every other time. A spoofer shares its user with a unit that has to be left alive: it only tells.
FAVOURITES = {
    "pair": [stop_everything, kill_everything, slow_down, trace], "notify": [notify_flood, notify_main, notify_others, escapes],
    "probed": [own_namespaces, own_namespaces, stop_everything], "secret": [fill_credentials, fill_credentials, end],
    "files": [swap_files, lease_files, directory_away, links, end], "pidfile": [pid_lies, swap_files, end], "direct": [forge_log, output_flood, flood_unstopped],
    "piped-evil": [output_flood, escapes, forge_log], "watchdog": [huge_arguments, notify_flood], "crash": [end],
    "rootless": [commands, write_forbidden, cgroups, read_forbidden], "landlock": [commands, notify_others, read_forbidden],
    "server": [serve_nonsense, swap_files, hold_doors], "spoofer": [notify_others], "plain": [fork_bomb, hold_doors, sockets],
}
ONLY = {"spoofer": [notify_others, notify_flood, escapes, odd_requests, read_forbidden]}


def pick(kind):
    if rng.random() < 0.5:
        return rng.choice(FAVOURITES.get(kind, ATTACKS))
    return rng.choice(ONLY.get(kind, ATTACKS))


def main():
    kind = UNIT.split("@")[0]
    counts = os.open(f"{BASE}/counts/{kind}", os.O_RDWR | os.O_APPEND)
    # The next process of the unit goes on where this one was: by how much has been done.
    rng.seed(f"{SEED} {UNIT} {os.fstat(counts).st_size}")
    if "CANARY" in " ".join(f"{name}={value}" for name, value in os.environ.items()):
        loot("a canary is in its environment")
    if "trigger" in FLAGS:
        FLAGS.remove("trigger")
        tell("WATCHDOG=trigger")
        time.sleep(1)
    if kind == "pidfile":
        daemonize()
    tell("READY=1")
    while True:
        attack = pick(kind)
        os.write(counts, f"{attack.__name__}\n".encode())
        try:
            attack()
        except (OSError, ValueError, MemoryError, RecursionError, ctypes.ArgumentError):
            pass
        tell("WATCHDOG=1")
        reap()
        time.sleep(rng.uniform(0.01, 0.2))


def daemonize():
    """As a daemon that writes a pid file does."""
    if os.fork() != 0:
        time.sleep(0.2)
        os._exit(0)
    os.setsid()
    replace(f"{OWN}/x.pid", lambda new: write(new, f"{os.getpid()}\n"))


if __name__ == "__main__":
    main()
