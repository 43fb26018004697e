/* What is wrong with the cluster, from what its replicas say of each other. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/doctor.h"

enum {
    LAG_MAX = 1000, /* entries; one that keeps up is behind by those in flight */
    LIST_MAX = 256,
};

/* The cluster as its best witness sees it, and who of it answers. */
struct view {
    const struct doctor_look *witness;
    const struct callsign_cluster *cluster;
    unsigned voters, needed, answering;
    bool led;
    char missing[LIST_MAX]; /* "2, 3": voters that do not answer */
};

static bool same_cluster(const struct doctor_look *a, const struct doctor_look *b)
{
    return a->first.known && b->first.known &&
           strcmp(a->first.cluster.cluster_id, b->first.cluster.cluster_id) == 0;
}

static bool leads(const struct doctor_look *l)
{
    return l->first.known && l->first.cluster.leader_id == l->first.cluster.replica_id;
}

static const struct doctor_look *look_at(const struct doctor *d, const struct view *v, uint64_t id)
{
    for (unsigned i = 0; i < d->looks_count; i++) {
        const struct doctor_look *l = &d->looks[i];

        if (l->id == id && (!l->first.known || same_cluster(l, v->witness))) {
            return l;
        }
    }
    return NULL;
}

/* The leader's own word counts most, then that of the highest term. */
static void fill_view(const struct doctor *d, const struct doctor_look *first, struct view *ret)
{
    *ret = (struct view){.witness = first};
    for (unsigned i = 0; i < d->looks_count; i++) {
        const struct doctor_look *l = &d->looks[i];
        const struct callsign_cluster *best = &ret->witness->first.cluster;

        if (!same_cluster(l, first)) {
            continue;
        }
        ret->led = ret->led || l->first.cluster.leader_id != 0;
        if (leads(l) != leads(ret->witness) ? leads(l) : l->first.cluster.term > best->term) {
            ret->witness = l;
        }
    }
    ret->cluster = &ret->witness->first.cluster;
    for (unsigned i = 0; i < ret->cluster->members_count; i++) {
        const struct callsign_member *m = &ret->cluster->members[i];
        const struct doctor_look *l = look_at(d, ret, m->id);
        /* Where we cannot get to ourselves the others' word counts. */
        bool seen = l != NULL && (l->reach == DOCTOR_ANSWERS || l->reach == DOCTOR_STUCK);
        bool answers = seen ? l->reach == DOCTOR_ANSWERS : m->connected;
        size_t len = strlen(ret->missing);

        if (strcmp(m->role, "voter") != 0) {
            continue;
        }
        ret->voters++;
        ret->answering += answers;
        if (!answers) {
            (void)snprintf(ret->missing + len, sizeof(ret->missing) - len, "%s%" PRIu64,
                           len > 0 ? ", " : "", m->id);
        }
    }
    ret->needed = ret->voters / 2 + 1;
}

/* --- Who is left ----------------------------------------------------------------- */

static void judge_lost_majority(struct doctor *d, const struct view *v)
{
    struct doctor_finding *f = doctor_find(d, DOCTOR_BROKEN, "majority_lost");

    doctor_say(f->what, "the majority is lost: %u of %u voters answer, %u are needed", v->answering,
               v->voters, v->needed);
    doctor_say(f->why,
               "replica %s does not answer, and nobody can be elected: writes and reads are "
               "refused, but stale ones",
               v->missing);
    doctor_say(f->command,
               "start replica %s: systemctl start callsignd. Only if they are gone for good, "
               "directories and all: systemctl stop callsignd on every survivor, callsignd inspect "
               "DIR on each, and callsignd recover with the options of its service on the one "
               "whose log goes furthest",
               v->missing);
}

/* A majority answers and nobody leads. */
static void judge_leaderless(struct doctor *d, const struct view *v)
{
    const char *why = v->cluster->why;
    bool lost = strstr(why, "lost their data") != NULL || strstr(why, "accept-data-loss") != NULL;
    struct doctor_finding *f =
        doctor_find(d, DOCTOR_BROKEN, lost ? "cluster_in_doubt" : "no_leader");

    doctor_say(f->what, "no replica leads, though %u of %u voters answer", v->answering, v->voters);
    doctor_say(f->why, "%s", why[0] != '\0' ? why : "an election is under way");
    doctor_say(f->command, "%s",
               lost ? "callsignd inspect DIR on each; the right files brought back, or every "
                      "replica in doubt stopped and started once with --accept-data-loss "
                      "(docs/operations.md, All replicas in doubt)"
                    : "callsign doctor once more, as an election takes a second; if it stays: "
                      "journalctl -u callsignd -g 'peer_unreachable|peer_refused' on each");
}

