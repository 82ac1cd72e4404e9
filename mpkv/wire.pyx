"""Step 6: what travels between the frontend and a worker: batches of envelopes, sans-IO.

A batch is one ZeroMQ message: a header (`batch_t`) and envelopes back to back, each padded to 8 bytes, numbers in the
machine's own byte order (both ends are on one machine). Requests carry a command's number and its words with the sizes
in front, so that a worker needs no second parse; replies carry RESP that is ready for the client. Large words and large
replies stay in shared pages (`mpkv.shm.blobs`), and the envelope says where: whoever reads it gets the same pointers.

Both ends trust each other no further than a bug would reach: at sizes that do not add up, or a number that something
would be indexed by and that is none, whoever reads ends with a fault of ours. What it was running counts as begun, so
it is not sent again.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from mpkv.buffer cimport buffer_append, buffer_free, buffer_reserve
from mpkv.shm.blobs cimport lies_in, resolve

cdef struct clipped_t:              # words for the slow log: this, a place for each that is shown, their bytes
    uint32_t argc, shown

cdef packed struct place_t:
    uint32_t size                   # of the whole word
    uint16_t offset                 # among the bytes

cdef enum:
    KEPT_BYTES = 1024 * 1024        # room that a batch keeps for the next


cdef int begin_batch(Buffer* batch) noexcept nogil:
    """Empty the buffer and leave room for the header; 0, -1 no memory. What a rare large batch took is given back."""
    batch.size = 0
    if batch.capacity > KEPT_BYTES:
        buffer_free(batch)
    if buffer_reserve(batch, sizeof(batch_t)) < 0:
        return -1
    memset(batch.data, 0, sizeof(batch_t))
    batch.size = sizeof(batch_t)
    return 0


cdef int pack_request(Buffer* batch, const request_t* head, const arg_t* words) noexcept nogil:
    """Step 6: append a request of `head.argc` words (its size is filled in); 0, -1 no memory or too large."""
    cdef size_t argc = head.argc
    cdef size_t body = argc * sizeof(uint32_t)
    cdef size_t i
    cdef char* to
    cdef uint32_t* sizes
    for i in range(argc):
        body += words[i].size
    body = padded(sizeof(request_t) + body)
    if body >> 32 or buffer_reserve(batch, body) < 0:
        return -1
    to = batch.data + batch.size
    memcpy(to, head, sizeof(request_t))
    (<request_t*>to).size = <uint32_t>body
    sizes = <uint32_t*>(to + sizeof(request_t))
    to = <char*>(sizes + argc)
    for i in range(argc):
        sizes[i] = <uint32_t>words[i].size
        memcpy(to, words[i].data, words[i].size)
        to += words[i].size
    batch.size += body
    return 0


cdef int pack_referring(
    Buffer* batch, const request_t* head, const arg_t* words, const area_t* pages, size_t least
) noexcept nogil:
    """The same, with references to words of at least so many bytes that lie in shared pages."""
    cdef request_t outer = head[0]
    cdef size_t argc = head.argc
    cdef size_t body = argc * sizeof(uint32_t)
    cdef size_t i
    cdef uint64_t offset
    cdef bint referred
    cdef char* to
    cdef uint32_t* sizes
    for i in range(argc):
        if words[i].size >= <uint32_t>REFERRED:       # so large that its size would look like that of a reference
            return pack_request(batch, head, words)
        referred = words[i].size >= least and lies_in(pages, words[i].data)
        body += sizeof(offset) if referred else words[i].size
    body = padded(sizeof(request_t) + body)
    if body >> 32 or buffer_reserve(batch, body) < 0:
        return -1
    outer.size = <uint32_t>body
    outer.flags = outer.flags | FLAG_REFERS
    to = batch.data + batch.size
    memcpy(to, &outer, sizeof(request_t))
    sizes = <uint32_t*>(to + sizeof(request_t))
    to = <char*>(sizes + argc)
    for i in range(argc):
        if words[i].size >= least and lies_in(pages, words[i].data):
            sizes[i] = <uint32_t>words[i].size | <uint32_t>REFERRED
            offset = words[i].data - pages.base
            memcpy(to, &offset, sizeof(offset))
            to += sizeof(offset)
        else:
            sizes[i] = <uint32_t>words[i].size
            memcpy(to, words[i].data, words[i].size)
            to += words[i].size
    batch.size += body
    return 0


cdef int pack_nested(
    Buffer* batch, const request_t* head, const char* requests, size_t size, size_t count
) noexcept nogil:
    """Append an EXEC envelope around `count` packed requests; 0, -1 no memory or too large."""
    cdef request_t outer = head[0]
    cdef size_t total = sizeof(request_t) + size
    if total >> 32 or buffer_reserve(batch, total) < 0:
        return -1
    outer.kind = EXEC
    outer.argc = <uint32_t>count
    outer.size = <uint32_t>total
    buffer_append(batch, <const char*>&outer, sizeof(request_t))
    buffer_append(batch, requests, size)
    return 0


cdef size_t begin_reply(Buffer* batch) noexcept nogil:
    """Leave room for a reply's header; where it stands, 0 when there is no memory. The payload is appended after it."""
    cdef size_t at = batch.size
    if buffer_reserve(batch, sizeof(reply_t) + 64) < 0:
        return 0
    batch.size += sizeof(reply_t)
    return at


