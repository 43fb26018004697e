/*
 * fuzz_frame.c - any bytes as what a peer sends.
 *
 * The input is taken as a stream: frames are decoded until one is malformed or
 * not all there. What decodes encodes to the very same bytes, and its payload
 * is offered to the decoders of the handshake, which every stranger reaches.
 * The whole input is offered to them too, since a checksum that fits is hard
 * to come by.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "frame.h"
#include "peer_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t size)
{
    size_t n = strnlen(text, size);

    CHECK(n < size);
    for (size_t i = 0; i < n; i++) {
        CHECK(text[i] >= ' ' && text[i] < 0x7f);
    }
}

/* A HELLO encodes to what it was decoded from, but for bytes shown as '?'. */
static void try_hello(const struct frame *f)
{
    struct hello h;
    struct buf again;

    if (hello_get(f, &h) != ERR_OK) {
        return;
    }
    check_text(h.http_address, sizeof h.http_address);
    buf_init(&again, HELLO_BYTES_MAX);
    hello_put(&again, &h);
    CHECK(!again.overflow && again.len == f->payload_len);
    if (strchr(h.http_address, '?') == NULL) {
        CHECK(memcmp(again.data, f->payload, again.len) == 0);
    }
    buf_fini(&again);
}

static void try_handshake(const uint8_t *payload, size_t n)
{
    struct frame f = {.payload = payload, .payload_len = n};
    char http_address[PEER_ADDRESS_MAX];
    struct hello_refusal refusal;

    try_hello(&f);
    if (hello_get_welcome(&f, http_address) == ERR_OK) {
        check_text(http_address, sizeof http_address);
    }
    if (hello_get_refused(&f, &refusal) == ERR_OK) {
        check_text(refusal.reason, sizeof refusal.reason);
    }
}

static void try_stream(const uint8_t *data, size_t size)
{
    struct frame f;
    struct buf again;
    size_t used;
    enum err e;

    buf_init(&again, size);
    while ((e = frame_decode(data, size, &f, &used)) == ERR_OK) {
        CHECK(used == FRAME_HEADER_BYTES + f.payload_len && used <= size);
        CHECK(f.payload == data + FRAME_HEADER_BYTES);
        buf_reset(&again);
        frame_encode(&again, &f);
        CHECK(!again.overflow && again.len == used && memcmp(again.data, data, used) == 0);
        try_handshake(f.payload, f.payload_len);
        data += used;
        size -= used;
    }
    CHECK(e == ERR_AGAIN || e == ERR_MALFORMED);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_stream(data, size);
    try_handshake(data, size);
    return 0;
}
