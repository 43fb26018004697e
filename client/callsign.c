#include "client/callsign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/call.h"
#include "client/local.h"

/* Words of `reserved` in every request. */
enum { RESERVED_N = 4 };

const char *callsign_version(void)
{
    return PACKAGE_VERSION;
}

const char *callsign_result_name(enum callsign_result result)
{
    switch (result) {
    case CALLSIGN_DONE:
        return "done";
    case CALLSIGN_NOT_FOUND:
        return "not_found";
    case CALLSIGN_INVALID:
        return "invalid";
    case CALLSIGN_REFUSED:
        return "refused";
    case CALLSIGN_UNAVAILABLE:
        return "unavailable";
    case CALLSIGN_UNKNOWN:
        return "unknown";
    case CALLSIGN_UNCHANGED:
        return "unchanged";
    case CALLSIGN_FAILED:
        break;
    }
    return "failed";
}

enum callsign_outcome callsign_outcome(enum callsign_result result)
{
    switch (result) {
    case CALLSIGN_UNAVAILABLE:
    case CALLSIGN_FAILED:
        return CALLSIGN_OUTCOME_NOTHING;
    case CALLSIGN_DONE:
    case CALLSIGN_NOT_FOUND:
    case CALLSIGN_INVALID:
    case CALLSIGN_REFUSED:
    case CALLSIGN_UNCHANGED:
        return CALLSIGN_OUTCOME_DECIDED;
    case CALLSIGN_UNKNOWN:
        break;
    }
    return CALLSIGN_OUTCOME_UNKNOWN;
}

/* --- The handle ------------------------------------------------------------- */

static enum callsign_result fail(char *ret_why, enum callsign_result result, const char *why)
{
    if (ret_why != NULL) {
        (void)snprintf(ret_why, CALLSIGN_MESSAGE_MAX, "%s", why);
    }
    return result;
}

/* What the caller knows of the struct; what it does not know is zero. */
static bool read_config(const struct callsign_config *config, struct callsign_config *ret_config)
{
    *ret_config = (struct callsign_config){.size = 0};
    if (config == NULL || config->size < offsetof(struct callsign_config, timeout_ms) ||
        config->size > sizeof(*ret_config)) {
        return false;
    }
    memcpy(ret_config, config, config->size);
    return true;
}

/* Whether `from` is missing, or was copied. */
static bool copy(const char *from, char **ret_copy)
{
    *ret_copy = from != NULL ? strdup(from) : NULL;
    return from == NULL || *ret_copy != NULL;
}

/* Said here, with the file's name: later it would be an endpoint that cannot be
 * reached. The files are read anew for each connection. */
static bool is_readable(const char *path, char *ret_why)
{
    if (path == NULL || access(path, R_OK) == 0) {
        return true;
    }
    (void)snprintf(ret_why, LINK_WHY_MAX, "%.900s: %s", path, strerror(errno));
    return false;
}

static enum callsign_result open_transport(struct callsign *c, const struct callsign_config *config,
                                           char *ret_why)
{
    struct link_config link = {.token = NULL};
    char why[LINK_WHY_MAX] = "";
    bool copied;

    if (!is_readable(config->ca_file, why) || !is_readable(config->cert_file, why) ||
        !is_readable(config->key_file, why)) {
        return fail(ret_why, CALLSIGN_INVALID, why);
    }
    copied = copy(config->token, &link.token) && copy(config->ca_file, &link.ca_file) &&
             copy(config->cert_file, &link.cert_file) && copy(config->key_file, &link.key_file);
    if (!copied) {
        free(link.token);
        free(link.ca_file);
        free(link.cert_file);
        return fail(ret_why, CALLSIGN_FAILED, "out of memory");
    }
    if (!transport_new(config->endpoints, config->endpoints_count, &link, why, &c->transport)) {
        return fail(ret_why, CALLSIGN_INVALID, why);
    }
    return CALLSIGN_DONE;
}

static enum callsign_result open_local(struct callsign *c, char *ret_why)
{
    c->local = local_new();
    return c->local != NULL ? CALLSIGN_DONE : fail(ret_why, CALLSIGN_FAILED, "out of memory");
}

enum callsign_result callsign_new(const struct callsign_config *config, char *ret_why,
                                  struct callsign **ret_handle)
{
    struct callsign_config cfg;
    struct callsign *c;
    enum callsign_result result;

