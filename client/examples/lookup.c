/*
 * Looks a name up over several replicas, of which some may be down:
 * lookup NAME [URL]...
 *
 * "Not registered" is said only when it is sure. An outage is another thing, and
 * ends with another status: a program that took one for the other would start
 * a second singleton.
 */
#include <callsign.h>
#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct callsign_config config = {.size = sizeof(config),
                                     .endpoints = (const char *const *)argv + 2,
                                     .endpoints_count = argc > 2 ? (size_t)argc - 2 : 0,
                                     .timeout_ms = 10000};
    struct callsign_answer answer;
    struct callsign *c;

    if (argc < 2 || callsign_new(&config, NULL, &c) != CALLSIGN_DONE) {
        (void)fprintf(stderr, "usage: lookup NAME [URL]...\n");
        return 2;
    }

    struct callsign_get get = {.env_id = CALLSIGN_ENV_DEFAULT, .name = argv[1]};

    if (callsign_get(c, &get, &answer) == CALLSIGN_UNAVAILABLE) {
        /* An old answer may be better than none: that is for the program to say. */
        get.consistency = CALLSIGN_STALE;
        (void)callsign_get(c, &get, &answer);
    }
    if (answer.result == CALLSIGN_DONE) {
        (void)printf("%" PRIu64 " %" PRIu64 "\n", answer.entry.node_id, answer.entry.process_id);
    } else {
        (void)fprintf(stderr, "%s: %s\n", callsign_result_name(answer.result), answer.message);
    }
    callsign_free(c);
    return (int)answer.result;
}
