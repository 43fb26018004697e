#include <string.h>

#include "base/buf.h"
#include "http/json.h"

void json_put_text(struct buf *out, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t done = 0;

    buf_put_char(out, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c != '"' && c != '\\') {
            continue;
        }
        buf_put(out, text + done, i - done);
        done = i + 1;
        if (c >= 0x20) {
            char escape[2] = {'\\', (char)c};

            buf_put(out, escape, sizeof(escape));
        } else {
            char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

            buf_put(out, escape, sizeof(escape));
        }
    }
    buf_put(out, text + done, len - done);
    buf_put_char(out, '"');
}

void json_put_string(struct buf *out, const char *text)
{
    json_put_text(out, text, strlen(text));
}
