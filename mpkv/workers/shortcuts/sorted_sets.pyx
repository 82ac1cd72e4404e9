"""Short ways of sorted sets."""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t

from mpkv.buffer cimport Buffer
from mpkv.resp.encoder cimport emit_array, emit_bulk, emit_double, emit_integer, emit_null
from mpkv.resp.parser cimport arg_t
from mpkv.types.allocator cimport settle
from mpkv.types.zset cimport (
    zset_len, zset_lower_rank, zset_next, zset_position, zset_put, zset_rank_of, zset_remove, zset_score, zset_seek,
    zset_t, zset_upper_rank,
)
from mpkv.wire cimport request_t
from mpkv.workers.keyspace cimport ZSET, Keyspace
from mpkv.workers.shortcuts.operands cimport (
    changed, clamp_range, create, find_native, is_word, promised, protocol_of, read_integer, read_score,
)
from mpkv.workers.shortcuts.table cimport enter

# What ZADD may be told before the first score
cdef enum:
    NX = 1
    XX = 2
    GT = 4
    LT = 8
    CH = 16


cdef int add_option(const arg_t* word) noexcept nogil:
    """0 if it is none of these."""
    if is_word(word, b"nx", 2):
        return NX
    if is_word(word, b"xx", 2):
        return XX
    if is_word(word, b"gt", 2):
        return GT
    if is_word(word, b"lt", 2):
        return LT
    return CH if is_word(word, b"ch", 2) else 0


cdef bint contradict(int options) noexcept nogil:
    return options & (NX | XX) == NX | XX or options & (GT | LT) == GT | LT or (options & NX and options & (GT | LT))


