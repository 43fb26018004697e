#include "history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "model.h"
#include "node.h"
#include "verdicts.h"
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
    if (!c->by_replicas && c->applied + c->refused > c->submitted) {
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

void history_told_to_spawn(struct history *h, uint64_t key, const struct verdict_claim *claim)
{
    const char *wrong = model_claims_tell(&h->claims, claim, key);

    h->world->seen[SEEN_SPAWN]++;
    if (wrong != NULL) {
        world_fail(h->world, "a client was told to spawn by ticket %" PRIu64 ": %s", claim->id,
                   wrong);
    }
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
        if (!call->claimed && verdicts_same(&call->verdict, v) && call->at_us >= since_us) {
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

/* --- Reads ---------------------------------------------------------------------- */

void history_read(struct history *h, const struct command *c, const struct owner *found,
                  uint64_t revision)
{
    struct history_change s = model_state_at(h, c, revision);

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

static void apply_first(struct history *h, const struct command *c, const struct verdict *given,
                        uint64_t index)
{
    struct history_command *row_of = command_row(h, history_key(h, c));
    struct history_call *call = mem_zalloc(1, sizeof *call);

    if (c->op == COMMAND_NODE_DOWN && (c->flags & COMMAND_IF_REVISION) != 0) {
        row_of->submitted++; /* by the leader itself: a lease that ran out */
    }
    call->verdict = model_apply(h, c);
    call->at_us = h->world->now_us;
    call->index = index;
    call->next = row_of->calls;
    row_of->calls = call;
    row_of->applied++;
    row_of->by_replicas = (c->flags & COMMAND_KEYED) == 0 &&
                          (c->op == COMMAND_CLAIM_ABORT || c->op == COMMAND_CLAIM_WITHDRAW);
    check_count(h, row_of);
    if (!verdicts_same(&call->verdict, given)) {
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
        now.hash = verdicts_mix(now.hash, &f->verdicts[i]);
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
    h->nodes.world = w;
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
    model_claims_fini(&h->claims);
    free(h->names);
    free(h->commands);
    free(h->entries.rows);
    free(h->commits.rows);
    free(h->snapshots.rows);
    buf_fini(&h->scratch);
}
