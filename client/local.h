/*
 * local.h - the registry of a handle without endpoints: a table in this
 * process that answers as a cluster would.
 *
 * Invariants
 *   1. A call takes effect at one moment between its beginning and its end:
 *      one lock guards the table.
 *   2. The revision rises by one with each command that changes something; a
 *      refused one changes nothing.
 *   3. No callback is called with the lock held.
 *
 * Threads: any number. Memory: that of the names. A name for which there is no
 * memory is refused with FAILED, and nothing was changed.
 *
 * Each call is told of a request that was checked, and fills an answer that
 * was begun (call.h).
 */
#ifndef CALLSIGN_CLIENT_LOCAL_H
#define CALLSIGN_CLIENT_LOCAL_H

#include "client/callsign.h"

struct local;
struct watch;

/* NULL without memory. */
struct local *local_new(void);
void local_free(struct local *l);

enum callsign_result local_put(struct local *l, const struct callsign_put *put,
                               struct callsign_answer *a);
enum callsign_result local_get(struct local *l, const struct callsign_get *get,
                               struct callsign_answer *a);
enum callsign_result local_remove(struct local *l, const struct callsign_remove *remove,
                                  struct callsign_answer *a);
enum callsign_result local_list(struct local *l, const struct callsign_list *list,
                                callsign_entry_cb visit, void *data, struct callsign_answer *a);
enum callsign_result local_batch(struct local *l, const struct callsign_batch *batch,
                                 struct callsign_op_result *ret_results, size_t *ret_refused_index,
                                 struct callsign_answer *a);

enum callsign_result local_claim(struct local *l, const struct callsign_claim *claim,
                                 struct callsign_claimed *ret_claimed, struct callsign_answer *a);
enum callsign_result local_claim_confirm(struct local *l, const struct callsign_claimed *claimed,
                                         uint64_t process_id, struct callsign_answer *a);
enum callsign_result local_claim_abort(struct local *l, const struct callsign_claimed *claimed,
                                       struct callsign_answer *a);

enum callsign_result local_node_register(struct local *l, const struct callsign_node *node,
                                         struct callsign_answer *a);
enum callsign_result local_node_heartbeat(struct local *l, uint64_t node_id,
                                          struct callsign_answer *a);
enum callsign_result local_node_remove(struct local *l, uint64_t node_id, uint64_t *ret_removed,
                                       struct callsign_answer *a);

/* Runs a watch until its callback or watch_stop() ends it. */
enum callsign_result local_watch(struct local *l, struct watch *w);
/* Whoever waits looks again. */
void local_wake(struct local *l);

enum callsign_result local_status(struct local *l, struct callsign_cluster *ret_cluster,
                                  struct callsign_answer *a);

#endif
