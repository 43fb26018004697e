/*
 * exchange_pool.h - the memory of exchanges: those that are over are kept for
 * those to come; the part of exchange.c that deals with it.
 */
#ifndef CALLSIGN_HTTP_EXCHANGE_POOL_H
#define CALLSIGN_HTTP_EXCHANGE_POOL_H

struct exchange;
struct exchange_host;

/* Buffers above these sizes are not kept with them. */
enum { EXCHANGE_POOL_BODY_KEPT = 4 * 1024, EXCHANGE_POOL_ANSWER_KEPT = 16 * 1024 };

/* A fresh one, in NEW. */
struct exchange *exchange_pool_take(struct exchange_host *h);

/* Gives back what the core allocated for its answer. */
void exchange_pool_drop_answer(struct exchange *x);

/* When both libmicrohttpd and the core are done with it (exchange.h, invariant 3);
 * until then nothing. */
void exchange_pool_release(struct exchange *x);

/* Frees those that are kept. */
void exchange_pool_empty(struct exchange_host *h);

#endif
