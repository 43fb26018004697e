/*
 * doctor.h - what is wrong with a cluster, and the command that mends it.
 *
 *   doctor_look     asks an endpoint all it has to say        (doctor_look.c)
 *   doctor_follow   and every member the answers name
 *   doctor_again    once more, for what moves
 *   doctor_judge    the looks become findings                 (doctor_judge.c,
 *                                                              doctor_replica.c)
 *
 * Invariants
 *   1. Nothing is changed: all that is asked is GET.
 *   2. The judgement depends on the looks and on `now_s` alone.
 *   3. A finding names what it found at the replica that it is about, and a
 *      command that somebody can type; what is not known is not in it.
 *
 * Threads: one. Memory: struct doctor, about 1 MiB, and one link at a time.
 */
#ifndef CALLSIGN_CLIENT_DOCTOR_H
#define CALLSIGN_CLIENT_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "client/callsign.h"
#include "client/link.h"

enum {
    DOCTOR_LOOKS_MAX = CALLSIGN_ENDPOINTS_MAX + CALLSIGN_MEMBERS_MAX,
    DOCTOR_FINDINGS_MAX = 96,
    DOCTOR_URL_MAX = CALLSIGN_ADDRESS_MAX + 16,
    DOCTOR_WHY_MAX = 512,
    DOCTOR_TEXT_MAX = 1024,
};

/* How far one gets. */
enum doctor_reach {
    DOCTOR_ANSWERS,
    DOCTOR_SILENT,    /* nobody is there */
    DOCTOR_STUCK,     /* somebody takes the connection and does not answer */
    DOCTOR_UNTRUSTED, /* TLS fails */
    DOCTOR_STRANGER,  /* what answers is no replica */
};

/* The metrics that tell something. */
enum doctor_metric {
    DOCTOR_STORAGE_SPACE,
    DOCTOR_OVERLOADED,
    DOCTOR_PUSHED,
    DOCTOR_LINES_DROPPED,
    DOCTOR_OPEN_FILES,
    DOCTOR_MAX_FILES,
    DOCTOR_PEER_CERTIFICATE,
    DOCTOR_APPLIED,
    DOCTOR_SNAPSHOT,
    DOCTOR_WRITES,
    DOCTOR_WRITES_FAST,
    DOCTOR_METRICS_N,
};

/* What moves: looked at twice. */
struct doctor_state {
    bool known; /* `cluster` and `digest` */
    struct callsign_cluster cluster;
    char digest[32];
    bool counted; /* `metrics` */
    uint64_t metrics[DOCTOR_METRICS_N];
};

struct doctor_look {
    char url[DOCTOR_URL_MAX];
    uint64_t id; /* of the replica that answers there, or should; 0: not known */
    enum doctor_reach reach;
    char why[DOCTOR_WHY_MAX]; /* not DOCTOR_ANSWERS: what happened */
    char version[32];
    char refused[CALLSIGN_CODE_MAX]; /* why the state was not told; "" */
    bool ready_known, ready;         /* of /readyz, which needs no token */
    char ready_why[256];
    bool open;               /* the state is told without a token as well */
    int64_t certificate_end; /* seconds since 1970; 0: there is none */
    struct doctor_state first, last;
};

/* WARNING: it serves, and somebody should look. BROKEN: it does not serve, or
 * cannot be relied on. */
enum doctor_severity { DOCTOR_NOTE, DOCTOR_WARNING, DOCTOR_BROKEN };

struct doctor_finding {
    enum doctor_severity severity;
    const char *code; /* stable, for programs */
    char what[DOCTOR_TEXT_MAX];
    char why[DOCTOR_TEXT_MAX];
    char command[DOCTOR_TEXT_MAX];
};

struct doctor {
    unsigned looks_count, findings_count;
    struct doctor_look looks[DOCTOR_LOOKS_MAX];
    struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
    int64_t now_s; /* since 1970 */
};

/* One more look, at `url`, which may be written as an endpoint may; false: it
 * is malformed, or there is no memory. */
bool doctor_look(struct doctor *d, const char *url, const struct link_config *config,
                 uint64_t timeout_ms);
void doctor_follow(struct doctor *d, const struct link_config *config, uint64_t timeout_ms);
void doctor_again(struct doctor *d, const struct link_config *config, uint64_t timeout_ms);

/* The values of a page of metrics. */
void doctor_read_metrics(const char *page, uint64_t ret_metrics[DOCTOR_METRICS_N]);
/* "http://host:port" of a member, as whoever reaches `via` may reach it; false:
 * its address is not known. */
bool doctor_member_url(const struct callsign_member *m, const char *via,
                       char ret_url[DOCTOR_URL_MAX]);

void doctor_judge(struct doctor *d);
/* What one look alone tells. */
void doctor_judge_replica(struct doctor *d, const struct doctor_look *l);

/* A new finding, to be filled in; when there are too many the last is given. */
struct doctor_finding *doctor_find(struct doctor *d, enum doctor_severity severity,
                                   const char *code);

/* One text of a finding; what does not fit is cut. */
__attribute__((format(printf, 2, 3))) void doctor_say(char ret_text[DOCTOR_TEXT_MAX],
                                                      const char *format, ...);

/* "replica 3 (http://h:1)", as far as it is known. Borrowed until the next but
 * three calls. */
const char *doctor_name(const struct doctor_look *l);
/* "h" of "http://h:1"; borrowed likewise. */
const char *doctor_host(const char *url);

#endif
