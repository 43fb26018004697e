#include "client/transport.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    ATTEMPT_MIN_MS = 50, /* less is not worth an attempt, while there is more */
    /* A refused write is surely not done; cut short by the deadline, another
     * attempt would only make that unknown. */
    WRITE_AGAIN_MIN_MS = 100,
    PAUSE_MIN_MS = 50,
    PAUSE_MAX_MS = 1000, /* what Retry-After says */
    KEY_BYTES = 16,
};

struct endpoint {
    char *url;
    _Atomic(uint64_t) replica; /* that answered there last; 0: not known */
};

struct transport {
    struct link_config config;
    struct endpoint endpoints[TRANSPORT_ENDPOINTS_MAX];
    size_t count;
    atomic_size_t current; /* the endpoint to begin with */
    pthread_mutex_t lock;  /* of the idle links */
    struct link *idle[TRANSPORT_IDLE_MAX];
    size_t idle_count;
};

uint64_t transport_now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The kernel's randomness and nothing of our own: it is right after a fork
 * too. In the one case where it fails, before the boot is over, the clock must
 * do. */
static void fill_random(void *bytes, size_t n)
{
    struct timespec ts;

    if (getrandom(bytes, n, 0) != (ssize_t)n) {
        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        memset(bytes, 0, n);
        memcpy(bytes, &ts, sizeof(ts) < n ? sizeof(ts) : n);
    }
}

uint64_t transport_jitter_ms(uint64_t ms)
{
    uint64_t random = 0;

    fill_random(&random, sizeof(random));
    return ms - random % (ms / 2 + 1);
}

static void make_key(char *ret_key)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[KEY_BYTES];

    fill_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        ret_key[2 * i] = digits[bytes[i] >> 4];
        ret_key[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_key[2 * sizeof(bytes)] = '\0';
}

static bool add_endpoints(struct transport *t, const char *const *endpoints, size_t count,
                          char *ret_why)
{
    if (count == 0 || count > TRANSPORT_ENDPOINTS_MAX) {
        (void)snprintf(ret_why, LINK_WHY_MAX, "%zu endpoints; 1 to %d are possible", count,
                       TRANSPORT_ENDPOINTS_MAX);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        t->endpoints[i].url = link_normalize(endpoints[i]);
        if (t->endpoints[i].url == NULL) {
            (void)snprintf(ret_why, LINK_WHY_MAX,
                           "endpoint '%.200s' is not of the form http://host:port", endpoints[i]);
            return false;
        }
        t->count++;
    }
    return true;
}

static void free_config(struct link_config *config)
{
    free(config->token);
    free(config->ca_file);
    free(config->cert_file);
    free(config->key_file);
    *config = (struct link_config){.token = NULL};
}

bool transport_new(const char *const *endpoints, size_t count, struct link_config *config,
                   char *ret_why, struct transport **ret_transport)
{
    struct transport *t = calloc(1, sizeof(*t));

    if (t == NULL || !link_start_library()) {
        (void)snprintf(ret_why, LINK_WHY_MAX, "no memory, or libcurl cannot start");
        free_config(config);
        free(t);
        return false;
    }
    t->config = *config;
    *config = (struct link_config){.token = NULL};
    (void)pthread_mutex_init(&t->lock, NULL);
    if (!add_endpoints(t, endpoints, count, ret_why)) {
        transport_free(t);
        return false;
    }
    *ret_transport = t;
    return true;
}