cdef int end_reply(Buffer* batch, size_t at, uint64_t number, uint32_t kind) noexcept nogil:
    """Complete the reply begun at `at`; 0, -1 no memory."""
    cdef size_t size = batch.size - at - sizeof(reply_t)
    cdef size_t padding = padded(size) - size
    cdef reply_t* head
    if buffer_reserve(batch, padding) < 0:
        return -1
    head = <reply_t*>(batch.data + at)
    head.number = number
    head.size = size
    head.kind = <uint16_t>kind
    head.refers = 0
    head.note_size = 0
    batch.size += padding
    return 0


cdef int refer_reply(Buffer* batch, size_t at, uint64_t offset, uint64_t size) noexcept nogil:
    """Replace the payload of the reply that was completed last, which begins at `at`, by a reference; 0, -1 no
    memory."""
    cdef reference_t reference
    reference.offset, reference.size = offset, size
    batch.size = at + sizeof(reply_t)
    if buffer_append(batch, <const char*>&reference, sizeof(reference)) < 0:
        return -1
    (<reply_t*>(batch.data + at)).size = sizeof(reference)
    (<reply_t*>(batch.data + at)).refers = 1
    return 0


cdef int add_note(Buffer* batch, size_t at, const note_t* note) noexcept nogil:
    """Put a note behind the reply that was completed last, which begins at `at`; 0, -1 no memory."""
    if buffer_append(batch, <const char*>note, sizeof(note_t)) < 0:
        return -1
    (<reply_t*>(batch.data + at)).note_size = sizeof(note_t)
    return 0


cdef int open_batch(const char* data, size_t size, batch_t* head) noexcept nogil:
    """Read a batch's header; 0, -1 if it is none."""
    if size < sizeof(batch_t):
        return -1
    memcpy(head, data, sizeof(batch_t))
    return 0 if head.magic == BATCH_MAGIC else -1


cdef int next_request(
    const char** at, const char* end, request_t* head, arg_t** words, size_t* room, const area_t* pages
) noexcept nogil:
    """Read the envelope at `at` and step over it: 1; 0 at the end, -1 malformed, -2 no memory.

    `words` grows (to `room` words) as needed and is the caller's to free; its words point into the batch, or into the
    shared pages. An EXEC's words are not read: its requests lie at ``at - head.size + sizeof(request_t)``.

    :param pages: NULL: there are none, and nothing may refer to them
    """
    cdef size_t left = end - at[0]
    cdef size_t i, offset
    cdef const uint32_t* sizes
    cdef arg_t* grown
    if left == 0:
        return 0
    if left < sizeof(request_t):
        return -1
    memcpy(head, at[0], sizeof(request_t))
    if head.size > left or head.size < sizeof(request_t) or head.size & 7:
        return -1
    if head.kind != EXEC:
        if head.argc > (head.size - sizeof(request_t)) // sizeof(uint32_t):
            return -1
        if head.argc > room[0]:
            grown = <arg_t*>realloc(words[0], (head.argc + 64) * sizeof(arg_t))
            if grown == NULL:
                return -2
            words[0] = grown
            room[0] = head.argc + 64
        sizes = <const uint32_t*>(at[0] + sizeof(request_t))
        offset = sizeof(request_t) + head.argc * sizeof(uint32_t)
        if head.flags & FLAG_REFERS:
            return _referring_words(at, head, words[0], sizes, offset, pages)
        for i in range(head.argc):
            if sizes[i] > head.size - offset:
                return -1
            words[0][i].data = at[0] + offset
            words[0][i].size = sizes[i]
            offset += sizes[i]
    at[0] += head.size
    return 1


cdef int _referring_words(
    const char** at, const request_t* head, arg_t* words, const uint32_t* sizes, size_t offset, const area_t* pages
) noexcept nogil:
    """The words of an envelope with references in it: 1, -1 malformed."""
    cdef size_t i, size
    cdef uint64_t place
    for i in range(head.argc):
        size = sizes[i] & ~<uint32_t>REFERRED
        words[i].size = size
        if sizes[i] & <uint32_t>REFERRED:
            if pages == NULL or head.size - offset < sizeof(place):
                return -1
            memcpy(&place, at[0] + offset, sizeof(place))
            words[i].data = resolve(pages, place, size)
            if words[i].data == NULL:
                return -1
            offset += sizeof(place)
        else:
            if size > head.size - offset:
                return -1
            words[i].data = at[0] + offset
            offset += size
    at[0] += head.size
    return 1


