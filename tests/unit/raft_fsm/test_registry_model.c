/*
 * Random commands against a registry and against a model that is too simple to
 * be wrong: a sorted array (testmodel.h). Views are taken and compared long afterwards,
 * snapshots are written, read and go on in place of the registry.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "command.h"
#include "registry.h"
#include "registry_nodes.h"
#include "snapshot.h"
#include "testmodel.h"
#include "testrandom.h"

enum {
    STEPS = 250000,
    UNIVERSE = 12000, /* names in use, in all environments */
    ENVIRONMENTS = 4,
    VIEWS = 3,
    BATCH_OPS = 6,
};

struct picture {
    struct registry_view *view;
    struct testmodel model;
    uint64_t digest;
};

struct run {
    struct testrandom random;
    struct registry *registry;
    struct testmodel model;
    struct picture pictures[VIEWS];
    uint64_t snapshots, downs;
};

static const uint64_t environments[ENVIRONMENTS] = {0, 1, 2, UINT64_MAX};

static void assert_verdicts_equal(const struct verdict *a, const struct verdict *b)
{
    assert_int_equal(a->err, b->err);
    assert_int_equal(a->created, b->created);
    assert_int_equal(a->changed, b->changed);
    assert_int_equal(a->has_owner, b->has_owner);
    assert_true(a->revision == b->revision && a->removed == b->removed);
    if (a->has_owner) {
        assert_memory_equal(&a->owner, &b->owner, sizeof a->owner);
    }
}

/* Name number i of the universe: short ones, long ones, many that begin
 * alike, some that begin like another whole name. */
static size_t make_name(uint64_t i, char name[TESTMODEL_NAME_BYTES])
{
    switch (i % 4) {
    case 0:
        return (size_t)snprintf(name, TESTMODEL_NAME_BYTES, "%llu", (unsigned long long)i);
    case 1:
        return (size_t)snprintf(name, TESTMODEL_NAME_BYTES, "my_app::Counter/Bincode/Ref<%05llu>",
                                (unsigned long long)i);
    case 2:
        return (size_t)snprintf(name, TESTMODEL_NAME_BYTES, "%.*s", (int)(1 + i / 4 % 60),
                                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    default:
        return (size_t)snprintf(name, TESTMODEL_NAME_BYTES, "\xc3\xa4%llx",
                                (unsigned long long)(i * i));
    }
}

static struct command random_command(struct run *run, char name[TESTMODEL_NAME_BYTES], bool growing)
{
    struct testrandom *random = &run->random;
    struct command c = {.name = name};
    struct owner held;
    bool found;

    c.env_id = environments[testrandom_below(random, ENVIRONMENTS)];
    c.name_len = make_name(testrandom_below(random, UNIVERSE / ENVIRONMENTS), name);
    found = registry_find(run->registry, c.env_id, name, c.name_len, &held);
    c.op = growing == (testrandom_below(random, 8) != 0) ? COMMAND_PUT : COMMAND_REMOVE;
    if (testrandom_below(random, 4) == 0) {
        c.flags |= COMMAND_IF_REVISION;
        c.if_revision =
            found && testrandom_below(random, 4) != 0 ? held.revision : testrandom_below(random, 9);
    } else if (c.op == COMMAND_PUT && testrandom_below(random, 4) == 0) {
        c.flags |= COMMAND_IF_ABSENT;
    }
    if (c.op == COMMAND_REMOVE && testrandom_below(random, 4) == 0) {
        c.flags |= COMMAND_IF_OWNER;
    }
    if (c.op == COMMAND_PUT || (c.flags & COMMAND_IF_OWNER) != 0) {
        c.node_id = testrandom_below(random, TESTMODEL_NODES) - 1;
        c.process_id = testrandom_below(random, 2);
        if (found && testrandom_below(random, 3) == 0) {
            c.node_id = held.node_id;
            c.process_id = held.process_id;
        }
    }
    return c;
}

/* --- Comparing ---------------------------------------------------------- */

struct comparison {
    const struct testmodel_row *next;
    const struct testmodel_row *end;
    unsigned left;
};

static bool on_entry(void *data, const struct entry *e)
{
    struct comparison *c = data;

    assert_true(c->next < c->end);
    assert_true(e->env_id == c->next->env_id && e->name_len == c->next->name_len);
    assert_memory_equal(e->name, c->next->name, e->name_len);
    assert_memory_equal(&e->owner, &c->next->owner, sizeof e->owner);
    c->next++;
    return --c->left > 0;
}

static void assert_node_is(const struct testmodel *m, const struct node_info *i)
{
    const struct testmodel_node *node = &m->nodes[i->node_id + 1];

    assert_true(node->leased && node->revision == i->revision && node->ttl_ms == i->ttl_ms);
    assert_int_equal(i->state, node->up ? REGISTRY_NODE_UP : REGISTRY_NODE_DOWN);
}

struct node_comparison {
    const struct testmodel *model;
    unsigned seen;
};

static bool on_node(void *data, const struct node_info *i)
{
    struct node_comparison *c = data;

    assert_node_is(c->model, i);
    c->seen++;
    return true;
}

static unsigned leased(const struct testmodel *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < TESTMODEL_NODES; i++) {
        n += m->nodes[i].leased;
    }
    return n;
}

