/* What is wrong with one replica, as it tells itself. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/doctor.h"

enum {
    NAMES_N = 4,
    CERTIFICATE_WARN_S = 14 * 86400,
    /* As the alert: a dozen snapshots that should have been taken. */
    SNAPSHOT_OVERDUE = 200000,
    WRITES_MIN = 100, /* fewer tell nothing */
};

#define ON_ITS_MACHINE "on %s: "

struct doctor_finding *doctor_find(struct doctor *d, enum doctor_severity severity,
                                   const char *code)
{
    struct doctor_finding *f;

    d->findings_count += d->findings_count < DOCTOR_FINDINGS_MAX;
    f = &d->findings[d->findings_count - 1];
    *f = (struct doctor_finding){.severity = severity, .code = code};
    return f;
}

void doctor_say(char ret_text[DOCTOR_TEXT_MAX], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(ret_text, DOCTOR_TEXT_MAX, format, args);
    va_end(args);
}

const char *doctor_name(const struct doctor_look *l)
{
    static char names[NAMES_N][DOCTOR_URL_MAX + 32];
    static unsigned next;
    char *name = names[next++ % NAMES_N];

    if (l->id != 0) {
        (void)snprintf(name, sizeof(names[0]), "replica %" PRIu64 " (%s)", l->id, l->url);
    } else {
        (void)snprintf(name, sizeof(names[0]), "%s", l->url);
    }
    return name;
}

const char *doctor_host(const char *url)
{
    static char hosts[NAMES_N][DOCTOR_URL_MAX];
    static unsigned next;
    char *host = hosts[next++ % NAMES_N];
    const char *begin = strstr(url, "://");
    const char *end = strrchr(url, ':');

    begin = begin != NULL ? begin + 3 : url;
    if (end == NULL || end < begin) {
        end = url + strlen(url);
    }
    (void)snprintf(host, sizeof(hosts[0]), "%.*s", (int)(end - begin), begin);
    return host;
}

static bool is_loopback(const char *url)
{
    const char *host = doctor_host(url);

    return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 ||
           strcmp(host, "[::1]") == 0;
}

/* --- How far one gets ------------------------------------------------------------- */

static void judge_untrusted(struct doctor *d, const struct doctor_look *l)
{
    struct doctor_finding *f;

    if (l->certificate_end != 0 && l->certificate_end <= d->now_s) {
        return; /* judge_certificates() says it */
    }
    f = doctor_find(d, DOCTOR_WARNING, "certificate_refused");
    doctor_say(f->what, "TLS with %s fails", doctor_name(l));
    doctor_say(f->why, "%s", l->why);
    doctor_say(f->command,
               "callsign doctor --endpoint %s --ca CA.crt, with the authority that signed its "
               "certificate; the host has to be one of its names: deploy/make-certificates DIR "
               "http %s",
               l->url, doctor_host(l->url));
}

static void judge_reach(struct doctor *d, const struct doctor_look *l)
{
    struct doctor_finding *f;

    switch (l->reach) {
    case DOCTOR_ANSWERS:
    case DOCTOR_SILENT: /* what that means depends on the others */
        return;
    case DOCTOR_UNTRUSTED:
        judge_untrusted(d, l);
        return;
    case DOCTOR_STUCK:
        f = doctor_find(d, DOCTOR_WARNING, "replica_stuck");
        doctor_say(f->what, "%s takes connections and does not answer", doctor_name(l));
        doctor_say(f->command,
                   ON_ITS_MACHINE "systemctl restart callsignd; before, "
                                  "journalctl -u callsignd -n 20 tells what it did last",
                   doctor_host(l->url));
        break;
    case DOCTOR_STRANGER:
    default:
        f = doctor_find(d, DOCTOR_WARNING, "not_a_replica");
        doctor_say(f->what, "%s is no replica", doctor_name(l));
        doctor_say(f->command,
                   "give --endpoint the --http address of a replica; see what answers: curl -i "
                   "%s/livez",
                   l->url);
        break;
    }
    doctor_say(f->why, "%s", l->why);
}