cdef int next_reply(
    const char** at, const char* end, reply_t* head, const char** payload, const area_t* pages
) noexcept nogil:
    """Read the reply at `at` and step over it and its note: 1; 0 at the end, -1 malformed.

    `payload` and ``head.size`` are those of the bytes, wherever they lie.

    :param pages: NULL: there are none, and nothing may refer to them
    """
    cdef size_t left = end - at[0]
    cdef size_t body
    cdef reference_t reference
    if left == 0:
        return 0
    if left < sizeof(reply_t):
        return -1
    memcpy(head, at[0], sizeof(reply_t))
    left -= sizeof(reply_t)
    body = padded(head.size)
    if head.size > left or body > left or head.note_size > left - body:
        return -1
    if head.kind > EVENT or (head.note_size and head.note_size != sizeof(note_t)):
        return -1
    payload[0] = at[0] + sizeof(reply_t)
    if head.refers:
        if pages == NULL or head.refers != 1 or head.size != sizeof(reference):
            return -1
        memcpy(&reference, payload[0], sizeof(reference))
        payload[0] = resolve(pages, reference.offset, reference.size)
        if payload[0] == NULL:
            return -1
        head.size = reference.size
    at[0] += sizeof(reply_t) + body + head.note_size
    return 1


cdef bytes clip_words(const arg_t* words, size_t argc):
    """What a slow log may show of a request's words, packed; `unclip` reads it.

    Usually they lie close together, as they were read: then they are copied in one piece, with what is between them.
    """
    cdef size_t shown = min(argc, <size_t>SHOWN_WORDS)
    cdef size_t i
    cdef size_t size = 0
    cdef bint together = shown > 0
    cdef char* to
    cdef char* text
    cdef clipped_t head
    cdef place_t place
    for i in range(shown):
        size += min(words[i].size, <size_t>SHOWN_BYTES)
        together = together and words[i].data >= words[0].data and <size_t>(
            words[i].data + words[i].size - words[0].data
        ) <= SHOWN_WORDS * SHOWN_BYTES
    if together:
        size = words[shown - 1].data + words[shown - 1].size - words[0].data
    head.argc, head.shown = <uint32_t>argc, <uint32_t>shown
    clipped = PyBytes_FromStringAndSize(NULL, sizeof(head) + shown * sizeof(place) + size)
    to = PyBytes_AS_STRING(clipped)
    memcpy(to, &head, sizeof(head))
    to += sizeof(head)
    text = to + shown * sizeof(place)
    place.offset = 0
    for i in range(shown):
        place.size = <uint32_t>words[i].size
        if together:
            place.offset = <uint16_t>(words[i].data - words[0].data)
        else:
            memcpy(text + place.offset, words[i].data, min(words[i].size, <size_t>SHOWN_BYTES))
        memcpy(to + i * sizeof(place), &place, sizeof(place))
        if not together:
            place.offset += <uint16_t>min(words[i].size, <size_t>SHOWN_BYTES)
    if together:
        memcpy(text, words[0].data, size)
    return clipped


cdef bytes clip_request(const char* envelope, const area_t* pages):
    """The same of the words in a packed request of our own."""
    cdef const char* at = envelope
    cdef request_t head
    cdef arg_t* words = NULL
    cdef size_t room = 0
    memcpy(&head, at, sizeof(head))
    try:
        if head.kind == EXEC or next_request(&at, at + head.size, &head, &words, &room, pages) != 1:
            return clip_words(NULL, 0)
        return clip_words(words, head.argc)
    finally:
        free(words)


cdef list words_of(bytes envelope):
    """The words of a packed request of our own that has none in shared pages."""
    cdef const char* at = PyBytes_AS_STRING(envelope)
    cdef request_t head
    cdef arg_t* words = NULL
    cdef size_t room = 0, i
    try:
        if next_request(&at, at + PyBytes_GET_SIZE(envelope), &head, &words, &room, NULL) != 1:
            raise ValueError("a malformed envelope")
        return [PyBytes_FromStringAndSize(words[i].data, words[i].size) for i in range(head.argc)]
    finally:
        free(words)


def unclip(bytes clipped) -> tuple:
    """What `clip_words` has packed: ([(first bytes of a word, its whole size)], number of all words)."""
    cdef const char* at = PyBytes_AS_STRING(clipped)
    cdef const char* text
    cdef clipped_t head
    cdef place_t place
    memcpy(&head, at, sizeof(head))
    at += sizeof(head)
    text = at + head.shown * sizeof(place)
    words = []
    for _ in range(head.shown):
        memcpy(&place, at, sizeof(place))
        at += sizeof(place)
        size = min(place.size, <uint32_t>SHOWN_BYTES)
        words.append((PyBytes_FromStringAndSize(text + place.offset, size), place.size))
    return words, head.argc


#: The frontend's own messages by number.
CONTROLS = {
    CONTROL_HELLO: "hello", CONTROL_UNBLOCK: "unblock", CONTROL_WATCH: "watch", CONTROL_UNWATCH: "unwatch",
    CONTROL_SNAPSHOT: "snapshot", CONTROL_JOIN: "join", CONTROL_CONFIG: "config", CONTROL_STOP: "stop",
    CONTROL_DEBUG: "debug", CONTROL_RELOAD: "reload", CONTROL_SAVED: "saved",
    CONTROL_MERGE: "merge",
}
#: … and by name.
CONTROL_NUMBERS = {name: number for number, name in CONTROLS.items()}
