"""The checks of a sandbox, as data: a look at each wall that takes seconds, and every attack on it.

An attack prints what it achieved, so that an empty list is a wall that held. The numbers of system calls are those of x86-64 and of AArch64
(Linux: asm/unistd_64.h, asm-generic/unistd.h).
"""

from __future__ import annotations

from offline_assistants.code_interpreter.self_check import Check

_CRASHED = frozenset({"crashed"})
_ERROR = frozenset({"error"})
_TIMEOUT = frozenset({"timeout"})
_ANY = frozenset({"ok", "error", "timeout", "crashed"})

_TRY = """
import os
achieved = []
def attempt(name, function, *arguments):
    try:
        achieved.append((name, function(*arguments)))
    except (OSError, ValueError):
        pass
"""

SYSTEM_CALLS: dict[str, tuple[int, int, str]] = {
    "ptrace": (101, 117, "0, 0, 0, 0"),
    "io_uring_setup": (425, 425, "8, b'\\0' * 120"),
    "unshare": (272, 97, "0x10000000"),
    "setns": (308, 268, "0, 0"),
    "mount": (165, 40, "b'none', b'/tmp', b'tmpfs', 0, 0"),
    "umount2": (166, 39, "b'/mnt/data', 2"),
    "pivot_root": (155, 41, "b'/tmp', b'/tmp'"),
    "chroot": (161, 51, "b'/tmp'"),
    "bpf": (321, 280, "0, b'\\0' * 72, 72"),
    "keyctl": (250, 219, "0, -3, 1"),
    "add_key": (248, 217, "b'user', b'x', b'x', 1, -3"),
    "userfaultfd": (323, 282, "0"),
    "process_vm_readv": (310, 270, "1, 0, 0, 0, 0, 0"),
    "perf_event_open": (298, 241, "b'\\0' * 128, 0, -1, -1, 0"),
    "pidfd_getfd": (438, 438, "0, 0, 0"),
    "mknodat": (259, 33, "-100, b'/tmp/node', 0o20666, 259"),
    "init_module": (175, 105, "b'', 0, b''"),
    "kexec_load": (246, 104, "0, 0, 0, 0"),
    "reboot": (169, 142, "0xfee1dead, 672274793, 0, 0"),
    "open_by_handle_at": (304, 265, "-100, b'\\0' * 16, 0"),
    "quotactl": (179, 60, "0, 0, 0, 0"),
    "syslog": (103, 116, "3, b'\\0' * 99, 9"),
    "swapon": (167, 224, "b'/tmp/x', 0"),
}


def _calls(names: list[str]) -> str:
    table = {name: SYSTEM_CALLS[name] for name in names}
    listed = ", ".join(f"({name!r}, {x86}, {arm}, ({arguments},))" for name, (x86, arm, arguments) in table.items())
    return (
        "import ctypes, platform\n"
        "libc, column = ctypes.CDLL(None, use_errno=True), {'x86_64': 1, 'aarch64': 2}[platform.machine()]\n"
        f"calls = [{listed}]\n"
        "# 1 is EPERM, 38 ENOSYS: refused before anything was looked at.\n"
        "print([call[0] for call in calls if not (libc.syscall(call[column], *call[3]) == -1 and ctypes.get_errno() in (1, 38))])"
    )


