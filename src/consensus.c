#include "consensus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "consensus_stats.h"
#include "registry.h"

enum {
    /* raftio tells when a snapshot was lost with its link, and does not begin
     * one anew that still travels; this is for what it cannot know. */
    INSTALL_SNAPSHOT_TIMEOUT_MS = 10000,
    CATCH_UP_ROUNDS_MAX = 10,
    CATCH_UP_ROUND_MS = 10000,
    /* Time for an election before the next replica tries, in heartbeats, which
     * are libraft's ticks. */
    TURN_HEARTBEATS = 3,
};

static void on_fsm_fatal(void *data, enum err err, const char *what)
{
    struct consensus *c = data;

    c->fatal(c->data, err, what);
}

static bool on_may_snapshot(void *data)
{
    struct consensus *c = data;

    return guard_may_snapshot(&c->raftio.guard);
}

static void on_guard_fatal(void *data, enum err err, const char *what)
{
    struct consensus *c = data;

    c->fatal(c->data, err, what);
}

/* --- Life ------------------------------------------------------------------ */

static void tune(struct consensus *c)
{
    const struct consensus_config *k = &c->config;

    raft_set_election_timeout(&c->raft, k->election_timeout_ms);
    raft_set_heartbeat_timeout(&c->raft, k->heartbeat_ms);
    raft_set_snapshot_threshold(&c->raft, k->snapshot_threshold);
    raft_set_snapshot_trailing(&c->raft, k->snapshot_trailing);
    raft_set_install_snapshot_timeout(&c->raft, INSTALL_SNAPSHOT_TIMEOUT_MS);
    raft_set_max_catch_up_rounds(&c->raft, CATCH_UP_ROUNDS_MAX);
    raft_set_max_catch_up_round_duration(&c->raft, CATCH_UP_ROUND_MS);
    raft_set_pre_vote(&c->raft, true);
}

/* --- libraft's memory ------------------------------------------------------ */

/* libraft 0.15 leaves the contents of a barrier and the padding of a
 * configuration as it got them, and both go to the disk and to the other
 * replicas: fresh memory is cleared, so that they hold nothing of ours and
 * equal entries have equal bytes. */
static void *heap_malloc(void *data, size_t size)
{
    (void)data;
    return calloc(1, size);
}

static void *heap_calloc(void *data, size_t n, size_t size)
{
    (void)data;
    return calloc(n, size);
}

static void *heap_realloc(void *data, void *p, size_t size)
{
    (void)data;
    return realloc(p, size);
}

static void *heap_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data;
    return aligned_alloc(alignment, size);
}

static void heap_free(void *data, void *p)
{
    (void)data;
    free(p);
}

static void heap_aligned_free(void *data, size_t alignment, void *p)
{
    (void)data;
    (void)alignment;
    free(p);
}

static struct raft_heap clearing_heap = {
    .malloc = heap_malloc,
    .calloc = heap_calloc,
    .realloc = heap_realloc,
    .aligned_alloc = heap_aligned_alloc,
    .free = heap_free,
    .aligned_free = heap_aligned_free,
};

enum err consensus_init(struct consensus *c, const struct consensus_config *config,
                        const struct consensus_env *env, char *errmsg, size_t errmsg_len)
{
    struct raftio_env rio = {
        .disk = env->disk, .net = env->net, .fatal = on_guard_fatal, .data = c};
    char address[RAFTIO_ADDRESS_MAX];
    int rv;

    raft_heap_set(&clearing_heap);
    memset(c, 0, sizeof *c);
    c->config = *config;
    c->fatal = env->fatal;
    c->wall_ms = env->wall_ms;
    c->data = env->data;
    list_init(&c->queue);
    buf_init(&c->encoded, COMMAND_BATCH_BYTES_MAX + COMMAND_ENCODED_MAX);
    for (unsigned i = 0; i < CONSENSUS_IN_FLIGHT_MAX; i++) {
        c->flights[i].consensus = c;
        c->flights[i].slots = mem_zalloc(COMMAND_BATCH_COUNT_MAX, sizeof(struct proposal *));
    }
    fsm_init(&c->fsm, config->hash_key, on_fsm_fatal, on_may_snapshot, c);
    consensus_stats_init(c);
    raftio_init(&c->raftio, &c->raft, &rio);
    raftio_address(config->id, address);
    rv = raft_init(&c->raft, &c->raftio.io, &c->timed_fsm, config->id, address);
    if (rv != 0) {
        snprintf(errmsg, errmsg_len, "%s",
                 c->raft.errmsg[0] != '\0' ? c->raft.errmsg : raft_strerror(rv));
        consensus_fini(c);
        return ERR_STORAGE;
    }
    /* We read libraft's structures; a library with another layout must not run. */
    CHECK(c->raft.state == raft_state(&c->raft));
    CHECK(c->raft.last_applied == raft_last_applied(&c->raft));
    c->raft.data = c;
    tune(c);
    return ERR_OK;
}

