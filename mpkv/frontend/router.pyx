"""Step 5: the sequencer – command, keys, slot, shard; a number for every command, and its parts into the links back to
back (R1).

The short way (`route`) takes commands whose keys stand at fixed places and, when they lie on several shards, whose
merge is compiled. Everything else goes through `send`, in Python, by the same declarations.

This class also owns the turn of the event loop: what is packed during a turn is flushed once at its end, connections
that have output are written once, and connections that used up their slice, or wait for room, are gone on with.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memset
from posix.unistd cimport read

from mpkv.frontend.intents cimport IntentRing, piece_t
from mpkv.frontend.pending cimport (
    MERGE_OK, MERGE_PLACES, MERGE_PYTHON, MERGE_SUM, Gather, Merged, Parts, gather_parts,
)
from mpkv.shm.board cimport EVENTLOOP_CYCLES, EVENTLOOP_NANOSECONDS, SCATTERED_COMMANDS, monotonic_ns
from mpkv.sharding cimport SLOTS, key_slot, slot_shard
from mpkv.wire cimport (
    CONTROL, CONTROL_MERGE, EXEC, FLAG_FIRST, FLAG_NO_BLOCK, FLAG_PART, FLAG_RESP3, FLAG_WATCHED, REQUEST, SHOWN_WORDS,
    begin_batch, clip_words, pack_request, request_t,
)
from mpkv.buffer cimport Buffer, buffer_append, buffer_free, buffer_reserve

import os
import signal
import time

from functools import partial

from mpkv import errors
from mpkv.commands.across import pack_merge
from mpkv.commands.spec import Flag
from mpkv.sharding import slot_of

cdef enum:
    TABLE_SIZE = 2048               # of the name table: several times the number of commands
    MAX_NAME = 32
    STACK_WORDS = 64                # requests of more words take memory for their dealing out
    MOST_SHARDS = 256               # with a compiled way of dealing out
    LEAST_ENTRY = 64                # bytes, about: of a key with a small value
    FEW = 8                         # requests that are hardly worth waking a worker for
    DRAIN_BATCHES = 64              # replies taken before the loop looks at its clients again


#: Before a crash on purpose: what was given to ZeroMQ has reached its worker.
PARTS_ARRIVE_S = 0.1


class NotNow(Exception):
    """There is no room for this command's parts; its connection goes on when there is."""


MERGES = {"ok": MERGE_OK, "sum": MERGE_SUM, "places": MERGE_PLACES}


