/*
 * Every kind of damage to every kind of file, one at a time, all over it: the
 * storage refuses, or calls itself suspect, or has everything it acknowledged.
 * Prints a table of what happened; docs/protocol-files.md explains it.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "rig.h"
#include "storage/disk.h"

enum { LAST = 70, OLD_LAST = 40, TERM_CHANGE = 61, ENTRY_BYTES = 3000, VOTE = 3 };

enum verdict { WHOLE, SUSPECT, REFUSED, LOST, N_VERDICTS };
enum fault { FLIP, ZERO, CUT, DELETE, OLD, N_FAULTS };
enum kind { BALLOT, MARK, SEGMENT, SNAPSHOT, N_KINDS };

static const char *const verdict_names[N_VERDICTS] = {"whole", "suspect", "refused", "LOST"};
static const char *const fault_names[N_FAULTS] = {"flipped bit", "zeroed page", "cut", "deleted",
                                                  "old copy"};
static const char *const kind_names[N_KINDS] = {"ballot", "mark", "log-", "snap-"};

struct world {
    struct rig rig;
    char old[RIG_PATH_MAX];  /* copy of an earlier state */
    char good[RIG_PATH_MAX]; /* copy of the last state */
    struct rig_rand rand;
    unsigned table[N_KINDS][N_FAULTS][N_VERDICTS];
};

static uint64_t term_of(uint64_t index)
{
    return index < TERM_CHANGE ? 1 : 2;
}

static void append(struct rig *r, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i <= to; i++) {
        rig_append(r, i, 1, term_of(i), ENTRY_BYTES);
        rig_wait(r);
    }
}

static void make_dir(char *path)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(path, RIG_PATH_MAX, "%s/callsign-copy-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct rig *r = &w->rig;

    w->rand.state = rig_seed();
    rig_init(r);
    make_dir(w->old);
    make_dir(w->good);
    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    append(r, 1, OLD_LAST);
    assert_int_equal(rig_snapshot(r, 20, 1, 5, 20000), 0);
    rig_stop(r);
    rig_copy_dir(r->dir, w->old);
    rig_start(r);
    append(r, OLD_LAST + 1, TERM_CHANGE - 1);
    assert_int_equal(rig_snapshot(r, 45, 1, 5, 20000), 0);
    assert_int_equal(r->io->set_term(r->io, 2), 0);
    assert_int_equal(r->io->set_vote(r->io, VOTE), 0);
    append(r, TERM_CHANGE, LAST);
    rig_stop(r);
    rig_copy_dir(r->dir, w->good);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    rig_fini(&w->rig);
    rig_clear_dir(w->old);
    rig_clear_dir(w->good);
    (void)rmdir(w->old);
    (void)rmdir(w->good);
    free(w);
    return 0;
}

static void restore(struct world *w)
{
    rig_clear_dir(w->rig.dir);
    rig_copy_dir(w->good, w->rig.dir);
}

static bool is_whole(struct rig *r)
{
    uint64_t snapshot = r->snapshot != NULL ? r->snapshot->index : 0;

    if (r->term != 2 || r->vote != VOTE || r->start_index > snapshot + 1 ||
        r->start_index + r->n_entries != LAST + 1) {
        return false;
    }
    for (uint64_t i = r->start_index; i <= LAST; i++) {
        rig_expect_entry(r, i, term_of(i), ENTRY_BYTES);
    }
    if (r->snapshot != NULL) {
        rig_expect_snapshot(r, snapshot, 1, 20000);
    }
    return true;
}

static enum verdict judge(struct rig *r)
{
    enum verdict verdict;
    bool whole;

    if (rig_open(r) != ERR_OK) {
        /* Names the directory, and says what to do. */
        assert_non_null(strstr(r->errmsg, r->dir));
        assert_non_null(strstr(r->errmsg, "docs/operations.md"));
        return REFUSED;
    }
    verdict = storage_suspect(r->s) ? SUSPECT : LOST;
    assert_int_equal(rig_load(r), 0);
    whole = is_whole(r);
    rig_stop(r);
    if (verdict == LOST && whole) {
        verdict = WHOLE;
    }
    return verdict;
}

static void note(struct world *w, enum kind kind, enum fault fault, const char *path,
                 uint64_t offset)
{
    enum verdict verdict = judge(&w->rig);

    w->table[kind][fault][verdict]++;
    if (verdict == LOST) {
        fail_msg("%s of %s at %llu: lost unnoticed", fault_names[fault], path,
                 (unsigned long long)offset);
    }
    restore(w);
}

