/*
 * command_state.h - what the files of the commands share: one command under way,
 * and how it ends.
 *
 * Threads: one. Memory: a body is as large as what the replica sends, up to 4 MiB.
 */
#ifndef CALLSIGN_CLIENT_COMMAND_STATE_H
#define CALLSIGN_CLIENT_COMMAND_STATE_H

#include "client/callsign.h"
#include "client/json_read.h"
#include "client/options.h"
#include "client/print.h"
#include "client/progress.h"
#include "client/text.h"

struct command {
    struct callsign *c;
    const struct callsign_config *config; /* that `c` was made of */
    const struct options *o;
    enum print_form form;
    struct progress progress;
    struct callsign_answer answer;
};

/* Says why, in the form that was asked for; the answer's result. */
enum callsign_result command_fail(const struct command *r);
/* Of a call that has nothing to show but that it went well, or did not. */
enum callsign_result command_finish(const struct command *r);

/* What a route answers, as text and read. */
struct command_body {
    struct text text;
    struct json_read doc;
};

/* Whether it answered; command_free_body() has to follow in any case. */
bool command_fetch(struct command *r, const char *path, struct command_body *ret_body);
void command_free_body(struct command_body *body);

enum callsign_result command_node_list(struct command *r);
enum callsign_result command_node_up(struct command *r);
enum callsign_result command_node_keep(struct command *r);
enum callsign_result command_node_down(struct command *r);

enum callsign_result command_status(struct command *r);
enum callsign_result command_health(struct command *r);
enum callsign_result command_doctor(struct command *r);
enum callsign_result command_version(struct command *r);
enum callsign_result command_member_list(struct command *r);
enum callsign_result command_member_add(struct command *r);
enum callsign_result command_member_remove(struct command *r);
enum callsign_result command_member_lead(struct command *r);
enum callsign_result command_snapshot_save(struct command *r);
enum callsign_result command_snapshot_inspect(struct command *r);

#endif