static void judge_quorum(struct doctor *d, const struct view *v)
{
    struct doctor_finding *f;

    if (!v->led) {
        if (v->answering < v->needed) {
            judge_lost_majority(d, v);
        } else {
            judge_leaderless(d, v);
        }
    } else if (v->voters > 2 && v->answering <= v->needed && v->answering < v->voters) {
        f = doctor_find(d, DOCTOR_WARNING, "no_failure_left");
        doctor_say(f->what,
                   "one more failure stops the cluster: %u of %u voters answer, %u are needed",
                   v->answering, v->voters, v->needed);
        doctor_say(f->why, "replica %s does not answer", v->missing);
        doctor_say(f->command,
                   "bring replica %s back; if it never returns: callsign member remove ID, then "
                   "callsign member add with a new id, --endpoint %s",
                   v->missing, v->witness->url);
    }
    if (v->voters % 2 == 0 && v->voters > 0) {
        f = doctor_find(d, DOCTOR_NOTE, "even_voters");
        doctor_say(f->what, "%u voters survive no more failures than %u", v->voters, v->voters - 1);
        doctor_say(f->why, "a majority of %u is %u", v->voters, v->needed);
        doctor_say(f->command,
                   "callsign member add ID PEER_ADDRESS HTTP_ADDRESS --endpoint %s, or callsign "
                   "member remove ID",
                   v->witness->url);
    } else if (v->voters == 1) {
        f = doctor_find(d, DOCTOR_NOTE, "single_voter");
        doctor_say(f->what, "the cluster has one voter, which must not fail");
        doctor_say(f->why, "with three one may fail, with five two");
        doctor_say(f->command, "callsign member add ID PEER_ADDRESS HTTP_ADDRESS --endpoint %s",
                   v->witness->url);
    }
}

/* --- Each member ----------------------------------------------------------------- */

static void judge_silent(struct doctor *d, const struct doctor_look *l, const struct view *v,
                         const struct callsign_member *m)
{
    bool others = m != NULL && m->connected && v->witness != l;
    struct doctor_finding *f =
        doctor_find(d, DOCTOR_WARNING, others ? "replica_hidden" : "replica_unreachable");

    if (others) {
        doctor_say(f->what, "%s cannot be reached from here", doctor_name(l));
        doctor_say(f->why, "%s; but %s has a link to it", l->why, doctor_name(v->witness));
        doctor_say(f->command, "curl %s/livez on %s; what is between, or its --http, is wrong",
                   l->url, doctor_host(l->url));
        return;
    }
    doctor_say(f->what, "%s does not answer", doctor_name(l));
    doctor_say(f->why, "%s%s", l->why, v != NULL ? "; no other replica reaches it either" : "");
    doctor_say(f->command,
               "on %s: systemctl start callsignd; if it ends again, journalctl -u callsignd -n 20 "
               "says why, and callsignd inspect DIR which file is damaged",
               doctor_host(l->url));
}

static void judge_role(struct doctor *d, const struct view *v, const struct callsign_member *m)
{
    struct doctor_finding *f;

    if (strcmp(m->role, "voter") == 0) {
        return;
    }
    f = doctor_find(d, DOCTOR_WARNING, "not_a_voter");
    doctor_say(f->what, "replica %" PRIu64 " is a %s and does not vote", m->id, m->role);
    if (!m->connected) {
        doctor_say(f->why, "no link to it: it was added, and does not run");
        doctor_say(f->command,
                   "start it with --id %" PRIu64 " --cluster-id %s --join, or callsign member "
                   "remove %" PRIu64 " --endpoint %s",
                   m->id, v->cluster->cluster_id, m->id, v->witness->url);
        return;
    }
    doctor_say(f->why,
               "it becomes a voter by itself once it has caught up and all voters answer; it is "
               "%" PRIu64 " log entries behind%s%s",
               m->lag, v->missing[0] != '\0' ? ", and these do not answer: " : "", v->missing);
    doctor_say(f->command, "callsign member list --endpoint %s", v->witness->url);
}

static const struct callsign_member *member_of(const struct callsign_cluster *c, uint64_t id)
{
    for (unsigned i = 0; i < c->members_count; i++) {
        if (c->members[i].id == id) {
            return &c->members[i];
        }
    }
    return NULL;
}