static void compare_nodes(const struct registry *r, const struct testmodel *m)
{
    struct node_comparison c = {m, 0};
    struct node_info info;

    registry_nodes_walk(r, 0, on_node, &c);
    assert_int_equal(c.seen, leased(m));
    for (unsigned i = 0; i < TESTMODEL_NODES; i++) {
        const uint64_t id = (uint64_t)i - 1;
        const uint64_t names = testmodel_names_of(m, id);

        assert_int_equal(registry_nodes_find(r, id, &info), m->nodes[i].leased || names > 0);
        if (m->nodes[i].leased) {
            assert_node_is(m, &info);
        }
        assert_true(names == 0 || info.names == names);
    }
}

static void assert_view_shows(const struct registry_view *v, const struct testmodel *m)
{
    struct comparison c = {m->rows, m->rows + m->count, UINT32_MAX};
    struct node_comparison nodes = {m, 0};

    assert_true(registry_view_count(v) == m->count);
    assert_true(registry_view_revision(v) == m->revision);
    assert_true(registry_view_log_time_ms(v) == m->log_time_ms);
    registry_view_walk(v, on_entry, &c);
    assert_ptr_equal(c.next, c.end);
    registry_nodes_view_walk(v, on_node, &nodes);
    assert_int_equal(nodes.seen, leased(m));
}

static bool listed(const struct testmodel_row *row, const struct command *c, size_t prefix_len)
{
    return row->env_id == c->env_id && row->name_len >= prefix_len &&
           memcmp(row->name, c->name, prefix_len) == 0;
}

/* A page: some prefix of some name, behind some other name. */
static void compare_page(struct run *run)
{
    char name[TESTMODEL_NAME_BYTES], after[TESTMODEL_NAME_BYTES];
    struct command c = random_command(run, name, true);
    struct command behind = {.env_id = c.env_id, .name = after};
    struct registry_range range = {.env_id = c.env_id, .prefix = name, .after = after};
    struct comparison comparison;
    const struct testmodel_row *first, *end = run->model.rows + run->model.count;
    size_t at;
    bool found;

    range.prefix_len = testrandom_below(&run->random, 2) * testrandom_below(&run->random, 12);
    if (range.prefix_len > c.name_len) {
        range.prefix_len = c.name_len;
    }
    behind.name_len = make_name(testrandom_below(&run->random, UNIVERSE), after);
    behind.name_len = testrandom_below(&run->random, 3) == 0 ? 0 : behind.name_len;
    range.after_len = behind.name_len;
    at = testmodel_locate(&run->model, &behind, &found);
    first = run->model.rows + at + found;
    while (first < end && first->env_id == c.env_id && !listed(first, &c, range.prefix_len)) {
        first++;
    }
    comparison =
        (struct comparison){first, first, 1 + (unsigned)testrandom_below(&run->random, 50)};
    while (comparison.end < end && listed(comparison.end, &c, range.prefix_len) &&
           comparison.end < first + comparison.left) {
        comparison.end++;
    }
    registry_walk(run->registry, &range, on_entry, &comparison);
    assert_ptr_equal(comparison.next, comparison.end);
}

/* --- Pictures and snapshots ---------------------------------------------- */

static void copy_model(const struct testmodel *from, struct testmodel *to)
{
    *to = *from;
    to->rows = calloc(from->count + BATCH_OPS, sizeof *to->rows);
    memcpy(to->rows, from->rows, from->count * sizeof *to->rows);
}

static void take_picture(struct run *run, struct picture *p)
{
    p->view = registry_view_new(run->registry);
    p->digest = registry_digest(run->registry);
    copy_model(&run->model, &p->model);
}

static void drop_picture(struct picture *p)
{
    if (p->view != NULL) {
        assert_view_shows(p->view, &p->model);
        assert_true(registry_view_digest(p->view) == p->digest);
        registry_view_free(p->view);
        free(p->model.rows);
        p->view = NULL;
    }
}

static enum err collect(void *data, const void *bytes, size_t n)
{
    assert_true(n <= SNAPSHOT_PIECE_MAX);
    buf_put(data, bytes, n);
    return ERR_OK;
}

