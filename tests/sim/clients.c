#include "clients.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "clients_nodes.h"
#include "node.h"
#include "world.h"

enum { TIMEOUT_MIN_MS = 30, TIMEOUT_MAX_MS = 3000, LONG_NAME_BYTES = 1000 };

/* --- Making requests --------------------------------------------------------- */

static void fill_name(struct world *w, struct client_call *c)
{
    unsigned which = (unsigned)rng_below(&w->rng, w->tuning.names);
    int len = snprintf(c->name, sizeof c->name, "name/%u", which);

    if (w->tuning.long_names) {
        memset(c->name + len, 'x', LONG_NAME_BYTES - (size_t)len);
        len = LONG_NAME_BYTES;
    }
    c->request.command.name = c->name;
    c->request.command.name_len = (size_t)len;
    c->request.command.env_id = 1 + which % 2;
}

/* A name that nobody puts but by a claim, and that is removed often. */
static void fill_spawn_name(struct world *w, struct client_call *c)
{
    struct command *k = &c->request.command;

    k->name_len =
        (size_t)snprintf(c->name, sizeof c->name, "spawn/%u", (unsigned)rng_below(&w->rng, 3));
    k->env_id = 1;
}

static const struct owner *some_owner(struct world *w)
{
    return &w->clients.recent[rng_below(&w->rng, CLIENTS_RECENT)];
}

static void fill_put(struct world *w, struct client_call *c)
{
    struct command *k = &c->request.command;
    uint64_t chance = rng_below(&w->rng, 100);

    k->op = COMMAND_PUT;
    k->node_id = 1 + rng_below(&w->rng, 5);
    k->process_id = ++w->clients.last_process;
    if (chance < 20) {
        k->flags = COMMAND_IF_ABSENT;
    } else if (chance < 30) {
        k->flags = COMMAND_IF_REVISION;
        k->if_revision = some_owner(w)->revision;
    } else if (chance < 34 && w->clients.last_put.op == COMMAND_PUT) {
        /* The same again, as a client does that had no answer and no key. */
        *k = w->clients.last_put;
        memcpy(c->name, w->clients.last_name, sizeof c->name);
        k->name = c->name;
        return;
    }
    w->clients.last_put = *k;
    memcpy(w->clients.last_name, c->name, sizeof c->name);
}

static void fill_remove(struct world *w, struct client_call *c)
{
    struct command *k = &c->request.command;
    const struct owner *o = some_owner(w);
    uint64_t chance = rng_below(&w->rng, 100);

    k->op = COMMAND_REMOVE;
    if (rng_chance(&w->rng, 400)) {
        fill_spawn_name(w, c);
    }
    if (chance < 30) {
        k->flags |= COMMAND_IF_REVISION;
        k->if_revision = o->revision;
    }
    if (chance >= 20 && chance < 60) {
        k->flags |= COMMAND_IF_OWNER;
        k->node_id = o->node_id;
        k->process_id = o->process_id;
    }
}

/* Up to six operations, mostly without guards, else none would ever pass. */
static void fill_batch(struct world *w, struct client_call *c)
{
    struct command *k = &c->request.command;
    uint64_t count = 1 + rng_below(&w->rng, 6);

    for (uint64_t i = 0; i < count; i++) {
        uint64_t chance = rng_below(&w->rng, 100);

        fill_name(w, c);
        k->flags = 0;
        k->if_revision = 0;
        k->node_id = 0;
        k->process_id = 0;
        k->op = chance < 50 ? COMMAND_PUT : chance < 75 ? COMMAND_REMOVE : COMMAND_GET;
        if (k->op == COMMAND_PUT) {
            k->node_id = 1 + rng_below(&w->rng, 5);
            k->process_id = ++w->clients.last_process;
            k->flags = chance < 5 ? COMMAND_IF_ABSENT : 0;
        } else if (chance % 10 == 0) {
            k->flags = COMMAND_IF_REVISION;
            k->if_revision = some_owner(w)->revision;
        }
        command_ops_add(&c->ops, k);
    }
    *k = (struct command){.op = COMMAND_BATCH, .env_id = 1};
    k->ops = (struct command_ops){c->ops.data, c->ops.len, (unsigned)count};
    w->seen[SEEN_BATCH]++;
}