static void damage_file(struct world *w, enum kind kind, const char *path)
{
    uint64_t bytes = rig_bytes(path);
    const char *name = strrchr(path, '/');
    char old[2 * RIG_PATH_MAX];

    for (uint64_t at = 0; at < bytes; at += 512) {
        uint64_t span = bytes - at < 512 ? bytes - at : 512;
        uint64_t offset = at + rig_below(&w->rand, span);

        rig_flip(path, offset);
        note(w, kind, FLIP, path, offset);
    }
    for (uint64_t at = 0; at < bytes; at += 4096) {
        rig_zero(path, at, bytes - at < 4096 ? (size_t)(bytes - at) : 4096);
        note(w, kind, ZERO, path, at);
        rig_cut(path, at + rig_below(&w->rand, 4096) % (bytes - at));
        note(w, kind, CUT, path, at);
    }
    (void)unlink(path);
    note(w, kind, DELETE, path, 0);
    (void)snprintf(old, sizeof old, "%s%s", w->old, name);
    if (access(old, F_OK) == 0) {
        rig_copy(old, path);
        note(w, kind, OLD, path, 0);
    }
}

static void print_table(const struct world *w)
{
    for (unsigned k = 0; k < N_KINDS; k++) {
        for (unsigned f = 0; f < N_FAULTS; f++) {
            printf("# %-8s %-12s", kind_names[k], fault_names[f]);
            for (unsigned v = 0; v < N_VERDICTS; v++) {
                printf(" %8s %4u", verdict_names[v], w->table[k][f][v]);
            }
            printf("\n");
        }
    }
}

static void test_damage(void **state)
{
    struct world *w = *state;
    char path[2 * RIG_PATH_MAX];

    assert_int_equal(judge(&w->rig), WHOLE);
    restore(w);
    for (unsigned kind = 0; kind < N_KINDS; kind++) {
        unsigned n = rig_count(&w->rig, kind_names[kind]);

        assert_true(n > 0);
        for (unsigned i = 0; i < n; i++) {
            assert_true(rig_file(&w->rig, kind_names[kind], (int)i, path));
            damage_file(w, (enum kind)kind, path);
        }
    }
    print_table(w);
    /* Both copies of the ballot heal each other, from any flipped bit. */
    assert_int_equal(w->table[BALLOT][FLIP][WHOLE], 16);
    assert_int_equal(w->table[BALLOT][OLD][REFUSED], 1);
    assert_int_equal(w->table[BALLOT][DELETE][REFUSED], 1);
    assert_int_equal(w->table[MARK][DELETE][SUSPECT], 1);
    assert_int_equal(w->table[SNAPSHOT][FLIP][REFUSED], 0);
    assert_true(w->table[SEGMENT][FLIP][REFUSED] > 50);
}

/* A healed ballot is whole again: the other copy may rot next. */
static void test_ballot_heals(void **state)
{
    struct world *w = *state;
    char path[2 * RIG_PATH_MAX];

    restore(w);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(rig_file(&w->rig, "ballot", 0, path));
        rig_flip(path, (i % 2) * 4096 + 45);
        assert_int_equal(judge(&w->rig), WHOLE);
    }
    rig_flip(path, 45);
    rig_flip(path, 4096 + 45);
    assert_int_equal(judge(&w->rig), REFUSED);
    assert_non_null(strstr(w->rig.errmsg, "both copies"));
}

/* A cut tail is gone for good: what is appended then is found, and no more. */
static void append_after_cut(struct world *w, uint64_t damage_at, size_t zeros, bool suspect)
{
    struct rig *r = &w->rig;
    char path[2 * RIG_PATH_MAX];
    char mark[2 * RIG_PATH_MAX];
    struct storage_found found;

    restore(w);
    /* The mark as it is when the last append has just been acknowledged: behind. */
    assert_true(rig_file(r, "mark", 0, mark));
    (void)snprintf(path, sizeof path, "%s/mark", w->old);
    rig_copy(path, mark);
    assert_true(rig_file(r, "log-", -2, path));
    rig_zero(path, damage_at, zeros);
    assert_int_equal(rig_open(r), ERR_OK);
    storage_found(r->s, &found);
    assert_int_equal(found.doubtful, suspect);
    assert_int_equal(found.torn, !suspect);
    assert_int_equal(storage_suspect(r->s), suspect);
    assert_int_equal(rig_load(r), 0);
    assert_int_equal(r->start_index + r->n_entries, LAST);
    rig_append(r, LAST, 1, 2, 10);
    rig_stop(r);
    rig_start(r);
    assert_false(storage_suspect(r->s));
    assert_int_equal(r->start_index + r->n_entries, LAST + 1);
    rig_expect_entry(r, LAST - 1, 2, ENTRY_BYTES);
    rig_expect_entry(r, LAST, 2, 10);
    rig_stop(r);
}

/* Where the last batch begins in the last segment in use. */
static uint64_t last_batch(struct world *w, char *ret_path)
{
    uint64_t bytes;
    uint8_t *block = malloc(4096);
    uint64_t at;

    restore(w);
    assert_true(rig_file(&w->rig, "log-", -2, ret_path));
    bytes = rig_bytes(ret_path);
    for (at = bytes - 4096; at > 0; at -= 4096) {
        FILE *f = fopen(ret_path, "r");

        assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
        assert_int_equal(fread(block, 1, 4096, f), 4096);
        (void)fclose(f);
        if (memcmp(block, "BTCH", 4) == 0) {
            break;
        }
    }
    free(block);
    assert_true(at > 0);
    return at;
}

