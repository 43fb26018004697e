/*
 * faults.h - what goes wrong in a simulated world.
 */
#ifndef CALLSIGN_TESTS_SIM_FAULTS_H
#define CALLSIGN_TESTS_SIM_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct node;
struct world;

#define FAULTS(X)                                                                                  \
    X(CRASH, "crash")         /* a replica, or all at once */                                      \
    X(WIPE, "wipe")           /* a disk is lost */                                                 \
    X(SLOW, "slow")           /* a disk is slow */                                                 \
    X(ERROR, "error")         /* a disk fails a write */                                           \
    X(PARTITION, "partition") /* full, also of a leader alone */                                   \
    X(ONE_WAY, "oneway")      /* of a direction or of one connection */                            \
    X(RESET, "reset")         /* of connections */                                                 \
    X(LOSS, "loss")           /* of single frames */                                               \
    X(DOUBLE, "double")       /* frames that come twice */                                         \
    X(REORDER, "reorder")     /* frames that are overtaken */                                      \
    X(DELAY, "delay")         /* spikes */                                                         \
    X(OVERLOAD, "overload")   /* queues that take little */                                        \
    X(PAUSE, "pause")         /* of a process */                                                   \
    X(CLOCK, "clock")         /* drift, and wall clocks that jump */                               \
    X(TRANSFER, "transfer")   /* of leadership */                                                  \
    X(DRAIN, "drain")         /* stopping in order */                                              \
    X(MEMBERS, "members")     /* replicas added and removed; see operator.h */                     \
    X(LATE_TURN, "lateturn")  /* turns that cover several events */                                \
    X(DOUBT, "doubt")         /* all die, and the ends of most logs are damaged */

enum fault {
#define X(NAME, TEXT) FAULT_##NAME,
    FAULTS(X)
#undef X
        FAULT_N
};

#define FAULTS_ALL ((UINT32_C(1) << FAULT_N) - 1)

struct faults {
    bool on;
    bool restarts;          /* whoever goes down by itself comes back */
    size_t queue_bytes_max; /* without the fault */
};

/* "crash,wipe" or "all" or "none"; false: an unknown name. */
bool faults_parse(const char *text, uint32_t *ret_faults);
const char *faults_name(enum fault f);

/* An event: `n` dies. */
void faults_on_trap(struct world *w, struct node *n, void *data);

/* From now on something goes wrong now and then. */
void faults_begin(struct world *w);
/* A replica went down by itself: it is started again after a while. */
void faults_down(struct node *n);
/* Ends all of it, but for pauses that have begun, and starts what is down. */
void faults_heal(struct world *w);

#endif
