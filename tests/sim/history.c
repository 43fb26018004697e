#include "history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "node.h"
#include "world.h"

/* --- Tables -------------------------------------------------------------------- */

uint64_t history_hash(const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    uint64_t h = 0xcbf29ce484222325u;

    for (; n >= 8; n -= 8, at += 8) {
        uint64_t word;

        memcpy(&word, at, sizeof word);
        h = (h ^ word) * 0x9fb21c651e98df25u;
        h ^= h >> 32;
    }
    for (; n > 0; n--, at++) {
        h = (h ^ *at) * 0x100000001b3u;
    }
    return h ^ (h >> 29);
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9fb21c651e98df25u;
    return h ^ (h >> 32);
}

/* The row of `index`, zero at first. */
static void *row(struct history_table *t, uint64_t index, size_t size)
{
    if (index >= t->capacity) {
        size_t capacity = 2 * (size_t)index + 64;

        t->rows = mem_resize(t->rows, capacity, size);
        memset((char *)t->rows + t->capacity * size, 0, (capacity - t->capacity) * size);
        t->capacity = capacity;
    }
    if (index >= t->count) {
        t->count = (size_t)index + 1;
    }
    return (char *)t->rows + index * size;
}

static struct history_entry *entry_row(struct history *h, uint64_t index)
{
    return row(&h->entries, index, sizeof(struct history_entry));
}

/* --- Commands ------------------------------------------------------------------- */

static struct history_command *probe(struct history_command *table, size_t capacity, uint64_t key)
{
    size_t i = (size_t)key & (capacity - 1);

    while (table[i].key != 0 && table[i].key != key) {
        i = (i + 1) & (capacity - 1);
    }
    return &table[i];
}

static void grow_commands(struct history *h)
{
    size_t capacity = h->commands_capacity == 0 ? 1024 : 2 * h->commands_capacity;
    struct history_command *table = mem_zalloc(capacity, sizeof *table);

    for (size_t i = 0; i < h->commands_capacity; i++) {
        if (h->commands[i].key != 0) {
            *probe(table, capacity, h->commands[i].key) = h->commands[i];
        }
    }
    free(h->commands);
    h->commands = table;
    h->commands_capacity = capacity;
}

static struct history_command *command_row(struct history *h, uint64_t key)
{
    struct history_command *c;

    if (2 * h->commands_count >= h->commands_capacity) {
        grow_commands(h);
    }
    c = probe(h->commands, h->commands_capacity, key);
    if (c->key == 0) {
        c->key = key;
        h->commands_count++;
    }
    return c;
}

uint64_t history_key(struct history *h, const struct command *c)
{
    uint64_t key;

    buf_reset(&h->scratch);
    command_encode(c, &h->scratch);
    key = history_hash(h->scratch.data, h->scratch.len);
    return key == 0 ? 1 : key;
}

void history_submitted(struct history *h, uint64_t key)
{
    command_row(h, key)->submitted++;
}

static void check_count(struct history *h, const struct history_command *c)
{
    if (c->applied + c->refused > c->submitted) {
        world_fail(h->world,
                   "a command was submitted %u times, surely refused %u times, and applied %u "
                   "times",
                   c->submitted, c->refused, c->applied);
    }
}

void history_refused(struct history *h, uint64_t key)
{
    struct history_command *c = command_row(h, key);

    c->refused++;
    check_count(h, c);
}

static bool same_owner(const struct owner *a, const struct owner *b)
{
    return a->node_id == b->node_id && a->process_id == b->process_id && a->revision == b->revision;
}

static bool same_results(const struct verdict_results *a, const struct verdict_results *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    for (unsigned i = 0; i < a->count && a->count == b->count; i++) {
        const struct verdict_result *x = &a->at[i], *y = &b->at[i];

        if (x->err != y->err || x->created != y->created || x->has_owner != y->has_owner ||
            (x->has_owner && !same_owner(&x->owner, &y->owner))) {
            return false;
        }
    }
    return a->count == b->count;
}

static bool same_verdict(const struct verdict *a, const struct verdict *b)
{
    return a->err == b->err && a->created == b->created && a->changed == b->changed &&
           a->replayed == b->replayed && a->has_owner == b->has_owner &&
           same_owner(&a->owner, &b->owner) && a->revision == b->revision &&
           a->refused_at == b->refused_at && a->refused_by == b->refused_by &&
           same_results(a->results, b->results);
}

static void note_seen(struct history *h, uint64_t revision)
{
    if (revision > h->seen_revision) {
        h->seen_revision = revision;
    }
}