enum err consensus_bootstrap(struct consensus *c, const uint64_t *ids, unsigned count, char *errmsg,
                             size_t errmsg_len)
{
    struct raft_configuration conf;
    char address[RAFTIO_ADDRESS_MAX];
    int rv = 0;

    raft_configuration_init(&conf);
    for (unsigned i = 0; i < count && rv == 0; i++) {
        raftio_address(ids[i], address);
        rv = raft_configuration_add(&conf, ids[i], address, RAFT_VOTER);
    }
    if (rv == 0) {
        rv = raft_bootstrap(&c->raft, &conf);
    }
    raft_configuration_close(&conf);
    if (rv != 0) {
        const char *why = c->raftio.io.errmsg; /* raft_bootstrap does not hand it on */

        snprintf(errmsg, errmsg_len, "%s", why[0] != '\0' ? why : raft_strerror(rv));
        return ERR_STORAGE;
    }
    return ERR_OK;
}

enum err consensus_start(struct consensus *c, char *errmsg, size_t errmsg_len)
{
    int rv = raft_start(&c->raft);

    if (rv != 0) {
        snprintf(errmsg, errmsg_len, "%s", raft_errmsg(&c->raft));
        return ERR_STORAGE;
    }
    c->started = true;
    raftio_started(&c->raftio);
    return ERR_OK;
}

static void on_closed(struct raft *raft)
{
    struct consensus *c = raft->data;

    c->closed(c->data);
}

void consensus_close(struct consensus *c, void (*closed)(void *data))
{
    struct list queue;
    struct list *link;

    c->closing = true;
    c->closed = closed;
    list_init(&queue);
    consensus_take_queue(c, &queue);
    while ((link = list_pop_front(&queue)) != NULL) {
        struct proposal *p = LIST_ENTRY(link, struct proposal, link);

        p->done(p, ERR_SHUTTING_DOWN, NULL);
    }
    raft_close(&c->raft, on_closed);
}

void consensus_fini(struct consensus *c)
{
    for (unsigned i = 0; i < CONSENSUS_IN_FLIGHT_MAX; i++) {
        free(c->flights[i].slots);
    }
    buf_fini(&c->encoded);
    raftio_fini(&c->raftio);
    fsm_fini(&c->fsm);
}

/* --- Proposing --------------------------------------------------------------- */

enum err consensus_propose(struct consensus *c, struct proposal *p)
{
    if (c->closing) {
        return ERR_SHUTTING_DOWN;
    }
    if (!consensus_leads(c)) {
        return ERR_NO_LEADER;
    }
    if (c->refusal != ERR_OK) {
        return c->refusal;
    }
    if (c->queued >= CONSENSUS_QUEUE_MAX) {
        return ERR_OVERLOADED;
    }
    p->slot = NULL;
    list_push_back(&c->queue, &p->link);
    c->queued++;
    return ERR_OK;
}

bool consensus_take_back(struct consensus *c, struct proposal *p)
{
    if (p->slot != NULL) {
        *p->slot = NULL;
        p->slot = NULL;
        c->stats.outcomes_unknown++;
        return false;
    }
    CHECK(list_linked(&p->link));
    list_remove(&p->link);
    c->queued--;
    return true;
}

void consensus_take_queue(struct consensus *c, struct list *ret_queue)
{
    list_splice_back(ret_queue, &c->queue);
    c->queued = 0;
}

static struct consensus_flight *free_flight(struct consensus *c)
{
    for (unsigned i = 0; i < CONSENSUS_IN_FLIGHT_MAX; i++) {
        if (!c->flights[i].busy) {
            return &c->flights[i];
        }
    }
    return NULL;
}

static void on_applied(struct raft_apply *req, int status, void *result)
{
    struct consensus_flight *f = req->data;
    struct consensus *c = f->consensus;
    const struct fsm_result *r = result;

    CHECK(f->busy);
    CHECK(status != 0 || (r != NULL && r->count == f->count));
    for (unsigned i = 0; i < f->count; i++) {
        struct proposal *p = f->slots[i];

        if (p == NULL) {
            continue;
        }
        f->slots[i] = NULL;
        p->slot = NULL;
        if (status == 0) {
            p->done(p, ERR_OK, &r->verdicts[i]);
        } else {
            c->stats.outcomes_unknown++;
            p->done(p, ERR_OUTCOME_UNKNOWN, NULL);
        }
    }
    if (status == 0) {
        histogram_add(&c->stats.commit, consensus_stats_now_ns() - f->began_ns);
    }
    f->busy = false;
}

