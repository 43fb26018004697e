#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/doctor.h"

static const char *const metric_names[DOCTOR_METRICS_N] = {
    [DOCTOR_STORAGE_SPACE] = "callsign_storage_space",
    [DOCTOR_OVERLOADED] = "callsign_refused_overloaded_total",
    [DOCTOR_PUSHED] = "callsign_http_connections_pushed_total",
    [DOCTOR_LINES_DROPPED] = "callsign_log_lines_dropped_total",
    [DOCTOR_OPEN_FILES] = "process_open_fds",
    [DOCTOR_MAX_FILES] = "process_max_fds",
    [DOCTOR_PEER_CERTIFICATE] = "callsign_peer_certificate_expiry_seconds",
    [DOCTOR_APPLIED] = "callsign_applied_index",
    [DOCTOR_SNAPSHOT] = "callsign_snapshot_index",
    [DOCTOR_WRITES] = "callsign_storage_write_duration_seconds_count",
    [DOCTOR_WRITES_FAST] = "callsign_storage_write_duration_seconds_bucket{le=\"0.05\"}",
};

/* "NAME VALUE" on a line of its own; whole numbers alone are looked for. */
static void read_metric(const char *line, size_t len, uint64_t ret_metrics[DOCTOR_METRICS_N])
{
    for (unsigned i = 0; i < DOCTOR_METRICS_N; i++) {
        size_t n = strlen(metric_names[i]);

        if (len > n && line[n] == ' ' && strncmp(line, metric_names[i], n) == 0) {
            (void)text_to_u64(line + n + 1, len - n - 1, &ret_metrics[i]);
            return;
        }
    }
}

void doctor_read_metrics(const char *page, uint64_t ret_metrics[DOCTOR_METRICS_N])
{
    memset(ret_metrics, 0, DOCTOR_METRICS_N * sizeof(ret_metrics[0]));
    while (*page != '\0') {
        size_t len = strcspn(page, "\n");

        read_metric(page, len, ret_metrics);
        page += len + (page[len] == '\n');
    }
}

/* Where a host ends: at the last colon, which an IPv6 address has in brackets. */
static const char *end_of_host(const char *address)
{
    const char *colon = strrchr(address, ':');

    return colon != NULL ? colon : address + strlen(address);
}

static bool is_wildcard(const char *address)
{
    return strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0;
}

/* A replica that listens everywhere is called by the host of its other
 * address. */
bool doctor_member_url(const struct callsign_member *m, const char *via,
                       char ret_url[DOCTOR_URL_MAX])
{
    const char *scheme = strncmp(via, "https://", 8) == 0 ? "https" : "http";
    const char *host = is_wildcard(m->http_address) ? m->peer_address : m->http_address;
    int n;

    if (m->http_address[0] == '\0' || host[0] == '\0' || is_wildcard(host)) {
        return false;
    }
    n = snprintf(ret_url, DOCTOR_URL_MAX, "%s://%.*s%s", scheme, (int)(end_of_host(host) - host),
                 host, end_of_host(m->http_address));
    return n < DOCTOR_URL_MAX;
}

/* --- One question ------------------------------------------------------------------ */

struct asking {
    struct link *link;
    struct doctor_look *look;
    uint64_t timeout_ms;
};

/* The status of the answer; 0: there is none, and `ret_why` says why. */
static long ask(const struct asking *a, const char *path, char *ret_why,
                enum link_attempt *ret_attempt)
{
    const struct link_request request = {.method = "GET", .target = path};
    char why[LINK_WHY_MAX] = "";
    size_t url_len = strlen(a->look->url);
    const char *text = why;

    *ret_attempt = link_try(a->link, a->look->url, &request, a->timeout_ms, why);
    if (strncmp(text, a->look->url, url_len) == 0) {
        text += url_len + 2; /* "endpoint: " */
    }
    if (ret_why != NULL) {
        (void)snprintf(ret_why, DOCTOR_WHY_MAX, "%.*s", DOCTOR_WHY_MAX - 1, text);
    }
    return link_answer(a->link)->status;
}

/* Whether there is an answer of status 200 with a body. */
static bool got(const struct asking *a, const char *path)
{
    enum link_attempt attempt;

    return ask(a, path, NULL, &attempt) == 200;
}

static void ask_whether_it_lives(const struct asking *a)
{
    struct doctor_look *l = a->look;
    enum link_attempt attempt;
    long status = ask(a, "/livez", l->why, &attempt);
    const struct link_answer *answer = link_answer(a->link);

    l->certificate_end = link_certificate_end(a->link);
    if (answer->untrusted) {
        l->reach = DOCTOR_UNTRUSTED;
    } else if (status == 0) {
        l->reach = attempt == LINK_UNREACHABLE ? DOCTOR_SILENT : DOCTOR_STUCK;
    } else if (answer->served_by == 0) {
        l->reach = DOCTOR_STRANGER;
        (void)snprintf(l->why, sizeof(l->why),
                       "it answers %ld to /livez, without the id of a replica", status);
    } else {
        l->id = answer->served_by;
        l->reach = status == 200 ? DOCTOR_ANSWERS : DOCTOR_STUCK;
        if (status != 200) {
            (void)snprintf(l->why, sizeof(l->why), "%.*s",
                           (int)strcspn(text_string(&answer->body), "\n"),
                           text_string(&answer->body));
        }
    }
}

