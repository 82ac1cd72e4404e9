"""The keyspace of one shard: every key it owns, in native memory.

A database has one hash table per slot, reached through a directory of 16384 words that is allocated with the first key
(untouched pages of it cost nothing). Tables per slot rather than one per database, because a slot is what a SCAN cursor
names and what moves when the number of shards changes: it can be counted, walked and dropped alone. It also cuts
resizing into pieces: with millions of keys a table still has about a hundred, and rebuilding it takes a microsecond; a
slot of a million keys (of one hash tag) is cut into segments by the table itself. `types/table` explains the tables and
`entry` the entries; here is what holds them together: counts, time, and who hears of changes.

Counts of keys and of volatile keys, of each slot and of groups of 128 slots, stand before the tables. A random key is
drawn by rank through them, exactly fairly and in bounded time, and walks pass over what is empty.

What all of this takes is counted by the allocator, on the account of each type and of the tables.

Time
----
A key is expired when `now_ms` is past its expiry (not at it: as Redis). While `may_expire` is off, such a key is
there like any other: keys that a held operation has looked at must not vanish under it, and a log is replayed with
the keys it names.
"""

from mpkv.sharding cimport SLOTS, key_slot
from mpkv.types.allocator cimport ACCOUNTS, TABLES, allocate_zeroed, footprint, release, used_by, used_in_all
from mpkv.types.chance cimport below, random_bits
from mpkv.types.packed cimport packed_t
from mpkv.types.siphash cimport siphash
from mpkv.types.table cimport (
    FLAG, pieces_t, place_prefix, place_t, table_check, table_close, table_count, table_exchange, table_fetch_piece,
    table_fetch_segment, table_find, table_flagged, table_flagged_at, table_insert, table_memory, table_next,
    table_random, table_remove, table_seek, word_piece,
)
from mpkv.types.aggregate cimport (
    HASH, LIST, SET, STRING, ZSET, native_begin, native_content, native_free, native_len, type_name,
)
from mpkv.workers.entry cimport (
    EXPIRES, INLINE, INLINE_MAX, INTEGER, LONG_KEY, MODIFIED, NATIVE, RAW, SHORT_KEY_MAX, copied_entry,
    encoding_of, entry_clock, entry_encoding, entry_expire_at, entry_expiry, entry_key, entry_key_size, entry_key_text,
    entry_memory, entry_native, entry_raw, entry_t, entry_type, entry_words, free_block, free_entry, key_of, kind_bits,
    new_native, new_string, read_integer, renamed_entry, rewrite_entry, set_entry_clock, string_of, with_expiry,
    without_expiry,
)
from mpkv.workers.recency cimport fresh_clock, used_clock

from mpkv import errors, sharding

from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

cdef enum:
    GROUPS = 128                # SLOTS / SLOTS_PER_GROUP
    LOOKS_PER_VOLATILE = 64     # words the expiry cycle passes over, on average, per volatile key it may check

cdef extern from *:
    void __builtin_prefetch(const void* address) nogil


# --- What the tables must know of entries ---------------------------------------------------------------------------


cdef bint _is_named(const void* piece, const char* name, size_t size) noexcept nogil:
    cdef const entry_t* entry = <const entry_t*>piece
    return entry_key_size(entry) == size and memcmp(entry_key_text(entry), name, size) == 0


cdef uint64_t _hash_of(const void* piece) noexcept nogil:
    return siphash(entry_key_text(<const entry_t*>piece), entry_key_size(<const entry_t*>piece))


# A word's flag: the key has an expiry
cdef pieces_t _entries = pieces_t(_is_named, _hash_of, TABLES)


cdef inline entry_t* _entry_of(const uint64_t* word) noexcept nogil:
    return <entry_t*>word_piece(word[0])


# --- The place of the expiry cycle ----------------------------------------------------------------------------------


