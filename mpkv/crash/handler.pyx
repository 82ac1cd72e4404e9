"""The last moments of a process: on SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT it writes down where it was, and dies.

The report goes into a file in memory that the supervisor made, full size, before it started the process, and that it
reads when it has reaped it: the dying process waits for no disk, pipe or reader, allocates nothing, and cannot write
more than fits. Everything here runs between one instruction and the next of a process whose memory may be damaged, so
it is compiled code that uses system calls only, with three exceptions, stated for honesty's sake:

- `backtrace` (glibc) walks the stack. Its library is loaded by `prepare`; on a damaged stack it may fault itself.
- `backtrace_symbols_fd` asks the dynamic loader for names, which takes the loader's lock: if the process dies while a
  module is being loaded, it may wait for ever.
- Python's stacks are faulthandler's work, made for this; it reads Python's structures, which may be damaged.

So the report is written in stages, the safe ones first. A fault within a stage comes here again, says so, and goes on
with the next stage; one that waits is ended by an alarm. At the end the process dies of the signal it was sent, as if
there were no handler: core dumps and exit statuses are what they would have been.

How faulthandler is made a stage: its handler is installed over ours and ours again over that. Called as a function, it
writes the stacks, puts back what it had found – ours – and raises the signal again, which is our next stage.
"""

from libc.signal cimport (
    SIG_DFL, SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV, raise_ as raise_signal,
)
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcmp, memcpy, memset, strlen
from posix.fcntl cimport O_RDONLY, open as open_file
from posix.signal cimport (
    SA_NODEFER, SA_ONSTACK, SA_SIGINFO, SIG_UNBLOCK, sigaction, sigaction_t, sigaddset, sigaltstack, sigemptyset,
    siginfo_t, sigprocmask, stack_t,
)
from posix.types cimport sigset_t
from posix.unistd cimport _exit, alarm, close, getpid, pause, read, write

from mpkv.shm.board cimport Block, block_header_t, monotonic_ms
from mpkv.wire cimport FLAG_REFERS, REFERRED, REQUEST, batch_t, request_t

import faulthandler

cdef extern from "<execinfo.h>" nogil:
    int backtrace(void** frames, int most)
    void backtrace_symbols_fd(void* const* frames, int count, int fd)

cdef extern from "<sys/mman.h>" nogil:
    enum: PROT_READ
    enum: MAP_PRIVATE
    enum: MAP_ANONYMOUS
    void* mmap(void* address, size_t size, int protection, int flags, int fd, long offset)

cdef extern from *:
    """
    #include <sys/syscall.h>
    #include <unistd.h>
    static int crash_thread(void) { return (int)syscall(SYS_gettid); }
    static int crash_claim(volatile int* owner, int thread)
    {
        int nobody = 0;
        return __atomic_compare_exchange_n(owner, &nobody, thread, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
            || nobody == thread;
    }
    """
    int crash_thread() nogil
    int crash_claim(volatile int* owner, int thread) nogil


cdef enum:
    SIGNALS = 5
    FRAMES = 64                 # of the native stack
    STACK_BYTES = 256 << 10     # for the handler: the thread's own stack may be what ran out
    SECONDS = 3                 # for the whole report
    FACTS_BYTES = 4096
    LINE_BYTES = 512
    WORDS_SHOWN = 16
    WORD_BYTES_SHOWN = 64
    STATM_BYTES = 256

ctypedef void (*handler_t)(int) noexcept nogil

cdef struct kind_t:
    int number
    const char* name

cdef kind_t[SIGNALS] _kinds = [
    kind_t(SIGSEGV, b"SIGSEGV"), kind_t(SIGBUS, b"SIGBUS"), kind_t(SIGFPE, b"SIGFPE"), kind_t(SIGILL, b"SIGILL"),
    kind_t(SIGABRT, b"SIGABRT"),
]

# What `prepare` prepares
cdef int _fd = -1
cdef int _pid = 0
cdef Block _keeps_the_mapping = None
cdef volatile block_header_t* _block = NULL
cdef const char* _names = NULL
cdef size_t _names_size = 0
cdef char[FACTS_BYTES] _facts
cdef size_t _facts_size = 0
cdef stack_t _stack
cdef sigaction_t[SIGNALS] _pythons      # faulthandler's handlers
cdef bint _enabled = False
cdef bint _shows_words = False

# What the process is at
cdef bytes _keeps_the_batch = None
cdef const char* _batch = NULL
cdef size_t _batch_size = 0

