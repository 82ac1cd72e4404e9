"""The order of a large sorted set: a B+ tree of pointers to entries that counts what is below each child.

Leaves hold up to 64 pointers and are linked both ways, so a walk is an array scan; branches hold up to 32 children,
the number of entries below each (rank and selection in O(log n)) and each one's lowest entry. Scores lie beside the
pointers: a search follows a pointer only where scores are equal. All in all 16 bytes per entry in full leaves, 23 in
leaves filled at random; a skip list takes 30 and a cache miss per step.

A leaf that is full at the very end of the order is followed by an empty one instead of being split: members that
arrive in order (times, sequence numbers) leave full leaves behind. Nodes that fall under a quarter are joined with a
neighbour.

Inserting allocates what its splits need before it changes anything; removing allocates nothing.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memmove

from mpkv.types.allocator cimport ZSETS, allocate, footprint, release
from mpkv.types.zset_entry cimport compare_members, entry_member, zset_entry

cdef enum:
    HEIGHT_MAX = 24              # what grows by halving full nodes stays far below it
    BRANCH_COST = 64             # giving a branch back takes as long as so many entries

# A way from the root to a leaf: the node of each level, 0 being the leaf, and the place in it.
ctypedef struct path_t:
    void* nodes[HEIGHT_MAX]
    size_t places[HEIGHT_MAX]

cdef uint64_t _leaf_limit = LEAF_PLACES
cdef uint64_t _branch_limit = BRANCH_PLACES


def set_node_limits(leaf: int, branch: int) -> None:
    """How many places of a node are used: tests choose a few, so that small sets make high trees.

    For sets that are created afterwards.
    """
    global _leaf_limit, _branch_limit
    if not (2 <= leaf <= LEAF_PLACES and 4 <= branch <= BRANCH_PLACES):
        raise ValueError((leaf, branch))
    _leaf_limit = leaf
    _branch_limit = branch


# -- nodes -------------------------------------------------------------------------------------------------------------

cdef inline size_t _node_bytes(uint32_t height) noexcept nogil:
    return sizeof(zset_branch) if height else sizeof(zset_leaf)


cdef inline uint64_t _node_limit(uint32_t height) noexcept nogil:
    return _branch_limit if height else _leaf_limit


cdef inline uint64_t* _count_of(void* node, uint32_t height) noexcept nogil:
    return &(<zset_branch*>node).count if height else &(<zset_leaf*>node).count


cdef void* _node_new(zset_tree* self, uint32_t height) noexcept nogil:
    cdef void* node = allocate(_node_bytes(height), ZSETS)
    if node == NULL:
        return NULL
    _count_of(node, height)[0] = 0
    self.memory += footprint(node, _node_bytes(height))
    return node


cdef void _node_free(zset_tree* self, void* node, uint32_t height) noexcept nogil:
    self.memory -= footprint(node, _node_bytes(height))
    release(node, _node_bytes(height), ZSETS)


cdef int tree_open(zset_tree* self) noexcept nogil:
    cdef zset_leaf* leaf
    self.memory = 0
    self.height = 0
    leaf = <zset_leaf*>_node_new(self, 0)
    if leaf == NULL:
        return -1
    leaf.prev = leaf.next = NULL
    self.root = leaf
    self.first = self.last = leaf
    return 0


cdef bint _close_branches(zset_tree* self, size_t most) noexcept nogil:
    """Free what is above the leaves, the last branches first, but no more than so many; whether all have gone."""
    cdef zset_branch* above
    cdef zset_branch* branch
    cdef uint32_t height
    while self.root != NULL and self.height:
        if most == 0:
            return False
        above = NULL
        branch = <zset_branch*>self.root
        height = self.height
        while height > 1 and branch.count:
            above = branch
            branch = <zset_branch*>branch.children[branch.count - 1]
            height -= 1
        release(branch, _node_bytes(1), ZSETS)
        most -= 1
        if above == NULL:
            self.root = NULL
        else:
            above.count -= 1
    self.root = NULL
    return True


cdef void tree_close(zset_tree* self) noexcept nogil:
    tree_close_some(self, <size_t>-1)


cdef bint tree_close_some(zset_tree* self, size_t entries) noexcept nogil:
    cdef zset_leaf* leaf
    cdef size_t freed = 0
    while self.first != NULL:
        if freed > entries:
            return False
        leaf = self.first
        self.first = leaf.next
        freed += leaf.count + 1
        release(leaf, _node_bytes(0), ZSETS)
    return _close_branches(self, entries // BRANCH_COST + 1)


cdef void _describe_child(zset_branch* branch, size_t place, uint32_t child_height) noexcept nogil:
    """Take over the lowest entry of a child."""
    cdef void* child = branch.children[place]
    if child_height:
        branch.scores[place] = (<zset_branch*>child).scores[0]
        branch.lowest[place] = (<zset_branch*>child).lowest[0]
    else:
        branch.scores[place] = (<zset_leaf*>child).scores[0]
        branch.lowest[place] = (<zset_leaf*>child).entries[0]


cdef uint64_t _weight(void* node, uint32_t height) noexcept nogil:
    cdef uint64_t total = 0
    cdef size_t i
    if height == 0:
        return (<zset_leaf*>node).count
    for i in range((<zset_branch*>node).count):
        total += (<zset_branch*>node).weights[i]
    return total


cdef void _move_leaf(zset_leaf* target, size_t at, zset_leaf* source, size_t from_, size_t count) noexcept nogil:
    memmove(target.scores + at, source.scores + from_, count * sizeof(double))
    memmove(target.entries + at, source.entries + from_, count * sizeof(void*))


cdef void _move_branch(zset_branch* target, size_t at, zset_branch* source, size_t from_, size_t count) noexcept nogil:
    memmove(target.scores + at, source.scores + from_, count * sizeof(double))
    memmove(target.lowest + at, source.lowest + from_, count * sizeof(void*))
    memmove(target.weights + at, source.weights + from_, count * sizeof(uint64_t))
    memmove(target.children + at, source.children + from_, count * sizeof(void*))


cdef void _move(uint32_t height, void* target, size_t at, void* source, size_t from_, size_t count) noexcept nogil:
    """Copy places between nodes of one level, or within a node; the counts are the caller's."""
    if height:
        _move_branch(<zset_branch*>target, at, <zset_branch*>source, from_, count)
    else:
        _move_leaf(<zset_leaf*>target, at, <zset_leaf*>source, from_, count)


