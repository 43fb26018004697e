/*
 * One watch over the stream of a replica, and of the next one when that fails.
 *
 *     connecting -> following   the first event -> on_event
 *     following  -> connecting  the stream ends, or is silent for too long
 *     connecting -> connecting  nobody there: pauses, and tells once -> tell_loss
 *
 * Place in the history: the id of the last event that had one. As long as there
 * is none, a new stream begins with the present names once more, and says so.
 */
#include "client/watch.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/call.h"
#include "client/local.h"
#include "client/sse.h"

enum {
    IDLE_MS = 30000, /* bookmarks come every 10 s */
    PAUSE_MIN_MS = 50,
    PAUSE_MAX_MS = 1000,
    RESERVED_N = 4,
};

struct stream {
    struct watch *watch;
    struct sse sse;
    struct callsign_event event; /* room: it holds a name */
    struct json_read doc;
    bool has_place;
    uint64_t place; /* to go on behind */
    bool told;      /* names, without a place so far */
    bool ended;     /* the callback said so */
    bool malformed; /* the stream holds what is no event of ours */
    bool connected; /* something came since the last connection */
    bool loss_told;
};

void watch_init(struct watch *w, struct callsign *c, const struct callsign_watch *wanted,
                struct callsign_answer *answer)
{
    pthread_condattr_t attributes;

    *w = (struct watch){.c = c, .wanted = wanted, .answer = answer};
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

void watch_fini(struct watch *w)
{
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->lock);
}

bool watch_check(const struct callsign_watch *wanted, struct callsign_answer *answer)
{
    if (!call_check(answer, wanted->reserved, RESERVED_N)) {
        return false;
    }
    if (wanted->name != NULL && wanted->prefix != NULL) {
        (void)call_finish(answer, CALLSIGN_INVALID, "bad_request",
                          "a watch is of one name or of a prefix");
        return false;
    }
    if (wanted->name != NULL) {
        return call_check_name(answer, wanted->name);
    }
    return wanted->prefix == NULL || wanted->prefix[0] == '\0' ||
           call_check_name(answer, wanted->prefix);
}

void watch_stop(struct watch *w)
{
    atomic_store(&w->stopping, true);
    (void)pthread_mutex_lock(&w->lock);
    if (w->link != NULL) {
        link_interrupt(w->link);
    }
    (void)pthread_cond_broadcast(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
    if (w->c->local != NULL) {
        local_wake(w->c->local);
    }
}

/* --- Events ------------------------------------------------------------------- */

static bool tell(struct stream *s)
{
    bool go_on = s->watch->on_event(s->watch->data, &s->event);

    s->ended = !go_on;
    return go_on;
}

/* An event of which only the kind is known. */
static bool tell_kind(struct stream *s, enum callsign_event_kind kind)
{
    s->event.kind = kind;
    s->event.has_previous = false;
    s->event.revision = s->place;
    return tell(s);
}

static enum callsign_event_kind kind_of(const char *type)
{
    static const struct {
        const char *type;
        enum callsign_event_kind kind;
    } table[] = {
        {"put", CALLSIGN_EVENT_PUT},
        {"remove", CALLSIGN_EVENT_REMOVE},
        {"node_down", CALLSIGN_EVENT_NODE_DOWN},
        {"bookmark", CALLSIGN_EVENT_BOOKMARK},
        {"reset", CALLSIGN_EVENT_RESET},
        {"synced", CALLSIGN_EVENT_SYNCED},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(type, table[i].type) == 0) {
            return table[i].kind;
        }
    }
    return (enum callsign_event_kind)0;
}

static bool parse_event(struct stream *s)
{
    struct callsign_event *e = &s->event;
    unsigned previous = json_read_member(&s->doc, 0, "previous");

    e->has_previous = previous != JSON_READ_NONE;
    if (!json_read_u64(&s->doc, json_read_member(&s->doc, 0, "revision"), &e->revision) ||
        (e->has_previous &&
         (!json_read_u64(&s->doc, json_read_member(&s->doc, previous, "node_id"),
                         &e->previous_node_id) ||
          !json_read_u64(&s->doc, json_read_member(&s->doc, previous, "process_id"),
                         &e->previous_process_id) ||
          !json_read_u64(&s->doc, json_read_member(&s->doc, previous, "revision"),
                         &e->previous_revision)))) {
        return false;
    }
    switch (e->kind) {
    case CALLSIGN_EVENT_PUT:
        return call_parse_entry(&s->doc, 0, &e->entry);
    case CALLSIGN_EVENT_REMOVE:
        e->entry.node_id = 0;
        e->entry.process_id = 0;
        e->entry.revision = e->revision;
        return json_read_u64(&s->doc, json_read_member(&s->doc, 0, "env_id"), &e->entry.env_id) &&
               json_read_string(&s->doc, json_read_member(&s->doc, 0, "name"), e->entry.name,
                                sizeof(e->entry.name));
    case CALLSIGN_EVENT_NODE_DOWN:
        return json_read_u64(&s->doc, json_read_member(&s->doc, 0, "node_id"), &e->node_id) &&
               json_read_u64(&s->doc, json_read_member(&s->doc, 0, "removed"), &e->removed);
    default:
        return true;
    }
}

