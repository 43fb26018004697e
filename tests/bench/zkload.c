/*
 * Drives ZooKeeper through its C client:
 *
 *     zkload HOST:PORT WORK CONNECTIONS KEYS SECONDS
 *
 * WORK is put (set), get (sync, then get: what ZooKeeper has in place of a
 * linearizable read), stale (get) or fill (creates every key, many at a time).
 * Each connection is a session of its own with one request under way. The last
 * line is one JSON object.
 */
#define THREADED /* the half of the client that <zookeeper.h> shows then */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

enum {
    PATH_MAX_BYTES = 32,
    VALUE_MAX_BYTES = 64,
    SESSION_MS = 30000,
    CONNECTIONS_MAX = 4096,
    FILL_AT_ONCE = 256, /* requests under way in each session while filling */
    BUCKETS = 100000,   /* of the latencies, 10 us each */
    BUCKET_NS = 10000,
};

enum work { PUT, GET, STALE, FILL };

struct session {
    zhandle_t *zh;
    unsigned key;
    unsigned turns;
    uint64_t began_ns;
    unsigned under_way; /* while filling; like `key` under the mutex then */
    pthread_mutex_t mutex;
    uint32_t *buckets; /* touched by the completion thread of this session */
    uint64_t requests;
    uint64_t errors;
};

static enum work work;
static unsigned keys, connections, step;
static uint64_t end_ns;
static struct session *sessions;
static atomic_uint connected, running;
static atomic_bool lost;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void fail(const char *what, int rc)
{
    fprintf(stderr, "zkload: %s: %s\n", what, zerror(rc));
    exit(1);
}

