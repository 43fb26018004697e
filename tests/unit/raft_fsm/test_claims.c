#include "claims.h"

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
#include "registry_claims.h"
#include "snapshot.h"
#include "testrandom.h"

static const uint8_t hash_key[16] = "test_claims....";

static uint64_t last_nonce;

static struct verdict apply(struct registry *r, const struct command *c)
{
    struct verdict v;

    assert_int_equal(command_check(c), ERR_OK);
    registry_apply(r, c, 0, &v);
    assert_true(v.revision == registry_revision(r));
    return v;
}

static struct verdict claim(struct registry *r, const char *name, uint64_t node_id, bool wait)
{
    const struct command c = {
        .op = COMMAND_CLAIM,
        .env_id = 1,
        .name = name,
        .name_len = strlen(name),
        .node_id = node_id,
        .claim = {.nonce = ++last_nonce, .ttl_ms = COMMAND_TTL_MIN_MS, .wait = wait}};

    return apply(r, &c);
}

static struct verdict end(struct registry *r, enum command_op op, struct verdict_claim ticket)
{
    const struct command c = {
        .op = op, .process_id = 77, .claim = {.id = ticket.id, .nonce = ticket.nonce}};

    return apply(r, &c);
}

static struct verdict put(struct registry *r, const char *name, unsigned flags)
{
    const struct command c = {.op = COMMAND_PUT,
                              .flags = flags,
                              .env_id = 1,
                              .name = name,
                              .name_len = strlen(name),
                              .node_id = 9,
                              .process_id = 9};

    return apply(r, &c);
}

static bool holds(const struct registry *r, struct verdict_claim ticket)
{
    struct claim_info info;

    return registry_claims_find(r, ticket.id, ticket.nonce, &info) && info.holds;
}

static void one_spawns_and_registers(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict first = claim(r, "a", 1, false);
    struct verdict v;

    (void)state;
    assert_int_equal(first.err, ERR_OK);
    assert_true(first.created && !first.changed && !first.has_owner);
    assert_true(first.claim.id == 1 && first.claim.nonce == last_nonce);
    v = claim(r, "a", 2, false);
    assert_int_equal(v.err, ERR_CLAIM_HELD);
    assert_true(v.claim.id == 0);
    v = put(r, "a", COMMAND_IF_ABSENT);
    assert_int_equal(v.err, ERR_NAME_CLAIMED);
    assert_true(registry_revision(r) == 0);

    v = end(r, COMMAND_CLAIM_CONFIRM, first.claim);
    assert_int_equal(v.err, ERR_OK);
    assert_true(v.created && v.changed && v.revision == 1);
    assert_true(v.owner.node_id == 1 && v.owner.process_id == 77 && v.owner.revision == 1);
    assert_int_equal(v.name->len, 1);
    assert_memory_equal(v.name->bytes, "a", 1);
    verdict_clear(&v);
    assert_int_equal(end(r, COMMAND_CLAIM_CONFIRM, first.claim).err, ERR_CLAIM_NOT_FOUND);
    assert_int_equal(end(r, COMMAND_CLAIM_ABORT, first.claim).err, ERR_CLAIM_NOT_FOUND);
    v = claim(r, "a", 2, true);
    assert_int_equal(v.err, ERR_OK);
    assert_true(v.has_owner && !v.created && v.owner.process_id == 77);
    registry_free(r);
}

