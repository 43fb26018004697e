/*
 * /api/snapshot: all that is registered, as a file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "http/api.h"
#include "http/backup.h"
#include "http/exchange.h"
#include "http/server.h"

enum { WHY_MAX = 256 };

static void refuse_second(struct exchange *x)
{
    exchange_refuse(x, ERR_OVERLOADED, "another backup is being made or taken from this replica");
}

static void refuse_failed(struct exchange *x, int failure)
{
    char why[WHY_MAX];

    (void)snprintf(why, sizeof(why), "the backup could not be written to the data directory: %s",
                   strerror(failure));
    exchange_refuse(x, ERR_BACKUP_FAILED, why);
}

void api_snapshot_get(struct exchange *x)
{
    struct service_request *r = &x->request;

    if (x->host->backup != NULL) {
        refuse_second(x);
        return;
    }
    r->consistency = x->query.consistency;
    exchange_ask(x, SERVICE_WATCH);
}

void api_snapshot_get_answer(struct exchange *x)
{
    struct service_request *r = &x->request;
    int failure;

    x->has_staleness = r->consistency == SERVICE_STALE;
    x->staleness_ms = r->staleness_ms;
    if (x->host->draining) {
        exchange_refuse(x, ERR_SHUTTING_DOWN, NULL);
    } else if (x->is_head) {
        exchange_reply(x, MHD_HTTP_OK, "application/octet-stream");
    } else if (x->host->backup != NULL) {
        refuse_second(x);
    } else {
        x->backup = backup_start(r->view, x->host->config->data_dir, x->host->wake, &failure);
        r->view = NULL;
        if (x->backup == NULL) {
            refuse_failed(x, failure);
            return;
        }
        x->host->backup = x;
    }
}

void api_snapshot_on_backup(struct exchange *x, int failure)
{
    if (failure != 0) {
        x->has_revision = false;
        x->has_staleness = false;
        refuse_failed(x, failure);
    } else {
        exchange_reply(x, MHD_HTTP_OK, "application/octet-stream");
    }
}