/* As the leader counted it, both times. */
static void judge_lag(struct doctor *d, const struct view *v, const struct callsign_member *m)
{
    const struct doctor_state *last = &v->witness->last;
    const struct callsign_member *later = last->known ? member_of(&last->cluster, m->id) : NULL;
    struct doctor_finding *f;

    if (!m->lag_known || m->lag < LAG_MAX || later == NULL || !later->lag_known ||
        later->lag < LAG_MAX) {
        return;
    }
    f = doctor_find(d, DOCTOR_WARNING, "replica_lags");
    doctor_say(f->what, "replica %" PRIu64 " is %" PRIu64 " log entries behind", m->id, later->lag);
    doctor_say(f->why, "%s: its disk or its link is slower than the load, or it stands still",
               later->lag < m->lag   ? "it catches up"
               : later->lag > m->lag ? "it falls back further"
                                     : "it does not come nearer");
    doctor_say(f->command, "on its machine: top, iostat -x 1; callsign status --endpoint %s again",
               v->witness->url);
}

static void judge_member(struct doctor *d, const struct view *v, const struct callsign_member *m)
{
    const struct doctor_look *l = look_at(d, v, m->id);
    struct doctor_finding *f;

    if (l == NULL && !m->connected && strcmp(m->role, "voter") == 0) {
        f = doctor_find(d, DOCTOR_WARNING, "replica_unreachable");
        doctor_say(f->what, "replica %" PRIu64 " (peer address %s) does not answer", m->id,
                   m->peer_address);
        doctor_say(f->why, "%s has no link to it and knows no HTTP address",
                   doctor_name(v->witness));
        doctor_say(f->command,
                   "on %s: systemctl start callsignd; if it ends again, journalctl -u callsignd -n "
                   "20 says why",
                   doctor_host(m->peer_address));
    } else if (l != NULL && l->reach == DOCTOR_SILENT) {
        judge_silent(d, l, v, m);
    } else if (l != NULL && l->reach == DOCTOR_ANSWERS && !m->connected && l != v->witness) {
        f = doctor_find(d, DOCTOR_WARNING, "link_down");
        doctor_say(f->what, "%s runs, and %s has no link to it", doctor_name(l),
                   doctor_name(v->witness));
        doctor_say(f->why,
                   "the peer port is closed, the address is another's, or certificates differ");
        doctor_say(f->command,
                   "on %s: journalctl -u callsignd -g 'peer_unreachable|peer_refused' -n 5, and "
                   "nc -vz %s",
                   doctor_host(v->witness->url), m->peer_address);
    }
    judge_role(d, v, m);
    judge_lag(d, v, m);
}

/* Says itself that it is not ready, while others lead. */
static void judge_readiness(struct doctor *d, const struct view *v, const struct doctor_look *l)
{
    const struct callsign_cluster *c = &l->first.cluster;
    bool doubt = strcmp(c->state, "without_a_past") == 0;
    struct doctor_finding *f;

    if (c->ready || !v->led || (l->first.counted && l->first.metrics[DOCTOR_STORAGE_SPACE] > 0)) {
        return;
    }
    f = doctor_find(d, DOCTOR_WARNING, doubt ? "replica_in_doubt" : "replica_not_ready");
    doctor_say(f->what, "%s %s", doctor_name(l),
               doubt ? "does not vote: its log is in doubt, or gone" : "is not ready");
    doctor_say(f->why, "%s", l->ready_why[0] != '\0' ? l->ready_why : "it catches up");
    doctor_say(f->command, "%s%s; journalctl -u callsignd -g 'log_in_doubt|votes' there",
               doubt && v->missing[0] != '\0' ? "it waits to hear once from every voter: start "
                                                "those that do not answer; then "
                                              : "",
               "callsign doctor once more, as it comes back by itself");
}

/* --- What must not differ ---------------------------------------------------------- */

static bool differ(const struct doctor_state *a, const struct doctor_state *b)
{
    return a->known && b->known && a->cluster.applied_index == b->cluster.applied_index &&
           a->digest[0] != '\0' && b->digest[0] != '\0' && strcmp(a->digest, b->digest) != 0;
}