void history_acknowledged(struct history *h, uint64_t key, const struct verdict *v,
                          uint64_t since_us)
{
    struct history_command *c = command_row(h, key);
    struct history_call *earliest = NULL;

    /* Of several that fit, the earliest: later ones are for later requests. */
    c->acknowledged++;
    for (struct history_call *call = c->calls; call != NULL; call = call->next) {
        if (!call->claimed && same_verdict(&call->verdict, v) && call->at_us >= since_us) {
            earliest = call;
        }
    }
    if (earliest != NULL) {
        earliest->claimed = true;
        note_seen(h, v->revision);
        return;
    }
    world_fail(h->world,
               "a write was answered (%s, revision %" PRIu64 ") but never so applied after it was "
               "submitted; it was applied %u times",
               err_code(v->err), v->revision, c->applied);
}

/* --- The model ---------------------------------------------------------------------- */

static struct history_name *name_row(struct history *h, const struct command *c)
{
    struct history_name *n;

    for (size_t i = 0; i < h->names_count; i++) {
        n = &h->names[i];
        if (n->env_id == c->env_id && n->len == c->name_len &&
            memcmp(n->name, c->name, n->len) == 0) {
            return n;
        }
    }
    if (h->names_count == h->names_capacity) {
        h->names_capacity = 2 * h->names_capacity + 16;
        h->names = mem_resize(h->names, h->names_capacity, sizeof *h->names);
    }
    n = &h->names[h->names_count++];
    *n = (struct history_name){
        .env_id = c->env_id, .name = mem_copy(c->name, c->name_len), .len = c->name_len};
    return n;
}

static void change(struct history *h, struct history_name *n, bool held, struct owner owner)
{
    if (n->count == n->capacity) {
        n->capacity = 2 * n->capacity + 8;
        n->changes = mem_resize(n->changes, n->capacity, sizeof *n->changes);
    }
    n->changes[n->count++] =
        (struct history_change){.revision = h->revision, .held = held, .owner = owner};
}

static enum err refusal(const struct command *c, const struct history_change *now)
{
    const unsigned held = COMMAND_IF_REVISION | COMMAND_IF_OWNER;

    if (c->op == COMMAND_GET && !now->held && (c->flags & held) != 0) {
        return ERR_PROCESS_NOT_FOUND;
    }
    if (c->op == COMMAND_REMOVE && !now->held) {
        return ERR_PROCESS_NOT_FOUND;
    }
    if ((c->flags & COMMAND_IF_ABSENT) != 0 && now->held) {
        return ERR_NAME_TAKEN;
    }
    if ((c->flags & COMMAND_IF_REVISION) != 0 &&
        (!now->held || now->owner.revision != c->if_revision)) {
        return ERR_PRECONDITION_FAILED;
    }
    if ((c->flags & COMMAND_IF_OWNER) != 0 &&
        (now->owner.node_id != c->node_id || now->owner.process_id != c->process_id)) {
        return ERR_NOT_OWNER;
    }
    return ERR_OK;
}

/* A put, a remove or a look, on its own. */
static struct verdict apply_one(struct history *h, const struct command *c)
{
    struct history_name *n = name_row(h, c);
    struct history_change now = {0};
    struct verdict v = {0};

    if (n->count > 0) {
        now = n->changes[n->count - 1];
    }
    v.has_owner = now.held;
    if (now.held) {
        v.owner = now.owner;
    }
    v.err = refusal(c, &now);
    if (v.err == ERR_OK && c->op == COMMAND_REMOVE) {
        h->revision++;
        v.changed = true;
        change(h, n, false, (struct owner){0});
    } else if (v.err == ERR_OK && c->op == COMMAND_PUT &&
               !(now.held && now.owner.node_id == c->node_id &&
                 now.owner.process_id == c->process_id)) {
        h->revision++;
        v.changed = true;
        v.created = !now.held;
        v.has_owner = true;
        v.owner = (struct owner){c->node_id, c->process_id, h->revision};
        change(h, n, true, v.owner);
    }
    v.revision = h->revision;
    return v;
}

/* The changes of `names` behind that revision never were. */
static void take_back(struct history *h, const size_t *names, unsigned count, uint64_t revision)
{
    for (unsigned i = 0; i < count; i++) {
        struct history_name *n = &h->names[names[i]];

        while (n->count > 0 && n->changes[n->count - 1].revision > revision) {
            n->count--;
        }
    }
}

/* One after the other, all with the same revision; the first refusal takes
 * back what those before it did. */
static struct verdict apply_batch(struct history *h, const struct command *c)
{
    struct verdict v = {.results = verdict_results_new(c->ops.count)};
    size_t names[COMMAND_OPS_MAX], at = 0;
    uint64_t before = h->revision;
    unsigned done = 0;

