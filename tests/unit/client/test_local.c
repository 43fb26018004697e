#include "client/local.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/callsign.h"
#include "client/local_table.h"

static struct callsign *client;
static struct callsign_answer answer;

static int open_client(void **state)
{
    struct callsign_config config = {.size = sizeof(config)};

    (void)state;
    return callsign_new(&config, NULL, &client);
}

static int close_client(void **state)
{
    (void)state;
    callsign_free(client);
    client = NULL;
    return 0;
}

static enum callsign_result put(uint64_t env_id, const char *name, uint64_t process_id)
{
    struct callsign_put p = {
        .env_id = env_id, .name = name, .node_id = process_id % 3, .process_id = process_id};

    return callsign_put(client, &p, &answer);
}

static enum callsign_result get(uint64_t env_id, const char *name)
{
    struct callsign_get g = {.env_id = env_id, .name = name};

    return callsign_get(client, &g, &answer);
}

static void puts_gets_and_removes(void **state)
{
    struct callsign_remove remove = {.env_id = 1, .name = "a"};

    (void)state;
    assert_int_equal(get(1, "a"), CALLSIGN_NOT_FOUND);
    assert_string_equal(answer.code, "process_not_found");
    assert_int_equal(put(1, "a", 7), CALLSIGN_DONE);
    assert_true(answer.created && answer.has_entry && answer.has_revision);
    assert_int_equal(answer.entry.revision, 1);
    assert_int_equal(get(2, "a"), CALLSIGN_NOT_FOUND);
    assert_int_equal(get(1, "a"), CALLSIGN_DONE);
    assert_int_equal(answer.entry.process_id, 7);
    assert_int_equal(put(1, "a", 7), CALLSIGN_DONE); /* the same owner: no change */
    assert_false(answer.created);
    assert_int_equal(answer.revision, 1);
    assert_int_equal(put(1, "a", 8), CALLSIGN_DONE);
    assert_int_equal(answer.entry.revision, 2);
    assert_int_equal(callsign_remove(client, &remove, &answer), CALLSIGN_DONE);
    assert_int_equal(answer.entry.process_id, 8);
    assert_int_equal(answer.revision, 3);
    assert_int_equal(callsign_remove(client, &remove, &answer), CALLSIGN_NOT_FOUND);
    assert_int_equal(answer.revision, 3);
}

static void judges_conditions(void **state)
{
    struct callsign_put p = {.env_id = 1, .name = "a", .node_id = 1, .process_id = 9};
    struct callsign_remove r = {.env_id = 1, .name = "a", .has_if_owner = true, .if_node_id = 1};
    struct callsign_get g = {.env_id = 1, .name = "a", .consistency = CALLSIGN_AT_LEAST};

    (void)state;
    p.has_if_revision = true;
    assert_int_equal(callsign_put(client, &p, &answer), CALLSIGN_REFUSED);
    assert_false(answer.has_entry);
    p.if_absent = true;
    assert_int_equal(callsign_put(client, &p, &answer), CALLSIGN_INVALID);
    p.has_if_revision = false;
    assert_int_equal(callsign_put(client, &p, &answer), CALLSIGN_DONE);
    assert_int_equal(callsign_put(client, &p, &answer), CALLSIGN_REFUSED);
    assert_string_equal(answer.code, "name_taken");
    assert_int_equal(answer.entry.process_id, 9);
    p.if_absent = false;
    p.has_if_revision = true;
    p.if_revision = 1;
    p.process_id = 10;
    assert_int_equal(callsign_put(client, &p, &answer), CALLSIGN_DONE);
    assert_int_equal(callsign_put(client, &p, &answer), CALLSIGN_REFUSED);
    assert_string_equal(answer.code, "precondition_failed");

    assert_int_equal(callsign_remove(client, &r, &answer), CALLSIGN_REFUSED);
    assert_string_equal(answer.code, "not_owner");
    assert_int_equal(answer.entry.process_id, 10);
    r.if_process_id = 10;
    r.has_if_revision = true;
    assert_int_equal(callsign_remove(client, &r, &answer), CALLSIGN_REFUSED);
    r.if_revision = 2;
    assert_int_equal(callsign_remove(client, &r, &answer), CALLSIGN_DONE);
    assert_int_equal(callsign_remove(client, &r, &answer), CALLSIGN_NOT_FOUND);

    g.at_least = 3;
    assert_int_equal(callsign_get(client, &g, &answer), CALLSIGN_NOT_FOUND);
    g.at_least = 4;
    assert_int_equal(callsign_get(client, &g, &answer), CALLSIGN_INVALID);
}