static void waiters_are_served_in_order(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict_claim tickets[5];
    struct verdict v;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        v = claim(r, "a", i, true);
        assert_int_equal(v.err, i == 0 ? ERR_OK : ERR_CLAIM_HELD);
        tickets[i] = v.claim;
        assert_true(tickets[i].id == i + 1);
    }
    /* Whoever waits can neither confirm nor be in the way of another name. */
    assert_int_equal(end(r, COMMAND_CLAIM_CONFIRM, tickets[1]).err, ERR_CLAIM_NOT_FOUND);
    assert_int_equal(claim(r, "a2", 1, true).err, ERR_OK);
    assert_int_equal(end(r, COMMAND_CLAIM_WITHDRAW, tickets[1]).err, ERR_CLAIM_HELD);
    assert_int_equal(end(r, COMMAND_CLAIM_WITHDRAW, tickets[1]).err, ERR_CLAIM_NOT_FOUND);
    assert_true(holds(r, tickets[0]) && !holds(r, tickets[2]));
    assert_int_equal(end(r, COMMAND_CLAIM_ABORT, tickets[0]).err, ERR_OK);
    assert_true(holds(r, tickets[2]) && !holds(r, tickets[3]));
    /* It came to hold before it was withdrawn: that is what it is told. */
    v = end(r, COMMAND_CLAIM_WITHDRAW, tickets[2]);
    assert_int_equal(v.err, ERR_OK);
    assert_true(v.created && v.claim.id == tickets[2].id && holds(r, tickets[2]));
    /* The nonce has to fit. */
    tickets[2].nonce++;
    assert_int_equal(end(r, COMMAND_CLAIM_ABORT, tickets[2]).err, ERR_CLAIM_NOT_FOUND);
    tickets[2].nonce--;
    v = end(r, COMMAND_CLAIM_CONFIRM, tickets[2]);
    assert_int_equal(v.err, ERR_OK);
    verdict_clear(&v);
    assert_true(registry_claims(r) == 1);
    assert_int_equal(end(r, COMMAND_CLAIM_ABORT, tickets[3]).err, ERR_CLAIM_NOT_FOUND);
    registry_free(r);
}

static void a_plain_put_beats_a_claim(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict first = claim(r, "a", 1, false);

    (void)state;
    claim(r, "a", 2, true);
    assert_int_equal(put(r, "a", 0).err, ERR_OK);
    assert_true(registry_claims(r) == 0);
    assert_int_equal(end(r, COMMAND_CLAIM_CONFIRM, first.claim).err, ERR_CLAIM_NOT_FOUND);
    registry_free(r);
}

static void one_name_has_so_many_waiters_and_no_more(void **state)
{
    struct registry *r = registry_new(hash_key);

    (void)state;
    for (unsigned i = 0; i < CLAIMS_QUEUE_MAX + 10; i++) {
        struct verdict v = claim(r, "a", i, true);

        assert_int_equal(v.claim.id != 0, i < CLAIMS_QUEUE_MAX);
    }
    assert_true(registry_claims(r) == CLAIMS_QUEUE_MAX);
    put(r, "a", 0);
    assert_true(registry_claims(r) == 0);
    registry_free(r);
}

/* --- Against a table -------------------------------------------------------------- */

enum { TICKETS = 4000, NAMES = 40, STEPS = 40000 };

struct ticket {
    struct verdict_claim id;
    unsigned name;
    bool open;
};

struct run {
    struct testrandom random;
    struct registry *registry;
    struct ticket tickets[TICKETS];
    unsigned made;
    bool held[NAMES];
};

