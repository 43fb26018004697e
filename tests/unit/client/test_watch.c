#include "client/watch.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/callsign.h"
#include "scripted_server.h"

static struct callsign_answer answer;

/* What was told: one letter a kind, with the revision. The lock is for watchers
 * on threads of their own. */
struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char text[4096];
    unsigned count;
    unsigned stop_after;
    struct callsign_event last;
};

static struct told told;

static bool on_event(void *data, const struct callsign_event *e)
{
    static const char letters[] = "?PRNBXSD";
    size_t len;
    bool go_on;

    (void)data;
    (void)pthread_mutex_lock(&told.lock);
    len = strlen(told.text);
    (void)snprintf(told.text + len, sizeof(told.text) - len, "%c%llu ", letters[e->kind],
                   (unsigned long long)e->revision);
    told.last = *e;
    go_on = ++told.count != told.stop_after;
    (void)pthread_cond_broadcast(&told.changed);
    (void)pthread_mutex_unlock(&told.lock);
    return go_on;
}

static int begin(void **state)
{
    (void)state;
    told.text[0] = '\0';
    told.count = 0;
    told.stop_after = 0;
    return 0;
}

static void wait_told(unsigned count)
{
    (void)pthread_mutex_lock(&told.lock);
    while (told.count < count) {
        (void)pthread_cond_wait(&told.changed, &told.lock);
    }
    (void)pthread_mutex_unlock(&told.lock);
}

static struct callsign *open_client(const char *first, const char *second)
{
    const char *endpoints[2] = {first, second};
    struct callsign_config config = {.size = sizeof(config),
                                     .endpoints = endpoints,
                                     .endpoints_count = first == NULL    ? 0
                                                        : second != NULL ? 2
                                                                         : 1};
    struct callsign *c = NULL;

    assert_int_equal(callsign_new(&config, NULL, &c), CALLSIGN_DONE);
    return c;
}

/* --- Over a stream ------------------------------------------------------------- */

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define ENTRY(revision)                                                                            \
    "{\"node_id\":3,\"process_id\":42,\"name\":\"a\\u00e9\",\"env_id\":7,\"revision\":" revision
#define PREVIOUS ",\"previous\":{\"node_id\":1,\"process_id\":2,\"revision\":3}}"

static void follows_a_stream(void **state)
{
    static const struct step steps[] = {
        {STEP_ANSWER, STREAM "retry: 100\n\nevent: put\ndata: " ENTRY(
                          "5") "}\n\n"
                               "id: 9\nevent: synced\ndata: {\"revision\":9}\n\n"
                               "id: 10\nevent: put\ndata: " ENTRY("10") PREVIOUS
         "\n\n"
         "event: later\ndata: of a version to come\n\n"},
        {STEP_ANSWER, STREAM "id: 12\nevent: remove\ndata: {\"name\":\"b\",\"env_id\":7,"
                             "\"revision\":12" PREVIOUS "\n\n"
                             "id: 13\nevent: node_down\ndata: {\"node_id\":4,\"removed\":2,"
                             "\"revision\":13}\n\nid: 14\nevent: put\ndata: unfin"},
        {STEP_ANSWER, STREAM "id: 20\nevent: bookmark\ndata: {\"revision\":20}\n\n"
                             "id: 21\nevent: put\ndata: " ENTRY("21") "}\n\n"},
    };
    struct scripted_server *s = scripted_server_start(steps, 3);
    struct callsign *c = open_client(scripted_server_url(s), NULL);
    struct callsign_watch watch = {.env_id = 7, .prefix = "a&"};

    (void)state;
    told.stop_after = 7;
    assert_int_equal(callsign_watch(c, &watch, on_event, NULL, &answer), CALLSIGN_DONE);
    assert_string_equal(told.text, "P5 S9 P10 R12 N13 B20 P21 ");
    assert_string_equal(told.last.entry.name, "a\xc3\xa9");
    assert_false(told.last.has_previous);
    /* The third went on behind the last whole event. */
    assert_non_null(strstr(scripted_server_last(s),
                           "GET /api/watch?env_id=7&prefix=a%26&after=13 HTTP/1.1\r\n"));
    callsign_free(c);
    scripted_server_stop(s);
}