# The report under way
cdef volatile int _owner = 0            # the thread that writes it
cdef volatile int _stage = 0
cdef int _signal = 0
cdef int _code = 0
cdef int _sender = 0
cdef uint64_t _address = 0
cdef char[LINE_BYTES] _line
cdef size_t _line_size = 0


# -- writing: a line at a time, from a buffer that is there -----------------------------------------------------------


cdef void _put(const char* text, size_t size) noexcept nogil:
    global _line_size
    if size > LINE_BYTES - 1 - _line_size:
        size = LINE_BYTES - 1 - _line_size
    memcpy(_line + _line_size, text, size)
    _line_size += size


cdef void _text(const char* text) noexcept nogil:
    _put(text, strlen(text))


cdef void _number(int64_t value) noexcept nogil:
    cdef char[24] digits
    cdef int at = 24
    cdef uint64_t rest = <uint64_t>value if value >= 0 else -<uint64_t>value
    while True:
        at -= 1
        digits[at] = <char>(c"0" + rest % 10)
        rest //= 10
        if rest == 0:
            break
    if value < 0:
        at -= 1
        digits[at] = c"-"
    _put(digits + at, 24 - at)


cdef void _hexadecimal(uint64_t value) noexcept nogil:
    cdef char[18] digits
    cdef int at = 18
    while True:
        at -= 1
        digits[at] = b"0123456789abcdef"[value & 15]
        value >>= 4
        if value == 0:
            break
    _text(b"0x")
    _put(digits + at, 18 - at)


cdef void _escaped(const char* text, size_t size) noexcept nogil:
    """A client's bytes, in quotes."""
    cdef size_t at
    cdef uint8_t byte
    cdef char[4] escape
    _text(b'"')
    for at in range(size if size < WORD_BYTES_SHOWN else <size_t>WORD_BYTES_SHOWN):
        byte = <uint8_t>text[at]
        if 32 <= byte < 127 and byte != c'"' and byte != c"\\":
            _put(text + at, 1)
        else:
            escape[0], escape[1] = c"\\", c"x"
            escape[2], escape[3] = b"0123456789abcdef"[byte >> 4], b"0123456789abcdef"[byte & 15]
            _put(escape, 4)
    _text(b'"' if size <= WORD_BYTES_SHOWN else b'"...')


cdef void _end_line() noexcept nogil:
    global _line_size
    _line[_line_size] = c"\n"
    _write_all(_line, _line_size + 1)
    _line_size = 0


cdef void _write_all(const char* data, size_t size) noexcept nogil:
    """As much as there is room for: the file does not grow."""
    cdef ssize_t written
    while size:
        written = write(_fd, data, size)
        if written <= 0:
            return
        data += written
        size -= written


cdef void _line_of(const char* text) noexcept nogil:
    _text(text)
    _end_line()


# -- the stages -------------------------------------------------------------------------------------------------------


cdef void _write_head() noexcept nogil:
    _line_of(b"=== CRASH REPORT BEGINS: a report of this bug needs all lines up to its end ===")
    _text(b"Signal: ")
    _number(_signal)
    _text(b" (")
    _text(_name_of_signal())
    _text(b"), code ")
    _number(_code)
    if _code <= 0:
        _text(b", sent by process ")
        _number(_sender)
    else:
        _text(b", fault address ")
        _hexadecimal(_address)
    _end_line()


cdef const char* _name_of_signal() noexcept nogil:
    cdef int at
    for at in range(SIGNALS):
        if _kinds[at].number == _signal:
            return _kinds[at].name
    return b"?"


cdef void _write_facts() noexcept nogil:
    _write_all(_facts, _facts_size)


cdef void _write_doing() noexcept nogil:
    """The board's word: the command and its number, the last that was finished, the age of the heartbeat."""
    cdef int64_t number = _block.executing_number
    cdef const request_t* request
    _text(b"Executing: ")
    if number == 0:
        _text(b"no command")
    else:
        request = _find_request(number)
        if _block.executing_command < 0:
            _text(b"the frontend's message ")
            _number(-_block.executing_command)
        else:
            _text(b"command ")
            _put_command_name(_block.executing_command)
        _text(b", number ")
        _number(number)
        if request != NULL:
            _text(b", client ")
            _number(<int64_t>request.client)
    _end_line()
    _text(b"Last number executed: ")
    _number(_block.last_number)
    _text(b"; last heartbeat ")
    _number(monotonic_ms() - _block.heartbeat_ms)
    _text(b" ms ago; incarnation ")
    _number(_block.incarnation)
    _end_line()
    if number and _shows_words:
        _write_words(_find_request(number))