static void judge_access(struct doctor *d, const struct doctor_look *l)
{
    struct doctor_finding *f;

    if (l->reach == DOCTOR_ANSWERS && !l->first.known) {
        bool unknown = strcmp(l->refused, "unauthorized") == 0;
        bool token = unknown || strcmp(l->refused, "forbidden") == 0;

        f = doctor_find(d, DOCTOR_BROKEN, token ? "token_refused" : "state_not_told");
        doctor_say(f->what, "%s does not tell its state: %s", doctor_name(l),
                   l->refused[0] != '\0' ? l->refused : "no answer");
        doctor_say(f->why, "%s; it says of itself that it is %sready%s%s",
                   unknown ? "the token is missing, or this replica does not know it"
                   : token ? "the token lacks the role read"
                           : "the question failed, and was not answered in time",
                   l->ready ? "" : "not ", l->ready_why[0] != '\0' ? ": " : "", l->ready_why);
        doctor_say(f->command,
                   token ? "callsign doctor --endpoint %s --token-file FILE, made by callsignd "
                           "token new TOKENS doctor read; on %s: systemctl reload callsignd "
                           "once the line is in its file of --tokens"
                         : "callsign status --endpoint %s; on %s: journalctl -u callsignd -n 20",
                   l->url, doctor_host(l->url));
    }
    if (l->reach == DOCTOR_ANSWERS && !is_loopback(l->url) &&
        (l->open || strncmp(l->url, "http://", 7) == 0)) {
        f = doctor_find(d, DOCTOR_WARNING, "insecure");
        doctor_say(f->what, "%s is open to its network: %s%s%s", doctor_name(l),
                   l->open ? "it asks for no token" : "",
                   l->open && l->url[4] == ':' ? ", and " : "",
                   l->url[4] == ':' ? "it speaks without TLS" : "");
        doctor_say(f->why, "whoever reaches it may %s",
                   l->open ? "read and change every name" : "read the tokens on their way");
        doctor_say(f->command,
                   "deploy/make-certificates DIR http %s; callsignd token new TOKENS NAME write; "
                   "then --http-cert, --http-key and --tokens instead of --insecure, one replica "
                   "after the other",
                   doctor_host(l->url));
    }
}

/* --- Certificates ------------------------------------------------------------------- */

static void judge_end(struct doctor *d, const struct doctor_look *l, int64_t end_s, bool of_links)
{
    int64_t left_s = end_s - d->now_s;
    struct doctor_finding *f;

    if (end_s == 0 || left_s > CERTIFICATE_WARN_S) {
        return;
    }
    f = doctor_find(d, left_s > 0 ? DOCTOR_WARNING : DOCTOR_BROKEN,
                    left_s > 0 ? "certificate_ends" : "certificate_ended");
    if (left_s > 0) {
        doctor_say(f->what, "the certificate of %s for %s ends in %" PRIi64 " days", doctor_name(l),
                   of_links ? "the links" : "HTTPS", left_s / 86400);
    } else {
        doctor_say(f->what, "the certificate of %s for %s has ended", doctor_name(l),
                   of_links ? "the links" : "HTTPS");
    }
    doctor_say(f->why, "%s",
               of_links ? "without it the other replicas cut the links to this one"
                        : "without it no client trusts it");
    if (of_links) {
        doctor_say(f->command,
                   "deploy/make-certificates DIR replica %" PRIu64
                   "; copy the two files; " ON_ITS_MACHINE "systemctl reload callsignd",
                   l->id, doctor_host(l->url));
    } else {
        doctor_say(f->command,
                   "deploy/make-certificates DIR http %s; copy the two files; " ON_ITS_MACHINE
                   "systemctl reload callsignd",
                   doctor_host(l->url), doctor_host(l->url));
    }
}

static void judge_certificates(struct doctor *d, const struct doctor_look *l)
{
    judge_end(d, l, l->certificate_end, false);
    if (l->first.counted) {
        judge_end(d, l, (int64_t)l->first.metrics[DOCTOR_PEER_CERTIFICATE], true);
    }
}

/* --- What it counts ----------------------------------------------------------------- */

/* By how much a counter grew between the two looks. */
static uint64_t growth(const struct doctor_look *l, enum doctor_metric m)
{
    uint64_t before = l->first.metrics[m];
    uint64_t after = l->last.metrics[m];

    return l->last.counted && after > before ? after - before : 0;
}

