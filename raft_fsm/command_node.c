/*
 *   u32 ttl_ms
 *   u8 address_len, address
 *   u16 attributes_len, attributes, each
 *     u8 key_len, u16 value_len, key, value
 */
#include "command_node.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/utf8.h"

static bool text_valid(const char *text, size_t len, size_t len_max)
{
    return len <= len_max &&
           (len == 0 || (memchr(text, '\0', len) == NULL && utf8_valid(text, len)));
}

static bool attribute_valid(const struct command_attribute *a)
{
    return a->key_len > 0 && text_valid(a->key, a->key_len, COMMAND_ATTRIBUTE_KEY_MAX) &&
           text_valid(a->value, a->value_len, COMMAND_ATTRIBUTE_VALUE_MAX);
}

static int compare_keys(const void *x, const void *y)
{
    const struct command_attribute *a = x;
    const struct command_attribute *b = y;
    int order = memcmp(a->key, b->key, a->key_len < b->key_len ? a->key_len : b->key_len);

    return order != 0 ? order : (a->key_len > b->key_len) - (a->key_len < b->key_len);
}

static bool take_attribute(struct cursor *in, struct command_attribute *ret_attribute)
{
    ret_attribute->key_len = cursor_u8(in);
    ret_attribute->value_len = cursor_u16(in);
    ret_attribute->key = (const char *)cursor_bytes(in, ret_attribute->key_len);
    ret_attribute->value = (const char *)cursor_bytes(in, ret_attribute->value_len);
    return !in->bad;
}

static bool attributes_valid(const void *attributes, size_t len)
{
    struct command_attribute a, last = {0};
    struct cursor in;

    cursor_init(&in, attributes, len);
    for (unsigned i = 0; cursor_left(&in) > 0; i++) {
        if (i == COMMAND_ATTRIBUTES_COUNT_MAX || !take_attribute(&in, &a) || !attribute_valid(&a) ||
            (i > 0 && compare_keys(&last, &a) >= 0)) {
            return false;
        }
        last = a;
    }
    return true;
}

bool command_node_valid(const struct command_node *n)
{
    return n->ttl_ms >= COMMAND_TTL_MIN_MS && n->ttl_ms <= COMMAND_TTL_MAX_MS &&
           text_valid(n->address, n->address_len, COMMAND_ADDRESS_MAX) &&
           n->attributes_len <= COMMAND_ATTRIBUTES_MAX &&
           attributes_valid(n->attributes, n->attributes_len);
}

void command_node_encode(const struct command_node *n, struct buf *out)
{
    CHECK(n->address_len <= COMMAND_ADDRESS_MAX && n->attributes_len <= COMMAND_ATTRIBUTES_MAX);
    buf_put_u32(out, n->ttl_ms);
    buf_put_u8(out, (uint8_t)n->address_len);
    buf_put(out, n->address, n->address_len);
    buf_put_u16(out, (uint16_t)n->attributes_len);
    buf_put(out, n->attributes, n->attributes_len);
}

void command_node_decode(struct cursor *in, struct command_node *ret_node)
{
    ret_node->ttl_ms = cursor_u32(in);
    ret_node->address_len = cursor_u8(in);
    ret_node->address = (const char *)cursor_bytes(in, ret_node->address_len);
    ret_node->attributes_len = cursor_u16(in);
    ret_node->attributes = cursor_bytes(in, ret_node->attributes_len);
}

bool command_node_put_attributes(struct command_attribute *attributes, unsigned count,
                                 struct buf *out)
{
    size_t before = out->len;

    if (count > COMMAND_ATTRIBUTES_COUNT_MAX) {
        return false;
    }
    qsort(attributes, count, sizeof attributes[0], compare_keys);
    for (unsigned i = 0; i < count; i++) {
        const struct command_attribute *a = &attributes[i];

        if (!attribute_valid(a) || (i > 0 && compare_keys(&attributes[i - 1], a) == 0)) {
            return false;
        }
        buf_put_u8(out, (uint8_t)a->key_len);
        buf_put_u16(out, (uint16_t)a->value_len);
        buf_put(out, a->key, a->key_len);
        buf_put(out, a->value, a->value_len);
    }
    return out->len - before <= COMMAND_ATTRIBUTES_MAX;
}

bool command_node_next_attribute(const void *attributes, size_t len, size_t *at,
                                 struct command_attribute *ret_attribute)
{
    struct cursor in;

    if (*at >= len) {
        return false;
    }
    cursor_init(&in, (const char *)attributes + *at, len - *at);
    CHECK(take_attribute(&in, ret_attribute));
    *at = len - cursor_left(&in);
    return true;
}