cdef void _put_command_name(int64_t command) noexcept nogil:
    """The names stand in the shared segment, one per line."""
    cdef const char* at = _names
    cdef const char* end = _names + _names_size
    cdef size_t size = 0
    while command > 0 and at < end:
        if at[0] == c"\n":
            command -= 1
        at += 1
    while at + size < end and at[size] != c"\n":
        size += 1
    _put(at, size)


cdef const request_t* _find_request(int64_t number) noexcept nogil:
    """The envelope with this number in the batch at hand, or NULL."""
    cdef const char* at = _batch
    cdef const char* end = _batch + _batch_size
    cdef const request_t* request
    if _batch == NULL or _batch_size < sizeof(batch_t):
        return NULL
    at += sizeof(batch_t)
    while <size_t>(end - at) >= sizeof(request_t):
        request = <const request_t*>at
        if request.size < sizeof(request_t) or request.size > <size_t>(end - at):
            return NULL
        if request.number == <uint64_t>number:
            return request
        at += request.size
    return NULL


cdef void _write_words(const request_t* request) noexcept nogil:
    cdef const uint32_t* sizes
    cdef const char* word
    cdef const char* end
    cdef uint32_t at
    if request == NULL or request.kind != REQUEST:
        return
    if request.argc > (request.size - sizeof(request_t)) // sizeof(uint32_t):
        return
    sizes = <const uint32_t*>(request + 1)
    word = <const char*>(sizes + request.argc)
    end = <const char*>request + request.size
    for at in range(request.argc):
        if at == WORDS_SHOWN:
            _line_of(b"Further arguments are not shown")
            break
        if request.flags & FLAG_REFERS and sizes[at] & <uint32_t>REFERRED:
            # in shared pages: what is there by now may be another request's
            _text(b"Argument ")
            _number(at + 1)
            _text(b" (")
            _number(sizes[at] ^ <uint32_t>REFERRED)
            _text(b" bytes): in shared pages, not shown")
            _end_line()
            word += sizeof(uint64_t)
            continue
        if word > end or sizes[at] > <size_t>(end - word):
            break
        _text(b"Argument ")
        _number(at + 1)
        _text(b" (")
        _number(sizes[at])
        _text(b" bytes): ")
        _escaped(word, sizes[at])
        _end_line()
        word += sizes[at]


cdef void _write_native_stack() noexcept nogil:
    cdef void* frames[FRAMES]
    cdef int count
    _line_of(b"Native stack (most recent call first; the first frames are this report's own):")
    count = backtrace(frames, FRAMES)
    backtrace_symbols_fd(frames, count, _fd)


cdef void _write_python_stacks() noexcept nogil:
    """faulthandler writes, and raises the signal again: that is the next stage."""
    cdef handler_t follow
    cdef int at
    for at in range(SIGNALS):
        if _kinds[at].number == _signal:
            _line_of(b"Python stacks of all threads:")
            follow = <handler_t><void*>_pythons[at].sa_handler
            follow(_signal)


cdef enum:
    ANONYMOUS = 0
    HEAP
    STACK
    SHARED_MEMORY
    FILES
    OTHERS
    CLASSES

ctypedef const char* text_t

cdef text_t[CLASSES] _class_names = [b"anonymous", b"heap", b"stacks", b"shared memory", b"files", b"other"]


cdef void _write_memory_map() noexcept nogil:
    """/proc/self/maps by what is mapped: number of mappings, bytes, and how many of these can be written to."""
    cdef char[4096] chunk
    cdef int64_t[CLASSES] mappings
    cdef int64_t[CLASSES] sizes
    cdef int64_t[CLASSES] writable
    cdef char[256] entry
    cdef size_t entry_size = 0
    cdef ssize_t got, at
    cdef int fd = open_file(b"/proc/self/maps", O_RDONLY)
    cdef int which
    if fd < 0:
        return
    memset(mappings, 0, sizeof(mappings))
    memset(sizes, 0, sizeof(sizes))
    memset(writable, 0, sizeof(writable))
    while True:
        got = read(fd, chunk, sizeof(chunk))
        if got <= 0:
            break
        for at in range(got):
            if chunk[at] == c"\n":
                _count_mapping(entry, entry_size, mappings, sizes, writable)
                entry_size = 0
            elif entry_size < sizeof(entry):
                entry[entry_size] = chunk[at]
                entry_size += 1
    close(fd)
    _line_of(b"Memory map (mappings, KiB, of these writable):")
    for which in range(CLASSES):
        _text(b"  ")
        _text(_class_names[which])
        _text(b": ")
        _number(mappings[which])
        _text(b", ")
        _number(sizes[which] >> 10)
        _text(b", ")
        _number(writable[which] >> 10)
        _end_line()
    _copy_lines(b"/proc/self/statm", b"Pages (total, resident, shared, code, -, data, -): ")


