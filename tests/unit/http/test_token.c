/* The file of tokens: what it may hold, who may read it, and what is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/token.h"

/* SHA-256 of "abc" and of "" (FIPS 180-2). */
#define ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static char path[] = "/tmp/callsign-test-token-XXXXXX";
static char errmsg[512];

static void write_file(const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static struct tokens *load(const char *text)
{
    struct tokens *t = NULL;

    write_file(text, 0600);
    if (tokens_load(path, errmsg, sizeof(errmsg), &t) != ERR_OK) {
        fail_msg("%s", errmsg);
    }
    return t;
}

static void expect_refused(const char *text, const char *says)
{
    struct tokens *t = NULL;

    write_file(text, 0600);
    assert_int_equal(tokens_load(path, errmsg, sizeof(errmsg), &t), ERR_CONFIG);
    assert_null(t);
    if (strstr(errmsg, says) == NULL || strstr(errmsg, path) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", errmsg, says);
    }
}

static void tokens_are_found_by_their_text(void **state)
{
    struct tokens *t =
        load("# who may what\n\n  abc\twrite " ABC " env=1,18446744073709551615 node=3"
             "\r\nnothing read " EMPTY);
    const struct token *abc = tokens_find(t, "abc", 3);

    (void)state;
    assert_int_equal(tokens_count(t), 2);
    assert_non_null(abc);
    assert_string_equal(abc->name, "abc");
    assert_int_equal(abc->role, ROLE_WRITE);
    assert_true(token_bound(abc));
    assert_true(abc->node_bound);
    assert_int_equal(abc->node_id, 3);
    assert_true(token_has_env(abc, 1));
    assert_true(token_has_env(abc, UINT64_MAX));
    assert_false(token_has_env(abc, 2));
    assert_string_equal(tokens_find(t, "", 0)->name, "nothing");
    assert_false(token_bound(tokens_find(t, "", 0)));
    assert_true(token_has_env(tokens_find(t, "", 0), 7));
    assert_null(tokens_find(t, "abd", 3));
    assert_null(tokens_find(t, "abc", 2));
    assert_null(tokens_find(t, ABC, strlen(ABC)));
    tokens_release(tokens_hold(t));
    assert_string_equal(tokens_find(t, "abc", 3)->name, "abc");
    tokens_release(t);
    t = load("");
    assert_null(tokens_find(t, "abc", 3));
    tokens_release(t);
}

static void bad_lines_are_named(void **state)
{
    static const char *const cases[][2] = {
        {"x", ":1: the second word"},
        {"x owner " ABC, ":1: the second word"},
        {"x read", ":1: the third word"},
        {"x read abc", ":1: the third word"},
        {"x read " ABC "0", ":1: the third word"},
        {"x read g" ABC, ":1: the third word"},
        {"a/b read " ABC, ":1: the first word"},
        {"\n\nx read " ABC " env=", ":3: a binding"},
        {"x read " ABC " env=1,", ":1: a binding"},
        {"x read " ABC " env=01", ":1: a binding"},
        {"x read " ABC " env=-1", ":1: a binding"},
        {"x read " ABC " env=1 env=2", ":1: a binding"},
        {"x read " ABC " env=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", ":1: a binding"},
        {"x read " ABC " node=1 node=1", ":1: a binding"},
        {"x read " ABC " node=", ":1: a binding"},
        {"x read " ABC " node=18446744073709551616", ":1: a binding"},
        {"x read " ABC " expires=never", ":1: a binding"},
        {"x read " ABC " env=1 node=1 more", ":1: a line is"},
        {"x admin " ABC " env=1", ":1: an admin"},
        {"x admin " ABC " node=1", ":1: an admin"},
        {"x read " ABC "\ny write " ABC "\n", "are the same token"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_refused(cases[i][0], cases[i][1]);
    }
}

static void who_else_may_read_it_matters(void **state)
{
    static const mode_t good[] = {0600, 0640, 0400, 0440};
    static const mode_t bad[] = {0644, 0604, 0602, 0660, 0620, 0601, 0666};
    struct tokens *t = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        write_file("x read " ABC "\n", 0600);
        assert_int_equal(chmod(path, good[i]), 0);
        assert_int_equal(tokens_load(path, errmsg, sizeof(errmsg), &t), ERR_OK);
        tokens_release(t);
        t = NULL;
        assert_int_equal(chmod(path, 0600), 0);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_file("x read " ABC "\n", bad[i]);
        assert_int_equal(tokens_load(path, errmsg, sizeof(errmsg), &t), ERR_CONFIG);
        assert_null(t);
        assert_non_null(strstr(errmsg, "chmod 0600"));
    }
    assert_int_equal(tokens_load("/tmp", errmsg, sizeof(errmsg), &t), ERR_CONFIG);
    assert_non_null(strstr(errmsg, "not a regular file"));
    assert_int_equal(tokens_load("/nowhere/at/all", errmsg, sizeof(errmsg), &t), ERR_CONFIG);
    assert_non_null(strstr(errmsg, "No such file"));
}

/* Makes one and reads its text back. */
static void make(char *const *words, char text[128])
{
    FILE *out = tmpfile();

    assert_non_null(out);
    assert_int_equal(token_new(path, words, out, errmsg, sizeof(errmsg)), ERR_OK);
    rewind(out);
    assert_non_null(fgets(text, 128, out));
    assert_int_equal(fclose(out), 0);
    text[strcspn(text, "\n")] = '\0';
}

static void made_tokens_are_found(void **state)
{
    static char name[] = "node-3", role[] = "write", env[] = "env=1,2", node[] = "node=3";
    static char admin[] = "admin", wrong[] = "owner";
    char *const bound[] = {name, role, env, node, NULL};
    char *const plain[] = {admin, admin, NULL};
    char *const refused[] = {name, wrong, NULL};
    char one[128], two[128], three[128];
    struct tokens *t = NULL;
    struct stat st;

    (void)state;
    assert_int_equal(unlink(path), 0);
    make(bound, one);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    make(plain, two);
    assert_int_equal(truncate(path, st.st_size - 1), 0); /* an editor's missing newline */
    make(plain, three);
    assert_int_equal(token_new(path, refused, stdout, errmsg, sizeof(errmsg)), ERR_CONFIG);
    assert_int_equal(tokens_load(path, errmsg, sizeof(errmsg), &t), ERR_OK);
    assert_int_equal(tokens_count(t), 2);
    assert_int_equal(strlen(one), strlen("callsign_") + 43);
    assert_string_not_equal(one, two);
    assert_int_equal(tokens_find(t, one, strlen(one))->node_id, 3);
    assert_int_equal(tokens_find(t, one, strlen(one))->envs_count, 2);
    assert_int_equal(tokens_find(t, three, strlen(three))->role, ROLE_ADMIN);
    tokens_release(t);
}

/* Thousands, among which each is found and no other is. */
static void many_are_told_apart(void **state)
{
    enum { COUNT = 300 }; /* each is made durable */
    static char texts[COUNT][128];
    static char name[] = "n", role[] = "read";
    char *const words[] = {name, role, NULL};
    struct tokens *t = NULL;

    (void)state;
    write_file("", 0600);
    for (int i = 0; i < COUNT; i++) {
        make(words, texts[i]);
    }
    assert_int_equal(tokens_load(path, errmsg, sizeof(errmsg), &t), ERR_OK);
    assert_int_equal(tokens_count(t), COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_non_null(tokens_find(t, texts[i], strlen(texts[i])));
        texts[i][20] ^= 1;
        assert_null(tokens_find(t, texts[i], strlen(texts[i])));
    }
    tokens_release(t);
}

static int make_path(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_found_by_their_text),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(who_else_may_read_it_matters),
        cmocka_unit_test(made_tokens_are_found),
        cmocka_unit_test(many_are_told_apart),
    };

    return cmocka_run_group_tests(tests, make_path, remove_path);
}
