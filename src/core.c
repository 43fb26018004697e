#include "core.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "core_links.h"
#include "core_list.h"
#include "core_nodes.h"
#include "core_space.h"
#include "frame.h"
#include "leases_ask.h"
#include "registry.h"
#include "registry_nodes.h"

/* How long a write waits for a leader before it is refused, in election
 * timeouts since one was last known: an ordinary election takes two. When
 * there was none for longer, the cluster is without a quorum and waiting
 * would only hide it. */
enum { LEADER_PATIENCE = 5 };
/* Deadlines are looked at this often. */
enum { SCAN_MS = 20 };
/* Entries whose memory is given back in one turn, after their node went: a
 * millisecond. */
enum { RECLAIM_RECORDS = 400 };
/* A turn that comes so many heartbeats late was not heard in. */
enum { DEAF_HEARTBEATS = 5 };

static uint64_t now(const struct core *c)
{
    return c->env.now_ms(c->env.data);
}

static struct registry *registry(const struct core *c)
{
    return c->consensus.fsm.registry;
}

/* --- Answering --------------------------------------------------------------- */

static void answer(struct core *c, struct service_request *r, enum err e)
{
    r->err = e;
    /* A verdict or a look-up may well reflect revision 0, and nothing else. */
    if (r->revision == 0 && err_class(e) != ERR_CLASS_OK && err_class(e) != ERR_CLASS_CALLER) {
        r->revision = registry_revision(registry(c));
    }
    r->leader_id = consensus_leader(&c->consensus);
    list_remove(&r->link);
    c->live_count--;
    c->stats.refused_no_leader += e == ERR_NO_LEADER;
    c->stats.refused_overloaded += e == ERR_OVERLOADED;
    c->env.answer(c->env.data, r);
}

static void look_up(struct core *c, struct service_request *r)
{
    const struct command *k = &r->command;
    bool found = true;

    r->staleness_ms = core_staleness_ms(c);
    if (r->op == SERVICE_NODES) {
        core_nodes_read(c, r);
        return;
    }
    if (r->op == SERVICE_WATCH) {
        if (!core_cut_serve(&c->cut, registry(c), c->consensus.fsm.history, now(c), r)) {
            answer(c, r, ERR_OVERLOADED);
            return;
        }
    } else if (r->op == SERVICE_LIST) {
        r->page = core_list(registry(c), k->env_id, &r->list);
    } else {
        found = registry_find(registry(c), k->env_id, k->name, k->name_len, &r->found);
    }
    r->revision = registry_revision(registry(c));
    answer(c, r, found ? ERR_OK : ERR_PROCESS_NOT_FOUND);
}

/* --- Writes -------------------------------------------------------------------- */

static bool hopeless(const struct core *c)
{
    return now(c) - c->leader_seen_ms > (uint64_t)LEADER_PATIENCE * c->election_timeout_ms;
}

/* Who just said that it does not lead is not asked again at once. */
static bool may_ask(const struct core *c, uint64_t leader)
{
    return leader != c->refused_by || now(c) - c->refused_ms >= c->consensus.config.heartbeat_ms;
}

static void park(struct core *c, struct proposal *p)
{
    p->place = PROPOSAL_PARKED;
    p->slot = NULL;
    list_push_back(&c->parked, &p->link);
}

/* Finds a way for a write that nobody has taken yet. */
static void route(struct core *c, struct proposal *p)
{
    uint64_t leader = consensus_leader(&c->consensus);
    enum err e;

    if (consensus_leads(&c->consensus)) {
        p->place = PROPOSAL_CONSENSUS;
        e = consensus_propose(&c->consensus, p);
    } else if (p->forwarded) {
        e = ERR_NO_LEADER; /* one hop only */
    } else if (leader != 0 && leader != c->id && may_ask(c, leader)) {
        p->place = PROPOSAL_FORWARD;
        e = forward_submit(&c->forward, p);
    } else if (!hopeless(c)) {
        park(c, p);
        return;
    } else {
        e = ERR_NO_LEADER;
    }
    if (e != ERR_OK) {
        p->done(p, e, NULL);
    }
}

static void on_verdict(struct core *c, struct service_request *r, const struct verdict *v)
{
    verdict_clear(&r->verdict);
    verdict_copy(&r->verdict, v);
    r->revision = v->revision;
    if (r->claim_state == CORE_CLAIM_WITHDRAWING) {
        core_claims_withdrawn(c, r);
    } else if (!core_claims_wait(c, r)) {
        answer(c, r, v->err);
    }
}