static uint64_t stamp(struct consensus *c)
{
    const struct registry *r = c->fsm.registry;
    const struct logclock_sight s = {c->raft.current_term, c->raftio.io.time(&c->raftio.io),
                                     c->wall_ms(c->data), registry_log_time_ms(r),
                                     /* No entry is in flight that might carry the first one. */
                                     registry_keys(r) == 0 && consensus_leads_for_sure(c)};

    _Static_assert(CONSENSUS_IN_FLIGHT_MAX == 1, "the state tells whether there are keys");
    return logclock_stamp(&c->clock, &s);
}

/* Encodes as many waiting proposals as one entry takes and binds them to `f`. */
static void fill(struct consensus *c, struct consensus_flight *f, struct raft_buffer *ret_entry)
{
    struct command_batch batch;
    struct buf out;
    uint8_t *bytes;

    buf_init(&out, COMMAND_BATCH_BYTES_MAX);
    command_batch_begin(&batch, &out);
    f->count = 0;
    while (!list_empty(&c->queue) && f->count < COMMAND_BATCH_COUNT_MAX) {
        struct proposal *p = LIST_ENTRY(c->queue.next, struct proposal, link);

        buf_reset(&c->encoded);
        command_encode(p->command, &c->encoded);
        if (!command_batch_fits(&batch, c->encoded.len)) {
            break;
        }
        command_batch_add(&batch, c->encoded.data, c->encoded.len);
        list_remove(&p->link);
        c->queued--;
        f->slots[f->count] = p;
        p->slot = &f->slots[f->count];
        f->count++;
    }
    command_batch_end(&batch, stamp(c));
    CHECK(!out.overflow && f->count > 0);
    bytes = raft_malloc(out.len);
    CHECK(bytes != NULL);
    memcpy(bytes, out.data, out.len);
    *ret_entry = (struct raft_buffer){.base = bytes, .len = out.len};
    buf_fini(&out);
}

/* The entry was refused before libraft took it: nothing happened, the
 * proposals go back to the head of the queue in their order. */
static void unfill(struct consensus *c, struct consensus_flight *f)
{
    struct list back;

    list_init(&back);
    for (unsigned i = 0; i < f->count; i++) {
        f->slots[i]->slot = NULL;
        list_push_back(&back, &f->slots[i]->link);
        f->slots[i] = NULL;
    }
    c->queued += f->count;
    f->count = 0;
    list_splice_back(&back, &c->queue);
    list_splice_back(&c->queue, &back);
}

void consensus_flush(struct consensus *c)
{
    struct consensus_flight *f;
    struct raft_buffer entry;
    int rv;

    while (!list_empty(&c->queue) && !c->closing && consensus_leads(c) &&
           (f = free_flight(c)) != NULL) {
        fill(c, f, &entry);
        f->apply.data = f;
        f->busy = true;
        f->began_ns = consensus_stats_now_ns();
        rv = raft_apply(&c->raft, &f->apply, &entry, 1, on_applied);
        if (rv != 0) {
            raft_free(entry.base);
            f->busy = false;
            unfill(c, f);
            if (rv != RAFT_NOTLEADER) {
                /* libraft left a dangling request behind. */
                c->fatal(c->data, ERR_STORAGE, raft_strerror(rv));
            }
            return;
        }
        c->stats.entries_proposed++;
        c->stats.commands_proposed += f->count;
    }
}

void consensus_observe(struct consensus *c)
{
    uint64_t leader;

    raftio_turn(&c->raftio);
    if (c->raft.state == RAFT_UNAVAILABLE && !c->closing) {
        guard_stop_on_error(&c->raftio.guard, "libraft cannot go on", RAFT_SHUTDOWN);
    }
    leader = consensus_leader(c);
    if (leader != 0 && leader != c->seen_leader) {
        c->stats.leader_changes++;
        c->seen_leader = leader;
    }
    if (c->raft.current_term != c->seen_term) {
        c->seen_term = c->raft.current_term;
        c->stats.elections++;
    }
    consensus_stats_observe(c);
}

/* --- Handing leadership over -------------------------------------------------- */

static void on_transferred(struct raft_transfer *req)
{
    struct consensus *c = req->data;

    c->transferring = false;
}