/* --- Lists, against names that were sorted otherwise -------------------------- */

enum { NAMES_N = 2000, NAME_BYTES = 16 };

struct visit {
    char names[NAMES_N][NAME_BYTES];
    size_t count;
    size_t stop_after;
    bool reenter;
};

static struct visit visited;
static char model[NAMES_N][NAME_BYTES];

static bool on_entry(void *data, const struct callsign_entry *entry)
{
    struct visit *v = data;

    (void)snprintf(v->names[v->count++], NAME_BYTES, "%.15s", entry->name);
    if (v->reenter) {
        assert_int_equal(get(entry->env_id, entry->name), CALLSIGN_DONE);
    }
    return v->count != v->stop_after;
}

static void visit_all(struct callsign_list *list)
{
    visited.count = 0;
    assert_int_equal(callsign_list(client, list, on_entry, &visited, &answer), CALLSIGN_DONE);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void lists_in_order(void **state)
{
    struct callsign_list list = {.env_id = 1};
    size_t count = 0;

    (void)state;
    visit_all(&list);
    assert_int_equal(visited.count, 0);
    for (unsigned i = 0; i < NAMES_N; i++) {
        (void)snprintf(model[i], NAME_BYTES, "%x\xc3\xa9/%u", (i * 7919) % 16, i);
        assert_int_equal(put(1, model[i], i), CALLSIGN_DONE);
        assert_int_equal(put(0, model[i], i), CALLSIGN_DONE); /* the neighbours */
        assert_int_equal(put(2, model[i], i), CALLSIGN_DONE);
    }
    qsort(model, NAMES_N, NAME_BYTES, by_bytes);
    visited.reenter = true;
    visit_all(&list);
    assert_int_equal(visited.count, NAMES_N);
    for (unsigned i = 0; i < NAMES_N; i++) {
        assert_string_equal(visited.names[i], model[i]);
        count += strncmp(model[i], "a\xc3\xa9", 3) == 0;
    }
    list.prefix = "a\xc3\xa9";
    visit_all(&list);
    assert_int_equal(visited.count, count);
    list.prefix = "";
    list.has_node = true;
    list.node_id = 2;
    visit_all(&list);
    assert_int_equal(visited.count, NAMES_N / 3);
    visited.stop_after = 5;
    visit_all(&list);
    assert_int_equal(visited.count, 5);
    visited = (struct visit){.count = 0};
}

/* Names come and go at random; the table is held against an array. */
static void stays_in_order(void **state)
{
    enum { KEYS = 300, STEPS = 20000 };
    uint64_t revisions[KEYS] = {0};
    size_t count = 0;
    struct local_table t;
    const char *seed = getenv("CALLSIGN_SEED");
    unsigned random = seed != NULL ? (unsigned)strtoul(seed, NULL, 10) : 1;

    (void)state;
    print_message("seed %u\n", random);
    local_table_init(&t);
    for (unsigned step = 1; step <= STEPS; step++) {
        struct local_name *n;
        char name[NAME_BYTES];
        unsigned key;

        random = random * 1664525 + 1013904223;
        key = (random >> 8) % KEYS;
        (void)snprintf(name, sizeof(name), "%04u", key);
        n = local_table_find(&t, key % 2, name);
        assert_int_equal(n != NULL ? n->revision : 0, revisions[key]);
        if (n == NULL) {
            n = local_table_insert(&t, key % 2, name);
            n->revision = revisions[key] = step;
            count++;
        } else {
            local_table_remove(&t, n);
            revisions[key] = 0;
            count--;
        }
        assert_int_equal(t.count, count);
    }
    for (unsigned env = 0; env < 2; env++) {
        struct local_name *n = local_table_seek(&t, env, "", false);

        for (unsigned key = env; key < KEYS; key += 2) {
            if (revisions[key] != 0) {
                assert_int_equal(n->revision, revisions[key]);
                n = local_table_seek(&t, env, n->name, true);
            }
        }
        assert_true(n == NULL || n->env_id > env);
    }
    local_table_fini(&t);
}

/* --- Threads -------------------------------------------------------------------- */

static void *count_up(void *data)
{
    struct callsign_get g = {.env_id = 1, .name = "counter"};
    uint64_t *won = data;
    struct callsign_answer a;

    while (callsign_get(client, &g, &a) == CALLSIGN_DONE && a.entry.process_id < 4000) {
        struct callsign_put p = {.env_id = 1,
                                 .name = "counter",
                                 .node_id = 1,
                                 .process_id = a.entry.process_id + 1,
                                 .has_if_revision = true,
                                 .if_revision = a.entry.revision};

        *won += callsign_put(client, &p, &a) == CALLSIGN_DONE;
    }
    return NULL;
}

static void is_shared_by_threads(void **state)
{
    pthread_t threads[4];
    uint64_t won[4] = {0};

    (void)state;
    assert_int_equal(put(1, "counter", 0), CALLSIGN_DONE);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, &won[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(won[0] + won[1] + won[2] + won[3], 4000);
    assert_int_equal(get(1, "counter"), CALLSIGN_DONE);
    assert_int_equal(answer.revision, 4001);
}

/* --- Batches ------------------------------------------------------------------- */

static struct callsign_op_result results[4];
static size_t refused_index;

static enum callsign_result batch(const struct callsign_op *ops, size_t count)
{
    struct callsign_batch b = {.ops = ops, .ops_count = count};

    return callsign_batch(client, &b, results, &refused_index, &answer);
}

static void applies_all_or_nothing(void **state)
{
    struct callsign_op ops[4] = {
        {.kind = CALLSIGN_OP_PUT, .env_id = 1, .name = "a", .node_id = 1, .if_absent = true},
        {.kind = CALLSIGN_OP_GET, .env_id = 1, .name = "a"},
        {.kind = CALLSIGN_OP_REMOVE, .env_id = 1, .name = "gone"},
        {.kind = CALLSIGN_OP_PUT, .env_id = 1, .name = "b", .node_id = 2},
    };

    (void)state;
    assert_int_equal(batch(ops, 4), CALLSIGN_DONE);
    assert_int_equal(answer.revision, 1);
    assert_true(results[0].created && results[1].has_entry && results[3].created);
    assert_int_equal(results[1].entry.revision, 1);
    assert_int_equal(results[2].result, CALLSIGN_NOT_FOUND);
    assert_int_equal(batch(ops, 4), CALLSIGN_REFUSED);
    assert_int_equal(refused_index, 0);
    assert_string_equal(answer.code, "batch_refused");
    assert_true(answer.has_entry);
    /* Operations see those before them, but what they made is not shown. */
    ops[0] = (struct callsign_op){.kind = CALLSIGN_OP_REMOVE, .env_id = 1, .name = "a"};
    ops[1] = (struct callsign_op){
        .kind = CALLSIGN_OP_PUT, .env_id = 1, .name = "a", .node_id = 7, .if_absent = true};
    ops[2] = (struct callsign_op){
        .kind = CALLSIGN_OP_REMOVE, .env_id = 1, .name = "a", .has_if_owner = true, .node_id = 1};
    assert_int_equal(batch(ops, 4), CALLSIGN_REFUSED);
    assert_int_equal(refused_index, 2);
    assert_false(answer.has_entry);
    assert_int_equal(get(1, "a"), CALLSIGN_DONE);
    assert_int_equal(answer.entry.node_id, 1);
    assert_int_equal(batch(ops, 2), CALLSIGN_DONE);
    assert_int_equal(answer.revision, 2);
    assert_int_equal(results[0].entry.node_id, 1);
    assert_int_equal(results[1].entry.node_id, 7);
    ops[0] = (struct callsign_op){
        .kind = CALLSIGN_OP_GET, .env_id = 1, .name = "nobody", .has_if_revision = true};
    assert_int_equal(batch(ops, 1), CALLSIGN_REFUSED);
    ops[0] = (struct callsign_op){.kind = CALLSIGN_OP_GET, .env_id = 1, .name = "a"};
    assert_int_equal(batch(ops, 1), CALLSIGN_DONE);
    assert_int_equal(answer.revision, 2);
    /* A put that changes nothing leaves the revision for those behind it too. */
    ops[0] = (struct callsign_op){.kind = CALLSIGN_OP_PUT, .env_id = 1, .name = "a", .node_id = 7};
    ops[1] = (struct callsign_op){.kind = CALLSIGN_OP_GET,
                                  .env_id = 1,
                                  .name = "a",
                                  .has_if_revision = true,
                                  .if_revision = 2};
    assert_int_equal(batch(ops, 2), CALLSIGN_DONE);
    assert_int_equal(answer.revision, 2);
}

/* --- Nodes ------------------------------------------------------------------------ */

static void takes_names_with_their_node(void **state)
{
    struct callsign_node node = {.node_id = 2, .ttl_ms = 1000};
    struct callsign_get wait = {.env_id = 9, .name = "x", .has_after = true, .wait_ms = 20000};
    uint64_t removed = 0;

    (void)state;
    assert_int_equal(callsign_node_heartbeat(client, 2, &answer), CALLSIGN_NOT_FOUND);
    assert_int_equal(callsign_node_remove(client, 2, &removed, &answer), CALLSIGN_NOT_FOUND);
    assert_int_equal(callsign_node_register(client, &node, &answer), CALLSIGN_DONE);
    assert_int_equal(callsign_node_heartbeat(client, 2, &answer), CALLSIGN_DONE);
    assert_int_equal(put(1, "a", 2), CALLSIGN_DONE); /* node 2 */
    assert_int_equal(put(9, "x", 5), CALLSIGN_DONE); /* node 2 */
    assert_int_equal(put(1, "b", 1), CALLSIGN_DONE); /* node 1 */
    wait.after = answer.revision;
    /* Nobody sends a heartbeat: the lease ends while this waits. */
    assert_int_equal(callsign_get(client, &wait, &answer), CALLSIGN_NOT_FOUND);
    assert_int_equal(answer.revision, 5); /* the lease was one too */
    assert_int_equal(get(1, "a"), CALLSIGN_NOT_FOUND);
    assert_int_equal(get(1, "b"), CALLSIGN_DONE);
    assert_int_equal(put(1, "a", 2), CALLSIGN_REFUSED);
    assert_string_equal(answer.code, "node_down");
    assert_int_equal(callsign_node_heartbeat(client, 2, &answer), CALLSIGN_NOT_FOUND);
    assert_int_equal(callsign_node_register(client, &node, &answer), CALLSIGN_DONE);
    assert_int_equal(put(1, "a", 2), CALLSIGN_DONE);
    assert_int_equal(callsign_node_remove(client, 2, &removed, &answer), CALLSIGN_DONE);
    assert_int_equal(removed, 1);
    /* Down it is, whether it ever had a lease or not; again is no change. */
    assert_int_equal(callsign_node_remove(client, 2, &removed, &answer), CALLSIGN_DONE);
    assert_int_equal(removed, 0);
    assert_int_equal(callsign_node_remove(client, 1, &removed, &answer), CALLSIGN_DONE);
    assert_int_equal(removed, 1);
    assert_int_equal(put(1, "b", 1), CALLSIGN_REFUSED);
}

static void waits_for_a_change(void **state)
{
    struct callsign_get wait = {.env_id = 1, .name = "a", .has_after = true, .wait_ms = 20};

    (void)state;
    assert_int_equal(callsign_get(client, &wait, &answer), CALLSIGN_UNCHANGED);
    assert_int_equal(put(1, "a", 1), CALLSIGN_DONE);
    assert_int_equal(callsign_get(client, &wait, &answer), CALLSIGN_DONE);
    wait.after = 1;
    assert_int_equal(put(1, "b", 1), CALLSIGN_DONE);
    assert_int_equal(callsign_get(client, &wait, &answer), CALLSIGN_UNCHANGED);
}

/* --- Claims ------------------------------------------------------------------------- */

static struct callsign_claimed claimed;

static enum callsign_result claim(uint32_t ttl_ms, uint32_t wait_ms)
{
    struct callsign_claim c = {
        .env_id = 1, .name = "a", .node_id = 1, .ttl_ms = ttl_ms, .wait_ms = wait_ms};

    return callsign_claim(client, &c, &claimed, &answer);
}

static void claims_a_name(void **state)
{
    struct callsign_put absent = {.env_id = 1, .name = "a", .node_id = 1, .if_absent = true};

    (void)state;
    assert_int_equal(claim(60000, 0), CALLSIGN_DONE);
    assert_false(answer.has_entry);
    assert_int_equal(claim(60000, 10), CALLSIGN_REFUSED);
    assert_string_equal(answer.code, "name_claimed");
    assert_int_equal(callsign_put(client, &absent, &answer), CALLSIGN_REFUSED);
    assert_string_equal(answer.code, "name_claimed");
    assert_int_equal(callsign_claim_abort(client, &claimed, &answer), CALLSIGN_DONE);
    assert_int_equal(callsign_claim_abort(client, &claimed, &answer), CALLSIGN_NOT_FOUND);
    assert_int_equal(claim(60000, 0), CALLSIGN_DONE);
    assert_int_equal(callsign_claim_confirm(client, &claimed, 42, &answer), CALLSIGN_DONE);
    assert_true(answer.created);
    assert_int_equal(answer.entry.process_id, 42);
    assert_int_equal(callsign_claim_confirm(client, &claimed, 42, &answer), CALLSIGN_NOT_FOUND);
    assert_int_equal(claim(60000, 0), CALLSIGN_DONE);
    assert_int_equal(answer.entry.process_id, 42);
}

/* A plain put beats a claim, and one that nobody confirms passes on. */
static void claims_end(void **state)
{
    struct callsign_remove remove = {.env_id = 1, .name = "a"};

    (void)state;
    assert_int_equal(claim(60000, 0), CALLSIGN_DONE);
    assert_int_equal(put(1, "a", 7), CALLSIGN_DONE);
    assert_int_equal(callsign_claim_confirm(client, &claimed, 42, &answer), CALLSIGN_NOT_FOUND);
    assert_int_equal(callsign_remove(client, &remove, &answer), CALLSIGN_DONE);
    assert_int_equal(claim(1000, 0), CALLSIGN_DONE);
    assert_int_equal(claim(1000, 20000), CALLSIGN_DONE); /* once the first has run out */
    assert_false(answer.has_entry);
}

enum { SPAWNERS = 8 };

static void *get_or_spawn(void *data)
{
    struct callsign_claim c = {
        .env_id = 1, .name = "a", .node_id = 1, .ttl_ms = 60000, .wait_ms = 20000};
    unsigned *spawned = data;
    struct callsign_claimed mine;
    struct callsign_answer a;

    if (callsign_claim(client, &c, &mine, &a) == CALLSIGN_DONE && !a.has_entry) {
        /* The first ones fail to spawn: the next in line is to try. */
        if (strtoull(mine.id, NULL, 10) < 4) {
            (void)callsign_claim_abort(client, &mine, &a);
        } else {
            *spawned += callsign_claim_confirm(client, &mine, 42, &a) == CALLSIGN_DONE;
        }
    }
    return NULL;
}

static void spawns_once(void **state)
{
    pthread_t threads[SPAWNERS];
    unsigned spawned[SPAWNERS] = {0};
    unsigned sum = 0;

    (void)state;
    for (int i = 0; i < SPAWNERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, get_or_spawn, &spawned[i]), 0);
    }
    for (int i = 0; i < SPAWNERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        sum += spawned[i];
    }
    assert_int_equal(sum, 1);
    assert_int_equal(get(1, "a"), CALLSIGN_DONE);
}

