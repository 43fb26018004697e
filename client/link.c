#include "client/link.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECT_TIMEOUT_MS = 1000, /* a live host answers a SYN or its one repeat by then */
    REQUEST_MAX = 1 << 20,     /* a batch */
    STATUS_UNAVAILABLE = 503,
    STATUS_GATEWAY_TIMEOUT = 504,
};

struct link {
    const struct link_config *config;
    CURL *curl;
    struct curl_slist *plain;           /* headers of a request without body, condition and key */
    const struct link_request *request; /* under way */
    pthread_mutex_t lock;               /* of the two that follow */
    int fd;                             /* the socket of the last connection; -1: there is none */
    bool interrupted;
    struct text target;
    struct text body;
    struct link_answer answer;
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static CURLcode library_code;

static void start_library(void)
{
    library_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Never undone: whoever shares the process may use libcurl as well, and the
 * last curl_global_cleanup() would not be safe beside its threads. */
bool link_start_library(void)
{
    return pthread_once(&library_once, start_library) == 0 && library_code == CURLE_OK;
}

/* --- Endpoints ---------------------------------------------------------------- */

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

char *link_normalize(const char *endpoint)
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

/* --- The life of a link --------------------------------------------------------- */

/* Appends to the list, or frees it and gives NULL. */
static struct curl_slist *append(struct curl_slist *list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(list, line);

    if (longer == NULL) {
        curl_slist_free_all(list);
    }
    return longer;
}

static struct curl_slist *append_value(struct curl_slist *list, const char *name, const char *value)
{
    struct text line;

    text_init(&line, REQUEST_MAX);
    text_put_string(&line, name);
    text_put_string(&line, value);
    if (line.failed) {
        curl_slist_free_all(list);
        list = NULL;
    } else {
        list = append(list, text_string(&line));
    }
    text_fini(&line);
    return list;
}

/* What every request carries. */
static struct curl_slist *common_headers(const struct link_config *config)
{
    /* Without "Expect:" libcurl would wait for a 100 before a larger body. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");

    if (list != NULL && config->token != NULL) {
        list = append_value(list, "Authorization: Bearer ", config->token);
    }
    return list;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *data);
static int on_progress(void *data, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
                       curl_off_t ulnow);
static curl_socket_t on_open(void *data, curlsocktype purpose, struct curl_sockaddr *address);
static int on_close(void *data, curl_socket_t fd);

static bool set_path(CURL *curl, CURLoption option, const char *path)
{
    return path == NULL || curl_easy_setopt(curl, option, path) == CURLE_OK;
}

/* What stays as it is over the life of a link. */
static bool set_options(struct link *l)
{
    CURL *curl = l->curl;

    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    /* Else the end of a request waits for the thread that resolves a name, which
     * no deadline ends. It goes on without us, and cleans up after itself. */
    (void)curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, l);
    (void)curl_easy_setopt(curl, CURLOPT_READDATA, l);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, l);
    (void)curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_open);
    (void)curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, l);
    (void)curl_easy_setopt(curl, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    (void)curl_easy_setopt(curl, CURLOPT_CLOSESOCKETDATA, l);
    return curl_easy_setopt(curl, CURLOPT_USERAGENT, "callsign/" PACKAGE_VERSION) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
           set_path(curl, CURLOPT_CAINFO, l->config->ca_file) &&
           set_path(curl, CURLOPT_SSLCERT, l->config->cert_file) &&
           set_path(curl, CURLOPT_SSLKEY, l->config->key_file);
}

struct link *link_new(const struct link_config *config)
{
    struct link *l = calloc(1, sizeof(*l));

    if (l == NULL) {
        return NULL;
    }
    l->config = config;
    l->fd = -1;
    (void)pthread_mutex_init(&l->lock, NULL);
    text_init(&l->target, REQUEST_MAX);
    text_init(&l->body, REQUEST_MAX);
    text_init(&l->answer.body, LINK_BODY_MAX);
    l->curl = curl_easy_init();
    l->plain = common_headers(config);
    if (l->curl == NULL || l->plain == NULL || !set_options(l)) {
        link_free(l);
        return NULL;
    }
    return l;
}

