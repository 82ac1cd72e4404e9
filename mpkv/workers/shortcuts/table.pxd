# Which command has a shortcut. See table.pyx.

from mpkv.buffer cimport Buffer
from mpkv.resp.parser cimport arg_t
from mpkv.wire cimport request_t
from mpkv.workers.keyspace cimport Keyspace

cdef enum:
    LEFT = 2

# 1 = done, the reply is in `out`; 0 = not for the short way, nothing was changed or written; -1 no memory; LEFT = the
# reply is one large word, which is still where it was found: `keyspace.left`
ctypedef int (*shortcut_t)(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2

cdef int enter(const char* name, shortcut_t shortcut) except -1
cdef shortcut_t find_shortcut(str name)
