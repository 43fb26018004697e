#include "peer_hello.h"

#include <string.h>

#include "base/buf.h"

static const char magic[8] = {'C', 'A', 'L', 'L', 'S', 'I', 'G', 'N'};

static void put_text(struct buf *out, const char *text)
{
    size_t n = strlen(text);

    buf_put_u16(out, (uint16_t)n);
    buf_put(out, text, n);
}

static void get_text(struct cursor *c, char *ret_text, size_t ret_size)
{
    size_t n = cursor_u16(c);
    const uint8_t *bytes = cursor_bytes(c, n);

    if (c->bad || n >= ret_size) {
        c->bad = true;
        return;
    }
    memset(ret_text, 0, ret_size);
    for (size_t i = 0; i < n; i++) {
        ret_text[i] = bytes[i] >= ' ' && bytes[i] < 0x7f ? (char)bytes[i] : '?';
    }
}

static enum err verdict(const struct cursor *c)
{
    return c->bad || cursor_left(c) != 0 ? ERR_MALFORMED : ERR_OK;
}

void hello_put(struct buf *out, const struct hello *h)
{
    buf_put(out, magic, sizeof magic);
    buf_put_u16(out, h->version_min);
    buf_put_u16(out, h->version_max);
    buf_put_u32(out, 0);
    buf_put(out, h->cluster_id, sizeof h->cluster_id);
    buf_put_u64(out, h->from);
    buf_put_u64(out, h->to);
    put_text(out, h->http_address);
    put_text(out, h->peer_address);
}

void hello_put_welcome(struct buf *out, const char *http_address)
{
    buf_put_u16(out, HELLO_VERSION);
    put_text(out, http_address);
}

void hello_put_refused(struct buf *out, const char *reason, uint64_t not_member_at)
{
    put_text(out, reason);
    buf_put_u64(out, not_member_at);
}

enum err hello_get(const struct frame *f, struct hello *ret_hello)
{
    struct hello h = {0};
    const uint8_t *bytes;
    struct cursor c;

    cursor_init(&c, f->payload, f->payload_len);
    bytes = cursor_bytes(&c, sizeof magic);
    if (bytes == NULL || memcmp(bytes, magic, sizeof magic) != 0) {
        return ERR_MALFORMED;
    }
    h.version_min = cursor_u16(&c);
    h.version_max = cursor_u16(&c);
    if (cursor_u32(&c) != 0) {
        return ERR_MALFORMED;
    }
    bytes = cursor_bytes(&c, sizeof h.cluster_id);
    if (bytes == NULL) {
        return ERR_MALFORMED;
    }
    memcpy(h.cluster_id, bytes, sizeof h.cluster_id);
    h.from = cursor_u64(&c);
    h.to = cursor_u64(&c);
    get_text(&c, h.http_address, sizeof h.http_address);
    get_text(&c, h.peer_address, sizeof h.peer_address);
    if (verdict(&c) != ERR_OK) {
        return ERR_MALFORMED;
    }
    *ret_hello = h;
    return ERR_OK;
}

enum err hello_get_welcome(const struct frame *f, char ret_http_address[PEER_ADDRESS_MAX])
{
    char text[PEER_ADDRESS_MAX];
    struct cursor c;

    cursor_init(&c, f->payload, f->payload_len);
    if (cursor_u16(&c) != HELLO_VERSION) {
        return ERR_MALFORMED;
    }
    get_text(&c, text, sizeof text);
    if (verdict(&c) != ERR_OK) {
        return ERR_MALFORMED;
    }
    memcpy(ret_http_address, text, sizeof text);
    return ERR_OK;
}

enum err hello_get_refused(const struct frame *f, struct hello_refusal *ret_refusal)
{
    struct hello_refusal r;
    struct cursor c;

    cursor_init(&c, f->payload, f->payload_len);
    get_text(&c, r.reason, sizeof r.reason);
    r.not_member_at = cursor_u64(&c);
    if (verdict(&c) != ERR_OK) {
        return ERR_MALFORMED;
    }
    *ret_refusal = r;
    return ERR_OK;
}