static void judge_pair(struct doctor *d, const struct doctor_look *a, const struct doctor_look *b)
{
    struct doctor_finding *f;

    if (differ(&a->first, &b->first) || differ(&a->last, &b->last)) {
        f = doctor_find(d, DOCTOR_BROKEN, "replicas_differ");
        doctor_say(f->what, "%s and %s hold different registries", doctor_name(a), doctor_name(b));
        doctor_say(f->why, "their digests differ after the same log entry, which must not happen");
        doctor_say(f->command,
                   "keep the directories of all replicas and report it; then replace the one that "
                   "differs from the majority: systemctl stop callsignd; mv DIR DIR.damaged; "
                   "systemctl start callsignd");
    }
    if (a->version[0] != '\0' && b->version[0] != '\0' && strcmp(a->version, b->version) != 0) {
        f = doctor_find(d, DOCTOR_NOTE, "versions_differ");
        doctor_say(f->what, "%s is of version %s, %s of %s", doctor_name(a), a->version,
                   doctor_name(b), b->version);
        doctor_say(f->why, "right while an upgrade goes on, one replica after the other");
        doctor_say(f->command,
                   "finish it: install the newer one, systemctl restart callsignd, wait for "
                   "/readyz");
    }
}

static void judge_elections(struct doctor *d, const struct view *v)
{
    const struct doctor_state *last = &v->witness->last;
    struct doctor_finding *f;

    if (!last->known || last->cluster.term <= v->cluster->term) {
        return;
    }
    f = doctor_find(d, DOCTOR_WARNING, "elections");
    doctor_say(f->what,
               "the leader changes: term %" PRIu64 " became %" PRIu64 " while it was watched",
               v->cluster->term, last->cluster.term);
    doctor_say(f->why,
               "--election-timeout-ms is too short for the network, the disks or the load, or "
               "somebody restarts replicas");
    doctor_say(f->command,
               "curl %s/metrics | grep -E 'loop_stall_max|leader_changes|storage_write'; a longer "
               "--election-timeout-ms on every replica",
               v->witness->url);
}

/* Endpoints that lead to different clusters: each `first` of another one. */
static void judge_two_clusters(struct doctor *d, const struct doctor_look *a,
                               const struct doctor_look *b)
{
    struct doctor_finding *f = doctor_find(d, DOCTOR_BROKEN, "two_clusters");

    doctor_say(f->what, "%s and %s belong to different clusters", doctor_name(a), doctor_name(b));
    doctor_say(f->why, "%s and %s: what is registered in the one is not in the other",
               a->first.cluster.cluster_id, b->first.cluster.cluster_id);
    doctor_say(f->command,
               "callsign status --endpoint %s and callsign status --endpoint %s; then leave the "
               "right one alone in --endpoint and CALLSIGN_ENDPOINTS of every client",
               a->url, b->url);
}

/* --- All of it ------------------------------------------------------------------------ */

static void judge_cluster(struct doctor *d, const struct doctor_look *first)
{
    struct view v;

    fill_view(d, first, &v);
    judge_quorum(d, &v);
    for (unsigned i = 0; i < v.cluster->members_count; i++) {
        judge_member(d, &v, &v.cluster->members[i]);
    }
    for (unsigned i = 0; i < d->looks_count; i++) {
        if (same_cluster(&d->looks[i], first)) {
            judge_readiness(d, &v, &d->looks[i]);
            if (&d->looks[i] != first) {
                judge_pair(d, first, &d->looks[i]);
            }
        }
    }
    judge_elections(d, &v);
}

/* Whether some cluster that was told counts it as a member. */
static bool is_member(const struct doctor *d, const struct doctor_look *l)
{
    for (unsigned i = 0; l->id != 0 && i < d->looks_count; i++) {
        const struct doctor_look *other = &d->looks[i];

        if (other->first.known && member_of(&other->first.cluster, l->id) != NULL) {
            return true;
        }
    }
    return false;
}

void doctor_judge(struct doctor *d)
{
    const struct doctor_look *before = NULL;

    d->findings_count = 0;
    for (unsigned i = 0; i < d->looks_count; i++) {
        const struct doctor_look *l = &d->looks[i];
        bool seen = false;

        for (unsigned k = 0; k < i; k++) {
            seen = seen || same_cluster(&d->looks[k], l);
        }
        if (l->first.known && !seen) {
            if (before != NULL) {
                judge_two_clusters(d, before, l);
            }
            judge_cluster(d, l);
            before = l;
        }
    }
    for (unsigned i = 0; i < d->looks_count; i++) {
        const struct doctor_look *l = &d->looks[i];

        if (l->reach == DOCTOR_SILENT && !is_member(d, l)) {
            judge_silent(d, l, NULL, NULL);
        }
        doctor_judge_replica(d, l);
    }
    if (before == NULL) {
        struct doctor_finding *f = doctor_find(d, DOCTOR_BROKEN, "nothing_known");

        doctor_say(f->what, "no endpoint told the state of a cluster");
        doctor_say(f->why, "what is above says why for each");
        doctor_say(f->command,
                   "callsign doctor --endpoint URL, with the --http address of any replica");
    }
}
