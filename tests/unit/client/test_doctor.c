/* What the doctor finds in looks that no healthy daemon can be made to give. */
#include "client/doctor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { NOW_S = 1000000000, DAY_S = 86400 };

static struct doctor d;

/* Three voters that are well; the first leads. */
static void make_healthy(void)
{
    memset(&d, 0, sizeof(d));
    d.now_s = NOW_S;
    d.looks_count = 3;
    for (unsigned i = 0; i < 3; i++) {
        struct doctor_look *l = &d.looks[i];
        struct callsign_cluster *c = &l->first.cluster;

        (void)snprintf(l->url, sizeof(l->url), "http://127.0.0.%u:8101", i + 1);
        (void)snprintf(l->version, sizeof(l->version), "0.1.0");
        (void)snprintf(l->first.digest, sizeof(l->first.digest), "abc");
        (void)snprintf(c->cluster_id, sizeof(c->cluster_id), "c1");
        (void)snprintf(c->state, sizeof(c->state), i == 0 ? "leader" : "follower");
        l->id = c->replica_id = i + 1;
        l->first.known = l->first.counted = c->ready = true;
        c->leader_id = 1;
        c->term = 5;
        c->applied_index = 70;
        c->members_count = 3;
        for (unsigned m = 0; m < 3; m++) {
            c->members[m].id = m + 1;
            c->members[m].connected = true;
            c->members[m].lag_known = i == 0;
            (void)snprintf(c->members[m].role, sizeof(c->members[m].role), "voter");
        }
        l->last = l->first;
    }
}

static const struct doctor_finding *judge(const char *code)
{
    const struct doctor_finding *found = NULL;

    doctor_judge(&d);
    for (unsigned i = 0; i < d.findings_count; i++) {
        if (strcmp(d.findings[i].code, code) == 0) {
            found = &d.findings[i];
        }
        assert_true(d.findings[i].what[0] != '\0' && d.findings[i].why[0] != '\0');
        assert_true(d.findings[i].command[0] != '\0');
    }
    return found;
}

/* That alone, which names `text` somewhere. */
static void expect(const char *code, enum doctor_severity severity, const char *text)
{
    const struct doctor_finding *f = judge(code);

    if (f == NULL || d.findings_count != 1) {
        fail_msg("%s: %u findings, the first %s", code, d.findings_count, d.findings[0].code);
    }
    assert_int_equal(f->severity, severity);
    if (strstr(f->what, text) == NULL && strstr(f->command, text) == NULL) {
        fail_msg("%s does not name %s: %s; %s", code, text, f->what, f->command);
    }
    make_healthy();
}

static void the_healthy_have_nothing(void **state)
{
    (void)state;
    make_healthy();
    assert_null(judge(""));
    assert_int_equal(d.findings_count, 0);
}

static void finds_what_differs(void **state)
{
    (void)state;
    make_healthy();
    (void)snprintf(d.looks[2].version, sizeof(d.looks[2].version), "0.2.0");
    expect("versions_differ", DOCTOR_NOTE, "0.2.0");
    (void)snprintf(d.looks[2].last.digest, sizeof(d.looks[2].last.digest), "xyz");
    expect("replicas_differ", DOCTOR_BROKEN, "replica 3 ");
    /* Not after the same entry: nothing can be said. */
    (void)snprintf(d.looks[2].last.digest, sizeof(d.looks[2].last.digest), "xyz");
    d.looks[2].last.cluster.applied_index++;
    assert_null(judge("replicas_differ"));
    make_healthy();
    d.looks[0].last.cluster.term = 6;
    expect("elections", DOCTOR_WARNING, "term 5 became 6");
}

static void finds_who_is_cut_off(void **state)
{
    (void)state;
    make_healthy();
    d.looks[2].reach = DOCTOR_SILENT;
    d.looks[2].first.known = false;
    (void)snprintf(d.looks[2].why, sizeof(d.looks[2].why), "refused");
    expect("replica_hidden", DOCTOR_WARNING, "replica 3 ");
    d.looks[2].reach = DOCTOR_STUCK;
    d.looks[2].first.known = false;
    (void)snprintf(d.looks[2].why, sizeof(d.looks[2].why), "timed out");
    assert_non_null(judge("replica_stuck"));
    assert_non_null(judge("no_failure_left"));
    make_healthy();
    d.looks[0].first.cluster.members[2].connected = false;
    expect("link_down", DOCTOR_WARNING, "replica 3 ");
    for (unsigned i = 0; i < 3; i++) {
        d.looks[i].first.cluster.leader_id = 0;
    }
    expect("no_leader", DOCTOR_BROKEN, "journalctl");
    for (unsigned i = 0; i < 3; i++) {
        d.looks[i].first.cluster.leader_id = 0;
        (void)snprintf(d.looks[i].first.cluster.why, sizeof(d.looks[i].first.cluster.why),
                       "too many replicas lost their data to tell what was committed");
    }
    expect("cluster_in_doubt", DOCTOR_BROKEN, "--accept-data-loss");
    d.looks[1].first.cluster.ready = false;
    (void)snprintf(d.looks[1].first.cluster.state, sizeof(d.looks[1].first.cluster.state),
                   "without_a_past");
    expect("replica_in_doubt", DOCTOR_WARNING, "replica 2 ");
}