void link_free(struct link *l)
{
    if (l == NULL) {
        return;
    }
    curl_easy_cleanup(l->curl);
    curl_slist_free_all(l->plain);
    text_fini(&l->target);
    text_fini(&l->body);
    text_fini(&l->answer.body);
    json_read_fini(&l->answer.doc);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

/* Shutting the socket down wakes the thread that waits for it. Closing is
 * left to that thread: the number could be somebody else's by then. */
void link_interrupt(struct link *l)
{
    (void)pthread_mutex_lock(&l->lock);
    l->interrupted = true;
    if (l->fd >= 0) {
        (void)shutdown(l->fd, SHUT_RDWR);
    }
    (void)pthread_mutex_unlock(&l->lock);
}

static bool is_interrupted(struct link *l)
{
    bool interrupted;

    (void)pthread_mutex_lock(&l->lock);
    interrupted = l->interrupted;
    (void)pthread_mutex_unlock(&l->lock);
    return interrupted;
}

const struct link_answer *link_answer(const struct link *l)
{
    return &l->answer;
}

struct text *link_target(struct link *l)
{
    return &l->target;
}

struct text *link_body(struct link *l)
{
    return &l->body;
}

/* --- Certificates ----------------------------------------------------------------- */

void link_keep_certificate(struct link *l)
{
    (void)curl_easy_setopt(l->curl, CURLOPT_CERTINFO, 1L);
}

/* As libcurl writes it with GnuTLS, and with OpenSSL. */
static int64_t parse_end(const char *text)
{
    static const char *const formats[] = {"%Y-%m-%d %H:%M:%S GMT", "%b %d %H:%M:%S %Y GMT"};

    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        struct tm t = {.tm_isdst = 0};

        if (strptime(text, formats[i], &t) != NULL) {
            return (int64_t)timegm(&t);
        }
    }
    return 0;
}

int64_t link_certificate_end(const struct link *l)
{
    static const char name[] = "Expire date:";
    struct curl_certinfo *certs = NULL;

    if (curl_easy_getinfo(l->curl, CURLINFO_CERTINFO, &certs) != CURLE_OK || certs == NULL ||
        certs->num_of_certs < 1) {
        return 0;
    }
    for (const struct curl_slist *s = certs->certinfo[0]; s != NULL; s = s->next) {
        if (strncasecmp(s->data, name, sizeof(name) - 1) == 0) {
            return parse_end(s->data + sizeof(name) - 1);
        }
    }
    return 0;
}

/* --- libcurl's callbacks ---------------------------------------------------------- */

/* A short count ends the transfer. */
static size_t on_body(char *bytes, size_t size, size_t count, void *data)
{
    struct link *l = data;
    const struct link_request *request = l->request;
    long status = 0;

    if (request->sink != NULL) {
        (void)curl_easy_getinfo(l->curl, CURLINFO_RESPONSE_CODE, &status);
        if (status == 200) {
            return request->sink(request->data, bytes, size * count) ? size * count : 0;
        }
    }
    text_put(&l->answer.body, bytes, size * count);
    return l->answer.body.failed ? 0 : size * count;
}

static int on_progress(void *data, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
                       curl_off_t ulnow)
{
    (void)dltotal;
    (void)dlnow;
    (void)ultotal;
    (void)ulnow;
    return is_interrupted(data) ? 1 : 0;
}

static curl_socket_t on_open(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct link *l = data;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

    (void)purpose;
    (void)pthread_mutex_lock(&l->lock);
    l->fd = fd;
    (void)pthread_mutex_unlock(&l->lock);
    return fd;
}

static int on_close(void *data, curl_socket_t fd)
{
    struct link *l = data;
    int result;

    (void)pthread_mutex_lock(&l->lock);
    if (l->fd == fd) {
        l->fd = -1;
    }
    result = close(fd);
    (void)pthread_mutex_unlock(&l->lock);
    return result;
}

/* --- One attempt ------------------------------------------------------------------- */

/* The headers of a request that needs more than the common ones. */
static struct curl_slist *own_headers(const struct link *l, const struct link_request *request)
{
    struct curl_slist *list = common_headers(l->config);

    if (list != NULL && request->body != NULL) {
        list = append(list, "Content-Type: application/json");
    }
    if (list != NULL && request->condition != NULL) {
        list = append(list, request->condition);
    }
    if (list != NULL && request->key != NULL) {
        list = append_value(list, "Idempotency-Key: ", request->key);
    }
    return list;
}

/*
 * Where to, what, and the body. The target is no part of the URL: libcurl would
 * parse that and print it anew, byte by byte, for each request, which is a third
 * of its instructions. It goes out as it is, a name such as ".." included.
 */
static bool set_request(CURL *curl, const char *endpoint, const struct link_request *request)
{
    if (request->body != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(request->body));
    } else {
        (void)curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    }
    return curl_easy_setopt(curl, CURLOPT_URL, endpoint) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_REQUEST_TARGET, request->target) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK;
}

static void set_limits(CURL *curl, const struct link_request *request, uint64_t timeout_ms)
{
    uint64_t connect_ms = timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS;

    if (request->idle_ms != 0) {
        timeout_ms = 0; /* none */
        connect_ms = CONNECT_TIMEOUT_MS;
    }
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)(request->idle_ms / 1000));
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    /* On a connection kept from before libcurl itself sends a request again
     * when the connection turns out dead, a write as well as a read. */
    (void)curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, request->fresh ? 1L : 0L);
    /* Only streams are interrupted, and asked about once a second. */
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, request->idle_ms != 0 ? 0L : 1L);
}

static void reset_answer(struct link_answer *a)
{
    a->status = 0;
    if (a->body.cap > LINK_KEEP_MAX) {
        text_fini(&a->body);
        json_read_fini(&a->doc);
    }
    text_clear(&a->body);
    a->doc.count = 0;
    a->code[0] = '\0';
    a->has_revision = false;
    a->revision = 0;
    a->served_by = 0;
    a->leader = 0;
    a->replayed = false;
    a->untrusted = false;
}

