/*
 * clients.h - who reads and writes in a simulated world.
 *
 * Requests go to random replicas, as an HTTP thread would submit them, on few
 * names so that they collide; every put has an owner that no other has. Some
 * writes carry an idempotency key and are made again, by way of any replica,
 * when nobody told what became of them, or just so. Claims wait for each other,
 * are confirmed, aborted or left alone. Each answer is held against the history.
 */
#ifndef CALLSIGN_TESTS_SIM_CLIENTS_H
#define CALLSIGN_TESTS_SIM_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "service.h"

struct node;
struct world;

enum {
    CLIENTS_RECENT = 16,
    CLIENTS_NAME_MAX = 1024,
    CLIENTS_KEY_MAX = 24,
    CLIENTS_REPEATS_MAX = 6, /* attempts at one write */
};

/* One request and what is needed to judge its answer. */
struct client_call {
    struct service_request request;
    struct list link;
    struct node *node;
    uint64_t since_us;
    uint64_t late_us; /* later than this an answer is late, unless its replica slept */
    uint64_t floor;   /* a linearizable read must see this revision */
    uint64_t key;     /* of the command */
    bool *ret_done;   /* of whoever waits for it, or NULL */
    enum err *ret_err;
    struct command asked; /* the core may change its own */
    bool claims;
    struct buf ops;    /* of a batch */
    unsigned attempts; /* before this one */
    char text[CLIENTS_KEY_MAX];
    char name[CLIENTS_NAME_MAX];
};

struct clients {
    struct list open;
    struct list repeats;                       /* calls that are made again */
    unsigned last_text;                        /* of keys */
    uint64_t last_nonce;                       /* of claims */
    struct verdict_claim told[CLIENTS_RECENT]; /* who was told to spawn last */
    unsigned told_at;
    unsigned submitted;
    uint64_t last_process;
    struct owner recent[CLIENTS_RECENT]; /* owners somebody was told about */
    struct command last_put;             /* to be sent again */
    char last_name[CLIENTS_NAME_MAX];
};

void clients_init(struct world *w);
void clients_fini(struct world *w);
/* From now on requests come until `ops` of the options are submitted. */
void clients_begin(struct world *w);
bool clients_done(const struct world *w);

/* The process of `n` ended: its clients will hear nothing. */
void clients_node_down(struct node *n);
/* Judges what the core of `n` answered in this step. */
void clients_collect(struct node *n);

/* One request by hand; *ret_done and *ret_err tell how it ended (both may be
 * NULL; they must live until then). */
void clients_put(struct node *n, const char *name, uint32_t timeout_ms, bool *ret_done,
                 enum err *ret_err);
void clients_read(struct node *n, const char *name, uint32_t timeout_ms, bool *ret_done,
                  enum err *ret_err);

/* For clients_*.c: a request to be filled in, and off with it. */
struct client_call *clients_call(struct node *n, uint32_t timeout_ms);
void clients_submit(struct client_call *c);

/* A change of the members; operator_answered() hears of it, unless the replica
 * goes down. */
void clients_ask(struct node *n, const struct service_members *ask, uint32_t timeout_ms);

#endif
