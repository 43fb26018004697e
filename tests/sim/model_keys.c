#include "model_keys.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "command.h"
#include "history.h"

enum { TTL_MS = 10 * 60 * 1000 };

void model_keys_fini(struct model_keys *k)
{
    for (size_t i = 0; i < k->count; i++) {
        verdict_clear(&k->rows[i].verdict);
    }
    free(k->rows);
}

void model_keys_advance(struct model_keys *k, uint64_t now_ms)
{
    if (now_ms > k->now_ms) {
        k->now_ms = now_ms;
    }
}

static uint64_t request_of(const struct command *c)
{
    struct command plain = *c;
    struct buf bytes;
    uint64_t hash;

    plain.flags &= ~(unsigned)COMMAND_KEYED;
    plain.key_len = 0;
    buf_init(&bytes, COMMAND_ENCODED_MAX);
    command_encode(&plain, &bytes);
    hash = history_hash(bytes.data, bytes.len);
    buf_fini(&bytes);
    return hash;
}

static const struct model_key *find(const struct model_keys *k, const struct command *c)
{
    uint64_t key = history_hash(c->key, c->key_len);

    for (size_t i = k->count; i > 0; i--) {
        const struct model_key *row = &k->rows[i - 1];

        if (row->key == key && row->env_id == c->env_id) {
            return row;
        }
    }
    return NULL;
}

bool model_keys_decide(const struct model_keys *k, const struct command *c,
                       struct verdict *ret_verdict)
{
    const struct model_key *row = (c->flags & COMMAND_KEYED) != 0 ? find(k, c) : NULL;

    if (row == NULL || k->now_ms >= row->at_ms + TTL_MS) {
        return false;
    }
    if (row->request != request_of(c)) {
        *ret_verdict = (struct verdict){.err = ERR_IDEMPOTENCY_MISMATCH};
        return true;
    }
    verdict_copy(ret_verdict, &row->verdict);
    ret_verdict->replayed = true;
    return true;
}

void model_keys_add(struct model_keys *k, const struct command *c, const struct verdict *v)
{
    struct model_key *row;

    if ((c->flags & COMMAND_KEYED) == 0) {
        return;
    }
    if (k->count == k->capacity) {
        k->capacity = 2 * k->capacity + 64;
        k->rows = mem_resize(k->rows, k->capacity, sizeof *k->rows);
    }
    row = &k->rows[k->count++];
    *row = (struct model_key){.env_id = c->env_id,
                              .key = history_hash(c->key, c->key_len),
                              .request = request_of(c),
                              .at_ms = k->now_ms};
    verdict_copy(&row->verdict, v);
}