_MEMORY = "hoard = []\nwhile True:\n    hoard.append(bytearray(10**7))"
_NETWORK = """
import socket
for family, address in ((socket.AF_INET, '203.0.113.80'), (socket.AF_INET, '172.17.0.1'), (socket.AF_INET6, '2001:db8::1')):
    with socket.socket(family) as attempt_socket:
        attempt_socket.settimeout(2)
        attempt('connect ' + address, attempt_socket.connect, (address, 80))
    with socket.socket(family, socket.SOCK_DGRAM) as attempt_socket:
        attempt('send to ' + address, attempt_socket.sendto, b'x', (address, 53))
print(achieved)
"""
_WRITABLE = """
import os
writable = []
for folder, folders, files in os.walk('/'):
    if folder.startswith(('/proc', '/sys')):
        folders.clear()
    elif os.access(folder, os.W_OK):
        writable.append(folder)
        folders.clear()
print(sorted(set(writable) - {'/dev/mqueue', '/dev/shm', '/mnt/data', '/tmp'}), [name for name in ('/mnt/data', '/tmp') if name not in writable])
"""
_POWERS = """
status = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)
print([name for name, value in (('Uid', '10001'), ('Gid', '10001')) if set(status[name].split()) != {value}],
      [name for name in ('CapEff', 'CapPrm', 'CapBnd', 'CapAmb', 'CapInh') if int(status[name], 16)],
      status['NoNewPrivs'].strip(), status['Seccomp'].strip())
"""
_DATA_IS_FULL = "for number in range(99):\n    with open(f'/mnt/data/{number}', 'wb') as file:\n        file.write(bytes(30_000_000))"
_CROWD = "for number in range(100_000):\n    open(str(number), 'w').close()"
_CHILDREN = """
import os, signal, time
children, refused = [], False
try:
    while len(children) < 1000 and not refused:
        try:
            child = os.fork()
        except OSError:
            refused = True
            break
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)
finally:
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
print(refused)
"""
_KERNEL = """
import os
for path in ('/proc/1/fd/0', '/proc/1/fd/1', '/proc/1/fd/2'):
    attempt(path, lambda: open(path, 'wb').write(b'forged'))
for path in ('/proc/1/mem', '/proc/1/environ', '/proc/1/maps', '/proc/1/auxv'):
    attempt(path, lambda: len(open(path, 'rb').read(10)))
print(achieved)
"""
_OWN_SOCKETS = """
import os, stat
def is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
sockets = [fd for fd in range(3, 64) if is_socket(fd)]
"""

_FORGE_IMAGES = """
import json, struct, sys
def forge(number, body):
    frame = sys._getframe()
    while 'request' not in frame.f_locals:
        frame = frame.f_back
    head = json.dumps({'event': 'image', 'request': frame.f_locals['request']}).encode()
    for fd in sockets:
        for _ in range(number):
            os.write(fd, struct.pack('>II', len(head), len(body)) + head + body)
"""
_SOCKETS = """
import socket
opened = set()
for family in range(46):
    for kind in range(1, 6):
        try:
            socket.socket(family, kind).close()
            opened.add((family, kind))
        except OSError:
            pass
    try:
        socket.socketpair(family)
        opened.add((family, 0))
    except PermissionError:
        pass  # refused whatever the system may know: what it does not know is another error
    except OSError:
        opened.add((family, 0))
for family in (2, 10):
    for kind, protocol in ((1, 262), (2, 136), (1, 132)):  # of several paths, light, of several streams
        try:
            socket.socket(family, kind, protocol).close()
            opened.add((family, protocol))
        except OSError:
            pass
# local, IPv4 and IPv6 have nowhere to go; a raw one would hear what is not meant for it
print(sorted((family, kind) for family, kind in opened if family not in (1, 2, 10) or (family != 1 and kind not in (1, 2))))
"""
_PROGRAMS = """
import subprocess
for folder in ('/tmp', '/mnt/data', '/dev/shm'):
    path = folder + '/program'
    try:
        with open(path, 'w') as file:
            file.write('#!/bin/sh\\necho ran')
        os.chmod(path, 0o755)
    except OSError:
        continue
    attempt(folder, subprocess.check_output, [path])
print(achieved)
"""
_LEAVE_TRACES = """
import subprocess, sys
for folder in ('/mnt/data', '/tmp', '/dev/shm'):
    try:
        with open(folder + '/of-another-thread', 'w') as file:
            file.write('secret')
    except OSError:
        pass
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)', 'of-another-process'])
"""
_SEEK_TRACES = """
import glob, os
folders = [each for root in ('/mnt/data', '/tmp', '/dev/shm', '/dev/mqueue') for each in os.walk(root)]
commands = [open(path, 'rb').read() for path in glob.glob('/proc/[0-9]*/cmdline')]
print([name for _, _, names in folders for name in names if 'of-another' in name], [command for command in commands if b'of-another' in command])
"""