static void ask_state(const struct asking *a, struct doctor_state *s)
{
    const struct link_answer *answer = link_answer(a->link);

    s->known = got(a, "/api/cluster") && call_parse_cluster(&answer->doc, &s->cluster);
    if (s->known) {
        (void)json_read_string(&answer->doc, json_read_member(&answer->doc, 0, "digest"), s->digest,
                               sizeof(s->digest));
    } else if (answer->status != 0) {
        (void)snprintf(a->look->refused, sizeof(a->look->refused), "%s",
                       answer->code[0] != '\0' ? answer->code : "not an answer of callsign");
    }
    s->counted = got(a, "/metrics");
    if (s->counted) {
        doctor_read_metrics(text_string(&answer->body), s->metrics);
    }
}

static void ask_readiness(const struct asking *a)
{
    const struct json_read *doc = &link_answer(a->link)->doc;
    enum link_attempt attempt;

    (void)ask(a, "/readyz", NULL, &attempt);
    a->look->ready_known = json_read_bool(doc, json_read_member(doc, 0, "ready"), &a->look->ready);
    (void)json_read_string(doc, json_read_member(doc, 0, "why"), a->look->ready_why,
                           sizeof(a->look->ready_why));
}

/* Whether a stranger is told the state, too. */
static bool is_open(const struct asking *a, const struct link_config *config)
{
    struct link_config stranger = *config;
    struct asking other = *a;
    bool open;

    stranger.token = NULL;
    other.link = link_new(&stranger);
    open = other.link != NULL && got(&other, "/api/cluster");
    link_free(other.link);
    return open;
}

bool doctor_look(struct doctor *d, const char *url, const struct link_config *config,
                 uint64_t timeout_ms)
{
    struct doctor_look *l = &d->looks[d->looks_count];
    struct asking a = {.link = link_new(config), .look = l, .timeout_ms = timeout_ms};
    char *normal = link_normalize(url);
    const struct json_read *doc;

    if (d->looks_count == DOCTOR_LOOKS_MAX || a.link == NULL || normal == NULL ||
        strlen(normal) >= sizeof(l->url)) {
        link_free(a.link);
        free(normal);
        return false;
    }
    d->looks_count++;
    (void)snprintf(l->url, sizeof(l->url), "%s", normal);
    free(normal);
    link_keep_certificate(a.link);
    ask_whether_it_lives(&a);
    if (l->reach == DOCTOR_ANSWERS) {
        doc = &link_answer(a.link)->doc;
        if (got(&a, "/version")) {
            (void)json_read_string(doc, json_read_member(doc, 0, "version"), l->version,
                                   sizeof(l->version));
        }
        ask_readiness(&a);
        ask_state(&a, &l->first);
        l->open = is_open(&a, config);
    }
    link_free(a.link);
    return true;
}

/* --- All of them ------------------------------------------------------------------- */

/* The look at member `id` of the cluster, or at its address. */
static struct doctor_look *find_look(struct doctor *d, const char *cluster_id, uint64_t id,
                                     const char *url)
{
    for (unsigned i = 0; i < d->looks_count; i++) {
        struct doctor_look *l = &d->looks[i];
        bool elsewhere = l->first.known && strcmp(l->first.cluster.cluster_id, cluster_id) != 0;

        if ((l->id == id && !elsewhere) || (url != NULL && strcmp(l->url, url) == 0)) {
            return l;
        }
    }
    return NULL;
}

void doctor_follow(struct doctor *d, const struct link_config *config, uint64_t timeout_ms)
{
    unsigned asked = d->looks_count;

    for (unsigned i = 0; i < asked; i++) {
        const struct doctor_look *from = &d->looks[i];
        const struct callsign_cluster *c = &from->first.cluster;

        for (unsigned m = 0; from->first.known && m < c->members_count; m++) {
            char url[DOCTOR_URL_MAX];
            bool known = doctor_member_url(&c->members[m], from->url, url);
            struct doctor_look *l =
                find_look(d, c->cluster_id, c->members[m].id, known ? url : NULL);

            if (l == NULL && known && doctor_look(d, url, config, timeout_ms)) {
                l = &d->looks[d->looks_count - 1];
            }
            if (l != NULL && l->id == 0) {
                l->id = c->members[m].id;
            }
        }
    }
}

void doctor_again(struct doctor *d, const struct link_config *config, uint64_t timeout_ms)
{
    for (unsigned i = 0; i < d->looks_count; i++) {
        struct doctor_look *l = &d->looks[i];
        struct asking a = {.look = l, .timeout_ms = timeout_ms};

        if (l->first.known) {
            a.link = link_new(config);
            if (a.link != NULL) {
                ask_state(&a, &l->last);
            }
            link_free(a.link);
        }
    }
}
