#include "http/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/histogram.h"
#include "http/metrics_process.h"
#include "service.h"

static const char *const kinds[ROUTE_KIND_N] = {
    [ROUTE_READ] = "read", [ROUTE_WRITE] = "write", [ROUTE_ADMIN] = "admin"};

enum core_type { GAUGE, COUNTER };

/* The core's plain numbers: struct service_metrics, in the order of the page. */
static const struct {
    const char *name;
    enum core_type type;
    size_t offset;
    const char *help;
} core_metrics[] = {
#define CORE(name, type, field, help)                                                              \
    {                                                                                              \
        name, type, offsetof(struct service_metrics, field), help                                  \
    }
    CORE("callsign_term", GAUGE, term, "Raft term of this replica."),
    CORE("callsign_commit_index", GAUGE, commit_index, "Log index known to be committed."),
    CORE("callsign_applied_index", GAUGE, applied_index, "Log index applied to the registry."),
    CORE("callsign_revision", GAUGE, revision, "Revision of the registry."),
    CORE("callsign_names", GAUGE, names, "Names registered, over all environments."),
    CORE("callsign_is_leader", GAUGE, is_leader, "1 while this replica leads."),
    CORE("callsign_has_leader", GAUGE, has_leader, "1 while this replica knows a leader."),
    CORE("callsign_leader_changes_total", COUNTER, leader_changes,
         "Times this replica learnt of another leader."),
    CORE("callsign_elections_total", COUNTER, elections,
         "Terms this replica saw begin, each with an election."),
    CORE("callsign_commands_applied_total", COUNTER, commands_applied,
         "Commands applied to the registry."),
    CORE("callsign_entries_proposed_total", COUNTER, entries_proposed,
         "Log entries this replica proposed as leader."),
    CORE("callsign_commands_proposed_total", COUNTER, commands_proposed,
         "Commands in the log entries this replica proposed."),
    CORE("callsign_commands_forwarded_total", COUNTER, commands_forwarded,
         "Commands this replica forwarded to the leader."),
    CORE("callsign_reads_linearizable_total", COUNTER, reads_linearizable,
         "Reads confirmed by a quorum."),
    CORE("callsign_reads_local_total", COUNTER, reads_local,
         "Reads answered locally (stale, at_least)."),
    CORE("callsign_read_confirmations_total", COUNTER, read_confirmations,
         "Quorum rounds that confirmed reads."),
    CORE("callsign_outcomes_unknown_total", COUNTER, outcomes_unknown,
         "Writes answered 504 outcome_unknown."),
    CORE("callsign_refused_no_leader_total", COUNTER, refused_no_leader,
         "Requests refused because no leader was known."),
    CORE("callsign_refused_overloaded_total", COUNTER, refused_overloaded,
         "Requests refused because too much work waited."),
    CORE("callsign_snapshots_taken_total", COUNTER, snapshots_taken, "Snapshots taken."),
    CORE("callsign_snapshots_restored_total", COUNTER, snapshots_restored,
         "Snapshots restored, from disk or from the leader."),
    CORE("callsign_snapshot_bytes", GAUGE, snapshot_bytes, "Size of the last snapshot."),
    CORE("callsign_snapshot_index", GAUGE, snapshot_index,
         "Log index up to which the newest snapshot on the disk goes."),
    CORE("callsign_peer_certificate_expiry_seconds", GAUGE, peer_cert_not_after,
         "When this replica's certificate for the links ends, in seconds since 1970; 0 without "
         "TLS."),
    CORE("callsign_history_changes", GAUGE, history_changes,
         "Changes kept for watches that resume."),
    CORE("callsign_peers_connected", GAUGE, peers_connected,
         "Peers with a link in both directions."),
    CORE("callsign_peer_received_bytes_total", COUNTER, peer_bytes_in,
         "Bytes received from peers."),
    CORE("callsign_peer_sent_bytes_total", COUNTER, peer_bytes_out, "Bytes sent to peers."),
    CORE("callsign_peer_frames_dropped_total", COUNTER, peer_frames_dropped,
         "Frames to peers dropped because a queue was full."),
    CORE("callsign_nodes_up", GAUGE, nodes_up, "Nodes whose lease runs."),
    CORE("callsign_nodes_known", GAUGE, nodes_known, "Nodes with a lease that runs or has ended."),
    CORE("callsign_idempotency_keys", GAUGE, keys, "Idempotency keys kept."),
    CORE("callsign_claims", GAUGE, claims, "Claims that are open, with those that wait."),
    CORE("callsign_claims_expired_total", COUNTER, claims_expired,
         "Ends of claims whose time was over, proposed by this replica as leader."),
    CORE("callsign_names_gone", GAUGE, names_gone,
         "Names that went with their node and still take memory."),
    CORE("callsign_leases_renewed_total", COUNTER, leases_renewed,
         "Heartbeats granted by this replica as leader."),
    CORE("callsign_leases_not_found_total", COUNTER, leases_not_found,
         "Heartbeats refused by this replica as leader because the node had no lease."),
    CORE("callsign_leases_expired_total", COUNTER, leases_expired,
         "Leases that ran out and were ended by this replica as leader."),
    CORE("callsign_lease_questions_total", COUNTER, leases_asked,
         "Heartbeats and questions about leases that reached this replica."),
    CORE("callsign_leases_deaf_total", COUNTER, leases_deaf,
         "Times this leader did not run for so long that all leases were given the time back."),
    CORE("callsign_storage_records_total", COUNTER, storage_records,
         "Entries and truncations written to the log."),
    CORE("callsign_storage_written_bytes_total", COUNTER, storage_bytes,
         "Bytes written to the log, padding included."),
    CORE("callsign_storage_log_bytes", GAUGE, storage_log_bytes, "Size of the log's files."),
    CORE("callsign_storage_segments", GAUGE, storage_segments, "Number of the log's files."),
    CORE("callsign_storage_space", GAUGE, storage_space,
         "Room on the disk: 0 enough, 1 low, 2 full."),
    CORE("callsign_requests_waiting", GAUGE, requests_waiting, "Requests waiting in the core."),
#undef CORE
};

