/*
 * compare - local mode against live replicas: compare SEED STEPS URL...
 *
 * Makes the same random calls on a handle of each kind and holds the answers,
 * the revisions and the events of watches against each other. The cluster has
 * to be empty, nobody else may use it, and its leader comes first, since others
 * may answer a poll or a heartbeat as of a moment ago: then even revisions are
 * equal. What is a claim's id or a message for people may differ.
 *
 * Prints how many calls were compared. Ends with 1 at the first difference.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/callsign.h"

enum {
    NAMES = 5,
    NODES = 4,
    CLAIMS = 8,
    OPS_MAX = 6,
    ENVS = 2,
    TTL_MS = 600000, /* nothing ends by itself */
    LISTED_MAX = NAMES + 1,
    EVENT_BYTES_MAX = 1536,
    TIMEOUT_MS = 20000,
};

enum { LOCAL, LIVE, SIDES };

static const char *const names[NAMES] = {"a", "a/b", "a/b <c>&%2F\"\\", "\xc3\xa9/\xf0\x9f\x98\x80",
                                         "z"};
static const char last_name[] = "the last";
static const uint64_t envs[ENVS] = {1, UINT64_MAX};
static const uint64_t nodes[NODES] = {0, 1, 7, UINT64_MAX};

/* What came of one call on one side. */
struct outcome {
    struct callsign_answer a;
    struct callsign_op_result results[OPS_MAX];
    size_t results_count;
    size_t refused_index;
    uint64_t removed;
    struct callsign_entry listed[LISTED_MAX];
    size_t listed_count;
    bool claimed;
    uint64_t claim_ms;
    bool at_any_revision; /* the answer may be of an older one */
};

/* The events of one watch, a line each. */
struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *text;
    size_t len;
    bool ended;
};

static struct callsign *handles[SIDES];
static struct outcome outcomes[SIDES];
static struct callsign_claimed claims[SIDES][CLAIMS];
static unsigned claims_count;
static struct told tolds[SIDES][ENVS];
static uint64_t random_state;
static char what[4096]; /* the call under way, for people */

/* Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014), figure 14. */
static unsigned pick(unsigned n)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)((z ^ z >> 31) % n);
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    size_t len = strlen(what);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what + len, sizeof(what) - len, format, args);
    va_end(args);
}

/* A revision that the name may have, or nearly. */
static uint64_t some_revision(void)
{
    uint64_t now = outcomes[LOCAL].a.revision;
    uint64_t back = pick(6);

    return now > back ? now - back : 0;
}

/* --- The calls: each is made up once and carried out on both sides ------------------ */

static void put(void)
{
    struct callsign_put p = {.env_id = envs[pick(ENVS)],
                             .name = names[pick(NAMES)],
                             .node_id = nodes[pick(NODES)],
                             .process_id = 1 + pick(3),
                             .if_absent = pick(4) == 0};

    p.has_if_revision = !p.if_absent && pick(4) == 0;
    p.if_revision = some_revision();
    say("put %" PRIu64 " %s %" PRIu64 " %" PRIu64 " absent %d revision %d %" PRIu64, p.env_id,
        p.name, p.node_id, p.process_id, p.if_absent, p.has_if_revision, p.if_revision);
    for (int i = 0; i < SIDES; i++) {
        (void)callsign_put(handles[i], &p, &outcomes[i].a);
    }
}

static void get(void)
{
    struct callsign_get g = {.env_id = envs[pick(ENVS)], .name = names[pick(NAMES)]};

    switch (pick(4)) {
    case 0:
        g.consistency = CALLSIGN_AT_LEAST;
        /* A replica may answer as of any revision from there on: this is the last. */
        g.at_least = outcomes[LOCAL].a.revision;
        break;
    case 1:
        g.has_after = true;
        g.after = some_revision();
        break;
    default:
        break;
    }
    say("get %" PRIu64 " %s at least %" PRIu64 " after %d %" PRIu64, g.env_id, g.name, g.at_least,
        g.has_after, g.after);
    for (int i = 0; i < SIDES; i++) {
        outcomes[i].at_any_revision = g.has_after;
        (void)callsign_get(handles[i], &g, &outcomes[i].a);
    }
}