static void write_snapshot(struct registry *r, struct buf *out)
{
    struct registry_view *v = registry_view_new(r);

    buf_init(out, (size_t)1 << 30);
    assert_int_equal(snapshot_write(v, collect, out), ERR_OK);
    registry_view_free(v);
}

/* The registry goes on as its own restored copy. */
static void restart(struct run *run)
{
    uint8_t key[16];
    struct registry *restored;
    struct buf first, second;

    for (unsigned i = 0; i < sizeof key; i++) {
        key[i] = (uint8_t)testrandom_next(&run->random);
    }
    write_snapshot(run->registry, &first);
    assert_int_equal(snapshot_read(first.data, first.len, key, &restored), ERR_OK);
    assert_true(registry_digest(restored) == registry_digest(run->registry));
    write_snapshot(restored, &second);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    buf_fini(&first);
    buf_fini(&second);
    registry_free(run->registry);
    run->registry = restored;
    run->snapshots++;
}

/* Several operations as one command: in the model one after the other on a
 * copy, all with the revision of the first that changes something. */
static void step_batch(struct run *run, bool growing)
{
    char names[BATCH_OPS][TESTMODEL_NAME_BYTES];
    struct command ops[BATCH_OPS], batch = {.op = COMMAND_BATCH, .env_id = 1};
    struct verdict got;
    struct testmodel after;
    struct buf encoded;
    uint64_t before = run->model.revision;
    bool changed = false;

    buf_init(&encoded, COMMAND_ENCODED_MAX);
    batch.ops.count = 1 + (unsigned)testrandom_below(&run->random, BATCH_OPS);
    for (unsigned i = 0; i < batch.ops.count; i++) {
        ops[i] = random_command(run, names[i], growing);
        if (i > 0 && testrandom_below(&run->random, 3) == 0) {
            ops[i].name = ops[i - 1].name;
            ops[i].name_len = ops[i - 1].name_len;
            ops[i].env_id = ops[i - 1].env_id;
        }
        command_ops_add(&encoded, &ops[i]);
    }
    batch.ops.bytes = encoded.data;
    batch.ops.len = encoded.len;
    assert_int_equal(command_check(&batch), ERR_OK);
    registry_apply(run->registry, &batch, 0, &got);
    copy_model(&run->model, &after);
    for (unsigned i = 0; i < batch.ops.count; i++) {
        const unsigned held = COMMAND_IF_REVISION | COMMAND_IF_OWNER;
        struct verdict one;

        after.revision = before;
        one = testmodel_apply(&after, &ops[i], 0);
        changed |= one.changed;
        if (one.err != ERR_OK && (one.err != ERR_PROCESS_NOT_FOUND || (ops[i].flags & held) != 0)) {
            assert_int_equal(got.err, ERR_BATCH_REFUSED);
            assert_int_equal(got.refused_at, i);
            assert_int_equal(got.refused_by, one.err);
            free(after.rows);
            buf_fini(&encoded);
            return;
        }
        if (got.results == NULL) {
            continue; /* a later one must refuse it */
        }
        assert_int_equal(got.results->at[i].err, one.err);
        assert_int_equal(got.results->at[i].created, one.created);
        assert_int_equal(got.results->at[i].has_owner, one.has_owner);
        if (one.has_owner) {
            assert_memory_equal(&got.results->at[i].owner, &one.owner, sizeof one.owner);
        }
    }
    assert_int_equal(got.err, ERR_OK);
    assert_non_null(got.results);
    assert_int_equal(got.changed, changed);
    memcpy(run->model.rows, after.rows, after.count * sizeof *after.rows);
    run->model.count = after.count;
    run->model.revision = before + changed;
    assert_true(registry_revision(run->registry) == run->model.revision);
    free(after.rows);
    verdict_clear(&got);
    buf_fini(&encoded);
}

/* Nodes come oftener than they go. */
static struct command random_node_command(struct run *run)
{
    const uint64_t index = testrandom_below(&run->random, TESTMODEL_NODES);
    const struct testmodel_node *node = &run->model.nodes[index];
    struct command c = {.node_id = index - 1};

    if (testrandom_below(&run->random, 3) != 0) {
        c.op = COMMAND_NODE_UP;
        c.node.ttl_ms = 1000 + (uint32_t)testrandom_below(&run->random, 3);
        c.node.address = "host";
        c.node.address_len = testrandom_below(&run->random, 5);
        return c;
    }
    c.op = COMMAND_NODE_DOWN;
    if (testrandom_below(&run->random, 2) == 0) {
        c.flags = COMMAND_IF_REVISION;
        c.if_revision = node->revision + testrandom_below(&run->random, 4) / 3;
    }
    return c;
}

