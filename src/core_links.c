#include "core_links.h"

#include "core.h"
#include "frame.h"
#include "leases_ask.h"

static uint64_t now(const struct core *c)
{
    return c->env.now_ms(c->env.data);
}

/* --- What the links bring ------------------------------------------------------- */

enum err core_on_frame(struct core *c, uint64_t from, const struct frame *f)
{
    enum err e;

    switch (f->type) {
    case FRAME_APPEND_ENTRIES:
    case FRAME_APPEND_ENTRIES_RESULT:
    case FRAME_REQUEST_VOTE:
    case FRAME_REQUEST_VOTE_RESULT:
    case FRAME_INSTALL_SNAPSHOT:
    case FRAME_TIMEOUT_NOW:
        e = raftio_receive(&c->consensus.raftio, from, f);
        if (f->type == FRAME_APPEND_ENTRIES_RESULT) {
            core_note_heard(c, from);
        } else if (f->type == FRAME_APPEND_ENTRIES && consensus_leader(&c->consensus) == from) {
            c->leader_contact_ms = now(c);
        }
        return e;
    case FRAME_FORWARD:
    case FRAME_FORWARD_RESULT:
        return forward_on_frame(&c->forward, from, f);
    case FRAME_READ_INDEX:
    case FRAME_READ_INDEX_RESULT:
    case FRAME_TERM_QUESTION:
    case FRAME_TERM_ANSWER:
        return readgate_on_frame(&c->readgate, from, f);
    case FRAME_LEASE_ASK:
    case FRAME_LEASE_RESULT:
        return leases_ask_on_frame(&c->leases, from, f);
    case FRAME_PROBE:
    case FRAME_PROBE_RESULT:
        return probation_on_frame(&c->probation, from, f);
    case FRAME_DOUBT:
    case FRAME_DOUBT_RESULT:
        return doubt_on_frame(&c->doubt, from, f);
    case FRAME_MEMBERS:
    case FRAME_MEMBERS_RESULT:
        return members_on_frame(&c->members, from, f);
    default:
        return ERR_MALFORMED;
    }
}

void core_on_link_down(struct core *c, uint64_t id, bool outgoing)
{
    if (outgoing) {
        raftio_link_down(&c->consensus.raftio, id);
    } else {
        consensus_lost_touch(&c->consensus, id);
    }
    forward_link_down(&c->forward, id);
    readgate_link_down(&c->readgate, id);
    leases_ask_link_down(&c->leases, id);
    members_link_down(&c->members, id);
}

void core_on_refused(struct core *c, uint64_t index)
{
    members_on_refused(&c->members, index);
}

bool core_admit(struct core *c, uint64_t id, const char *address)
{
    return members_admit(&c->members, id, address);
}

bool core_knows(const struct core *c, uint64_t id)
{
    return members_knows(&c->members, id);
}

bool core_removed(const struct core *c)
{
    return c->members.removed;
}

void core_on_drain(struct core *c, uint64_t id)
{
    raftio_drained(&c->consensus.raftio, id);
}

/* --- Members -------------------------------------------------------------------- */

/* Not before there is need: a frame of a removed replica may still come, and
 * what it asks for must not be done twice. */
static void forget_senders(struct core *c)
{
    for (unsigned i = 0; i < FORWARD_SENDERS_MAX; i++) {
        if (!core_knows(c, c->forward.senders[i].from)) {
            forward_forget(&c->forward, i);
        }
    }
}

/* Whoever is a member no more is forgotten, so that there is room for others. */
void core_links_turn(struct core *c)
{
    if (c->seen_members == c->members.version) {
        return;
    }
    c->seen_members = c->members.version;
    for (unsigned i = 0; i < CONSENSUS_MEMBERS_MAX; i++) {
        if (!core_knows(c, c->heard[i].id)) {
            c->heard[i] = (struct core_heard){0};
        }
    }
    for (unsigned i = 0; i < RAFTIO_PEERS_MAX; i++) {
        if (!core_knows(c, c->consensus.raftio.peers[i].id)) {
            raftio_forget(&c->consensus.raftio, i);
        }
    }
    if (forward_full(&c->forward)) {
        forget_senders(c);
    }
}

static uint64_t heard_ms(void *data, uint64_t id)
{
    const struct core *c = data;

    for (unsigned i = 0; i < CONSENSUS_MEMBERS_MAX; i++) {
        if (c->heard[i].id == id) {
            return c->heard[i].ms;
        }
    }
    return 0;
}

void core_links_init(struct core *c, const struct core_config *config,
                     void (*answer)(void *data, struct service_request *r))
{
    struct members_config k = {
        .consensus = &c->consensus,
        .net = c->env.net,
        .id = c->id,
        .election_timeout_ms = c->election_timeout_ms,
        .now_ms = c->env.now_ms,
        .clock = c->env.data,
        .heard = heard_ms,
        .answer = answer,
        .data = c,
        .first_frame = config->life >> 1,
    };

    members_init(&c->members, &k);
    members_name(&c->members, config->members, config->members_count);
}