void metrics_add(atomic_uint_fast64_t *counter, uint64_t n)
{
    metrics_set(counter, atomic_load_explicit(counter, memory_order_relaxed) + n);
}

void metrics_set(atomic_uint_fast64_t *gauge, uint64_t value)
{
    atomic_store_explicit(gauge, value, memory_order_relaxed);
}

void metrics_count(struct metrics_http *m, enum route_id route, int status, uint64_t duration_ns)
{
    enum route_kind kind = route_get(route)->kind;

    CHECK(status >= 100 && status < 100 * (METRICS_CLASSES + 1));
    metrics_add(&m->requests[route][status / 100 - 1], 1);
    metrics_add(&m->buckets[kind][histogram_bucket(duration_ns)], 1);
    metrics_add(&m->duration_ns[kind], duration_ns);
}

static void put_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_value(struct buf *out, const char *name, uint64_t value)
{
    buf_put_string(out, name);
    buf_put_char(out, ' ');
    buf_put_decimal(out, value);
    buf_put_char(out, '\n');
}

/* The sum over all threads of the counter that lies `offset` bytes into their
 * structs. */
static uint64_t sum(const struct metrics_http *const *threads, unsigned count, size_t offset)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < count; i++) {
        const void *at = (const char *)threads[i] + offset;

        total += atomic_load_explicit((const atomic_uint_fast64_t *)at, memory_order_relaxed);
    }
    return total;
}

#define SUM(field) sum(threads, count, offsetof(struct metrics_http, field))

