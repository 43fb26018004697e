#include "testmodel.h"

#include <string.h>

static int compare(const struct testmodel_row *row, const struct command *c)
{
    size_t n = row->name_len < c->name_len ? row->name_len : c->name_len;
    int order = memcmp(row->name, c->name, n);

    if (row->env_id != c->env_id) {
        return row->env_id < c->env_id ? -1 : 1;
    }
    return order != 0 ? order : (row->name_len > c->name_len) - (row->name_len < c->name_len);
}

size_t testmodel_locate(const struct testmodel *m, const struct command *c, bool *ret_found)
{
    size_t low = 0, high = m->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (compare(&m->rows[middle], c) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_found = low < m->count && compare(&m->rows[low], c) == 0;
    return low;
}

static enum err put(struct testmodel *m, const struct command *c, size_t at, bool found)
{
    const struct testmodel_node *node = &m->nodes[c->node_id + 1];
    struct testmodel_row *row = &m->rows[at];

    if (node->leased && !node->up) {
        return ERR_NODE_DOWN;
    }
    if ((c->flags & COMMAND_IF_ABSENT) != 0 && found) {
        return ERR_NAME_TAKEN;
    }
    if ((c->flags & COMMAND_IF_REVISION) != 0 &&
        (!found || row->owner.revision != c->if_revision)) {
        return ERR_PRECONDITION_FAILED;
    }
    if (found && row->owner.node_id == c->node_id && row->owner.process_id == c->process_id) {
        return ERR_OK;
    }
    if (!found) {
        memmove(row + 1, row, (m->count - at) * sizeof *row);
        m->count++;
        row->env_id = c->env_id;
        memcpy(row->name, c->name, c->name_len);
        row->name_len = c->name_len;
    }
    row->owner = (struct owner){c->node_id, c->process_id, ++m->revision};
    return ERR_OK;
}

static enum err erase(struct testmodel *m, const struct command *c, size_t at, bool found)
{
    struct testmodel_row *row = &m->rows[at];

    if (!found) {
        return ERR_PROCESS_NOT_FOUND;
    }
    if ((c->flags & COMMAND_IF_REVISION) != 0 && row->owner.revision != c->if_revision) {
        return ERR_PRECONDITION_FAILED;
    }
    if ((c->flags & COMMAND_IF_OWNER) != 0 &&
        (row->owner.node_id != c->node_id || row->owner.process_id != c->process_id)) {
        return ERR_NOT_OWNER;
    }
    memmove(row, row + 1, (m->count - at - 1) * sizeof *row);
    m->count--;
    m->revision++;
    return ERR_OK;
}

uint64_t testmodel_names_of(const struct testmodel *m, uint64_t node_id)
{
    uint64_t count = 0;

    for (size_t i = 0; i < m->count; i++) {
        count += m->rows[i].owner.node_id == node_id;
    }
    return count;
}

static enum err node_down(struct testmodel *m, const struct command *c, uint64_t *ret_removed)
{
    struct testmodel_node *node = &m->nodes[c->node_id + 1];
    size_t kept = 0;

    if ((c->flags & COMMAND_IF_REVISION) != 0) {
        if (!node->leased || !node->up || node->revision != c->if_revision) {
            return ERR_PRECONDITION_FAILED;
        }
    } else if (!node->leased && testmodel_names_of(m, c->node_id) == 0) {
        return ERR_NODE_NOT_FOUND;
    } else if (node->leased && !node->up) {
        return ERR_OK;
    }
    for (size_t i = 0; i < m->count; i++) {
        if (m->rows[i].owner.node_id != c->node_id) {
            m->rows[kept++] = m->rows[i];
        }
    }
    *ret_removed = m->count - kept;
    m->count = kept;
    node->leased = true;
    node->up = false;
    node->revision = ++m->revision;
    return ERR_OK;
}

struct verdict testmodel_apply_node(struct testmodel *m, const struct command *c)
{
    struct testmodel_node *node = &m->nodes[c->node_id + 1];
    struct verdict v = {0};
    uint64_t before = m->revision;

    if (c->op == COMMAND_NODE_UP) {
        v.created = !node->leased || !node->up;
        *node = (struct testmodel_node){true, true, ++m->revision, c->node.ttl_ms};
    } else {
        v.err = node_down(m, c, &v.removed);
    }
    v.changed = m->revision != before;
    v.revision = m->revision;
    return v;
}

struct verdict testmodel_apply(struct testmodel *m, const struct command *c, uint64_t now_ms)
{
    struct verdict v = {0};
    bool found;
    size_t at = testmodel_locate(m, c, &found);
    uint64_t before = m->revision;

    if (found) {
        v.has_owner = true;
        v.owner = m->rows[at].owner;
    }
    m->log_time_ms = now_ms > m->log_time_ms ? now_ms : m->log_time_ms;
    if (c->op == COMMAND_PUT) {
        v.err = put(m, c, at, found);
        if (v.err == ERR_OK) {
            v.has_owner = true;
            v.owner = m->rows[at].owner;
            v.created = !found;
        }
    } else {
        v.err = erase(m, c, at, found);
    }
    v.changed = m->revision != before;
    v.revision = m->revision;
    return v;
}