cdef void _count_mapping(
    const char* entry, size_t size, int64_t* mappings, int64_t* sizes, int64_t* writable
) noexcept nogil:
    """An entry: begin-end permissions offset device inode, and a name from column 73 on or none."""
    cdef size_t at = 0
    cdef uint64_t begin = _read_hexadecimal(entry, size, &at)
    cdef uint64_t end
    cdef int which = ANONYMOUS
    cdef size_t fields = 0
    at += 1
    end = _read_hexadecimal(entry, size, &at)
    cdef bint can_write = at + 2 < size and entry[at + 2] == c"w"
    while at < size and fields < 5:     # permissions, offset, device, inode, and where the name begins
        if entry[at] == c" ":
            fields += 1
            while at < size and entry[at] == c" ":
                at += 1
        else:
            at += 1
    if at < size:
        which = _class_of(entry + at, size - at)
    mappings[which] += 1
    sizes[which] += <int64_t>(end - begin)
    if can_write:
        writable[which] += <int64_t>(end - begin)


cdef uint64_t _read_hexadecimal(const char* text, size_t size, size_t* at) noexcept nogil:
    cdef uint64_t value = 0
    cdef char digit
    while at[0] < size:
        digit = text[at[0]]
        if c"0" <= digit <= c"9":
            value = value << 4 | <uint64_t>(digit - c"0")
        elif c"a" <= digit <= c"f":
            value = value << 4 | <uint64_t>(digit - c"a" + 10)
        else:
            break
        at[0] += 1
    return value


cdef int _class_of(const char* name, size_t size) noexcept nogil:
    if _begins(name, size, b"[heap"):
        return HEAP
    if _begins(name, size, b"[stack"):
        return STACK
    if _begins(name, size, b"[anon"):
        return ANONYMOUS
    if _begins(name, size, b"/memfd:") or _begins(name, size, b"/dev/shm/") or _begins(name, size, b"/dev/zero"):
        return SHARED_MEMORY
    return FILES if name[0] == c"/" else OTHERS


cdef bint _begins(const char* text, size_t size, const char* begin) noexcept nogil:
    cdef size_t length = strlen(begin)
    return size >= length and memcmp(text, begin, length) == 0


cdef void _copy_lines(const char* path, const char* title) noexcept nogil:
    cdef char[STATM_BYTES] content
    cdef ssize_t got
    cdef int fd = open_file(path, O_RDONLY)
    if fd < 0:
        return
    got = read(fd, content, sizeof(content))
    close(fd)
    if got > 1:
        _text(title)
        _put(content, got - 1)      # without its end of line
        _end_line()


cdef void _write_end() noexcept nogil:
    _line_of(b"=== CRASH REPORT ENDS ===")


ctypedef void (*stage_t)() noexcept nogil

cdef enum:
    STAGES = 7
    PYTHON_STAGE = 6            # the stage under way counts from 1

# One by one: of a list of functions Cython makes Python objects that nobody uses
cdef stage_t[STAGES] _stages
_stages[0] = _write_head
_stages[1] = _write_facts
_stages[2] = _write_doing
_stages[3] = _write_memory_map
_stages[4] = _write_native_stack
_stages[5] = _write_python_stacks
_stages[6] = _write_end


# -- the handlers -----------------------------------------------------------------------------------------------------


cdef void _crashed(int number, siginfo_t* information, void* context) noexcept nogil:
    """Of the first fault: begin. Of one within a stage, or when faulthandler raises it again: go on with the next."""
    global _signal, _code, _address, _sender, _stage, _line_size
    if getpid() != _pid:                # a forked child: the report is not its own
        _die(number)
    if not crash_claim(&_owner, crash_thread()):
        while True:                     # another thread writes it already, and ends both
            pause()
    if _stage == 0:
        _signal, _code = number, information.si_code
        _address = <uint64_t>information.si_addr
        _sender = information.si_pid
        _set_alarm()
    elif _stage != PYTHON_STAGE or information.si_code > 0:   # faulthandler's own raise is the expected one
        _line_size = 0
        _line_of(b"(writing this part failed)")
    while _stage < STAGES:
        _stage += 1
        _stages[_stage - 1]()
    _die(_signal)


