#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "config.h"

bool config_cluster_id_valid(const char *text)
{
    return strlen(text) == 2 * DATADIR_CLUSTER_ID_BYTES &&
           strspn(text, "0123456789abcdef") == 2 * DATADIR_CLUSTER_ID_BYTES;
}

static unsigned digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

void config_cluster_id(const struct config *c, uint8_t ret_id[DATADIR_CLUSTER_ID_BYTES])
{
    static const char TITLE[] = "callsign cluster id 1"; /* with its NUL */
    uint8_t digest[32];
    struct buf b;

    if (c->cluster_id[0] != '\0') {
        for (unsigned i = 0; i < DATADIR_CLUSTER_ID_BYTES; i++) {
            const char *at = c->cluster_id + (size_t)2 * i;

            ret_id[i] = (uint8_t)(digit(at[0]) << 4 | digit(at[1]));
        }
        return;
    }
    CHECK(c->members.count > 0 && c->members.count <= CONFIG_MEMBERS_MAX);
    buf_init(&b, 512);
    buf_put(&b, TITLE, sizeof TITLE);
    buf_put_string(&b, c->cluster_name);
    buf_put_u8(&b, 0);
    for (unsigned i = 0; i < c->members.count; i++) {
        CHECK(i == 0 || c->members.at[i - 1].id < c->members.at[i].id);
        buf_put_u64(&b, c->members.at[i].id);
    }
    CHECK(!b.overflow);
    CHECK(gnutls_hash_fast(GNUTLS_DIG_SHA256, b.data, b.len, digest) == 0);
    memcpy(ret_id, digest, DATADIR_CLUSTER_ID_BYTES);
    buf_fini(&b);
}