static void test_cut_tail(void **state)
{
    struct world *w = *state;
    char path[2 * RIG_PATH_MAX];
    uint64_t at = last_batch(w, path);

    append_after_cut(w, at, 512, false);         /* the first sector was not written */
    append_after_cut(w, at + 1024, 1024, false); /* sectors in between were not */
    append_after_cut(w, at + 2100, 100, true);   /* not what an unfinished write leaves */
    append_after_cut(w, at + 4, 8, true);
}

/* A snapshot that replaced the log cannot be done without, once acknowledged. */
static void test_installed(void **state)
{
    struct world *w = *state;
    struct rig *r = &w->rig;
    char path[2 * RIG_PATH_MAX];
    const char *why = "a snapshot that was installed is gone or damaged";

    restore(w);
    rig_start(r);
    assert_int_equal(rig_snapshot(r, 500, 2, 0, 5000), 0);
    rig_stop(r);
    assert_true(rig_file(r, "snap-", -1, path));
    rig_flip(path, 2000);
    assert_int_equal(judge(r), REFUSED);
    assert_non_null(strstr(r->errmsg, why));
    assert_non_null(strstr(r->errmsg, "checksum mismatch"));
    rig_flip(path, 2000);
    /* The same with a log that went on. */
    rig_start(r);
    rig_append(r, 501, 3, 2, 10);
    rig_stop(r);
    rig_flip(path, 2000);
    assert_int_equal(judge(r), REFUSED);
    assert_non_null(strstr(r->errmsg, why));
    (void)unlink(path);
    assert_int_equal(judge(r), REFUSED);
    restore(w);
}

/* A crash after the rename of such a snapshot, before the old log was removed. */
static void test_half_installed(void **state)
{
    struct world *w = *state;
    struct rig *r = &w->rig;
    char path[2 * RIG_PATH_MAX];

    restore(w);
    rig_start(r);
    assert_int_equal(rig_snapshot(r, 500, 2, 0, 5000), 0);
    rig_stop(r);
    assert_true(rig_file(r, "log-", -1, path));
    (void)unlink(path);
    rig_copy_dir(w->good, r->dir);
    for (unsigned i = 0; i < 2; i++) {
        rig_start(r);
        assert_false(storage_suspect(r->s));
        rig_expect_snapshot(r, 500, 2, 5000);
        assert_int_equal(r->start_index, 501);
        assert_int_equal(r->n_entries, i);
        rig_append(r, 501 + i, 1, 2, 10);
        rig_stop(r);
    }
    assert_true(rig_count(r, "log-") <= 3);
    restore(w);
}

/* As an older program finds it when a newer one was killed between the copies. */
static void make_newer(const char *path, off_t offset)
{
    uint8_t sector[DISK_SECTOR_BYTES];
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, sector, sizeof sector, offset), sizeof sector);
    disk_put_u32(sector + 8, 2);
    disk_put_u32(sector + 12, 0);
    disk_put_u32(sector + 12, crc32c(0, sector, sizeof sector));
    assert_int_equal(pwrite(fd, sector, sizeof sector, offset), sizeof sector);
    (void)close(fd);
}

/* The copy that can be read is the older one: it forgets a vote. */
static void test_newer_copy(void **state)
{
    static const char *const names[] = {"ballot", "mark"};
    struct world *w = *state;
    struct rig *r = &w->rig;
    char path[2 * RIG_PATH_MAX];

    for (unsigned i = 0; i < 4; i++) {
        restore(w);
        assert_true(rig_file(r, names[i / 2], 0, path));
        make_newer(path, (off_t)(i % 2) * DISK_BLOCK_BYTES);
        assert_int_equal(rig_open(r), ERR_VERSION);
        assert_non_null(strstr(r->errmsg, "newer"));
    }
    restore(w);
}

static void test_inspect(void **state)
{
    struct world *w = *state;
    char path[2 * RIG_PATH_MAX];
    char *text = NULL;
    size_t n = 0;
    FILE *out;

    restore(w);
    out = open_memstream(&text, &n);
    assert_int_equal(storage_inspect(w->rig.dir, out), ERR_OK);
    (void)fclose(out);
    assert_non_null(strstr(text, "everything that was acknowledged is there"));
    assert_non_null(strstr(text, "term 2, vote 3"));
    free(text);
    assert_true(rig_file(&w->rig, "log-", 1, path));
    rig_flip(path, 8192 + 100);
    out = open_memstream(&text, &n);
    assert_int_equal(storage_inspect(w->rig.dir, out), ERR_STORAGE);
    (void)fclose(out);
    assert_non_null(strstr(text, "THEN DAMAGE"));
    assert_non_null(strstr(text, "refuses to start"));
    free(text);
    restore(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage),         cmocka_unit_test(test_ballot_heals),
        cmocka_unit_test(test_cut_tail),       cmocka_unit_test(test_installed),
        cmocka_unit_test(test_half_installed), cmocka_unit_test(test_newer_copy),
        cmocka_unit_test(test_inspect),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
