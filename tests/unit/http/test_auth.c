/* Who is let in where, with which token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "http/route.h"
#include "http/token.h"
#include "tests/lib/httpfixture.h"

#define NAME "/api/registry/n"
#define OF_3 "{\"node_id\":3,\"process_id\":1}"
#define BATCH_OF_3                                                                                 \
    "{\"ops\":[{\"op\":\"put\",\"name\":\"n\",\"node_id\":3,\"process_id\":1},"                    \
    "{\"op\":\"get\",\"name\":\"n\"}]}"
#define OF_4 "{\"node_id\":4,\"process_id\":1}"

enum who { NOBODY, UNKNOWN, METRICS, READER, WRITER, ADMIN, ENV_READER, ENV_WRITER, NODE, WHO_N };

static char path[] = "/tmp/callsign-test-auth-XXXXXX";
static char headers[WHO_N][160];
static struct rawhttp_answer answer;

static void make(enum who who, char *role, char *binding)
{
    static char name[] = "test";
    char *const words[] = {name, role, binding, NULL};
    char errmsg[256], text[128];
    FILE *out = tmpfile();

    assert_non_null(out);
    assert_int_equal(token_new(path, words, out, errmsg, sizeof(errmsg)), ERR_OK);
    rewind(out);
    assert_non_null(fgets(text, sizeof(text), out));
    assert_int_equal(fclose(out), 0);
    text[strcspn(text, "\n")] = '\0';
    snprintf(headers[who], sizeof(headers[who]), "Authorization: Bearer %s\r\n", text);
}

static int set_up(void **state)
{
    static char metrics[] = "metrics", read[] = "read", write[] = "write", admin[] = "admin";
    static char env[] = "env=1,7", node[] = "node=3";
    struct http_config config = httpfixture_config();
    struct httpfixture *f = mem_zalloc(1, sizeof(*f));
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    close(fd);
    snprintf(headers[UNKNOWN], sizeof(headers[0]), "Authorization: Bearer callsign_nobody\r\n");
    make(METRICS, metrics, NULL);
    make(READER, read, NULL);
    make(WRITER, write, NULL);
    make(ADMIN, admin, NULL);
    make(ENV_READER, read, env);
    make(ENV_WRITER, write, env);
    make(NODE, write, node);
    config.token_file = path;
    httpfixture_start(f, &config);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct httpfixture *f = *state;

    httpfixture_stop(f, 1000);
    free(f);
    return unlink(path);
}

/* The status that `who` gets; 401 and 403 with the problem that belongs to it. */
static int ask(void **state, enum who who, const char *method, const char *target, const char *body)
{
    const struct httpfixture *f = *state;
    const struct rawhttp_call call = {method, target, headers[who], body};
    char challenge[128] = "";

    rawhttp_call(f->port, &call, &answer);
    (void)rawhttp_header(&answer, "WWW-Authenticate", challenge, sizeof(challenge));
    if (answer.status == 401) {
        assert_non_null(strstr(challenge, "Bearer realm=\"callsign\""));
        assert_int_equal(strstr(challenge, "invalid_token") != NULL, headers[who][0] != '\0');
        assert_true(strcmp(method, "HEAD") == 0 ||
                    strstr(answer.body, "\"code\":\"unauthorized\"") != NULL);
    } else if (answer.status == 403) {
        assert_non_null(strstr(challenge, "error=\"insufficient_scope\""));
        assert_non_null(strstr(answer.body, "\"code\":\"forbidden\""));
    } else {
        assert_string_equal(challenge, "");
    }
    return answer.status;
}

