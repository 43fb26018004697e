/* The doctor: asks, judges, prints. */
#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "client/command_state.h"
#include "client/doctor.h"

enum {
    BETWEEN_MS = 1000, /* of the two looks: long enough for what moves to move */
    LINE_MAX = 4 * DOCTOR_TEXT_MAX,
};

static const char *const severities[] = {
    [DOCTOR_NOTE] = "note", [DOCTOR_WARNING] = "warning", [DOCTOR_BROKEN] = "broken"};

/* What the replicas say is made printable before it is encoded, as JSON wants
 * UTF-8. */
static void put_member(struct text *t, const char *name, const char *value)
{
    struct text visible;

    text_init(&visible, LINE_MAX);
    text_put_visible(&visible, value);
    text_put_string(t, name);
    text_put_json(t, text_string(&visible));
    text_fini(&visible);
}

static void print_json(const struct doctor *d, const char *verdict)
{
    struct text t;

    text_init(&t, DOCTOR_FINDINGS_MAX * 4 * LINE_MAX);
    put_member(&t, "{\"verdict\":", verdict);
    text_put_string(&t, ",\"endpoints\":[");
    for (unsigned i = 0; i < d->looks_count; i++) {
        put_member(&t, i > 0 ? ",{\"endpoint\":" : "{\"endpoint\":", d->looks[i].url);
        text_put_string(&t, ",\"replica\":");
        text_put_u64(&t, d->looks[i].id);
        text_put_string(&t, d->looks[i].reach == DOCTOR_ANSWERS ? ",\"answers\":true}"
                                                                : ",\"answers\":false}");
    }
    text_put_string(&t, "],\"findings\":[");
    for (unsigned i = 0; i < d->findings_count; i++) {
        const struct doctor_finding *f = &d->findings[i];

        put_member(&t, i > 0 ? ",{\"severity\":" : "{\"severity\":", severities[f->severity]);
        put_member(&t, ",\"code\":", f->code);
        put_member(&t, ",\"what\":", f->what);
        put_member(&t, ",\"why\":", f->why);
        put_member(&t, ",\"command\":", f->command);
        text_put_string(&t, "}");
    }
    text_put_string(&t, "]}");
    (void)fprintf(stdout, "%s\n", text_string(&t));
    text_fini(&t);
}

/* For scripts one line a finding, for people one with two under it. */
static void print_finding(const struct doctor_finding *f, enum print_form form)
{
    const char *const parts[] = {f->what, f->why, f->command};
    const char *const before[] = {"", "\n         why: ", "\n         do:  "};

    (void)fprintf(stdout, form == PRINT_TABLE ? "%-8s " : "%s\t%s", severities[f->severity],
                  form == PRINT_TABLE ? "" : f->code);
    for (unsigned i = 0; i < 3; i++) {
        (void)fputs(form == PRINT_TABLE ? before[i] : "\t", stdout);
        print_visible(stdout, parts[i]);
    }
    (void)fputc('\n', stdout);
}

static enum callsign_result print_all(const struct doctor *d, enum print_form form)
{
    enum doctor_severity worst = DOCTOR_NOTE;
    const char *verdict;

    for (unsigned i = 0; i < d->findings_count; i++) {
        worst = d->findings[i].severity > worst ? d->findings[i].severity : worst;
    }
    verdict = worst == DOCTOR_NOTE ? "healthy" : severities[worst];
    if (form == PRINT_JSON) {
        print_json(d, verdict);
    } else {
        /* The worst first. */
        for (int s = DOCTOR_BROKEN; s >= DOCTOR_NOTE; s--) {
            for (unsigned i = 0; i < d->findings_count; i++) {
                if ((int)d->findings[i].severity == s) {
                    print_finding(&d->findings[i], form);
                }
            }
        }
        if (form == PRINT_TABLE && worst == DOCTOR_NOTE) {
            (void)printf("healthy: %u asked\n", d->looks_count);
        }
    }
    return worst == DOCTOR_BROKEN    ? CALLSIGN_UNAVAILABLE
           : worst == DOCTOR_WARNING ? CALLSIGN_NOT_FOUND
                                     : CALLSIGN_DONE;
}

enum callsign_result command_doctor(struct command *r)
{
    static struct doctor d;
    const struct callsign_config *k = r->config;
    /* Borrowed: nobody frees the strings of this one. */
    const struct link_config config = {.token = (char *)(uintptr_t)k->token,
                                       .ca_file = (char *)(uintptr_t)k->ca_file,
                                       .cert_file = (char *)(uintptr_t)k->cert_file,
                                       .key_file = (char *)(uintptr_t)k->key_file};

    for (size_t i = 0; i < k->endpoints_count; i++) {
        if (!doctor_look(&d, k->endpoints[i], &config, k->timeout_ms)) {
            r->answer.result = CALLSIGN_FAILED;
            (void)snprintf(r->answer.message, sizeof(r->answer.message), "no memory for %s",
                           k->endpoints[i]);
            return command_fail(r);
        }
    }
    doctor_follow(&d, &config, k->timeout_ms);
    (void)poll(NULL, 0, BETWEEN_MS);
    doctor_again(&d, &config, k->timeout_ms);
    d.now_s = (int64_t)time(NULL);
    doctor_judge(&d);
    return print_all(&d, r->form);
}