static void remove_name(void)
{
    struct callsign_remove r = {.env_id = envs[pick(ENVS)],
                                .name = names[pick(NAMES)],
                                .has_if_owner = pick(3) == 0,
                                .if_node_id = nodes[pick(NODES)],
                                .if_process_id = 1 + pick(3),
                                .has_if_revision = pick(4) == 0,
                                .if_revision = some_revision()};

    say("remove %" PRIu64 " %s owner %d %" PRIu64 " %" PRIu64 " revision %d %" PRIu64, r.env_id,
        r.name, r.has_if_owner, r.if_node_id, r.if_process_id, r.has_if_revision, r.if_revision);
    for (int i = 0; i < SIDES; i++) {
        (void)callsign_remove(handles[i], &r, &outcomes[i].a);
    }
}

static bool on_entry(void *data, const struct callsign_entry *entry)
{
    struct outcome *o = data;

    o->listed[o->listed_count++] = *entry;
    return o->listed_count < LISTED_MAX;
}

static void list(void)
{
    static const char *const prefixes[] = {NULL, "", "a", "a/", "\xc3\xa9", "b"};
    struct callsign_list l = {.env_id = envs[pick(ENVS)],
                              .prefix = prefixes[pick(6)],
                              .has_node = pick(3) == 0,
                              .node_id = nodes[pick(NODES)]};

    say("list %" PRIu64 " %s node %d %" PRIu64, l.env_id, l.prefix != NULL ? l.prefix : "-",
        l.has_node, l.node_id);
    for (int i = 0; i < SIDES; i++) {
        (void)callsign_list(handles[i], &l, on_entry, &outcomes[i], &outcomes[i].a);
    }
}

static void make_op(struct callsign_op *op)
{
    *op = (struct callsign_op){.kind = (enum callsign_op_kind)(1 + pick(3)),
                               .env_id = envs[pick(ENVS)],
                               .name = names[pick(NAMES)],
                               .node_id = nodes[pick(NODES)],
                               .process_id = 1 + pick(3)};
    op->if_absent = op->kind == CALLSIGN_OP_PUT && pick(5) == 0;
    op->has_if_owner = op->kind != CALLSIGN_OP_PUT && pick(6) == 0;
    op->has_if_revision = !op->if_absent && pick(8) == 0;
    op->if_revision = some_revision();
    say("; %d %" PRIu64 " %s %" PRIu64 " %" PRIu64 " absent %d owner %d revision %d %" PRIu64,
        op->kind, op->env_id, op->name, op->node_id, op->process_id, op->if_absent,
        op->has_if_owner, op->has_if_revision, op->if_revision);
}

static void batch(void)
{
    struct callsign_op ops[OPS_MAX];
    struct callsign_batch b = {.ops = ops, .ops_count = 1 + pick(OPS_MAX)};

    say("batch");
    for (size_t i = 0; i < b.ops_count; i++) {
        make_op(&ops[i]);
    }
    for (int i = 0; i < SIDES; i++) {
        struct outcome *o = &outcomes[i];

        if (callsign_batch(handles[i], &b, o->results, &o->refused_index, &o->a) == CALLSIGN_DONE) {
            o->results_count = b.ops_count;
        }
    }
}

static void claim(void)
{
    struct callsign_claim c = {.env_id = envs[pick(ENVS)],
                               .name = names[pick(NAMES)],
                               .node_id = nodes[pick(NODES)],
                               .ttl_ms = TTL_MS};
    unsigned at = claims_count++ % CLAIMS;

    say("claim %" PRIu64 " %s %" PRIu64, c.env_id, c.name, c.node_id);
    for (int i = 0; i < SIDES; i++) {
        struct outcome *o = &outcomes[i];

        (void)callsign_claim(handles[i], &c, &claims[i][at], &o->a);
        o->claimed = o->a.result == CALLSIGN_DONE && !o->a.has_entry;
        o->claim_ms = o->claimed ? claims[i][at].expires_in_ms : 0;
    }
}

