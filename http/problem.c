#include "http/problem.h"

#include <stddef.h>

#include "base/buf.h"
#include "base/check.h"
#include "http/entry.h"
#include "http/json.h"

void problem_put(struct buf *out, const struct problem *p)
{
    const char *detail = p->detail != NULL ? p->detail : err_text(p->err);

    CHECK(err_http_status(p->err) >= 400);
    buf_put_string(out, "{\"type\":\"urn:callsign:problem:");
    buf_put_string(out, err_code(p->err));
    buf_put_string(out, "\",\"title\":");
    json_put_string(out, err_text(p->err));
    buf_put_string(out, ",\"status\":");
    buf_put_decimal(out, (uint64_t)err_http_status(p->err));
    buf_put_string(out, ",\"detail\":");
    json_put_string(out, detail);
    buf_put_string(out, ",\"code\":\"");
    buf_put_string(out, err_code(p->err));
    buf_put_string(out, "\",\"message\":");
    json_put_string(out, detail);
    if (p->err == ERR_BATCH_REFUSED) {
        buf_put_string(out, ",\"index\":");
        buf_put_decimal(out, p->index);
        buf_put_string(out, ",\"reason\":\"");
        buf_put_string(out, err_code(p->reason));
        buf_put_char(out, '"');
    }
    if (p->current != NULL) {
        buf_put_string(out, ",\"current\":");
        entry_put(out, p->current);
    }
    if (p->leader_id != 0) {
        buf_put_string(out, ",\"leader\":");
        buf_put_decimal(out, p->leader_id);
    }
    buf_put_string(out, "}\n");
}
