/*
 * Keeps a copy of who holds one name, and prints it whenever it changes:
 * follow NAME CHANGES [URL]...
 *
 * Ends after so many changes.
 */
#include <callsign.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct holder {
    bool held;
    uint64_t node_id;
    uint64_t process_id;
    unsigned long changes_left;
};

static bool show(struct holder *h)
{
    if (h->held) {
        (void)printf("%" PRIu64 " %" PRIu64 "\n", h->node_id, h->process_id);
    } else {
        (void)printf("nobody\n");
    }
    (void)fflush(stdout);
    return --h->changes_left > 0;
}

static bool on_event(void *data, const struct callsign_event *event)
{
    struct holder *h = data;

    switch (event->kind) {
    case CALLSIGN_EVENT_PUT:
        h->held = true;
        h->node_id = event->entry.node_id;
        h->process_id = event->entry.process_id;
        return show(h);
    case CALLSIGN_EVENT_REMOVE:
        h->held = false;
        return show(h);
    case CALLSIGN_EVENT_NODE_DOWN:
        if (h->held && h->node_id == event->node_id) {
            h->held = false;
            return show(h);
        }
        return true;
    case CALLSIGN_EVENT_RESET:
        /* What is held will be told again; if nobody is, nothing will. */
        h->held = false;
        return true;
    case CALLSIGN_EVENT_DISCONNECTED:
        (void)fprintf(stderr, "no replica; what is known may be old\n");
        return true;
    case CALLSIGN_EVENT_BOOKMARK:
    case CALLSIGN_EVENT_SYNCED:
        break;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct callsign_config config = {.size = sizeof(config),
                                     .endpoints = (const char *const *)argv + 3,
                                     .endpoints_count = argc > 3 ? (size_t)argc - 3 : 0};
    struct callsign_answer answer;
    struct callsign *c;

    if (argc < 4 || callsign_new(&config, NULL, &c) != CALLSIGN_DONE) {
        (void)fprintf(stderr, "usage: follow NAME CHANGES URL...\n");
        return 2;
    }

    struct callsign_watch watch = {.env_id = CALLSIGN_ENV_DEFAULT, .name = argv[1]};
    struct holder holder = {.changes_left = strtoul(argv[2], NULL, 10)};

    if (callsign_watch(c, &watch, on_event, &holder, &answer) != CALLSIGN_DONE) {
        (void)fprintf(stderr, "%s: %s\n", callsign_result_name(answer.result), answer.message);
    }
    callsign_free(c);
    return (int)answer.result;
}