# -- searching ---------------------------------------------------------------------------------------------------------

cdef inline bint _precedes(double score, const zset_entry* entry, const zset_bound* bound) noexcept nogil:
    """Whether an entry of that score comes before the bound."""
    cdef const char* member
    cdef size_t size
    cdef int order
    if bound.by_score and score != bound.score:
        return score < bound.score
    if bound.by_member:
        member = entry_member(entry, &size)
        order = compare_members(member, size, bound.member, bound.size)
        if order:
            return order < 0
    return bound.after


cdef size_t _first_not_before(
    const double* scores, zset_entry** entries, size_t count, const zset_bound* bound
) noexcept nogil:
    cdef size_t low = 0
    cdef size_t middle
    while low < count:
        middle = (low + count) / 2
        if _precedes(scores[middle], entries[middle], bound):
            low = middle + 1
        else:
            count = middle
    return low


cdef size_t _child_for(zset_branch* branch, const zset_bound* bound) noexcept nogil:
    """The last child whose lowest entry comes before the bound, the first one if none does."""
    cdef size_t place = _first_not_before(branch.scores, branch.lowest, branch.count, bound)
    return place - 1 if place else 0


cdef zset_leaf* _descend(const zset_tree* self, const zset_bound* bound, path_t* path) noexcept nogil:
    """The way to the bound; its place in the leaf is the first one that is not before it."""
    cdef void* node = self.root
    cdef uint32_t height = self.height
    cdef zset_leaf* leaf
    while height:
        path.nodes[height] = node
        path.places[height] = _child_for(<zset_branch*>node, bound)
        node = (<zset_branch*>node).children[path.places[height]]
        height -= 1
    leaf = <zset_leaf*>node
    path.nodes[0] = leaf
    path.places[0] = _first_not_before(leaf.scores, leaf.entries, leaf.count, bound)
    return leaf