/* One that was taken, that has ended, or that never was. */
static void end_claim(void)
{
    bool confirm = pick(2) == 0;
    unsigned at = pick(CLAIMS);
    uint64_t process_id = 1 + pick(3);

    say("%s of claim %u, process %" PRIu64, confirm ? "confirm" : "abort", at, process_id);
    for (int i = 0; i < SIDES; i++) {
        const struct callsign_claimed *c = &claims[i][at];

        if (c->id[0] == '\0') {
            outcomes[i].at_any_revision = true; /* nobody is asked */
        } else if (confirm) {
            (void)callsign_claim_confirm(handles[i], c, process_id, &outcomes[i].a);
        } else {
            (void)callsign_claim_abort(handles[i], c, &outcomes[i].a);
        }
    }
}

static void node(void)
{
    struct callsign_node n = {.node_id = nodes[pick(NODES)], .ttl_ms = TTL_MS};
    unsigned kind = pick(4);

    say("node %" PRIu64 " %s", n.node_id, kind == 0 ? "down" : kind == 1 ? "heartbeat" : "up");
    for (int i = 0; i < SIDES; i++) {
        struct outcome *o = &outcomes[i];

        if (kind == 0) {
            (void)callsign_node_remove(handles[i], n.node_id, &o->removed, &o->a);
        } else if (kind == 1) {
            o->at_any_revision = true; /* no command: the replica says where it stands */
            (void)callsign_node_heartbeat(handles[i], n.node_id, &o->a);
        } else {
            (void)callsign_node_register(handles[i], &n, &o->a);
        }
    }
}

/* --- Holding both against each other ------------------------------------------------- */

static bool same_entry(const struct callsign_entry *a, const struct callsign_entry *b)
{
    return a->node_id == b->node_id && a->process_id == b->process_id && a->env_id == b->env_id &&
           a->revision == b->revision && strcmp(a->name, b->name) == 0;
}

static bool same_result(const struct callsign_op_result *a, const struct callsign_op_result *b)
{
    return a->result == b->result && a->created == b->created && a->has_entry == b->has_entry &&
           (!a->has_entry || same_entry(&a->entry, &b->entry));
}

static const char *difference(const struct outcome *a, const struct outcome *b)
{
    if (a->a.result != b->a.result || strcmp(a->a.code, b->a.code) != 0) {
        return "result";
    }
    if (a->a.has_entry != b->a.has_entry ||
        (a->a.has_entry && !same_entry(&a->a.entry, &b->a.entry))) {
        return "entry";
    }
    if (a->a.created != b->a.created || a->removed != b->removed || a->claimed != b->claimed ||
        a->claim_ms != b->claim_ms || a->refused_index != b->refused_index) {
        return "what was done";
    }
    if (!a->at_any_revision &&
        (a->a.has_revision != b->a.has_revision || a->a.revision != b->a.revision)) {
        return "revision";
    }
    for (size_t i = 0; i < a->results_count; i++) {
        if (!same_result(&a->results[i], &b->results[i])) {
            return "result of an operation";
        }
    }
    for (size_t i = 0; i < a->listed_count || i < b->listed_count; i++) {
        if (i >= a->listed_count || i >= b->listed_count ||
            !same_entry(&a->listed[i], &b->listed[i])) {
            return "list";
        }
    }
    return NULL;
}

