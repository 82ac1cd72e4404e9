"""The snapshot child: a fork that writes one shard as it stood at that moment.

What must be true of the child, and why (R9):

1. It runs compiled code only and leaves by `_exit`. The parent has other threads (ZeroMQ, uvloop) that do not exist
   here and whose locks may be held for ever; no interpreter, no malloc, no exit handlers. A reference count written
   would copy a page.
2. It asks to be killed with its parent, and looks whether the parent died before it could ask.
3. It closes every descriptor but its file and its result pipe first of all: an inherited socket would keep a dead
   worker's link, and a client's connection, alive.
4. Signals are blocked over the fork, because the parent's handlers belong to the interpreter; the child sets every
   one back to its default before it lets them in. Three are ignored: SIGINT (a Ctrl-C reaches the whole terminal;
   whether to go on is the worker's decision), SIGPIPE and SIGXFSZ (they shall be errors with a number, not deaths).
5. It is nice: saving competes with serving.

The result comes as one small record through the pipe, then the pipe's end. The end comes after the kernel has torn
down the child's memory, so the parent, which waits for it, never blocks in waitpid.
"""

import errno as errnos
import os
import select
from contextlib import suppress
from pathlib import Path

from mpkv.snapshot.join import Part, PartResult

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint64_t
from libc.stdlib cimport strtoull
from libc.string cimport memset, strlen, strstr
from posix.fcntl cimport O_RDONLY, open
from posix.types cimport pid_t
from posix.unistd cimport _exit, close, fork, getpid, getppid, read, write

from mpkv.snapshot.writer cimport part_result, write_part
from mpkv.workers.keyspace cimport Keyspace

cdef extern from *:
    """
    #include <limits.h>
    #include <signal.h>
    #include <sys/prctl.h>
    #include <sys/resource.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    #ifndef SYS_close_range
    #define SYS_close_range 436
    #endif
    """
    long SYS_close_range
    long syscall(long number, ...) nogil
    int PR_SET_PDEATHSIG, PR_SET_NAME
    int prctl(int option, ...) nogil
    int nice(int increment) nogil
    struct rlimit:
        unsigned long rlim_cur
    int RLIMIT_NOFILE
    int getrlimit(int resource, rlimit* limit) nogil
    int SIGKILL, SIGINT, SIGPIPE, SIGXFSZ, SIG_SETMASK
    ctypedef struct sigset_t:
        pass
    ctypedef void (*handler_t)(int) noexcept nogil
    handler_t SIG_DFL, SIG_IGN
    handler_t signal(int number, handler_t handler) nogil
    int sigfillset(sigset_t* every) nogil
    int sigemptyset(sigset_t* none) nogil
    int sigprocmask(int how, const sigset_t* mask, sigset_t* before) nogil
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* time) nogil

cdef enum:
    SIGNALS = 64
    NICENESS = 5                 # a third of the parent's weight when both want the processor
    MOST_DESCRIPTORS = 1 << 20   # beyond which the slow way of closing does not look
    SMAPS_BYTES = 4096           # the summary of a process's memory is about 1 KB

# --------------------------------------------------------------------------------------------------------- in the child


cdef void _close_range(unsigned first, unsigned last) noexcept nogil:
    cdef rlimit limit
    if first > last or syscall(SYS_close_range, first, last, 0) == 0:
        return
    if getrlimit(RLIMIT_NOFILE, &limit) < 0 or limit.rlim_cur > MOST_DESCRIPTORS:
        limit.rlim_cur = MOST_DESCRIPTORS
    while first <= last and first < limit.rlim_cur:     # a kernel before 5.9
        close(first)
        first += 1


cdef void _close_all_but(unsigned a, unsigned b) noexcept nogil:
    cdef unsigned low = min(a, b), high = max(a, b)
    if low > 0:
        _close_range(0, low - 1)
    _close_range(low + 1, high - 1)
    _close_range(high + 1, 0xFFFFFFFFU)


cdef void _default_signals() noexcept nogil:
    cdef sigset_t none
    cdef int number
    for number in range(1, SIGNALS + 1):
        signal(number, SIG_DFL)
    signal(SIGINT, SIG_IGN)
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    sigemptyset(&none)
    sigprocmask(SIG_SETMASK, &none, NULL)


cdef uint64_t _private_dirty_bytes() noexcept nogil:
    """What this process does not share: the pages that were copied since the fork. 0 where the kernel does not tell."""
    cdef char[SMAPS_BYTES + 1] text
    cdef size_t size = 0
    cdef ssize_t got
    cdef char* line
    cdef int fd = open(b"/proc/self/smaps_rollup", O_RDONLY)
    if fd < 0:
        return 0
    while size < SMAPS_BYTES:
        got = read(fd, text + size, SMAPS_BYTES - size)
        if got < 0 and errno == EINTR:
            continue
        if got <= 0:
            break
        size += got
    close(fd)
    text[size] = 0
    line = strstr(text, b"Private_Dirty:")
    if line == NULL:
        return 0
    return strtoull(line + strlen(b"Private_Dirty:"), NULL, 10) * 1024