/* The histograms of the core. */
static const struct {
    const char *name;
    size_t offset;
    const char *help;
} core_histograms[] = {
    {"callsign_commit_duration_seconds", offsetof(struct service_metrics, commit),
     "Time from the proposal of a log entry to its application, at the leader."},
    {"callsign_apply_duration_seconds", offsetof(struct service_metrics, apply),
     "Time in which the registry applied a log entry."},
    {"callsign_snapshot_duration_seconds", offsetof(struct service_metrics, snapshots),
     "Time from the beginning of a snapshot until it was on the disk."},
    {"callsign_storage_write_duration_seconds", offsetof(struct service_metrics, storage_write),
     "Time of a synced write to the log."},
};

static void put_core_histogram(struct buf *out, const char *name, const struct histogram *h)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        total += h->counts[i];
        buf_printf(out, "%s_bucket{le=\"%s\"} ", name, histogram_bound(i));
        buf_put_decimal(out, total);
        buf_put_char(out, '\n');
    }
    buf_printf(out, "%s_sum %.9f\n%s_count ", name, (double)h->sum_ns / 1e9, name);
    buf_put_decimal(out, total);
    buf_put_char(out, '\n');
}

static void put_core_histograms(struct buf *out, const struct service_metrics *core)
{
    for (size_t i = 0; i < sizeof(core_histograms) / sizeof(core_histograms[0]); i++) {
        struct histogram h;

        memcpy(&h, (const char *)core + core_histograms[i].offset, sizeof h);
        put_head(out, core_histograms[i].name, "histogram", core_histograms[i].help);
        put_core_histogram(out, core_histograms[i].name, &h);
    }
}

static void put_core(struct buf *out, const struct service_metrics *core)
{
    for (size_t i = 0; i < sizeof(core_metrics) / sizeof(core_metrics[0]); i++) {
        uint64_t value;

        memcpy(&value, (const char *)core + core_metrics[i].offset, sizeof(value));
        put_head(out, core_metrics[i].name, core_metrics[i].type == GAUGE ? "gauge" : "counter",
                 core_metrics[i].help);
        put_value(out, core_metrics[i].name, value);
    }
    put_head(out, "callsign_loop_stall_max_seconds", "gauge", "Longest turn of the core's loop.");
    buf_printf(out, "callsign_loop_stall_max_seconds %.6f\n",
               (double)core->loop_stall_max_us / 1e6);
    put_head(out, "callsign_loop_cpu_max_seconds", "gauge",
             "Most processor time that one turn of the core's loop took.");
    buf_printf(out, "callsign_loop_cpu_max_seconds %.6f\n", (double)core->loop_cpu_max_us / 1e6);
    put_head(out, "callsign_guard_hits_total", "counter",
             "Times a rule of the guard around libraft held something back.");
    for (unsigned i = 1; i < sizeof(core->guard_hits) / sizeof(core->guard_hits[0]); i++) {
        buf_printf(out, "callsign_guard_hits_total{rule=\"%u\"} ", i);
        buf_put_decimal(out, core->guard_hits[i]);
        buf_put_char(out, '\n');
    }
}

static void put_requests(struct buf *out, const struct metrics_http *const *threads, unsigned count)
{
    put_head(out, "callsign_http_requests_total", "counter",
             "HTTP requests answered, by route and class of the status.");
    for (unsigned route = 0; route < ROUTE_N; route++) {
        const struct route *r = route_get(route);

        for (unsigned class = 1; class < METRICS_CLASSES; class ++) {
            size_t offset = offsetof(struct metrics_http, requests) +
                            (route * METRICS_CLASSES + class) * sizeof(atomic_uint_fast64_t);

            buf_printf(out,
                       "callsign_http_requests_total{route=\"%s\",method=\"%s\",status=\"%uxx\"} ",
                       r->pattern, r->method, class + 1);
            buf_put_decimal(out, sum(threads, count, offset));
            buf_put_char(out, '\n');
        }
    }
}

