#include "mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

void *mem_alloc(size_t size)
{
    void *p = malloc(size != 0 ? size : 1);

    CHECK(p != NULL);
    return p;
}

void *mem_zalloc(size_t count, size_t size)
{
    void *p = calloc(count != 0 ? count : 1, size != 0 ? size : 1);

    CHECK(p != NULL);
    return p;
}

void *mem_resize(void *old, size_t count, size_t size)
{
    size_t bytes;
    void *p;

    CHECK(!__builtin_mul_overflow(count, size, &bytes));
    p = realloc(old, bytes != 0 ? bytes : 1);
    CHECK(p != NULL);
    return p;
}

void *mem_copy(const void *from, size_t size)
{
    void *p = mem_alloc(size);

    if (size != 0) {
        memcpy(p, from, size);
    }
    return p;
}

char *mem_string(const char *from)
{
    return mem_copy(from, strlen(from) + 1);
}
