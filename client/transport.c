#include "client/transport.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    CONNECT_TIMEOUT_MS = 1000, /* a live host answers a SYN or its one repeat by then */
    ATTEMPT_MIN_MS = 50,       /* less is not worth an attempt */
    PAUSE_MIN_MS = 50,
    PAUSE_MAX_MS = 1000, /* what Retry-After says */
    STATUS_UNAVAILABLE = 503,
    STATUS_GATEWAY_TIMEOUT = 504,
};

struct transport {
    CURL *curl;
    char *endpoints[TRANSPORT_ENDPOINTS_MAX];
    size_t count;
    size_t current; /* the one that answered last */
    uint32_t timeout_ms;
    struct transport_answer answer;
};

/* What came of one attempt. */
enum attempt {
    ATTEMPT_ANSWERED,
    ATTEMPT_UNREACHABLE, /* nothing was sent */
    ATTEMPT_REFUSED,     /* 503: a replica is there and did nothing */
    ATTEMPT_LOST,        /* sent, and what became of it is not known */
};

static uint64_t now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Whether part `part` of the URL is missing or, where `empty` is given, that. */
static bool lacks(CURLU *url, CURLUPart part, const char *empty)
{
    char *value = NULL;
    bool ok;

    if (curl_url_get(url, part, &value, 0) != CURLUE_OK) {
        return true;
    }
    ok = empty != NULL && strcmp(value, empty) == 0;
    curl_free(value);
    return ok;
}

/* "http://host:port" of what the user wrote, on the heap; NULL if malformed. */
static char *normalize(const char *endpoint)
{
    static const CURLUPart parts[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY,
                                      CURLUPART_FRAGMENT};
    CURLU *url = curl_url();
    char *text = NULL;
    char *copy = NULL;
    bool ok = url != NULL &&
              curl_url_set(url, CURLUPART_URL, endpoint, CURLU_DEFAULT_SCHEME) == CURLUE_OK &&
              lacks(url, CURLUPART_PATH, "/");

    for (size_t i = 0; ok && i < sizeof(parts) / sizeof(parts[0]); i++) {
        ok = lacks(url, parts[i], NULL);
    }
    /* Without a scheme libcurl guesses one from the host's name. */
    if (ok && strstr(endpoint, "://") == NULL) {
        ok = curl_url_set(url, CURLUPART_SCHEME, "http", 0) == CURLUE_OK;
    }
    if (ok && curl_url_get(url, CURLUPART_URL, &text, 0) == CURLUE_OK &&
        (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0)) {
        copy = strdup(text);
        if (copy != NULL) {
            copy[strlen(copy) - 1] = '\0'; /* the "/" of the empty path */
        }
    }
    curl_free(text);
    curl_url_cleanup(url);
    return copy;
}

static bool add_endpoints(struct transport *t, const char *const *endpoints, size_t count,
                          char *ret_why)
{
    if (count == 0 || count > TRANSPORT_ENDPOINTS_MAX) {
        (void)snprintf(ret_why, TRANSPORT_WHY_MAX, "%zu endpoints; 1 to %d are possible", count,
                       TRANSPORT_ENDPOINTS_MAX);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        t->endpoints[i] = normalize(endpoints[i]);
        if (t->endpoints[i] == NULL) {
            (void)snprintf(ret_why, TRANSPORT_WHY_MAX,
                           "endpoint '%.200s' is not of the form http://host:port", endpoints[i]);
            return false;
        }
        t->count++;
    }
    return true;
}

bool transport_new(const char *const *endpoints, size_t count, uint32_t timeout_ms, char *ret_why,
                   struct transport **ret_transport)
{
    struct transport *t = calloc(1, sizeof(*t));

    /* Counted by libcurl; its first call is not safe beside other threads,
     * which the header of the library tells. */
    if (t == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)snprintf(ret_why, TRANSPORT_WHY_MAX, "no memory, or libcurl cannot start");
        free(t);
        return false;
    }
    t->timeout_ms = timeout_ms;
    text_init(&t->answer.body, TRANSPORT_BODY_MAX);
    if (!add_endpoints(t, endpoints, count, ret_why)) {
        transport_free(t);
        return false;
    }
    t->curl = curl_easy_init();
    if (t->curl == NULL) {
        (void)snprintf(ret_why, TRANSPORT_WHY_MAX, "libcurl cannot start");
        transport_free(t);
        return false;
    }
    *ret_transport = t;
    return true;
}