static void fill_claim(struct world *w, struct client_call *c)
{
    struct command *k = &c->request.command;

    if (rng_chance(&w->rng, 800)) {
        fill_spawn_name(w, c);
    }
    k->op = COMMAND_CLAIM;
    k->node_id = 1 + rng_below(&w->rng, 5);
    k->claim = (struct command_claim){.nonce = ++w->clients.last_nonce,
                                      .ttl_ms = (uint32_t)rng_between(&w->rng, 1000, 3000)};
    if (rng_chance(&w->rng, 700)) {
        c->request.wait_ms = (uint32_t)rng_between(&w->rng, 1, 2000);
        c->request.timeout_ms += c->request.wait_ms;
        k->claim.wait = true;
    }
    w->seen[SEEN_CLAIM]++;
}

/* Of somebody who was told to spawn. */
static void fill_claim_end(struct world *w, struct client_call *c)
{
    struct command *k = &c->request.command;
    const struct verdict_claim *claim =
        &w->clients.told[(w->clients.told_at + CLIENTS_RECENT - 1 - rng_below(&w->rng, 3)) %
                         CLIENTS_RECENT];

    if (claim->id == 0) {
        fill_claim(w, c);
        return;
    }
    *k = (struct command){.op = rng_chance(&w->rng, 600) ? COMMAND_CLAIM_CONFIRM
                                                         : COMMAND_CLAIM_ABORT};
    k->claim = (struct command_claim){.id = claim->id, .nonce = claim->nonce};
    if (k->op == COMMAND_CLAIM_CONFIRM) {
        k->process_id = ++w->clients.last_process;
    }
}

/* A key of its own for some writes, for a few one that another had. */
static void fill_key(struct world *w, struct client_call *c)
{
    struct command *k = &c->request.command;
    uint64_t chance = rng_below(&w->rng, 100);
    uint64_t back = chance < 5 ? rng_below(&w->rng, 20) : 0;

    if (chance >= 50) {
        return;
    }
    if (back == 0) {
        w->clients.last_text++;
    }
    k->key_len =
        (size_t)snprintf(c->text, sizeof c->text, "key %u", w->clients.last_text - (unsigned)back);
    k->key = c->text;
    k->flags |= COMMAND_KEYED;
}

static void fill_read(struct world *w, struct client_call *c)
{
    struct service_request *r = &c->request;
    uint64_t chance = rng_below(&w->rng, 100);

    r->op = SERVICE_READ;
    if (chance < 70) {
        r->consistency = SERVICE_LINEARIZABLE;
    } else if (chance < 90) {
        r->consistency = SERVICE_AT_LEAST;
        r->at_least = w->history.seen_revision + rng_below(&w->rng, 4);
    } else {
        r->consistency = SERVICE_STALE;
    }
}

struct client_call *clients_call(struct node *n, uint32_t timeout_ms)
{
    struct client_call *c = mem_zalloc(1, sizeof *c);

    c->node = n;
    c->request.timeout_ms = timeout_ms;
    c->request.owner = c;
    list_init(&c->link);
    list_init(&c->request.link);
    buf_init(&c->ops, COMMAND_ENCODED_MAX);
    return c;
}

static void drop_call(struct client_call *c)
{
    verdict_clear(&c->request.verdict);
    free(c->request.cluster);
    free(c->request.nodes);
    free(c->request.metrics);
    free(c->request.members);
    buf_fini(&c->ops);
    free(c);
}

/* The same request once more, later and by way of any replica. */
static void repeat(struct world *w, const struct client_call *of)
{
    struct client_call *c;
    struct command *k;

    if ((of->asked.flags & COMMAND_KEYED) == 0 || of->attempts >= CLIENTS_REPEATS_MAX) {
        return;
    }
    c = clients_call(of->node, of->request.timeout_ms);
    k = &c->request.command;
    c->request.op = SERVICE_WRITE;
    c->request.wait_ms = of->request.wait_ms;
    c->attempts = of->attempts + 1;
    memcpy(c->name, of->name, sizeof c->name);
    memcpy(c->text, of->text, sizeof c->text);
    *k = of->asked;
    k->key = c->text;
    if (k->op == COMMAND_BATCH) {
        buf_put(&c->ops, of->ops.data, of->ops.len);
        k->ops.bytes = c->ops.data;
    } else if (k->name != NULL) {
        k->name = c->name;
    }
    list_push_back(&w->clients.repeats, &c->link);
}

