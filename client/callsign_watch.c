#include <stdlib.h>
#include <string.h>

#include "client/callsign.h"
#include "client/watch.h"

enum callsign_result callsign_watch(struct callsign *c, const struct callsign_watch *watch,
                                    callsign_event_cb on_event, void *data,
                                    struct callsign_answer *ret_answer)
{
    struct watch w;

    if (!watch_check(watch, ret_answer)) {
        return ret_answer->result;
    }
    watch_init(&w, c, watch, ret_answer);
    w.on_event = on_event;
    w.data = data;
    (void)watch_run(&w);
    watch_fini(&w);
    return ret_answer->result;
}

struct callsign_watcher {
    struct watch watch;
    struct callsign_watch wanted;
    char *text; /* the copy of the name or the prefix; NULL */
    struct callsign_answer answer;
    pthread_t thread;
};

static void *run(void *data)
{
    struct callsign_watcher *w = data;

    (void)watch_run(&w->watch);
    return NULL;
}

static void free_watcher(struct callsign_watcher *w)
{
    watch_fini(&w->watch);
    free(w->text);
    free(w);
}

/* Copies what the request borrows. */
static bool keep(struct callsign_watcher *w, const struct callsign_watch *watch)
{
    const char *text = watch->name != NULL ? watch->name : watch->prefix;

    w->wanted = *watch;
    w->text = text != NULL ? strdup(text) : NULL;
    if (watch->name != NULL) {
        w->wanted.name = w->text;
    } else {
        w->wanted.prefix = w->text;
    }
    return text == NULL || w->text != NULL;
}

enum callsign_result callsign_watcher_start(struct callsign *c, const struct callsign_watch *watch,
                                            callsign_event_cb on_event, void *data,
                                            struct callsign_watcher **ret_watcher)
{
    struct callsign_watcher *w = calloc(1, sizeof(*w));

    if (w == NULL) {
        return CALLSIGN_FAILED;
    }
    watch_init(&w->watch, c, &w->wanted, &w->answer);
    w->watch.on_event = on_event;
    w->watch.data = data;
    if (!watch_check(watch, &w->answer)) {
        free_watcher(w);
        return CALLSIGN_INVALID;
    }
    if (!keep(w, watch) || pthread_create(&w->thread, NULL, run, w) != 0) {
        free_watcher(w);
        return CALLSIGN_FAILED;
    }
    *ret_watcher = w;
    return CALLSIGN_DONE;
}

enum callsign_result callsign_watcher_stop(struct callsign_watcher *w)
{
    enum callsign_result result;

    if (w == NULL) {
        return CALLSIGN_DONE;
    }
    watch_stop(&w->watch);
    (void)pthread_join(w->thread, NULL);
    result = w->answer.result;
    free_watcher(w);
    return result;
}