cdef void _bound_after(zset_bound* bound, double score, const zset_entry* entry) noexcept nogil:
    """Right after that entry under that score."""
    bound.by_score = bound.by_member = bound.after = True
    bound.score = score
    bound.member = entry_member(entry, &bound.size)


cdef size_t tree_count_before(const zset_tree* self, const zset_bound* bound) noexcept nogil:
    cdef void* node = self.root
    cdef uint32_t height = self.height
    cdef size_t total = 0
    cdef zset_leaf* leaf
    cdef size_t place
    cdef size_t i
    while height:
        place = _child_for(<zset_branch*>node, bound)
        for i in range(place):
            total += (<zset_branch*>node).weights[i]
        node = (<zset_branch*>node).children[place]
        height -= 1
    leaf = <zset_leaf*>node
    return total + _first_not_before(leaf.scores, leaf.entries, leaf.count, bound)


cdef zset_leaf* tree_select(const zset_tree* self, size_t rank, size_t* place) noexcept nogil:
    cdef void* node = self.root
    cdef uint32_t height = self.height
    cdef size_t i
    while height:
        i = 0
        while rank >= (<zset_branch*>node).weights[i]:
            rank -= (<zset_branch*>node).weights[i]
            i += 1
        node = (<zset_branch*>node).children[i]
        height -= 1
    place[0] = rank
    return <zset_leaf*>node


# -- inserting ---------------------------------------------------------------------------------------------------------

cdef int _prepare_splits(zset_tree* self, path_t* path, void** spare) noexcept nogil:
    """Allocate a node for every level that will split, and for a new root; how many, or -1."""
    cdef uint32_t level = 0
    cdef int prepared = 0
    while level <= self.height and _count_of(path.nodes[level], level)[0] >= _node_limit(level):
        level += 1
    if level > self.height:
        level += 1                           # the root splits: one more for the new root
        if level > HEIGHT_MAX - 1:
            return -1
    while <uint32_t>prepared < level:
        # spare[i] is the new right neighbour on level i, or the new root
        spare[prepared] = _node_new(self, prepared)
        if spare[prepared] == NULL:
            while prepared:
                prepared -= 1
                _node_free(self, spare[prepared], prepared)
            return -1
        prepared += 1
    return prepared


cdef void _open_place(void* node, uint32_t height, size_t place) noexcept nogil:
    cdef uint64_t* count = _count_of(node, height)
    _move(height, node, place + 1, node, place, count[0] - place)
    count[0] += 1


cdef void* _split(void* node, void* right, uint32_t height, bint at_end, size_t* place) noexcept nogil:
    """Move the upper half to `right`, nothing at the end of the order; the node that `place` is then in."""
    cdef uint64_t* count = _count_of(node, height)
    cdef size_t kept = count[0] if at_end else count[0] / 2
    _move(height, right, 0, node, kept, count[0] - kept)
    _count_of(right, height)[0] = count[0] - kept
    count[0] = kept
    if place[0] > kept or at_end:
        place[0] -= kept
        return right
    return node


cdef void _link_leaf(zset_tree* self, zset_leaf* leaf, zset_leaf* right) noexcept nogil:
    right.prev = leaf
    right.next = leaf.next
    if leaf.next == NULL:
        self.last = right
    else:
        leaf.next.prev = right
    leaf.next = right


cdef void _grow_root(zset_tree* self, zset_branch* root, void* right) noexcept nogil:
    cdef uint32_t height = self.height
    root.count = 2
    root.children[0] = self.root
    root.children[1] = right
    _describe_child(root, 0, height)
    _describe_child(root, 1, height)
    root.weights[0] = _weight(root.children[0], height)
    root.weights[1] = _weight(right, height)
    self.root = root
    self.height += 1


