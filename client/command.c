#include "client/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/command_state.h"

/* --- Failures --------------------------------------------------------------------- */

enum { BODY_BYTES_MAX = 4 << 20 };

static void explain(const struct options *o, const struct callsign_answer *a)
{
    (void)fprintf(stderr, "callsign: ");
    switch (a->result) {
    case CALLSIGN_NOT_FOUND:
        if (strcmp(a->code, "process_not_found") == 0 && o->name != NULL) {
            print_visible(stderr, o->name);
            (void)fprintf(stderr, " is not registered in environment %" PRIu64 "\n", o->env_id);
            return;
        }
        break;
    case CALLSIGN_UNAVAILABLE:
        (void)fprintf(stderr, "unavailable, nothing was changed: ");
        break;
    case CALLSIGN_UNKNOWN:
        (void)fprintf(stderr, "the outcome is unknown: the write may have taken effect, or may "
                              "still. See what holds with 'callsign get', then decide: ");
        break;
    case CALLSIGN_REFUSED:
        (void)fprintf(stderr, "refused (%s): ", a->code);
        break;
    case CALLSIGN_DONE:
    case CALLSIGN_INVALID:
    case CALLSIGN_FAILED:
    case CALLSIGN_UNCHANGED:
        break;
    }
    print_visible(stderr, a->message);
    (void)fputc('\n', stderr);
}

enum callsign_result command_fail(const struct command *r)
{
    if (r->form == PRINT_JSON) {
        print_failure_json(stdout, &r->answer);
    } else {
        explain(r->o, &r->answer);
        if (r->answer.has_entry) {
            print_entry(stdout, r->form, &r->answer.entry);
        }
    }
    return r->answer.result;
}

/* Prints the entry of a call that went well. */
static enum callsign_result finish_entry(const struct command *r)
{
    if (r->answer.result != CALLSIGN_DONE) {
        return command_fail(r);
    }
    print_entry(stdout, r->form, &r->answer.entry);
    return CALLSIGN_DONE;
}

/* Of a call that has nothing to show but that it went well. */
enum callsign_result command_finish(const struct command *r)
{
    if (r->answer.result != CALLSIGN_DONE) {
        return command_fail(r);
    }
    if (r->form == PRINT_JSON) {
        (void)printf("{\"outcome\":\"done\"}\n");
    }
    return CALLSIGN_DONE;
}

/* --- Names -------------------------------------------------------------------------- */

static enum callsign_result put(struct command *r)
{
    const struct options *o = r->o;
    struct callsign_put p = {.env_id = o->env_id,
                             .name = o->name,
                             .node_id = o->node_id,
                             .process_id = o->process_id,
                             .if_absent = o->if_absent,
                             .has_if_revision = o->has_if_revision,
                             .if_revision = o->if_revision};

    (void)callsign_put(r->c, &p, &r->answer);
    return finish_entry(r);
}

static enum callsign_result get(struct command *r)
{
    const struct options *o = r->o;
    struct callsign_get g = {.env_id = o->env_id,
                             .name = o->name,
                             .consistency = o->consistency,
                             .at_least = o->at_least,
                             .has_after = o->has_after,
                             .after = o->after,
                             .wait_ms = o->wait_ms};

    (void)callsign_get(r->c, &g, &r->answer);
    return finish_entry(r);
}

static enum callsign_result remove_name(struct command *r)
{
    const struct options *o = r->o;
    struct callsign_remove rem = {.env_id = o->env_id,
                                  .name = o->name,
                                  .has_if_owner = o->has_if_owner,
                                  .if_node_id = o->if_node_id,
                                  .if_process_id = o->if_process_id,
                                  .has_if_revision = o->has_if_revision,
                                  .if_revision = o->if_revision};

    (void)callsign_remove(r->c, &rem, &r->answer);
    return finish_entry(r);
}

static bool on_entry(void *data, const struct callsign_entry *entry)
{
    struct command *r = data;

    progress_add(&r->progress, 1);
    print_entry(stdout, r->form, entry);
    return ferror(stdout) == 0;
}

/* Printed as it comes: columns that fit all names would have to wait for the last. */
static enum callsign_result list(struct command *r)
{
    const struct options *o = r->o;
    const struct callsign_list l = {.env_id = o->env_id,
                                    .prefix = o->prefix,
                                    .has_node = o->has_node,
                                    .node_id = o->node_id,
                                    .consistency = o->consistency,
                                    .at_least = o->at_least};

    progress_begin(&r->progress, "names", isatty(STDOUT_FILENO) == 0);
    if (r->form == PRINT_TABLE) {
        r->form = PRINT_PLAIN;
    }
    (void)callsign_list(r->c, &l, on_entry, r, &r->answer);
    progress_end(&r->progress);
    return r->answer.result == CALLSIGN_DONE ? CALLSIGN_DONE : command_fail(r);
}

/* --- Watches ---------------------------------------------------------------------------- */

static bool on_event(void *data, const struct callsign_event *event)
{
    const struct command *r = data;

    print_event(stdout, r->form, event);
    return fflush(stdout) == 0;
}

