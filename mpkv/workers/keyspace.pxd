# One shard's keys. See keyspace.pyx.
#
# Who works on entries finds all that is needed of them here too.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mpkv.resp.parser cimport arg_t
from mpkv.types.aggregate cimport HASH, LIST, SET, STRING, ZSET
from mpkv.workers.lazyfree cimport LazyFree
from mpkv.workers.recency cimport frequency_of, idle_seconds_of, recency_t, told_clock
from mpkv.workers.entry cimport (
    entry_clock, entry_expire_at, entry_key, entry_memory, entry_native, entry_string, entry_t, entry_type,
)
from mpkv.types.packed cimport packed_t
from mpkv.types.table cimport place_t, table_t

cdef enum:
    SLOTS_PER_GROUP = 128

ctypedef struct group_t:
    uint64_t keys
    uint64_t volatiles

# How many keys a slot has: as its table says, but all in one place
ctypedef struct slot_count_t:
    uint32_t keys
    uint32_t volatiles

ctypedef struct directory_t:
    group_t[128] groups
    slot_count_t[16384] counts
    table_t[16384] tables

ctypedef struct database_t:
    directory_t* directory  # NULL: nothing was stored here since the last flush
    uint64_t keys
    uint64_t volatiles
    double average_ttl_ms
    size_t table_bytes      # of its directory and tables
    uint32_t expire_slot    # where the expiry cycle goes on …
    uint64_t expire_prefix  # … of the keys' hashes …
    uint32_t expire_skip    # … and volatile keys of that prefix that it has passed

# A shared error, ready to be raised
cdef object again(object error)

# A walk over one database; all zeroes is the beginning. Writes nothing (R9).
ctypedef struct keyspace_position:
    uint32_t slot
    place_t place