cdef int zadd(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef double score, old
    cdef zset_t* native
    cdef int64_t added = 0, updated = 0
    cdef int options = 0, option, result
    cdef size_t first = 1, i
    while first < request.argc:
        option = add_option(&words[first])
        if option == 0:
            break
        options |= option
        first += 1
    if first == request.argc or (request.argc - first) & 1 or contradict(options):
        return 0
    for i in range(first, request.argc, 2):
        if not read_score(&words[i], &score):
            return 0
    if options & XX:
        if not find_native(keyspace, request, words, ZSET, False, <void**>&native):
            return 0
        if native == NULL:
            return emit_integer(out, 0) + 1
    else:
        result = create(keyspace, request, words, ZSET, <void**>&native)
        if result <= 0:
            return result
    if request.argc - first > 2 and not promised(request, words):
        return -1
    for i in range(first, request.argc, 2):
        read_score(&words[i], &score)
        if zset_score(native, words[i + 1].data, words[i + 1].size, &old):
            if score == old or options & NX or (options & GT and score < old) or (options & LT and score > old):
                continue
        elif options & XX:
            continue
        result = zset_put(native, words[i + 1].data, words[i + 1].size, score)
        if result < 0:
            return -1
        added += result
        updated += not result
    settle()
    if added or updated:
        changed(keyspace, request, words, added + updated)
    return emit_integer(out, added + updated if options & CH else added) + 1


cdef int zincrby(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef double score, old
    cdef zset_t* native
    cdef bint there
    cdef int result
    if keyspace.effects_wanted or not read_score(&words[1], &score):    # the effect is the sum, which the handler says
        return 0
    result = create(keyspace, request, words, ZSET, <void**>&native)
    if result <= 0:
        return result
    there = zset_score(native, words[2].data, words[2].size, &old)
    if there:
        score += old
    if not there or score != old:
        if zset_put(native, words[2].data, words[2].size, score) < 0:
            return -1
        changed(keyspace, request, words)
    return emit_double(out, score, protocol_of(request)) + 1


cdef int zrem(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef zset_t* native
    cdef int64_t removed = 0
    cdef size_t i
    if not find_native(keyspace, request, words, ZSET, False, <void**>&native):
        return 0
    if native != NULL:
        for i in range(1, request.argc):
            removed += zset_remove(native, words[i].data, words[i].size)
    if removed:
        changed(keyspace, request, words, removed)
    return emit_integer(out, removed) + 1


cdef int zscore(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef zset_t* native
    cdef double score
    if not find_native(keyspace, request, words, ZSET, True, <void**>&native):
        return 0
    if native == NULL or not zset_score(native, words[1].data, words[1].size, &score):
        return emit_null(out, protocol_of(request)) + 1
    return emit_double(out, score, protocol_of(request)) + 1


cdef int rank(
    Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, bint reverse
) except -2:
    cdef zset_t* native
    cdef size_t place
    if request.argc != 2 or not find_native(keyspace, request, words, ZSET, True, <void**>&native):
        return 0
    if native == NULL or not zset_rank_of(native, words[1].data, words[1].size, &place):
        return emit_null(out, protocol_of(request)) + 1
    return emit_integer(out, zset_len(native) - 1 - place if reverse else place) + 1


cdef int zrank(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return rank(keyspace, request, words, out, False)


cdef int zrevrank(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return rank(keyspace, request, words, out, True)


# A range is so many members from a place on, which counts in the direction of the walk

cdef struct span_t:
    size_t first, count
    bint reverse, with_scores


cdef int emit_span(Buffer* out, const zset_t* native, const span_t* span, int protocol) noexcept:
    """1, or -1 without memory."""
    cdef bint in_pairs = span.with_scores and protocol == 3
    cdef size_t left = span.count
    cdef zset_position position
    cdef const char* member
    cdef size_t size
    cdef double score
    if emit_array(out, left * 2 if span.with_scores and not in_pairs else left) < 0:
        return -1
    if left:
        zset_seek(native, span.first, span.reverse, &position)
    while left:
        zset_next(native, span.reverse, &position, &member, &size, &score)
        if in_pairs and emit_array(out, 2) < 0:
            return -1
        if emit_bulk(out, member, size) < 0:
            return -1
        if span.with_scores and emit_double(out, score, protocol) < 0:
            return -1
        left -= 1
    return 1


cdef int range_by_rank(
    Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, bint reverse, bint may_reverse
) except -2:
    cdef int64_t start, stop
    cdef zset_t* native
    cdef span_t span
    cdef size_t i
    span.first = span.count = 0
    span.reverse, span.with_scores = reverse, False
    for i in range(3, request.argc):
        if is_word(&words[i], b"withscores", 10):
            span.with_scores = True
        elif may_reverse and not span.reverse and is_word(&words[i], b"rev", 3):
            span.reverse = True
        else:
            return 0
    if not read_integer(&words[1], &start) or not read_integer(&words[2], &stop):
        return 0
    if not find_native(keyspace, request, words, ZSET, True, <void**>&native):
        return 0
    if native != NULL and clamp_range(&start, &stop, zset_len(native)):
        span.first, span.count = start, stop - start + 1
    return emit_span(out, native, &span, protocol_of(request))


cdef int zrange(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return range_by_rank(keyspace, request, words, out, False, True)


cdef int zrevrange(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return range_by_rank(keyspace, request, words, out, True, False)


cdef bint read_bound(const arg_t* word, double* score, bint* exclusive) noexcept nogil:
    """A score, an exclusive one, or an infinite one; False leaves the word to the handler."""
    cdef arg_t rest = word[0]
    cdef arg_t digits
    exclusive[0] = word.size > 1 and word.data[0] == c"("
    if exclusive[0]:
        rest.data += 1
        rest.size -= 1
    if rest.size == 4 and (rest.data[0] == c"-" or rest.data[0] == c"+"):
        digits = arg_t(rest.data + 1, 3)
        if is_word(&digits, b"inf", 3):
            score[0] = -INFINITY if rest.data[0] == c"-" else INFINITY
            return True
    if is_word(&rest, b"inf", 3):
        score[0] = INFINITY
        return True
    return read_score(&rest, score)


cdef struct bounds_t:
    double low, high
    bint above_low, below_high          # they are exclusive


cdef bint read_bounds(const arg_t* low, const arg_t* high, bounds_t* bounds) noexcept nogil:
    return read_bound(low, &bounds.low, &bounds.above_low) and read_bound(high, &bounds.high, &bounds.below_high)


cdef size_t bounded(const zset_t* native, const bounds_t* bounds, size_t* first) noexcept nogil:
    """How many members lie between bounds, and the place of the first in ascending order."""
    cdef size_t end
    if native == NULL:
        first[0] = 0
        return 0
    first[0] = zset_lower_rank(native, bounds.low, bounds.above_low)
    end = zset_upper_rank(native, bounds.high, bounds.below_high)
    return end - first[0] if end > first[0] else 0


cdef int range_by_score(
    Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, bint reverse
) except -2:
    cdef int64_t offset = 0, limit = -1
    cdef bounds_t bounds
    cdef zset_t* native
    cdef span_t span
    cdef size_t i = 3
    span.reverse, span.with_scores = reverse, False
    while i < request.argc:
        if is_word(&words[i], b"withscores", 10):
            span.with_scores = True
            i += 1
        elif is_word(&words[i], b"limit", 5) and i + 2 < request.argc:
            if not read_integer(&words[i + 1], &offset) or not read_integer(&words[i + 2], &limit) or offset < 0:
                return 0
            i += 3
        else:
            return 0
    if not read_bounds(&words[2 if reverse else 1], &words[1 if reverse else 2], &bounds):
        return 0
    if not find_native(keyspace, request, words, ZSET, True, <void**>&native):
        return 0
    span.count = bounded(native, &bounds, &span.first)
    if reverse and span.count:
        span.first = zset_len(native) - span.first - span.count
    span.count -= min(span.count, <size_t>offset)
    span.first += <size_t>offset
    if limit >= 0:
        span.count = min(span.count, <size_t>limit)
    return emit_span(out, native, &span, protocol_of(request))


cdef int zrangebyscore(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return range_by_score(keyspace, request, words, out, False)


cdef int zrevrangebyscore(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return range_by_score(keyspace, request, words, out, True)


cdef int zcount(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef bounds_t bounds
    cdef zset_t* native
    cdef size_t first
    if not read_bounds(&words[1], &words[2], &bounds):
        return 0
    if not find_native(keyspace, request, words, ZSET, True, <void**>&native):
        return 0
    return emit_integer(out, bounded(native, &bounds, &first)) + 1


cdef int remove_span(
    Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, zset_t* native, size_t first,
    size_t count
) except -2:
    """Remove so many members from a place on in ascending order."""
    cdef zset_position position
    cdef const char* member
    cdef size_t size, left = count
    cdef double score
    while left:
        zset_seek(native, first, False, &position)
        zset_next(native, False, &position, &member, &size, &score)
        zset_remove(native, member, size)
        left -= 1
    if count:
        changed(keyspace, request, words, <unsigned>count)
    return emit_integer(out, count) + 1


cdef int zremrangebyscore(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef bounds_t bounds
    cdef zset_t* native
    cdef size_t first, count
    if not read_bounds(&words[1], &words[2], &bounds):
        return 0
    if not find_native(keyspace, request, words, ZSET, False, <void**>&native):
        return 0
    count = bounded(native, &bounds, &first)
    return remove_span(keyspace, request, words, out, native, first, count)


cdef int zremrangebyrank(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int64_t start, stop
    cdef zset_t* native
    if not read_integer(&words[1], &start) or not read_integer(&words[2], &stop):
        return 0
    if not find_native(keyspace, request, words, ZSET, False, <void**>&native):
        return 0
    if native == NULL or not clamp_range(&start, &stop, zset_len(native)):
        return emit_integer(out, 0) + 1
    return remove_span(keyspace, request, words, out, native, start, stop - start + 1)


cdef int zpop(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, bint highest) except -2:
    cdef zset_t* native
    cdef zset_position position
    cdef const char* member
    cdef size_t size, begin
    cdef double score
    if request.argc != 1:
        return 0
    if not find_native(keyspace, request, words, ZSET, False, <void**>&native):
        return 0
    if native == NULL:
        return emit_array(out, 0) + 1
    zset_seek(native, 0, highest, &position)
    zset_next(native, highest, &position, &member, &size, &score)
    if emit_array(out, 2) < 0 or emit_bulk(out, member, size) < 0:
        return -1
    begin = out.size - size - 2
    if emit_double(out, score, protocol_of(request)) < 0:
        return -1
    zset_remove(native, out.data + begin, size)
    changed(keyspace, request, words)
    return 1


cdef int zpopmin(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return zpop(keyspace, request, words, out, False)


cdef int zpopmax(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return zpop(keyspace, request, words, out, True)


cdef int zcard(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef zset_t* native
    if not find_native(keyspace, request, words, ZSET, True, <void**>&native):
        return 0
    return emit_integer(out, zset_len(native) if native != NULL else 0) + 1


enter(b"zadd", zadd)
enter(b"zincrby", zincrby)
enter(b"zrem", zrem)
enter(b"zscore", zscore)
enter(b"zrank", zrank)
enter(b"zrevrank", zrevrank)
enter(b"zrange", zrange)
enter(b"zrevrange", zrevrange)
enter(b"zrangebyscore", zrangebyscore)
enter(b"zrevrangebyscore", zrevrangebyscore)
enter(b"zcount", zcount)
enter(b"zremrangebyscore", zremrangebyscore)
enter(b"zremrangebyrank", zremrangebyrank)
enter(b"zpopmin", zpopmin)
enter(b"zpopmax", zpopmax)
enter(b"zcard", zcard)