/* --- Submitting ----------------------------------------------------------------- */

static void submit(struct node *n, void *arg)
{
    struct client_call *c = arg;

    core_submit(n->core, &c->request);
}

/* An answer comes within the time out, measured by the replica's clock, and
 * the time until the replica looks at its deadlines. */
static uint64_t latest_us(const struct node *n, uint32_t timeout_ms)
{
    const struct world *w = n->world;

    return w->now_us + node_clock_us(n, timeout_ms + 3ull * w->tuning.heartbeat_ms + 40);
}

void clients_submit(struct client_call *c)
{
    struct node *n = c->node;
    struct world *w = n->world;

    c->since_us = w->now_us;
    c->late_us = latest_us(n, c->request.timeout_ms);
    c->floor = w->history.seen_revision;
    c->asked = c->request.command;
    c->claims = c->request.op == SERVICE_WRITE && c->request.command.op == COMMAND_CLAIM;
    if (c->request.op == SERVICE_WRITE) {
        CHECK(command_check(&c->request.command) == ERR_OK);
        c->key = history_key(&w->history, &c->request.command);
        history_submitted(&w->history, c->key);
    }
    list_push_back(&w->clients.open, &c->link);
    node_run(n, submit, c);
}

static struct node *some_node(struct world *w)
{
    struct node *n = &w->nodes[rng_below(&w->rng, w->size)];

    /* Nobody asks a machine that there never was; one that is gone, perhaps. */
    return n->exists ? n : &w->nodes[rng_below(&w->rng, w->size)];
}

static void submit_any(struct world *w)
{
    struct node *n = some_node(w);
    uint64_t chance = rng_below(&w->rng, 100);
    struct client_call *c;

    w->clients.submitted++;
    if (!n->up || n->closing || node_paused(n)) {
        return; /* connection refused, or nobody reads it */
    }
    if (!list_empty(&w->clients.repeats) && rng_chance(&w->rng, 300)) {
        c = LIST_ENTRY(list_pop_front(&w->clients.repeats), struct client_call, link);
        c->node = n;
        w->seen[SEEN_REPEATED]++;
        clients_submit(c);
        return;
    }
    c = clients_call(n, (uint32_t)rng_between(&w->rng, TIMEOUT_MIN_MS, TIMEOUT_MAX_MS));
    fill_name(w, c);
    c->request.op = SERVICE_WRITE;
    if (chance < 40) {
        fill_put(w, c);
    } else if (chance < 52) {
        fill_remove(w, c);
    } else if (chance < 58) {
        fill_batch(w, c);
    } else if (chance < 64) {
        fill_claim(w, c);
    } else if (chance < 70) {
        fill_claim_end(w, c);
    } else if (chance < 80 && !w->tuning.long_names) {
        clients_nodes_fill(c);
    } else if (chance < 98) {
        fill_read(w, c);
    } else {
        c->request.op = chance == 98 ? SERVICE_CLUSTER : SERVICE_METRICS;
    }
    if (c->request.op == SERVICE_WRITE) {
        fill_key(w, c);
    }
    clients_submit(c);
}

static void on_more(struct world *w, struct node *n, void *data)
{
    uint64_t burst = 1;

    (void)n;
    (void)data;
    if (rng_chance(&w->rng, 100)) {
        burst = 1 + rng_below(&w->rng, w->tuning.burst_max);
    }
    for (; burst > 0 && !clients_done(w); burst--) {
        submit_any(w);
    }
    if (!clients_done(w)) {
        world_after(w, 1 + rng_below(&w->rng, 2 * w->tuning.op_gap_us), on_more, NULL);
    }
}

bool clients_done(const struct world *w)
{
    return w->clients.submitted >= w->options.ops;
}

void clients_begin(struct world *w)
{
    world_after(w, 1, on_more, NULL);
}

/* --- Answers ----------------------------------------------------------------------- */

static void note_owner(struct world *w, const struct owner *o)
{
    w->clients.recent[rng_below(&w->rng, CLIENTS_RECENT)] = *o;
}

