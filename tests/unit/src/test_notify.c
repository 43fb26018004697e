/* Messages to a service manager, whose socket the test holds. */
#include "notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char socket_name[sizeof(((struct sockaddr_un *)0)->sun_path)];
static const char *watchdog_usec, *watchdog_pid;

static char *environment(const char *name)
{
    const char *value = strcmp(name, "NOTIFY_SOCKET") == 0   ? socket_name
                        : strcmp(name, "WATCHDOG_USEC") == 0 ? watchdog_usec
                        : strcmp(name, "WATCHDOG_PID") == 0  ? watchdog_pid
                                                             : NULL;

    return (char *)(uintptr_t)value;
}

/* The manager's end, under a path or, with '@', in the abstract space. */
static int listen_at(char kind)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    size_t len;

    (void)snprintf(socket_name, sizeof socket_name, "%scallsign-notify-%d",
                   kind == '@' ? "@" : "/tmp/", (int)getpid());
    len = strlen(socket_name);
    memcpy(at.sun_path, socket_name, len);
    if (kind == '@') {
        at.sun_path[0] = '\0';
    } else {
        (void)unlink(socket_name);
    }
    assert_true(fd >= 0);
    assert_int_equal(
        bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
        0);
    return fd;
}

static void close_at(int fd)
{
    (void)close(fd);
    if (socket_name[0] == '/') {
        (void)unlink(socket_name);
    }
}

/* "" when nothing came: a datagram on this machine is there once it was sent. */
static const char *received(int fd)
{
    static char text[256];
    ssize_t n = recv(fd, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void sends_to_a_path_and_to_an_abstract_name(void **state)
{
    static const char kinds[] = {'/', '@'};

    (void)state;
    for (size_t i = 0; i < sizeof kinds; i++) {
        int fd = listen_at(kinds[i]);
        struct notify n;

        notify_init(&n, environment, 1);
        notify_send(&n, "READY=1\nSTATUS=serving");
        assert_string_equal(received(fd), "READY=1\nSTATUS=serving");
        notify_fini(&n);
        close_at(fd);
    }
}

static void feeds_the_watchdog_in_time(void **state)
{
    int fd = listen_at('@');
    struct notify n;

    (void)state;
    watchdog_usec = "3000000";
    watchdog_pid = "77";
    notify_init(&n, environment, 77);
    assert_int_equal(n.watchdog_ms, 1000);
    notify_beat(&n, 5000);
    assert_string_equal(received(fd), "WATCHDOG=1");
    notify_beat(&n, 5999);
    assert_string_equal(received(fd), "");
    notify_beat(&n, 6000);
    assert_string_equal(received(fd), "WATCHDOG=1");
    notify_fini(&n);

    notify_init(&n, environment, 78);
    notify_beat(&n, 5000);
    assert_string_equal(received(fd), ""); /* it is another process's */
    notify_fini(&n);
    watchdog_usec = "soon";
    notify_init(&n, environment, 77);
    assert_int_equal(n.watchdog_ms, 0);
    notify_fini(&n);
    watchdog_usec = watchdog_pid = NULL;
    close_at(fd);
}

static void is_silent_without_a_manager(void **state)
{
    static const char *const names[] = {"", "@", "relative", "/nonexistent/socket"};
    struct notify n;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(socket_name, sizeof socket_name, "%s", names[i]);
        notify_init(&n, environment, 1);
        assert_int_equal(n.fd, -1);
        notify_send(&n, "READY=1");
        notify_beat(&n, 1000);
        notify_fini(&n);
    }
}

/* The manager may be slow: its full queue must not stop the loop. */
static void drops_what_cannot_be_sent_at_once(void **state)
{
    int fd = listen_at('@');
    struct notify n;
    unsigned delivered = 0;

    (void)state;
    notify_init(&n, environment, 1);
    for (unsigned i = 0; i < 100000; i++) {
        notify_send(&n, "STATUS=again");
    }
    while (received(fd)[0] != '\0') {
        delivered++;
    }
    assert_in_range(delivered, 1, 99999);
    notify_fini(&n);
    close_at(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_to_a_path_and_to_an_abstract_name),
        cmocka_unit_test(feeds_the_watchdog_in_time),
        cmocka_unit_test(is_silent_without_a_manager),
        cmocka_unit_test(drops_what_cannot_be_sent_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