static void each_route_needs_its_role(void **state)
{
    static const struct {
        const char *method, *target, *body;
        int status[WHO_N]; /* in the order of enum who, as far as WRITER */
    } cases[] = {
        {"GET", "/livez", NULL, {200, 200, 200, 200, 200}},
        {"GET", "/readyz", NULL, {200, 200, 200, 200, 200}},
        {"GET", "/version", NULL, {200, 200, 200, 200, 200}},
        {"GET", "/openapi.json", NULL, {200, 200, 200, 200, 200}},
        {"GET", "/metrics", NULL, {401, 401, 200, 200, 200}},
        {"GET", "/api/cluster", NULL, {401, 401, 403, 200, 200}},
        {"PUT", NAME, OF_3, {401, 401, 403, 403, 201}},
        {"GET", NAME, NULL, {401, 401, 403, 200, 200}},
        {"GET", "/api/registry?prefix=n", NULL, {401, 401, 403, 200, 200}},
        {"POST",
         "/api/registry",
         "{\"name\":\"n\",\"node_id\":3,\"process_id\":1}",
         {401, 401, 403, 403, 200}},
        {"POST", "/api/batch", BATCH_OF_3, {401, 401, 403, 403, 200}},
        {"DELETE", NAME, NULL, {401, 401, 403, 403, 200}},
        /* No more than the contract is told to those who have no token. */
        {"GET", "/nowhere", NULL, {404, 404, 404, 404, 404}},
        {"OPTIONS", NAME, NULL, {204, 204, 204, 204, 204}},
        {"GET", NAME "?bad=1", NULL, {401, 401, 403, 400, 400}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (enum who who = NOBODY; who <= WRITER; who++) {
            int status = ask(state, who, cases[i].method, cases[i].target, cases[i].body);

            if (status != cases[i].status[who]) {
                fail_msg("%s %s by %d: %d", cases[i].method, cases[i].target, who, status);
            }
        }
    }
    assert_int_equal(ask(state, ADMIN, "PUT", NAME, OF_3), 201);
    assert_int_equal(ask(state, ADMIN, "DELETE", NAME, NULL), 200);
    assert_int_equal(ask(state, NOBODY, "HEAD", NAME, NULL), 401);
}

/* A route that another hand adds is closed until it says what it needs. */
static void every_route_names_a_role(void **state)
{
    (void)state;
    for (unsigned id = 0; id < ROUTE_OTHER; id++) {
        const struct route *r = route_get(id);

        if (r->role == ROLE_NOBODY) {
            fail_msg("%s %s names no role", r->method, r->pattern);
        }
        if (r->kind == ROUTE_WRITE) {
            assert_true(r->role >= ROLE_WRITE);
        }
        if (r->role == ROLE_OPEN || r->role == ROLE_ADMIN) {
            assert_null(r->permits); /* never asked */
        }
    }
    assert_int_equal(route_get(ROUTE_OTHER)->role, ROLE_NOBODY);
}

static void bound_to_environments(void **state)
{
    assert_int_equal(ask(state, ENV_WRITER, "PUT", NAME, OF_3), 201);
    assert_int_equal(ask(state, ENV_WRITER, "PUT", NAME "?env_id=7", OF_3), 201);
    assert_int_equal(ask(state, ENV_WRITER, "PUT", NAME "?env_id=2", OF_3), 403);
    assert_int_equal(ask(state, ENV_WRITER, "POST", "/api/registry",
                         "{\"name\":\"n\",\"node_id\":3,\"process_id\":1,\"env_id\":2}"),
                     403);
    assert_int_equal(ask(state, ADMIN, "GET", NAME "?env_id=2", NULL), 404); /* nothing was done */
    assert_int_equal(ask(state, ENV_WRITER, "POST", "/api/batch?env_id=7", BATCH_OF_3), 200);
    assert_int_equal(ask(state, ENV_WRITER, "POST", "/api/batch?env_id=2", BATCH_OF_3), 403);
    assert_int_equal(ask(state, ENV_WRITER, "POST", "/api/batch",
                         "{\"ops\":[{\"op\":\"get\",\"name\":\"n\"},"
                         "{\"op\":\"get\",\"name\":\"n\",\"env_id\":2}]}"),
                     403);
    assert_int_equal(ask(state, ENV_READER, "GET", NAME, NULL), 200);
    assert_int_equal(ask(state, ENV_READER, "GET", NAME "?env_id=2", NULL), 403);
    assert_int_equal(ask(state, ENV_READER, "GET", "/api/registry?env_id=2", NULL), 403);
    assert_int_equal(ask(state, ENV_READER, "GET", "/api/registry?env_id=7", NULL), 200);
    assert_int_equal(ask(state, ENV_READER, "DELETE", NAME, NULL), 403);
    assert_int_equal(ask(state, ENV_WRITER, "DELETE", NAME "?env_id=2", NULL), 403);
    assert_int_equal(ask(state, ENV_WRITER, "DELETE", NAME "?env_id=7", NULL), 200);
    assert_int_equal(ask(state, ENV_WRITER, "DELETE", NAME, NULL), 200);
    assert_int_equal(ask(state, ENV_READER, "GET", "/api/cluster", NULL), 200);
}

static void bound_to_a_node(void **state)
{
    assert_int_equal(ask(state, NODE, "PUT", NAME, OF_4), 403);
    assert_int_equal(ask(state, NODE, "PUT", NAME, OF_3), 201);
    assert_int_equal(ask(state, NODE, "PUT", NAME "?env_id=9", OF_3), 201);
    assert_int_equal(ask(state, NODE, "POST", "/api/batch", BATCH_OF_3), 200);
    assert_int_equal(
        ask(state, NODE, "POST", "/api/batch", "{\"ops\":[{\"op\":\"remove\",\"name\":\"n\"}]}"),
        403);
    assert_int_equal(ask(state, WRITER, "PUT", NAME, OF_4), 200);
    assert_int_equal(ask(state, NODE, "GET", NAME, NULL), 200);
    /* What is another node's is not removed, with a guard or without. */
    assert_int_equal(ask(state, NODE, "DELETE", NAME, NULL), 403);
    assert_int_equal(ask(state, NODE, "DELETE", NAME "?node_id=4&process_id=1", NULL), 403);
    assert_int_equal(ask(state, NODE, "DELETE", NAME "?node_id=3&process_id=1", NULL), 409);
    assert_int_equal(ask(state, WRITER, "PUT", NAME, OF_3), 200);
    assert_int_equal(ask(state, NODE, "DELETE", NAME "?node_id=3&process_id=1", NULL), 200);
}

static void what_is_no_bearer_token(void **state)
{
    const struct httpfixture *f = *state;
    static const char *const bad[] = {"Authorization: Basic dXNlcjpwYXNz\r\n",
                                      "Authorization:\r\n",
                                      "Authorization: Bearer\r\n",
                                      "Authorization: Bearer \r\n",
                                      "Authorization: Bearer a b\r\n",
                                      "X-Authorization: Bearer\r\n"};
    char spelt[200];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct rawhttp_call call = {"GET", NAME, bad[i], NULL};

        httpfixture_expect(f, &call, 401, "unauthorized", &answer);
    }
    snprintf(spelt, sizeof(spelt), "authorization: bearer  %s",
             strstr(headers[READER], "callsign_"));
    const struct rawhttp_call call = {"GET", NAME, spelt, NULL};
    httpfixture_expect(f, &call, 404, "process_not_found", &answer);
    snprintf(spelt, sizeof(spelt), "%sAuthorization: Bearer x\r\n", headers[READER]);
    const struct rawhttp_call twice = {"GET", NAME, spelt, NULL};
    httpfixture_expect(f, &twice, 400, "bad_header", &answer);
}

