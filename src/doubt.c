/*
 * What is lost, and why nothing else is
 *
 * N voters, majorities of m. Let A be those that accept: their ballots are
 * whole, so none votes twice in a term, and their logs are prefixes of what they
 * acknowledged. V are those with a past, fewer than m (else A would rejoin the
 * ordinary way, without any loss). Each of A waits until all N have answered.
 *
 * Let b be the best of all N logs, in Raft's order: higher term of the last
 * entry, then higher index. A replica of A gives its vote to a candidate with at
 * least b alone, and asks for votes itself only with at least b. A majority
 * has a member of A, as V is smaller than one, so every leader elected from
 * then on has at least b; and leaders of terms before, which may lack what
 * others hold, are not listened to (the floor), but for one of the very latest
 * term, whose log is the best anyway. Votes of terms below the floor pass, as
 * by the answers the best one learns how far the terms are.
 *
 * An entry that was committed and that any of the N logs still holds is below b
 * or in it: each of these logs is a prefix of one that Raft's own rules allowed,
 * so the one that is best holds every committed entry that any of them holds
 * (Raft, 5.4.3). So what is lost are exactly the committed entries that all
 * their holders had in the last write alone, the damaged one.
 *
 * Replicas that changed their members at the very end may know different ones;
 * then nothing is decided.
 *
 * A replica with no past at all, whose ballot is gone too, cannot accept: it
 * might vote a second time. The marker "doubt" in the data directory tells them
 * apart.
 */
#include "doubt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "consensus.h"
#include "frame.h"
#include "net.h"

enum { RESULT_BYTES = 1 + 4 + 8 + 8 + 8 };
enum { RESULT_VOTES = 1, RESULT_ACCEPTS = 2 };

void doubt_init(struct doubt *d, struct probation *probation, const struct doubt_config *config)
{
    *d = (struct doubt){
        .consensus = probation->consensus,
        .probation = probation,
        .net = probation->net,
        .id = config->id,
        .in_doubt = config->in_doubt,
        .accepts = config->in_doubt && config->accepts,
        .vote_floor = config->vote_floor,
    };
}

/* --- Asking and answering ----------------------------------------------------- */

/* The same for replicas that know the same voters. */
static uint32_t voters_checksum(const struct consensus *c)
{
    uint32_t crc = 0;
    int role;

    for (unsigned i = 0; i < consensus_members(c); i++) {
        uint64_t id = consensus_member(c, i, &role);
        uint8_t bytes[8];

        for (unsigned k = 0; k < sizeof bytes; k++) {
            bytes[k] = (uint8_t)(id >> (8 * k));
        }
        if (consensus_is_voter(c, id)) {
            crc = crc32c(crc, bytes, sizeof bytes);
        }
    }
    return crc;
}

static void ask(struct doubt *d)
{
    struct frame question = {.type = FRAME_DOUBT, .id = ++d->round};

    d->asked_ms = d->probation->now_ms(d->probation->data);
    for (unsigned i = 0; i < d->others_count; i++) {
        /* No link yet: asked again in a moment. */
        (void)d->net->send(d->net->impl, d->others[i].id, &question);
    }
}

static void tell(struct doubt *d, uint64_t to, uint64_t round)
{
    struct consensus *c = d->consensus;
    struct frame result = {.type = FRAME_DOUBT_RESULT, .id = round};
    struct buf b;

    if (consensus_last_term(c) == 0) {
        return; /* in the middle of a truncation; asked again in a moment */
    }
    buf_init(&b, RESULT_BYTES);
    buf_put_u8(&b, (uint8_t)((probation_over(d->probation) ? RESULT_VOTES : 0) |
                             (d->accepts ? RESULT_ACCEPTS : 0)));
    buf_put_u32(&b, voters_checksum(c));
    buf_put_u64(&b, consensus_term(c));
    buf_put_u64(&b, consensus_last_term(c));
    buf_put_u64(&b, consensus_last_index(c));
    result.payload = b.data;
    result.payload_len = b.len;
    (void)d->net->send(d->net->impl, to, &result);
    buf_fini(&b);
}

enum err doubt_on_frame(struct doubt *d, uint64_t from, const struct frame *f)
{
    struct doubt_answer answer = {.id = from, .answered = true};
    struct cursor c;
    uint8_t flags;

