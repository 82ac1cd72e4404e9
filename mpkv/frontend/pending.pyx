"""Step 12: replies on their way – who gets them, and how the parts of one command become one reply.

Replies of one worker come in the order of its requests, so a link needs no look-up: the oldest expected reply is the
one that arrives. Its receiver is a connection (which puts replies into request order), or something in between:

- `Gather` collects the parts of a scattered command (class S) and merges them when the last has come;
- `Exec` does the same for a transaction, whose parts carry a reply for each of their commands;
- `Answer` hands an answer to the frontend itself.

What counts, adds and splices is done here; any other merge is the command's own (`Across.merge`), on decoded replies. A
large one is done by a worker, so that no other client waits for it; should that worker die, it is done here after all.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from libc.string cimport memcpy, memset

from mpkv.buffer cimport Buffer, buffer_append, buffer_free
from mpkv.resp.decoder cimport skip_reply
from mpkv.resp.encoder cimport emit_array, emit_integer, encode
from mpkv.wire cimport ABORTED, REPLY, SHOWN_WORDS, next_reply, note_of, note_t, reply_t, words_of

from mpkv.errors import CommandError
from mpkv.resp.decoder import decode
from mpkv.resp.replies import NULL_ARRAY, Raw

cdef enum:
    MERGED_HERE = 64 * 1024         # bytes of replies up to which a merge is done in the event loop
    SPARE_GATHERS = 512


class LinkFault(Exception):
    """A batch came out of order or malformed: a fault of ours, after which the link is not to be trusted."""


cdef class Receiver:
    """Something that replies are delivered to."""

    cdef int deliver(self, uint64_t index, uint32_t kind, const char* data, size_t size) except -1:
        raise NotImplementedError

    cdef int lose(self, uint64_t index) except -1:
        raise NotImplementedError

    cdef int note(self, uint64_t index, const note_t* note, int command, arguments) except -1:
        return 0

    cdef bint is_gone(self) noexcept:
        return False

    cdef int write_out(self) except -1:
        raise NotImplementedError


cdef class Answer(Receiver):
    """An answer for the frontend itself: ``callback(kind, payload)``; kind None if it is lost."""

    def __init__(self, callback):
        self.callback = callback

    cdef int deliver(self, uint64_t index, uint32_t kind, const char* data, size_t size) except -1:
        self.callback(kind, PyBytes_FromStringAndSize(data, size))
        return 0

    cdef int lose(self, uint64_t index) except -1:
        self.callback(None, b"")
        return 0


cdef class Parts(Receiver):
    """What waits for the parts of one command, and closes its intent when the last has come."""

    cdef int lose(self, uint64_t index) except -1:
        self.lost = True
        return self.part_came()

    cdef int note(self, uint64_t index, const note_t* note, int command, arguments) except -1:
        """A part was slow: the whole is as slow as its slowest part."""
        if note.execute_ns >= self.slowest.execute_ns:
            self.slowest = note[0]
        return 0

    cdef int pass_note(self) except -1:
        if self.slowest.ended_ns:
            self.target.note(self.index, &self.slowest, self.command, self.arguments or ())
        return 0

    cdef int part_came(self) except -1:
        self.left -= 1
        if self.left:
            return 0
        if self.intents is not None:
            self.intents.finish(self.intent)
        if self.lost:
            return self.target.lose(self.index)
        return self.finish()

    cdef int finish(self) except -1:
        raise NotImplementedError


# Gathers to be used again: one comes and goes with every command over several shards
cdef list _spare = []


cdef Gather gather_parts(
    Receiver target, uint64_t index, int parts, int protocol, int mode, Block block, int command
):
    cdef Gather gather
    if _spare:
        gather = <Gather>_spare.pop()
    else:
        gather = Gather.__new__(Gather)
    gather.target = target
    gather.index = index
    gather.left = parts
    gather.protocol = protocol
    gather.mode = mode
    gather.block = block
    gather.command = command
    if mode == MERGE_PYTHON or mode == MERGE_PLACES:
        gather.replies = [None] * parts
    return gather


cdef class Gather(Parts):
    """The parts of one scattered command. Made by `gather_parts`."""

    cdef int note(self, uint64_t index, const note_t* note, int command, arguments) except -1:
        # Hardly any command is slow: to put the words of each aside would cost as much as to send it. A write's stand
        # with the intents until its last part has come
        if self.arguments is None and self.intents is not None:
            self.arguments = self._words_written()
        return Parts.note(self, index, note, command, arguments)

    cdef list _words_written(self):
        """The words behind the name; only the first keys, which is all that is shown, stand in the request's order."""
        cdef size_t key
        cdef dict parts = {shard: words_of(envelope) for shard, envelope in self.intents.parts_of(self.intent)}
        cdef size_t keys = sum(map(len, parts.values())) // self.step
        words = []
        for key in range(min(keys, <size_t>SHOWN_WORDS)):
            part = <list>parts[self.dealt[key]]
            words += part[: self.step]
            del part[: self.step]
        for part in parts.values():
            words += part
        return words

    cdef int deliver(self, uint64_t index, uint32_t kind, const char* data, size_t size) except -1:
        cdef size_t i
        cdef int64_t number = 0
        if size and data[0] == c"-":
            if self.error is None:
                self.error = PyBytes_FromStringAndSize(data, size)
        elif self.mode == MERGE_SUM:
            for i in range(1, size):                # an integer reply of ours: never negative
                if data[i] < c"0" or data[i] > c"9":
                    break
                number = number * 10 + data[i] - c"0"
            self.total += number
        elif self.mode != MERGE_OK:
            self.replies[index] = PyBytes_FromStringAndSize(data, size)
        return self.part_came()

    cdef int finish(self) except -1:
        if self.error is not None:
            return self._deliver_whole(PyBytes_AS_STRING(self.error), PyBytes_GET_SIZE(self.error))
        if self.merge_elsewhere is not None and sum(map(len, self.replies)) > MERGED_HERE and (
            self.merge_elsewhere(self)
        ):
            return 0
        self._finish_here()
        if self.mode == MERGE_OK or self.mode == MERGE_SUM:
            self._put_aside()
        return 0

    cdef int _put_aside(self) except -1:
        """All parts have come, so no link will return to it: keep it for another command."""
        self.target = self.intents = self.arguments = None
        self.total = 0
        memset(&self.slowest, 0, sizeof(self.slowest))
        if PyList_GET_SIZE(_spare) < SPARE_GATHERS:
            _spare.append(self)
        return 0

    cdef int _finish_here(self) except -1:
        cdef Buffer out
        memset(&out, 0, sizeof(out))
        try:
            if self.mode == MERGE_OK:
                return self._deliver_whole(b"+OK\r\n", 5)
            if self.mode == MERGE_SUM:
                if emit_integer(&out, self.total) < 0:
                    raise MemoryError
            elif self.mode == MERGE_PLACES:
                _splice(&out, self.replies, self.places)
            else:
                encode(&out, self._merged(), self.protocol)
            return self._deliver_whole(out.data, out.size)
        finally:
            buffer_free(&out)

    cdef int _deliver_whole(self, const char* data, size_t size) except -1:
        """The command as a whole has succeeded or failed: the shards did not count the errors of its parts."""
        if size and data[0] == c"-":
            self.block.record_error(data, size)
            self.block.record_failure(self.command)
        self.pass_note()
        return self.target.deliver(self.index, REPLY, data, size)

    def parts(self) -> list:
        """What is to be merged: [(words, reply)]."""
        return list(zip(self.words, self.replies, strict=True))

    def _merged(self):
        parts = [(words, decode(reply)[0]) for words, reply in self.parts()]
        try:
            return self.merge(self.request, parts)
        except CommandError as error:
            return error