cdef class Router:
    """:param table: name -> Command; :param links: one for each shard, in order"""

    def __cinit__(
        self, loop, table, list links, IntentRing intents not None, Block block not None, MemoryWatch memory not None,
        Pool pages=None, size_t large=<size_t>-1,
    ):
        cdef int number
        self.loop = loop
        self.specs = list(table.values())
        self.links = links
        self.shards = len(links)
        self.shards_down = self.shards
        self.intents = intents
        self.memory = memory
        self.pages, self.large = pages, large
        self.block = block
        self.written = []
        self.again = []
        self.stalled = []
        self.flush_callback = self.flush
        self.infos = <info_t*>calloc(len(self.specs), sizeof(info_t))
        self.lookup_table = <uint16_t*>calloc(TABLE_SIZE, sizeof(uint16_t))
        self.names = <const char**>calloc(len(self.specs), sizeof(char*))
        self.link_pointers = <void**>calloc(self.shards, sizeof(void*))
        self.name_pointers = <void**>calloc(len(self.specs), sizeof(void*))
        self.query_buffer_limit = 1 << 30
        self.max_bulk = 512 << 20
        self.client_in_flight_limit = 1 << 20
        if (
            not self.name_pointers or not self.infos or not self.lookup_table or not self.names
            or not self.link_pointers
        ):
            raise MemoryError
        self.name_objects = [spec.name.encode() for spec in self.specs]
        self.spec_names = [spec.name for spec in self.specs]
        for number, name in enumerate(self.spec_names):
            self.name_pointers[number] = <void*>name
        for number, link in enumerate(links):
            self.link_pointers[number] = <void*>link
            (<Link>link).block = block
        for number, spec in enumerate(self.specs):
            self._describe(number, spec)
            if spec.name == "exec":
                self.exec_number = number

    def __dealloc__(self):
        free(self.infos)
        free(self.lookup_table)
        free(<void*>self.names)
        free(self.name_pointers)
        free(self.link_pointers)

    cdef int _describe(self, int number, spec) except -1:
        cdef info_t* info = &self.infos[number]
        cdef bytes name = self.name_objects[number]
        cdef size_t at
        info.number = number
        info.arity = spec.arity
        info.first, info.last, info.step = spec.keys.first, spec.keys.last, spec.keys.step
        info.write = bool(spec.flags & Flag.WRITE)
        info.needs_memory = bool(spec.flags & Flag.DENYOOM)
        info.merge = MERGES.get(spec.across.native, MERGE_PYTHON) if spec.across else MERGE_PYTHON
        unsuited = spec.keys.count_at or spec.flags & (Flag.INTERNAL | Flag.BLOCKING)
        if spec.on_shard and spec.keys.first and not unsuited:
            info.hot = HOT_KEYS
        elif spec.name == "ping":
            info.hot = HOT_PING
        if "|" in spec.name or spec.flags & Flag.INTERNAL:
            return 0
        self.names[number] = PyBytes_AS_STRING(name)
        at = _name_hash(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        while self.lookup_table[at]:
            at = (at + 1) & (TABLE_SIZE - 1)
        self.lookup_table[at] = number + 1
        return 0

    cdef const info_t* lookup(self, const char* name, size_t size) noexcept nogil:
        """Step 3: the command of this name in any case; NULL if there is none."""
        cdef char[MAX_NAME] lower
        cdef size_t i, at
        cdef uint16_t found
        cdef const char* candidate
        if size == 0 or size >= MAX_NAME:
            return NULL
        for i in range(size):
            lower[i] = name[i] | 0x20 if c"A" <= name[i] <= c"Z" else name[i]
        lower[size] = 0
        at = _name_hash(lower, size)
        while True:
            found = self.lookup_table[at]
            if found == 0:
                return NULL
            candidate = self.names[found - 1]
            if memcmp(candidate, lower, size + 1) == 0:
                return &self.infos[found - 1]
            at = (at + 1) & (TABLE_SIZE - 1)

    # -- the short way -------------------------------------------------------------------------------------------------

    cdef int route(
        self, Receiver receiver, uint64_t index, uint64_t client, int database, bint resp3, const info_t* info,
        arg_t* argv, size_t argc, bint large, uint32_t run
    ) except -1:
        """Give the command a number and put its parts into the links; ROUTED, NOT_NOW or GENERAL.

        :param large: some of its words may be large; :param run: the pages that all of it lies in; 0: elsewhere
        """
        cdef request_t head
        cdef Link link
        cdef unsigned slot, shard = 0
        cdef unsigned shards = self.shards
        cdef size_t keys, key
        cdef const arg_t* word
        cdef int last = info.last if info.last >= 0 else <int>argc + info.last
        cdef uint32_t[MOST_SHARDS] count        # keys of each shard
        cdef deal_t[STACK_WORDS] few
        cdef deal_t* deals = few
        if info.first > last or <size_t>last >= argc:
            return GENERAL
        if self.hold and (info.write or self.hold > 1):
            return GENERAL
        if self.memory.is_full and info.needs_memory:
            return GENERAL
        word = argv + info.first
        if last > info.first and shards > 1:
            if shards > MOST_SHARDS:
                return GENERAL
            keys = <size_t>(last - info.first) // info.step + 1
            if keys > STACK_WORDS:
                deals = <deal_t*>malloc(keys * sizeof(deal_t))
                if deals == NULL:
                    raise MemoryError
            try:
                memset(count, 0, shards * sizeof(count[0]))
                for key in range(keys):
                    slot = key_slot(word.data, word.size)
                    shard = slot_shard(slot, shards)
                    deals[key] = deal_t(slot, shard, count[shard])
                    count[shard] += 1
                    word += info.step
                if count[shard] != keys:
                    return self._scatter(
                        receiver, index, client, database, resp3, info, argv, argc, large, run, deals, keys, count
                    )
                slot = deals[0].slot
            finally:
                if deals != few:
                    free(deals)
        else:
            slot = key_slot(word.data, word.size)
            shard = slot_shard(slot, shards)
        link = <Link>self.link_pointers[shard]
        if not link.up:
            return GENERAL
        if link.in_flight_bytes > link.in_flight_limit:
            return NOT_NOW
        self._begin_turn()
        if not self.flush_scheduled:
            self.schedule_flush()
        self.number += 1
        memset(&head, 0, sizeof(head))
        head.kind = REQUEST
        head.command = info.number
        head.slot = slot
        head.number = self.number
        head.client = client
        head.argc = argc - 1
        head.database = database
        head.parts = 1
        head.counted_as = info.number
        head.queued_us = self.turn_stamp
        head.flags = FLAG_FIRST | (FLAG_RESP3 if resp3 else 0)
        if large:
            link.pack_large(receiver, index, &head, argv + 1, run)
        else:
            link.pack(receiver, index, &head, argv + 1)
        if self.memory.limit and info.needs_memory and self.memory.note_write(argv[argc - 1].size + LEAST_ENTRY):
            self._look_at_memory()
        if link.is_full():
            link.flush()
        return ROUTED

    cdef int _scatter(
        self, Receiver receiver, uint64_t index, uint64_t client, int database, bint resp3, const info_t* info,
        const arg_t* argv, size_t argc, bint large, uint32_t run, const deal_t* deals, size_t keys,
        const uint32_t* count
    ) except -1:
        """Several shards, a compiled merge: MSET MGET DEL UNLINK EXISTS TOUCH and their like.

        :param large, run: as for `route`; :param deals: where each key goes; :param count: keys of each shard
        """
        cdef arg_t[STACK_WORDS] few
        cdef arg_t* words = few
        cdef request_t head
        cdef Link link, last_link
        cdef Gather gather
        cdef int shard, last_shard = 0, parts = 0, part = 0, shards = self.shards
        cdef size_t key, total = 0, i, at
        cdef size_t step = info.step
        cdef bint intends = info.write and self.intents.enabled
        cdef bint spills
        cdef Buffer whole                       # parts as they stand with the intents, where links have references only
        cdef size_t[MOST_SHARDS] begin          # where the words of each shard begin among all, ordered by shard
        cdef uint16_t[MOST_SHARDS] a_slot
        cdef piece_t[MOST_SHARDS] pieces
        if info.merge == MERGE_PYTHON or info.first != 1 or argc != 1 + keys * step:
            return GENERAL
        for i in range(argc):
            total += argv[i].size
        at = 0
        for shard in range(shards):
            begin[shard] = at
            at += count[shard] * step
            if count[shard]:
                last_shard = shard
                parts += 1
                link = <Link>self.link_pointers[shard]
                if not link.up:
                    return GENERAL
                if link.in_flight_bytes > link.in_flight_limit:
                    return NOT_NOW
        spills = intends and self.intents.spills(total + 16 * argc, parts)
        if intends and not self.intents.takes(total + 16 * argc, parts):
            return NOT_NOW
        if spills:
            try:
                self.intents.prepare(total + 16 * argc, parts)
            except errors.CommandError:
                return GENERAL                  # there it is the reply
        memset(&whole, 0, sizeof(whole))
        if intends and large:
            if buffer_reserve(&whole, total + argc * sizeof(uint32_t) + parts * (sizeof(request_t) + 8)) < 0:
                raise MemoryError
        if argc > STACK_WORDS:
            words = <arg_t*>malloc(argc * sizeof(arg_t))
            if words == NULL:
                buffer_free(&whole)
                raise MemoryError
        self._begin_turn()
        self.number += 1
        gather = gather_parts(receiver, index, parts, 3 if resp3 else 2, info.merge, self.block, info.number)
        if info.merge == MERGE_PLACES:
            gather.places = _places(deals, keys, shards, count)
        gather.step = step
        if self.notes_wanted and (spills or not intends):
            gather.arguments = clip_words(argv + 1, argc - 1)       # no part holds them all
        self.block.add(SCATTERED_COMMANDS, 1)
        for key in range(keys):
            shard = deals[key].shard
            if key < SHOWN_WORDS:
                gather.dealt[key] = <uint8_t>shard
            at = begin[shard] + deals[key].place * step
            a_slot[shard] = deals[key].slot
            for i in range(step):
                words[at + i] = argv[1 + key * step + i]
        memset(&head, 0, sizeof(head))
        head.kind = REQUEST
        head.command = info.number
        head.number = self.number
        head.client = client
        head.database = database
        head.parts = parts
        head.counted_as = info.number
        head.queued_us = self.turn_stamp
        try:
            for shard in range(shards):
                if not count[shard]:
                    continue
                link = <Link>self.link_pointers[shard]
                last_link = <Link>self.link_pointers[last_shard] if shard != last_shard else None
                head.argc = count[shard] * step
                head.slot = a_slot[shard]
                head.flags = FLAG_PART | (FLAG_FIRST if part == 0 else 0) | (FLAG_RESP3 if resp3 else 0)
                # what a piece points to stays where it is until all are packed: each is alone in its link's batch, or
                # has its room in `whole`
                pieces[part].shard = shard
                if large:
                    link.pack_large(gather, part, &head, words + begin[shard], run)
                    if intends:
                        i = whole.size
                        if pack_request(&whole, &head, words + begin[shard]) < 0:
                            raise MemoryError
                        pieces[part].envelope = whole.data + i
                        pieces[part].size = whole.size - i
                else:
                    i = link.out.size
                    link.pack(gather, part, &head, words + begin[shard], last_link)
                    pieces[part].envelope = link.out.data + i
                    pieces[part].size = link.out.size - i
                part += 1
            if info.write:
                self._intend(gather, pieces, parts)
        finally:
            if words != few:
                free(words)
            buffer_free(&whole)
        if self.memory.limit and info.needs_memory and self.memory.note_write(total + keys * LEAST_ENTRY):
            self._look_at_memory()
        self.schedule_flush()
        for part in range(parts):       # not before now: a write stands with the intents before a part of it goes
            link = <Link>self.link_pointers[pieces[part].shard]
            if link.is_full():
                link.flush()
        return ROUTED

    cdef int _intend(self, Parts waiting, const piece_t* pieces, size_t parts) except -1:
        """Write a multi-part write into the ring; it is closed when all its parts have answered."""
        waiting.intents = self.intents
        waiting.intent = self.intents.begin(self.number, pieces, parts)
        if self.crash_after_parts is not None:
            self._crash_between([pieces[i].shard for i in range(parts)])
        return 0

    def _intend_envelopes(self, Parts waiting, list envelopes):
        """The same for parts that have been packed one by one."""
        waiting.intents = self.intents
        waiting.intent = self.intents.open(self.number, envelopes)
        if self.crash_after_parts is not None:
            self._crash_between([shard for shard, _ in envelopes])

    def _crash_between(self, list shards):
        """A fault for the tests: die when the first parts of a write over several shards have gone and the others have
        not."""
        for shard in shards[: self.crash_after_parts]:
            self.links[shard].flush_now()
        time.sleep(PARTS_ARRIVE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    # -- the general way -----------------------------------------------------------------------------------------------

    def link_of(self, int shard) -> Link:
        return self.links[shard]

    def shards_of(self, spec, words) -> dict:
        """Shard -> indexes of its keys in the words, in order of shards; of a command without keys: all, or the
        first."""
        cdef dict found = {}
        for at in spec.keys.find(words):
            found.setdefault(slot_shard(slot_of(words[at]), self.shards), []).append(at)
        if spec.across is not None and spec.across.everywhere:
            return {shard: found.get(shard, []) for shard in range(self.shards)}
        if not found:
            return {self._shard_without_keys(spec, words): []}
        return dict(sorted(found.items()))

    def _shard_without_keys(self, spec, words) -> int:
        """SCAN goes where its cursor's slot lives; anything else without keys to the first shard."""
        if spec.name == "scan":
            try:
                return slot_shard(int(words[1]) & (SLOTS - 1), self.shards)
            except (ValueError, OverflowError):
                return 0
        return 0

    def check(self, spec, words, dict shards=None) -> None:
        """Whether all its shards are there, have room, and can answer it together: raises what is to be replied, or
        NotNow."""
        cdef Link link
        if shards is None:
            shards = self.shards_of(spec, words)
        if len(shards) > 1 and spec.across is None:
            raise errors.CROSSSLOT
        for shard in shards:
            link = <Link>self.links[shard]
            if not link.up:
                raise errors.LOADING
            if link.in_flight_bytes > link.in_flight_limit:
                raise NotNow
        if len(shards) > 1 and spec.flags & Flag.WRITE:
            self.need_intent_room(sum(map(len, words)) + 16 * len(words), len(shards))

    def send(self, Receiver receiver, uint64_t index, uint64_t client, int database, int protocol, spec, words) -> None:
        """Give a command a number and send its parts. Raises CROSSSLOT, LOADING or NotNow before anything was sent."""
        shards = self.shards_of(spec, words)
        self.check(spec, words, shards)
        self.number += 1
        if is_whole(spec, shards):
            (shard,) = shards
            self._pack(
                shard, receiver, index, self._envelope(spec, words, client, database, protocol, 0, 1, True, spec.number)
            )
        else:
            self._send_parts(receiver, index, client, database, protocol, spec, words, shards)
        self.schedule_flush()

    def _send_parts(self, Receiver receiver, uint64_t index, client, database, protocol, spec, words, dict shards):
        cdef Gather gather
        gather, parts = self.split(receiver, index, protocol, spec, words, shards)
        gather.merge_elsewhere = partial(self._merge_on_a_shard, [shard for shard, _, _ in parts], spec)
        envelopes = []
        for part, (shard, part_spec, part_words) in enumerate(parts):
            envelope = self._envelope(
                part_spec, part_words, client, database, 2, FLAG_PART, len(parts), part == 0, spec.number
            )
            self._pack(shard, gather, part, envelope)
            envelopes.append((shard, envelope))
        if spec.flags & Flag.WRITE:
            self._intend_envelopes(gather, envelopes)

    def split(self, Receiver receiver, uint64_t index, protocol, spec, words, dict shards):
        """The gatherer of a scattered command, and its parts: [(shard, Command, words)]."""
        parts = []
        first_key = min((at for indexes in shards.values() for at in indexes), default=0)
        for shard, indexes in shards.items():
            make = spec.across.part or part_words(spec)
            own = make(words, indexes, first_key in indexes)
            parts.append((shard, self._spec_named(own[0]) if own[0] != words[0] else spec, own))
        gather = gather_parts(receiver, index, len(parts), protocol, MERGE_PYTHON, self.block, spec.number)
        gather.arguments = words[spec.words:]
        gather.request, gather.words, gather.merge = words, [own for _, _, own in parts], spec.across.merge
        self.block.add(SCATTERED_COMMANDS, 1)
        return gather, parts

    def _merge_on_a_shard(self, list shards, spec, Gather gather) -> bool:
        """Have the worker that sent most of it merge the replies of a command's parts; False if it is not there."""
        cdef list parts = gather.parts()
        shard = shards[max(range(len(parts)), key=lambda at: len(parts[at][1]))]
        if not (<Link>self.links[shard]).up:
            return False
        words = pack_merge(spec.number, gather.protocol, gather.request, parts)
        self.control(shard, CONTROL_MERGE, words, Merged(gather))
        return True

    def _spec_named(self, bytes name):
        lower = name.lower().decode()
        return next(spec for spec in self.specs if spec.name == lower)

    def _envelope(self, spec, words, client, database, protocol, int flags, parts, bint first, counted_as) -> bytes:
        """One packed request."""
        cdef Buffer out
        cdef request_t head
        cdef size_t argc = len(words) - spec.words
        cdef size_t i
        cdef arg_t* args = <arg_t*>malloc((argc + 1) * sizeof(arg_t))
        if args == NULL:
            raise MemoryError
        memset(&out, 0, sizeof(out))
        memset(&head, 0, sizeof(head))
        try:
            for i in range(argc):
                word = words[i + spec.words]
                args[i].data = PyBytes_AS_STRING(word)
                args[i].size = PyBytes_GET_SIZE(word)
            head.kind = REQUEST
            head.command = spec.number
            keys = spec.keys.find(words)
            head.slot = slot_of(words[keys[0]]) if keys else 0
            head.number = self.number
            head.client = client
            head.argc = argc
            head.database = database
            head.parts = parts
            head.counted_as = counted_as
            self._begin_turn()
            head.queued_us = self.turn_stamp
            head.flags = flags | (FLAG_RESP3 if protocol == 3 else 0) | (FLAG_FIRST if first else 0)
            if pack_request(&out, &head, args) < 0:
                raise MemoryError
            return PyBytes_FromStringAndSize(out.data, out.size)
        finally:
            free(args)
            buffer_free(&out)

    def _pack(self, int shard, Receiver receiver, uint64_t index, bytes envelope) -> None:
        cdef Link link = <Link>self.links[shard]
        link.count += 1
        from_envelope(link, envelope)
        link._expect(receiver, index, self.number, len(envelope))

    def send_exec(self, receiver, client, database, list parts, *, writes, watched_shard=None) -> None:
        """Send a transaction's parts: [(shard, [envelope bytes], receiver, index)]. Room and shards were checked
        before."""
        cdef request_t head
        cdef Link link
        cdef size_t before
        envelopes = []
        self._begin_turn()
        for number, (shard, requests, exec_receiver, index) in enumerate(parts):
            memset(&head, 0, sizeof(head))
            head.number = self.number
            head.client = client
            head.database = database
            head.parts = len(parts)
            head.command = head.counted_as = self.exec_number
            head.queued_us = self.turn_stamp
            head.flags = (FLAG_WATCHED if shard == watched_shard else 0) | (FLAG_FIRST if number == 0 else 0)
            joined = b"".join(requests)
            link = <Link>self.links[shard]
            before = link.out.size
            link.pack_exec(<Receiver>exec_receiver, index, &head, PyBytes_AS_STRING(joined), len(joined), len(requests))
            envelopes.append((shard, PyBytes_FromStringAndSize(link.out.data + before, link.out.size - before)))
        if writes and len(parts) > 1:
            self._intend_envelopes(receiver, envelopes)
        self.schedule_flush()

    def need_intent_room(self, size_bytes, parts) -> None:
        """Raises NotNow when a write of this size cannot be written into the intent ring yet, and what is to be
        replied when it is too large for the ring and cannot be written elsewhere."""
        if not self.intents.has_room(size_bytes, parts):
            raise NotNow
        self.intents.prepare(size_bytes, parts)

    def shard_of(self, bytes key) -> int:
        return slot_shard(slot_of(key), self.shards)

    def slot_of(self, bytes key) -> int:
        return slot_of(key)

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def envelope(self, spec, words, client, database, protocol, *, parts=1, first=True, part_of=None) -> bytes:
        """A request of a transaction, or a part of the scattered command `part_of`: nothing in it blocks."""
        flags = FLAG_NO_BLOCK | (FLAG_PART if part_of else 0)
        return self._envelope(spec, words, client, database, protocol, flags, parts, first, (part_of or spec).number)

    def complete_intent(self, shard, number, envelope, receiver) -> None:
        """Send a part again that an earlier frontend could not (R10)."""
        cdef Link link = <Link>self.links[shard]
        link.count += 1
        from_envelope(link, envelope)
        link._expect(<Receiver>receiver, 0, number, len(envelope))
        self.schedule_flush()

    def control(self, shard, message, words, receiver) -> int:
        """Send a message of the frontend's own at a number of its own; the number."""
        self.number += 1
        self.links[shard].control(message, self.number, words, receiver)
        self.schedule_flush()
        return self.number

    def control_all(self, message, words, receivers) -> int:
        """The same to all shards, at one number."""
        self.number += 1
        for link, receiver in zip(self.links, receivers, strict=True):
            link.control(message, self.number, words, receiver)
        self.schedule_flush()
        return self.number

    # -- the turn ------------------------------------------------------------------------------------------------------

    cdef void _begin_turn(self) noexcept:
        if self.turn_began_ns == 0:
            self.turn_began_ns = monotonic_ns()
            self.turn_stamp = <uint32_t>(self.turn_began_ns // 1000)

    cdef void _end_turn(self) noexcept:
        self.block.add(EVENTLOOP_CYCLES, 1)
        self.block.add(EVENTLOOP_NANOSECONDS, monotonic_ns() - self.turn_began_ns)
        self.turn_began_ns = 0

    cdef int schedule_flush(self) except -1:
        if not self.flush_scheduled:
            self.flush_scheduled = True
            self._begin_turn()
            if not self.reading:
                self.loop.call_soon(self.flush_callback)
        return 0

    cdef void begin_read(self) noexcept:
        """A connection is about to dispatch what it has read."""
        self.reading = not self.flush_scheduled

    cdef int end_read(self) except -1:
        """It has. A lone request goes at once, anything else at the end of the turn."""
        cdef Link link
        if self.reading:
            self.reading = False
            if self.flush_scheduled:
                link = self._lone_link()
                if link is None:
                    self.loop.call_soon(self.flush_callback)
                else:
                    self._send_lone(link)
        return 0

    cdef Link _lone_link(self):
        """The link of a request which is the first of this turn and will probably be the last, as that of the turn
        before was, and whose worker has nothing to do; None if there is none."""
        cdef Link link, found = None
        if self.number != self.number_flushed + 1 or self.last_turn > 1:
            return None
        if self.again or self.written:      # there is more to do in this turn
            return None
        for link in self.links:
            if link.count:
                if found is not None or not link.is_idle():
                    return None
                found = link
        return found

    cdef int _send_lone(self, Link link) except -1:
        """End the turn with one request: there is nothing else to be sent, and nothing to be expected before the bell
        rings."""
        if self.memory.limit:
            self._look_at_memory()
        self.flush_scheduled = False
        self.number_flushed = self.number_drained = self.number
        link.flush_now()
        self._end_turn()
        if not link.doze():
            self.schedule_flush()
        return 0

    def use_short_ping(self, bint on) -> None:
        """Off: PING takes the general way, where its time is taken."""
        cdef int number
        for number, spec in enumerate(self.specs):
            if spec.name == "ping":
                self.infos[number].hot = HOT_PING if on else HOT_NO

    def flush_soon(self) -> None:
        self.schedule_flush()

    def flush(self) -> None:
        """The end of a turn: batches to the workers, what has come back to the clients, and on with those who wait."""
        cdef Link link
        cdef bint may_hold
        self.flush_scheduled = False
        self._begin_turn()
        if self.again:
            ready, self.again = self.again, []
            for connection in ready:
                connection.go_on()
        if self.memory.limit:
            self._look_at_memory()
        may_hold = self._may_hold()
        self.holding = False
        if self.number != self.number_flushed:
            self.last_turn = self.number - self.number_flushed
        self.number_flushed = self.number
        for link in self.links:
            link.hush()
            if may_hold and 0 < link.count < FEW:
                self.holding = True
            else:
                link.flush()
        if self.holding:
            self.schedule_flush()
        # Sending may have taken the signal that replies are there: ZeroMQ's descriptor tells of changes only
        self.drain()

    def is_still_full(self) -> bool:
        """Whether there is no room for a write, by what the shards say now."""
        self._look_at_memory()
        return self.memory.is_full

    cdef int _look_at_memory(self) except -1:
        """Whether writes still fit; shards that have nothing to do are woken to make room."""
        cdef Link link
        cdef int64_t in_flight = 0
        for link in self.links:
            in_flight += link.in_flight_bytes
        self.memory.look(in_flight)
        if self.memory.wants_nudge():
            for link in self.links:
                if link.up and link.count == 0 and link.waiting == 0:
                    link.flush_now()
        return 0

    cdef bint _may_hold(self) except -1:
        """Whether small batches wait for one turn more, in which other clients may add to them: no time is waited,
        clients are only looked at once more. Only while there is much to do: few clients have nothing to add.
        """
        cdef Link link
        if self.holding or self.number == self.number_flushed or self.last_turn < FEW:
            return False
        if self.number - self.number_flushed > 1:
            return True
        for link in self.links:
            if link.retained:
                return True
        return False

    def bell_rang(self, int bell) -> None:
        """The eventfd that a worker rings when it has answered is readable."""
        cdef uint64_t rung
        if read(bell, &rung, sizeof(rung)) == sizeof(rung):
            self.drain()

    cpdef int drain(self) except -1:
        """Take the replies that have come."""
        cdef Link link
        # With requests just sent the loop comes by once more before the workers are told to ring: many have answered by
        # then, and neither side has the cost of the bell
        cdef bint more = self.number != self.number_drained
        self.number_drained = self.number
        self._begin_turn()
        for link in self.links:
            if link.up:
                if link.drain(DRAIN_BATCHES):
                    more = True
                if link.unsent:
                    link.retry()        # what has come back was taken from a ring that was full
        if not self.holding:
            for link in self.links:
                link.flush()            # what waited for an answer
        if self.stalled:
            stalled, self.stalled = self.stalled, []
            for connection in stalled:
                connection.go_on()
        self.write_out()
        if not more:
            for link in self.links:
                if not link.doze():
                    more = True
        self._end_turn()
        if more or self.again:
            self.schedule_flush()

    cdef int write_out(self) except -1:
        """Write every connection that has output, once."""
        cdef Receiver connection
        cdef list written
        if self.written:
            written, self.written = self.written, []
            for connection in written:
                connection.write_out()
        return 0

    cdef int note_output(self, Receiver connection) except -1:
        self.written.append(connection)
        return 0

    cdef int run_again(self, object connection) except -1:
        self.again.append(connection)
        return self.schedule_flush()

    cdef int stall(self, object connection) except -1:
        self.stalled.append(connection)
        return 0

    def note_links(self) -> None:
        """A link went up or down; who asks whether the server is ready finds it on the board."""
        cdef Link link
        self.shards_down = 0
        for link in self.links:
            if not link.up:
                self.shards_down += 1
        self.publish_links()

    def publish_links(self) -> None:
        """How the links stand, to the board."""
        cdef Link link
        for link in self.links:
            self.block.put_link(link.shard, link.up, link.waiting, link.in_flight_bytes)


def is_whole(spec, shards) -> bool:
    """Whether one shard runs the command as it stands, without parts to be made and merged."""
    across = spec.across
    return len(shards) == 1 and not (across is not None and across.everywhere and across.part is not None)


cdef list _places(const deal_t* deals, size_t keys, int shards, const uint32_t* count):
    """For each part of a scattered command, in the order of shards, the places of its keys in the request."""
    cdef size_t key
    cdef int shard
    cdef list of_shard = [[] if count[shard] else None for shard in range(shards)]
    for key in range(keys):
        (<list>of_shard[deals[key].shard]).append(key)
    return [places for places in of_shard if places]


cdef int from_envelope(Link link, bytes envelope) except -1:
    if buffer_append(&link.out, PyBytes_AS_STRING(envelope), PyBytes_GET_SIZE(envelope)) < 0:
        raise MemoryError
    return 0


cdef inline size_t _name_hash(const char* name, size_t size) noexcept nogil:
    """FNV-1a: the names are ours, so it need not be keyed."""
    cdef uint32_t value = 2166136261u
    cdef size_t i
    for i in range(size):
        value = (value ^ <unsigned char>name[i]) * 16777619u
    return (value ^ (value >> 15)) & (TABLE_SIZE - 1)


def part_words(spec):
    """How a command's words are dealt out by default: the keys of one shard with what belongs to each, what stands
    before and behind all keys, and the right count."""
    keys = spec.keys

    def part(words, indexes, holds_first):
        found = keys.find(words)
        before = list(words[: found[0]]) if found else list(words)
        if keys.count_at:
            before[keys.count_at] = b"%d" % len(indexes)
        behind = list(words[found[-1] + keys.step :]) if found else []
        return before + [word for at in indexes for word in words[at : at + keys.step]] + behind

    return part