static bool on_sse(void *data, const struct sse_event *event)
{
    struct stream *s = data;

    s->connected = true;
    s->loss_told = false;
    s->event.kind = kind_of(event->type);
    if (s->event.kind == 0) {
        return true; /* of a later version */
    }
    if (!json_read(event->data, strlen(event->data), &s->doc) || !parse_event(s)) {
        s->malformed = true;
        return false;
    }
    s->told = true;
    if (event->id != NULL && text_to_u64(event->id, strlen(event->id), &s->place)) {
        s->has_place = true;
    }
    return tell(s);
}

/* --- Connections -------------------------------------------------------------- */

static bool on_bytes(void *data, const char *bytes, size_t n)
{
    struct stream *s = data;

    if (bytes == NULL) {
        sse_restart(&s->sse);
        return true;
    }
    if (sse_feed(&s->sse, bytes, n)) {
        return true;
    }
    s->malformed = !s->ended;
    return false;
}

static void put_target(const struct stream *s, struct text *target)
{
    const struct callsign_watch *wanted = s->watch->wanted;

    text_clear(target);
    call_put_number(target, "/api/watch?env_id=", wanted->env_id);
    if (wanted->name != NULL) {
        call_put_text(target, "&name=", wanted->name);
    } else if (wanted->prefix != NULL && wanted->prefix[0] != '\0') {
        call_put_text(target, "&prefix=", wanted->prefix);
    }
    if (wanted->has_node) {
        call_put_number(target, "&node_id=", wanted->node_id);
    }
    if (s->has_place) {
        call_put_number(target, "&after=", s->place);
    }
}

/* False: it is to stop. */
static bool pause_ms(struct watch *w, uint64_t ms)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += (time_t)(ms / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&w->lock);
    while (!atomic_load(&w->stopping) && pthread_cond_timedwait(&w->wake, &w->lock, &until) == 0) {
    }
    (void)pthread_mutex_unlock(&w->lock);
    return !atomic_load(&w->stopping);
}

/* A replica's answer that is no stream: the watch is over. */
static enum callsign_result refuse(struct watch *w, const struct link_answer *from)
{
    char message[CALLSIGN_MESSAGE_MAX] = "";

    if (from->status < 400 || from->code[0] == '\0') {
        return call_finish(w->answer, CALLSIGN_FAILED, "bad_answer",
                           "the answer is not one of callsign's");
    }
    if (!json_read_string(&from->doc, json_read_member(&from->doc, 0, "message"), message,
                          sizeof(message))) {
        (void)snprintf(message, sizeof(message), "the replica answered with status %ld",
                       from->status);
    }
    return call_finish(
        w->answer, strcmp(from->code, "route_not_found") == 0 ? CALLSIGN_FAILED : CALLSIGN_INVALID,
        from->code, message);
}

/* Follows one replica after the other; the result of the watch. */
static enum callsign_result follow(struct stream *s, struct link *l)
{
    struct watch *w = s->watch;
    struct transport *t = w->c->transport;
    struct link_request request = {
        .method = "GET", .sink = on_bytes, .data = s, .idle_ms = IDLE_MS};
    size_t index = transport_first(t);
    uint64_t pause = PAUSE_MIN_MS;
    size_t failures = 0;

    while (!atomic_load(&w->stopping)) {
        char why[LINK_WHY_MAX] = "";
        enum link_attempt attempt;

        if (!s->has_place && s->told && !tell_kind(s, CALLSIGN_EVENT_RESET)) {
            break;
        }
        s->told = false;
        s->connected = false;
        put_target(s, link_target(l));
        request.target = text_string(link_target(l));
        attempt = transport_try(t, l, &request, &index, why);
        if (s->ended || s->malformed) {
            break;
        }
        if (attempt == LINK_ANSWERED && link_answer(l)->status != 200) {
            return refuse(w, link_answer(l));
        }
        failures = s->connected ? 0 : failures + 1;
        if (failures >= transport_endpoints(t) && !s->loss_told) {
            s->loss_told = true;
            if (!tell_kind(s, CALLSIGN_EVENT_DISCONNECTED)) {
                break;
            }
        }
        pause = s->connected || pause * 2 > PAUSE_MAX_MS
                    ? (s->connected ? PAUSE_MIN_MS : PAUSE_MAX_MS)
                    : pause * 2;
        if (failures > 0 && !pause_ms(w, transport_jitter_ms(pause))) {
            break;
        }
    }
    return s->malformed ? call_finish(w->answer, CALLSIGN_FAILED, "bad_answer",
                                      "the stream holds what is no event of callsign's")
                        : CALLSIGN_DONE;
}

static void set_link(struct watch *w, struct link *l)
{
    (void)pthread_mutex_lock(&w->lock);
    w->link = l;
    if (l != NULL && atomic_load(&w->stopping)) {
        link_interrupt(l);
    }
    (void)pthread_mutex_unlock(&w->lock);
}

enum callsign_result watch_run(struct watch *w)
{
    struct stream s = {.watch = w, .has_place = w->wanted->has_after, .place = w->wanted->after};
    struct link *l;

    if (w->c->local != NULL) {
        return local_watch(w->c->local, w);
    }
    /* Never given back: it may have been interrupted, and its connection is
     * in the middle of a stream. */
    l = transport_new_link(w->c->transport);
    if (l == NULL) {
        return call_finish(w->answer, CALLSIGN_FAILED, "no_memory", "out of memory");
    }
    sse_init(&s.sse, on_sse, &s);
    set_link(w, l);
    (void)follow(&s, l);
    set_link(w, NULL);
    link_free(l);
    sse_fini(&s.sse);
    json_read_fini(&s.doc);
    return w->answer->result;
}
