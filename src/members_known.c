#include <stdio.h>
#include <string.h>

#include "members.h"
#include "members_known.h"

/* A replica that is told that it is no member stops when no leader has talked
 * to it for so many election timeouts since: if it was added again, one will. */
enum { REMOVED_SILENCE = 10 };
/* Without a leader for so many, whom the operator named is asked too: what the
 * log says may be long outdated. */
enum { ALONE_SILENCE = 4 };

static uint64_t now(const struct members *m)
{
    return m->config.now_ms(m->config.clock);
}

/* --- Whom links are kept with ----------------------------------------------------- */

static void join(struct members_known *k, const struct member_set *set)
{
    for (unsigned i = 0; i < set->count; i++) {
        const struct member *s = &set->at[i];
        unsigned at = 0;

        while (at < k->count && k->at[at].id != s->id) {
            at++;
        }
        if (at == k->count && at < MEMBERS_KNOWN_MAX) {
            k->at[k->count++] = *s;
        }
    }
}

static void look(struct members *m)
{
    const struct consensus *c = m->config.consensus;
    struct members_known known = {0};
    struct member_set set;

    consensus_get_members(c, &set);
    join(&known, &set);
    consensus_get_committed_members(c, &set);
    join(&known, &set);
    if (m->learning) {
        join(&known, &m->learned);
    }
    if (known.count == 0 || m->alone) {
        join(&known, &m->named);
        join(&known, &m->guests);
    } else {
        m->guests.count = 0;
    }
    m->known = known;
    m->version++;
}

static void watch_configuration(struct members *m)
{
    const struct consensus *c = m->config.consensus;
    uint64_t newest = consensus_configuration_index(c);
    uint64_t committed = consensus_committed_configuration_index(c);

    if (m->version != 0 && newest == m->seen_newest && committed == m->seen_committed &&
        m->learned.index == m->seen_learned && m->learning == m->seen_learning &&
        m->alone == m->seen_alone) {
        return;
    }
    m->seen_newest = newest;
    m->seen_committed = committed;
    m->seen_learned = m->learned.index;
    m->seen_learning = m->learning;
    m->seen_alone = m->alone;
    look(m);
}

void members_name(struct members *m, const uint64_t *ids, unsigned count)
{
    m->named.count = 0;
    for (unsigned i = 0; i < count && i < CONSENSUS_MEMBERS_MAX; i++) {
        struct member *n = &m->named.at[m->named.count++];

        n->id = ids[i];
        raftio_address(ids[i], n->address);
    }
}

void members_learn(struct members *m, const struct member_set *set)
{
    m->learning = set != NULL;
    if (set != NULL && set->index != m->learned.index) {
        m->learned = *set;
    }
}

bool members_admit(struct members *m, uint64_t id, const char *address)
{
    struct member *g;

    if (members_knows(m, id)) {
        return true;
    }
    if (!m->alone || m->guests.count >= CONSENSUS_MEMBERS_MAX) {
        return false;
    }
    g = &m->guests.at[m->guests.count++];
    g->id = id;
    snprintf(g->address, sizeof g->address, "%s ", address);
    look(m);
    return true;
}

bool members_knows(const struct members *m, uint64_t id)
{
    for (unsigned i = 0; i < m->known.count; i++) {
        if (m->known.at[i].id == id) {
            return true;
        }
    }
    return false;
}

/* --- Being removed ------------------------------------------------------------------ */

void members_on_refused(struct members *m, uint64_t index)
{
    /* A replica without any configuration waits to be added. */
    if (m->seen_newest == 0 || index <= m->seen_newest) {
        return;
    }
    if (m->refused_at == 0) {
        m->refused_ms = now(m);
    }
    m->refused_at = index;
}

static void watch_refusals(struct members *m)
{
    if (m->refused_at <= m->seen_newest || consensus_leader(m->config.consensus) != 0) {
        m->refused_at = 0;
        return;
    }
    m->removed = m->removed ||
                 now(m) - m->refused_ms > (uint64_t)REMOVED_SILENCE * m->config.election_timeout_ms;
}

/* Once alone, it stays so until it follows a leader that its own configuration
 * knows: then that is no longer outdated. */
static void watch_leader(struct members *m)
{
    struct consensus *c = m->config.consensus;
    uint64_t leader = consensus_leader(c);
    struct member_set set;

    if (leader == 0 && m->leader_ms != 0) {
        m->alone = m->alone ||
                   now(m) - m->leader_ms > (uint64_t)ALONE_SILENCE * m->config.election_timeout_ms;
        return;
    }
    m->leader_ms = now(m);
    if (m->alone) {
        consensus_get_members(c, &set);
        m->alone = consensus_find_member(&set, leader) == NULL;
    }
}

void members_known_turn(struct members *m)
{
    watch_leader(m);
    watch_configuration(m);
    watch_refusals(m);
}

/* --- Addresses ------------------------------------------------------------------------ */

void members_split_address(const char *address, char *ret_peer, char *ret_http)
{
    const char *blank = strchr(address, ' ');

    ret_peer[0] = ret_http[0] = '\0';
    if (blank != NULL) {
        snprintf(ret_peer, SERVICE_ADDRESS_MAX, "%.*s", (int)(blank - address), address);
        snprintf(ret_http, SERVICE_ADDRESS_MAX, "%s", blank + 1);
    }
}
