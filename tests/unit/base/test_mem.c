#include "base/mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void nothing_is_something(void **state)
{
    void *blocks[] = {mem_alloc(0), mem_zalloc(0, 8), mem_zalloc(8, 0), mem_resize(NULL, 0, 1),
                      mem_copy("", 0)};

    (void)state;
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        assert_non_null(blocks[i]);
        free(blocks[i]);
    }
}

static void copies_and_clears(void **state)
{
    static const uint8_t zeros[64];
    uint8_t *cleared = mem_zalloc(8, 8);
    char *copy = mem_string("text");

    (void)state;
    assert_memory_equal(cleared, zeros, sizeof zeros);
    assert_string_equal(copy, "text");
    copy = mem_resize(copy, 1000, 2);
    assert_string_equal(copy, "text");
    free(copy);
    free(cleared);
}

/* Runs `ask` in a child; true when it ended by abort(). */
static bool aborts(void (*ask)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        close(STDERR_FILENO);
        ask();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void ask_for_an_overflow(void)
{
    free(mem_resize(NULL, SIZE_MAX / 2, 3));
}

static void a_size_that_overflows_aborts(void **state)
{
    (void)state;
    assert_true(aborts(ask_for_an_overflow));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_something),
        cmocka_unit_test(copies_and_clears),
        cmocka_unit_test(a_size_that_overflows_aborts),
    };

    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