/* Refused before its body came: the connection stays usable, nothing is done. */
static void a_refused_body_is_passed_over(void **state)
{
    const struct httpfixture *f = *state;
    struct rawhttp *c = rawhttp_open(f->port);
    char text[512];

    snprintf(text, sizeof(text),
             "PUT " NAME " HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n" OF_3 "GET " NAME
             " HTTP/1.1\r\nHost: x\r\n%s\r\n",
             strlen(OF_3), headers[READER]);
    rawhttp_send_text(c, text);
    rawhttp_read(c, false, 5000, &answer);
    assert_int_equal(answer.status, 401);
    rawhttp_read(c, false, 5000, &answer);
    assert_int_equal(answer.status, 404);
    rawhttp_close(c);
}

static void refusals_are_counted(void **state)
{
    assert_int_equal(ask(state, NOBODY, "GET", NAME, NULL), 401);
    assert_int_equal(ask(state, METRICS, "GET", "/metrics", NULL), 200);
    assert_non_null(strstr(answer.body, "\ncallsign_http_requests_denied_total "));
    assert_null(strstr(answer.body, "\ncallsign_http_requests_denied_total 0\n"));
}

static bool is_known(void **state, enum who who)
{
    return ask(state, who, "GET", "/metrics", NULL) == 200;
}

static void tokens_are_read_again(void **state)
{
    struct httpfixture *f = *state;
    static char metrics[] = "metrics";

    make(UNKNOWN, metrics, NULL);
    assert_false(is_known(state, UNKNOWN));
    http_server_reload(f->server);
    for (int i = 0; i < 1000 && !is_known(state, UNKNOWN); i++) {
    }
    assert_true(is_known(state, UNKNOWN));
    /* A file that is damaged leaves everything as it was. */
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fputs("nonsense\n", file);
    fclose(file);
    http_server_reload(f->server);
    for (int i = 0; i < 100; i++) {
        assert_true(is_known(state, METRICS));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_route_needs_its_role),
        cmocka_unit_test(every_route_names_a_role),
        cmocka_unit_test(bound_to_environments),
        cmocka_unit_test(bound_to_a_node),
        cmocka_unit_test(what_is_no_bearer_token),
        cmocka_unit_test(a_refused_body_is_passed_over),
        cmocka_unit_test(refusals_are_counted),
        cmocka_unit_test(tokens_are_read_again),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
