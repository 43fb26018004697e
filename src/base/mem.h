/*
 * mem.h - allocation that cannot fail.
 *
 * Every size in this program is bounded, so running out of memory means the
 * machine is in trouble; a crashed replica is what Raft is there for. These
 * functions therefore abort instead of returning NULL. Inside callbacks of
 * libraft that expect an error, raft_malloc is used directly.
 */
#ifndef CALLSIGN_BASE_MEM_H
#define CALLSIGN_BASE_MEM_H

#include <stddef.h>

/* At least `size` bytes, not cleared; freed with free(). */
void *mem_alloc(size_t size);

/* `count` objects of `size` bytes, cleared, overflow checked; freed with free(). */
void *mem_zalloc(size_t count, size_t size);

/* As realloc, overflow checked; `old` may be NULL. */
void *mem_resize(void *old, size_t count, size_t size);

/* A copy of the `size` bytes at `from`; freed with free(). */
void *mem_copy(const void *from, size_t size);

/* A copy of the string `from`; freed with free(). */
char *mem_string(const char *from);

#endif
