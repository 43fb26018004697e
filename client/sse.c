#include "client/sse.h"

#include <stdio.h>
#include <string.h>

void sse_init(struct sse *s, sse_event_cb on_event, void *data)
{
    *s = (struct sse){.on_event = on_event, .data = data};
    text_init(&s->line, SSE_LINE_MAX);
    text_init(&s->body, SSE_LINE_MAX);
}

void sse_fini(struct sse *s)
{
    text_fini(&s->line);
    text_fini(&s->body);
}

static void begin_event(struct sse *s)
{
    text_clear(&s->body);
    s->type[0] = '\0';
    s->has_id = false;
    s->has_body = false;
}

void sse_restart(struct sse *s)
{
    text_clear(&s->line);
    s->after_cr = false;
    begin_event(s);
}

static bool dispatch(struct sse *s)
{
    struct sse_event event = {.type = s->type[0] != '\0' ? s->type : "message",
                              .data = text_string(&s->body),
                              .id = s->has_id ? s->id : NULL};
    /* Without data there is no event, says the standard. */
    bool go_on = !s->has_body || s->on_event(s->data, &event);

    begin_event(s);
    return go_on;
}

static void take_field(struct sse *s, const char *name, size_t name_len, const char *value)
{
    if (name_len == 4 && memcmp(name, "data", 4) == 0) {
        if (s->has_body) {
            text_put_string(&s->body, "\n");
        }
        text_put_string(&s->body, value);
        s->has_body = true;
    } else if (name_len == 5 && memcmp(name, "event", 5) == 0) {
        (void)snprintf(s->type, sizeof(s->type), "%s", value);
    } else if (name_len == 2 && memcmp(name, "id", 2) == 0) {
        (void)snprintf(s->id, sizeof(s->id), "%s", value);
        s->has_id = true;
    }
    /* Others, such as "retry", and comments, whose name is empty. */
}

static bool take_line(struct sse *s)
{
    const char *line = text_string(&s->line);
    const char *colon = strchr(line, ':');
    const char *value = "";
    bool go_on = true;

    if (s->line.failed) {
        return false;
    }
    if (line[0] == '\0') {
        go_on = dispatch(s);
    } else {
        if (colon != NULL) {
            value = colon[1] == ' ' ? colon + 2 : colon + 1;
        }
        take_field(s, line, colon != NULL ? (size_t)(colon - line) : strlen(line), value);
        go_on = !s->body.failed;
    }
    text_clear(&s->line);
    return go_on;
}

bool sse_feed(struct sse *s, const char *bytes, size_t n)
{
    while (n > 0) {
        size_t len = 0;

        if (s->after_cr) {
            size_t skip = bytes[0] == '\n' ? 1 : 0;

            s->after_cr = false;
            bytes += skip;
            n -= skip;
            continue;
        }
        while (len < n && bytes[len] != '\n' && bytes[len] != '\r') {
            len++;
        }
        text_put(&s->line, bytes, len);
        if (len == n) {
            return !s->line.failed;
        }
        s->after_cr = bytes[len] == '\r';
        if (!take_line(s)) {
            return false;
        }
        bytes += len + 1;
        n -= len + 1;
    }
    return true;
}