static void show(const char *side, const struct outcome *o)
{
    (void)fprintf(stderr,
                  "  %s: %s %s, %s; entry %d: %s node %" PRIu64 " process %" PRIu64
                  " revision %" PRIu64 "; created %d removed %" PRIu64 " claimed %d %" PRIu64
                  " ms, index %zu, %zu listed, registry at %d %" PRIu64 "\n",
                  side, callsign_result_name(o->a.result), o->a.code, o->a.message, o->a.has_entry,
                  o->a.entry.name, o->a.entry.node_id, o->a.entry.process_id, o->a.entry.revision,
                  o->a.created, o->removed, o->claimed, o->claim_ms, o->refused_index,
                  o->listed_count, o->a.has_revision, o->a.revision);
    for (size_t i = 0; i < o->results_count; i++) {
        (void)fprintf(
            stderr, "    %s created %d entry %d process %" PRIu64 " revision %" PRIu64 "\n",
            callsign_result_name(o->results[i].result), o->results[i].created,
            o->results[i].has_entry, o->results[i].entry.process_id, o->results[i].entry.revision);
    }
}

static bool step(unsigned number)
{
    static void (*const calls[])(void) = {put,   put,  put,   get,   get,       remove_name,
                                          batch, list, claim, claim, end_claim, node};
    const char *differs;

    what[0] = '\0';
    for (int i = 0; i < SIDES; i++) {
        uint64_t revision = outcomes[i].a.revision;

        memset(&outcomes[i], 0, sizeof(outcomes[i]));
        outcomes[i].a.revision = revision;
    }
    calls[pick(sizeof(calls) / sizeof(calls[0]))]();
    differs = difference(&outcomes[LOCAL], &outcomes[LIVE]);
    if (differs == NULL) {
        return true;
    }
    (void)fprintf(stderr, "step %u, %s: the %s differs\n", number, what, differs);
    show("local", &outcomes[LOCAL]);
    show("live", &outcomes[LIVE]);
    return false;
}

/* --- Watches ----------------------------------------------------------------------------- */

