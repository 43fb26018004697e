#include "base/check.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Runs `act` in a child with standard error in a pipe: what it printed, and
 * how it ended. */
static int run_in_child(void (*act)(void), char *ret_text, size_t size)
{
    int fds[2];
    int status;
    size_t len = 0;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        dup2(fds[1], STDERR_FILENO);
        act();
        _exit(0);
    }
    close(fds[1]);
    while ((n = read(fds[0], ret_text + len, size - 1 - len)) > 0) {
        len += (size_t)n;
    }
    ret_text[len] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void break_an_invariant(void)
{
    volatile int two = 2;

    CHECK(two == 2);
    CHECK(two + two == 5);
}

static void a_broken_invariant_names_itself_and_aborts(void **state)
{
    char text[1024];
    int status = run_in_child(break_an_invariant, text, sizeof text);

    (void)state;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "broken invariant: two + two == 5"));
    assert_non_null(strstr(text, "test_check.c:"));
}

static void break_a_debug_invariant(void)
{
    volatile int two = 2;

    DCHECK(two + two == 5);
}

static void debug_invariants_hold_in_debug_builds_only(void **state)
{
    char text[1024];
    int status = run_in_child(break_a_debug_invariant, text, sizeof text);

    (void)state;
#ifdef CALLSIGN_DEBUG
    assert_true(WIFSIGNALED(status));
#else
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_string_equal(text, "");
#endif
}

static void the_expression_is_evaluated_once(void **state)
{
    int n = 0;

    (void)state;
    CHECK(++n == 1);
    assert_int_equal(n, 1);
    DCHECK(n == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_invariant_names_itself_and_aborts),
        cmocka_unit_test(debug_invariants_hold_in_debug_builds_only),
        cmocka_unit_test(the_expression_is_evaluated_once),
    };

    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
