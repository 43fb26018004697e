#include "http/query.h"

#include <stdbool.h>
#include <string.h>

#include "command.h"
#include "http/cursor.h"
#include "http/decimal.h"
#include "http/uri.h"

enum { ENV_ID_DEFAULT = 1 };

struct param {
    const char *key;
    unsigned bit;
    enum err err;     /* of a value that does not parse */
    size_t id_offset; /* of a number in struct query */
    const char *why;
};

#define NUMBER(field) offsetof(struct query, field)

static const struct param params[] = {
    {"name", QUERY_NAME, ERR_BAD_NAME, 0,
     "name= is not 1 to 1024 bytes of percent-encoded UTF-8 without NUL"},
    {"env_id", QUERY_ENV_ID, ERR_BAD_ID, NUMBER(env_id),
     "env_id= is not an integer from 0 to 18446744073709551615"},
    {"node_id", QUERY_NODE_ID, ERR_BAD_ID, NUMBER(node_id),
     "node_id= is not an integer from 0 to 18446744073709551615"},
    {"process_id", QUERY_PROCESS_ID, ERR_BAD_ID, NUMBER(process_id),
     "process_id= is not an integer from 0 to 18446744073709551615"},
    {"consistency", QUERY_CONSISTENCY, ERR_BAD_QUERY, 0,
     "consistency= is neither linearizable nor stale"},
    {"at_least", QUERY_AT_LEAST, ERR_BAD_QUERY, NUMBER(at_least),
     "at_least= is not a revision, an integer from 0 to 18446744073709551615"},
    {"prefix", QUERY_PREFIX, ERR_BAD_QUERY, 0,
     "prefix= is not 0 to 1024 bytes of percent-encoded UTF-8 without NUL"},
    {"limit", QUERY_LIMIT, ERR_BAD_QUERY, 0, "limit= is not an integer from 1 to 1000"},
    {"after", QUERY_AFTER, ERR_BAD_QUERY, NUMBER(after_revision),
     "after= is not a revision, an integer from 0 to 18446744073709551615"},
    {"wait", QUERY_WAIT, ERR_BAD_QUERY, 0, "wait= is not an integer from 0 to 30"},
    {"cursor", QUERY_CURSOR, ERR_BAD_QUERY, 0,
     "cursor= is not the `next` of an answer of this version"},
};

static const struct param *find(const struct uri_pair *pair)
{
    for (size_t i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
        if (strlen(params[i].key) == pair->key_len &&
            memcmp(params[i].key, pair->key, pair->key_len) == 0) {
            return &params[i];
        }
    }
    return NULL;
}

static bool is(const char *text, size_t len, const char *wanted)
{
    return strlen(wanted) == len && memcmp(text, wanted, len) == 0;
}

static bool read_value(const struct param *p, char *value, size_t len, struct query *q)
{
    uint64_t number;

    if (!uri_decode_query(value, len, &len)) {
        return false;
    }
    switch (p->bit) {
    case QUERY_NAME:
        q->name = value;
        q->name_len = len;
        return command_name_valid(value, len);
    case QUERY_PREFIX:
        q->prefix = value;
        q->prefix_len = len;
        return len == 0 || command_name_valid(value, len);
    case QUERY_CURSOR:
        q->after = value;
        return cursor_text_read(value, len, &q->after_len);
    case QUERY_LIMIT:
        return decimal_parse(value, len, &q->limit) && q->limit >= 1 &&
               q->limit <= SERVICE_PAGE_MAX;
    case QUERY_WAIT:
        return decimal_parse(value, len, &q->wait) && q->wait <= QUERY_WAIT_MAX;
    case QUERY_CONSISTENCY:
        if (is(value, len, "stale")) {
            q->consistency = SERVICE_STALE;
        }
        return is(value, len, "stale") || is(value, len, "linearizable");
    default:
        if (!decimal_parse(value, len, &number)) {
            return false;
        }
        memcpy((char *)q + p->id_offset, &number, sizeof(number));
        return true;
    }
}

enum err query_read(struct uri *uri, unsigned taken, struct query *ret_query, const char **ret_why)
{
    struct query q = {.consistency = SERVICE_LINEARIZABLE};
    struct uri_pair pair;

    while (uri_query_next(uri, &pair)) {
        const struct param *p;

        if (!uri_decode_query(pair.key, pair.key_len, &pair.key_len)) {
            *ret_why = "a query parameter's name has a bad percent escape";
            return ERR_BAD_QUERY;
        }
        p = find(&pair);
        if (p == NULL || (taken & p->bit) == 0) {
            *ret_why = "a query parameter is not one that this route takes";
            return ERR_BAD_QUERY;
        }
        if (q.seen & p->bit) {
            *ret_why = "a query parameter appears twice";
            return ERR_BAD_QUERY;
        }
        if (!read_value(p, pair.value, pair.value_len, &q)) {
            *ret_why = p->why;
            return p->err;
        }
        q.seen |= p->bit;
    }
    if (q.seen & QUERY_AT_LEAST) {
        if (q.seen & QUERY_CONSISTENCY) {
            *ret_why = "consistency= and at_least= exclude each other";
            return ERR_BAD_QUERY;
        }
        q.consistency = SERVICE_AT_LEAST;
    }
    if ((q.seen & QUERY_AFTER) != 0 && (q.seen & (QUERY_CONSISTENCY | QUERY_AT_LEAST)) != 0) {
        *ret_why = "after= says already what the answer has to reflect: neither consistency= nor "
                   "at_least= goes with it";
        return ERR_BAD_QUERY;
    }
    if ((q.seen & QUERY_WAIT) != 0 && (q.seen & QUERY_AFTER) == 0 && (taken & QUERY_AFTER) != 0) {
        *ret_why = "wait= goes with after=";
        return ERR_BAD_QUERY;
    }
    *ret_query = q;
    return ERR_OK;
}

uint64_t query_env_id(const struct query *q)
{
    return q->seen & QUERY_ENV_ID ? q->env_id : ENV_ID_DEFAULT;
}