/* Whoever waited for a claim is answered by no verdict of the log. */
static void judge_claim(struct world *w, struct client_call *c)
{
    struct service_request *r = &c->request;
    const struct verdict *v = &r->verdict;

    if (r->err != ERR_OK) {
        w->seen[SEEN_CLAIM_HELD] += r->err == ERR_CLAIM_HELD;
    } else if (v->has_owner) {
        w->seen[SEEN_CLAIM_ENTRY]++;
        history_read(&w->history, &r->command, &v->owner, v->revision);
    } else {
        history_told_to_spawn(&w->history, c->key, &v->claim);
        w->clients.told[w->clients.told_at++ % CLIENTS_RECENT] = v->claim;
    }
}

static void judge_write(struct world *w, struct client_call *c)
{
    const struct service_request *r = &c->request;

    switch (err_class(r->err)) {
    case ERR_CLASS_OK:
    case ERR_CLASS_CALLER:
        w->seen[r->err == ERR_OK ? SEEN_WRITE_OK : SEEN_WRITE_REFUSED]++;
        if (r->err != r->verdict.err || r->revision != r->verdict.revision) {
            world_fail(w, "a write is answered %s at %llu with the verdict %s at %llu",
                       err_code(r->err), (unsigned long long)r->revision, err_code(r->verdict.err),
                       (unsigned long long)r->verdict.revision);
            return;
        }
        if (c->claims) {
            judge_claim(w, c);
        } else {
            history_acknowledged(&w->history, c->key, &r->verdict, c->since_us);
            clients_nodes_judge(c);
            w->seen[SEEN_CONFIRM] += r->command.claim.id != 0 && r->err == ERR_OK &&
                                     r->command.op == COMMAND_CLAIM_CONFIRM;
        }
        if (rng_chance(&w->rng, 50)) {
            repeat(w, c);
        }
        if (r->verdict.has_owner) {
            note_owner(w, &r->verdict.owner);
        }
        break;
    case ERR_CLASS_DEFINITE:
        w->seen[SEEN_WRITE_DEFINITE]++;
        history_refused(&w->history, c->key);
        break;
    case ERR_CLASS_UNKNOWN:
        w->seen[SEEN_WRITE_UNKNOWN]++;
        repeat(w, c);
        break;
    default:
        world_fail(w, "a write is answered %s", err_code(r->err));
        break;
    }
}

static void judge_state_read(struct world *w, struct client_call *c)
{
    const struct service_request *r = &c->request;
    bool found = r->err == ERR_OK;

    if (r->consistency == SERVICE_LINEARIZABLE) {
        w->seen[SEEN_READ_OK]++;
        w->seen[SEEN_READ_FOLLOWER] += !node_leads(c->node);
        if (r->revision < c->floor) {
            world_fail(w,
                       "replica %u answers a linearizable read from revision %" PRIu64
                       ", but %" PRIu64 " was known when it was asked",
                       c->node->index + 1, r->revision, c->floor);
        }
    } else if (r->consistency == SERVICE_AT_LEAST) {
        w->seen[SEEN_READ_AT_LEAST]++;
        if (r->revision < r->at_least) {
            world_fail(w, "a read of at least revision %" PRIu64 " is answered from %" PRIu64,
                       r->at_least, r->revision);
        }
    } else {
        w->seen[SEEN_READ_STALE]++;
    }
    history_read(&w->history, &r->command, found ? &r->found : NULL, r->revision);
    if (found) {
        note_owner(w, &r->found);
    }
}

static void judge_read(struct world *w, struct client_call *c)
{
    const struct service_request *r = &c->request;

    if (r->err == ERR_OK || r->err == ERR_PROCESS_NOT_FOUND) {
        judge_state_read(w, c);
    } else if (r->consistency == SERVICE_STALE && r->err != ERR_SHUTTING_DOWN) {
        world_fail(w, "a stale read is answered %s", err_code(r->err));
    } else if (r->err == ERR_NOT_CAUGHT_UP && r->consistency == SERVICE_AT_LEAST) {
        w->seen[SEEN_READ_NOT_CAUGHT_UP]++;
    } else if (err_class(r->err) == ERR_CLASS_DEFINITE && r->err != ERR_NOT_CAUGHT_UP) {
        w->seen[SEEN_READ_REFUSED]++;
    } else {
        world_fail(w, "a read is answered %s", err_code(r->err));
    }
}

