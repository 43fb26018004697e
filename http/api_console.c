/*
 * / and /console/{file}: the console, a page of static files that asks the
 * same API as everybody. It holds no secret: whoever may not read sees it empty.
 */
#include <microhttpd.h>
#include <string.h>

#include "http/api.h"
#include "http/console.h"
#include "http/exchange.h"

static const struct file {
    const char *name;
    const char *type;
    const unsigned char *bytes;
    const size_t *len;
} files[] = {
#define CONSOLE_FILE(name, file, type) {file, type, name, &name##_len},
    CONSOLE_FILES
#undef CONSOLE_FILE
};

static void reply(struct exchange *x, const struct file *f)
{
    buf_put(&x->out, f->bytes, *f->len);
    x->page = true;
    exchange_reply(x, MHD_HTTP_OK, f->type);
}

void api_console_page(struct exchange *x)
{
    reply(x, &files[0]);
}

void api_console_file(struct exchange *x)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (x->name != NULL && strlen(files[i].name) == x->name_len &&
            memcmp(files[i].name, x->name, x->name_len) == 0) {
            reply(x, &files[i]);
            return;
        }
    }
    exchange_refuse(x, ERR_ROUTE_NOT_FOUND, NULL);
}
