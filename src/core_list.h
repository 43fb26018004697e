/*
 * core_list.h - one page of names out of the registry.
 *
 * Invariant: a page is a consistent cut, and whoever follows `next` sees each
 * name that stayed registered meanwhile once.
 *
 * Threads: the core thread, which it holds up for at most
 * SERVICE_PAGE_SCAN_MAX entries. Memory: the caller frees the page with free().
 */
#ifndef CALLSIGN_CORE_LIST_H
#define CALLSIGN_CORE_LIST_H

#include <stdint.h>

#include "service.h"

struct service_page *core_list(const struct registry *r, uint64_t env_id,
                               const struct service_list *list);

#endif