static void on_written(struct proposal *p, enum err err, const struct verdict *v)
{
    struct service_request *r = LIST_ENTRY(p, struct service_request, proposal);
    struct core *c = r->core;

    if (err == ERR_NO_LEADER && p->place == PROPOSAL_FORWARD) {
        c->refused_by = consensus_leader(&c->consensus);
        c->refused_ms = now(c);
    }
    if (err == ERR_NO_LEADER && !c->draining && !hopeless(c) && now(c) < r->deadline_ms) {
        /* Surely not applied, and there is time for another attempt. */
        park(c, p);
    } else if (err == ERR_OK) {
        on_verdict(c, r, v);
    } else {
        /* Whatever became of its withdrawal, a ticket may come to hold. */
        answer(c, r, r->claim_state != CORE_CLAIM_NONE ? ERR_OUTCOME_UNKNOWN : err);
    }
}

void core_propose(struct core *c, struct service_request *r)
{
    r->proposal.command = &r->command;
    r->proposal.done = on_written;
    r->proposal.forwarded = false;
    r->proposal.slot = NULL;
    route(c, &r->proposal);
}

/* Proposals that wait for a leader, or whose leader went away. */
static void reroute(struct core *c)
{
    uint64_t leader = consensus_leader(&c->consensus);
    struct list queue;
    struct list *link;

    list_init(&queue);
    if (!consensus_leads(&c->consensus)) {
        consensus_take_queue(&c->consensus, &queue);
    }
    if (leader == 0 || leader == c->id) {
        forward_take_queue(&c->forward, &queue);
    }
    if ((leader != 0 && may_ask(c, leader)) || hopeless(c)) {
        list_splice_back(&queue, &c->parked);
    }
    while ((link = list_pop_front(&queue)) != NULL) {
        route(c, LIST_ENTRY(link, struct proposal, link));
    }
}

/* Whether the write was surely never handed to libraft, here or elsewhere. */
static bool take_back(struct core *c, struct proposal *p)
{
    switch (p->place) {
    case PROPOSAL_CONSENSUS:
        return consensus_take_back(&c->consensus, p);
    case PROPOSAL_FORWARD:
        return forward_take_back(&c->forward, p);
    default:
        list_remove(&p->link);
        return true;
    }
}

/* --- Reads ------------------------------------------------------------------------ */

static void on_gate_open(void *data, struct readgate_waiter *w)
{
    struct core *c = data;

    if (w == &c->caught_up) {
        c->is_caught_up = true;
        return;
    }
    if (w == &c->leases.waiter) {
        leases_confirmed(&c->leases);
        return;
    }
    look_up(c, LIST_ENTRY(w, struct service_request, waiter));
}

static void read(struct core *c, struct service_request *r)
{
    switch (r->consistency) {
    case SERVICE_STALE:
        c->stats.reads_local++;
        look_up(c, r);
        break;
    case SERVICE_AT_LEAST:
        c->stats.reads_local++;
        if (registry_revision(registry(c)) >= r->at_least) {
            look_up(c, r);
        } else {
            list_push_back(&c->catching, &r->waiter.link);
        }
        break;
    default:
        c->stats.reads_linearizable++;
        if (consensus_leader(&c->consensus) == 0 && hopeless(c)) {
            answer(c, r, ERR_NO_LEADER);
        } else {
            readgate_submit(&c->readgate, &r->waiter);
        }
        break;
    }
}

/* Reads whose revision has arrived. */
static void serve_caught_up(struct core *c)
{
    uint64_t revision = registry_revision(registry(c));
    struct list *link = c->catching.next;

    if (revision == c->seen_revision) {
        return;
    }
    c->seen_revision = revision;
    while (link != &c->catching) {
        struct service_request *r = LIST_ENTRY(link, struct service_request, waiter.link);

        link = link->next;
        if (r->at_least <= revision) {
            list_remove(&r->waiter.link);
            look_up(c, r);
        }
    }
}

/* --- Requests ----------------------------------------------------------------------- */

static void fill(struct core *c, struct service_request *r)
{
    if (r->op == SERVICE_CLUSTER) {
        r->cluster = mem_zalloc(1, sizeof *r->cluster);
        core_fill_cluster(c, r->cluster);
    } else {
        r->metrics = mem_zalloc(1, sizeof *r->metrics);
        core_fill_metrics(c, r->metrics);
    }
    r->revision = registry_revision(registry(c));
    answer(c, r, ERR_OK);
}