static void tells_what_is_in_an_event(void **state)
{
    static const struct step steps[] = {
        {STEP_ANSWER, STREAM "id: 12\nevent: remove\ndata: {\"name\":\"b\",\"env_id\":7,"
                             "\"revision\":12" PREVIOUS "\n\n"},
        {STEP_ANSWER, STREAM "id: 13\nevent: node_down\ndata: {\"node_id\":4,\"removed\":2,"
                             "\"revision\":13}\n\n"},
    };
    struct scripted_server *s = scripted_server_start(steps, 2);
    struct callsign *c = open_client(scripted_server_url(s), NULL);
    struct callsign_watch watch = {
        .env_id = 7, .name = "b", .has_node = true, .node_id = 1, .has_after = true, .after = 11};

    (void)state;
    told.stop_after = 1;
    assert_int_equal(callsign_watch(c, &watch, on_event, NULL, &answer), CALLSIGN_DONE);
    assert_true(told.last.has_previous);
    assert_int_equal(told.last.previous_node_id, 1);
    assert_int_equal(told.last.previous_process_id, 2);
    assert_int_equal(told.last.previous_revision, 3);
    assert_string_equal(told.last.entry.name, "b");
    assert_non_null(
        strstr(scripted_server_last(s), "?env_id=7&name=b&node_id=1&after=11 HTTP/1.1\r\n"));
    told.count = 0;
    assert_int_equal(callsign_watch(c, &watch, on_event, NULL, &answer), CALLSIGN_DONE);
    assert_int_equal(told.last.node_id, 4);
    assert_int_equal(told.last.removed, 2);
    callsign_free(c);
    scripted_server_stop(s);
}

/* Names were told, but no place: the next stream repeats them, and says so first. */
static void resets_what_had_no_place(void **state)
{
    static const struct step steps[] = {
        {STEP_ANSWER, STREAM "event: put\ndata: " ENTRY("5") "}\n\n"},
        {STEP_ANSWER,
         STREAM "event: put\ndata: " ENTRY("5") "}\n\n"
                                                "id: 9\nevent: synced\ndata: {\"revision\":9}\n\n"},
    };
    struct scripted_server *s = scripted_server_start(steps, 2);
    struct callsign *c = open_client(scripted_server_url(s), NULL);
    struct callsign_watch watch = {.env_id = 1};

    (void)state;
    told.stop_after = 4;
    assert_int_equal(callsign_watch(c, &watch, on_event, NULL, &answer), CALLSIGN_DONE);
    assert_string_equal(told.text, "P5 X0 P5 S9 ");
    callsign_free(c);
    scripted_server_stop(s);
}

/* A replica that is not there is passed over without a word; when nobody is,
 * that is told once. */
static void goes_on_with_the_next_replica(void **state)
{
    static const struct step no_leader[] = {
        {STEP_ANSWER, "HTTP/1.1 503 No\r\nContent-Length: 24\r\n\r\n{\"code\":\"not_caught_up\"}"}};
    static const struct step steps[] = {
        {STEP_ANSWER, STREAM "id: 9\nevent: synced\ndata: {\"revision\":9}\n\n"},
        {STEP_RESET, NULL},
        {STEP_CLOSE, NULL},
        {STEP_ANSWER, STREAM "id: 10\nevent: put\ndata: " ENTRY("10") "}\n\n"},
    };
    struct scripted_server *first = scripted_server_start(no_leader, 1);
    struct scripted_server *second = scripted_server_start(steps, 4);
    struct callsign *c = open_client(scripted_server_url(first), scripted_server_url(second));
    struct callsign_watch watch = {.env_id = 1};

    (void)state;
    told.stop_after = 3;
    assert_int_equal(callsign_watch(c, &watch, on_event, NULL, &answer), CALLSIGN_DONE);
    assert_string_equal(told.text, "S9 D9 P10 ");
    callsign_free(c);
    scripted_server_stop(first);
    scripted_server_stop(second);
}

static void ends_on_a_refusal(void **state)
{
    static const struct {
        const char *text;
        enum callsign_result result;
    } table[] = {
        {"HTTP/1.1 403 No\r\nContent-Length: 39\r\n\r\n{\"code\":\"forbidden\",\"message\":\"not "
         "yo\"}",
         CALLSIGN_INVALID},
        {"HTTP/1.1 404 No\r\nContent-Length: 26\r\n\r\n{\"code\":\"route_not_found\"}",
         CALLSIGN_FAILED},
        {"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nnope", CALLSIGN_FAILED},
        {STREAM "event: put\ndata: {\"no\":\"entry\"}\n\n", CALLSIGN_FAILED},
        {STREAM "event: put\ndata: no json\n\n", CALLSIGN_FAILED},
    };
    struct callsign_watch watch = {.env_id = 1};

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct step step = {STEP_ANSWER, table[i].text};
        struct scripted_server *s = scripted_server_start(&step, 1);
        struct callsign *c = open_client(scripted_server_url(s), NULL);

        print_message("row %zu\n", i);
        assert_int_equal(callsign_watch(c, &watch, on_event, NULL, &answer), table[i].result);
        assert_true(answer.message[0] != '\0');
        assert_int_equal(told.count, 0);
        callsign_free(c);
        scripted_server_stop(s);
    }
    watch.name = "a";
    watch.prefix = "a";
    assert_int_equal(callsign_watch(NULL, &watch, on_event, NULL, &answer), CALLSIGN_INVALID);
}