static void step_node(struct run *run)
{
    struct command c = random_node_command(run);
    struct verdict got, expected;

    assert_int_equal(command_check(&c), ERR_OK);
    registry_apply(run->registry, &c, 0, &got);
    expected = testmodel_apply_node(&run->model, &c);
    assert_verdicts_equal(&got, &expected);
    assert_true(registry_count(run->registry) == run->model.count);
    compare_nodes(run->registry, &run->model);
    run->downs += got.removed > 0;
}

static void step(struct run *run, bool growing)
{
    char name[TESTMODEL_NAME_BYTES];
    struct command c = random_command(run, name, growing);
    uint64_t now_ms = testrandom_below(&run->random, 1u << 30);
    struct verdict got, expected;

    assert_int_equal(command_check(&c), ERR_OK);
    registry_apply(run->registry, &c, now_ms, &got);
    expected = testmodel_apply(&run->model, &c, now_ms);
    assert_verdicts_equal(&got, &expected);
    assert_true(registry_count(run->registry) == run->model.count);
    assert_true(registry_log_time_ms(run->registry) == run->model.log_time_ms);
    if (testrandom_below(&run->random, 100) == 0) {
        compare_page(run);
    }
    if (testrandom_below(&run->random, 2000) == 0) {
        struct picture *p = &run->pictures[testrandom_below(&run->random, VIEWS)];

        drop_picture(p);
        take_picture(run, p);
    }
    if (testrandom_below(&run->random, 20000) == 0) {
        restart(run);
    }
    if (testrandom_below(&run->random, 200) == 0) {
        step_batch(run, growing);
    }
    if (testrandom_below(&run->random, 400) == 0) {
        step_node(run);
    }
    if (testrandom_below(&run->random, 100) == 0) {
        registry_nodes_reclaim(run->registry, (unsigned)testrandom_below(&run->random, 50));
    }
}

static void agrees_with_a_sorted_array(void **state)
{
    struct run run = {.registry = registry_new((const uint8_t *)"0123456789abcdef")};

    (void)state;
    testrandom_init(&run.random);
    run.model.rows = calloc(UNIVERSE * ENVIRONMENTS + 1, sizeof *run.model.rows);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&run, i / 30000 % 2 == 0);
    }
    restart(&run);
    for (unsigned i = 0; i < VIEWS; i++) {
        drop_picture(&run.pictures[i]);
    }
    take_picture(&run, &run.pictures[0]);
    drop_picture(&run.pictures[0]);
    assert_true(run.downs > 10);
    printf("# %u steps, revision %llu, %zu names, %llu snapshots, %llu nodes went\n", STEPS,
           (unsigned long long)run.model.revision, run.model.count,
           (unsigned long long)run.snapshots, (unsigned long long)run.downs);
    free(run.model.rows);
    registry_free(run.registry);
}

/* Two replicas: other hash keys, one of them with views and a restart. */
static void replicas_stay_the_same(void **state)
{
    struct run a = {.registry = registry_new((const uint8_t *)"0123456789abcdef")};
    struct run b = {.registry = registry_new((const uint8_t *)"fedcba9876543210")};
    char name[TESTMODEL_NAME_BYTES];

    (void)state;
    testrandom_init(&a.random);
    b.random.state = ~a.random.state;
    for (unsigned i = 0; i < 20000; i++) {
        struct command c = random_command(&a, name, i / 5000 % 2 == 0);
        struct verdict va, vb;

        registry_apply(a.registry, &c, i, &va);
        registry_apply(b.registry, &c, i, &vb);
        assert_verdicts_equal(&va, &vb);
        assert_true(registry_digest(a.registry) == registry_digest(b.registry));
        if (i % 700 == 0) {
            registry_view_free(b.pictures[0].view);
            b.pictures[0].view = registry_view_new(b.registry);
        }
        if (i % 9000 == 8999) {
            restart(&b);
        }
        if (i % 300 == 299) {
            c = (struct command){.op = i % 600 == 599 ? COMMAND_NODE_UP : COMMAND_NODE_DOWN,
                                 .node_id = i / 600 % 3};
            c.node.ttl_ms = c.op == COMMAND_NODE_UP ? 1000 : 0;
            registry_apply(a.registry, &c, i, &va);
            registry_apply(b.registry, &c, i, &vb);
            assert_verdicts_equal(&va, &vb);
            registry_nodes_reclaim(a.registry, UINT32_MAX);
        }
    }
    registry_view_free(b.pictures[0].view);
    registry_free(a.registry);
    registry_free(b.registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_sorted_array),
        cmocka_unit_test(replicas_stay_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