static void put_histogram(struct buf *out, const struct metrics_http *const *threads,
                          unsigned count)
{
    static const char name[] = "callsign_http_request_duration_seconds";

    put_head(out, name, "histogram",
             "Time from a request's last byte to its answer, by kind of request.");
    for (unsigned kind = 0; kind < ROUTE_KIND_N; kind++) {
        uint64_t total = 0;

        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
            size_t offset = offsetof(struct metrics_http, buckets) +
                            (kind * HISTOGRAM_BUCKETS + i) * sizeof(atomic_uint_fast64_t);

            total += sum(threads, count, offset);
            buf_printf(out, "%s_bucket{kind=\"%s\",le=\"%s\"} ", name, kinds[kind],
                       histogram_bound(i));
            buf_put_decimal(out, total);
            buf_put_char(out, '\n');
        }
        buf_printf(out, "%s_sum{kind=\"%s\"} %.9f\n%s_count{kind=\"%s\"} ", name, kinds[kind],
                   (double)sum(threads, count,
                               offsetof(struct metrics_http, duration_ns) +
                                   kind * sizeof(atomic_uint_fast64_t)) /
                       1e9,
                   name, kinds[kind]);
        buf_put_decimal(out, total);
        buf_put_char(out, '\n');
    }
}

static void put_watches(struct buf *out, const struct metrics_http *const *threads, unsigned count)
{
    put_head(out, "callsign_watches", "gauge", "Event streams and long polls open.");
    put_value(out, "callsign_watches", SUM(watches));
    put_head(out, "callsign_watch_events_total", "counter", "Changes handed to event streams.");
    put_value(out, "callsign_watch_events_total", SUM(watch_events));
    put_head(out, "callsign_watch_drops_total", "counter",
             "Event streams cut because their client did not read.");
    put_value(out, "callsign_watch_drops_total", SUM(watch_drops));
    put_head(out, "callsign_watch_resets_total", "counter",
             "Event streams begun anew because the history they needed was gone.");
    put_value(out, "callsign_watch_resets_total", SUM(watch_resets));
}

void metrics_put(struct buf *out, const struct service_metrics *core,
                 const struct metrics_http *const *threads, unsigned count)
{
    put_head(out, "callsign_build_info", "gauge", "1, with the version as a label.");
    buf_put_string(out, "callsign_build_info{version=\"" PACKAGE_VERSION "\"} 1\n");
    put_core(out, core);
    put_core_histograms(out, core);
    put_requests(out, threads, count);
    put_histogram(out, threads, count);
    put_head(out, "callsign_http_requests_aborted_total", "counter",
             "HTTP requests that ended before they were answered.");
    put_value(out, "callsign_http_requests_aborted_total", SUM(aborted));
    put_head(out, "callsign_http_requests_denied_total", "counter",
             "HTTP requests refused for want of a token that allows them (401, 403).");
    put_value(out, "callsign_http_requests_denied_total", SUM(denied));
    put_head(out, "callsign_http_connections_cut_total", "counter",
             "Connections cut because their request or reader was too slow.");
    put_value(out, "callsign_http_connections_cut_total", SUM(cut));
    put_head(out, "callsign_http_connections_pushed_total", "counter",
             "Connections closed to make room for newer ones.");
    put_value(out, "callsign_http_connections_pushed_total", SUM(pushed));
    put_head(out, "callsign_http_held_bytes", "gauge",
             "Bytes of requests and answers that are kept for clients now.");
    put_value(out, "callsign_http_held_bytes", SUM(held));
    put_head(out, "callsign_http_certificate_expiry_seconds", "gauge",
             "When the certificate of HTTPS ends, in seconds since 1970; 0 without TLS.");
    put_value(out, "callsign_http_certificate_expiry_seconds",
              atomic_load_explicit(&threads[0]->cert_not_after, memory_order_relaxed));
    put_head(out, "callsign_http_connections", "gauge", "Open HTTP connections.");
    put_value(out, "callsign_http_connections", SUM(connections));
    put_head(out, "callsign_http_requests_waiting", "gauge",
             "HTTP requests that wait for the core.");
    put_value(out, "callsign_http_requests_waiting", SUM(waiting));
    put_watches(out, threads, count);
    metrics_process_put(out);
}