enum err consensus_transfer(struct consensus *c, uint64_t to)
{
    if (!consensus_leads(c) || c->transferring) {
        return ERR_NO_LEADER;
    }
    c->transfer.data = c;
    c->transferring = true;
    if (raft_transfer(&c->raft, &c->transfer, to, on_transferred) != 0) {
        c->transferring = false;
        return ERR_NO_LEADER;
    }
    return ERR_OK;
}

/* --- Elections ------------------------------------------------------------------ */

/* How many voters are asked to try before this one when `id` is gone: those
 * with the next higher ids, in a ring. */
static unsigned voters_before(const struct consensus *c, uint64_t id)
{
    unsigned n = 0;

    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        uint64_t other = c->raft.configuration.servers[i].id;

        n += c->raft.configuration.servers[i].role == RAFT_VOTER && other != id &&
             other - id < c->config.id - id;
    }
    return n;
}

/* Only the pre-vote comes early: it takes a majority that has lost the leader
 * as well, and changes no term. Timers are no matter of safety. */
void consensus_lost_touch(struct consensus *c, uint64_t id)
{
    struct raft *r = &c->raft;
    raft_time now_ms, wait_ms, early_ms;

    if (!c->started || c->closing || r->state != RAFT_FOLLOWER ||
        r->follower_state.current_leader.id != id) {
        return;
    }
    r->follower_state.current_leader.id = 0;
    now_ms = c->raftio.io.time(&c->raftio.io);
    wait_ms = (raft_time)voters_before(c, id) * TURN_HEARTBEATS * c->config.heartbeat_ms;
    early_ms = r->follower_state.randomized_election_timeout;
    if (wait_ms < early_ms && now_ms >= early_ms) {
        r->election_timer_start = now_ms - early_ms + wait_ms;
    }
}

/* --- Looking -------------------------------------------------------------------- */

bool consensus_leads(const struct consensus *c)
{
    return c->started && c->raft.state == RAFT_LEADER && c->raft.transfer == NULL;
}

bool consensus_leads_for_sure(const struct consensus *c)
{
    return c->started && c->raft.state == RAFT_LEADER &&
           c->raftio.guard.committed_term == c->raft.current_term;
}

uint64_t consensus_leader(struct consensus *c)
{
    const char *address;
    raft_id id;

    if (!c->started || c->closing) {
        return 0;
    }
    raft_leader(&c->raft, &id, &address);
    return id;
}

uint64_t consensus_term(const struct consensus *c)
{
    return c->raft.current_term;
}

uint64_t consensus_commit_index(const struct consensus *c)
{
    return c->raft.commit_index;
}

uint64_t consensus_applied_index(const struct consensus *c)
{
    return c->raft.last_applied;
}

uint64_t consensus_last_index(const struct consensus *c)
{
    return c->raftio.next_index - 1;
}

uint64_t consensus_last_term(const struct consensus *c)
{
    return c->raftio.last_term;
}

uint64_t consensus_stored_index(const struct consensus *c)
{
    return c->raft.last_stored;
}

uint64_t consensus_snapshot_index(const struct consensus *c)
{
    return c->raftio.snapshot_index;
}

const char *consensus_state(const struct consensus *c)
{
    switch (c->raft.state) {
    case RAFT_LEADER:
        return "leader";
    case RAFT_CANDIDATE:
        return "candidate";
    case RAFT_FOLLOWER:
        return "follower";
    default:
        return "unavailable";
    }
}

bool consensus_pristine(const struct consensus *c)
{
    return c->raft.current_term <= 1 && c->raft.voted_for == 0 && consensus_last_index(c) <= 1;
}

unsigned consensus_members(const struct consensus *c)
{
    return c->raft.configuration.n;
}

uint64_t consensus_member(const struct consensus *c, unsigned i, int *ret_role)
{
    CHECK(i < c->raft.configuration.n);
    *ret_role = c->raft.configuration.servers[i].role;
    return c->raft.configuration.servers[i].id;
}

unsigned consensus_voters(const struct consensus *c)
{
    unsigned n = 0;

    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        n += c->raft.configuration.servers[i].role == RAFT_VOTER;
    }
    return n;
}

bool consensus_is_voter(const struct consensus *c, uint64_t id)
{
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        if (c->raft.configuration.servers[i].id == id) {
            return c->raft.configuration.servers[i].role == RAFT_VOTER;
        }
    }
    return false;
}

uint64_t consensus_match_index(const struct consensus *c, uint64_t id)
{
    if (!c->started || c->raft.state != RAFT_LEADER) {
        return 0;
    }
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        if (c->raft.configuration.servers[i].id == id) {
            return c->raft.leader_state.progress[i].match_index;
        }
    }
    return 0;
}
