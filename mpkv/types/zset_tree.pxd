# The order of a large sorted set: a counted tree of entries. See zset_tree.pyx.

from libc.stdint cimport uint32_t, uint64_t

from mpkv.types.zset_entry cimport zset_entry

cdef enum:
    LEAF_PLACES = 64
    BRANCH_PLACES = 32

ctypedef struct zset_leaf:
    zset_leaf* prev
    zset_leaf* next
    uint64_t count
    double scores[LEAF_PLACES]           # beside the entries, so that a search touches few of them
    zset_entry* entries[LEAF_PLACES]

ctypedef struct zset_branch:
    uint64_t count
    double scores[BRANCH_PLACES]         # of the lowest entry below each child
    zset_entry* lowest[BRANCH_PLACES]
    uint64_t weights[BRANCH_PLACES]      # entries below each child
    void* children[BRANCH_PLACES]

ctypedef struct zset_tree:
    void* root                           # a zset_leaf when height is 0, else a zset_branch
    zset_leaf* first
    zset_leaf* last
    size_t memory                        # bytes of leaves and branches
    uint32_t height

# A place in the order: before or after everything of this score, this member or both.
ctypedef struct zset_bound:
    bint by_score
    bint by_member
    bint after                           # after what is equal
    double score
    const char* member
    size_t size

cdef int tree_open(zset_tree* self) noexcept nogil                       # 0, -1 no memory
cdef void tree_close(zset_tree* self) noexcept nogil
# Free leaves of about so many entries; whether nothing is left. In between the tree is good for nothing else
cdef bint tree_close_some(zset_tree* self, size_t entries) noexcept nogil
cdef int tree_insert(zset_tree* self, double score, zset_entry* entry) noexcept nogil        # 0, -1 no memory
cdef void tree_remove(zset_tree* self, double score, const zset_entry* entry) noexcept nogil     # it is there
# Change a score where that does not change the order; 0 = it would, nothing done
cdef int tree_rescore(zset_tree* self, double old, zset_entry* entry, double score) noexcept nogil
cdef size_t tree_count_before(const zset_tree* self, const zset_bound* bound) noexcept nogil
# Where the entry of this rank is (less than the number of entries)
cdef zset_leaf* tree_select(const zset_tree* self, size_t rank, size_t* place) noexcept nogil
# NULL, or which rule is broken
cdef const char* tree_check(const zset_tree* self, size_t length) noexcept nogil
