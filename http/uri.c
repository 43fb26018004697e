#include "http/uri.h"

#include <string.h>
#include <strings.h>

/* The part of an absolute-form target that stands before its path. */
static size_t authority_len(const char *target, size_t len)
{
    static const char *const schemes[] = {"http://", "https://"};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t at = strlen(schemes[i]);

        if (len > at && strncasecmp(target, schemes[i], at) == 0) {
            while (at < len && target[at] != '/' && target[at] != '?') {
                at++;
            }
            return at;
        }
    }
    return 0;
}

bool uri_split(char *target, size_t len, struct uri *ret_uri)
{
    size_t skipped = authority_len(target, len);
    char *question;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)target[i];

        if (c <= ' ' || c == 0x7f) {
            return false;
        }
    }
    target += skipped;
    len -= skipped;
    /* A query straight behind the authority has no path we could route. */
    if (len == 0 || (target[0] != '/' && !(len == 1 && target[0] == '*' && skipped == 0))) {
        return false;
    }
    question = memchr(target, '?', len);
    ret_uri->path = target;
    ret_uri->path_len = question == NULL ? len : (size_t)(question - target);
    ret_uri->query = question == NULL ? target + len : question + 1;
    ret_uri->query_len = question == NULL ? 0 : len - ret_uri->path_len - 1;
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode(char *text, size_t len, char plus, size_t *ret_len)
{
    size_t to = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] == '+') {
            text[to++] = plus;
        } else if (text[i] != '%') {
            text[to++] = text[i];
        } else {
            int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_value(text[i + 2]) : -1;

            if (high < 0 || low < 0) {
                return false;
            }
            text[to++] = (char)(high * 16 + low);
            i += 2;
        }
    }
    *ret_len = to;
    return true;
}

bool uri_decode_path(char *text, size_t len, size_t *ret_len)
{
    return decode(text, len, '+', ret_len);
}

bool uri_decode_query(char *text, size_t len, size_t *ret_len)
{
    return decode(text, len, ' ', ret_len);
}

bool uri_query_next(struct uri *uri, struct uri_pair *ret_pair)
{
    while (uri->query_len > 0) {
        char *pair = uri->query;
        char *amp = memchr(pair, '&', uri->query_len);
        size_t len = amp == NULL ? uri->query_len : (size_t)(amp - pair);
        char *equals = memchr(pair, '=', len);
        size_t taken = amp == NULL ? len : len + 1;

        uri->query += taken;
        uri->query_len -= taken;
        if (len == 0) {
            continue;
        }
        ret_pair->key = pair;
        ret_pair->key_len = equals == NULL ? len : (size_t)(equals - pair);
        ret_pair->value = equals == NULL ? pair + len : equals + 1;
        ret_pair->value_len = equals == NULL ? 0 : len - ret_pair->key_len - 1;
        return true;
    }
    return false;
}