void core_submit(struct core *c, struct service_request *r)
{
    r->core = c;
    r->revision = 0;
    r->deadline_ms = now(c) + r->timeout_ms;
    list_push_back(&c->live, &r->link);
    c->live_count++;
    if (r->op == SERVICE_CLUSTER || r->op == SERVICE_METRICS) {
        fill(c, r);
    } else if (c->draining) {
        answer(c, r, ERR_SHUTTING_DOWN);
    } else if (c->live_count > CORE_REQUESTS_MAX) {
        answer(c, r, ERR_OVERLOADED);
    } else if (r->op == SERVICE_HEARTBEAT) {
        core_nodes_beat(c, r);
    } else if (r->op == SERVICE_MEMBERS) {
        members_submit(&c->members, r);
    } else if (r->op != SERVICE_WRITE) {
        r->waiter.from = 0;
        read(c, r);
    } else {
        r->claim_state = CORE_CLAIM_NONE;
        r->wait_end_ms = now(c) + r->wait_ms;
        core_propose(c, r);
    }
}

/* Answers a request that may wait no longer; `why` if nothing was started. */
static void expire(struct core *c, struct service_request *r, enum err why)
{
    if (r->claim_state != CORE_CLAIM_NONE) {
        /* Its ticket stays. */
        if (r->claim_state == CORE_CLAIM_WITHDRAWING) {
            (void)take_back(c, &r->proposal);
        }
        list_remove(&r->waiter.link);
        answer(c, r, ERR_OUTCOME_UNKNOWN);
        return;
    }
    if (r->op == SERVICE_WRITE) {
        answer(c, r, take_back(c, &r->proposal) ? why : ERR_OUTCOME_UNKNOWN);
        return;
    }
    if ((r->op == SERVICE_HEARTBEAT || r->op == SERVICE_NODES) && core_nodes_take_back(c, r)) {
        answer(c, r, r->op == SERVICE_NODES ? ERR_OK : why);
        return;
    }
    if (r->op == SERVICE_MEMBERS) {
        answer(c, r, members_take_back(&c->members, r) ? why : ERR_OUTCOME_UNKNOWN);
        return;
    }
    list_remove(&r->waiter.link);
    answer(c, r, r->consistency == SERVICE_AT_LEAST ? ERR_NOT_CAUGHT_UP : why);
}

static bool waits_for_nothing(const struct core *c, const struct service_request *r)
{
    return r->op != SERVICE_WRITE && r->op != SERVICE_MEMBERS &&
           r->consistency == SERVICE_LINEARIZABLE && c->seen_leader == 0 && hopeless(c);
}

static void scan_deadlines(struct core *c)
{
    uint64_t now_ms = now(c);
    struct list *link = c->live.next;

    if (now_ms < c->next_scan_ms) {
        return;
    }
    c->next_scan_ms = now_ms + SCAN_MS;
    while (link != &c->live) {
        struct service_request *r = LIST_ENTRY(link, struct service_request, link);

        link = link->next;
        if (now_ms >= r->deadline_ms || waits_for_nothing(c, r)) {
            expire(c, r, ERR_NO_LEADER);
        }
    }
}

/* --- Events ---------------------------------------------------------------------------- */

static void on_members_answer(void *data, struct service_request *r)
{
    answer(data, r, r->err);
}

/* A new leader: whoever follows it asks it once how far it must catch up. */
static void watch_leader(struct core *c)
{
    uint64_t leader = consensus_leader(&c->consensus);

    if (leader != 0) {
        c->leader_seen_ms = now(c);
    }
    if (leader == c->seen_leader) {
        return;
    }
    c->seen_leader = leader;
    c->is_caught_up = false;
    list_remove(&c->caught_up.link);
    if (leader != 0) {
        readgate_submit(&c->readgate, &c->caught_up);
    }
}

void core_turn(struct core *c)
{
    enum err e;

    consensus_observe(&c->consensus);
    e = probation_turn(&c->probation);
    if (e == ERR_OK) {
        e = doubt_turn(&c->doubt);
    }
    if (e != ERR_OK) {
        c->env.fatal(c->env.data, e, "writing to the data directory that this replica votes");
    }
    c->readgate.mute = !probation_over(&c->probation);
    members_learn(&c->members, probation_over(&c->probation) ? NULL : &c->probation.learned);
    members_turn(&c->members);
    core_links_turn(c);
    watch_leader(c);
    core_space_turn(c);
    reroute(c);
    leases_turn(&c->leases, c->seen_leader);
    readgate_turn(&c->readgate);
    serve_caught_up(c);
    core_cut_turn(&c->cut, now(c));
    core_claims_turn(c);
    scan_deadlines(c);
    c->busy = registry_nodes_reclaim(registry(c), RECLAIM_RECORDS) == RECLAIM_RECORDS;
    c->busy |= fsm_reclaim(&c->consensus.fsm);
    consensus_flush(&c->consensus);
    if (c->seen_leader != c->id) {
        forward_flush(&c->forward, c->seen_leader);
    }
}

