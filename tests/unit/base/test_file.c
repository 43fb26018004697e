#include "base/file.h"

#include <fcntl.h>
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

static char folder[] = "/tmp/callsign-test-file-XXXXXX";
static char path[sizeof folder + 8];
static char errmsg[256];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static void put(const void *bytes, size_t n, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void expect_refused(bool secret, const char *says)
{
    struct file_content f = {NULL, 7};

    assert_int_equal(file_read(path, secret, &f, errmsg, sizeof errmsg), ERR_CONFIG);
    assert_null(f.bytes);
    assert_int_equal(f.len, 7);
    assert_ptr_equal(strstr(errmsg, path), errmsg);
    assert_non_null(strstr(errmsg, says));
}

static void test_whole(void **state)
{
    static char bytes[200000];
    struct file_content f;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)(i * 7);
    }
    for (size_t n = 0; n <= sizeof bytes; n += sizeof bytes / 4) {
        put(bytes, n, 0644);
        assert_int_equal(file_read(path, false, &f, errmsg, sizeof errmsg), ERR_OK);
        assert_int_equal(f.len, n);
        assert_memory_equal(f.bytes, bytes, n);
        assert_int_equal(f.bytes[n], '\0');
        file_free(&f);
        assert_null(f.bytes);
        file_free(&f);
    }
}

static void test_secrets(void **state)
{
    struct file_content f;

    (void)state;
    for (mode_t mode = 0; mode <= 0777; mode++) {
        put("x", 1, mode | 0400);
        if ((mode & 037) == 0) {
            assert_int_equal(file_read(path, true, &f, errmsg, sizeof errmsg), ERR_OK);
            file_free(&f);
        } else {
            expect_refused(true, "chmod 0600");
        }
        assert_int_equal(unlink(path), 0);
    }
}

static void test_what_is_no_file(void **state)
{
    (void)state;
    (void)unlink(path);
    expect_refused(false, "No such file");
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refused(false, "is not a regular file");
    assert_int_equal(rmdir(path), 0);
    /* Nobody writes to it: whoever opened it would wait. */
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refused(true, "is not a regular file");
    assert_int_equal(unlink(path), 0);
}

static void test_too_long(void **state)
{
    struct file_content f;

    (void)state;
    put("x", 1, 0600);
    assert_int_equal(truncate(path, FILE_BYTES_MAX), 0);
    assert_int_equal(file_read(path, false, &f, errmsg, sizeof errmsg), ERR_OK);
    assert_int_equal(f.len, FILE_BYTES_MAX);
    file_free(&f);
    assert_int_equal(truncate(path, FILE_BYTES_MAX + 1), 0);
    expect_refused(false, "is longer than 4 MiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_what_is_no_file),
        cmocka_unit_test(test_too_long),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
