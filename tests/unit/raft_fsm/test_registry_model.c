/*
 * Random commands against a registry and against a model that is too simple to
 * be wrong: a sorted array. Views are taken and compared long afterwards,
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
#include "snapshot.h"
#include "testrandom.h"

enum {
    STEPS = 250000,
    UNIVERSE = 12000, /* names in use, in all environments */
    ENVIRONMENTS = 4,
    VIEWS = 3,
    NAME_MAX_BYTES = 64,
    BATCH_OPS = 6,
};

struct row {
    uint64_t env_id;
    char name[NAME_MAX_BYTES];
    size_t name_len;
    struct owner owner;
};

struct model {
    struct row *rows; /* in order */
    size_t count;
    uint64_t revision;
    uint64_t log_time_ms;
};

struct picture {
    struct registry_view *view;
    struct model model;
    uint64_t digest;
};

struct run {
    struct testrandom random;
    struct registry *registry;
    struct model model;
    struct picture pictures[VIEWS];
    uint64_t snapshots;
};

static const uint64_t environments[ENVIRONMENTS] = {0, 1, 2, UINT64_MAX};

static int compare(const struct row *row, const struct command *c)
{
    size_t n = row->name_len < c->name_len ? row->name_len : c->name_len;
    int order = memcmp(row->name, c->name, n);

    if (row->env_id != c->env_id) {
        return row->env_id < c->env_id ? -1 : 1;
    }
    return order != 0 ? order : (row->name_len > c->name_len) - (row->name_len < c->name_len);
}

