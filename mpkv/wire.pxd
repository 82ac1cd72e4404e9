# What travels between the frontend and a worker: batches of envelopes. See wire.pyx.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mpkv.buffer cimport Buffer
from mpkv.resp.parser cimport arg_t
from mpkv.shm.blobs cimport area_t

cdef enum:
    BATCH_MAGIC = 0x6D706B76       # "mpkv"

# How much of a request an entry of the slow log may show, as in Redis
cpdef enum:
    SHOWN_WORDS = 32
    SHOWN_BYTES = 128              # of each word

cdef struct batch_t:
    uint32_t magic
    uint32_t epoch             # the incarnation of the link that this batch belongs to
    uint64_t counter           # consecutive per link and direction, from 1: a gap is a fault
    int64_t now_ms             # the frontend's clock; never goes back. In replies: 0
    uint64_t last_number       # in replies: the last number executed
    uint32_t count             # envelopes that follow
    uint32_t sent_us           # when it was sealed: the low bits of the monotonic clock, which is the machine's

# What a request envelope is
cdef enum:
    REQUEST = 0                # run a command
    EXEC = 1                   # run the requests inside it as one, without anything between them
    CONTROL = 2                # a message of the frontend's own: `command` is one of the CONTROL_… numbers

cdef enum:
    CONTROL_HELLO = 1          # first on a link: answers with the last number executed
    CONTROL_UNBLOCK = 2        # a waiter leaves: args client, reason
    CONTROL_WATCH = 3          # mark keys as watched by the client
    CONTROL_UNWATCH = 4        # forget the client's watched keys
    CONTROL_SNAPSHOT = 5       # write this shard as it stands now
    CONTROL_JOIN = 6           # join the parts of a snapshot into one file
    CONTROL_CONFIG = 7         # settings have changed
    CONTROL_STOP = 8           # finish and leave
    CONTROL_DEBUG = 9          # what DEBUG asks of a shard
    CONTROL_RELOAD = 10        # load the snapshot anew
    CONTROL_SAVED = 11         # the snapshot with so many changes in it is on disk
    CONTROL_MERGE = 12         # make one reply of those of several shards

cdef enum:
    FLAG_RESP3 = 1
    FLAG_NO_BLOCK = 2          # inside a transaction nothing waits
    FLAG_PART = 4              # a part of a scattered command: an error counts where the parts are merged, and once
    FLAG_WATCHED = 8           # (EXEC) run only if no key that the client watches has changed
    FLAG_RESENT = 16           # was sent to an earlier incarnation
    FLAG_FIRST = 32            # the only part, or the first of several: the one that counts as a call
    FLAG_REFERS = 64           # some of its words lie in shared pages: see REFERRED

cdef struct request_t:
    uint32_t size              # of the whole envelope: a multiple of 8
    uint16_t command           # number in the table
    uint16_t slot              # of the first key
    uint64_t number            # the sequence number
    uint64_t client
    uint32_t argc              # words after the command's name
    uint16_t database
    uint16_t parts             # of the command, over all shards
    uint8_t kind
    uint8_t flags
    uint16_t counted_as        # number of the command that statistics show: a part may run as another
    uint32_t queued_us         # when the frontend took it up: µs of the monotonic clock, modulo 2^32; 0 = not noted
    # then argc × uint32_t sizes, then the words' bytes, then padding

cdef enum:
    # of a word's size, with FLAG_REFERS: instead of the bytes there is their offset in the pages (uint64_t)
    REFERRED = 0x80000000

# What a reply envelope is
cdef enum:
    REPLY = 0                  # the answer to the oldest unanswered request of the link
    # … which waits: the payload is its timeout in ms, number and shard (int64 each); a LATE follows
    BLOCKED = 1
    LATE = 2                   # the answer to a request that was BLOCKED
    ABORTED = 3                # (EXEC) a watched key had changed: nothing was run
    EVENT = 4                  # not an answer: news of the worker's own, as JSON

cdef struct reply_t:
    uint64_t number
    uint64_t size              # of the payload that follows, padded to 8
    uint16_t kind
    uint16_t refers            # 1: the payload is a reference_t to the bytes in shared pages
    uint32_t note_size         # of the note behind the padded payload; 0: there is none

cdef struct reference_t:
    uint64_t offset
    uint64_t size

# The note on a command that took long enough for the slow log or the latency monitor
cdef struct note_t:
    int64_t execute_ns
    int64_t ended_ns           # monotonic clock
    uint32_t queue_us          # from being taken up by the frontend until it was begun
    uint16_t shard
    uint16_t database

cdef inline size_t padded(size_t size) noexcept nogil:
    return (size + 7) & ~<size_t>7

# The note of a reply that has one; `behind`: where `next_reply` has stepped to.
cdef inline const note_t* note_of(const reply_t* head, const char* behind) noexcept nogil:
    return <const note_t*>(behind - head.note_size)

cdef int begin_batch(Buffer* batch) noexcept nogil
cdef int pack_request(Buffer* batch, const request_t* head, const arg_t* words) noexcept nogil
cdef int pack_referring(
    Buffer* batch, const request_t* head, const arg_t* words, const area_t* pages, size_t least
) noexcept nogil
cdef int pack_nested(
    Buffer* batch, const request_t* head, const char* requests, size_t size, size_t count
) noexcept nogil
cdef size_t begin_reply(Buffer* batch) noexcept nogil
cdef int end_reply(Buffer* batch, size_t at, uint64_t number, uint32_t kind) noexcept nogil
cdef int refer_reply(Buffer* batch, size_t at, uint64_t offset, uint64_t size) noexcept nogil
cdef int add_note(Buffer* batch, size_t at, const note_t* note) noexcept nogil
cdef int open_batch(const char* data, size_t size, batch_t* head) noexcept nogil
cdef bytes clip_words(const arg_t* words, size_t argc)
cdef bytes clip_request(const char* envelope, const area_t* pages)
cdef list words_of(bytes envelope)
cdef int next_request(
    const char** at, const char* end, request_t* head, arg_t** words, size_t* room, const area_t* pages
) noexcept nogil
cdef int next_reply(
    const char** at, const char* end, reply_t* head, const char** payload, const area_t* pages
) noexcept nogil
