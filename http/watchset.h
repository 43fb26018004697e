/*
 * watchset.h - who watches what: finds those that a change concerns.
 *
 * Watches that ask for the same share a filter, and filters lie in one hash
 * table by (environment, node or none, name or prefix). A change looks its name
 * up there, and each prefix of its name whose length some filter has, so what
 * it costs grows with the length of its name and with those it concerns, not
 * with those that watch.
 *
 * Invariants
 *   1. A member is found by a change exactly if its filter accepts the change,
 *      and once.
 *   2. A filter lives as long as somebody holds it; members hold theirs.
 *
 * Threads: one. Memory: about 100 bytes and the text for each filter.
 */
#ifndef CALLSIGN_HTTP_WATCHSET_H
#define CALLSIGN_HTTP_WATCHSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "command.h"
#include "history.h"

/* Names of one environment: the one that is `text`, or those that begin with
 * it; of these, where by_node is set, what concerns `node_id`: names it gets,
 * holds or loses. */
struct watch_filter {
    struct list members;
    struct watch_filter *next; /* in its bucket */
    unsigned holders;
    uint64_t hash;
    uint64_t env_id;
    uint64_t node_id;
    bool by_node;
    bool exact;
    size_t text_len;
    const char *text; /* behind the struct once it is in the set */
};

struct watch_member {
    struct list link; /* in its filter's members while it is to be found */
    struct watch_filter *filter;
};

struct watchset {
    struct watch_filter **buckets;
    unsigned buckets_count; /* a power of two */
    unsigned filters[2];    /* how many there are; those by node apart, here and below */
    /* With a prefix of each length, and with a whole name. */
    unsigned prefixes[2][COMMAND_NAME_MAX + 1];
    unsigned names[2];
};

void watchset_init(struct watchset *s);
/* No filter is held. */
void watchset_fini(struct watchset *s);

/* The filter of the set that asks for what `wanted` asks for, held. */
struct watch_filter *watchset_hold(struct watchset *s, const struct watch_filter *wanted);
void watchset_release(struct watchset *s, struct watch_filter *f);

bool watchset_accepts(const struct watch_filter *f, const struct history_change *c);
/* Whether a registered name is one of those the filter asks for. */
bool watchset_has(const struct watch_filter *f, const struct entry *e);

/* The member is found from now on, or no more. */
void watchset_add(struct watch_member *m);
void watchset_remove(struct watch_member *m);

/* Neither adds nor removes. */
typedef void (*watchset_visit_cb)(void *data, struct watch_member *m);

void watchset_match(const struct watchset *s, const struct history_change *c,
                    watchset_visit_cb visit, void *data);

#endif
