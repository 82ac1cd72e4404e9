# What compiled code tells the handler of crashes. See handler.pyx.

cpdef int watch(bytes batch) except -1