cdef void _run_child(Keyspace keyspace, int output_fd, int result_fd, pid_t parent, const char* name) noexcept nogil:
    """The child's whole life; does not return."""
    cdef part_result result
    cdef int exit_code = 0
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    if getppid() != parent:
        _exit(1)
    _close_all_but(output_fd, result_fd)
    _default_signals()
    prctl(PR_SET_NAME, name)
    nice(NICENESS)
    if write_part(keyspace, output_fd, &result) != 0:
        exit_code = 1
    result.private_dirty_bytes = _private_dirty_bytes()
    # Less than PIPE_BUF into an empty pipe: whole or not at all.
    while write(result_fd, &result, sizeof(part_result)) < 0 and errno == EINTR:
        pass
    _exit(exit_code)


cdef pid_t _fork(
    Keyspace keyspace, int output_fd, int result_fd, const char* name, uint64_t* fork_ns, int* error
) noexcept nogil:
    """Fork and let the child run; in the parent the child's number, or -1 with the errno."""
    cdef sigset_t every, before
    cdef timespec start, end
    cdef pid_t parent = getpid()
    cdef pid_t pid
    sigfillset(&every)
    sigprocmask(SIG_SETMASK, &every, &before)
    clock_gettime(CLOCK_MONOTONIC, &start)
    pid = fork()
    if pid == 0:
        _run_child(keyspace, output_fd, result_fd, parent, name)
    error[0] = errno
    clock_gettime(CLOCK_MONOTONIC, &end)
    sigprocmask(SIG_SETMASK, &before, NULL)
    fork_ns[0] = <uint64_t>(end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec - start.tv_nsec
    return pid

# -------------------------------------------------------------------------------------------------------- in the parent


cdef _part_result(object path, const part_result* result, int signal_number):
    part = Part(path, result.keys, result.size_bytes, result.crc64)
    return PartResult(part, result.status, signal_number, result.private_dirty_bytes)


cdef int _create(object path) except -1:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


cdef class SnapshotChild:
    """The parent's face of a snapshot child.

    `result_fd` becomes readable when there is something to collect: call `try_collect` then, until it returns a result,
    take the descriptor out of the event loop and `close`. Without a loop `collect` does it all.
    """

    cdef readonly int pid
    cdef readonly int result_fd
    cdef readonly int fork_usec
    cdef readonly object path
    cdef part_result _received
    cdef bint _has_result
    cdef object _outcome

    def try_collect(self):
        """The `PartResult` if the child is gone, else None. After a failure the part is removed."""
        if self._outcome is not None:
            return self._outcome
        try:
            record = os.read(self.result_fd, sizeof(part_result))
        except BlockingIOError:
            return None
        if record:
            self._take(record)
            return None
        self._finish()
        return self._outcome

    def collect(self) -> PartResult:
        """Wait for the child's end, and close."""
        ready = select.poll()
        if self._outcome is None:
            ready.register(self.result_fd, select.POLLIN)
        while (outcome := self.try_collect()) is None:
            ready.poll()
        self.close()
        return outcome

    def kill(self) -> PartResult:
        """End the child at once, remove its part, and close; harmless when it is already gone."""
        if self._outcome is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, SIGKILL)
        outcome = self.collect()
        with suppress(OSError):
            os.unlink(self.path)
        return outcome

    def close(self) -> None:
        """Close `result_fd`, once there is a result."""
        if self.result_fd >= 0 and self._outcome is not None:
            os.close(self.result_fd)
            self.result_fd = -1

    cdef _take(self, bytes record):
        cdef const char* data = record
        if len(record) == sizeof(part_result):
            self._received = (<const part_result*>data)[0]
            self._has_result = True

    cdef _finish(self):
        cdef int signal_number = 0
        with suppress(ChildProcessError):        # somebody reaped it: its record tells enough
            _, wait_status = os.waitpid(self.pid, 0)
            if os.WIFSIGNALED(wait_status):
                signal_number = os.WTERMSIG(wait_status)
        if not self._has_result:
            self._received.status = errnos.ECHILD
        if self._received.status:
            with suppress(OSError):
                os.unlink(self.path)
        self._outcome = _part_result(self.path, &self._received, signal_number)


def fork_child(Keyspace keyspace not None, path, name: str = "mpkv-save") -> SnapshotChild:
    """Fork a child that writes this shard's part to the file `path`.

    Call it from the process's main thread: the child dies with the thread that made it. `name` is what `ps` and `top`
    show, 15 bytes of it. Raises OSError if there is no child.
    """
    cdef SnapshotChild child = SnapshotChild()
    cdef bytes short_name = name.encode()[:15]
    cdef const char* name_text = short_name
    cdef uint64_t fork_ns = 0
    cdef int error = 0
    child.path = Path(path)
    output_fd = _create(path)
    try:
        child.result_fd, result_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        os.close(output_fd)
        raise
    child.pid = _fork(keyspace, output_fd, result_fd, name_text, &fork_ns, &error)
    os.close(output_fd)
    os.close(result_fd)
    child.fork_usec = fork_ns // 1000
    if child.pid < 0:
        os.close(child.result_fd)
        with suppress(OSError):
            os.unlink(path)
        raise OSError(error, os.strerror(error))
    return child


def write_inline(Keyspace keyspace not None, path) -> PartResult:
    """Write this shard's part to the file `path` in this process, for SAVE and SHUTDOWN.

    Other threads run meanwhile; none may change the keyspace. Raises OSError if the file cannot be created.
    """
    cdef part_result result
    cdef int fd
    memset(&result, 0, sizeof(result))
    fd = _create(path)
    with nogil:
        write_part(keyspace, fd, &result)
    os.close(fd)
    if result.status:
        with suppress(OSError):
            os.unlink(path)
    return _part_result(Path(path), &result, 0)