cdef class Merged(Receiver):
    """Takes the reply that a worker has made of all parts' replies."""

    def __init__(self, Gather gather):
        self.gather = gather

    cdef int deliver(self, uint64_t index, uint32_t kind, const char* data, size_t size) except -1:
        return self.gather._deliver_whole(data, size)

    cdef int lose(self, uint64_t index) except -1:
        """It died over it, or before: nothing is lost but time."""
        return self.gather._finish_here()

    cdef bint is_gone(self) noexcept:
        return self.gather.target.is_gone()


cdef int _splice(Buffer* out, list replies, object places) except -1:
    """One array of the elements of several, each at its place."""
    cdef const char* data
    cdef size_t size, begin, end
    elements = [None] * sum(map(len, places))
    for reply, part in zip(replies, places, strict=True):
        data = PyBytes_AS_STRING(reply)
        size = PyBytes_GET_SIZE(reply)
        begin = 0
        while begin < size and data[begin] != c"\n":        # past the array's header
            begin += 1
        begin += 1
        for place in part:
            if skip_reply(data + begin, size - begin, &end) != 1:
                raise AssertionError("a part answered fewer elements than it was asked for")
            elements[place] = (reply, begin, end)
            begin += end
    if emit_array(out, len(elements)) < 0:
        raise MemoryError
    for reply, begin, end in elements:
        if buffer_append(out, PyBytes_AS_STRING(reply) + begin, end) < 0:
            raise MemoryError
    return 0