    for (; done < c->ops.count && v.err == ERR_OK; done++) {
        struct command op;
        struct verdict one;

        command_ops_next(&c->ops, &at, &op);
        names[done] = (size_t)(name_row(h, &op) - h->names);
        h->revision = before;
        one = apply_one(h, &op);
        if (one.err == ERR_PROCESS_NOT_FOUND &&
            (op.flags & (COMMAND_IF_REVISION | COMMAND_IF_OWNER)) == 0) {
            one.err = ERR_OK;
            v.results->at[done].err = ERR_PROCESS_NOT_FOUND;
        }
        if (op.op == COMMAND_GET && !one.has_owner) {
            v.results->at[done].err = ERR_PROCESS_NOT_FOUND;
        }
        v.results->at[done].created = one.created;
        v.results->at[done].has_owner = one.has_owner;
        v.results->at[done].owner = one.owner;
        v.changed = v.changed || one.changed;
        if (one.err != ERR_OK) {
            v = (struct verdict){.err = ERR_BATCH_REFUSED,
                                 .refused_at = done,
                                 .refused_by = one.err,
                                 .has_owner = one.has_owner && one.owner.revision <= before,
                                 .results = v.results};
            v.owner = v.has_owner ? one.owner : (struct owner){0};
        }
    }
    h->revision = before + v.changed;
    if (v.err != ERR_OK) {
        verdict_drop_results(&v);
        take_back(h, names, done, before);
    }
    v.revision = h->revision;
    return v;
}

static struct verdict model_apply(struct history *h, const struct command *c)
{
    struct verdict v;

    if (model_keys_decide(&h->keys, c, &v)) {
        v.revision = v.replayed ? v.revision : h->revision;
        h->world->seen[v.replayed ? SEEN_REPLAYED : SEEN_MISMATCH]++;
        return v;
    }
    v = c->op == COMMAND_BATCH ? apply_batch(h, c) : apply_one(h, c);
    model_keys_add(&h->keys, c, &v);
    return v;
}

/* The state of `n` at `revision`; the changes are in order. */
static struct history_change state_at(const struct history_name *n, uint64_t revision)
{
    size_t low = 0, high = n->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (n->changes[middle].revision <= revision) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? (struct history_change){0} : n->changes[low - 1];
}

void history_read(struct history *h, const struct command *c, const struct owner *found,
                  uint64_t revision)
{
    struct history_change s = state_at(name_row(h, c), revision);

    if (revision > h->revision) {
        world_fail(h->world, "a read reflects revision %" PRIu64 ", the newest is %" PRIu64,
                   revision, h->revision);
    } else if (s.held != (found != NULL) || (s.held && (s.owner.node_id != found->node_id ||
                                                        s.owner.process_id != found->process_id ||
                                                        s.owner.revision != found->revision))) {
        world_fail(h->world,
                   "a read at revision %" PRIu64 " found %s owner %" PRIu64 ", there was %s owner "
                   "%" PRIu64,
                   revision, found != NULL ? "the" : "no", found != NULL ? found->process_id : 0,
                   s.held ? "the" : "no", s.owner.process_id);
    }
    note_seen(h, revision);
}

/* --- What the replicas apply ----------------------------------------------------------- */

static uint64_t mix_verdict(uint64_t h, const struct verdict *v)
{
    h = mix(h, (uint64_t)v->err * 16 + v->replayed * 8u + v->created * 4u + v->changed * 2u +
                   v->has_owner);
    for (unsigned i = 0; v->results != NULL && i < v->results->count; i++) {
        h = mix(h, (uint64_t)v->results->at[i].err * 2 + v->results->at[i].created);
        h = mix(h, v->results->at[i].owner.process_id);
    }
    h = mix(h, v->refused_at);
    h = mix(h, v->owner.node_id);
    h = mix(h, v->owner.process_id);
    h = mix(h, v->owner.revision);
    return mix(h, v->revision);
}

static void apply_first(struct history *h, const struct command *c, const struct verdict *given,
                        uint64_t index)
{
    struct history_command *row_of = command_row(h, history_key(h, c));
    struct history_call *call = mem_zalloc(1, sizeof *call);

    call->verdict = model_apply(h, c);
    call->at_us = h->world->now_us;
    call->index = index;
    call->next = row_of->calls;
    row_of->calls = call;
    row_of->applied++;
    check_count(h, row_of);
    if (!same_verdict(&call->verdict, given)) {
        world_fail(h->world,
                   "entry %" PRIu64 ": the state machine says %s at revision %" PRIu64
                   ", the model %s at %" PRIu64,
                   index, err_code(given->err), given->revision, err_code(call->verdict.err),
                   call->verdict.revision);
    }
}

