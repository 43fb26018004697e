/*
 * api.h - the handlers of the routes; route.c has the table.
 *
 * Each `handle` runs on the HTTP thread with the whole request there, its
 * query checked against the route's parameters; each `answer` runs after the
 * core answered. Both leave an answer in the exchange (exchange.h).
 */
#ifndef CALLSIGN_HTTP_API_H
#define CALLSIGN_HTTP_API_H

struct exchange;
struct owner;

/* /api/registry/{name} and /api/registry: api_registry.c */
void api_registry_get(struct exchange *x);
void api_registry_get_answer(struct exchange *x);
void api_registry_put(struct exchange *x);
void api_registry_put_answer(struct exchange *x);
void api_registry_delete(struct exchange *x);
void api_registry_delete_answer(struct exchange *x);

/* 200 with the entry of the request's name. */
void api_registry_reply_owner(struct exchange *x, const struct owner *owner);

/* /api/registry without a name: api_list.c */
void api_list_get(struct exchange *x);
/* The core found the page. */
void api_list_reply(struct exchange *x);

/* /api/batch: api_batch.c */
void api_batch_post(struct exchange *x);
void api_batch_post_answer(struct exchange *x);

/* /api/nodes: api_nodes.c */
void api_nodes_put(struct exchange *x);
void api_nodes_put_answer(struct exchange *x);
void api_nodes_beat(struct exchange *x);
void api_nodes_beat_answer(struct exchange *x);
void api_nodes_delete(struct exchange *x);
void api_nodes_delete_answer(struct exchange *x);
void api_nodes_get(struct exchange *x);
void api_nodes_list(struct exchange *x);
/* Of either. */
void api_nodes_get_answer(struct exchange *x);

/* /api/claims: api_claims.c */
void api_claims_post(struct exchange *x);
void api_claims_post_answer(struct exchange *x);
void api_claims_confirm(struct exchange *x);
void api_claims_confirm_answer(struct exchange *x);
void api_claims_abort(struct exchange *x);
void api_claims_abort_answer(struct exchange *x);

/* /api/watch: api_watch.c */
void api_watch_get(struct exchange *x);
void api_watch_get_answer(struct exchange *x);

/* /api/cluster: api_cluster.c */
void api_cluster_get(struct exchange *x);
void api_cluster_get_answer(struct exchange *x);

/* /openapi.json: api_openapi.c */
void api_openapi_get(struct exchange *x);

/* / and /console/: api_console.c */
void api_console_page(struct exchange *x);
void api_console_file(struct exchange *x);

/* /api/cluster/members, /api/cluster/transfer-leader: api_members.c */
void api_members_post(struct exchange *x);
void api_members_delete(struct exchange *x);
void api_members_transfer(struct exchange *x);
void api_members_answer(struct exchange *x);

/* /api/snapshot: api_snapshot.c */
void api_snapshot_get(struct exchange *x);
void api_snapshot_get_answer(struct exchange *x);
/* Its backup is written, or failed with that errno. */
void api_snapshot_on_backup(struct exchange *x, int failure);

/* /livez, /readyz, /version, /metrics: api_health.c */
void api_health_livez(struct exchange *x);
void api_health_readyz(struct exchange *x);
void api_health_readyz_answer(struct exchange *x);
void api_health_version(struct exchange *x);
void api_health_metrics(struct exchange *x);
void api_health_metrics_answer(struct exchange *x);

#endif
