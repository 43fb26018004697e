/*
 * From a directory to a running core: lock and identity, the bootstrap of a
 * fresh directory, the log, the links.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "config_value.h"
#include "peer_tls.h"
#include "raftio_wire.h"
#include "replica_internal.h"

enum { MARKER_VOTER_BYTES = 8 };
#define MARKER_DOUBT "doubt" /* holds what REPLICA_MARKER_VOTER held */

/* --- What the core is given ----------------------------------------------------- */

static uint64_t loop_ms(void *data)
{
    struct replica *r = data;

    return uv_now(&r->loop);
}

static uint64_t wall_ms(void *data)
{
    struct timespec t;

    (void)data;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void fatal(void *data, enum err err, const char *what)
{
    struct replica *r = data;

    log_event(LOG_ERROR, "replica_broken", "why=%s detail=%s data_dir=%s action=%s",
              LOG_Q(err_text(err)), LOG_Q(what), LOG_Q(r->config->data_dir),
              LOG_Q("this replica ends; the others go on; start it again once the cause is gone"));
    log_stop();
    _exit(REPLICA_EXIT_BROKEN);
}

static enum err write_floor(struct replica *r, const char *name, uint64_t vote_floor)
{
    struct buf b;
    enum err e;

    buf_init(&b, MARKER_VOTER_BYTES);
    buf_put_u64(&b, vote_floor);
    e = datadir_marker_write(r->datadir, name, b.data, b.len);
    buf_fini(&b);
    return e;
}

static enum err write_voter(void *data, uint64_t vote_floor)
{
    struct replica *r = data;
    enum err e = write_floor(r, REPLICA_MARKER_VOTER, vote_floor);

    if (e == ERR_OK) {
        e = datadir_marker_remove(r->datadir, MARKER_DOUBT);
    }
    if (e != ERR_OK) {
        log_event(LOG_ERROR, "marker_failed", "why=%s", LOG_Q(datadir_why(r->datadir)));
        return e;
    }
    log_event(LOG_INFO, "votes", "above_term=%" PRIu64, vote_floor);
    return ERR_OK;
}

static enum err net_send(void *impl, uint64_t to, const struct frame *f)
{
    struct replica *r = impl;

    if (r->peers == NULL) {
        return ERR_AGAIN; /* starting or closing */
    }
    return peers_send(r->peers, to, f);
}

static size_t net_queued(void *impl, uint64_t to)
{
    struct replica *r = impl;

    return r->peers == NULL ? 0 : peers_queued(r->peers, to);
}

/* --- Starting -------------------------------------------------------------------------------- */

static void random_bytes(void *to, size_t n)
{
    CHECK(getrandom(to, n, 0) == (ssize_t)n);
}

static struct consensus_config consensus_config(const struct config *config)
{
    struct consensus_config k = {
        .id = config->id,
        .election_timeout_ms = config->election_timeout_ms,
        .heartbeat_ms = config->heartbeat_ms,
        .snapshot_threshold = config->snapshot_threshold,
        .snapshot_trailing = config->snapshot_trailing,
    };

    random_bytes(k.hash_key, sizeof k.hash_key);
    return k;
}

int replica_refuse(const struct replica *r, const char *step, enum err e, const char *why)
{
    log_event(LOG_ERROR, "start_failed", "step=%s why=%s detail=%s data_dir=%s", step,
              LOG_Q(err_text(e)), LOG_Q(why), LOG_Q(r->config->data_dir));
    return e == ERR_CONFIG ? REPLICA_EXIT_CONFIG : REPLICA_EXIT_BROKEN;
}

static enum err send_nowhere(void *impl, uint64_t to, const struct frame *f)
{
    (void)impl;
    (void)to;
    (void)f;
    return ERR_AGAIN;
}

static void on_bootstrap_closed(void *data)
{
    (void)data;
}

static enum err open_storage(struct replica *r, const char *path, char *errmsg, size_t errmsg_len,
                             struct storage **ret_storage)
{
    struct storage_config config = {
        .path = path,
        .replica_id = r->config->id,
        .low_space_bytes = (uint64_t)r->config->disk_low_mib << 20,
    };

    config_cluster_id(r->config, config.cluster_id);
    return storage_open(&r->loop, &config, errmsg, errmsg_len, ret_storage);
}

/* Makes an empty log in raft.new/: whoever joins gets everything from others. */
static enum err write_nothing(struct replica *r, char *errmsg, size_t errmsg_len)
{
    struct storage *storage;
    enum err e = open_storage(r, datadir_bootstrap_path(r->datadir), errmsg, errmsg_len, &storage);

    if (e == ERR_OK) {
        storage_close(storage);
        uv_run(&r->loop, UV_RUN_DEFAULT);
    }
    return e;
}

enum err replica_change_log(struct replica *r, const char *path,
                            enum err (*change)(struct consensus *c, char *errmsg, size_t n),
                            char *errmsg, size_t errmsg_len)
{
    struct consensus_config kconfig = consensus_config(r->config);
    struct net nowhere = {.send = send_nowhere};
    struct consensus *k = mem_zalloc(1, sizeof *k);
    struct consensus_env env = {.net = &nowhere, .fatal = fatal, .wall_ms = wall_ms, .data = r};
    struct storage *storage;
    enum err e;

    e = open_storage(r, path, errmsg, errmsg_len, &storage);
    if (e == ERR_OK) {
        env.disk = storage_raft_io(storage);
        e = consensus_init(k, &kconfig, &env, errmsg, errmsg_len);
        if (e == ERR_OK) {
            e = change(k, errmsg, errmsg_len);
            consensus_close(k, on_bootstrap_closed);
            uv_run(&r->loop, UV_RUN_DEFAULT);
            consensus_fini(k);
        }
        storage_close(storage);
        uv_run(&r->loop, UV_RUN_DEFAULT);
    }
    free(k);
    return e;
}

/* Writes the first configuration: the members named, all voters. */
static enum err bootstrap(struct consensus *k, char *errmsg, size_t errmsg_len)
{
    const struct replica *r = k->data;
    uint64_t ids[CONFIG_MEMBERS_MAX];

    for (unsigned i = 0; i < r->config->members.count; i++) {
        ids[i] = r->config->members.at[i].id;
    }
    return consensus_bootstrap(k, ids, r->config->members.count, errmsg, errmsg_len);
}

static enum err read_cluster_id(struct replica *r)
{
    struct datadir_marker marker;
    enum err e = datadir_marker_read(r->datadir, REPLICA_MARKER_GENERATION, &marker);

    if (e == ERR_OK && marker.found) {
        if (marker.len != sizeof r->cluster_id) {
            return ERR_STORAGE;
        }
        memcpy(r->cluster_id, marker.bytes, sizeof r->cluster_id);
    }
    return e;
}

enum err replica_open_datadir(struct replica *r, char *errmsg, size_t errmsg_len)
{
    struct datadir_identity identity = {.replica_id = r->config->id};

    config_cluster_id(r->config, identity.cluster_id);
    memcpy(r->cluster_id, identity.cluster_id, sizeof r->cluster_id);
    return datadir_open(r->config->data_dir, &identity, errmsg, errmsg_len, &r->datadir);
}

static int open_datadir(struct replica *r)
{
    char why[STORAGE_WHY_MAX] = ""; /* as long as DATADIR_WHY_MAX */
    enum err e = replica_open_datadir(r, why, sizeof why);

    if (e != ERR_OK) {
        return replica_refuse(r, "data_directory", e, why);
    }
    if (!datadir_is_fresh(r->datadir)) {
        e = read_cluster_id(r);
        return e == ERR_OK ? REPLICA_EXIT_OK
                           : replica_refuse(r, "data_directory", e, datadir_why(r->datadir));
    }
    if (r->config->cluster_id[0] != '\0' && r->config->join.count == 0) {
        return replica_refuse(r, "bootstrap", ERR_CONFIG,
                              "the data directory is empty, and --cluster-id names a cluster that "
                              "exists: name its members with --join");
    }
    e = r->config->join.count > 0
            ? write_nothing(r, why, sizeof why)
            : replica_change_log(r, datadir_bootstrap_path(r->datadir), bootstrap, why, sizeof why);
    if (e != ERR_OK) {
        return replica_refuse(r, "bootstrap", e, why);
    }
    e = datadir_bootstrap_commit(r->datadir);
    if (e != ERR_OK) {
        return replica_refuse(r, "bootstrap", e, datadir_why(r->datadir));
    }
    if (r->config->join.count > 0) {
        log_event(LOG_INFO, "joining", "named=%u", r->config->join.count);
    } else {
        log_event(LOG_INFO, "bootstrapped", "members=%u", r->config->members.count);
    }
    return REPLICA_EXIT_OK;
}

static enum err read_floor(struct replica *r, const char *name, bool *ret_found,
                           uint64_t *ret_floor)
{
    struct datadir_marker marker;
    struct cursor c;
    enum err e;

    e = datadir_marker_read(r->datadir, name, &marker);
    if (e != ERR_OK || !marker.found) {
        return e;
    }
    cursor_init(&c, marker.bytes, marker.len);
    *ret_found = true;
    *ret_floor = cursor_u64(&c);
    return c.bad ? ERR_STORAGE : ERR_OK;
}

static enum err read_markers(struct replica *r, struct core_config *config)
{
    enum err e = read_floor(r, REPLICA_MARKER_VOTER, &config->voter, &config->vote_floor);

    if (e == ERR_OK) {
        e = read_floor(r, MARKER_DOUBT, &config->doubt.in_doubt, &config->doubt.vote_floor);
    }
    if (e == ERR_OK && config->voter && config->doubt.in_doubt) {
        /* It ended between the two, when the doubt was over. */
        e = datadir_marker_remove(r->datadir, MARKER_DOUBT);
        config->doubt.in_doubt = false;
    }
    return e;
}

/* Notes the doubt before the vote goes: a replica without either has no past. */
static enum err note_doubt(struct replica *r, struct core_config *config)
{
    enum err e;

    if (!config->voter) {
        return ERR_OK; /* no past, or in doubt before and not over it */
    }
    e = write_floor(r, MARKER_DOUBT, config->vote_floor);
    if (e == ERR_OK) {
        e = datadir_marker_remove(r->datadir, REPLICA_MARKER_VOTER);
    }
    config->voter = false;
    config->doubt.in_doubt = true;
    config->doubt.vote_floor = config->vote_floor;
    return e;
}

/* Members and voters besides this replica. */
struct others {
    unsigned members, voters;
};

static void count_others(const struct replica *r, const struct raft_configuration *conf,
                         struct others *ret)
{
    for (unsigned i = 0; i < conf->n; i++) {
        ret->members += conf->servers[i].id != r->config->id;
        ret->voters += conf->servers[i].id != r->config->id && conf->servers[i].role == RAFT_VOTER;
    }
}

/* The flags say who founded the cluster or whom to ask first, no more: what the
 * log says counts. */
static enum err find_others(const struct replica *r, struct others *ret)
{
    const struct raft_entry *change = storage_last_change(r->storage);
    const struct raft_configuration *snapshot = storage_snapshot_configuration(r->storage);
    struct raft_configuration conf;
    enum err e = ERR_OK;

    *ret = (struct others){.members = 0};
    if (change != NULL) {
        e = wire_get_configuration(change->buf.base, change->buf.len, &conf);
        if (e == ERR_OK) {
            count_others(r, &conf, ret);
            raft_configuration_close(&conf);
        }
    } else if (snapshot != NULL) {
        count_others(r, snapshot, ret);
    } else {
        ret->members = ret->voters =
            r->config->join.count > 0 ? r->config->join.count : r->config->members.count - 1;
    }
    return e;
}

/* The only voter has nobody to catch up with, and leads as soon as it starts: it
 * cannot ask first what standbys hold. */
static int refuse_alone(const struct replica *r, const struct others *others)
{
    if (others->members > 0) {
        return replica_refuse(
            r, "log", ERR_STORAGE,
            "the end of the log is damaged and may have held acknowledged writes, and no other "
            "member votes: restore a copy of the directory, or go on from the member whose log "
            "reaches furthest; docs/operations.md, \"A lost majority\", says how");
    }
    return replica_refuse(r, "log", ERR_STORAGE,
                          "the end of the log is damaged and may have held acknowledged writes, "
                          "and no other replica has them: restore a copy of the directory, or "
                          "start once with --accept-data-loss to go on without them");
}

/* A write at the end of the log is gone that may have been acknowledged, now or
 * at a start before: the replica must not vote before it has caught up. */
static int give_up_vote(struct replica *r, struct core_config *config)
{
    struct others others;

    if (find_others(r, &others) != ERR_OK) {
        return replica_refuse(r, "log", ERR_STORAGE, "its newest configuration cannot be read");
    }
    if (others.voters == 0 && (others.members > 0 || !r->config->accept_data_loss)) {
        return refuse_alone(r, &others);
    }
    if (note_doubt(r, config) != ERR_OK) {
        return replica_refuse(r, "data_directory", ERR_STORAGE, datadir_why(r->datadir));
    }
    log_event(LOG_WARN, "log_in_doubt", "data_dir=%s action=%s", LOG_Q(r->config->data_dir),
              LOG_Q("none: it votes again once it has caught up with the others"));
    return REPLICA_EXIT_OK;
}

static int open_log(struct replica *r, struct core_config *config)
{
    char why[STORAGE_WHY_MAX] = "";
    enum err e = read_markers(r, config);

    if (e != ERR_OK) {
        return replica_refuse(r, "data_directory", e, datadir_why(r->datadir));
    }
    e = open_storage(r, datadir_log_path(r->datadir), why, sizeof why, &r->storage);
    if (e != ERR_OK) {
        return replica_refuse(r, "log", e, why);
    }
    config->doubt.accepts = r->config->accept_data_loss;
    return storage_suspect(r->storage) || config->doubt.in_doubt ? give_up_vote(r, config)
                                                                 : REPLICA_EXIT_OK;
}

int replica_start_core(struct replica *r)
{
    struct core_env env = {
        .net = &r->net,
        .now_ms = loop_ms,
        .wall_ms = wall_ms,
        .fatal = fatal,
        .write_voter = write_voter,
        .answer = replica_answer,
        .data = r,
    };
    struct core_config config = {
        .consensus = consensus_config(r->config),
        .doubt.id = r->config->id,
    };
    const struct config_members *named;
    uint64_t ids[CONFIG_MEMBERS_MAX];
    char why[DATADIR_WHY_MAX] = "";
    enum err e;
    int rc = open_datadir(r);

    if (rc != REPLICA_EXIT_OK) {
        return rc;
    }
    random_bytes(&config.life, sizeof config.life);
    named = r->config->join.count > 0 ? &r->config->join : &r->config->members;
    for (unsigned i = 0; i < named->count; i++) {
        ids[i] = named->at[i].id;
    }
    config.members = ids;
    config.members_count = named->count;
    config.joining = r->config->join.count > 0;
    r->net = (struct net){.impl = r, .send = net_send, .queued = net_queued};
    rc = open_log(r, &config);
    if (rc != REPLICA_EXIT_OK) {
        return rc;
    }
    env.disk = storage_raft_io(r->storage);
    e = core_init(&r->core, &config, &env, why, sizeof why);
    if (e != ERR_OK) {
        return replica_refuse(r, "log", e, why);
    }
    r->core_open = true;
    e = core_start(&r->core, &config, why, sizeof why);
    if (e != ERR_OK) {
        return replica_refuse(r, "log", e, why);
    }
    return REPLICA_EXIT_OK;
}

/* Where the others dial this replica, as far as its flags tell. */
static const char *own_address(const struct config *config)
{
    for (unsigned i = 0; i < config->members.count && config->join.count == 0; i++) {
        if (config->members.at[i].id == config->id) {
            return config->members.at[i].address;
        }
    }
    return config_value_is_wildcard(config->peer) ? "" : config->peer;
}

int replica_start_peers(struct replica *r, const struct peers_events *events)
{
    struct peers_config config = {
        .id = r->config->id,
        .listen_address = r->config->peer,
        .http_address = r->config->http,
        .peer_address = own_address(r->config),
        .events = *events,
    };
    char why[512] = "";
    enum err e = replica_load_tls(r->config, why, sizeof why, &config.tls);

    if (e != ERR_OK) {
        return replica_refuse(r, "peer_certificate", e, why);
    }
    r->peer_cert_not_after = config.tls == NULL ? 0 : peertls_not_after(config.tls);
    memcpy(config.cluster_id, r->cluster_id, sizeof config.cluster_id);
    e = peers_start(&r->loop, &config, why, sizeof why, &r->peers);
    peertls_release(config.tls); /* the links hold it */
    if (e != ERR_OK) {
        return replica_refuse(r, "peer_port", e, why);
    }
    return REPLICA_EXIT_OK;
}