/* The default of SIGINT suits a watch: it ends the program, and nothing is lost. */
static enum callsign_result watch(struct command *r)
{
    const struct options *o = r->o;
    const struct callsign_watch w = {.env_id = o->env_id,
                                     .name = o->name,
                                     .prefix = o->prefix,
                                     .has_node = o->has_node,
                                     .node_id = o->node_id,
                                     .has_after = o->has_after,
                                     .after = o->after};

    (void)callsign_watch(r->c, &w, on_event, r, &r->answer);
    return r->answer.result == CALLSIGN_DONE ? CALLSIGN_DONE : command_fail(r);
}

/* --- Claims ------------------------------------------------------------------------- */

static enum callsign_result claim(struct command *r)
{
    const struct options *o = r->o;
    const struct callsign_claim wanted = {.env_id = o->env_id,
                                          .name = o->name,
                                          .node_id = o->node_id,
                                          .ttl_ms = o->ttl_ms,
                                          .wait_ms = o->wait_ms};
    struct callsign_claimed claimed = {.id = ""};

    (void)callsign_claim(r->c, &wanted, &claimed, &r->answer);
    if (r->answer.result != CALLSIGN_DONE || r->answer.has_entry) {
        return finish_entry(r);
    }
    if (r->form == PRINT_JSON) {
        (void)printf("{\"claim_id\":\"%s\",\"expires_in_ms\":%" PRIu64 "}\n", claimed.id,
                     claimed.expires_in_ms);
    } else {
        (void)printf("claim\t%s\t%" PRIu64 "\n", claimed.id, claimed.expires_in_ms);
    }
    return CALLSIGN_DONE;
}

/* The claim that the command line names; false: it cannot be one. */
static bool read_claimed(struct command *r, struct callsign_claimed *ret_claimed)
{
    if (strlen(r->o->name) >= sizeof(ret_claimed->id)) {
        r->answer.result = CALLSIGN_INVALID;
        (void)snprintf(r->answer.message, sizeof(r->answer.message), "that is no id of a claim");
        return false;
    }
    (void)snprintf(ret_claimed->id, sizeof(ret_claimed->id), "%s", r->o->name);
    return true;
}

static enum callsign_result claim_confirm(struct command *r)
{
    struct callsign_claimed claimed;

    if (read_claimed(r, &claimed)) {
        (void)callsign_claim_confirm(r->c, &claimed, r->o->process_id, &r->answer);
    }
    return finish_entry(r);
}

static enum callsign_result claim_abort(struct command *r)
{
    struct callsign_claimed claimed;

    if (read_claimed(r, &claimed)) {
        (void)callsign_claim_abort(r->c, &claimed, &r->answer);
    }
    return command_finish(r);
}

/* --- What a replica says in JSON ------------------------------------------------------ */

static bool on_body(void *data, const char *bytes, size_t n)
{
    struct text *text = data;

    if (bytes == NULL) {
        text_clear(text);
        return true;
    }
    text_put(text, bytes, n);
    return !text->failed;
}

bool command_fetch(struct command *r, const char *path, struct command_body *ret_body)
{
    text_init(&ret_body->text, BODY_BYTES_MAX);
    ret_body->doc = (struct json_read){.count = 0};
    if (callsign_fetch(r->c, path, on_body, &ret_body->text, &r->answer) != CALLSIGN_DONE) {
        return false;
    }
    (void)json_read(text_string(&ret_body->text), ret_body->text.len, &ret_body->doc);
    return true;
}

void command_free_body(struct command_body *body)
{
    json_read_fini(&body->doc);
    text_fini(&body->text);
}

/* --- All of them ------------------------------------------------------------------------- */

enum callsign_result command_run(struct callsign *c, const struct callsign_config *config,
                                 const struct options *o, enum print_form form)
{
    static enum callsign_result (*const runs[OPTIONS_COMMANDS_N])(struct command *) = {
        [OPTIONS_PUT] = put,
        [OPTIONS_GET] = get,
        [OPTIONS_REMOVE] = remove_name,
        [OPTIONS_LIST] = list,
        [OPTIONS_WATCH] = watch,
        [OPTIONS_CLAIM] = claim,
        [OPTIONS_CLAIM_CONFIRM] = claim_confirm,
        [OPTIONS_CLAIM_ABORT] = claim_abort,
        [OPTIONS_NODE_LIST] = command_node_list,
        [OPTIONS_NODE_UP] = command_node_up,
        [OPTIONS_NODE_KEEP] = command_node_keep,
        [OPTIONS_NODE_DOWN] = command_node_down,
        [OPTIONS_MEMBER_LIST] = command_member_list,
        [OPTIONS_MEMBER_ADD] = command_member_add,
        [OPTIONS_MEMBER_REMOVE] = command_member_remove,
        [OPTIONS_MEMBER_LEAD] = command_member_lead,
        [OPTIONS_SNAPSHOT_SAVE] = command_snapshot_save,
        [OPTIONS_SNAPSHOT_INSPECT] = command_snapshot_inspect,
        [OPTIONS_STATUS] = command_status,
        [OPTIONS_HEALTH] = command_health,
        [OPTIONS_DOCTOR] = command_doctor,
        [OPTIONS_VERSION_COMMAND] = command_version,
    };
    static struct command r;

    r = (struct command){.c = c, .config = config, .o = o, .form = form};
    return runs[o->command](&r);
}