cdef int tree_insert(zset_tree* self, double score, zset_entry* entry) noexcept nogil:
    cdef path_t path
    cdef void* spare[HEIGHT_MAX + 1]
    cdef zset_bound bound
    cdef zset_leaf* leaf
    cdef zset_branch* branch
    cdef void* right = NULL                  # what the level below added
    cdef size_t place
    cdef uint32_t level
    cdef int splits
    cdef bint at_end
    cdef bint is_lowest                      # of the node below
    _bound_after(&bound, score, entry)
    leaf = _descend(self, &bound, &path)
    splits = _prepare_splits(self, &path, spare)
    if splits < 0:
        return -1
    place = path.places[0]
    at_end = leaf == self.last and place == leaf.count
    is_lowest = place == 0
    if splits:
        right = spare[0]
        _link_leaf(self, leaf, <zset_leaf*>right)
        leaf = <zset_leaf*>_split(leaf, right, 0, at_end, &place)
    _open_place(leaf, 0, place)
    leaf.scores[place] = score
    leaf.entries[place] = entry
    for level in range(1, self.height + 1):
        branch = <zset_branch*>path.nodes[level]
        place = path.places[level]
        if is_lowest:
            _describe_child(branch, place, level - 1)
            is_lowest = place == 0
        if right == NULL:
            branch.weights[place] += 1
            continue
        branch.weights[place] = _weight(branch.children[place], level - 1)
        place += 1
        if <uint32_t>splits > level:
            branch = <zset_branch*>_split(branch, spare[level], level, at_end, &place)
        _open_place(branch, level, place)
        branch.children[place] = right
        _describe_child(branch, place, level - 1)
        branch.weights[place] = _weight(right, level - 1)
        right = spare[level] if <uint32_t>splits > level else NULL
    if right != NULL:
        _grow_root(self, <zset_branch*>spare[self.height + 1], right)
    return 0


# -- removing ----------------------------------------------------------------------------------------------------------

cdef void _close_place(void* node, uint32_t height, size_t place) noexcept nogil:
    cdef uint64_t* count = _count_of(node, height)
    count[0] -= 1
    _move(height, node, place, node, place + 1, count[0] - place)


cdef void _drop_child(zset_tree* self, zset_branch* branch, size_t place, uint32_t child_height) noexcept nogil:
    """Take an empty child out and free it."""
    cdef zset_leaf* leaf
    if child_height == 0:
        leaf = <zset_leaf*>branch.children[place]
        if leaf.prev == NULL:
            self.first = leaf.next
        else:
            leaf.prev.next = leaf.next
        if leaf.next == NULL:
            self.last = leaf.prev
        else:
            leaf.next.prev = leaf.prev
    _node_free(self, branch.children[place], child_height)
    _close_place(branch, child_height + 1, place)


cdef void _join_child(zset_tree* self, zset_branch* branch, size_t place, uint32_t child_height) noexcept nogil:
    """Join a child that has fallen under a quarter with a neighbour, if three quarters of a node hold both."""
    cdef uint64_t limit = _node_limit(child_height)
    cdef uint64_t* left
    cdef uint64_t* right
    if _count_of(branch.children[place], child_height)[0] >= limit / 4 or branch.count < 2:
        return
    if place + 1 == branch.count:
        place -= 1
    left = _count_of(branch.children[place], child_height)
    right = _count_of(branch.children[place + 1], child_height)
    if left[0] + right[0] > limit * 3 / 4:
        return
    _move(child_height, branch.children[place], left[0], branch.children[place + 1], 0, right[0])
    left[0] += right[0]
    branch.weights[place] += branch.weights[place + 1]
    _describe_child(branch, place, child_height)
    _drop_child(self, branch, place + 1, child_height)


cdef void tree_remove(zset_tree* self, double score, const zset_entry* entry) noexcept nogil:
    cdef path_t path
    cdef zset_bound bound
    cdef zset_branch* branch
    cdef size_t place
    cdef uint32_t level
    cdef bint was_lowest                     # of the node below
    _bound_after(&bound, score, entry)
    _descend(self, &bound, &path)
    was_lowest = path.places[0] == 1
    _close_place(path.nodes[0], 0, path.places[0] - 1)
    for level in range(1, self.height + 1):
        branch = <zset_branch*>path.nodes[level]
        place = path.places[level]
        branch.weights[place] -= 1
        if branch.weights[place] == 0:
            _drop_child(self, branch, place, level - 1)
        else:
            if was_lowest:
                _describe_child(branch, place, level - 1)
            _join_child(self, branch, place, level - 1)
        was_lowest = was_lowest and place == 0
    while self.height and (<zset_branch*>self.root).count == 1:
        branch = <zset_branch*>self.root
        self.root = branch.children[0]
        _node_free(self, branch, self.height)
        self.height -= 1