/* Where the name is or belongs. */
static size_t locate(const struct model *m, const struct command *c, bool *ret_found)
{
    size_t low = 0, high = m->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (compare(&m->rows[middle], c) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_found = low < m->count && compare(&m->rows[low], c) == 0;
    return low;
}

static enum err model_put(struct model *m, const struct command *c, size_t at, bool found)
{
    struct row *row = &m->rows[at];

    if ((c->flags & COMMAND_IF_ABSENT) != 0 && found) {
        return ERR_NAME_TAKEN;
    }
    if ((c->flags & COMMAND_IF_REVISION) != 0 &&
        (!found || row->owner.revision != c->if_revision)) {
        return ERR_PRECONDITION_FAILED;
    }
    if (found && row->owner.node_id == c->node_id && row->owner.process_id == c->process_id) {
        return ERR_OK;
    }
    if (!found) {
        memmove(row + 1, row, (m->count - at) * sizeof *row);
        m->count++;
        row->env_id = c->env_id;
        memcpy(row->name, c->name, c->name_len);
        row->name_len = c->name_len;
    }
    row->owner = (struct owner){c->node_id, c->process_id, ++m->revision};
    return ERR_OK;
}

static enum err model_remove(struct model *m, const struct command *c, size_t at, bool found)
{
    struct row *row = &m->rows[at];

    if (!found) {
        return ERR_PROCESS_NOT_FOUND;
    }
    if ((c->flags & COMMAND_IF_REVISION) != 0 && row->owner.revision != c->if_revision) {
        return ERR_PRECONDITION_FAILED;
    }
    if ((c->flags & COMMAND_IF_OWNER) != 0 &&
        (row->owner.node_id != c->node_id || row->owner.process_id != c->process_id)) {
        return ERR_NOT_OWNER;
    }
    memmove(row, row + 1, (m->count - at - 1) * sizeof *row);
    m->count--;
    m->revision++;
    return ERR_OK;
}

static struct verdict model_apply(struct model *m, const struct command *c, uint64_t now_ms)
{
    struct verdict v = {0};
    bool found;
    size_t at = locate(m, c, &found);
    uint64_t before = m->revision;

    if (found) {
        v.has_owner = true;
        v.owner = m->rows[at].owner;
    }
    m->log_time_ms = now_ms > m->log_time_ms ? now_ms : m->log_time_ms;
    if (c->op == COMMAND_PUT) {
        v.err = model_put(m, c, at, found);
        if (v.err == ERR_OK) {
            v.has_owner = true;
            v.owner = m->rows[at].owner;
            v.created = !found;
        }
    } else {
        v.err = model_remove(m, c, at, found);
    }
    v.changed = m->revision != before;
    v.revision = m->revision;
    return v;
}

static void assert_verdicts_equal(const struct verdict *a, const struct verdict *b)
{
    assert_int_equal(a->err, b->err);
    assert_int_equal(a->created, b->created);
    assert_int_equal(a->changed, b->changed);
    assert_int_equal(a->has_owner, b->has_owner);
    assert_true(a->revision == b->revision);
    if (a->has_owner) {
        assert_memory_equal(&a->owner, &b->owner, sizeof a->owner);
    }
}

/* Name number i of the universe: short ones, long ones, many that begin
 * alike, some that begin like another whole name. */
static size_t make_name(uint64_t i, char name[NAME_MAX_BYTES])
{
    switch (i % 4) {
    case 0:
        return (size_t)snprintf(name, NAME_MAX_BYTES, "%llu", (unsigned long long)i);
    case 1:
        return (size_t)snprintf(name, NAME_MAX_BYTES, "my_app::Counter/Bincode/Ref<%05llu>",
                                (unsigned long long)i);
    case 2:
        return (size_t)snprintf(name, NAME_MAX_BYTES, "%.*s", (int)(1 + i / 4 % 60),
                                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    default:
        return (size_t)snprintf(name, NAME_MAX_BYTES, "\xc3\xa4%llx", (unsigned long long)(i * i));
    }
}

static struct command random_command(struct run *run, char name[NAME_MAX_BYTES], bool growing)
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
        c.node_id = testrandom_below(random, 3) - 1;
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
    const struct row *next;
    const struct row *end;
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

static void assert_view_shows(const struct registry_view *v, const struct model *m)
{
    struct comparison c = {m->rows, m->rows + m->count, UINT32_MAX};

    assert_true(registry_view_count(v) == m->count);
    assert_true(registry_view_revision(v) == m->revision);
    assert_true(registry_view_log_time_ms(v) == m->log_time_ms);
    registry_view_walk(v, on_entry, &c);
    assert_ptr_equal(c.next, c.end);
}

static bool listed(const struct row *row, const struct command *c, size_t prefix_len)
{
    return row->env_id == c->env_id && row->name_len >= prefix_len &&
           memcmp(row->name, c->name, prefix_len) == 0;
}

/* A page: some prefix of some name, behind some other name. */
static void compare_page(struct run *run)
{
    char name[NAME_MAX_BYTES], after[NAME_MAX_BYTES];
    struct command c = random_command(run, name, true);
    struct command behind = {.env_id = c.env_id, .name = after};
    struct registry_range range = {.env_id = c.env_id, .prefix = name, .after = after};
    struct comparison comparison;
    const struct row *first, *end = run->model.rows + run->model.count;
    size_t at;
    bool found;

    range.prefix_len = testrandom_below(&run->random, 2) * testrandom_below(&run->random, 12);
    if (range.prefix_len > c.name_len) {
        range.prefix_len = c.name_len;
    }
    behind.name_len = make_name(testrandom_below(&run->random, UNIVERSE), after);
    behind.name_len = testrandom_below(&run->random, 3) == 0 ? 0 : behind.name_len;
    range.after_len = behind.name_len;
    at = locate(&run->model, &behind, &found);
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

static void copy_model(const struct model *from, struct model *to)
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
    char names[BATCH_OPS][NAME_MAX_BYTES];
    struct command ops[BATCH_OPS], batch = {.op = COMMAND_BATCH, .env_id = 1};
    struct verdict got;
    struct model after;
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
        one = model_apply(&after, &ops[i], 0);
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

static void step(struct run *run, bool growing)
{
    char name[NAME_MAX_BYTES];
    struct command c = random_command(run, name, growing);
    uint64_t now_ms = testrandom_below(&run->random, 1u << 30);
    struct verdict got, expected;

    assert_int_equal(command_check(&c), ERR_OK);
    registry_apply(run->registry, &c, now_ms, &got);
    expected = model_apply(&run->model, &c, now_ms);
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
    printf("# %u steps, revision %llu, %zu names, %llu snapshots\n", STEPS,
           (unsigned long long)run.model.revision, run.model.count,
           (unsigned long long)run.snapshots);
    free(run.model.rows);
    registry_free(run.registry);
}

/* Two replicas: other hash keys, one of them with views and a restart. */
static void replicas_stay_the_same(void **state)
{
    struct run a = {.registry = registry_new((const uint8_t *)"0123456789abcdef")};
    struct run b = {.registry = registry_new((const uint8_t *)"fedcba9876543210")};
    char name[NAME_MAX_BYTES];

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
