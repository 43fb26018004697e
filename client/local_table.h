/*
 * local_table.h - the names of local mode, in order: a treap.
 *
 * Invariants
 *   1. The order is that of the environments, then that of the names' bytes.
 *   2. Every step costs O(log n) in the mean, whatever the order of insertion:
 *      the shape depends on the priorities alone, which are random.
 *
 * Threads: none of its own; the owner's lock guards it. Memory: about 80 bytes
 * a name and the name.
 */
#ifndef CALLSIGN_CLIENT_LOCAL_TABLE_H
#define CALLSIGN_CLIENT_LOCAL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct local_name {
    struct local_name *left;
    struct local_name *right;
    uint64_t priority;
    uint64_t env_id;
    uint64_t node_id;
    uint64_t process_id;
    uint64_t revision;
    char name[];
};

struct local_table {
    struct local_name *root;
    size_t count;
    uint64_t random; /* state of the priorities' generator; not zero */
};

void local_table_init(struct local_table *t);
void local_table_fini(struct local_table *t);

/* NULL if there is none. */
struct local_name *local_table_find(const struct local_table *t, uint64_t env_id, const char *name);

/* The first that is not before (env_id, name), or, with `behind`, that is
 * behind it, in that environment or a later one; NULL at the end. */
struct local_name *local_table_seek(const struct local_table *t, uint64_t env_id, const char *name,
                                    bool behind);

/* A new name, which must not be there; the owner's fields are zero. NULL
 * without memory. */
struct local_name *local_table_insert(struct local_table *t, uint64_t env_id, const char *name);

/* Takes out and frees it. */
void local_table_remove(struct local_table *t, struct local_name *n);

#endif