cdef uint64_t* _next_volatile(database_t* base, int64_t* looks) noexcept nogil:
    """The next volatile key of the expiry cycle from the place in `base` on, which moves to its slot and prefix.

    NULL at the end (then the slot is SLOTS), or when no looks are left; each word and each slot takes one.
    """
    cdef directory_t* directory = base.directory
    cdef table_t* table
    cdef place_t place
    cdef uint64_t* word
    cdef uint64_t prefix
    cdef uint32_t skipped = 0
    while base.expire_slot < SLOTS and looks[0] > 0:
        looks[0] -= 1
        table = &directory.tables[base.expire_slot]
        if directory.groups[base.expire_slot // SLOTS_PER_GROUP].volatiles == 0:
            base.expire_slot |= SLOTS_PER_GROUP - 1     # nothing in the rest of the group
        elif directory.counts[base.expire_slot].volatiles:
            table_seek(table, base.expire_prefix, &place)
            while True:
                word = table_next(table, &place)
                if word == NULL:
                    break
                looks[0] -= 1
                prefix = place_prefix(table, &place, word[0])
                if prefix > base.expire_prefix and looks[0] <= 0:   # only here, so that every call gets on
                    _step_to(base, prefix, False)
                    return NULL
                if not word[0] & FLAG:
                    continue
                if prefix > base.expire_prefix:
                    _step_to(base, prefix, False)
                    return word
                if skipped == base.expire_skip:
                    return word
                skipped += 1
        base.expire_slot += 1
        base.expire_prefix = 0
        base.expire_skip = 0
        skipped = 0
    return NULL


cdef inline void _step_to(database_t* base, uint64_t prefix, bint over) noexcept nogil:
    """Let the expiry cycle stand at a prefix; `over`: behind one more of its keys. (Equal ones keep their order.)"""
    if prefix != base.expire_prefix:
        base.expire_prefix = prefix
        base.expire_skip = 0
    base.expire_skip += over


cdef inline void _average(database_t* base, double sample_ms) noexcept nogil:
    """Redis' running estimate: a new sample weighs 2 %."""
    base.average_ttl_ms = sample_ms if base.average_ttl_ms == 0 else base.average_ttl_ms * 0.98 + sample_ms * 0.02


# --- The keyspace ---------------------------------------------------------------------------------------------------


cdef object _value_of(const entry_t* entry):
    """The whole value, copied out."""
    return string_of(entry) if entry_type(entry) == STRING else native_content(entry_type(entry), entry_native(entry))


cdef bytes _validate_entry(const entry_t* entry, unsigned slot, bint flag):
    """Check one entry on its own; returns its key."""
    cdef bytes key = key_of(entry)
    cdef int encoding = entry_encoding(entry)
    assert key_slot(key, len(key)) == slot, f"{key!r} is in slot {slot}"
    assert flag == ((entry.meta & EXPIRES) != 0), f"the word of {key!r} disagrees about the expiry"
    assert (entry_type(entry) == STRING) == (encoding != NATIVE), f"{key!r} has an encoding of another type"
    assert encoding == INLINE or entry.value_size == 0, f"{key!r} has an inline value and is not INLINE"
    assert encoding != RAW or entry_raw(entry).size > INLINE_MAX, f"{key!r} has a block for a small string"
    assert (len(key) > SHORT_KEY_MAX) == ((entry.meta & LONG_KEY) != 0), f"{key!r:.100} has a wrong form of size"
    assert not entry.meta & EXPIRES or entry_expiry(entry)[0] != -1, f"{key!r} expires at -1"
    if encoding == NATIVE:
        assert native_len(entry_type(entry), entry_native(entry)), f"{key!r} is empty and still there"
    return key


cdef object again(object error):
    """A shared error, without the traceback of its last use: that would grow with every raise."""
    return error.with_traceback(None)


cdef class Keyspace:
    """All databases of one shard.

    :param databases: how many
    :param shard: which shard of `shards` this is; it decides the range of slots that SCAN walks
    """

    def __cinit__(self, int databases=16, int shard=0, int shards=1):
        if databases < 1 or not 0 <= shard < shards:
            raise ValueError(f"no such shard or databases: {databases=} {shard=} {shards=}")
        cdef object slots = sharding.slot_range(shard, shards)
        self.databases = databases
        self.shard = shard
        self.shards = shards
        self.first_slot = slots.start
        self.end_slot = slots.stop
        self.may_expire = True
        self.large = <size_t>-1
        self.lazy = LazyFree()
        self.lazy_expire = self.lazy_server_del = self.lazy_eviction = True
        self.watched = {}
        self.dirty_clients = set()
        self.waiting = {}
        self.ready = []
        self.effects = []
        self.expired_effects = []
        self._bases = <database_t*>calloc(databases, sizeof(database_t))
        if self._bases == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef int db
        if self._bases == NULL:
            return
        for db in range(self.databases):
            self._clear_one(db, False)
        free(self._bases)

    def database(self, int index):
        """The database of this number, as handlers see it."""
        from mpkv.workers.database import Database      # which needs this module: not before it is there
        return Database(self, index)

    def set_recency(self, *, bint frequency, bint age=False, uint32_t log_factor=10, uint32_t decay_minutes=1):
        """What the clocks of entries tell: seconds, or how often a key is used (an LFU policy). `age`: snapshots tell
        the seconds (an LRU policy)."""
        self.recency.frequency = frequency
        self.recency.age = age
        self.recency.log_factor = log_factor
        self.recency.decay_minutes = decay_minutes

    # --- Finding

    cdef uint64_t* _peek(self, int db, unsigned slot, uint64_t hash, const char* key, size_t size) noexcept nogil:
        """The word of a key, expired or not; NULL if absent."""
        cdef directory_t* directory = self._bases[db].directory
        return NULL if directory == NULL else table_find(&directory.tables[slot], &_entries, hash, key, size)

    # A batch of requests tells what will be looked up soon. Each step of a look-up is a cache miss when there are many
    # keys; taken early, one by one
    # for several requests to come, the misses overlap.

    cdef void fetch_place(self, int db, unsigned slot) noexcept nogil:
        """First step: have the directory's word brought in."""
        if self._bases[db].directory != NULL:
            __builtin_prefetch(&self._bases[db].directory.tables[slot])

    cdef void fetch_table(self, int db, unsigned slot) noexcept nogil:
        """Second step: the slot's table, as far as it fits two cache lines."""
        if self._bases[db].directory != NULL:
            table_fetch_segment(&self._bases[db].directory.tables[slot], 0)

    cdef void fetch_entry(self, int db, unsigned slot, const char* key, size_t size) noexcept nogil:
        """Third step: the entry whose tag is the key's."""
        if self._bases[db].directory != NULL:
            table_fetch_piece(&self._bases[db].directory.tables[slot], siphash(key, size))

    cdef uint64_t* _locate(self, int db, unsigned slot, uint64_t hash, const char* key, size_t size) except? NULL:
        """The word of a key that has not expired; one that has is deleted."""
        cdef uint64_t* word = self._peek(db, slot, hash, key, size)
        if word == NULL or not word[0] & FLAG or not self.may_expire:
            return word
        if self.now_ms > entry_expiry(_entry_of(word))[0]:
            self._expire(db, slot, hash, word)
            return NULL
        return word

    cdef entry_t* find(self, int db, unsigned slot, const char* key, size_t size):
        cdef uint64_t* word = self._locate(db, slot, siphash(key, size), key, size)
        return NULL if word == NULL else _entry_of(word)

    cdef entry_t* find_for_read(self, int db, unsigned slot, const char* key, size_t size):
        cdef entry_t* entry = self.find(db, slot, key, size)
        if entry == NULL:
            self.misses += 1
        else:
            self.hits += 1
            self.touch(entry)
        return entry

    cdef void touch(self, entry_t* entry) noexcept nogil:
        """Note that a key is used, unless that would copy a page for the sake of a snapshot child."""
        if not self.snapshot_running:
            set_entry_clock(entry, used_clock(&self.recency, entry_clock(entry), self.now_ms))

    # --- Putting in and taking out: the only places where tables, counts and the sum of memory change

    cdef int _insert(self, int db, unsigned slot, uint64_t hash, entry_t* entry) noexcept nogil:
        """Of a key that is not there. 0; -1 without memory, and the entry is still the caller's."""
        cdef database_t* base = &self._bases[db]
        cdef bint volatile_ = (entry.meta & EXPIRES) != 0
        cdef size_t before = used_by(TABLES)
        cdef int inserted = -1
        if base.directory == NULL:
            base.directory = <directory_t*>allocate_zeroed(sizeof(directory_t), TABLES)
        if base.directory != NULL:
            inserted = table_insert(&base.directory.tables[slot], &_entries, hash, entry, volatile_)
        base.table_bytes += used_by(TABLES) - before
        if inserted < 0:
            return -1
        base.keys += 1
        base.directory.groups[slot // SLOTS_PER_GROUP].keys += 1
        base.directory.counts[slot].keys += 1
        self._count_volatile(db, slot, volatile_)
        return 0

    cdef entry_t* _detach(self, int db, unsigned slot, uint64_t hash, uint64_t* word) noexcept nogil:
        """Take an entry out of its table; it is the caller's from here on."""
        cdef database_t* base = &self._bases[db]
        cdef entry_t* entry = _entry_of(word)
        cdef size_t before = used_by(TABLES)
        if entry == self.created:
            self.created = NULL
        self._count_volatile(db, slot, -1 if entry.meta & EXPIRES else 0)
        table_remove(&base.directory.tables[slot], &_entries, hash, word)
        base.table_bytes += used_by(TABLES) - before
        base.keys -= 1
        base.directory.groups[slot // SLOTS_PER_GROUP].keys -= 1
        base.directory.counts[slot].keys -= 1
        return entry

    cdef void _exchange(self, int db, unsigned slot, uint64_t hash, uint64_t* word, entry_t* fresh) noexcept nogil:
        """Put another entry in the place of one with the same key, which the caller frees."""
        cdef bint volatile_ = (fresh.meta & EXPIRES) != 0
        if _entry_of(word) == self.created:
            self.created = NULL
        self._count_volatile(db, slot, <int>volatile_ - <int>((word[0] & FLAG) != 0))
        table_exchange(&self._bases[db].directory.tables[slot], hash, word, fresh, volatile_)

    cdef void _count_volatile(self, int db, unsigned slot, int change) noexcept nogil:
        """The tables count for themselves."""
        self._bases[db].volatiles += change
        self._bases[db].directory.groups[slot // SLOTS_PER_GROUP].volatiles += change
        self._bases[db].directory.counts[slot].volatiles += change

    # --- Strings

    cdef int put_string(self, int db, unsigned slot, const char* key, size_t size, const char* value, size_t value_size,
                        bint keep_ttl) except -2:
        cdef int64_t integer = 0
        cdef int encoding = INLINE if value_size <= INLINE_MAX else RAW
        if read_integer(value, value_size, &integer):
            encoding = INTEGER
        return self._store(db, slot, key, size, kind_bits(STRING, encoding), value, value_size, integer, keep_ttl)

    cdef int put_raw_string(self, int db, unsigned slot, const char* key, size_t size, const char* value,
                            size_t value_size, bint keep_ttl) except -2:
        cdef int encoding = INLINE if value_size <= INLINE_MAX else RAW
        return self._store(db, slot, key, size, kind_bits(STRING, encoding) | MODIFIED, value, value_size, 0, keep_ttl)

    cdef int put_integer(self, int db, unsigned slot, const char* key, size_t size, int64_t value,
                         bint keep_ttl) except -2:
        return self._store(db, slot, key, size, kind_bits(STRING, INTEGER), NULL, 0, value, keep_ttl)

    cdef int _store(self, int db, unsigned slot, const char* key, size_t size, uint32_t meta,
                    const char* value, size_t value_size, int64_t integer, bint keep_ttl) except -2:
        """Make `key` a string of the encoding in `meta`, whatever it was."""
        cdef uint64_t hash = siphash(key, size)
        cdef uint64_t* word = self._locate(db, slot, hash, key, size)
        cdef entry_t* old = NULL if word == NULL else _entry_of(word)
        cdef entry_t* fresh
        if old == NULL:
            meta |= fresh_clock(&self.recency, self.now_ms)
        else:
            meta |= used_clock(&self.recency, entry_clock(old), self.now_ms)
            if keep_ttl:
                meta |= old.meta & EXPIRES
            if rewrite_entry(old, meta, value, value_size, integer):
                return 0
        fresh = new_string(meta, key, size, value, value_size, integer)
        if fresh == NULL:
            return -1
        if fresh.meta & EXPIRES:
            entry_expiry(fresh)[0] = entry_expiry(old)[0]
        if old != NULL:
            self._exchange(db, slot, hash, word, fresh)
            self._free(old, self.lazy_server_del)
        elif self._insert(db, slot, hash, fresh) < 0:
            free_entry(fresh)
            return -1
        return 0

    cdef int get_integer(self, const entry_t* entry, int64_t* value) noexcept nogil:
        if entry_encoding(entry) == INTEGER:
            value[0] = <int64_t>entry_words(entry)[0]
            return 1
        if entry_encoding(entry) == INLINE:      # a RAW one is too long to be an integer
            return read_integer(entry_key_text(entry) + entry_key_size(entry), entry.value_size, value)
        return 0

    # --- Aggregates

    cdef entry_t* find_or_create(self, int db, unsigned slot, const char* key, size_t size, int kind):
        cdef uint64_t hash = siphash(key, size)
        cdef uint64_t* word = self._locate(db, slot, hash, key, size)
        cdef packed_t native
        cdef entry_t* entry
        if word != NULL:
            return _entry_of(word)
        native_begin(kind, &native)
        entry = new_native(kind_bits(kind, NATIVE) | fresh_clock(&self.recency, self.now_ms), key, size, &native)
        if entry != NULL and self._insert(db, slot, hash, entry) < 0:
            free_entry(entry)
            return NULL
        self.created = entry
        self.created_in = db
        return entry

    cpdef int drop_created(self) except -2:
        """The command at hand has failed: an aggregate that it has created to fill it, and has not, goes."""
        cdef entry_t* entry = self.created
        cdef const char* key
        cdef size_t size
        self.created = NULL
        if entry == NULL or native_len(entry_type(entry), entry_native(entry)):
            return 0
        entry_key(entry, &key, &size)
        free_entry(self._take_out(self.created_in, key, size))
        return 1

    cdef entry_t* _take_out(self, int db, const char* key, size_t size) noexcept nogil:
        """A key that is there, as `_detach`."""
        cdef unsigned slot = key_slot(key, size)
        cdef uint64_t hash = siphash(key, size)
        return self._detach(db, slot, hash, self._peek(db, slot, hash, key, size))

    # --- Changes and who hears of them

    cdef int changed(self, int db, unsigned slot, const char* key, size_t size) except -2:
        return self._changed(db, slot, key, size, 1)

    cdef int string_changed(self, int db, const char* key, size_t size) except -2:
        self.dirty += 1
        self._tell(db, key, size, True)
        return 0

    cdef int _changed(self, int db, unsigned slot, const char* key, size_t size, unsigned times) except -2:
        cdef uint64_t hash = siphash(key, size)
        cdef uint64_t* word = self._peek(db, slot, hash, key, size)
        cdef entry_t* entry = NULL if word == NULL else _entry_of(word)
        cdef packed_t* native = NULL if entry == NULL else entry_native(entry)
        cdef int emptied = 0
        if native != NULL and native_len(entry_type(entry), native) == 0:
            free_entry(self._detach(db, slot, hash, word))
            emptied = 1
        self.dirty += times
        self._tell(db, key, size, entry != NULL and not emptied)
        return emptied

    cdef int _tell(self, int db, const char* key, size_t size, bint exists) except -1:
        """Watchers and waiters of a key that was changed; two tests when there are none."""
        cdef object name
        if self.watched:
            name = (db, key[:size])
            if name in self.watched:
                self.dirty_clients.update(self.watched[name])
        if exists and self.waiting:
            name = (db, key[:size])
            if name in self.waiting:
                self.ready.append(name)
        return 0

    cdef void _free(self, entry_t* entry, bint lazily) noexcept nogil:
        if lazily:
            self.lazy.add(entry)
        else:
            free_entry(entry)

    cdef bint delete(self, int db, unsigned slot, const char* key, size_t size, bint lazily):
        cdef uint64_t hash = siphash(key, size)
        cdef uint64_t* word = self._locate(db, slot, hash, key, size)
        if word == NULL:
            return False
        self._free(self._detach(db, slot, hash, word), lazily)
        self.dirty += 1
        self._tell(db, key, size, False)
        return True

    cdef int _expire(self, int db, unsigned slot, uint64_t hash, uint64_t* word) except -1:
        """Delete a key because of its time. No change in the sense of `dirty`: a read can cause it."""
        cdef entry_t* entry = self._detach(db, slot, hash, word)
        self.expired += 1
        try:
            if self.effects_wanted:
                self.expired_effects.append((db, (b"UNLINK", key_of(entry))))
            self._tell(db, entry_key_text(entry), entry_key_size(entry), False)
        finally:
            self._free(entry, self.lazy_expire)
        return 0

    cdef bint evict(
        self, int db, unsigned slot, uint64_t hash, const char* key, size_t size, bint volatile_only
    ) except -1:
        cdef uint64_t* word = self._peek(db, slot, hash, key, size)
        cdef entry_t* entry
        if word == NULL or (volatile_only and not word[0] & FLAG):
            return False
        entry = self._detach(db, slot, hash, word)
        self.evicted += 1
        try:
            if self.effects_wanted:
                self.expired_effects.append((db, (b"UNLINK", key_of(entry))))
            self._tell(db, entry_key_text(entry), entry_key_size(entry), False)
        finally:
            self._free(entry, self.lazy_eviction)
        return True

    cdef int set_expire_at(self, int db, entry_t* entry, int64_t at_ms) noexcept:
        cdef size_t size = entry_key_size(entry)
        cdef unsigned slot = key_slot(entry_key_text(entry), size)
        cdef uint64_t hash = siphash(entry_key_text(entry), size)
        cdef bint wanted = at_ms != -1
        cdef uint64_t* word
        cdef entry_t* moved
        if wanted != ((entry.meta & EXPIRES) != 0):
            word = self._peek(db, slot, hash, entry_key_text(entry), size)
            moved = with_expiry(entry) if wanted else without_expiry(entry)
            if moved == NULL:
                return -1
            entry = moved
            self._exchange(db, slot, hash, word, entry)
        if wanted:
            entry_expiry(entry)[0] = at_ms
        return 0

    # --- Whole entries under another name or in another database

    cdef void _rename(self, int db, bytes source, bytes destination) except *:
        cdef unsigned slot = key_slot(source, len(source)), other_slot = key_slot(destination, len(destination))
        cdef uint64_t hash = siphash(source, len(source)), other_hash = siphash(destination, len(destination))
        cdef uint64_t* word = self._locate(db, slot, hash, source, len(source))
        cdef uint64_t* other
        cdef entry_t* fresh
        cdef entry_t* overwritten
        if word == NULL:
            raise again(errors.NO_SUCH_KEY)
        if source == destination:
            return
        # Let the destination expire before it is overwritten; that may move words
        self._locate(db, other_slot, other_hash, destination, len(destination))
        word = self._peek(db, slot, hash, source, len(source))
        fresh = renamed_entry(_entry_of(word), destination, len(destination))
        if fresh == NULL:
            raise again(errors.OUT_OF_MEMORY)
        other = self._peek(db, other_slot, other_hash, destination, len(destination))
        if other != NULL:
            overwritten = _entry_of(other)
            self._exchange(db, other_slot, other_hash, other, fresh)
            self._free(overwritten, self.lazy_server_del)
        elif self._insert(db, other_slot, other_hash, fresh) < 0:
            free_block(fresh)
            raise again(errors.OUT_OF_MEMORY)
        word = self._peek(db, slot, hash, source, len(source))
        free_block(self._detach(db, slot, hash, word))      # its value has moved on
        self.dirty += 1
        self._tell(db, source, len(source), False)
        self._tell(db, destination, len(destination), True)

    cdef bint _copy(self, int db, bytes source, int other_db, bytes destination) except -1:
        cdef entry_t* entry = self.find(db, key_slot(source, len(source)), source, len(source))
        cdef unsigned slot = key_slot(destination, len(destination))
        cdef uint64_t hash = siphash(destination, len(destination))
        cdef entry_t* fresh
        cdef entry_t* overwritten
        cdef uint64_t* word
        if entry == NULL:
            return False
        if db == other_db and source == destination:
            return True
        fresh = copied_entry(entry, destination, len(destination), fresh_clock(&self.recency, self.now_ms))
        if fresh == NULL:
            raise again(errors.OUT_OF_MEMORY)
        word = self._locate(other_db, slot, hash, destination, len(destination))
        if word != NULL:
            overwritten = _entry_of(word)
            self._exchange(other_db, slot, hash, word, fresh)
            self._free(overwritten, self.lazy_server_del)
        elif self._insert(other_db, slot, hash, fresh) < 0:
            free_entry(fresh)
            raise again(errors.OUT_OF_MEMORY)
        self.dirty += 1
        self._tell(other_db, destination, len(destination), True)
        return True

    cdef int _overwrite(self, int db, bytes key, int kind, const packed_t* native) except -1:
        """Give a key an aggregate that was built apart, which is the keyspace's from then on."""
        cdef unsigned slot = key_slot(key, len(key))
        cdef uint64_t hash = siphash(key, len(key))
        cdef uint64_t* word = self._locate(db, slot, hash, key, len(key))
        cdef entry_t* overwritten
        cdef entry_t* fresh = new_native(
            kind_bits(kind, NATIVE) | fresh_clock(&self.recency, self.now_ms), key, len(key), native
        )
        if fresh == NULL:
            raise again(errors.OUT_OF_MEMORY)
        if word != NULL:
            overwritten = _entry_of(word)
            self._exchange(db, slot, hash, word, fresh)
            self._free(overwritten, self.lazy_server_del)
            self.dirty += 1
        elif self._insert(db, slot, hash, fresh) < 0:
            free_block(fresh)
            raise again(errors.OUT_OF_MEMORY)
        self.dirty += 1
        self._tell(db, key, len(key), True)
        return 0

    cdef bint _move(self, int db, bytes key, int other_db) except -1:
        cdef unsigned slot = key_slot(key, len(key))
        cdef uint64_t hash = siphash(key, len(key))
        cdef uint64_t* word = self._locate(db, slot, hash, key, len(key))
        if word == NULL or db == other_db or self._locate(other_db, slot, hash, key, len(key)) != NULL:
            return False
        if self._insert(other_db, slot, hash, _entry_of(word)) < 0:
            raise again(errors.OUT_OF_MEMORY)
        self._detach(db, slot, hash, word)
        self.dirty += 1
        self._tell(db, key, len(key), False)
        self._tell(other_db, key, len(key), True)
        return True

    cdef int adopt(
        self, int db, const char* key, size_t size, int kind, const packed_t* native, int64_t expire_at, uint32_t clock
    ) except -2:
        cdef unsigned slot = key_slot(key, size)
        cdef uint64_t hash = siphash(key, size)
        cdef uint32_t meta = kind_bits(kind, NATIVE) | clock | (EXPIRES if expire_at != -1 else 0)
        cdef entry_t* entry
        if kind not in (LIST, SET, ZSET, HASH):
            raise ValueError(f"a value of type {kind} cannot be adopted")
        if self._peek(db, slot, hash, key, size) != NULL:
            return 1
        entry = new_native(meta, key, size, native)
        if entry == NULL:
            return -1
        if expire_at != -1:
            entry_expiry(entry)[0] = expire_at
        if self._insert(db, slot, hash, entry) < 0:
            free_block(entry)
            return -1
        return 0

    cdef int adopt_string(self, int db, const char* key, size_t size, const char* value, size_t value_size,
                          int64_t expire_at, uint32_t clock) except -2:
        cdef unsigned slot = key_slot(key, size)
        cdef uint64_t hash = siphash(key, size)
        cdef int64_t integer = 0
        cdef int encoding = INLINE if value_size <= INLINE_MAX else RAW
        cdef uint32_t meta = clock | (EXPIRES if expire_at != -1 else 0)
        cdef entry_t* entry
        if self._peek(db, slot, hash, key, size) != NULL:
            return 1
        if read_integer(value, value_size, &integer):
            encoding = INTEGER
        entry = new_string(kind_bits(STRING, encoding) | meta, key, size, value, value_size, integer)
        if entry == NULL:
            return -1
        if expire_at != -1:
            entry_expiry(entry)[0] = expire_at
        if self._insert(db, slot, hash, entry) < 0:
            free_entry(entry)
            return -1
        return 0

    # --- Sizes

    cdef size_t size(self, int db) noexcept nogil:
        return self._bases[db].keys

    cdef size_t volatile(self, int db) noexcept nogil:
        return self._bases[db].volatiles

    cdef int64_t average_ttl_ms(self, int db) noexcept nogil:
        return <int64_t>self._bases[db].average_ttl_ms

    cdef size_t table_bytes(self, int db) noexcept nogil:
        return self._bases[db].table_bytes

    def counts(self, int db):
        """(keys, keys with an expiry, average time to live of these in ms, estimated) as INFO keyspace reports them."""
        self._check_database(db)
        return self._bases[db].keys, self._bases[db].volatiles, int(self._bases[db].average_ttl_ms)

    def slot_size(self, int db, unsigned slot):
        """How many keys a slot has."""
        self._check_database(db)
        cdef directory_t* directory = self._bases[db].directory
        return 0 if directory == NULL or slot >= SLOTS else directory.counts[slot].keys

    def used_memory(self):
        """Bytes allocated for tables, entries and values: by all keyspaces of this process, of which there is one."""
        return used_in_all()

    def _check_database(self, int db):
        if not 0 <= db < self.databases:
            raise IndexError(f"no database {db}")

    # --- Walks

    cdef entry_t* next(self, int db, keyspace_position* position) noexcept nogil:
        cdef directory_t* directory = self._bases[db].directory
        cdef entry_t* entry
        if directory == NULL:
            return NULL
        while position.slot < SLOTS:
            if position.place.word == 0 and directory.groups[position.slot // SLOTS_PER_GROUP].keys == 0:
                position.slot = (position.slot // SLOTS_PER_GROUP + 1) * SLOTS_PER_GROUP
                continue
            entry = self.next_in_slot(db, position)
            if entry != NULL:
                return entry
            position.slot += 1
            position.place = place_t(0, 0)
        return NULL

    cdef entry_t* next_in_slot(self, int db, keyspace_position* position) noexcept nogil:
        cdef directory_t* directory = self._bases[db].directory
        cdef uint64_t* word
        if directory == NULL:
            return NULL
        word = table_next(&directory.tables[position.slot], &position.place)
        return NULL if word == NULL else _entry_of(word)

    def walk(self, int db):
        """Every key: (key, type name, value, expiry in ms or -1); a sorted set as a list of (member, score)."""
        cdef keyspace_position position
        cdef entry_t* entry
        cdef list found
        cdef int slot
        self._check_database(db)
        for slot in range(SLOTS):
            position.slot = slot
            position.place = place_t(0, 0)
            found = []      # of one slot, so that the caller may change keys between two of them
            while True:
                entry = self.next_in_slot(db, &position)
                if entry == NULL:
                    break
                kind = type_name(entry_type(entry))
                found.append((key_of(entry), kind, _value_of(entry), entry_expire_at(entry)))
            yield from found

    cdef uint64_t _random(self) noexcept nogil:
        return random_bits()

    cdef entry_t* _pick(self, int db, bint volatile_only) noexcept nogil:
        """Any key, or any with an expiry, each with the same probability: by rank through groups and tables. NULL if
        there is none."""
        cdef directory_t* directory = self._bases[db].directory
        cdef table_t* table
        cdef uint64_t rank, count
        cdef unsigned group = 0, slot
        count = self._bases[db].volatiles if volatile_only else self._bases[db].keys
        if count == 0:
            return NULL
        rank = below(random_bits(), count)
        while True:
            count = directory.groups[group].volatiles if volatile_only else directory.groups[group].keys
            if rank < count:
                break
            rank -= count
            group += 1
        slot = group * SLOTS_PER_GROUP
        while True:
            count = directory.counts[slot].volatiles if volatile_only else directory.counts[slot].keys
            if rank < count:
                break
            rank -= count
            slot += 1
        table = &directory.tables[slot]
        return _entry_of(table_flagged_at(table, rank) if volatile_only else table_random(table, random_bits()))

    # --- Emptying

    cdef int clear(self, int db, bint lazily) except -2:
        cdef int which
        self.created = NULL
        self._dirty_watchers(db)
        for which in range(self.databases):
            if db == -1 or which == db:
                self.dirty += self._bases[which].keys
                self._clear_one(which, lazily)
        return 0

    cdef int _clear_one(self, int db, bint lazily) noexcept nogil:
        """Free all that a database has, at once or by and by."""
        cdef database_t* base = &self._bases[db]
        cdef keyspace_position position
        cdef entry_t* entry
        cdef int slot
        if base.directory == NULL:
            return 0
        if lazily:
            self.lazy.add_directory(base.directory, sizeof(directory_t), base.directory.tables, base.keys)
            memset(base, 0, sizeof(database_t))
            return 0
        memset(&position, 0, sizeof(position))
        while True:
            entry = self.next(db, &position)
            if entry == NULL:
                break
            free_entry(entry)
        for slot in range(SLOTS):
            table_close(&base.directory.tables[slot], TABLES)
        release(base.directory, sizeof(directory_t), TABLES)
        memset(base, 0, sizeof(database_t))
        return 0

    def flush(self, int db=-1, *, bint lazily=False):
        """Delete every key of a database, or of all (-1); each counts as a change, those who watch one hear of it.
        `lazily`: their memory is freed by and by."""
        if db != -1:
            self._check_database(db)
        self.clear(db, lazily)

    def _dirty_watchers(self, int db):
        """Mark the clients that watch a key that exists in `db` (-1: in any)."""
        cdef int which
        cdef bytes key
        for (which, key), clients in self.watched.items():
            if db not in (-1, which):
                continue
            if self._peek(which, key_slot(key, len(key)), siphash(key, len(key)), key, len(key)) != NULL:
                self.dirty_clients.update(clients)

    def swap(self, int first, int second):
        """SWAPDB: exchange two databases. Watchers of a key that exists in either are marked, waiters woken."""
        cdef database_t held
        self._check_database(first)
        self._check_database(second)
        if first == second:
            return
        self._dirty_watchers(first)
        self._dirty_watchers(second)
        held = self._bases[first]
        self._bases[first] = self._bases[second]
        self._bases[second] = held
        self._dirty_watchers(first)
        self._dirty_watchers(second)
        self.dirty += 1
        for which, key in self.waiting:
            if which in (first, second) and self.find(which, key_slot(key, len(key)), key, len(key)) != NULL:
                self.ready.append((which, key))

    # --- Expiry cycle

    def volatile_databases(self) -> list[int]:
        """Those that hold keys with an expiry, in order."""
        cdef int db
        return [db for db in range(self.databases) if self._bases[db].volatiles]

    def expire_some(self, int db, int max_checked):
        """Go on with the expiry cycle of a database: delete what has expired among the next volatile keys.

        Looks at up to `max_checked` of them, beginning where the last call stopped, and at no more than 64 words or
        slots for each, so that the work is bounded where few keys are volatile. Keeps the estimate of the average
        time to live.

        :returns: (volatile keys looked at, how many of them were deleted)
        """
        cdef database_t* base
        cdef int64_t left_ms, sum_ms = 0
        cdef int checked = 0, expired = 0
        cdef int64_t looks
        cdef uint64_t* word
        self._check_database(db)
        base = &self._bases[db]
        if not self.may_expire or base.volatiles == 0 or max_checked <= 0:
            return 0, 0
        looks = LOOKS_PER_VOLATILE * <int64_t>max_checked
        while checked < max_checked and base.volatiles:
            word = _next_volatile(base, &looks)
            if word == NULL:
                base.expire_slot %= SLOTS       # from the end to the beginning, for the next call
                break
            checked += 1
            left_ms = entry_expiry(_entry_of(word))[0] - self.now_ms
            if left_ms < 0:
                self._expire(db, base.expire_slot, _hash_of(_entry_of(word)), word)
                expired += 1
            else:
                base.expire_skip += 1
                sum_ms += left_ms
        if checked > expired:
            _average(base, <double>sum_ms / (checked - expired))
        return checked, expired

    # --- Invariants

    def validate(self, *, bint alone=False):
        """Check every invariant of every database; AssertionError names the one that is broken.

        :param alone: nobody else in this process takes memory from the allocator, so that each account must be exact
        """
        cdef size_t[ACCOUNTS] found
        cdef int db, account
        memset(found, 0, sizeof(found))
        for db in range(self.databases):
            self._validate_database(db, found)
        for account in range(ACCOUNTS):
            known = used_by(account)
            assert found[account] <= known, f"account {account}: {found[account]} bytes are there, {known} counted"
            assert found[account] == known or self.lazy.count or not alone, \
                f"account {account}: {found[account]} bytes are there, {known} counted"
        return sum(found[account] for account in range(ACCOUNTS))

    cdef int _validate_database(self, int db, size_t* found) except -1:
        cdef database_t* base = &self._bases[db]
        cdef uint64_t keys = 0, volatiles = 0, group_keys, group_volatiles
        cdef size_t tables_before = found[TABLES]
        cdef int group, slot
        if base.directory == NULL:
            assert base.keys == 0 and base.volatiles == 0, f"database {db} has a count and no directory"
            assert base.table_bytes == 0, f"database {db} has {base.table_bytes} bytes of tables and no directory"
            return 0
        found[TABLES] += footprint(base.directory, sizeof(directory_t))
        for group in range(GROUPS):
            group_keys = group_volatiles = 0
            for slot in range(group * SLOTS_PER_GROUP, (group + 1) * SLOTS_PER_GROUP):
                assert base.directory.counts[slot].keys == table_count(&base.directory.tables[slot]), f"{db=} {slot=}"
                assert base.directory.counts[slot].volatiles == table_flagged(&base.directory.tables[slot])
                group_keys += base.directory.counts[slot].keys
                group_volatiles += base.directory.counts[slot].volatiles
                if base.directory.tables[slot].root:
                    self._validate_table(db, slot, found)
            assert group_keys == base.directory.groups[group].keys, f"keys of group {group} of database {db}"
            assert group_volatiles == base.directory.groups[group].volatiles, f"volatile keys of group {group}, {db=}"
            keys += group_keys
            volatiles += group_volatiles
        assert keys == base.keys, f"database {db} has {keys} keys and counts {base.keys}"
        assert volatiles == base.volatiles, f"database {db} has {volatiles} volatile keys and counts {base.volatiles}"
        assert found[TABLES] - tables_before == base.table_bytes, \
            f"tables of database {db} take {found[TABLES] - tables_before} bytes and count {base.table_bytes}"
        return 0

    cdef int _validate_table(self, int db, unsigned slot, size_t* found) except -1:
        cdef table_t* table = &self._bases[db].directory.tables[slot]
        cdef const char* problem = table_check(table, &_entries)
        cdef place_t place = place_t(0, 0)
        cdef uint64_t* word
        cdef set seen = set()
        assert problem == NULL, f"database {db} slot {slot}: {problem}"
        while True:
            word = table_next(table, &place)
            if word == NULL:
                found[TABLES] += table_memory(table)
                return 0
            key = _validate_entry(_entry_of(word), slot, (word[0] & FLAG) != 0)
            assert key not in seen, f"{key!r} is there twice"
            seen.add(key)
            found[entry_type(_entry_of(word))] += entry_memory(_entry_of(word), 0)
