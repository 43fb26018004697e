#include "err.h"

#include "check.h"

struct err_row {
    enum err_class class;
    int http_status;
    const char *code;
    const char *text;
};

static const struct err_row rows[ERR_N] = {
#define ERR_X(name, class, status, code, text)                                                     \
    [ERR_##name] = {ERR_CLASS_##class, status, code, text},
#include "err.def"
#undef ERR_X
};

static const struct err_row *row(enum err e)
{
    CHECK((unsigned)e < ERR_N);
    return &rows[e];
}

const char *err_text(enum err e)
{
    return row(e)->text;
}

const char *err_code(enum err e)
{
    return row(e)->code;
}

enum err_class err_class(enum err e)
{
    return row(e)->class;
}

int err_http_status(enum err e)
{
    return row(e)->http_status;
}
