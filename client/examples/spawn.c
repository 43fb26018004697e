/*
 * Get or spawn: finds the process that is registered, or is the one of all nodes
 * that starts it: spawn NAME NODE_ID [URL]...
 *
 * The process that is started here is only a number.
 */
#include <callsign.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The new process, or 0 if it could not be started. */
static uint64_t start_process(void)
{
    return (uint64_t)getpid();
}

static enum callsign_result spawn(struct callsign *c, const struct callsign_claimed *claimed,
                                  struct callsign_answer *answer)
{
    uint64_t process_id = start_process();

    if (process_id == 0) {
        /* Whoever waits longest is to try next, at once. */
        (void)callsign_claim_abort(c, claimed, answer);
        return CALLSIGN_FAILED;
    }
    return callsign_claim_confirm(c, claimed, process_id, answer);
}

int main(int argc, char **argv)
{
    struct callsign_config config = {.size = sizeof(config),
                                     .endpoints = (const char *const *)argv + 3,
                                     .endpoints_count = argc > 3 ? (size_t)argc - 3 : 0};
    enum callsign_result result;
    struct callsign_claimed claimed;
    struct callsign_answer answer;
    struct callsign *c;

    if (argc < 3 || callsign_new(&config, NULL, &c) != CALLSIGN_DONE) {
        (void)fprintf(stderr, "usage: spawn NAME NODE_ID [URL]...\n");
        return 2;
    }

    struct callsign_claim claim = {.env_id = CALLSIGN_ENV_DEFAULT,
                                   .name = argv[1],
                                   .node_id = strtoull(argv[2], NULL, 10),
                                   .ttl_ms = 10000,
                                   .wait_ms = 20000};

    result = callsign_claim(c, &claim, &claimed, &answer);
    if (result == CALLSIGN_DONE && answer.has_entry) {
        (void)printf("found %" PRIu64 " %" PRIu64 "\n", answer.entry.node_id,
                     answer.entry.process_id);
    } else if (result == CALLSIGN_DONE) {
        result = spawn(c, &claimed, &answer);
        if (result == CALLSIGN_DONE) {
            (void)printf("spawned %" PRIu64 " %" PRIu64 "\n", answer.entry.node_id,
                         answer.entry.process_id);
        }
    }
    if (result != CALLSIGN_DONE) {
        (void)fprintf(stderr, "%s: %s\n", callsign_result_name(result), answer.message);
    }
    callsign_free(c);
    return (int)result;
}
