#include "http/event.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "history.h"
#include "http/entry.h"
#include "http/json.h"

static struct event *make(const struct buf *text, uint64_t revision)
{
    struct event *e = mem_alloc(sizeof(*e) + text->len);

    CHECK(!text->overflow);
    e->holders = 1;
    e->revision = revision;
    e->len = text->len;
    memcpy(e->text, text->data, text->len);
    return e;
}

static void put_number(struct buf *out, const char *before, uint64_t value)
{
    buf_put_string(out, before);
    buf_put_decimal(out, value);
}

/* The object without its closing brace. */
static void put_entry(struct buf *out, const struct entry *e)
{
    entry_put(out, e);
    CHECK(out->len > 0 && out->data[out->len - 1] == '}');
    out->len--;
}

static void put_removed(struct buf *out, const struct history_change *c)
{
    buf_put_string(out, "event: remove\ndata: {\"name\":");
    json_put_text(out, c->entry.name, c->entry.name_len);
    put_number(out, ",\"env_id\":", c->entry.env_id);
    put_number(out, ",\"revision\":", c->revision);
}

static void put_previous(struct buf *out, const struct owner *previous)
{
    put_number(out, ",\"previous\":{\"node_id\":", previous->node_id);
    put_number(out, ",\"process_id\":", previous->process_id);
    put_number(out, ",\"revision\":", previous->revision);
    buf_put_char(out, '}');
}

struct event *event_of_change(struct buf *scratch, const struct history_change *c)
{
    buf_reset(scratch);
    switch (c->kind) {
    case HISTORY_PUT:
        buf_put_string(scratch, "event: put\ndata: ");
        put_entry(scratch, &c->entry);
        break;
    case HISTORY_REMOVE:
        put_removed(scratch, c);
        break;
    case HISTORY_NODE_DOWN:
        put_number(scratch, "event: node_down\ndata: {\"node_id\":", c->node_id);
        put_number(scratch, ",\"removed\":", c->names_removed);
        put_number(scratch, ",\"revision\":", c->revision);
        break;
    }
    if (c->has_previous) {
        put_previous(scratch, &c->previous);
    }
    buf_put_string(scratch, "}\n");
    return make(scratch, c->revision);
}

struct event *event_of_entry(struct buf *scratch, const struct entry *e)
{
    buf_reset(scratch);
    buf_put_string(scratch, "event: put\ndata: ");
    entry_put(scratch, e);
    buf_put_char(scratch, '\n');
    return make(scratch, e->owner.revision);
}

struct event *event_of_place(struct buf *scratch, const char *type, uint64_t revision)
{
    buf_reset(scratch);
    buf_put_string(scratch, "event: ");
    buf_put_string(scratch, type);
    put_number(scratch, "\ndata: {\"revision\":", revision);
    buf_put_string(scratch, "}\n");
    return make(scratch, revision);
}

struct event *event_of_retry(struct buf *scratch, unsigned retry_ms)
{
    buf_reset(scratch);
    put_number(scratch, "retry: ", retry_ms);
    buf_put_char(scratch, '\n');
    return make(scratch, 0);
}

void event_hold(struct event *e)
{
    e->holders++;
}

void event_release(struct event *e)
{
    if (--e->holders == 0) {
        free(e);
    }
}
