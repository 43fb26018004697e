/*
 * node.h - one replica of a simulated world: a struct core, its disk, its
 * clock, and what its process may suffer.
 *
 *   DOWN   -> node_start     RUNNING
 *   RUNNING -> node_crash, a fatal error      DOWN, memory lost, disk kept
 *   RUNNING -> node_drain -> drained -> core closed -> DOWN
 *   RUNNING -> node_pause    the same, but nothing happens to it for a while
 *
 * Invariant: the core is entered through node_run only, which catches
 * `fatal`, takes the turn and has everything judged afterwards.
 */
#ifndef CALLSIGN_TESTS_SIM_NODE_H
#define CALLSIGN_TESTS_SIM_NODE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "core.h"
#include "events.h"
#include "net.h"
#include "rng.h"
#include "simdisk.h"

struct node {
    struct world *world;
    unsigned index; /* in the world */
    uint64_t id;    /* index + 1 */
    bool puppet;    /* the test plays it */
    bool up;
    bool exists;                    /* it runs, or is started again when it is down */
    bool joins;                     /* an empty disk is no new cluster */
    bool lost;                      /* the machine is gone, with its disk */
    uint64_t seen_members;          /* version of its members when its links were looked at */
    bool draining, closing, closed; /* on its way down in order */
    unsigned life;                  /* goes up with each start and each end */
    struct core *core;
    struct simdisk disk;
    struct net net;
    struct list answered; /* requests the core answered in this step */
    struct list received; /* puppet: frames it got (struct simnet_frame) */

    /* The clock. */
    uint64_t clock_offset_ms;
    int64_t drift_ppm;
    int64_t wall_skew_ms;
    uint64_t paused_until_us, last_pause_end_us;

    bool turn_due;
    jmp_buf escape; /* out of the core, when it calls fatal */
    bool inside;
    enum err fatal_err;
    char fatal_what[200];
    unsigned fatals;

    /* What the judge has seen of this life. */
    uint64_t judged_commit, judged_applied, judged_revision, judged_term;
    bool judged_leader;
    uint64_t guard_hits[GUARD_RULES];
    uint64_t restores, snapshots, duplicates, forwarded, batched;
    bool was_without_past;
};

void node_init(struct node *n, struct world *w, unsigned index);

/* Starts the process. It must be down. */
void node_start(struct node *n);
/* kill -9, or a power cut: a random prefix of what is on its way to the disk
 * survives. */
void node_crash(struct node *n);
/* SIGTERM. */
void node_drain(struct node *n);
/* SIGSTOP, SIGCONT after `us`. */
void node_pause(struct node *n, uint64_t us);
bool node_paused(const struct node *n);

/* Enters the core with `step`, then takes its turn. False: the process ended. */
typedef void (*node_step_cb)(struct node *n, void *arg);
bool node_run(struct node *n, node_step_cb step, void *arg);

/* An event of this life of the replica; one that is paused gets it afterwards. */
void node_after(struct node *n, uint64_t us, event_cb fire, void *data);
/* The same for any life of it. */
void node_after_any(struct node *n, uint64_t us, event_cb fire, void *data);

/* How long n milliseconds of its clock last, in microseconds of the world. */
uint64_t node_clock_us(const struct node *n, uint64_t ms);
uint64_t node_now_ms(const struct node *n);

bool node_leads(const struct node *n);

#endif
