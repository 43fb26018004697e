#include "http/entry.h"

#include "base/buf.h"
#include "http/json.h"
#include "registry.h"

void entry_put(struct buf *out, const struct entry *e)
{
    buf_put_string(out, "{\"node_id\":");
    buf_put_decimal(out, e->owner.node_id);
    buf_put_string(out, ",\"process_id\":");
    buf_put_decimal(out, e->owner.process_id);
    buf_put_string(out, ",\"name\":");
    json_put_text(out, e->name, e->name_len);
    buf_put_string(out, ",\"env_id\":");
    buf_put_decimal(out, e->env_id);
    buf_put_string(out, ",\"revision\":");
    buf_put_decimal(out, e->owner.revision);
    buf_put_char(out, '}');
}
