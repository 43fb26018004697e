#include "client/print.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "client/callsign.h"
#include "client/print_table.h"
#include "client/text.h"

#define BOLD   "\x1b[1m"
#define RED    "\x1b[31m"
#define GREEN  "\x1b[32m"
#define YELLOW "\x1b[33m"
#define NORMAL "\x1b[0m"

enum { TEXT_MAX = 16 << 10 }; /* a name takes at most 6 bytes a byte */

static bool colors; /* for a terminal that wants them */

void print_use_colors(bool use)
{
    colors = use;
}

void print_visible(FILE *out, const char *message)
{
    struct text t;

    text_init(&t, TEXT_MAX);
    text_put_visible(&t, message);
    (void)fputs(text_string(&t), out);
    text_fini(&t);
}

static void put_entry_json(struct text *t, const struct callsign_entry *e)
{
    text_put_string(t, "{\"node_id\":");
    text_put_u64(t, e->node_id);
    text_put_string(t, ",\"process_id\":");
    text_put_u64(t, e->process_id);
    text_put_string(t, ",\"name\":");
    text_put_json(t, e->name);
    text_put_string(t, ",\"env_id\":");
    text_put_u64(t, e->env_id);
    text_put_string(t, ",\"revision\":");
    text_put_u64(t, e->revision);
    text_put_string(t, "}");
}

static void print_entry_json(FILE *out, const struct callsign_entry *e)
{
    struct text t;

    text_init(&t, TEXT_MAX);
    put_entry_json(&t, e);
    (void)fprintf(out, "%s\n", text_string(&t));
    text_fini(&t);
}

/* Names are longer than cells, and come last. */
static void put_name(FILE *out, const char *name)
{
    print_visible(out, name);
    (void)fputc('\n', out);
}

void print_entry(FILE *out, enum print_form form, const struct callsign_entry *entry)
{
    static const char *const headings[] = {"NODE", "PROCESS", "REVISION", "ENV"};
    const uint64_t values[] = {entry->node_id, entry->process_id, entry->revision, entry->env_id};
    char cells[4][24];

    if (form == PRINT_JSON) {
        print_entry_json(out, entry);
        return;
    }
    for (unsigned c = 0; c < 4; c++) {
        (void)snprintf(cells[c], sizeof(cells[c]), "%" PRIu64, values[c]);
    }
    if (form == PRINT_PLAIN) {
        (void)fprintf(out, "%s\t%s\t%s\t%s\t", cells[0], cells[1], cells[2], cells[3]);
        put_name(out, entry->name);
        return;
    }
    (void)fputs(colors ? BOLD : "", out);
    for (unsigned c = 0; c < 4; c++) {
        (void)fprintf(out, "%-*s  ", (int)strlen(cells[c]), headings[c]);
    }
    (void)fprintf(out, "NAME%s\n", colors ? NORMAL : "");
    for (unsigned c = 0; c < 4; c++) {
        (void)fprintf(out, "%-*s  ", (int)strlen(headings[c]), cells[c]);
    }
    put_name(out, entry->name);
}

/* --- Events --------------------------------------------------------------------- */

static const struct {
    const char *name;
    const char *color;
} kinds[] = {
    [CALLSIGN_EVENT_PUT] = {"put", GREEN},
    [CALLSIGN_EVENT_REMOVE] = {"remove", RED},
    [CALLSIGN_EVENT_NODE_DOWN] = {"node_down", RED},
    [CALLSIGN_EVENT_BOOKMARK] = {"bookmark", ""},
    [CALLSIGN_EVENT_RESET] = {"reset", YELLOW},
    [CALLSIGN_EVENT_SYNCED] = {"synced", ""},
    [CALLSIGN_EVENT_DISCONNECTED] = {"disconnected", YELLOW},
};

static void put_member(struct text *t, const char *name, uint64_t value)
{
    text_put_string(t, name);
    text_put_u64(t, value);
}

static void print_event_json(FILE *out, const struct callsign_event *e)
{
    struct text t;

    text_init(&t, TEXT_MAX);
    text_put_string(&t, "{\"event\":\"");
    text_put_string(&t, kinds[e->kind].name);
    put_member(&t, "\",\"revision\":", e->revision);
    if (e->kind == CALLSIGN_EVENT_PUT) {
        text_put_string(&t, ",\"entry\":");
        put_entry_json(&t, &e->entry);
    } else if (e->kind == CALLSIGN_EVENT_REMOVE) {
        text_put_string(&t, ",\"name\":");
        text_put_json(&t, e->entry.name);
        put_member(&t, ",\"env_id\":", e->entry.env_id);
    } else if (e->kind == CALLSIGN_EVENT_NODE_DOWN) {
        put_member(&t, ",\"node_id\":", e->node_id);
        put_member(&t, ",\"removed\":", e->removed);
    }
    if (e->has_previous) {
        put_member(&t, ",\"previous\":{\"node_id\":", e->previous_node_id);
        put_member(&t, ",\"process_id\":", e->previous_process_id);
        put_member(&t, ",\"revision\":", e->previous_revision);
        text_put_string(&t, "}");
    }
    text_put_string(&t, "}");
    (void)fprintf(out, "%s\n", text_string(&t));
    text_fini(&t);
}