    if (!read_config(config, &cfg)) {
        return fail(ret_why, CALLSIGN_INVALID, "config.size is not that of a struct I know");
    }
    if (cfg.timeout_ms > CALLSIGN_TIMEOUT_MAX_MS) {
        return fail(ret_why, CALLSIGN_INVALID, "the timeout is 1 ms to 3600000 ms");
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return fail(ret_why, CALLSIGN_FAILED, "out of memory");
    }
    c->timeout_ms = cfg.timeout_ms != 0 ? cfg.timeout_ms : CALLSIGN_TIMEOUT_DEFAULT_MS;
    result = cfg.endpoints_count == 0 ? open_local(c, ret_why) : open_transport(c, &cfg, ret_why);
    if (result != CALLSIGN_DONE) {
        free(c);
        return result;
    }
    *ret_handle = c;
    return CALLSIGN_DONE;
}

void callsign_free(struct callsign *c)
{
    if (c == NULL) {
        return;
    }
    transport_free(c->transport);
    local_free(c->local);
    free(c);
}

/* --- One name --------------------------------------------------------------- */

/*
 * The name goes into the query, never into the path: proxies and libraries
 * fold "//" and "/../" of a path, even where they are percent-encoded.
 */
static void put_target(struct text *target, const char *name, uint64_t env_id)
{
    call_put_text(target, "/api/registry?name=", name);
    call_put_number(target, "&env_id=", env_id);
}

enum callsign_result callsign_put(struct callsign *c, const struct callsign_put *put,
                                  struct callsign_answer *ret_answer)
{
    struct call call;

    if (!call_check(ret_answer, put->reserved, RESERVED_N) ||
        !call_check_name(ret_answer, put->name)) {
        return ret_answer->result;
    }
    if (put->if_absent && put->has_if_revision) {
        return call_finish(ret_answer, CALLSIGN_INVALID, "bad_request",
                           "a name cannot be free and at a revision at once");
    }
    if (c->local != NULL) {
        return local_put(c->local, put, ret_answer);
    }
    if (!call_begin(&call, c, put->timeout_ms, ret_answer)) {
        return ret_answer->result;
    }
    text_put_string(call.target, "/api/registry");
    text_put_string(call.body, "{\"name\":");
    text_put_json(call.body, put->name);
    call_put_number(call.body, ",\"env_id\":", put->env_id);
    call_put_number(call.body, ",\"node_id\":", put->node_id);
    call_put_number(call.body, ",\"process_id\":", put->process_id);
    text_put_string(call.body, "}");
    if (put->if_absent) {
        call.request.link.condition = "If-None-Match: *";
    } else if (put->has_if_revision) {
        call_if_match(&call, put->if_revision);
    }
    if (call_send_for_entry(&call, "POST", TRANSPORT_KEYED) == CALLSIGN_DONE) {
        ret_answer->created = call.from->status == 201;
    }
    return call_end(&call);
}

enum callsign_result callsign_get(struct callsign *c, const struct callsign_get *get,
                                  struct callsign_answer *ret_answer)
{
    struct call call;

    if (!call_check(ret_answer, get->reserved, RESERVED_N) ||
        !call_check_name(ret_answer, get->name)) {
        return ret_answer->result;
    }
    if (get->wait_ms > CALLSIGN_WAIT_MAX_MS ||
        (get->has_after && get->consistency != CALLSIGN_LINEARIZABLE)) {
        return call_finish(ret_answer, CALLSIGN_INVALID, "bad_request",
                           "a wait is up to 30 s and knows no consistency");
    }
    if (c->local != NULL) {
        return local_get(c->local, get, ret_answer);
    }
    if (!call_begin(&call, c, get->timeout_ms, ret_answer)) {
        return ret_answer->result;
    }
    put_target(call.target, get->name, get->env_id);
    if (get->has_after) {
        call_put_number(call.target, "&after=", get->after);
        call_put_number(call.target, "&wait=", (get->wait_ms + 999) / 1000);
        call_hold(&call, get->wait_ms);
    } else {
        call_put_consistency(call.target, get->consistency, get->at_least);
    }
    (void)call_send_for_entry(&call, "GET", TRANSPORT_READ);
    return call_end(&call);
}

enum callsign_result callsign_remove(struct callsign *c, const struct callsign_remove *remove,
                                     struct callsign_answer *ret_answer)
{
    struct call call;

    if (!call_check(ret_answer, remove->reserved, RESERVED_N) ||
        !call_check_name(ret_answer, remove->name)) {
        return ret_answer->result;
    }
    if (c->local != NULL) {
        return local_remove(c->local, remove, ret_answer);
    }
    if (!call_begin(&call, c, remove->timeout_ms, ret_answer)) {
        return ret_answer->result;
    }
    put_target(call.target, remove->name, remove->env_id);
    if (remove->has_if_owner) {
        call_put_number(call.target, "&node_id=", remove->if_node_id);
        call_put_number(call.target, "&process_id=", remove->if_process_id);
    }
    if (remove->has_if_revision) {
        call_if_match(&call, remove->if_revision);
    }
    (void)call_send_for_entry(&call, "DELETE", TRANSPORT_KEYED);
    return call_end(&call);
}
