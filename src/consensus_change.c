/*
 * Changes of the configuration, and what it says.
 *
 * libraft reports the end of a change from within its own code: the callback
 * here only notes it, and members.c looks at it in the next turn.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "consensus.h"

/* --- What the configuration says --------------------------------------------------- */

static void copy(const struct raft_configuration *from, uint64_t index, struct member_set *ret)
{
    ret->index = index;
    ret->count = 0;
    for (unsigned i = 0; i < from->n && i < CONSENSUS_MEMBERS_MAX; i++) {
        const struct raft_server *s = &from->servers[i];
        struct member *m = &ret->at[ret->count++];

        m->id = s->id;
        m->voter = s->role == RAFT_VOTER;
        snprintf(m->address, sizeof m->address, "%s", s->address);
    }
}

uint64_t consensus_configuration_index(const struct consensus *c)
{
    const struct raft *r = &c->raft;

    return r->configuration_uncommitted_index != 0 ? r->configuration_uncommitted_index
                                                   : r->configuration_index;
}

uint64_t consensus_committed_configuration_index(const struct consensus *c)
{
    return c->raftio.guard.committed_index;
}

void consensus_get_members(const struct consensus *c, struct member_set *ret_set)
{
    copy(&c->raft.configuration, consensus_configuration_index(c), ret_set);
}

void consensus_get_committed_members(const struct consensus *c, struct member_set *ret_set)
{
    copy(&c->raftio.guard.committed, c->raftio.guard.committed_index, ret_set);
}

const struct member *consensus_find_member(const struct member_set *set, uint64_t id)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (set->at[i].id == id) {
            return &set->at[i];
        }
    }
    return NULL;
}

/* --- Changing it ---------------------------------------------------------------------- */

bool consensus_may_change(const struct consensus *c)
{
    return c->started && !c->closing && !c->changing && !c->transferring && consensus_leads(c) &&
           guard_may_change_configuration(&c->raftio.guard);
}

static void on_changed(struct raft_change *req, int status)
{
    struct consensus *c = req->data;

    CHECK(c->changing);
    c->changing = false;
    if (status == 0) {
        c->change_end = ERR_OK;
    } else {
        /* A promotion that was given up before anything was in the log. */
        c->change_end = status == RAFT_NOCONNECTION ? ERR_AGAIN : ERR_OUTCOME_UNKNOWN;
    }
}

/* R10 was asked for before, so that only what libraft itself cannot do is left. */
static enum err begin(struct consensus *c, int rv)
{
    if (rv == 0) {
        c->stats.changes++;
        return ERR_OK;
    }
    c->changing = false;
    if (rv == RAFT_NOTLEADER || rv == RAFT_CANTCHANGE) {
        return ERR_AGAIN;
    }
    CHECK(rv != RAFT_DUPLICATEID && rv != RAFT_BADROLE && rv != RAFT_NOTFOUND && rv != RAFT_BADID);
    c->fatal(c->data, ERR_STORAGE, raft_strerror(rv)); /* libraft is half-way through */
    return ERR_STORAGE;
}

static bool take(struct consensus *c)
{
    struct guard *g = &c->raftio.guard;

    if (!consensus_may_change(c)) {
        g->hits[10] += consensus_leads(c) && !guard_may_change_configuration(g);
        return false;
    }
    c->change.data = c;
    c->changing = true;
    return true;
}

enum err consensus_add(struct consensus *c, uint64_t id, const char *address)
{
    if (!take(c)) {
        return ERR_AGAIN;
    }
    return begin(c, raft_add(&c->raft, &c->change, id, address, on_changed));
}

enum err consensus_promote(struct consensus *c, uint64_t id)
{
    int role = RAFT_SPARE;

    if (!take(c)) {
        return ERR_AGAIN;
    }
    for (unsigned i = 0; i < consensus_members(c); i++) {
        if (consensus_member(c, i, &role) == id) {
            break;
        }
    }
    return begin(c, raft_assign(&c->raft, &c->change, id,
                                role == RAFT_SPARE ? RAFT_STANDBY : RAFT_VOTER, on_changed));
}

enum err consensus_remove(struct consensus *c, uint64_t id)
{
    CHECK(id != c->config.id); /* whoever leads hands over first */
    if (!take(c)) {
        return ERR_AGAIN;
    }
    return begin(c, raft_remove(&c->raft, &c->change, id, on_changed));
}

enum err consensus_recover(struct consensus *c, char *errmsg, size_t errmsg_len)
{
    struct raft_configuration conf;
    char address[RAFTIO_ADDRESS_MAX];
    int rv;

    raft_configuration_init(&conf);
    raftio_address(c->config.id, address);
    rv = raft_configuration_add(&conf, c->config.id, address, RAFT_VOTER);
    if (rv == 0) {
        rv = raft_recover(&c->raft, &conf);
    }
    raft_configuration_close(&conf);
    if (rv != 0) {
        const char *why = c->raftio.io.errmsg; /* raft_recover does not hand it on */

        snprintf(errmsg, errmsg_len, "%s", why[0] != '\0' ? why : raft_strerror(rv));
        return ERR_STORAGE;
    }
    return ERR_OK;
}