void transport_free(struct transport *t)
{
    if (t == NULL) {
        return;
    }
    curl_easy_cleanup(t->curl);
    for (size_t i = 0; i < t->count; i++) {
        free(t->endpoints[i]);
    }
    text_fini(&t->answer.body);
    free(t);
    curl_global_cleanup();
}

/* libcurl's write callback: a short count ends the transfer. */
static size_t on_body(char *bytes, size_t size, size_t count, void *data)
{
    struct text *body = data;

    text_put(body, bytes, size * count);
    return body->failed ? 0 : size * count;
}

/* Appends to the list, or frees it and gives NULL. */
static struct curl_slist *append(struct curl_slist *list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(list, line);

    if (longer == NULL) {
        curl_slist_free_all(list);
    }
    return longer;
}

static struct curl_slist *headers(const struct transport_request *request)
{
    /* Without "Expect:" libcurl would wait for a 100 before a larger body. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");

    if (list != NULL) {
        list = append(list, "Accept: application/json");
    }
    if (list != NULL && request->body != NULL) {
        list = append(list, "Content-Type: application/json");
    }
    if (list != NULL && request->condition != NULL) {
        list = append(list, request->condition);
    }
    return list;
}

/* Options whose setting can fail for want of memory; the rest of them cannot. */
static bool set_request(CURL *curl, const char *url, const struct transport_request *request)
{
    (void)curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    if (request->body != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(request->body));
    }
    return curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "callsign/" PACKAGE_VERSION) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK;
}

static void set_limits(struct transport *t, bool write, uint64_t timeout_ms)
{
    uint64_t connect_ms = timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS;

    (void)curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(t->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(t->curl, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    (void)curl_easy_setopt(t->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    (void)curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, &t->answer.body);
    /* On a connection kept from before libcurl itself sends a request again
     * when the connection turns out dead, a write as well as a read. */
    (void)curl_easy_setopt(t->curl, CURLOPT_FRESH_CONNECT, write ? 1L : 0L);
}

/* A header that holds one integer. */
static bool header_u64(CURL *curl, const char *name, uint64_t *ret_value)
{
    struct curl_header *header;

    return curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK &&
           text_to_u64(header->value, strlen(header->value), ret_value);
}

static void read_answer(struct transport *t)
{
    struct transport_answer *a = &t->answer;

    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &a->status);
    a->has_revision = header_u64(t->curl, "Callsign-Revision", &a->revision);
    (void)header_u64(t->curl, "Callsign-Served-By", &a->served_by);
    (void)json_read(text_string(&a->body), a->body.len, &a->doc);
    if (a->status >= 400) {
        (void)json_read_string(&a->doc, json_read_member(&a->doc, 0, "code"), a->code,
                               sizeof(a->code));
    }
}

static enum attempt judge_status(const struct transport_answer *a)
{
    static const char *const definite[] = {"no_leader", "overloaded", "shutting_down",
                                           "not_caught_up"};

    if (a->status == STATUS_UNAVAILABLE) {
        for (size_t i = 0; i < sizeof(definite) / sizeof(definite[0]); i++) {
            if (strcmp(a->code, definite[i]) == 0) {
                return ATTEMPT_REFUSED;
            }
        }
        /* A balancer's 503 may come after it passed the request on. */
        return ATTEMPT_LOST;
    }
    if (a->status == STATUS_GATEWAY_TIMEOUT || (a->status >= 500 && a->code[0] == '\0')) {
        return ATTEMPT_LOST;
    }
    return ATTEMPT_ANSWERED;
}

/* Adds "endpoint: reason" to `why`; what does not fit is cut. */
static void explain(struct transport_answer *a, const char *reason, long status)
{
    size_t len = strlen(a->why);

    (void)snprintf(a->why + len, sizeof(a->why) - len, "%s%s: ", len > 0 ? "; " : "", a->endpoint);
    len = strlen(a->why);
    if (status != 0) {
        (void)snprintf(a->why + len, sizeof(a->why) - len, "%ld %s", status, reason);
    } else {
        (void)snprintf(a->why + len, sizeof(a->why) - len, "%s", reason);
    }
}

static void reset_answer(struct transport_answer *a)
{
    a->status = 0;
    text_clear(&a->body);
    a->doc.count = 0;
    a->code[0] = '\0';
    a->has_revision = false;
    a->revision = 0;
    a->served_by = 0;
}

/* One transfer, prepared before; says why when there is no answer. */
static enum attempt transfer(struct transport *t)
{
    struct transport_answer *a = &t->answer;
    char error[CURL_ERROR_SIZE] = "";
    long sent_bytes = 0;
    enum attempt attempt;
    CURLcode code;

    (void)curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, error);
    code = curl_easy_perform(t->curl);
    (void)curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, NULL);
    if (code != CURLE_OK) {
        (void)curl_easy_getinfo(t->curl, CURLINFO_REQUEST_SIZE, &sent_bytes);
        explain(a, error[0] != '\0' ? error : curl_easy_strerror(code), 0);
        return sent_bytes == 0 ? ATTEMPT_UNREACHABLE : ATTEMPT_LOST;
    }
    read_answer(t);
    attempt = judge_status(a);
    if (attempt != ATTEMPT_ANSWERED) {
        explain(a, a->code[0] != '\0' ? a->code : "not an answer of callsign", a->status);
    }
    return attempt;
}

