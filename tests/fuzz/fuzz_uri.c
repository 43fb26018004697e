/*
 * fuzz_uri.c - request targets: split, routed, their query read, their name decoded; and
 * the headers that hold entity tags. The first byte chooses the method.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "http/head.h"
#include "http/query.h"
#include "http/route.h"
#include "http/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every parameter the API knows. */
enum {
    ALL_PARAMS = QUERY_NAME | QUERY_ENV_ID | QUERY_NODE_ID | QUERY_PROCESS_ID | QUERY_CONSISTENCY |
                 QUERY_AT_LEAST
};

static void try_target(char *target, size_t len, const char *method)
{
    struct query query;
    struct route_match m;
    struct uri uri;
    const char *why = NULL;
    size_t name_len;
    enum err err;

    if (!uri_split(target, len, &uri)) {
        return;
    }
    CHECK(uri.path >= target && uri.path_len + uri.query_len <= len);
    err = route_find(&uri, method, &m);
    CHECK(err == ERR_OK || m.id == ROUTE_OTHER);
    err = query_read(&uri, ALL_PARAMS, &query, &why);
    CHECK((err == ERR_OK) == (why == NULL));
    if (err == ERR_OK && (query.seen & QUERY_NAME) != 0) {
        CHECK(command_name_valid(query.name, query.name_len));
    }
    if (m.tail != NULL && uri_decode_path(m.tail, m.tail_len, &name_len)) {
        CHECK(name_len <= m.tail_len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "X"};
    struct head head = {0};
    uint64_t revision;
    bool match;
    char *text;

    if (size == 0) {
        return 0;
    }
    text = mem_alloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    head_revision(text + 1, &revision);
    head_tags_match(text + 1, 7, &match);
    head_add(&head, text + 1, text + 1);
    head_end(&head);
    try_target(text + 1, size - 1, methods[data[0] % (sizeof(methods) / sizeof(methods[0]))]);
    free(text);
    return 0;
}
