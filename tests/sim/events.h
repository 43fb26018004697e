/*
 * events.h - what will happen in a simulated world, in order of time.
 *
 * Events of equal time happen in the order in which they were added, so a
 * world is a function of its seed. Memory: a binary heap that grows.
 */
#ifndef CALLSIGN_TESTS_SIM_EVENTS_H
#define CALLSIGN_TESTS_SIM_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct node;
struct world;

/* `n` is the replica it happens to, or NULL. */
typedef void (*event_cb)(struct world *w, struct node *n, void *data);

struct event {
    uint64_t at_us;
    uint64_t order;
    event_cb fire;
    struct node *node;
    unsigned life; /* of the node; 0: any */
    void *data;
};

struct events {
    struct event *heap;
    size_t count, capacity;
    uint64_t added;
};

void events_init(struct events *e);
void events_fini(struct events *e);
/* `order` is filled in. */
void events_add(struct events *e, struct event event);
bool events_pop(struct events *e, struct event *ret_event);

#endif