static enum attempt try_endpoint(struct transport *t, size_t index,
                                 const struct transport_request *request, uint64_t timeout_ms)
{
    struct curl_slist *list = headers(request);
    enum attempt attempt = ATTEMPT_UNREACHABLE;
    struct text url;

    t->answer.endpoint = t->endpoints[index];
    reset_answer(&t->answer);
    text_init(&url, TRANSPORT_BODY_MAX);
    text_put_string(&url, t->endpoints[index]);
    text_put_string(&url, request->target);

    curl_easy_reset(t->curl);
    set_limits(t, request->write, timeout_ms);
    /* A name such as ".." is no step up: it stays as it is encoded. */
    (void)curl_easy_setopt(t->curl, CURLOPT_PATH_AS_IS, 1L);
    if (list != NULL && !url.failed && set_request(t->curl, url.data, request)) {
        (void)curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, list);
        attempt = transfer(t);
    } else {
        explain(&t->answer, "out of memory", 0);
    }
    curl_slist_free_all(list);
    text_fini(&url);
    return attempt;
}

/* What remains, shared among the endpoints that a read can still turn to. A
 * write gets all of it: after it was sent there is no next endpoint. */
static uint64_t attempt_ms(bool write, uint64_t left_ms, size_t endpoints_left)
{
    uint64_t share = write ? left_ms : left_ms / endpoints_left;

    return share > ATTEMPT_MIN_MS ? share : ATTEMPT_MIN_MS;
}

/* What a round over all endpoints came to. */
enum round {
    ROUND_OVER,    /* answer.outcome is set */
    ROUND_REFUSED, /* somebody is there: worth another round */
    ROUND_NOBODY,
};

static enum round try_round(struct transport *t, const struct transport_request *request,
                            uint64_t deadline)
{
    enum round round = ROUND_NOBODY;
    size_t first = t->current;

    t->answer.why[0] = '\0';
    for (size_t i = 0; i < t->count; i++) {
        size_t index = (first + i) % t->count;
        uint64_t now = now_ms();
        uint64_t left = now < deadline ? deadline - now : 0;

        if (left == 0 && t->answer.why[0] != '\0') {
            break;
        }
        switch (try_endpoint(t, index, request, attempt_ms(request->write, left, t->count - i))) {
        case ATTEMPT_ANSWERED:
            t->current = index;
            t->answer.outcome = TRANSPORT_ANSWERED;
            return ROUND_OVER;
        case ATTEMPT_LOST:
            if (request->write) {
                t->answer.outcome = TRANSPORT_UNKNOWN;
                return ROUND_OVER;
            }
            round = ROUND_REFUSED;
            break;
        case ATTEMPT_REFUSED:
            round = ROUND_REFUSED;
            break;
        case ATTEMPT_UNREACHABLE:
            break;
        }
    }
    return round;
}

const struct transport_answer *transport_do(struct transport *t,
                                            const struct transport_request *request)
{
    uint64_t deadline = now_ms() + t->timeout_ms;
    uint64_t pause = PAUSE_MIN_MS;
    enum round round;

    for (;;) {
        round = try_round(t, request, deadline);
        if (round != ROUND_REFUSED || now_ms() + pause >= deadline) {
            break;
        }
        (void)poll(NULL, 0, (int)pause);
        pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
    }
    if (round != ROUND_OVER) {
        t->answer.outcome = TRANSPORT_NOTHING_DONE;
    }
    return &t->answer;
}