cdef class _Member(Receiver):
    """Puts the merged reply of one scattered command into its place in a transaction."""

    cdef Exec exec

    def __init__(self, Exec exec):
        self.exec = exec

    cdef int deliver(self, uint64_t index, uint32_t kind, const char* data, size_t size) except -1:
        self.exec.members[index] = PyBytes_FromStringAndSize(data, size)
        return 0

    cdef int note(self, uint64_t index, const note_t* note, int command, arguments) except -1:
        return self.exec.target.note(self.exec.index, note, command, arguments)

    cdef int lose(self, uint64_t index) except -1:
        return 0


cdef class Exec(Parts):
    """The parts of a transaction, one a shard; every part answers with a reply envelope for each of its commands.

    :param command: the number of EXEC
    """

    def __init__(self, Receiver target, index, int protocol, int commands, int command=0):
        self.command = command
        self.arguments = ()
        self.target = target
        self.index = index
        self.protocol = protocol
        self.members = [None] * commands
        self.receivers = []

    def member(self) -> Receiver:
        """What a scattered command inside the transaction delivers to; its index is the command's place."""
        return _Member(self)

    def add_part(self, list receivers) -> int:
        """`receivers[i]` = (receiver, index) of the i-th request in a shard's part; the part's number."""
        self.receivers.append(receivers)
        self.left += 1
        return len(self.receivers) - 1

    def finish_empty(self):
        """A transaction without parts on shards answers at once."""
        self.finish()

    cdef int deliver(self, uint64_t index, uint32_t kind, const char* data, size_t size) except -1:
        cdef const char* at = data
        cdef const char* payload
        cdef reply_t head
        cdef Receiver receiver
        cdef size_t place = 0
        if kind == ABORTED:
            self.aborted = True
        else:
            receivers = <list>self.receivers[index]
            while place < <size_t>len(receivers) and next_reply(&at, data + size, &head, &payload, NULL) == 1:
                target = receivers[place]
                if head.note_size:
                    self._note_member(note_of(&head, at), place, receivers)
                if target[0] is None:
                    self.members[target[1]] = PyBytes_FromStringAndSize(payload, head.size)
                else:
                    receiver = <Receiver>target[0]
                    receiver.deliver(target[1], REPLY, payload, head.size)
                place += 1
            if place != <size_t>len(receivers) or at != data + size:
                raise LinkFault(f"a transaction's part answered {place} of {len(receivers)} commands, or more")
        return self.part_came()

    cdef int part_came(self) except -1:
        Parts.part_came(self)
        if self.left == 0:
            self.receivers = None   # they lead back here, and to all that was sent and answered
        return 0

    cdef int _note_member(self, const note_t* packed, size_t place, list receivers) except -1:
        """One of the commands was slow: a whole one, or a part of one over several shards."""
        cdef note_t note
        cdef Receiver receiver
        memcpy(&note, packed, sizeof(note))
        gather, index = receivers[place]
        if gather is not None:
            receiver = <Receiver>gather
            return receiver.note(index, &note, 0, None)
        spec, words = self.queue[index]
        return self.target.note(self.index, &note, spec.number, words[spec.words:])

    cdef int finish(self) except -1:
        cdef Buffer out
        self.pass_note()
        memset(&out, 0, sizeof(out))
        try:
            if self.aborted:
                encode(&out, NULL_ARRAY, self.protocol)
            elif self.complete is not None:
                encode(&out, Raw(self.complete(self.members)), self.protocol)
            else:
                if emit_array(&out, len(self.members)) < 0:
                    raise MemoryError
                for member in self.members:
                    if buffer_append(&out, PyBytes_AS_STRING(member), PyBytes_GET_SIZE(member)) < 0:
                        raise MemoryError
            self.target.deliver(self.index, REPLY, out.data, out.size)
            if self.delivered is not None:
                self.delivered()
        finally:
            buffer_free(&out)
        return 0