void transport_free(struct transport *t)
{
    if (t == NULL) {
        return;
    }
    for (size_t i = 0; i < t->idle_count; i++) {
        link_free(t->idle[i]);
    }
    for (size_t i = 0; i < t->count; i++) {
        free(t->endpoints[i].url);
    }
    free_config(&t->config);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

/* The link that was given back last has the warmest connection. */
struct link *transport_take(struct transport *t)
{
    struct link *l = NULL;

    (void)pthread_mutex_lock(&t->lock);
    if (t->idle_count > 0) {
        l = t->idle[--t->idle_count];
    }
    (void)pthread_mutex_unlock(&t->lock);
    return l != NULL ? l : link_new(&t->config);
}

struct link *transport_new_link(struct transport *t)
{
    return link_new(&t->config);
}

void transport_give(struct transport *t, struct link *l)
{
    (void)pthread_mutex_lock(&t->lock);
    if (t->idle_count < TRANSPORT_IDLE_MAX) {
        t->idle[t->idle_count++] = l;
        l = NULL;
    }
    (void)pthread_mutex_unlock(&t->lock);
    link_free(l);
}

void transport_note_leader(struct transport *t, uint64_t id)
{
    for (size_t i = 0; id != 0 && i < t->count; i++) {
        if (atomic_load_explicit(&t->endpoints[i].replica, memory_order_relaxed) == id) {
            atomic_store_explicit(&t->current, i, memory_order_relaxed);
            return;
        }
    }
}

size_t transport_first(const struct transport *t)
{
    return atomic_load_explicit(&t->current, memory_order_relaxed);
}

size_t transport_endpoints(const struct transport *t)
{
    return t->count;
}

enum link_attempt transport_try(struct transport *t, struct link *l,
                                const struct link_request *request, size_t *index, char *ret_why)
{
    enum link_attempt attempt =
        link_try(l, t->endpoints[*index % t->count].url, request, 0, ret_why);

    *index = (*index + (attempt != LINK_ANSWERED)) % t->count;
    return attempt;
}

/* A request on its way over the endpoints. */
struct journey {
    struct transport *transport;
    struct link *link;
    struct link_request request;
    const struct transport_request *wanted;
    struct transport_result *result;
    uint64_t lost_since_ms; /* the first attempt that was lost; 0: none was */
};

/* What remains, shared among the endpoints that can still be turned to. What
 * is sent once gets all of it: afterwards there is no next endpoint. */
static uint64_t attempt_ms(const struct journey *j, uint64_t left_ms, size_t endpoints_left)
{
    uint64_t hold = j->wanted->hold_ms < left_ms ? j->wanted->hold_ms : left_ms;
    uint64_t share =
        j->wanted->kind == TRANSPORT_ONCE ? left_ms : hold + (left_ms - hold) / endpoints_left;

    if (share < ATTEMPT_MIN_MS) {
        share = left_ms < ATTEMPT_MIN_MS ? left_ms : ATTEMPT_MIN_MS;
    }
    return share > 0 ? share : 1;
}

/* What a round over all endpoints came to. */
enum round {
    ROUND_OVER,    /* result->outcome is set */
    ROUND_REFUSED, /* somebody is there: worth another round */
    ROUND_NOBODY,
};

/* Whether a write that was lost may be sent once more. */
static bool may_repeat(const struct journey *j, uint64_t now)
{
    return j->lost_since_ms == 0 || j->wanted->kind != TRANSPORT_KEYED ||
           now - j->lost_since_ms < TRANSPORT_REPEAT_MS;
}

static enum round try_round(struct journey *j)
{
    struct transport *t = j->transport;
    enum transport_kind kind = j->wanted->kind;
    enum round round = ROUND_NOBODY;
    size_t first = atomic_load_explicit(&t->current, memory_order_relaxed);
    char why[LINK_WHY_MAX] = "";

    for (size_t i = 0; i < t->count; i++) {
        size_t index = (first + i) % t->count;
        struct endpoint *e = &t->endpoints[index];
        uint64_t now = transport_now_ms();
        uint64_t left = now < j->wanted->deadline_ms ? j->wanted->deadline_ms - now : 0;
        const struct link_answer *a = link_answer(j->link);
        enum link_attempt attempt;

        if ((left == 0 && why[0] != '\0') || !may_repeat(j, now)) {
            break;
        }
        j->result->endpoint = e->url;
        attempt = link_try(j->link, e->url, &j->request, attempt_ms(j, left, t->count - i), why);
        if (a->served_by != 0) {
            atomic_store_explicit(&e->replica, a->served_by, memory_order_relaxed);
        }
        switch (attempt) {
        case LINK_ANSWERED:
            atomic_store_explicit(&t->current, index, memory_order_relaxed);
            j->result->outcome = TRANSPORT_ANSWERED;
            return ROUND_OVER;
        case LINK_LOST:
            if (j->lost_since_ms == 0) {
                j->lost_since_ms = now;
            }
            round = ROUND_REFUSED;
            break;
        case LINK_REFUSED:
            round = ROUND_REFUSED;
            break;
        case LINK_UNREACHABLE:
            break;
        }
        if (attempt == LINK_LOST && kind == TRANSPORT_ONCE) {
            round = ROUND_OVER;
            j->result->outcome = TRANSPORT_UNKNOWN;
            break;
        }
        transport_note_leader(t, a->leader);
    }
    if (why[0] != '\0') {
        memcpy(j->result->why, why, sizeof(why));
    }
    return round;
}

void transport_do(struct transport *t, struct link *l, const struct transport_request *request,
                  struct transport_result *ret_result)
{
    struct journey j = {.transport = t,
                        .link = l,
                        .request = request->link,
                        .wanted = request,
                        .result = ret_result};
    char key[LINK_KEY_MAX];
    uint64_t pause = PAUSE_MIN_MS;
    uint64_t spare_ms = request->kind == TRANSPORT_READ ? 0 : WRITE_AGAIN_MIN_MS;
    enum round round;

    ret_result->outcome = TRANSPORT_NOTHING_DONE;
    ret_result->endpoint = "";
    ret_result->why[0] = '\0';
    j.request.fresh = request->kind == TRANSPORT_ONCE;
    if (request->kind == TRANSPORT_KEYED) {
        make_key(key);
        j.request.key = key;
    }
    for (;;) {
        uint64_t now;
        uint64_t wait;

        round = try_round(&j);
        if (round == ROUND_OVER || (round == ROUND_NOBODY && j.lost_since_ms == 0)) {
            break;
        }
        wait = transport_jitter_ms(pause);
        now = transport_now_ms();
        if (now + wait + spare_ms >= request->deadline_ms || !may_repeat(&j, now)) {
            break;
        }
        (void)poll(NULL, 0, (int)wait);
        pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
    }
    if (round == ROUND_OVER && ret_result->outcome == TRANSPORT_ANSWERED) {
        ret_result->why[0] = '\0';
    } else if (j.lost_since_ms != 0 && request->kind != TRANSPORT_READ) {
        ret_result->outcome = TRANSPORT_UNKNOWN;
    }
}