static void judge_time(struct world *w, const struct client_call *c)
{
    uint64_t late_us = c->late_us;
    const struct node *n = c->node;

    /* A replica that slept answers once it is awake. */
    if (n->last_pause_end_us > c->since_us) {
        late_us += n->last_pause_end_us - c->since_us;
    }
    if (w->now_us > late_us) {
        world_fail(w, "replica %u answers %" PRIu64 " us too late", n->index + 1,
                   w->now_us - late_us);
    }
}

static void finish(struct client_call *c, enum err e)
{
    list_remove(&c->link);
    if (c->ret_done != NULL) {
        *c->ret_done = true;
    }
    if (c->ret_err != NULL) {
        *c->ret_err = e;
    }
    drop_call(c);
}

void clients_collect(struct node *n)
{
    struct world *w = n->world;
    struct list *link;

    while ((link = list_pop_front(&n->answered)) != NULL) {
        struct service_request *r = LIST_ENTRY(link, struct service_request, link);
        struct client_call *c = r->owner;

        CHECK(c->node == n);
        judge_time(w, c);
        if (r->op == SERVICE_WRITE) {
            judge_write(w, c);
        } else if (r->op == SERVICE_READ) {
            judge_read(w, c);
        } else if (r->op == SERVICE_HEARTBEAT || r->op == SERVICE_NODES) {
            clients_nodes_judge(c);
        } else if (r->op == SERVICE_MEMBERS) {
            operator_answered(w, r);
        } else if (r->err != ERR_OK) {
            world_fail(w, "a request for the state is answered %s", err_code(r->err));
        }
        finish(c, r->err);
    }
}

void clients_node_down(struct node *n)
{
    struct world *w = n->world;
    struct list *link = w->clients.open.next;

    while (link != &w->clients.open) {
        struct client_call *c = LIST_ENTRY(link, struct client_call, link);

        link = link->next;
        if (c->node == n) {
            if (n->closed) {
                world_fail(w, "replica %u ended without an answer", n->index + 1);
            }
            w->seen[SEEN_WRITE_LOST_CLIENT] += c->request.op == SERVICE_WRITE;
            repeat(w, c);
            finish(c, ERR_OUTCOME_UNKNOWN);
        }
    }
}

/* --- By hand ---------------------------------------------------------------------------- */

static void submit_named(struct client_call *c, const char *name)
{
    int len = snprintf(c->name, sizeof c->name, "%s", name);

    c->request.command.name = c->name;
    c->request.command.name_len = (size_t)len;
    c->request.command.env_id = 1;
    clients_submit(c);
}

void clients_put(struct node *n, const char *name, uint32_t timeout_ms, bool *ret_done,
                 enum err *ret_err)
{
    struct client_call *c = clients_call(n, timeout_ms);

    c->ret_done = ret_done;
    c->ret_err = ret_err;
    c->request.op = SERVICE_WRITE;
    c->request.command.op = COMMAND_PUT;
    c->request.command.node_id = MODEL_NODES_MAX + n->id; /* takes no lease */
    c->request.command.process_id = ++n->world->clients.last_process;
    submit_named(c, name);
}

void clients_read(struct node *n, const char *name, uint32_t timeout_ms, bool *ret_done,
                  enum err *ret_err)
{
    struct client_call *c = clients_call(n, timeout_ms);

    c->ret_done = ret_done;
    c->ret_err = ret_err;
    c->request.op = SERVICE_READ;
    c->request.consistency = SERVICE_LINEARIZABLE;
    submit_named(c, name);
}

void clients_ask(struct node *n, const struct service_members *ask, uint32_t timeout_ms)
{
    struct client_call *c = clients_call(n, timeout_ms);

    c->request.op = SERVICE_MEMBERS;
    c->request.members = mem_copy(ask, sizeof *ask);
    clients_submit(c);
}

/* --- Life ----------------------------------------------------------------------------------- */

void clients_init(struct world *w)
{
    memset(&w->clients, 0, sizeof w->clients);
    list_init(&w->clients.open);
    list_init(&w->clients.repeats);
}

void clients_fini(struct world *w)
{
    struct list *link;

    list_splice_back(&w->clients.open, &w->clients.repeats);
    while ((link = list_pop_front(&w->clients.open)) != NULL) {
        drop_call(LIST_ENTRY(link, struct client_call, link));
    }
}
