/* Nodes: lists of them, leases, their end. */
#include <inttypes.h>
#include <signal.h>

#include "client/command_state.h"
#include "client/print_table.h"

enum { PATH_BYTES_MAX = 4096 };

static void put_json_number(struct print_table *t, unsigned column, const struct json_read *doc,
                            unsigned node)
{
    uint64_t value = 0;
    bool known = json_read_u64(doc, node, &value);

    print_table_number(t, column, known, value);
}

static void print_nodes(const struct command *r, const struct json_read *doc)
{
    static const char *const headings[] = {"NODE",  "STATE",   "TTL MS", "LEFT MS",
                                           "NAMES", "ADDRESS", NULL};
    static struct print_table t;
    unsigned nodes = json_read_member(doc, 0, "nodes");

    print_table_begin(&t, headings);
    for (unsigned i = json_read_first(doc, nodes); i != JSON_READ_NONE && !print_table_is_full(&t);
         i = json_read_after(doc, nodes, i)) {
        char text[PRINT_TABLE_CELL_MAX] = "";

        put_json_number(&t, 0, doc, json_read_member(doc, i, "node_id"));
        (void)json_read_string(doc, json_read_member(doc, i, "state"), text, sizeof(text));
        print_table_text(&t, 1, text);
        put_json_number(&t, 2, doc, json_read_member(doc, i, "ttl_ms"));
        put_json_number(&t, 3, doc, json_read_member(doc, i, "lease_left_ms"));
        put_json_number(&t, 4, doc, json_read_member(doc, i, "names"));
        text[0] = '\0';
        (void)json_read_string(doc, json_read_member(doc, i, "address"), text, sizeof(text));
        print_table_text(&t, 5, text);
        print_table_row(&t);
    }
    if (r->form == PRINT_PLAIN) {
        print_table_plain(stdout, &t);
    } else {
        print_table_padded(stdout, &t, false);
    }
}

enum callsign_result command_node_list(struct command *r)
{
    struct text path;
    char cursor[256] = "";
    bool more = true;

    text_init(&path, PATH_BYTES_MAX);
    while (more) {
        struct command_body body;

        text_clear(&path);
        text_put_string(&path, "/api/nodes?limit=100");
        if (cursor[0] != '\0') {
            text_put_string(&path, "&cursor=");
            text_put_percent(&path, cursor);
        }
        more = false;
        if (command_fetch(r, text_string(&path), &body)) {
            if (r->form == PRINT_JSON) {
                (void)fputs(text_string(&body.text), stdout);
            } else {
                print_nodes(r, &body.doc);
            }
            more = json_read_string(&body.doc, json_read_member(&body.doc, 0, "next"), cursor,
                                    sizeof(cursor));
        }
        command_free_body(&body);
    }
    text_fini(&path);
    return r->answer.result == CALLSIGN_DONE ? CALLSIGN_DONE : command_fail(r);
}

/* --- What lasts until somebody interrupts it ------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* SIGINT and SIGTERM end what lasts, in order. They are blocked from here on, and
 * let in only while wait_for_signal() waits. */
static void catch_signals(sigset_t *ret_mask)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t ends;

    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &ends, ret_mask);
}

static void wait_for_signal(const sigset_t *mask)
{
    while (interrupted == 0) {
        (void)sigsuspend(mask);
    }
}

static struct callsign_node node_of(const struct options *o)
{
    return (struct callsign_node){
        .node_id = o->node_id, .ttl_ms = o->ttl_ms, .address = o->address};
}

enum callsign_result command_node_up(struct command *r)
{
    struct callsign_node node = node_of(r->o);

    (void)callsign_node_register(r->c, &node, &r->answer);
    return command_finish(r);
}

static void on_node(void *data, enum callsign_node_event event)
{
    static const char *const texts[] = {
        [CALLSIGN_NODE_LOST] = "the lease has ended: the node's names are gone",
        [CALLSIGN_NODE_RESTORED] = "there is a lease again: its processes have to register again",
        [CALLSIGN_NODE_SILENT] = "no heartbeat gets through",
        [CALLSIGN_NODE_HEARD] = "heartbeats get through again",
    };

    (void)data;
    (void)fprintf(stderr, "callsign: %s\n", texts[event]);
}

/* Interrupted in order, the node goes down at once instead of running out. */
enum callsign_result command_node_keep(struct command *r)
{
    struct callsign_node node = node_of(r->o);
    struct callsign_keeper *keeper = NULL;
    uint64_t removed = 0;
    sigset_t mask;

    if (callsign_node_register(r->c, &node, &r->answer) != CALLSIGN_DONE) {
        return command_fail(r);
    }
    catch_signals(&mask);
    if (callsign_keeper_start(r->c, &node, on_node, NULL, &keeper) != CALLSIGN_DONE) {
        (void)fprintf(stderr, "callsign: the lease could not be kept\n");
        return CALLSIGN_FAILED;
    }
    (void)command_finish(r);
    (void)fflush(stdout);
    wait_for_signal(&mask);
    callsign_keeper_stop(keeper);
    (void)callsign_node_remove(r->c, node.node_id, &removed, &r->answer);
    return r->answer.result == CALLSIGN_DONE ? CALLSIGN_DONE : command_fail(r);
}

enum callsign_result command_node_down(struct command *r)
{
    uint64_t removed = 0;

    if (callsign_node_remove(r->c, r->o->node_id, &removed, &r->answer) != CALLSIGN_DONE) {
        return command_fail(r);
    }
    (void)printf(r->form == PRINT_JSON ? "{\"removed\":%" PRIu64 "}\n" : "%" PRIu64 "\n", removed);
    return CALLSIGN_DONE;
}