/* A header that holds one integer. */
static bool header_u64(CURL *curl, const char *name, uint64_t *ret_value)
{
    struct curl_header *header;

    return curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK &&
           text_to_u64(header->value, strlen(header->value), ret_value);
}

static void read_answer(struct link *l)
{
    struct link_answer *a = &l->answer;
    struct curl_header *header;

    (void)curl_easy_getinfo(l->curl, CURLINFO_RESPONSE_CODE, &a->status);
    a->has_revision = header_u64(l->curl, "Callsign-Revision", &a->revision);
    (void)header_u64(l->curl, "Callsign-Served-By", &a->served_by);
    (void)json_read(text_string(&a->body), a->body.len, &a->doc);
    a->replayed =
        l->request->key != NULL &&
        curl_easy_header(l->curl, "Idempotent-Replayed", 0, CURLH_HEADER, -1, &header) == CURLHE_OK;
    if (a->status >= 400) {
        (void)json_read_string(&a->doc, json_read_member(&a->doc, 0, "code"), a->code,
                               sizeof(a->code));
        (void)json_read_u64(&a->doc, json_read_member(&a->doc, 0, "leader"), &a->leader);
    }
}

static enum link_attempt judge_status(const struct link_answer *a)
{
    static const char *const definite[] = {"no_leader", "overloaded", "shutting_down",
                                           "not_caught_up", "disk_low"};

    if (a->status == STATUS_UNAVAILABLE) {
        if (a->served_by != 0 && a->code[0] != '\0') {
            return LINK_REFUSED; /* a replica said so itself */
        }
        for (size_t i = 0; i < sizeof(definite) / sizeof(definite[0]); i++) {
            if (strcmp(a->code, definite[i]) == 0) {
                return LINK_REFUSED;
            }
        }
        /* A balancer's 503 may come after it passed the request on. */
        return LINK_LOST;
    }
    if (a->status == STATUS_GATEWAY_TIMEOUT || (a->status >= 500 && a->code[0] == '\0')) {
        return LINK_LOST;
    }
    return LINK_ANSWERED;
}

/* Adds "endpoint: reason" to `why`; what does not fit is cut. */
static void explain(char *why, const char *endpoint, const char *reason, long status)
{
    size_t len = strlen(why);

    (void)snprintf(why + len, LINK_WHY_MAX - len, "%s%s: ", len > 0 ? "; " : "", endpoint);
    len = strlen(why);
    if (status != 0) {
        (void)snprintf(why + len, LINK_WHY_MAX - len, "%ld %s", status, reason);
    } else {
        (void)snprintf(why + len, LINK_WHY_MAX - len, "%s", reason);
    }
}

/* One transfer, prepared before; says why when there is no answer. */
static enum link_attempt transfer(struct link *l, const char *endpoint, char *ret_why)
{
    struct link_answer *a = &l->answer;
    char error[CURL_ERROR_SIZE] = "";
    long sent_bytes = 0;
    enum link_attempt attempt;
    CURLcode code;

    (void)curl_easy_setopt(l->curl, CURLOPT_ERRORBUFFER, error);
    code = curl_easy_perform(l->curl);
    (void)curl_easy_setopt(l->curl, CURLOPT_ERRORBUFFER, NULL);
    if (code != CURLE_OK) {
        (void)curl_easy_getinfo(l->curl, CURLINFO_REQUEST_SIZE, &sent_bytes);
        a->untrusted = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR ||
                       code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM;
        explain(ret_why, endpoint, error[0] != '\0' ? error : curl_easy_strerror(code), 0);
        return sent_bytes == 0 ? LINK_UNREACHABLE : LINK_LOST;
    }
    read_answer(l);
    attempt = judge_status(a);
    if (attempt != LINK_ANSWERED) {
        explain(ret_why, endpoint, a->code[0] != '\0' ? a->code : "not an answer of callsign",
                a->status);
    }
    return attempt;
}

enum link_attempt link_try(struct link *l, const char *endpoint, const struct link_request *request,
                           uint64_t timeout_ms, char *ret_why)
{
    bool plain = request->body == NULL && request->condition == NULL && request->key == NULL;
    struct curl_slist *list = plain ? l->plain : own_headers(l, request);
    enum link_attempt attempt = LINK_UNREACHABLE;

    l->request = request;
    reset_answer(&l->answer);
    set_limits(l->curl, request, timeout_ms);
    if (list != NULL && (request->sink == NULL || request->sink(request->data, NULL, 0)) &&
        set_request(l->curl, endpoint, request)) {
        (void)curl_easy_setopt(l->curl, CURLOPT_HTTPHEADER, list);
        attempt = transfer(l, endpoint, ret_why);
        (void)curl_easy_setopt(l->curl, CURLOPT_HTTPHEADER, l->plain);
    } else {
        explain(ret_why, endpoint, "no memory, or the stream cannot begin", 0);
    }
    if (!plain) {
        curl_slist_free_all(list);
    }
    return attempt;
}
