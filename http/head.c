#include "http/head.h"

#include <string.h>
#include <strings.h>

#include "http/decimal.h"

static void refuse(struct head *h, enum err err, const char *detail)
{
    if (h->err == ERR_OK) {
        h->err = err;
        h->detail = detail;
    }
}

static void refuse_broken(struct head *h, enum err err, const char *detail)
{
    h->broken = true;
    refuse(h, err, detail);
}

/* RFC 9110, 5.6.2: what a header's name is made of. libmicrohttpd lets more
 * through, a space before the colon for one, and then does not know the header. */
static bool is_token(const char *name)
{
    const char *at = name;

    for (; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!alnum && strchr("!#$%&'*+-.^_`|~", c) == NULL) {
            return false;
        }
    }
    return at != name;
}

static bool is_field_value(const char *value)
{
    for (; *value != '\0'; value++) {
        unsigned char c = (unsigned char)*value;

        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static void add_length(struct head *h, const char *value)
{
    size_t len = strlen(value);

    if (h->has_length) {
        refuse_broken(h, ERR_BAD_HEADER, "Content-Length appears twice");
        return;
    }
    h->has_length = true;
    /* Leading zeros are allowed in a length (RFC 9110, 8.6). */
    while (len > 1 && *value == '0') {
        value++;
        len--;
    }
    if (!decimal_parse(value, len, &h->content_length)) {
        refuse_broken(h, ERR_BAD_HEADER, "Content-Length is not a number");
    }
}

static void add_transfer_encoding(struct head *h, const char *value)
{
    if (h->chunked) {
        refuse_broken(h, ERR_BAD_HEADER, "Transfer-Encoding appears twice");
    } else if (strcasecmp(value, "chunked") != 0) {
        refuse_broken(h, ERR_NOT_IMPLEMENTED, "the only transfer coding known is chunked");
    }
    h->chunked = true;
}

static void add_once(struct head *h, const char **slot, const char *value, const char *detail)
{
    if (*slot != NULL) {
        refuse(h, ERR_BAD_HEADER, detail);
    }
    *slot = value;
}

/* What helps to find a request again is never a reason to refuse it. */
static bool is_request_id(const char *value)
{
    size_t len = strlen(value);

    for (size_t i = 0; i < len; i++) {
        if (value[i] <= 0x20 || value[i] >= 0x7f) {
            return false;
        }
    }
    return len >= 1 && len <= HEAD_REQUEST_ID_MAX;
}

void head_add(struct head *h, const char *name, const char *value)
{
    if (!is_token(name)) {
        refuse_broken(h, ERR_BAD_HEADER, "a header's name holds a byte that no name may hold");
        return;
    }
    if (!is_field_value(value)) {
        refuse_broken(h, ERR_BAD_HEADER, "a header's value holds a control character");
        return;
    }
    if (strcasecmp(name, "Host") == 0) {
        if (h->has_host) {
            refuse_broken(h, ERR_BAD_HEADER, "Host appears twice");
        }
        h->has_host = true;
    } else if (strcasecmp(name, "Content-Length") == 0) {
        add_length(h, value);
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        add_transfer_encoding(h, value);
    } else if (strcasecmp(name, "Expect") == 0) {
        if (strcasecmp(value, "100-continue") != 0) {
            refuse_broken(h, ERR_EXPECTATION_FAILED, NULL);
        }
        h->expects_continue = true;
    } else if (strcasecmp(name, "Authorization") == 0) {
        add_once(h, &h->authorization, value, "Authorization appears twice");
    } else if (strcasecmp(name, "If-Match") == 0) {
        add_once(h, &h->if_match, value, "If-Match appears twice");
    } else if (strcasecmp(name, "If-None-Match") == 0) {
        add_once(h, &h->if_none_match, value, "If-None-Match appears twice");
    } else if (strcasecmp(name, "X-Request-Id") == 0) {
        h->request_id = h->request_id == NULL && is_request_id(value) ? value : h->request_id;
    } else if (strcasecmp(name, "traceparent") == 0) {
        h->traceparent = value;
    } else if (strcasecmp(name, "Last-Event-ID") == 0) {
        add_once(h, &h->last_event_id, value, "Last-Event-ID appears twice");
    } else if (strcasecmp(name, "Idempotency-Key") == 0) {
        add_once(h, &h->idempotency_key, value, "Idempotency-Key appears twice");
    }
}

void head_end(struct head *h)
{
    if (h->has_length && h->chunked) {
        refuse_broken(h, ERR_BAD_HEADER, "Content-Length and Transfer-Encoding exclude each other");
    }
}

bool head_revision(const char *value, uint64_t *ret_revision)
{
    size_t len = strlen(value);

    return len > 2 && value[0] == '"' && value[len - 1] == '"' &&
           decimal_parse(value + 1, len - 2, ret_revision);
}

static const char *skip_space(const char *at)
{
    while (*at == ' ' || *at == '\t') {
        at++;
    }
    return at;
}

bool head_tags_match(const char *value, uint64_t revision, bool *ret_match)
{
    bool match = false;
    const char *at = skip_space(value);

    if (strcmp(at, "*") == 0) {
        *ret_match = true;
        return true;
    }
    for (;;) {
        const char *end;
        uint64_t tag;

        at += strncmp(at, "W/", 2) == 0 ? 2 : 0;
        end = *at == '"' ? strchr(at + 1, '"') : NULL;
        if (end == NULL) {
            return false;
        }
        if (decimal_parse(at + 1, (size_t)(end - at - 1), &tag) && tag == revision) {
            match = true;
        }
        at = skip_space(end + 1);
        if (*at == '\0') {
            *ret_match = match;
            return true;
        }
        if (*at != ',') {
            return false;
        }
        at = skip_space(at + 1);
    }
}

static bool is_hex(const char *at, size_t n)
{
    return strspn(at, "0123456789abcdef") >= n;
}

void head_trace_id(const char *traceparent, char ret_id[HEAD_TRACE_ID_BYTES + 1])
{
    /* version-trace-parent-flags; later versions may go on behind a dash. */
    enum { TRACE_AT = 3, PARENT_AT = 36, FLAGS_AT = 53, LEN = 55 };
    const char *t = traceparent;
    size_t len = t == NULL ? 0 : strlen(t);

    ret_id[0] = '\0';
    if (len < LEN || !is_hex(t, 2) || strncmp(t, "ff", 2) == 0 || t[2] != '-' ||
        !is_hex(t + TRACE_AT, HEAD_TRACE_ID_BYTES) || t[PARENT_AT - 1] != '-' ||
        !is_hex(t + PARENT_AT, 16) || t[FLAGS_AT - 1] != '-' || !is_hex(t + FLAGS_AT, 2) ||
        (len > LEN && (strncmp(t, "00", 2) == 0 || t[LEN] != '-')) ||
        strspn(t + TRACE_AT, "0") >= HEAD_TRACE_ID_BYTES) {
        return;
    }
    memcpy(ret_id, t + TRACE_AT, HEAD_TRACE_ID_BYTES);
    ret_id[HEAD_TRACE_ID_BYTES] = '\0';
}
