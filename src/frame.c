#include "frame.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"

enum {
    CHECKSUM_AT = 4,
    CHECKED_FROM = 8, /* the checksum covers the bytes from here on */
};

size_t frame_begin(struct buf *out, enum frame_type type, uint64_t id)
{
    size_t offset = out->len;

    buf_put_u32(out, 0);
    buf_put_u32(out, 0);
    buf_put_u8(out, (uint8_t)type);
    buf_put_u8(out, FRAME_VERSION);
    buf_put_u16(out, 0);
    buf_put_u32(out, 0);
    buf_put_u64(out, id);
    return offset;
}

void frame_end(struct buf *out, size_t offset)
{
    size_t payload_len;

    if (out->overflow) {
        return;
    }
    payload_len = out->len - offset - FRAME_HEADER_BYTES;
    CHECK(payload_len <= FRAME_PAYLOAD_MAX);
    buf_patch_u32(out, offset, (uint32_t)payload_len);
    buf_patch_u32(out, offset + CHECKSUM_AT,
                  crc32c(0, out->data + offset + CHECKED_FROM, out->len - offset - CHECKED_FROM));
}

void frame_encode(struct buf *out, const struct frame *f)
{
    size_t offset = frame_begin(out, f->type, f->id);

    buf_put(out, f->payload, f->payload_len);
    frame_end(out, offset);
}

size_t frame_claimed_bytes(const void *bytes)
{
    struct cursor c;

    cursor_init(&c, bytes, FRAME_LENGTH_BYTES);
    return FRAME_HEADER_BYTES + (size_t)cursor_u32(&c);
}

enum err frame_decode(const void *bytes, size_t n, struct frame *ret_frame, size_t *ret_used)
{
    const uint8_t *at = bytes;
    uint32_t payload_len, checksum, reserved;
    uint8_t type, version;
    struct cursor c;
    uint64_t id;
    size_t total;

    if (n < FRAME_HEADER_BYTES) {
        return ERR_AGAIN;
    }
    cursor_init(&c, bytes, n);
    payload_len = cursor_u32(&c);
    checksum = cursor_u32(&c);
    type = cursor_u8(&c);
    version = cursor_u8(&c);
    reserved = cursor_u16(&c);
    reserved |= cursor_u32(&c);
    id = cursor_u64(&c);
    if (payload_len > FRAME_PAYLOAD_MAX || version != FRAME_VERSION || reserved != 0) {
        return ERR_MALFORMED;
    }
    total = FRAME_HEADER_BYTES + (size_t)payload_len;
    if (n < total) {
        return ERR_AGAIN;
    }
    if (crc32c(0, at + CHECKED_FROM, total - CHECKED_FROM) != checksum) {
        return ERR_MALFORMED;
    }
    ret_frame->type = type;
    ret_frame->id = id;
    ret_frame->payload = at + FRAME_HEADER_BYTES;
    ret_frame->payload_len = payload_len;
    if (ret_used != NULL) {
        *ret_used = total;
    }
    return ERR_OK;
}