ISOLATION: tuple[Check, ...] = (
    Check("Code runs as a user without any power", _POWERS, r"\[\] \[\] 1 2\n", "A hole in a program of the image could make the code root."),
    Check(
        "System calls that ordinary code does not need are refused",
        _calls(list(SYSTEM_CALLS)),
        r"\[\]\n",
        "The seccomp profile is not in force: most holes of the Linux kernel are within reach of the code.",
    ),
    Check("There is no network", _TRY + _NETWORK, r"\[\]\n", "Code can send data away and reach this machine's own services."),
    Check("Nothing can be written but /mnt/data, /tmp and shared memory", _WRITABLE, r"\[\] \[\]\n", "Code can change the image's files, and fill the disk."),
    Check("The supervisor cannot be touched", _TRY + _KERNEL, r"\[\]\n", "Code can answer in the kernel's name."),
    Check(
        "No process of this machine can be seen",
        "import os\nprint(sum(name.isdecimal() for name in os.listdir('/proc')) < 20)",
        r"True\n",
        "Code can look at, and signal, processes outside of its session.",
    ),
    Check(
        "Endless code is stopped",
        "while True:\n    pass",
        r".*Stopped after 1 s.*",
        "Code can run for ever.",
        statuses=_TIMEOUT,
        timeout_s=1.0,
    ),
    Check("The number of processes is limited", _CHILDREN, r"True\n", "A fork bomb can take every process of this machine."),
    Check(
        "Files have a limited size",
        "with open('sparse', 'wb') as file:\n    file.truncate(10**12)",
        r".*File too large.*",
        "An endless file can fill the memory.",
        statuses=_ERROR,
        files=None,
        is_messy=True,
    ),
    Check(
        "Files have a limited room",
        _DATA_IS_FULL,
        r".*No space left on device.*",
        "Code can fill memory or disk with files.",
        statuses=_ERROR,
        files=None,
        is_messy=True,
    ),
    Check(
        "Memory is limited",
        _MEMORY,
        r".*(needed more memory than there is|MemoryError).*",
        "Code can use up the memory of this machine.",
        statuses=_CRASHED | _ERROR,
        is_messy=True,
    ),
)

