/* What AddressSanitizer is told of the memory that the store divides itself; in a normal build there is nothing here.
 *
 * Built for sanitizers (`make sanitize`), every piece and block is malloc's, so that each has bounds of its own and is
 * not used again at once when it was given back. With MPKV_OWN_MEMORY=1 in the environment, spans and heap are used as
 * they are in a normal build; what nobody owns in them is poisoned: free pieces, the words in front of blocks, memory
 * that was never handed out. `allocator` and `heap` themselves, which may touch it, are compiled without
 * AddressSanitizer (setup.py).
 */

#ifdef MPKV_SANITIZE

#include <stdlib.h>
#include <sanitizer/asan_interface.h>

#define poison(memory, size) __asan_poison_memory_region(memory, size)
#define unpoison(memory, size) __asan_unpoison_memory_region(memory, size)

static int divides_memory(void) {
    static int divides = -1;
    if (divides < 0) {
        const char *word = getenv("MPKV_OWN_MEMORY");
        divides = word != NULL && word[0] == '1';
    }
    return divides;
}
#define OWN_MEMORY (divides_memory())

/* Bytes that a piece of malloc's has: exactly what was asked for. */
#include <malloc.h>
#define bytes_of_piece(piece) malloc_usable_size((void *)(piece))

#else

#define OWN_MEMORY 1
#define poison(memory, size) ((void)0)
#define unpoison(memory, size) ((void)0)
#define bytes_of_piece(piece) ((size_t)0)

#endif