cdef class Keyspace:
    """All databases of one shard."""
    cdef readonly int databases
    cdef readonly int shard, shards
    cdef readonly unsigned first_slot, end_slot     # the shard's range, end_slot not included
    cdef public int64_t now_ms          # the largest stamp received (R4)
    cdef public uint64_t dirty          # changes since start: how execution knows that a command wrote
    cdef public uint64_t hits, misses, expired, evicted
    cdef public bint may_expire         # off while keys are held or loaded: nothing is absent then because of its time
    cdef public bint snapshot_running   # a child shares the memory: no LRU clock on reads, no early resizing

    # Hooks of the execution core. Each costs one test when it is not in use.
    cdef public dict watched            # (db, key) -> set of client ids
    cdef public set dirty_clients       # those whose watched key was changed
    cdef public dict waiting            # (db, key) -> whatever the core keeps of blocked clients
    cdef public list ready              # (db, key) in order, of keys in `waiting` that were changed and exist
    cdef public bint torn               # a change of several steps has stopped between two of them
    cdef public bint effects_wanted
    cdef public list effects            # (db, words): what handlers declared
    cdef public list expired_effects    # (db, (b"UNLINK", key)): of keys that expired

    cdef size_t large                   # a word of so many bytes, alone in a reply, is left where it is …
    cdef arg_t left                     # … which is here: see workers/shortcuts

    cdef recency_t recency              # how the clocks of entries run
    cdef readonly LazyFree lazy         # what was deleted and is not yet freed
    cdef public bint lazy_expire, lazy_server_del, lazy_user_del, lazy_user_flush, lazy_eviction

    cdef database_t* _bases
    cdef entry_t* created               # by `find_or_create`, for the command that is being run …
    cdef int created_in                 # … and in which database

    # NULL when absent; an entry that expired is deleted first (counted, its effect recorded, watchers told)
    cdef entry_t* find(self, int db, unsigned slot, const char* key, size_t size)
    # the same for a command that reads: counts a hit or a miss and moves the LRU clock
    cdef entry_t* find_for_read(self, int db, unsigned slot, const char* key, size_t size)
    cdef void touch(self, entry_t* entry) noexcept nogil
    # what a look-up that is to come will need, step by step: brought into the cache early
    cdef void fetch_place(self, int db, unsigned slot) noexcept nogil
    cdef void fetch_table(self, int db, unsigned slot) noexcept nogil
    cdef void fetch_entry(self, int db, unsigned slot, const char* key, size_t size) noexcept nogil
    # set a string; replaces a value of any type. keep_ttl: the old expiry stays. 0, -1 no memory.
    # Not counted as a change: call string_changed() or changed()
    cdef int put_string(self, int db, unsigned slot, const char* key, size_t size,
                         const char* value, size_t value_size, bint keep_ttl) except -2
    # the same for what APPEND and SETRANGE leave: never stored as an integer, and OBJECT ENCODING says «raw»
    cdef int put_raw_string(self, int db, unsigned slot, const char* key, size_t size,
                         const char* value, size_t value_size, bint keep_ttl) except -2
    cdef int put_integer(self, int db, unsigned slot, const char* key, size_t size, int64_t value,
                          bint keep_ttl) except -2
    # 1 and the number when the string is stored as an integer or is the text of one
    cdef int get_integer(self, const entry_t* entry, int64_t* value) noexcept nogil
    # the entry for an aggregate, created empty when absent (caller makes it non-empty and calls changed()); NULL no
    # memory. A wrong type is the caller's to see: entry_type(entry) != kind.
    # An aggregate; what is new and still empty when its command fails goes with `drop_created`
    cdef entry_t* find_or_create(self, int db, unsigned slot, const char* key, size_t size, int kind)
    # whether it was there. Counts `dirty` and tells watchers itself. lazily: a large value is freed by and by
    cpdef int drop_created(self) except -2
    cdef entry_t* _take_out(self, int db, const char* key, size_t size) noexcept nogil
    cdef bint delete(self, int db, unsigned slot, const char* key, size_t size, bint lazily)
    # Delete a key because memory is short; False if it is not there, or has no expiry where it must. `key` is not the
    # entry's own
    cdef bint evict(
        self, int db, unsigned slot, uint64_t hash, const char* key, size_t size, bint volatile_only
    ) except -1
    # -1 removes it. May move the entry: find it again. 0, -1 no memory. Not counted: call changed()
    cdef int set_expire_at(self, int db, entry_t* entry, int64_t at_ms) noexcept
    # After a write to a key: counts `dirty`, tells watchers and waiters, deletes an aggregate that became empty
    # (then 1, else 0).
    cdef int changed(self, int db, unsigned slot, const char* key, size_t size) except -2
    # changed() for a key that now holds a string: nothing to look up
    cdef int string_changed(self, int db, const char* key, size_t size) except -2
    cdef size_t size(self, int db) noexcept nogil               # keys, those expired but not yet deleted included
    cdef size_t volatile(self, int db) noexcept nogil      # keys with an expiry
    cdef int64_t average_ttl_ms(self, int db) noexcept nogil    # of these, estimated
    cdef size_t table_bytes(self, int db) noexcept nogil        # what holds them together
    cdef entry_t* next(self, int db, keyspace_position* position) noexcept nogil     # NULL at the end
    # the same within position.slot
    cdef entry_t* next_in_slot(self, int db, keyspace_position* position) noexcept nogil
    cdef int clear(self, int db, bint lazily) except -2         # -1: all databases
    # Insert while loading: a value of type `kind`, whose words are taken over. 0 = done; the value is not taken if
    # 1 = key was there already, -1 = no memory. `clock`: see recency.pxd
    cdef int adopt(
        self, int db, const char* key, size_t size, int kind, const packed_t* native, int64_t expire_at, uint32_t clock
    ) except -2
    cdef int adopt_string(self, int db, const char* key, size_t size, const char* value, size_t value_size,
                           int64_t expire_at, uint32_t clock) except -2

    cdef uint64_t* _peek(self, int db, unsigned slot, uint64_t hash, const char* key, size_t size) noexcept nogil
    cdef uint64_t* _locate(self, int db, unsigned slot, uint64_t hash, const char* key, size_t size) except? NULL
    cdef int _insert(self, int db, unsigned slot, uint64_t hash, entry_t* entry) noexcept nogil
    cdef void _exchange(self, int db, unsigned slot, uint64_t hash, uint64_t* word, entry_t* fresh) noexcept nogil
    cdef entry_t* _detach(self, int db, unsigned slot, uint64_t hash, uint64_t* word) noexcept nogil
    cdef void _count_volatile(self, int db, unsigned slot, int change) noexcept nogil
    cdef int _store(self, int db, unsigned slot, const char* key, size_t size, uint32_t meta,
                    const char* value, size_t value_size, int64_t integer, bint keep_ttl) except -2
    cdef int _changed(self, int db, unsigned slot, const char* key, size_t size, unsigned times) except -2
    cdef int _tell(self, int db, const char* key, size_t size, bint exists) except -1
    cdef int _expire(self, int db, unsigned slot, uint64_t hash, uint64_t* word) except -1
    cdef int _clear_one(self, int db, bint lazily) noexcept nogil
    cdef void _free(self, entry_t* entry, bint lazily) noexcept nogil
    cdef void _rename(self, int db, bytes source, bytes destination) except *
    cdef bint _copy(self, int db, bytes source, int other_db, bytes destination) except -1
    cdef int _overwrite(self, int db, bytes key, int kind, const packed_t* native) except -1
    cdef bint _move(self, int db, bytes key, int other_db) except -1
    cdef uint64_t _random(self) noexcept nogil
    cdef int _validate_database(self, int db, size_t* found) except -1
    cdef int _validate_table(self, int db, unsigned slot, size_t* found) except -1
    cdef entry_t* _pick(self, int db, bint volatile_only) noexcept nogil