static void counts_voters(void **state)
{
    (void)state;
    make_healthy();
    for (unsigned i = 0; i < 3; i++) {
        d.looks[i].first.cluster.members_count = 2;
    }
    d.looks_count = 2;
    expect("even_voters", DOCTOR_NOTE, "callsign member add");
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(d.looks[i].first.cluster.members[2].role, 16, "standby");
        d.looks[i].first.cluster.members[2].lag = 9;
    }
    assert_non_null(judge("not_a_voter"));
    assert_non_null(judge("even_voters"));
    assert_int_equal(d.findings_count, 2);
}

static void reads_the_numbers(void **state)
{
    uint64_t *m = d.looks[1].first.metrics;

    (void)state;
    make_healthy();
    m[DOCTOR_STORAGE_SPACE] = 2;
    expect("disk_full", DOCTOR_WARNING, "df -h");
    m[DOCTOR_WRITES] = 1000;
    m[DOCTOR_WRITES_FAST] = 989;
    expect("disk_slow", DOCTOR_WARNING, "iostat");
    m[DOCTOR_WRITES] = 1000;
    m[DOCTOR_WRITES_FAST] = 990;
    assert_null(judge("disk_slow"));
    make_healthy();
    m[DOCTOR_APPLIED] = 200001;
    expect("snapshot_overdue", DOCTOR_NOTE, "200001");
    m[DOCTOR_OPEN_FILES] = 81;
    m[DOCTOR_MAX_FILES] = 100;
    expect("files_short", DOCTOR_WARNING, "LimitNOFILE");
    d.looks[1].last.metrics[DOCTOR_OVERLOADED] = 3;
    expect("overloaded", DOCTOR_WARNING, "replica 2 ");
    d.looks[1].last.metrics[DOCTOR_LINES_DROPPED] = 1;
    expect("log_lost", DOCTOR_WARNING, "replica 2 ");
    m[DOCTOR_PEER_CERTIFICATE] = NOW_S + 3 * DAY_S + 1;
    expect("certificate_ends", DOCTOR_WARNING, "ends in 3 days");
    d.looks[1].certificate_end = NOW_S - 1;
    expect("certificate_ended", DOCTOR_BROKEN, "http 127.0.0.2");
    d.looks[1].certificate_end = NOW_S + 15 * DAY_S;
    assert_null(judge("certificate_ends"));
}

static void knows_what_is_open(void **state)
{
    (void)state;
    make_healthy();
    d.looks[1].open = true; /* on loopback that is nothing */
    assert_null(judge("insecure"));
    (void)snprintf(d.looks[1].url, sizeof(d.looks[1].url), "https://10.0.0.2:8101");
    expect("insecure", DOCTOR_WARNING, "no token");
    (void)snprintf(d.looks[1].url, sizeof(d.looks[1].url), "http://10.0.0.2:8101");
    expect("insecure", DOCTOR_WARNING, "without TLS");
    (void)snprintf(d.looks[1].url, sizeof(d.looks[1].url), "https://10.0.0.2:8101");
    assert_null(judge("insecure"));
}

static void reads_a_page_of_metrics(void **state)
{
    uint64_t m[DOCTOR_METRICS_N];

    (void)state;
    doctor_read_metrics("# HELP callsign_storage_space Room\ncallsign_storage_space 2\n"
                        "callsign_storage_space_x 9\nprocess_open_fds 7\n"
                        "callsign_storage_write_duration_seconds_bucket{le=\"0.05\"} 11\n"
                        "callsign_storage_write_duration_seconds_bucket{le=\"0.5\"} 12\n"
                        "process_max_fds nonsense\ncallsign_applied_index 18446744073709551615",
                        m);
    assert_int_equal(m[DOCTOR_STORAGE_SPACE], 2);
    assert_int_equal(m[DOCTOR_OPEN_FILES], 7);
    assert_int_equal(m[DOCTOR_WRITES_FAST], 11);
    assert_int_equal(m[DOCTOR_MAX_FILES], 0);
    assert_true(m[DOCTOR_APPLIED] == UINT64_MAX);
}

static void finds_the_address_of_a_member(void **state)
{
    static const struct {
        const char *peer, *http, *via, *url; /* NULL: there is none */
    } rows[] = {
        {"10.0.0.1:7101", "10.0.0.1:8101", "https://a:1", "https://10.0.0.1:8101"},
        {"10.0.0.1:7101", "0.0.0.0:8101", "http://a:1", "http://10.0.0.1:8101"},
        {"[fe80::1]:7101", "[::]:8101", "http://a:1", "http://[fe80::1]:8101"},
        {"", "0.0.0.0:8101", "http://a:1", NULL},
        {"0.0.0.0:7101", "0.0.0.0:8101", "http://a:1", NULL},
        {"10.0.0.1:7101", "", "http://a:1", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct callsign_member m = {.id = 1};
        char url[DOCTOR_URL_MAX] = "";

        (void)snprintf(m.peer_address, sizeof(m.peer_address), "%s", rows[i].peer);
        (void)snprintf(m.http_address, sizeof(m.http_address), "%s", rows[i].http);
        assert_int_equal(doctor_member_url(&m, rows[i].via, url), rows[i].url != NULL);
        assert_string_equal(url, rows[i].url != NULL ? rows[i].url : "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_healthy_have_nothing), cmocka_unit_test(finds_what_differs),
        cmocka_unit_test(finds_who_is_cut_off),     cmocka_unit_test(counts_voters),
        cmocka_unit_test(reads_the_numbers),        cmocka_unit_test(knows_what_is_open),
        cmocka_unit_test(reads_a_page_of_metrics),  cmocka_unit_test(finds_the_address_of_a_member),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
