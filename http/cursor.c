#include "http/cursor.h"

#include "base/buf.h"
#include "command.h"

enum { VERSION = 1 };

static void put_byte(struct buf *out, unsigned byte)
{
    static const char digits[] = "0123456789abcdef";

    buf_put_char(out, digits[byte >> 4]);
    buf_put_char(out, digits[byte & 15]);
}

void cursor_text_put(struct buf *out, const char *name, size_t len)
{
    put_byte(out, VERSION);
    for (size_t i = 0; i < len; i++) {
        put_byte(out, (unsigned char)name[i]);
    }
}

static bool read_digit(char digit, unsigned *ret_value)
{
    if (digit >= '0' && digit <= '9') {
        *ret_value = (unsigned)(digit - '0');
    } else if (digit >= 'a' && digit <= 'f') {
        *ret_value = (unsigned)(digit - 'a') + 10;
    } else {
        return false;
    }
    return true;
}

static bool read_byte(const char *text, unsigned *ret_byte)
{
    unsigned high, low;

    if (!read_digit(text[0], &high) || !read_digit(text[1], &low)) {
        return false;
    }
    *ret_byte = high << 4 | low;
    return true;
}

bool cursor_text_read(char *text, size_t len, size_t *ret_len)
{
    size_t n = 0;
    unsigned byte;

    if (len < 4 || len % 2 != 0 || !read_byte(text, &byte) || byte != VERSION) {
        return false;
    }
    for (size_t i = 2; i < len; i += 2) {
        if (!read_byte(text + i, &byte)) {
            return false;
        }
        text[n++] = (char)byte;
    }
    *ret_len = n;
    return command_name_valid(text, n);
}
