#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Standard error goes into a pipe for the time of a test. */
struct capture {
    int read_fd;
    int saved_fd;
    char *text; /* what was read, NUL-terminated */
    size_t len;
};

static void capture_begin(struct capture *c)
{
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fflush(stderr);
    c->saved_fd = dup(STDERR_FILENO);
    assert_true(c->saved_fd >= 0);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    close(fds[1]);
    c->read_fd = fds[0];
    c->text = calloc(1, 1);
    c->len = 0;
}

/* Reads to the end of the pipe; with `only_present` what is there now. */
static void capture_read(struct capture *c, bool only_present)
{
    struct pollfd p = {.fd = c->read_fd, .events = POLLIN};

    while (!only_present || poll(&p, 1, 0) > 0) {
        char piece[65536];
        ssize_t n = read(c->read_fd, piece, sizeof piece);

        assert_true(n >= 0);
        if (n == 0) {
            return;
        }
        c->text = realloc(c->text, c->len + (size_t)n + 1);
        assert_non_null(c->text);
        memcpy(c->text + c->len, piece, (size_t)n);
        c->len += (size_t)n;
        c->text[c->len] = '\0';
    }
}

static void restore_stderr(struct capture *c)
{
    assert_true(dup2(c->saved_fd, STDERR_FILENO) >= 0);
    close(c->saved_fd);
}

static void capture_free(struct capture *c)
{
    close(c->read_fd);
    free(c->text);
}

static unsigned count_lines(const char *text, const char *needle)
{
    unsigned n = 0;

    for (const char *line = text; *line != '\0';) {
        const char *end = strchr(line, '\n');
        const char *found = strstr(line, needle);

        assert_non_null(end);
        n += found != NULL && found < end;
        line = end + 1;
    }
    return n;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void a_line_has_its_form(void **state)
{
    struct capture c;
    struct tm tm;
    const char *rest;

    (void)state;
    capture_begin(&c);
    errno = ENOENT;
    log_event(LOG_WARN, "disk_slow", "ms=%d path=%s", 17, LOG_Q("/a b"));
    assert_int_equal(errno, ENOENT);
    log_event(LOG_INFO, "bare", "%s", "");
    restore_stderr(&c);
    capture_read(&c, false);
    assert_memory_equal(c.text, "ts=", 3);
    rest = strptime(c.text + 3, "%Y-%m-%dT%H:%M:%S", &tm);
    assert_non_null(rest);
    assert_int_equal(rest[0], '.');
    assert_int_equal(strspn(rest + 1, "0123456789"), 3);
    assert_non_null(strstr(rest, "Z level=warn event=disk_slow ms=17 path=\"/a b\"\n"));
    assert_int_equal(count_lines(c.text, ""), 2);
    capture_free(&c);
}

static void levels_filter(void **state)
{
    struct capture c;

    (void)state;
    capture_begin(&c);
    assert_int_equal(log_get_level(), LOG_INFO);
    log_event(LOG_DEBUG, "unseen", "a=1");
    log_set_level(LOG_DEBUG);
    log_event(LOG_DEBUG, "seen", "a=1");
    log_set_level(LOG_ERROR);
    log_event(LOG_WARN, "unseen", "a=1");
    log_event(LOG_ERROR, "seen", "a=1");
    log_set_level(LOG_INFO);
    restore_stderr(&c);
    capture_read(&c, false);
    assert_int_equal(count_lines(c.text, "event=seen"), 2);
    assert_int_equal(count_lines(c.text, "event=unseen"), 0);
    capture_free(&c);
}

static void a_long_line_is_cut(void **state)
{
    char value[2 * LOG_LINE_MAX];
    struct capture c;

    (void)state;
    capture_begin(&c);
    for (size_t n = LOG_LINE_MAX - 120; n < LOG_LINE_MAX + 10; n++) {
        memset(value, 'x', n);
        value[n] = '\0';
        log_event(LOG_INFO, "long", "value=%s", value);
        capture_read(&c, true);
    }
    restore_stderr(&c);
    capture_read(&c, false);
    assert_int_equal(count_lines(c.text, "event=long"), 130);
    assert_true(count_lines(c.text, "xx...") > 10);
    for (const char *line = c.text; *line != '\0';) {
        const char *end = strchr(line, '\n');

        assert_true(end - line < LOG_LINE_MAX);
        line = end + 1;
    }
    capture_free(&c);
}

static void nothing_makes_a_second_line(void **state)
{
    struct capture c;

    (void)state;
    capture_begin(&c);
    log_event(LOG_INFO, "hostile", "a=%s b=%s", "x\nts=forged\x1b[31m",
              LOG_Q("y\nts=forged\r\t\x7f"));
    restore_stderr(&c);
    capture_read(&c, false);
    assert_int_equal(count_lines(c.text, ""), 1);
    assert_non_null(strstr(c.text, "a=x?ts=forged?[31m b=\"y\\x0ats=forged\\x0d\\x09\\x7f\"\n"));
    capture_free(&c);
}

static void quoting(void **state)
{
    static const struct {
        const char *text;
        const char *quoted;
    } cases[] = {
        {NULL, "\"\""},
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"a \"b\" \\", "\"a \\\"b\\\" \\\\\""},
        {"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80", "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\""},
        {"\xc2\x9b", "\"\\xc2\\x9b\""}, /* a C1 control: begins a terminal's sequence */
        {"bad \xff\xc3\xbc", "\"bad \\xff\\xc3\\xbc\""},
    };
    char name[4096];
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_string_equal(log_quote(cases[i].text), cases[i].quoted);
    }
    memset(name, '\xff', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    n = strlen(log_quote(name));
    assert_true(n < LOG_LINE_MAX);
    assert_string_equal(log_quote(name) + n - 4, "...\"");
    memset(name, 'n', 1024);
    name[1024] = '\0';
    assert_int_equal(strlen(log_quote(name)), 1026);
}