cdef int tree_rescore(zset_tree* self, double old, zset_entry* entry, double score) noexcept nogil:
    cdef path_t path
    cdef zset_bound bound
    cdef zset_leaf* leaf
    cdef size_t place
    cdef uint32_t level
    _bound_after(&bound, old, entry)
    leaf = _descend(self, &bound, &path)
    place = path.places[0] - 1
    # Equal scores are left to removing and inserting: they need the members compared.
    if place:
        if not leaf.scores[place - 1] < score:
            return 0
    elif leaf.prev != NULL and not leaf.prev.scores[leaf.prev.count - 1] < score:
        return 0
    if place + 1 < leaf.count:
        if not score < leaf.scores[place + 1]:
            return 0
    elif leaf.next != NULL and not score < leaf.next.scores[0]:
        return 0
    leaf.scores[place] = score
    level = 1
    while level <= self.height and place == 0:
        place = path.places[level]
        _describe_child(<zset_branch*>path.nodes[level], place, level - 1)
        level += 1
    return 1


# -- checking ----------------------------------------------------------------------------------------------------------

ctypedef struct survey_t:
    const zset_leaf* last
    size_t memory
    uint64_t entries


cdef const char* _check_leaf(const zset_leaf* leaf, survey_t* survey) noexcept nogil:
    cdef size_t i
    cdef zset_bound bound
    if leaf.prev != survey.last or (survey.last != NULL and survey.last.next != leaf):
        return "links between leaves"
    for i in range(leaf.count):
        if leaf.entries[i].score != leaf.scores[i]:
            return "a score in a leaf is not its entry's"
        if i:
            _bound_after(&bound, leaf.scores[i], leaf.entries[i])
            bound.after = False
            if not _precedes(leaf.scores[i - 1], leaf.entries[i - 1], &bound):
                return "order in a leaf"
    survey.entries += leaf.count
    survey.last = leaf
    return NULL


cdef const char* _check_below(void* node, uint32_t height, survey_t* survey) noexcept nogil:
    cdef zset_branch* branch = <zset_branch*>node
    cdef const char* broken
    cdef zset_bound bound
    cdef uint64_t before
    cdef size_t place
    cdef size_t i
    survey.memory += footprint(node, _node_bytes(height))
    if height == 0:
        return _check_leaf(<zset_leaf*>node, survey)
    if branch.count == 0:
        return "an empty branch"
    for i in range(branch.count):
        if survey.last != NULL:
            _bound_after(&bound, branch.scores[i], branch.lowest[i])
            bound.after = False
            place = survey.last.count - 1
            if not _precedes(survey.last.scores[place], survey.last.entries[place], &bound):
                return "order between leaves"
        before = survey.entries
        broken = _check_below(branch.children[i], height - 1, survey)
        if broken != NULL:
            return broken
        if survey.entries - before != branch.weights[i] or branch.weights[i] == 0:
            return "weight of a child"
        if branch.lowest[i] != (
            (<zset_branch*>branch.children[i]).lowest[0] if height > 1 else (<zset_leaf*>branch.children[i]).entries[0]
        ):
            return "lowest entry of a child"
        if branch.scores[i] != branch.lowest[i].score:
            return "lowest score of a child"
    return NULL


cdef const char* tree_check(const zset_tree* self, size_t length) noexcept nogil:
    cdef survey_t survey
    cdef const char* broken
    survey.last = NULL
    survey.memory = survey.entries = 0
    broken = _check_below(self.root, self.height, &survey)
    if broken != NULL:
        return broken
    if survey.last != self.last or self.last.next != NULL or self.first.prev != NULL:
        return "first or last leaf"
    if survey.entries != length:
        return "entries in the tree"
    if survey.memory != self.memory:
        return "memory of the tree"
    if self.height and (<zset_branch*>self.root).count < 2:
        return "a root with one child"
    return NULL