cdef void _set_alarm() noexcept nogil:
    cdef sigaction_t action
    memset(&action, 0, sizeof(action))
    action.sa_handler = _out_of_time
    action.sa_flags = SA_ONSTACK | SA_NODEFER
    sigaction(SIGALRM, &action, NULL)
    _unblock(SIGALRM)
    alarm(SECONDS)


cdef void _out_of_time(int number) noexcept nogil:
    global _line_size
    _line_size = 0
    _line_of(b"(writing this part took too long; the report ends here)")
    _die(_signal)


cdef void _die(int number) noexcept nogil:
    """Of the signal, as if nobody had caught it."""
    cdef sigaction_t action
    memset(&action, 0, sizeof(action))
    action.sa_handler = SIG_DFL
    sigaction(number, &action, NULL)
    _unblock(number)
    raise_signal(number)
    _exit(128 + number)


cdef void _unblock(int number) noexcept nogil:
    cdef sigset_t signals
    sigemptyset(&signals)
    sigaddset(&signals, number)
    sigprocmask(SIG_UNBLOCK, &signals, NULL)


# -- for Python -------------------------------------------------------------------------------------------------------


def prepare(int fd, Block block not None, bytes facts not None) -> None:
    """Have everything ready that a report needs; `follow` switches it on.

    :param fd: a file of fixed size for it
    :param block: this process's block of the board
    :param facts: lines that are known beforehand: versions and the like
    """
    global _fd, _pid, _block, _names, _names_size, _facts_size, _keeps_the_mapping
    cdef void* frame[1]
    cdef const unsigned char[::1] names = block.segment.area("names")
    _keeps_the_mapping = block
    _fd, _pid, _block = fd, getpid(), block.header
    _names, _names_size = <const char*>&names[0], <size_t>names.shape[0]
    _facts_size = min(len(facts), FACTS_BYTES)
    memcpy(_facts, <const char*>facts, _facts_size)
    backtrace(frame, 1)                 # loads what it needs, now that there is time for it
    if _stack.ss_sp == NULL:
        _stack.ss_sp = malloc(STACK_BYTES)
        if _stack.ss_sp == NULL:
            raise MemoryError
    _stack.ss_size, _stack.ss_flags = STACK_BYTES, 0


def follow(*, bint enabled, bint shows_words) -> None:
    """Whether a crash leaves a report, and whether it shows the arguments of the command: they may be secrets."""
    global _shows_words
    _shows_words = shows_words
    if _fd >= 0 and enabled != _enabled:
        _catch() if enabled else _let_go()


cdef _catch():
    """Our handlers, faulthandler's over them, and ours again."""
    global _enabled
    cdef int at
    cdef sigaction_t action
    faulthandler.disable()              # PYTHONFAULTHANDLER may have switched it on
    memset(&action, 0, sizeof(action))
    action.sa_sigaction = _crashed
    # A fault within the report must come here, not end it
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER
    for at in range(SIGNALS):
        sigaction(_kinds[at].number, &action, NULL)
    faulthandler.enable(_fd)
    for at in range(SIGNALS):
        sigaction(_kinds[at].number, &action, &_pythons[at])
    sigaltstack(&_stack, NULL)          # of the main thread; faulthandler has given it a smaller one
    _enabled = True


cdef _let_go():
    """A crash is only a death again."""
    global _enabled
    cdef int at
    cdef sigaction_t action
    faulthandler.disable()
    memset(&action, 0, sizeof(action))
    action.sa_handler = SIG_DFL
    for at in range(SIGNALS):
        sigaction(_kinds[at].number, &action, NULL)
    _enabled = False


cpdef int watch(bytes batch) except -1:
    """The batch at hand, where the report finds the client; None: there is none."""
    global _batch, _batch_size, _keeps_the_batch
    _batch = <const char*>batch if batch is not None else NULL
    _batch_size = len(batch) if batch is not None else 0
    _keeps_the_batch = batch            # and lets go of the one before, now that nothing points there
    return 0


def report_exception(bytes text not None) -> bool:
    """The same report for an exception that nobody caught: `text` is its traceback. False if there are no reports."""
    if not _enabled or getpid() != _pid:
        return False
    _line_of(b"=== CRASH REPORT BEGINS: a report of this bug needs all lines up to its end ===")
    _line_of(b"An exception that nobody caught:")
    _write_all(text, len(text))
    _write_facts()
    _write_doing()
    _write_memory_map()
    _write_end()
    return True


def segfault() -> None:
    """Write where nothing may be written (DEBUG SEGFAULT)."""
    cdef volatile char* page = <volatile char*>mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    page[0] = c"x"