static bool on_event(void *data, const struct callsign_event *e)
{
    char line[EVENT_BYTES_MAX] = "";
    struct told *t = data;
    char *text;
    size_t n;

    if (e->kind == CALLSIGN_EVENT_BOOKMARK || e->kind == CALLSIGN_EVENT_DISCONNECTED) {
        return true;
    }
    (void)snprintf(line, sizeof(line), "%d at %" PRIu64, e->kind, e->revision);
    n = strlen(line);
    if (e->kind == CALLSIGN_EVENT_NODE_DOWN) {
        (void)snprintf(line + n, sizeof(line) - n, ": %" PRIu64 " lost %" PRIu64, e->node_id,
                       e->removed);
    } else if (e->kind == CALLSIGN_EVENT_PUT || e->kind == CALLSIGN_EVENT_REMOVE) {
        (void)snprintf(line + n, sizeof(line) - n,
                       ": %" PRIu64 " %s is %" PRIu64 " %" PRIu64 " of %" PRIu64 ", was %d %" PRIu64
                       " %" PRIu64 " of %" PRIu64,
                       e->entry.env_id, e->entry.name, e->entry.node_id, e->entry.process_id,
                       e->entry.revision, e->has_previous,
                       e->has_previous ? e->previous_node_id : 0,
                       e->has_previous ? e->previous_process_id : 0,
                       e->has_previous ? e->previous_revision : 0);
    }
    n = strlen(line);
    (void)pthread_mutex_lock(&t->lock);
    text = realloc(t->text, t->len + n + 2);
    if (text == NULL) {
        abort();
    }
    t->text = text;
    memcpy(text + t->len, line, n);
    memcpy(text + t->len + n, "\n", 2);
    t->len += n + 1;
    t->ended = e->kind == CALLSIGN_EVENT_PUT && strcmp(e->entry.name, last_name) == 0;
    (void)pthread_cond_signal(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
    return true;
}

static bool watch(int side, unsigned env, struct callsign_watcher **ret_watcher)
{
    struct told *t = &tolds[side][env];
    /* The second watch is of what one node gets, holds or loses. */
    struct callsign_watch w = {.env_id = envs[env], .has_node = env == 1, .node_id = 1};
    struct callsign_answer a;
    struct callsign_put p = {.env_id = envs[env], .name = "first", .node_id = 1, .process_id = 1};

    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->changed, NULL);
    if (callsign_put(handles[side], &p, &a) != CALLSIGN_DONE ||
        callsign_watcher_start(handles[side], &w, on_event, t, ret_watcher) != CALLSIGN_DONE) {
        return false;
    }
    /* What follows is told as it happens, on both sides: the beginning has been told. */
    (void)pthread_mutex_lock(&t->lock);
    while (t->text == NULL || strstr(t->text, "6 at ") == NULL) {
        (void)pthread_cond_wait(&t->changed, &t->lock);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return true;
}

static void wait_for_last(int side, unsigned env)
{
    struct callsign_put p = {.env_id = envs[env], .name = last_name, .node_id = 1, .process_id = 9};
    struct callsign_node n = {.node_id = 1, .ttl_ms = TTL_MS};
    struct told *t = &tolds[side][env];
    struct callsign_answer a;

    (void)callsign_node_register(handles[side], &n, &a); /* it may be down */
    (void)callsign_put(handles[side], &p, &a);
    (void)pthread_mutex_lock(&t->lock);
    while (a.result == CALLSIGN_DONE && !t->ended) {
        (void)pthread_cond_wait(&t->changed, &t->lock);
    }
    (void)pthread_mutex_unlock(&t->lock);
}

/* The first line of each that the other does not have. */
static bool same_events(unsigned env)
{
    const char *a = tolds[LOCAL][env].text;
    const char *b = tolds[LIVE][env].text;
    size_t i = 0;
    size_t line = 0;

    if (strcmp(a, b) == 0) {
        return true;
    }
    for (; a[i] == b[i]; i++) {
        line = a[i] == '\n' ? i + 1 : line;
    }
    (void)fprintf(stderr, "the events of environment %u differ\n  local: %.*s\n  live: %.*s\n",
                  env + 1, (int)strcspn(a + line, "\n"), a + line, (int)strcspn(b + line, "\n"),
                  b + line);
    return false;
}

static bool open_handles(char **urls, int count)
{
    struct callsign_config config = {.size = sizeof(config), .timeout_ms = TIMEOUT_MS};
    char why[CALLSIGN_MESSAGE_MAX];

    if (callsign_new(&config, why, &handles[LOCAL]) != CALLSIGN_DONE) {
        return false;
    }
    config.endpoints = (const char *const *)urls;
    config.endpoints_count = (size_t)count;
    return callsign_new(&config, why, &handles[LIVE]) == CALLSIGN_DONE;
}

int main(int argc, char **argv)
{
    struct callsign_watcher *watchers[SIDES][ENVS] = {{NULL}};
    unsigned steps = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    unsigned done = 0;
    bool same = true;

    if (argc < 4 || !open_handles(argv + 3, argc - 3)) {
        (void)fprintf(stderr, "usage: compare SEED STEPS URL...\n");
        return 2;
    }
    random_state = strtoull(argv[1], NULL, 10);
    for (unsigned env = 0; env < ENVS; env++) {
        if (!watch(LOCAL, env, &watchers[LOCAL][env]) || !watch(LIVE, env, &watchers[LIVE][env])) {
            (void)fprintf(stderr, "no watch\n");
            return 2;
        }
    }
    while (same && done < steps) {
        same = step(done++);
    }
    for (unsigned env = 0; env < ENVS; env++) {
        for (int side = 0; same && side < SIDES; side++) {
            wait_for_last(side, env);
        }
        same = same && same_events(env);
        for (int side = 0; side < SIDES; side++) {
            (void)callsign_watcher_stop(watchers[side][env]);
            free(tolds[side][env].text);
        }
    }
    callsign_free(handles[LOCAL]);
    callsign_free(handles[LIVE]);
    (void)printf("%u calls, seed %s: %s\n", done, argv[1], same ? "all alike" : "a difference");
    return same ? 0 : 1;
}