/* --- Life ---------------------------------------------------------------------------------- */

enum err core_init(struct core *c, const struct core_config *config, const struct core_env *env,
                   char *errmsg, size_t errmsg_len)
{
    struct consensus_env cenv = {
        .disk = env->disk,
        .net = env->net,
        .fatal = env->fatal,
        .wall_ms = env->wall_ms,
        .data = env->data,
    };
    uint64_t id = config->consensus.id;
    unsigned heartbeat_ms = config->consensus.heartbeat_ms;
    enum err e;

    memset(c, 0, sizeof *c);
    c->env = *env;
    c->id = id;
    c->election_timeout_ms = config->consensus.election_timeout_ms;
    list_init(&c->live);
    list_init(&c->parked);
    core_claims_init(&c->claims);
    list_init(&c->catching);
    list_init(&c->caught_up.link);
    e = consensus_init(&c->consensus, &config->consensus, &cenv, errmsg, errmsg_len);
    if (e != ERR_OK) {
        return e;
    }
    readgate_init(&c->readgate, &c->consensus, env->net, id, heartbeat_ms);
    c->readgate.now_ms = env->now_ms;
    c->readgate.round = config->life >> 1;
    c->readgate.ready = on_gate_open;
    c->readgate.clock = env->data;
    c->readgate.data = c;
    forward_init(&c->forward, &c->consensus, env->net, config->life);
    leases_init(&c->leases, &c->consensus, &c->readgate, env->net, config->life);
    c->leases.now_ms = env->now_ms;
    c->leases.clock = env->data;
    c->leases.retry_ms = heartbeat_ms;
    c->leases.deaf_ms = heartbeat_ms * DEAF_HEARTBEATS;
    probation_init(&c->probation, &c->consensus, env->net, id, heartbeat_ms * 4);
    c->probation.now_ms = env->now_ms;
    c->probation.write_voter = env->write_voter;
    c->probation.data = env->data;
    doubt_init(&c->doubt, &c->probation, &config->doubt);
    core_links_init(c, config, on_members_answer);
    return ERR_OK;
}

enum err core_start(struct core *c, const struct core_config *config, char *errmsg,
                    size_t errmsg_len)
{
    uint64_t others[PROBATION_OTHERS_MAX];
    struct probation_start start = {
        .voter = config->voter,
        .vote_floor = config->vote_floor,
        .joining = config->joining,
        .others = others,
    };
    enum err e;

    for (unsigned i = 0; i < config->members_count; i++) {
        if (config->members[i] != c->id) {
            CHECK(start.others_count < PROBATION_OTHERS_MAX);
            others[start.others_count++] = config->members[i];
        }
    }
    probation_begin(&c->probation, &start);
    c->leader_seen_ms = now(c);
    e = consensus_start(&c->consensus, errmsg, errmsg_len);
    return e == ERR_OK ? probation_resume(&c->probation, config->doubt.in_doubt) : e;
}

void core_drain(struct core *c)
{
    c->draining = true;
    if (consensus_leads(&c->consensus) && consensus_voters(&c->consensus) > 1) {
        (void)consensus_transfer(&c->consensus, 0); /* nobody to take over: elections will do */
    }
}

bool core_idle(const struct core *c)
{
    return c->live_count == 0 && !c->consensus.transferring;
}

void core_close(struct core *c, void (*closed)(void *data))
{
    struct list *link = c->live.next;

    c->draining = true;
    while (link != &c->live) {
        struct service_request *r = LIST_ENTRY(link, struct service_request, link);

        link = link->next;
        expire(c, r, ERR_SHUTTING_DOWN);
    }
    list_remove(&c->caught_up.link);
    core_cut_drop(&c->cut);
    leases_close(&c->leases);
    consensus_close(&c->consensus, closed);
}

void core_fini(struct core *c)
{
    readgate_fini(&c->readgate);
    members_fini(&c->members);
    forward_fini(&c->forward);
    leases_fini(&c->leases);
    consensus_fini(&c->consensus);
}

/* --- Looking ---------------------------------------------------------------------------------- */

void core_answer(struct core *c, struct service_request *r, enum err e)
{
    answer(c, r, e);
}

bool core_ready(struct core *c)
{
    return probation_over(&c->probation) && c->seen_leader != 0 && c->is_caught_up &&
           !c->draining && !c->short_of_space;
}