/* Columns: event, revision, node, process, name; what there is not is "-". */
void print_event(FILE *out, enum print_form form, const struct callsign_event *e)
{
    const char *separator = form == PRINT_TABLE ? "  " : "\t";
    bool has_owner = e->kind == CALLSIGN_EVENT_PUT;

    if (form == PRINT_JSON) {
        print_event_json(out, e);
        return;
    }
    (void)fprintf(out, "%s%-*s%s%s%" PRIu64 "%s", colors ? kinds[e->kind].color : "",
                  form == PRINT_TABLE ? 12 : 0, kinds[e->kind].name, colors ? NORMAL : "",
                  separator, e->revision, separator);
    if (has_owner) {
        (void)fprintf(out, "%" PRIu64 "%s%" PRIu64 "%s", e->entry.node_id, separator,
                      e->entry.process_id, separator);
    } else if (e->kind == CALLSIGN_EVENT_NODE_DOWN) {
        (void)fprintf(out, "%" PRIu64 "%s-%s", e->node_id, separator, separator);
    } else {
        (void)fprintf(out, "-%s-%s", separator, separator);
    }
    put_name(out, has_owner || e->kind == CALLSIGN_EVENT_REMOVE ? e->entry.name : "-");
}

/* --- The cluster ------------------------------------------------------------------ */

void print_members(FILE *out, enum print_form form, const struct callsign_cluster *cluster)
{
    static const char *const headings[] = {"ID",   "ROLE", "LEADER",       "CONNECTED", "LAG",
                                           "PEER", "HTTP", "LAST CONTACT", NULL};
    static struct print_table t;

    print_table_begin(&t, headings);
    for (unsigned i = 0; i < cluster->members_count; i++) {
        const struct callsign_member *m = &cluster->members[i];
        char contact[32];

        print_table_number(&t, 0, true, m->id);
        print_table_text(&t, 1, m->role);
        print_table_text(&t, 2, m->leader ? "yes" : "no");
        print_table_text(&t, 3,
                         m->id == cluster->replica_id ? "self"
                         : m->connected               ? "yes"
                                                      : "no");
        print_table_number(&t, 4, m->lag_known, m->lag);
        print_table_text(&t, 5, m->peer_address);
        print_table_text(&t, 6, m->http_address);
        (void)snprintf(contact, sizeof(contact), "%" PRIu64 "%s", m->last_contact_ms,
                       form == PRINT_TABLE ? " ms" : "");
        print_table_text(&t, 7, m->last_contact_known ? contact : "");
        print_table_row(&t);
    }
    if (form == PRINT_PLAIN) {
        print_table_plain(out, &t);
    } else {
        print_table_padded(out, &t, colors);
    }
}

void print_health(FILE *out, const struct callsign_cluster *cluster)
{
    const char *color = strcmp(cluster->health, "ok") == 0         ? GREEN
                        : strcmp(cluster->health, "degraded") == 0 ? YELLOW
                                                                   : RED;

    (void)fprintf(out, "%s", colors ? color : "");
    print_visible(out, cluster->health);
    (void)fprintf(out, "%s%s", colors ? NORMAL : "", cluster->why[0] != '\0' ? ": " : "");
    print_visible(out, cluster->why);
    (void)fputc('\n', out);
}

void print_cluster(FILE *out, enum print_form form, const struct callsign_cluster *cluster)
{
    if (form == PRINT_TABLE) {
        (void)fputs("health    ", out);
        print_health(out, cluster);
        (void)fprintf(out, "seen by   replica %" PRIu64 ", %s, %s\n", cluster->replica_id,
                      cluster->state, cluster->ready ? "ready" : "not ready");
        if (cluster->leader_id != 0) {
            (void)fprintf(out, "leader    replica %" PRIu64 " in term %" PRIu64 "\n",
                          cluster->leader_id, cluster->term);
        } else {
            (void)fprintf(out, "leader    none known in term %" PRIu64 "\n", cluster->term);
        }
        (void)fprintf(out,
                      "revision  %" PRIu64 ", %" PRIu64 " names\n"
                      "log       applied %" PRIu64 ", committed %" PRIu64 "\n\n",
                      cluster->revision, cluster->names, cluster->applied_index,
                      cluster->commit_index);
    }
    print_members(out, form, cluster);
}

void print_failure_json(FILE *out, const struct callsign_answer *answer)
{
    struct text visible;
    struct text t;

    /* A message may hold what some server sent: made printable before it is
     * encoded, as an encoder wants UTF-8. */
    text_init(&visible, TEXT_MAX);
    text_put_visible(&visible, answer->message);
    text_init(&t, 2 * TEXT_MAX);
    text_put_string(&t, "{\"outcome\":");
    text_put_json(&t, callsign_result_name(answer->result));
    text_put_string(&t, ",\"code\":");
    text_put_json(&t, answer->code);
    text_put_string(&t, ",\"message\":");
    text_put_json(&t, text_string(&visible));
    if (answer->has_entry) {
        text_put_string(&t, ",\"current\":");
        put_entry_json(&t, &answer->entry);
    }
    text_put_string(&t, "}");
    (void)fprintf(out, "%s\n", text_string(&t));
    text_fini(&t);
    text_fini(&visible);
}
