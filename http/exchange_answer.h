/*
 * exchange_answer.h - from the fields of an exchange to libmicrohttpd's
 * response; the part of exchange.c that deals with headers.
 */
#ifndef CALLSIGN_HTTP_EXCHANGE_ANSWER_H
#define CALLSIGN_HTTP_EXCHANGE_ANSWER_H

#include <microhttpd.h>

struct exchange;

/* Queues the answer; x->out has to live until the request is completed.
 * MHD_NO: it could not be queued, the connection closes. */
enum MHD_Result exchange_answer_queue(struct exchange *x);

#endif
