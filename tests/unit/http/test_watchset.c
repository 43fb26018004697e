/*
 * The set against asking every member in turn: random filters that come and
 * go, random changes; each finds exactly those whose filter accepts it, once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/watchset.h"
#include "tests/unit/raft_fsm/testrandom.h"

enum { MEMBERS = 300, ROUNDS = 30000, ENVS = 2, NODES = 3 };

struct watching {
    struct watch_member member;
    bool added;
    unsigned found;
    char text[8];
};

struct fixture {
    struct watchset set;
    struct watching members[MEMBERS];
    struct testrandom random;
    unsigned visits;
};

/* Few letters, so that names and prefixes meet. */
static size_t random_text(struct testrandom *t, char text[8], size_t min)
{
    size_t len = min + testrandom_below(t, 5 - min);

    for (size_t i = 0; i < len; i++) {
        text[i] = (char)('a' + testrandom_below(t, 2));
    }
    return len;
}

static void begin(struct fixture *f, struct watching *w)
{
    struct testrandom *t = &f->random;
    struct watch_filter wanted = {
        .env_id = testrandom_below(t, ENVS),
        .by_node = testrandom_below(t, 3) == 0,
        .node_id = testrandom_below(t, NODES),
        .exact = testrandom_below(t, 2) == 0,
        .text = w->text,
    };

    wanted.text_len = random_text(t, w->text, wanted.exact ? 1 : 0);
    list_init(&w->member.link);
    w->member.filter = watchset_hold(&f->set, &wanted);
    memset(w->text, '?', sizeof(w->text)); /* the set keeps its own */
    watchset_add(&w->member);
    w->added = true;
}

static void end(struct fixture *f, struct watching *w)
{
    watchset_remove(&w->member);
    watchset_remove(&w->member);
    watchset_release(&f->set, w->member.filter);
    w->added = false;
}

static void on_visit(void *data, struct watch_member *m)
{
    struct fixture *f = data;

    LIST_ENTRY(m, struct watching, member)->found++;
    f->visits++;
}

static void change_random(struct fixture *f, char name[8], struct history_change *c)
{
    struct testrandom *t = &f->random;

    memset(c, 0, sizeof(*c));
    c->kind = testrandom_below(t, 20) == 0  ? HISTORY_NODE_DOWN
              : testrandom_below(t, 3) == 0 ? HISTORY_REMOVE
                                            : HISTORY_PUT;
    if (c->kind == HISTORY_NODE_DOWN) {
        c->node_id = testrandom_below(t, NODES);
        return;
    }
    c->entry.env_id = testrandom_below(t, ENVS);
    c->entry.name = name;
    c->entry.name_len = random_text(t, name, 1);
    c->entry.owner.node_id = c->kind == HISTORY_PUT ? testrandom_below(t, NODES) : 0;
    c->has_previous = c->kind == HISTORY_REMOVE || testrandom_below(t, 2) == 0;
    c->previous.node_id = c->has_previous ? testrandom_below(t, NODES) : 0;
}

/* By the sentences of the header, without its code. */
static bool should_find(const struct watch_filter *f, const struct history_change *c)
{
    if (c->kind == HISTORY_NODE_DOWN) {
        return !f->by_node || f->node_id == c->node_id;
    }
    if (f->env_id != c->entry.env_id || c->entry.name_len < f->text_len ||
        strncmp(f->text, c->entry.name, f->text_len) != 0 ||
        (f->exact && c->entry.name_len != f->text_len)) {
        return false;
    }
    return !f->by_node || (c->has_previous && c->previous.node_id == f->node_id) ||
           (c->kind == HISTORY_PUT && c->entry.owner.node_id == f->node_id);
}

static void a_change_finds_whom_it_concerns(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct history_change c;
    char name[8];

    (void)state;
    testrandom_init(&f->random);
    watchset_init(&f->set);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct watching *w = &f->members[testrandom_below(&f->random, MEMBERS)];

        if (w->added) {
            end(f, w);
        } else {
            begin(f, w);
        }
        change_random(f, name, &c);
        watchset_match(&f->set, &c, on_visit, f);
        for (unsigned i = 0; i < MEMBERS; i++) {
            w = &f->members[i];
            if (w->added) {
                bool found = should_find(w->member.filter, &c);

                assert_int_equal(w->found, found);
                assert_int_equal(watchset_accepts(w->member.filter, &c), found);
            } else {
                assert_int_equal(w->found, 0);
            }
            w->found = 0;
        }
    }
    assert_true(f->visits > ROUNDS);
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (f->members[i].added) {
            end(f, &f->members[i]);
        }
    }
    watchset_fini(&f->set);
    free(f);
}

static void the_same_wish_is_one_filter(void **state)
{
    struct watch_filter wanted = {.env_id = 1, .text = "ab", .text_len = 2};
    struct watch_filter *first, *second, *other;
    struct watchset set;

    (void)state;
    watchset_init(&set);
    first = watchset_hold(&set, &wanted);
    wanted.node_id = 7; /* not asked for */
    second = watchset_hold(&set, &wanted);
    assert_ptr_equal(first, second);
    wanted.by_node = true;
    other = watchset_hold(&set, &wanted);
    assert_ptr_not_equal(first, other);
    watchset_release(&set, first);
    assert_memory_equal(second->text, "ab", 2);
    watchset_release(&set, second);
    watchset_release(&set, other);
    watchset_fini(&set);
}

/* More filters than the first table has places, one of every length. */
static void many_filters_stay_apart(void **state)
{
    enum { FILTERS = 1000 };
    static char text[COMMAND_NAME_MAX];
    struct watch_member members[FILTERS] = {0};
    struct fixture *f = calloc(1, sizeof(*f));
    struct history_change c = {.kind = HISTORY_PUT,
                               .entry = {.env_id = 1, .name = text, .name_len = sizeof(text)}};

    (void)state;
    memset(text, 'x', sizeof(text));
    watchset_init(&f->set);
    for (unsigned i = 0; i < FILTERS; i++) {
        const struct watch_filter wanted = {.env_id = 1, .text = text, .text_len = i};

        list_init(&members[i].link);
        members[i].filter = watchset_hold(&f->set, &wanted);
        assert_int_equal(members[i].filter->holders, 1);
    }
    for (unsigned i = 0; i < FILTERS; i++) {
        const struct entry e = {.env_id = 1, .name = text, .name_len = i};

        assert_true(watchset_has(members[i].filter, &e));
        assert_true(i == 0 ||
                    !watchset_has(members[i].filter, &(struct entry){1, text, i - 1, {0, 0, 0}}));
        assert_true(watchset_accepts(members[i].filter, &c));
        watchset_release(&f->set, members[i].filter);
    }
    watchset_fini(&f->set);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_finds_whom_it_concerns),
        cmocka_unit_test(the_same_wish_is_one_filter),
        cmocka_unit_test(many_filters_stay_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
