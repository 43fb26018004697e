/*
 * core_nodelist.h - one page of nodes out of the registry.
 *
 * Threads: whichever owns the registry. Memory: a page of up to
 * SERVICE_PAGE_NAMES_MAX bytes of texts, the caller's to free().
 */
#ifndef CALLSIGN_CORE_NODELIST_H
#define CALLSIGN_CORE_NODELIST_H

#include "service.h"

struct registry;

/* As SERVICE_NODES says. What is left of the leases is not known here. Never
 * NULL; a node that is not there makes an empty page. */
struct service_nodes *core_nodelist(const struct registry *r, const struct service_list *list);

#endif
