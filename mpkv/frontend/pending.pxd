# Replies on their way: who gets them, and how the parts of one command become one reply. See pending.pyx.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mpkv.buffer cimport Buffer
from mpkv.frontend.intents cimport IntentRing
from mpkv.shm.board cimport Block
from mpkv.wire cimport SHOWN_WORDS, note_t


cdef class Receiver:
    # A reply, or a part of one, for place `index` of this receiver. `kind` is a reply_t kind.
    cdef int deliver(self, uint64_t index, uint32_t kind, const char* data, size_t size) except -1
    # The reply for place `index` will never come: its worker died and may or may not have executed the request.
    cdef int lose(self, uint64_t index) except -1
    # What is about to be delivered for place `index` took long. `arguments`: the request's words behind its name, as
    # a sequence or as `clip_words` packed them; None = not known here, and no matter.
    cdef int note(self, uint64_t index, const note_t* note, int command, arguments) except -1
    # Whether nobody waits for the replies any more.
    cdef bint is_gone(self) noexcept
    # Let what has gathered go to the client.
    cdef int write_out(self) except -1


cdef enum:
    MERGE_PYTHON = 0
    MERGE_OK = 1            # every part answers +OK
    MERGE_SUM = 2           # every part answers an integer
    MERGE_PLACES = 3        # every part answers an array whose elements have known places (MGET)


cdef class Parts(Receiver):
    cdef Receiver target
    cdef uint64_t index
    cdef int protocol
    cdef int left
    cdef bint lost
    cdef note_t slowest         # of the parts that have a note; zero: none has
    cdef int command            # number of the whole command
    cdef object arguments       # its words, for a note; None: see `note`
    cdef IntentRing intents     # where the write stands, as `intent`; None: it stands nowhere
    cdef uint64_t intent
    cdef int part_came(self) except -1
    cdef int pass_note(self) except -1  # what is to be said of the whole, before its reply
    cdef int finish(self) except -1     # all have come, and none is lost


cdef class Gather(Parts):
    cdef int mode
    cdef Block block            # where an error of the whole command is counted
    cdef int64_t total
    cdef list replies           # of the parts, as bytes; None while it has not come
    cdef bytes error            # the first part's error
    cdef object places          # MERGE_PLACES: for each part the places of its elements
    cdef object request         # MERGE_PYTHON: words of the whole request
    cdef object words           # MERGE_PYTHON: words of each part
    cdef object merge
    cdef size_t step            # words of a key
    cdef uint8_t[SHOWN_WORDS] dealt     # the shards of its first keys: puts the words of its parts into their order
    cdef object merge_elsewhere     # MERGE_PYTHON: has another process merge: gather -> whether it does; None: none can
    cdef list _words_written(self)
    cdef int _finish_here(self) except -1
    cdef int _put_aside(self) except -1
    cdef int _deliver_whole(self, const char* data, size_t size) except -1


cdef Gather gather_parts(
    Receiver target, uint64_t index, int parts, int protocol, int mode, Block block, int command
)


cdef class Merged(Receiver):
    cdef Gather gather


cdef class Exec(Parts):
    cdef bint aborted
    cdef readonly list members      # for each queued command: reply bytes; None for what runs in the frontend
    # (receiver, index) by place within the message, for each shard's part; None when all have come
    cdef list receivers
    # makes the whole reply where some commands run in the frontend: complete(members) -> bytes
    cdef public object complete
    cdef public object queue        # [(Command, words)] of the queued commands, for notes
    cdef int _note_member(self, const note_t* note, size_t place, list receivers) except -1
    cdef public object delivered    # called when that reply has been delivered


cdef class Answer(Receiver):
    cdef object callback