static void tell(void)
{
    pthread_mutex_lock(&mutex);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void wait_until(const atomic_uint *value, unsigned wanted)
{
    pthread_mutex_lock(&mutex);
    while (atomic_load(value) != wanted) {
        pthread_cond_wait(&changed, &mutex);
    }
    pthread_mutex_unlock(&mutex);
}

static void on_event(zhandle_t *zh, int type, int state, const char *path, void *context)
{
    (void)zh;
    (void)path;
    (void)context;
    if (type != ZOO_SESSION_EVENT) {
        return;
    }
    if (state == ZOO_CONNECTED_STATE) {
        atomic_fetch_add(&connected, 1);
        tell();
    } else if (state == ZOO_EXPIRED_SESSION_STATE) {
        atomic_store(&lost, true);
    }
}

static void ask(struct session *s);

static void on_answer(struct session *s, int rc)
{
    uint64_t took = (now_ns() - s->began_ns) / BUCKET_NS;

    s->requests++;
    s->errors += rc != ZOK;
    s->buckets[took < BUCKETS ? took : BUCKETS - 1]++;
    ask(s);
}

static void on_stat(int rc, const struct Stat *stat, const void *data)
{
    (void)stat;
    on_answer((struct session *)data, rc);
}

static void on_data(int rc, const char *value, int len, const struct Stat *stat, const void *data)
{
    (void)value;
    (void)len;
    (void)stat;
    on_answer((struct session *)data, rc);
}

static void on_synced(int rc, const char *path, const void *data)
{
    (void)rc;
    (void)path;
    (void)data;
}

static void on_created(int rc, const char *path, const void *data);

static void finish(void)
{
    atomic_fetch_sub(&running, 1);
    tell();
}

/* `done` requests have come back: as many others go. The first call is the
 * main thread's, and the answers come while it is at it. */
static void fill(struct session *s, unsigned done)
{
    char path[PATH_MAX_BYTES], value[VALUE_MAX_BYTES];
    int n, rc;

    pthread_mutex_lock(&s->mutex);
    s->under_way -= done;
    while (s->under_way < FILL_AT_ONCE && s->key < keys) {
        snprintf(path, sizeof path, "/bench/%u", s->key);
        n = snprintf(value, sizeof value, "{\"node_id\":1,\"process_id\":%u}", s->key);
        s->key += step;
        s->under_way++;
        rc = zoo_acreate(s->zh, path, value, n, &ZOO_OPEN_ACL_UNSAFE, 0, on_created, s);
        if (rc != ZOK) {
            fail("creating", rc);
        }
    }
    if (s->under_way == 0) {
        finish();
    }
    pthread_mutex_unlock(&s->mutex);
}

static void on_created(int rc, const char *path, const void *data)
{
    struct session *s = (struct session *)data;

    (void)path;
    s->requests++;
    s->errors += rc != ZOK && rc != ZNODEEXISTS;
    fill(s, 1);
}

/* The session's next request, or its end. */
static void ask(struct session *s)
{
    char path[PATH_MAX_BYTES], value[VALUE_MAX_BYTES];
    int n, rc;

    if (work == FILL) {
        fill(s, 0);
        return;
    }
    s->began_ns = now_ns();
    if (s->began_ns >= end_ns) {
        finish();
        return;
    }
    snprintf(path, sizeof path, "/bench/%u", s->key);
    s->turns++;
    s->key = (s->key + step) % keys;
    if (work == PUT) {
        n = snprintf(value, sizeof value, "{\"node_id\":1,\"process_id\":%u}", s->turns);
        rc = zoo_aset(s->zh, path, value, n, -1, on_stat, s);
    } else {
        rc = ZOK;
        if (work == GET) {
            rc = zoo_async(s->zh, path, on_synced, s);
        }
        if (rc == ZOK) {
            rc = zoo_aget(s->zh, path, 0, on_data, s);
        }
    }
    if (rc != ZOK) {
        fail("asking", rc);
    }
}

static void report(uint64_t took_ns)
{
    static uint64_t all[BUCKETS];
    uint64_t requests = 0, errors = 0, seen = 0;
    double p50 = 0, p99 = 0;

    for (unsigned i = 0; i < connections; i++) {
        requests += sessions[i].requests;
        errors += sessions[i].errors;
        for (unsigned b = 0; b < BUCKETS; b++) {
            all[b] += sessions[i].buckets[b];
        }
    }
    for (unsigned b = 0; b < BUCKETS && requests > 0; b++) {
        double ms = (b + 0.5) * BUCKET_NS / 1e6;

        p50 = seen * 100 < requests * 50 ? ms : p50;
        p99 = seen * 100 < requests * 99 ? ms : p99;
        seen += all[b];
    }
    printf("{\"requests\":%llu,\"seconds\":%.6f,\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"errors\":%llu}\n",
           (unsigned long long)requests, (double)took_ns / 1e9, p50, p99,
           (unsigned long long)errors + atomic_load(&lost));
}

static void open_sessions(const char *server)
{
    sessions = calloc(connections, sizeof *sessions);
    for (unsigned i = 0; i < connections; i++) {
        struct session *s = &sessions[i];

        s->buckets = calloc(BUCKETS, sizeof *s->buckets);
        s->key = work == FILL ? i : i % keys;
        pthread_mutex_init(&s->mutex, NULL);
        s->zh = zookeeper_init(server, on_event, SESSION_MS, NULL, NULL, 0);
        if (s->zh == NULL || s->buckets == NULL) {
            fail("opening a session", ZSYSTEMERROR);
        }
    }
    wait_until(&connected, connections);
}

int main(int argc, char **argv)
{
    static const char *const works[] = {"put", "get", "stale", "fill"};
    uint64_t began_ns;
    unsigned w = 0;
    int rc;

    if (argc != 6) {
        fprintf(stderr, "usage: zkload HOST:PORT WORK CONNECTIONS KEYS SECONDS\n");
        return 2;
    }
    while (w < 4 && strcmp(works[w], argv[2]) != 0) {
        w++;
    }
    work = (enum work)w;
    connections = (unsigned)strtoul(argv[3], NULL, 10);
    keys = (unsigned)strtoul(argv[4], NULL, 10);
    step = connections;
    if (w == 4 || connections < 1 || connections > CONNECTIONS_MAX || keys < 1) {
        fprintf(stderr, "zkload: bad arguments\n");
        return 2;
    }
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    open_sessions(argv[1]);
    if (work == FILL) {
        rc = zoo_create(sessions[0].zh, "/bench", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
        if (rc != ZOK && rc != ZNODEEXISTS) {
            fail("creating /bench", rc);
        }
    }
    atomic_store(&running, connections);
    began_ns = now_ns();
    end_ns = began_ns + (uint64_t)(strtod(argv[5], NULL) * 1e9);
    for (unsigned i = 0; i < connections; i++) {
        ask(&sessions[i]);
    }
    wait_until(&running, 0);
    report(now_ns() - began_ns);
    return 0;
}