static void extend(struct history *h, struct node *n, uint64_t index, struct command_reader *reader)
{
    const struct verdict *verdicts = n->core->consensus.fsm.verdicts;
    struct command command;

    if (index <= h->last_index) {
        world_fail(h->world,
                   "replica %u applies commands at index %" PRIu64 " where others had none",
                   n->index + 1, index);
        return;
    }
    h->last_index = index;
    h->world->seen[SEEN_BATCHED] += reader->count > 1;
    model_keys_advance(&h->keys, reader->now_ms);
    for (unsigned i = 0; command_reader_next(reader, &command) == ERR_OK; i++) {
        apply_first(h, &command, &verdicts[i], index);
        if (reader->left == 0) {
            break;
        }
    }
}

void history_applied(struct history *h, struct node *n, uint64_t index, const void *bytes,
                     size_t len)
{
    const struct fsm *f = &n->core->consensus.fsm;
    struct history_entry *e = entry_row(h, index);
    struct history_entry now = {
        .known = true,
        .hash = history_hash(bytes, len),
        .revision = registry_revision(f->registry),
        .digest = registry_digest(f->registry),
    };
    struct command_reader reader;

    if (h->world->failed) {
        return;
    }
    for (unsigned i = 0; i < f->result.count; i++) {
        now.hash = mix_verdict(now.hash, &f->verdicts[i]);
    }
    if (e->known) {
        if (e->hash != now.hash || e->revision != now.revision || e->digest != now.digest) {
            world_fail(h->world,
                       "replica %u applies another entry %" PRIu64 " than others, or to another "
                       "state (revision %" PRIu64 " for %" PRIu64 ")",
                       n->index + 1, index, now.revision, e->revision);
        }
        return;
    }
    CHECK(command_reader_open(&reader, bytes, len) == ERR_OK);
    extend(h, n, index, &reader);
    *entry_row(h, index) = now;
}

void history_check_state(struct history *h, struct node *n, uint64_t index)
{
    const struct registry *r = n->core->consensus.fsm.registry;
    const struct history_entry *rows = h->entries.rows;
    uint64_t at = index < h->entries.count ? index : h->entries.count;
    uint64_t revision = 0;

    if (h->entries.count == 0) {
        return;
    }
    at = at < h->entries.count ? at : h->entries.count - 1;
    while (at > 0 && !rows[at].known) {
        at--;
    }
    if (rows[at].known) {
        revision = rows[at].revision;
    }
    if (registry_revision(r) != revision || (at > 0 && registry_digest(r) != rows[at].digest)) {
        world_fail(h->world,
                   "replica %u is at revision %" PRIu64 " after entry %" PRIu64
                   ", others were at %" PRIu64 "%s",
                   n->index + 1, registry_revision(r), index, revision,
                   registry_revision(r) == revision ? " with another table" : "");
    }
}

void history_committed(struct history *h, struct node *n, uint64_t index, uint64_t term)
{
    struct history_commit *c = row(&h->commits, index, sizeof *c);

    if (index > h->last_commit) {
        h->last_commit = index;
    }
    if (term == 0) {
        return; /* compacted already */
    }
    if (c->term == 0) {
        c->term = term;
        c->seen_term = n->core->consensus.raft.current_term;
    } else if (c->term != term) {
        world_fail(h->world,
                   "replica %u has committed entry %" PRIu64 " of term %" PRIu64
                   ", others one of term %" PRIu64,
                   n->index + 1, index, term, c->term);
    }
}

void history_snapshot(struct history *h, struct node *n, uint64_t index, uint64_t hash)
{
    uint64_t *known = row(&h->snapshots, index, sizeof *known);

    if (*known != 0 && *known != hash) {
        world_fail(h->world, "replica %u has other snapshot bytes at index %" PRIu64 " than others",
                   n->index + 1, index);
    }
    *known = hash;
}

void history_check_end(struct history *h)
{
    for (size_t i = 0; i < h->commands_capacity; i++) {
        if (h->commands[i].key != 0 && h->commands[i].acknowledged > h->commands[i].applied) {
            world_fail(h->world, "a command was acknowledged %u times and applied %u times",
                       h->commands[i].acknowledged, h->commands[i].applied);
        }
    }
}

/* --- Life -------------------------------------------------------------------------------- */

void history_init(struct history *h, struct world *w)
{
    memset(h, 0, sizeof *h);
    h->world = w;
    buf_init(&h->scratch, COMMAND_ENCODED_MAX);
}

void history_fini(struct history *h)
{
    for (size_t i = 0; i < h->names_count; i++) {
        free(h->names[i].name);
        free(h->names[i].changes);
    }
    for (size_t i = 0; i < h->commands_capacity; i++) {
        struct history_call *call = h->commands[i].calls;

        while (call != NULL) {
            struct history_call *next = call->next;

            verdict_clear(&call->verdict);
            free(call);
            call = next;
        }
    }
    model_keys_fini(&h->keys);
    free(h->names);
    free(h->commands);
    free(h->entries.rows);
    free(h->commits.rows);
    free(h->snapshots.rows);
    buf_fini(&h->scratch);
}