ATTACKS: tuple[Check, ...] = (
    *ISOLATION,
    *(
        Check(f"The system call {name} is refused", _calls([name]), r"\[\]\n", "The seccomp profile does not hold: more of the Linux kernel is within reach.")
        for name in SYSTEM_CALLS
    ),
    Check(
        "A fork bomb ends with its call",
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        r".*(Stopped after 2 s|did not come back after its time limit and was ended).*",  # the second where it left the kernel no time to say the first
        "A fork bomb can take every process of this machine.",
        statuses=_TIMEOUT,
        timeout_s=2.0,
    ),
    Check(
        "A hundred thousand files do not fit",
        _CROWD,
        r".*No space left on device.*",
        "Code can use up the memory of the system's kernel, or the inodes of the disk.",
        statuses=_ERROR,
        files=None,
        is_messy=True,
    ),
    Check(
        "Shared memory has a limited room",
        "with open('/dev/shm/fill', 'wb') as file:\n    while True:\n        file.write(bytes(10**6))",
        r".*(No space left on device|File too large|Permission denied|Read-only).*",
        "Code can fill the memory.",
        statuses=_ERROR,
        is_messy=True,
    ),
    Check(
        "Endless output is cut, and says so",
        "print('first')\nwhile True:\n    print('y' * 1000)",
        r"first\n.*characters left out.*Stopped after 1 s.*",
        "Output can fill the memory of the server.",
        statuses=_TIMEOUT,
        timeout_s=1.0,
    ),
    Check(
        "A loop in C that ignores signals is ended",
        "import re, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('begun', flush=True)\n"
        "re.match(r'(a+)+$', 'a' * 60 + 'b')",
        r"begun\n.*Stopped after 1 s.*Python was ended. Variables are lost.*",
        "Code can run for ever.",
        statuses=_TIMEOUT,
        timeout_s=1.0,
    ),
    Check(
        "Links, pipes and devices do not come out as files",
        _TRY
        + "for name, target in (('passwd.csv', '/etc/passwd'), ('self', '/proc/self/mem'), ('up.csv', '../../etc/hostname')):\n    os.symlink(target, name)\n"
        "attempt('hard link', os.link, '/etc/passwd', 'hard.csv')\nattempt('pipe', os.mkfifo, 'pipe.csv')\n"
        "attempt('device', os.mknod, 'device.csv', 0o20666, os.makedev(1, 5))\n"
        "import socket\nattempt('socket', socket.socket(socket.AF_UNIX).bind, 'socket.csv')\nprint([name for name, _ in achieved])",
        r"\[('pipe')?(, )?('socket')?\]\n",
        "A file that code made could stand for one of the host's, or hold the server for ever.",
        is_messy=True,
    ),
    Check(
        "Hostile names are left out or are plain names",
        "for name in (b'bad-\\xff', b'new\\nline', b'esc\\x1b[31m', b'-rf', b'x' * 255, '\\u202e\\u2066gpj.exe'.encode(), b'..  ', b'C:\\\\x'):\n"
        "    with open(name, 'w') as file:\n        file.write('x')",
        r"(\[Not handed over: [^\n]*because its name is not plain text.\]\n){3}",
        "Names can break headers, paths and terminals.",
        files=frozenset({"/mnt/data/-rf", "/mnt/data/" + "x" * 255, "/mnt/data/\u202e\u2066gpj.exe", "/mnt/data/..  ", "/mnt/data/C:\\x"}),
        is_messy=True,
    ),
    Check(
        "Sockets of no family lead outside",
        _SOCKETS,
        r"\[\]\n",
        "Code can speak to the system's kernel, or to others, over an unusual kind of socket.",
    ),
    Check(
        "No name can be looked up",
        "import socket\ntry:\n    print(socket.getaddrinfo('example.org', 80))\nexcept OSError as error:\n    print(type(error).__name__)",
        r"gaierror\n",
        "Code can send data away inside of questions for names.",
    ),
    Check(
        "/proc and /sys cannot be written",
        _TRY
        + "for root in ('/proc/sys', '/sys', '/proc/irq', '/proc/bus', '/proc/fs'):\n    for folder, _, names in os.walk(root):\n        for name in names:\n"
        "            attempt(folder + '/' + name, lambda path: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)), folder + '/' + name)\n"
        "for path in ('/proc/sysrq-trigger', '/proc/kcore', '/proc/kmsg', '/dev/kmsg', '/dev/mem', '/proc/1/oom_score_adj'):\n"
        "    attempt(path, lambda path: os.close(os.open(path, os.O_RDWR)), path)\n"
        "print([name for name, _ in achieved][:9])",
        r"\[\]\n",
        "Code can change settings of this machine's kernel.",
        timeout_s=60.0,
    ),
    Check(
        "Nobody becomes root",
        _TRY + "attempt('setuid', os.setuid, 0)\nattempt('setgid', os.setgid, 0)\nattempt('setgroups', os.setgroups, [0])\nimport stat\n"
        "paths = [os.path.join(folder, name) for root in ('/usr', '/opt', '/etc', '/var') for folder, _, names in os.walk(root) for name in names]\n"
        "print(achieved, [path for path in paths if os.lstat(path).st_mode & (stat.S_ISUID | stat.S_ISGID) and not os.path.islink(path)])",
        r"\[\] \[\]\n",
        "Code can become root inside of its session.",
        timeout_s=60.0,
    ),
    Check(
        "A file that the code wrote is not run as a program",
        _TRY + _PROGRAMS,
        r"\[\]\n",
        "Programs that the code brings along can be run; they are in the same sandbox.",
        files=None,
        is_vital=False,
        is_messy=True,
    ),
    Check(
        "The supervisor cannot be killed",
        "import os\nfor number in range(1, 65):\n    try:\n        os.kill(1, number)\n    except OSError:\n        pass\nprint('sent')",
        r"sent\n",
        "Code can end its own session without a trace.",
    ),
    Check(
        "A signal that has no name ends no more than the worker",
        "import os\nos.kill(os.getpid(), 40)",
        r".*ended by signal 40\..*Variables are lost.*",
        "Code can end the supervisor.",
        statuses=_CRASHED,
    ),
    Check(
        "What is no image is not taken for one",
        _OWN_SOCKETS + _FORGE_IMAGES + "forge(1, b'GIF89a')\nclass Shown:\n    def _repr_png_(self):\n        return b'jpeg'\n"
        "    def __repr__(self):\n        return 'shown as text'\nShown()",
        r"shown as text\n\[What was shown as an image is no PNG, so it is left out\.\]\n",
        "Code can end its session, files and all, by showing something else.",
    ),
    Check(
        "Killing everything ends no more than the code's own processes",
        "import os\nos.kill(-1, 9)",
        r".*",
        "Code can end the supervisor.",
        statuses=_ANY,
    ),
    Check(
        "Frames that the worker makes up end only the worker",
        _OWN_SOCKETS + "import time\nfor fd in sockets:\n    os.write(fd, b'\\xff' * 100)\ntime.sleep(5)",
        r".*Variables are lost.*",
        "Code can break the supervisor.",
        statuses=_CRASHED,
    ),
    Check(
        "Frames that are too large end only the worker",
        _OWN_SOCKETS + "import struct, time\nfor fd in sockets:\n    os.write(fd, struct.pack('>II', 2, 0xffffffff) + b'{}')\ntime.sleep(5)",
        r".*Variables are lost.*",
        "Code can fill the memory of the supervisor.",
        statuses=_CRASHED,
    ),
    Check(
        "Endless pictures are left out",
        _OWN_SOCKETS + _FORGE_IMAGES + "forge(50, b'\\x89PNG\\r\\n\\x1a\\n')\nprint('sent')",
        r"sent\n\[More than \d+ images: the rest is left out\.\]\n",
        "Code can flood the server with pictures.",
    ),
    Check(
        "A child that goes on cannot answer the next call",
        _OWN_SOCKETS + "import ctypes, json, struct, time\n"
        "if ctypes.CDLL(None).fork() == 0:  # past Python, so that nothing closes the descriptors\n"
        "    os.setsid()\n"
        "    time.sleep(0.05)\n"
        "    while True:\n"
        "        for request in range(500):\n"
        "            head = json.dumps({'event': 'finished', 'status': 'ok', 'request': request}).encode()\n"
        "            for fd in sockets:\n"
        "                os.write(fd, struct.pack('>II', len(head), 0) + head)\n"
        "print('left')",
        r".*",
        "What an earlier call left behind can answer for a later one.",
        statuses=_ANY,
    ),
    Check(
        "Another thread's files and processes are out of sight",
        _SEEK_TRACES,
        r"\[\] \[\]\n",
        "Code of one conversation can read what another one made.",
        beforehand=_LEAVE_TRACES,
    ),
    Check(
        "A daemon ends with its session",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)\n    os._exit(0)\nprint('left')",
        r"left\n",
        "Processes that the code left behind go on after the conversation.",
        is_messy=True,
    ),
)