static void four_quotes_live_at_once(void **state)
{
    const char *q[4];

    (void)state;
    q[0] = log_quote("a");
    q[1] = log_quote("b");
    q[2] = log_quote("c");
    q[3] = log_quote("d");
    assert_string_equal(q[0], "\"a\"");
    assert_string_equal(q[3], "\"d\"");
}

enum { WRITERS = 4, LINES_EACH = 300 };

static void *write_lines(void *data)
{
    for (int i = 0; i < LINES_EACH; i++) {
        log_event(LOG_INFO, "threaded", "writer=%d line=%d", *(int *)data, i);
    }
    return NULL;
}

static void queued_lines_arrive_in_order(void **state)
{
    struct capture c;
    pthread_t threads[WRITERS];
    int ids[WRITERS];
    int next[WRITERS] = {0};
    uint64_t dropped = log_dropped();

    (void)state;
    capture_begin(&c);
    log_start();
    for (int i = 0; i < WRITERS; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &ids[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    /* The pipe holds less than the lines: it has to be read meanwhile. */
    while (count_lines(c.text, "event=threaded") < WRITERS * LINES_EACH) {
        capture_read(&c, true);
        while (c.len != 0 && c.text[c.len - 1] != '\n') {
            capture_read(&c, true);
        }
    }
    log_stop();
    restore_stderr(&c);
    assert_true(log_dropped() == dropped);
    for (const char *line = c.text; *line != '\0'; line = strchr(line, '\n') + 1) {
        int writer;
        int number;

        assert_int_equal(sscanf(strstr(line, "writer="), "writer=%d line=%d", &writer, &number), 2);
        assert_int_equal(number, next[writer]);
        next[writer]++;
    }
    capture_free(&c);
}

/* Adds up what the drop lines report. */
static uint64_t sum_reported(const char *text)
{
    static const char event[] = "event=log_lines_dropped count=";
    uint64_t sum = 0;

    while ((text = strstr(text, event)) != NULL) {
        text += sizeof event - 1;
        sum += strtoull(text, NULL, 10);
    }
    return sum;
}

/* Reads until every one of `lines` has arrived or was reported as dropped. */
static void read_all(struct capture *c, uint64_t lines)
{
    while (count_lines(c->text, "event=flood") + sum_reported(c->text) < lines) {
        do {
            capture_read(c, true);
        } while (c->len != 0 && c->text[c->len - 1] != '\n');
    }
}

/* Nobody reads: log_event() returns, what does not fit is counted, log_stop()
 * ends, and of what was accepted nothing is lost once somebody reads. */
static void a_full_pipe_stops_nobody(void **state)
{
    enum { LINES = 20000 };
    struct capture c;
    uint64_t before = log_dropped();
    uint64_t dropped;
    uint64_t began_ms = now_ms();

    (void)state;
    capture_begin(&c);
    log_start();
    for (int i = 0; i < LINES; i++) {
        log_event(LOG_INFO, "flood", "line=%d", i);
    }
    dropped = log_dropped() - before;
    assert_true(dropped > 0 && dropped < LINES);
    read_all(&c, LINES);
    assert_int_equal(sum_reported(c.text), dropped);
    assert_int_equal(count_lines(c.text, "event=flood"), LINES - dropped);

    for (int i = 0; i < LINES; i++) {
        log_event(LOG_INFO, "flood", "line=%d", i);
    }
    log_stop();
    assert_true(now_ms() - began_ms < 20000);
    restore_stderr(&c);
    capture_free(&c);
}

/* Whoever read standard error has gone: no SIGPIPE, no stop, no spinning. */
static void a_closed_pipe_stops_nobody(void **state)
{
    struct capture c;

    (void)state;
    capture_begin(&c);
    close(c.read_fd);
    log_start();
    for (int i = 0; i < 1000; i++) {
        log_event(LOG_INFO, "unheard", "line=%d", i);
    }
    log_stop();
    restore_stderr(&c);
    c.read_fd = -1;
    free(c.text);
}

static void the_journal_gets_priorities(void **state)
{
    struct capture c;
    struct stat st;
    char stream[64];

    (void)state;
    capture_begin(&c);
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_start();
    log_event(LOG_ERROR, "one", "a=1");
    log_event(LOG_INFO, "two", "a=1");
    log_stop();
    setenv("JOURNAL_STREAM", "1:2", 1);
    log_start();
    log_event(LOG_ERROR, "three", "a=1");
    log_stop();
    unsetenv("JOURNAL_STREAM");
    restore_stderr(&c);
    capture_read(&c, false);
    assert_memory_equal(c.text, "<3>ts=", 6);
    assert_int_equal(count_lines(c.text, "<6>ts="), 1);
    assert_int_equal(count_lines(c.text, "<"), 2);
    capture_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_its_form),
        cmocka_unit_test(levels_filter),
        cmocka_unit_test(a_long_line_is_cut),
        cmocka_unit_test(nothing_makes_a_second_line),
        cmocka_unit_test(quoting),
        cmocka_unit_test(four_quotes_live_at_once),
        cmocka_unit_test(queued_lines_arrive_in_order),
        cmocka_unit_test(a_full_pipe_stops_nobody),
        cmocka_unit_test(a_closed_pipe_stops_nobody),
        cmocka_unit_test(the_journal_gets_priorities),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
