#include "client/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What was told, as text: "type|data|id;" each. */
static char told[4096];
static unsigned left; /* events until the reader is stopped */

static bool on_event(void *data, const struct sse_event *e)
{
    size_t len = strlen(told);

    (void)data;
    (void)snprintf(told + len, sizeof(told) - len, "%s|%s|%s;", e->type, e->data,
                   e->id != NULL ? e->id : "-");
    return --left > 0;
}

/* Feeds the stream in pieces of n bytes. */
static bool feed(struct sse *s, const char *stream, size_t n)
{
    size_t len = strlen(stream);

    told[0] = '\0';
    left = 100;
    for (size_t at = 0; at < len; at += n) {
        if (!sse_feed(s, stream + at, len - at < n ? len - at : n)) {
            return false;
        }
    }
    return true;
}

static void reads_in_any_pieces(void **state)
{
    static const char stream[] = ": hello\n"
                                 "retry: 100\n\n"
                                 "id: 1042\nevent: put\ndata: {\"a\":1}\n\n"
                                 "event:remove\rdata:x\r\r"
                                 "data: one\r\ndata: two\r\n\r\n"
                                 "event: nothing\n\n"
                                 "unknown: y\ndata\n\n"
                                 "data: unfinished\n";
    struct sse s;

    (void)state;
    for (size_t n = 1; n < sizeof(stream); n++) {
        sse_init(&s, on_event, NULL);
        assert_true(feed(&s, stream, n));
        assert_string_equal(told, "put|{\"a\":1}|1042;remove|x|-;message|one\ntwo|-;message||-;");
        sse_fini(&s);
    }
}

static void stops_and_begins_anew(void **state)
{
    struct sse s;

    (void)state;
    sse_init(&s, on_event, NULL);
    assert_true(feed(&s, "id: 7\nevent: put\ndata: half", 3));
    sse_restart(&s);
    assert_true(feed(&s, "data: whole\n\n", 3));
    assert_string_equal(told, "message|whole|-;");
    told[0] = '\0';
    left = 1;
    assert_false(sse_feed(&s, "data: a\n\ndata: b\n\n", 18));
    assert_string_equal(told, "message|a|-;");
    sse_fini(&s);
}

static void bounds_its_lines(void **state)
{
    char *line = malloc(SSE_LINE_MAX + 2);
    struct sse s;

    (void)state;
    assert_non_null(line);
    memset(line, 'x', SSE_LINE_MAX + 1);
    line[SSE_LINE_MAX + 1] = '\0';
    sse_init(&s, on_event, NULL);
    assert_true(feed(&s, line + 1, 1000));
    assert_false(sse_feed(&s, "x", 1));
    sse_fini(&s);
    /* Many lines of data, each of which fits. */
    sse_init(&s, on_event, NULL);
    memcpy(line, "data: ", 6);
    line[SSE_LINE_MAX / 2] = '\n';
    assert_true(sse_feed(&s, line, SSE_LINE_MAX / 2 + 1));
    assert_true(sse_feed(&s, line, SSE_LINE_MAX / 2 + 1));
    assert_false(sse_feed(&s, line, SSE_LINE_MAX / 2 + 1));
    sse_fini(&s);
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_in_any_pieces),
        cmocka_unit_test(stops_and_begins_anew),
        cmocka_unit_test(bounds_its_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
