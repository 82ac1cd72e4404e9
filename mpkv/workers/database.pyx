"""One database of a shard, as handlers see it.

A thin layer between Python objects and the keyspace: it finds the slot of a key, checks types, and turns failures into
the errors that a client reads.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from libc.string cimport memset

from mpkv.sharding cimport SLOTS, key_slot
from mpkv.types.allocator cimport promise, settle
from mpkv.types.set cimport Set, set_begin
from mpkv.types.table cimport reversed_prefix, scan_t, table_scan, table_scan_next, table_t, word_piece
from mpkv.types.aggregate cimport HASH, LIST, SET, STRING, ZSET, handle_on, native_encoding, type_name
from mpkv.types.zset cimport ZSet, zset_begin
from mpkv.workers.entry cimport (
    EXPIRES, INTEGER, MODIFIED, RAW, SCRATCH_SIZE, entry_clock, entry_encoding, entry_expire_at, entry_expiry,
    entry_memory, entry_native, entry_string, entry_t, entry_type, key_of, patch_raw, string_of,
)
from mpkv.workers.keyspace cimport SLOTS_PER_GROUP, again, directory_t, keyspace_position

from mpkv.workers.recency cimport frequency_of, idle_seconds_of

from mpkv import errors

cdef enum:
    EMBSTR_MAX = 44             # Redis' OBJ_ENCODING_EMBSTR_SIZE_LIMIT
    RANDOM_TRIES = 100          # of RANDOMKEY to find a key that has not expired, as Redis


cdef size_t _string_length(const entry_t* entry) noexcept nogil:
    cdef char[SCRATCH_SIZE] scratch
    cdef const char* data
    cdef size_t size
    entry_string(entry, scratch, &data, &size)
    return size


cdef str _encoding_name(const entry_t* entry):
    """What OBJECT ENCODING answers."""
    cdef bint raw
    if entry_type(entry) != STRING:
        return native_encoding(entry_type(entry), entry_native(entry))
    if entry_encoding(entry) == INTEGER:
        return "int"
    raw = entry_encoding(entry) == RAW or entry.meta & MODIFIED or entry.value_size > EMBSTR_MAX
    return "raw" if raw else "embstr"


cdef class Promised:
    """`Database.all_or_nothing`: while it is entered nothing fails for want of memory."""

    cdef Keyspace keyspace
    cdef object words

    def __cinit__(self, Keyspace keyspace not None, words not None):
        self.keyspace = keyspace
        self.words = words

    def __enter__(self):
        if not promise(sum(map(len, self.words)), len(self.words)):
            raise again(errors.OUT_OF_MEMORY)

    def __exit__(self, kind, error, traceback):
        settle()
        if kind is not None and issubclass(kind, MemoryError):
            self.keyspace.torn = True           # the store keeps its promises, Python makes none


cdef class Database:
    """One database of a shard as handlers see it: `mpkv.commands.faces.Db`, which says what each method does."""

    def __init__(self, Keyspace keyspace not None, int index):
        keyspace._check_database(index)
        self.keyspace = keyspace
        self.index = index

    @property
    def databases(self):
        return self.keyspace.databases

    @property
    def now_ms(self):
        return self.keyspace.now_ms

    @property
    def shard(self):
        return self.keyspace.shard

    @property
    def shards(self):
        return self.keyspace.shards

    # --- Look up

    cdef entry_t* _find(self, bytes key) except? NULL:
        return self.keyspace.find(self.index, key_slot(key, len(key)), key, len(key))

    cdef entry_t* _for_read(self, bytes key, int kind) except? NULL:
        cdef entry_t* entry = self.keyspace.find_for_read(self.index, key_slot(key, len(key)), key, len(key))
        if entry != NULL and entry_type(entry) != kind:
            raise again(errors.WRONGTYPE)
        return entry

    cdef entry_t* _for_write(self, bytes key, int kind) except? NULL:
        cdef entry_t* entry = self._find(key)
        if entry != NULL:
            if entry_type(entry) != kind:
                raise again(errors.WRONGTYPE)
            self.keyspace.touch(entry)
        return entry

    cdef entry_t* _to_fill(self, bytes key, int kind) except NULL:
        cdef entry_t* entry = self.keyspace.find_or_create(self.index, key_slot(key, len(key)), key, len(key), kind)
        if entry == NULL:
            raise again(errors.OUT_OF_MEMORY)
        if entry_type(entry) != kind:
            raise again(errors.WRONGTYPE)
        self.keyspace.touch(entry)
        return entry

    def string_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, STRING)
        return None if entry == NULL else string_of(entry)

    def string_length_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, STRING)
        return None if entry == NULL else _string_length(entry)

    def string_length_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, STRING)
        return None if entry == NULL else _string_length(entry)

    def string_part(self, bytes key not None, size_t start, size_t end):
        cdef entry_t* entry = self._find(key)
        cdef char[SCRATCH_SIZE] scratch
        cdef const char* data
        cdef size_t size
        if entry == NULL:
            return b""
        entry_string(entry, scratch, &data, &size)
        return data[min(start, size):min(end, size)] if start < end else b""

    def hash_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, HASH)
        return None if entry == NULL else handle_on(entry_type(entry), entry_native(entry))

    def list_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, LIST)
        return None if entry == NULL else handle_on(entry_type(entry), entry_native(entry))

    def set_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, SET)
        return None if entry == NULL else handle_on(entry_type(entry), entry_native(entry))

    def zset_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, ZSET)
        return None if entry == NULL else handle_on(entry_type(entry), entry_native(entry))

    def string_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, STRING)
        return None if entry == NULL else string_of(entry)

    def hash_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, HASH)
        return None if entry == NULL else handle_on(entry_type(entry), entry_native(entry))

    def list_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, LIST)
        return None if entry == NULL else handle_on(entry_type(entry), entry_native(entry))

    def set_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, SET)
        return None if entry == NULL else handle_on(entry_type(entry), entry_native(entry))

    def zset_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, ZSET)
        return None if entry == NULL else handle_on(entry_type(entry), entry_native(entry))

    def hash_to_fill(self, bytes key not None):
        return handle_on(HASH, entry_native(self._to_fill(key, HASH)))

    def list_to_fill(self, bytes key not None):
        return handle_on(LIST, entry_native(self._to_fill(key, LIST)))

    def set_to_fill(self, bytes key not None):
        return handle_on(SET, entry_native(self._to_fill(key, SET)))

    def zset_to_fill(self, bytes key not None):
        return handle_on(ZSET, entry_native(self._to_fill(key, ZSET)))

    # --- Write

    def all_or_nothing(self, words not None):
        return Promised.__new__(Promised, self.keyspace, words)

    def new_set(self):
        return Set.standalone()

    def new_zset(self):
        return ZSet.standalone()

    def overwrite(self, bytes key not None, value not None):
        cdef Set members
        cdef ZSet pairs
        if isinstance(value, Set):
            members = value
            self.keyspace._overwrite(self.index, key, SET, members.native)
            set_begin(members.native)           # it has moved
        else:
            pairs = value
            self.keyspace._overwrite(self.index, key, ZSET, pairs.native)
            zset_begin(pairs.native)

    def set_string(self, bytes key not None, bytes value not None, *, bint keep_ttl=False, bint raw=False):
        cdef unsigned slot = key_slot(key, len(key))
        cdef int failed
        if raw:
            failed = self.keyspace.put_raw_string(self.index, slot, key, len(key), value, len(value), keep_ttl)
        else:
            failed = self.keyspace.put_string(self.index, slot, key, len(key), value, len(value), keep_ttl)
        if failed:
            raise again(errors.OUT_OF_MEMORY)
        self.keyspace.string_changed(self.index, key, len(key))

    def patch_string(self, bytes key not None, size_t offset, bytes value not None):
        cdef entry_t* entry = self._find(key)
        cdef bytes old
        if entry != NULL and entry_encoding(entry) == RAW:
            if not patch_raw(entry, offset, value, len(value)):
                raise again(errors.OUT_OF_MEMORY)
            self.keyspace.string_changed(self.index, key, len(key))
            return
        old = b"" if entry == NULL else string_of(entry)
        value = old[:offset].ljust(offset, b"\0") + value + old[offset + len(value):]
        self.set_string(key, value, keep_ttl=True, raw=True)

    def changed(self, bytes key not None, unsigned times=1):
        self.keyspace._changed(self.index, key_slot(key, len(key)), key, len(key), times)

    def effect(self, *words):
        self.keyspace.effects.append((self.index, words))

    # --- Keys

    def exists(self, bytes key not None):
        return self._find(key) != NULL

    def seen(self, bytes key not None):
        cdef bint found = self._find(key) != NULL
        self.keyspace.hits += found
        self.keyspace.misses += not found
        return found

    def type_of(self, bytes key not None):
        cdef entry_t* entry = self._find(key)
        return None if entry == NULL else type_name(entry_type(entry))

    def encoding_of(self, bytes key not None):
        cdef entry_t* entry = self._find(key)
        return None if entry == NULL else _encoding_name(entry)

    def idle_seconds(self, bytes key not None):
        cdef entry_t* entry = self._find(key)
        return None if entry == NULL else idle_seconds_of(entry_clock(entry), self.keyspace.now_ms)

    def frequency_of(self, bytes key not None):
        cdef entry_t* entry = self._find(key)
        if entry == NULL:
            return None
        return frequency_of(&self.keyspace.recency, entry_clock(entry), self.keyspace.now_ms)

    @property
    def counts_frequency(self):
        return self.keyspace.recency.frequency

    def touch(self, bytes key not None):
        return self.keyspace.find_for_read(self.index, key_slot(key, len(key)), key, len(key)) != NULL

    def delete(self, bytes key not None, lazily=None):
        cdef bint how = self.keyspace.lazy_server_del if lazily is None else lazily
        return self.keyspace.delete(self.index, key_slot(key, len(key)), key, len(key), how)

    @property
    def deletes_lazily(self):
        return self.keyspace.lazy_user_del

    @property
    def flushes_lazily(self):
        return self.keyspace.lazy_user_flush

    def expire_at(self, bytes key not None):
        cdef entry_t* entry = self._find(key)
        return None if entry == NULL else entry_expire_at(entry)

    def set_expire_at(self, bytes key not None, int64_t at_ms):
        cdef entry_t* entry = self._find(key)
        if entry == NULL:
            raise KeyError(key)
        if self.keyspace.set_expire_at(self.index, entry, at_ms) < 0:
            raise again(errors.OUT_OF_MEMORY)
        self.keyspace.string_changed(self.index, key, len(key))     # the value is what it was

    def rename(self, bytes source not None, bytes destination not None):
        self.keyspace._rename(self.index, source, destination)

    def copy(self, bytes source not None, bytes destination not None, int database):
        self.keyspace._check_database(database)
        if not self.keyspace._copy(self.index, source, database, destination):
            raise again(errors.NO_SUCH_KEY)

    def move(self, bytes key not None, int database):
        self.keyspace._check_database(database)
        return self.keyspace._move(self.index, key, database)

    def memory_of(self, bytes key not None, size_t samples=0):
        cdef entry_t* entry = self._find(key)
        return None if entry == NULL else entry_memory(entry, samples) + sizeof(uint64_t)     # and its word

    # --- Many keys

    def size(self):
        return self.keyspace.size(self.index)

    cdef bint _is_stale(self, const entry_t* entry) noexcept nogil:
        return entry.meta & EXPIRES and self.keyspace.may_expire and self.keyspace.now_ms > entry_expiry(entry)[0]

    def random_key(self):
        cdef entry_t* entry
        cdef bytes key
        for _ in range(RANDOM_TRIES):
            entry = self.keyspace._pick(self.index, False)
            if entry == NULL:
                return None
            key = key_of(entry)
            if not self._is_stale(entry):
                return key
            self._find(key)         # deletes it
        return None

    def keys(self):
        cdef keyspace_position position
        cdef entry_t* entry
        cdef list found = []
        memset(&position, 0, sizeof(position))
        while True:
            entry = self.keyspace.next(self.index, &position)
            if entry == NULL:
                return found
            if not self._is_stale(entry):
                found.append(key_of(entry))

    def scan(self, uint64_t cursor, Py_ssize_t count):
        cdef directory_t* directory = self.keyspace._bases[self.index].directory
        cdef unsigned end = self.keyspace.end_slot
        cdef unsigned slot = cursor & (SLOTS - 1)
        cdef uint64_t prefix = reversed_prefix(cursor // SLOTS)
        cdef list found = [], stale = []
        cdef uint64_t next_cursor
        if slot < self.keyspace.first_slot:
            slot = self.keyspace.first_slot
            prefix = 0
        next_cursor = end % SLOTS
        while directory != NULL and slot < end:
            if self._scan_slot(&directory.tables[slot], &prefix, count, found, stale):
                next_cursor = reversed_prefix(prefix) * SLOTS + slot
                break
            prefix = 0
            slot += 1
            if slot % SLOTS_PER_GROUP == 0:
                while slot < end and directory.groups[slot // SLOTS_PER_GROUP].keys == 0:
                    slot += SLOTS_PER_GROUP
        for key in stale:
            self._find(key)         # deletes it, now that nobody stands in the table
        return next_cursor, found

    cdef bint _scan_slot(
        self, const table_t* table, uint64_t* prefix, Py_ssize_t count, list found, list stale
    ) except -1:
        """Take the keys of a slot from `prefix` on; True if that is enough, and then `prefix` is where to go on."""
        cdef scan_t scan
        cdef entry_t* entry
        cdef uint64_t* word
        table_scan(table, prefix[0], max(0, count - <Py_ssize_t>(len(found) + len(stale))), &scan)
        while True:
            word = table_scan_next(table, &scan)
            if word == NULL:
                prefix[0] = scan.next
                return scan.next != 0
            entry = <entry_t*>word_piece(word[0])
            if self._is_stale(entry):
                stale.append(key_of(entry))
            else:
                found.append((key_of(entry), type_name(entry_type(entry))))

    def flush(self, *, bint everywhere=False, bint lazily=False):
        self.keyspace.clear(-1 if everywhere else self.index, lazily)
