#include "tests/lib/httpfixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/log.h"
#include "base/mem.h"

struct http_config httpfixture_config(void)
{
    return (struct http_config){
        .listen_address = "127.0.0.1:0",
        .threads = 1,
        .connections_max = 512,
        .watch_streams_max = 64,
        .bookmark_ms = 10000,
        .held_bytes_max = 64 << 20,
        .request_timeout_ms = 2000,
        .header_timeout_ms = 10000,
        .idle_timeout_ms = 60000,
        .raft_version = "0.15",
        .data_dir = "/tmp",
    };
}

void httpfixture_start(struct httpfixture *f, const struct http_config *config)
{
    char errmsg[256] = "";

    /* Lines of the log would get between those that the runner reads. */
    log_set_level(LOG_WARN);
    f->config = *config;
    f->core = testcore_new();
    assert_int_equal(http_server_start(testcore_service(f->core), &f->config, errmsg,
                                       sizeof(errmsg), &f->server),
                     ERR_OK);
    f->port = http_server_port(f->server);
}

struct ending {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int count;
};

static void on_stopped(void *data)
{
    struct ending *e = data;

    pthread_mutex_lock(&e->mutex);
    e->count++;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->mutex);
}

void httpfixture_stop(struct httpfixture *f, uint32_t grace_ms)
{
    struct ending e = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    http_server_stop(f->server, grace_ms, on_stopped, &e);
    pthread_mutex_lock(&e.mutex);
    while (e.count == 0) {
        assert_int_equal(pthread_cond_timedwait(&e.changed, &e.mutex, &until), 0);
    }
    pthread_mutex_unlock(&e.mutex);
    http_server_free(f->server);
    assert_int_equal(e.count, 1);
    testcore_free(f->core);
}

int httpfixture_setup(void **state)
{
    struct http_config config = httpfixture_config();
    struct httpfixture *f = mem_zalloc(1, sizeof(*f));

    httpfixture_start(f, &config);
    *state = f;
    return 0;
}

int httpfixture_teardown(void **state)
{
    struct httpfixture *f = *state;

    httpfixture_stop(f, 1000);
    free(f);
    return 0;
}

void httpfixture_expect(const struct httpfixture *f, const struct rawhttp_call *call, int status,
                        const char *code, struct rawhttp_answer *ret_answer)
{
    char wanted[80];

    rawhttp_call(f->port, call, ret_answer);
    if (ret_answer->status != status) {
        fail_msg("%s %s [%s] %s: status %d, wanted %d: %s", call->method, call->target,
                 call->headers, call->body != NULL ? call->body : "", ret_answer->status, status,
                 ret_answer->body);
    }
    if (code != NULL && strcmp(call->method, "HEAD") != 0) {
        snprintf(wanted, sizeof(wanted), "\"code\":\"%s\"", code);
        if (strstr(ret_answer->body, wanted) == NULL) {
            fail_msg("%s %s [%s] %s: no %s in %s", call->method, call->target, call->headers,
                     call->body != NULL ? call->body : "", wanted, ret_answer->body);
        }
    }
}