static void judge_disk(struct doctor *d, const struct doctor_look *l)
{
    const uint64_t *m = l->first.metrics;
    uint64_t slow = m[DOCTOR_WRITES] - m[DOCTOR_WRITES_FAST];
    struct doctor_finding *f;

    if (m[DOCTOR_STORAGE_SPACE] > 0) {
        bool full = m[DOCTOR_STORAGE_SPACE] > 1;

        f = doctor_find(d, DOCTOR_WARNING, full ? "disk_full" : "disk_low");
        doctor_say(f->what, "the disk of %s %s", doctor_name(l),
                   full ? "is full" : "has little space left");
        doctor_say(f->why, "%s",
                   full ? "its log waits, and the others go on without it"
                        : "less is free than --disk-low-mib says: it hands leadership over and "
                          "refuses writes");
        doctor_say(f->command,
                   ON_ITS_MACHINE "df -h DIR, that of --data-dir; free some of that disk, and it "
                                  "comes back by itself",
                   doctor_host(l->url));
    }
    if (m[DOCTOR_WRITES] >= WRITES_MIN && slow * 100 > m[DOCTOR_WRITES]) {
        f = doctor_find(d, DOCTOR_WARNING, "disk_slow");
        doctor_say(f->what, "the disk of %s is slow", doctor_name(l));
        doctor_say(f->why,
                   "%" PRIu64 " of its %" PRIu64
                   " synced writes took more than 50 ms; every write waits for the disks of a "
                   "majority",
                   slow, m[DOCTOR_WRITES]);
        doctor_say(f->command, ON_ITS_MACHINE "iostat -x 1, and see who else uses that disk",
                   doctor_host(l->url));
    }
    if (m[DOCTOR_APPLIED] > m[DOCTOR_SNAPSHOT] + SNAPSHOT_OVERDUE) {
        f = doctor_find(d, DOCTOR_NOTE, "snapshot_overdue");
        doctor_say(f->what, "%s took no snapshot for %" PRIu64 " log entries", doctor_name(l),
                   m[DOCTOR_APPLIED] - m[DOCTOR_SNAPSHOT]);
        doctor_say(f->why, "%s", "its log grows, and so does the time of a restart");
        doctor_say(f->command,
                   ON_ITS_MACHINE "callsignd --check-config with its options tells "
                                  "snapshot-threshold, df -h DIR the room on its disk",
                   doctor_host(l->url));
    }
}

static void judge_load(struct doctor *d, const struct doctor_look *l)
{
    const uint64_t *m = l->first.metrics;
    uint64_t refused = growth(l, DOCTOR_OVERLOADED);
    uint64_t pushed = growth(l, DOCTOR_PUSHED);
    struct doctor_finding *f;

    if (refused + pushed > 0) {
        f = doctor_find(d, DOCTOR_WARNING, "overloaded");
        doctor_say(f->what, "%s has more to do than it can", doctor_name(l));
        doctor_say(f->why,
                   "while it was watched it refused %" PRIu64 " requests and closed %" PRIu64
                   " connections to make room",
                   refused, pushed);
        doctor_say(f->command,
                   ON_ITS_MACHINE "ss -Htn state established | awk '{print $4}' | sort | uniq -c "
                                  "| sort -n tells who is connected; "
                                  "--http-connections-per-client bounds each",
                   doctor_host(l->url));
    }
    if (m[DOCTOR_MAX_FILES] > 0 && m[DOCTOR_OPEN_FILES] * 10 > m[DOCTOR_MAX_FILES] * 8) {
        f = doctor_find(d, DOCTOR_WARNING, "files_short");
        doctor_say(f->what, "%s has %" PRIu64 " of the %" PRIu64 " files open that it may",
                   doctor_name(l), m[DOCTOR_OPEN_FILES], m[DOCTOR_MAX_FILES]);
        doctor_say(f->why, "beyond it takes no more connections");
        doctor_say(f->command,
                   ON_ITS_MACHINE "systemctl edit callsignd, LimitNOFILE=; or fewer "
                                  "--http-connections",
                   doctor_host(l->url));
    }
    if (growth(l, DOCTOR_LINES_DROPPED) > 0) {
        f = doctor_find(d, DOCTOR_WARNING, "log_lost");
        doctor_say(f->what, "lines of the log of %s are lost", doctor_name(l));
        doctor_say(f->why, "nobody reads its standard error fast enough");
        doctor_say(f->command, ON_ITS_MACHINE "journalctl -u systemd-journald -n 20",
                   doctor_host(l->url));
    }
}

void doctor_judge_replica(struct doctor *d, const struct doctor_look *l)
{
    judge_reach(d, l);
    judge_access(d, l);
    judge_certificates(d, l);
    if (l->first.counted) {
        judge_disk(d, l);
        judge_load(d, l);
    }
}
