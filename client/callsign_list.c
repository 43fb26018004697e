#include <string.h>

#include "client/call.h"
#include "client/callsign.h"
#include "client/local.h"

enum {
    /* Base64 of a name and what belongs to it. */
    CURSOR_MAX = 2 * CALLSIGN_NAME_MAX + 8,
    RESERVED_N = 4,
};

static void put_target(struct text *target, const struct callsign_list *list, const char *cursor)
{
    text_clear(target);
    call_put_number(target, "/api/registry?limit=1000&env_id=", list->env_id);
    if (list->prefix != NULL) {
        call_put_text(target, "&prefix=", list->prefix);
    }
    if (list->has_node) {
        call_put_number(target, "&node_id=", list->node_id);
    }
    if (cursor[0] != '\0') {
        call_put_text(target, "&cursor=", cursor);
    }
    call_put_consistency(target, list->consistency, list->at_least);
}

/* Whether the page is one. *ret_more: its `next` is in `cursor`, and nobody
 * ended the list. */
static bool visit_page(const struct json_read *doc, callsign_entry_cb visit, void *data,
                       char *cursor, bool *ret_more)
{
    unsigned entries = json_read_member(doc, 0, "entries");
    unsigned next = json_read_member(doc, 0, "next");
    struct callsign_entry e;

    if (entries == JSON_READ_NONE || doc->nodes[entries].type != JSON_READ_ARRAY ||
        (next != JSON_READ_NONE && !json_read_string(doc, next, cursor, CURSOR_MAX))) {
        return false;
    }
    *ret_more = next != JSON_READ_NONE;
    for (unsigned i = json_read_first(doc, entries); i != JSON_READ_NONE;
         i = json_read_after(doc, entries, i)) {
        if (!call_parse_entry(doc, i, &e)) {
            return false;
        }
        if (!visit(data, &e)) {
            *ret_more = false;
            break;
        }
    }
    return true;
}

enum callsign_result callsign_list(struct callsign *c, const struct callsign_list *list,
                                   callsign_entry_cb visit, void *data,
                                   struct callsign_answer *ret_answer)
{
    char cursor[CURSOR_MAX] = "";
    bool more = true;
    struct call call;

    /* An empty prefix is none, any other is the beginning of a name. */
    if (!call_check(ret_answer, list->reserved, RESERVED_N) ||
        (list->prefix != NULL && list->prefix[0] != '\0' &&
         !call_check_name(ret_answer, list->prefix))) {
        return ret_answer->result;
    }
    if (c->local != NULL) {
        return local_list(c->local, list, visit, data, ret_answer);
    }
    while (more) {
        if (!call_begin(&call, c, list->timeout_ms, ret_answer)) {
            return ret_answer->result;
        }
        put_target(call.target, list, cursor);
        if (call_send(&call, "GET", TRANSPORT_READ) != CALLSIGN_DONE) {
            more = false;
        } else if (!visit_page(&call.from->doc, visit, data, cursor, &more)) {
            more = false;
            (void)call_misunderstood(&call);
        }
        (void)call_end(&call);
    }
    return ret_answer->result;
}