static void has_a_status(void **state)
{
    static struct callsign_cluster cluster;

    (void)state;
    assert_int_equal(put(1, "a", 1), CALLSIGN_DONE);
    assert_int_equal(callsign_status(client, &cluster, &answer), CALLSIGN_DONE);
    assert_string_equal(cluster.state, "local");
    assert_int_equal(cluster.names, 1);
    assert_int_equal(callsign_fetch(client, "/version", NULL, NULL, &answer), CALLSIGN_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(puts_gets_and_removes, open_client, close_client),
        cmocka_unit_test_setup_teardown(judges_conditions, open_client, close_client),
        cmocka_unit_test_setup_teardown(lists_in_order, open_client, close_client),
        cmocka_unit_test(stays_in_order),
        cmocka_unit_test_setup_teardown(is_shared_by_threads, open_client, close_client),
        cmocka_unit_test_setup_teardown(applies_all_or_nothing, open_client, close_client),
        cmocka_unit_test_setup_teardown(takes_names_with_their_node, open_client, close_client),
        cmocka_unit_test_setup_teardown(waits_for_a_change, open_client, close_client),
        cmocka_unit_test_setup_teardown(claims_a_name, open_client, close_client),
        cmocka_unit_test_setup_teardown(claims_end, open_client, close_client),
        cmocka_unit_test_setup_teardown(spawns_once, open_client, close_client),
        cmocka_unit_test_setup_teardown(has_a_status, open_client, close_client),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