    if (f->type == FRAME_DOUBT) {
        tell(d, from, f->id);
        return ERR_OK;
    }
    cursor_init(&c, f->payload, f->payload_len);
    flags = cursor_u8(&c);
    answer.votes = (flags & RESULT_VOTES) != 0;
    answer.accepts = (flags & RESULT_ACCEPTS) != 0;
    answer.stranger = cursor_u32(&c) != voters_checksum(d->consensus);
    answer.term = cursor_u64(&c);
    answer.last_term = cursor_u64(&c);
    answer.last_index = cursor_u64(&c);
    if (c.bad || cursor_left(&c) != 0) {
        return ERR_MALFORMED;
    }
    for (unsigned i = 0; i < d->others_count; i++) {
        if (d->others[i].id == from) {
            d->others[i] = answer;
        }
    }
    return ERR_OK;
}

/* --- Deciding ------------------------------------------------------------------- */

static bool ready(const struct doubt_answer *a)
{
    return a->answered && !a->stranger && (a->votes || a->accepts);
}

static bool all_ready(const struct doubt *d)
{
    unsigned with_a_past = 0;

    for (unsigned i = 0; i < d->others_count; i++) {
        if (!ready(&d->others[i])) {
            return false;
        }
        with_a_past += d->others[i].votes;
    }
    return with_a_past < (d->others_count + 1) / 2 + 1;
}

static void accept(struct doubt *d)
{
    struct consensus *c = d->consensus;
    struct raftio_gate gate = {
        .floor = consensus_term(c),
        .vote_floor = d->vote_floor,
        .log_floor_term = consensus_last_term(c),
        .log_floor_index = consensus_last_index(c),
    };

    for (unsigned i = 0; i < d->others_count; i++) {
        const struct doubt_answer *a = &d->others[i];

        gate.floor = a->term > gate.floor ? a->term : gate.floor;
        if (a->last_term > gate.log_floor_term ||
            (a->last_term == gate.log_floor_term && a->last_index > gate.log_floor_index)) {
            gate.log_floor_term = a->last_term;
            gate.log_floor_index = a->last_index;
        }
    }
    d->accepted = true;
    probation_accept(d->probation, &gate);
}

static void begin(struct doubt *d)
{
    int role;

    for (unsigned i = 0; i < consensus_members(d->consensus); i++) {
        uint64_t id = consensus_member(d->consensus, i, &role);

        if (id != d->id && consensus_is_voter(d->consensus, id)) {
            CHECK(d->others_count < PROBATION_OTHERS_MAX);
            d->others[d->others_count++].id = id;
        }
    }
}

enum err doubt_turn(struct doubt *d)
{
    const struct probation *p = d->probation;

    if (!d->accepts || probation_over(p)) {
        d->accepts = false;
        d->in_doubt = d->in_doubt && !probation_over(p);
        return ERR_OK;
    }
    if (d->accepted) {
        /* Those that follow catch up as probation has it. */
        return consensus_leads_for_sure(d->consensus) ? probation_lead(d->probation, d->vote_floor)
                                                      : ERR_OK;
    }
    if (p->state != PROBATION_FORMING) {
        return ERR_OK; /* the ordinary way was open */
    }
    if (d->others_count == 0) {
        begin(d);
    }
    if (all_ready(d) && consensus_last_term(d->consensus) != 0) {
        accept(d);
    } else if (d->asked_ms == 0 || p->now_ms(p->data) - d->asked_ms >= p->retry_ms) {
        ask(d);
    }
    return ERR_OK;
}

void doubt_why(const struct doubt *d, char *ret_why, unsigned n)
{
    size_t used;

    ret_why[0] = '\0';
    if (!d->in_doubt || d->accepted || d->probation->state != PROBATION_FORMING) {
        return;
    }
    if (!d->accepts) {
        snprintf(ret_why, n,
                 "too many replicas lost their data to tell what was committed; "
                 "docs/operations.md, \"All replicas in doubt\", has the way out");
        return;
    }
    used = (size_t)snprintf(ret_why, n,
                            "--accept-data-loss is not enough on its own; waiting for "
                            "it, or a past, of replica");
    for (unsigned i = 0; i < d->others_count && used < n; i++) {
        const struct doubt_answer *a = &d->others[i];

        if (!ready(a)) {
            used += (size_t)snprintf(ret_why + used, n - used, " %" PRIu64 "%s", a->id,
                                     a->stranger ? " (knows other members)" : "");
        }
    }
}