/* A watcher in the middle of a silent stream, and one that finds nobody. */
static void stops_at_once(void **state)
{
    static const struct step silent[] = {{STEP_SILENCE, NULL}};
    struct scripted_server *s = scripted_server_start(silent, 1);
    struct callsign *c = open_client(scripted_server_url(s), NULL);
    struct callsign_watch watch = {.env_id = 1, .name = "n"};
    struct callsign_watcher *w = NULL;

    (void)state;
    assert_int_equal(callsign_watcher_start(c, &watch, on_event, NULL, &w), CALLSIGN_DONE);
    while (scripted_server_requests(s) == 0) {
        (void)sched_yield();
    }
    assert_int_equal(callsign_watcher_stop(w), CALLSIGN_DONE);
    scripted_server_stop(s);

    assert_int_equal(callsign_watcher_start(c, &watch, on_event, NULL, &w), CALLSIGN_DONE);
    wait_told(1);
    assert_int_equal(callsign_watcher_stop(w), CALLSIGN_DONE);
    /* Once for each attempt; how many there were depends on the machine. */
    assert_memory_equal(told.text, "D0 ", 3);
    assert_int_equal(callsign_watcher_stop(NULL), CALLSIGN_DONE);
    callsign_free(c);
}

/* --- In local mode -------------------------------------------------------------- */

static void put(struct callsign *c, uint64_t env_id, const char *name, uint64_t node_id)
{
    struct callsign_put p = {.env_id = env_id, .name = name, .node_id = node_id, .process_id = 1};

    assert_int_equal(callsign_put(c, &p, &answer), CALLSIGN_DONE);
}

static void rem(struct callsign *c, const char *name)
{
    struct callsign_remove r = {.env_id = 1, .name = name};

    assert_int_equal(callsign_remove(c, &r, &answer), CALLSIGN_DONE);
}

static void watches_the_local_table(void **state)
{
    struct callsign *c = open_client(NULL, NULL);
    struct callsign_watch watch = {.env_id = 1, .prefix = "a"};
    struct callsign_watcher *w = NULL;
    uint64_t removed;

    (void)state;
    put(c, 1, "a1", 1);
    put(c, 1, "b1", 1);
    put(c, 2, "a2", 1);
    assert_int_equal(callsign_watcher_start(c, &watch, on_event, NULL, &w), CALLSIGN_DONE);
    wait_told(2);
    put(c, 1, "a3", 2);
    put(c, 1, "b3", 2);
    wait_told(3);
    assert_string_equal(told.last.entry.name, "a3");
    rem(c, "a1");
    wait_told(4);
    assert_int_equal(told.last.previous_revision, 1);
    assert_int_equal(callsign_node_remove(c, 2, &removed, &answer), CALLSIGN_DONE);
    assert_int_equal(removed, 2);
    wait_told(5);
    assert_string_equal(told.text, "P1 S3 P4 R6 N7 ");
    assert_int_equal(told.last.node_id, 2);
    assert_int_equal(callsign_watcher_stop(w), CALLSIGN_DONE);
    callsign_free(c);
}

static void goes_on_behind_a_revision(void **state)
{
    struct callsign *c = open_client(NULL, NULL);
    struct callsign_watch watch = {.env_id = 1, .has_after = true, .after = 1};

    (void)state;
    put(c, 1, "a", 1);
    put(c, 1, "b", 1);
    rem(c, "a");
    told.stop_after = 2;
    assert_int_equal(callsign_watch(c, &watch, on_event, NULL, &answer), CALLSIGN_DONE);
    assert_string_equal(told.text, "P2 R3 ");
    for (unsigned i = 0; i < 4096; i++) {
        put(c, 2, "other", i % 2);
    }
    begin(NULL);
    told.stop_after = 3; /* what is behind 1 was forgotten by now */
    assert_int_equal(callsign_watch(c, &watch, on_event, NULL, &answer), CALLSIGN_DONE);
    assert_string_equal(told.text, "X4099 P2 S4099 ");
    begin(NULL);
    watch.has_after = false;
    watch.has_node = true;
    watch.node_id = 1;
    watch.name = "b";
    told.stop_after = 2;
    assert_int_equal(callsign_watch(c, &watch, on_event, NULL, &answer), CALLSIGN_DONE);
    assert_string_equal(told.text, "P2 S4099 ");
    callsign_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(follows_a_stream, begin),
        cmocka_unit_test_setup(tells_what_is_in_an_event, begin),
        cmocka_unit_test_setup(resets_what_had_no_place, begin),
        cmocka_unit_test_setup(goes_on_with_the_next_replica, begin),
        cmocka_unit_test_setup(ends_on_a_refusal, begin),
        cmocka_unit_test_setup(stops_at_once, begin),
        cmocka_unit_test_setup(watches_the_local_table, begin),
        cmocka_unit_test_setup(goes_on_behind_a_revision, begin),
    };

    (void)pthread_mutex_init(&told.lock, NULL);
    (void)pthread_cond_init(&told.changed, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