static enum err collect(void *data, const void *bytes, size_t n)
{
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

static void restart(struct run *run)
{
    struct registry *restored;
    struct buf first, second;

    write_snapshot(run->registry, &first);
    assert_int_equal(snapshot_read(first.data, first.len, hash_key, &restored), ERR_OK);
    assert_true(registry_digest(restored) == registry_digest(run->registry));
    write_snapshot(restored, &second);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    buf_fini(&first);
    buf_fini(&second);
    registry_free(run->registry);
    run->registry = restored;
}

/* The first open one on that name. */
static struct ticket *holder(struct run *run, unsigned name)
{
    for (unsigned i = 0; i < run->made; i++) {
        if (run->tickets[i].open && run->tickets[i].name == name) {
            return &run->tickets[i];
        }
    }
    return NULL;
}

static void close_all(struct run *run, unsigned name)
{
    struct ticket *t;

    while ((t = holder(run, name)) != NULL) {
        t->open = false;
    }
}

/* Names of which some begin like others, and one that has the longest length. */
static void make_name(unsigned which, char name[COMMAND_NAME_MAX + 1])
{
    snprintf(name, 32, "%.*s", (int)(1 + which / 2), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    if (which % 2 == 1) {
        snprintf(name, 32, "b%u", which);
    }
    if (which == 0) {
        memset(name, 'x', COMMAND_NAME_MAX);
        name[COMMAND_NAME_MAX] = '\0';
    }
}

static void step_claim(struct run *run, unsigned which, const char *name)
{
    bool wait = testrandom_below(&run->random, 2);
    struct ticket *before = holder(run, which);
    struct verdict v = claim(run->registry, name, which, wait);

    if (run->held[which]) {
        assert_true(v.err == ERR_OK && v.has_owner);
        return;
    }
    assert_int_equal(v.err, before == NULL ? ERR_OK : ERR_CLAIM_HELD);
    assert_int_equal(v.claim.id != 0, before == NULL || wait);
    if (v.claim.id != 0) {
        run->tickets[run->made++] = (struct ticket){v.claim, which, true};
    }
}

static void step_end(struct run *run)
{
    struct ticket *t = &run->tickets[testrandom_below(&run->random, run->made)];
    bool held = t->open && holder(run, t->name) == t;
    enum command_op op = COMMAND_CLAIM_CONFIRM + (unsigned)testrandom_below(&run->random, 3);
    struct verdict v = end(run->registry, op, t->id);

    if (op == COMMAND_CLAIM_CONFIRM) {
        assert_int_equal(v.err, held ? ERR_OK : ERR_CLAIM_NOT_FOUND);
        if (held) {
            close_all(run, t->name);
            run->held[t->name] = true;
        }
    } else if (op == COMMAND_CLAIM_ABORT) {
        assert_int_equal(v.err, t->open ? ERR_OK : ERR_CLAIM_NOT_FOUND);
        t->open = false;
    } else {
        assert_int_equal(v.err, held ? ERR_OK : t->open ? ERR_CLAIM_HELD : ERR_CLAIM_NOT_FOUND);
        t->open = held;
    }
    verdict_clear(&v);
}

static void step(struct run *run)
{
    unsigned which = (unsigned)testrandom_below(&run->random, NAMES);
    char name[COMMAND_NAME_MAX + 1];
    struct ticket *t;

    make_name(which, name);
    switch (testrandom_below(&run->random, 8)) {
    case 0:
        put(run->registry, name, 0);
        run->held[which] = true;
        close_all(run, which);
        break;
    case 1:
    case 2: {
        const struct command c = {
            .op = COMMAND_REMOVE, .env_id = 1, .name = name, .name_len = strlen(name)};

        apply(run->registry, &c);
        run->held[which] = false;
        break;
    }
    case 3:
    case 4:
        step_end(run);
        break;
    default:
        step_claim(run, which, name);
    }
    t = holder(run, which);
    assert_true(t == NULL || holds(run->registry, t->id));
}

static void agrees_with_a_table(void **state)
{
    static struct run run;
    struct registry_view *view = NULL;

    (void)state;
    testrandom_init(&run.random);
    run.registry = registry_new(hash_key);
    run.tickets[run.made++] = (struct ticket){{1, 0}, 0, false};
    for (unsigned i = 0; i < STEPS && run.made < TICKETS; i++) {
        step(&run);
        if (testrandom_below(&run.random, 100) == 0) {
            registry_view_free(view);
            view = registry_view_new(run.registry);
        }
        if (testrandom_below(&run.random, 400) == 0) {
            restart(&run);
        }
    }
    registry_view_free(view);
    assert_true(run.made > 1000);
    registry_free(run.registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_spawns_and_registers),
        cmocka_unit_test(waiters_are_served_in_order),
        cmocka_unit_test(a_plain_put_beats_a_claim),
        cmocka_unit_test(one_name_has_so_many_waiters_and_no_more),
        cmocka_unit_test(agrees_with_a_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
