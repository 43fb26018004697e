/*
 * consensus_stats.h - how long the parts of consensus take.
 *
 * Nothing depends on what is measured: the clock is that of the machine, in the
 * simulation too.
 *
 * Threads: the core thread. Memory: in struct consensus_stats.
 */
#ifndef CALLSIGN_CONSENSUS_STATS_H
#define CALLSIGN_CONSENSUS_STATS_H

#include <stdint.h>

struct consensus;

uint64_t consensus_stats_now_ns(void);

/* After fsm_init(), before libraft is given the state machine. */
void consensus_stats_init(struct consensus *c);

/* Once a loop turn: notices that a snapshot began or ended. */
void consensus_stats_observe(struct consensus *c);

#endif
