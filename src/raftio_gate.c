#include "raftio_gate.h"

#include "raftio.h"

static raft_term message_term(const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return m->append_entries.term;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return m->append_entries_result.term;
    case RAFT_IO_REQUEST_VOTE:
        return m->request_vote.term;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        return m->request_vote_result.term;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return m->install_snapshot.term;
    default:
        return m->timeout_now.term;
    }
}

static bool is_vote(const struct raft_message *m)
{
    return m->type == RAFT_IO_REQUEST_VOTE || m->type == RAFT_IO_REQUEST_VOTE_RESULT ||
           m->type == RAFT_IO_TIMEOUT_NOW;
}

/* It asks for votes with a log that ends before what the gate wants. */
static bool ends_early(const struct raftio_gate *gate, const struct raft_message *m)
{
    const struct raft_request_vote *v = &m->request_vote;

    return m->type == RAFT_IO_REQUEST_VOTE &&
           (v->last_log_term < gate->log_floor_term || (v->last_log_term == gate->log_floor_term &&
                                                        v->last_log_index < gate->log_floor_index));
}

bool raftio_gate_takes(const struct raftio_gate *gate, const struct raft_message *m)
{
    if (gate->closed || ends_early(gate, m)) {
        return false;
    }
    if (is_vote(m) ? gate->mute : message_term(m) < gate->floor) {
        return false;
    }
    return m->type != RAFT_IO_REQUEST_VOTE || m->request_vote.pre_vote ||
           m->request_vote.term > gate->vote_floor;
}

bool raftio_gate_sends(const struct raftio_gate *gate, const struct raft_message *m)
{
    return !gate->closed && !(gate->mute && m->type == RAFT_IO_REQUEST_VOTE) &&
           !ends_early(gate, m);
}
