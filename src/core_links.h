/*
 * core_links.h - the part of core.c that the links report to, and that keeps
 * up with who is a member. Nobody else includes it.
 */
#ifndef CALLSIGN_CORE_LINKS_H
#define CALLSIGN_CORE_LINKS_H

struct core;
struct core_config;
struct service_request;

/* answer: a request for a change of the members is answered; r->err is set. */
void core_links_init(struct core *c, const struct core_config *config,
                     void (*answer)(void *data, struct service_request *r));
/* After the members' turn: whoever is a member no more is forgotten. */
void core_links_turn(struct core *c);

#endif
