/* config_value.c - see config_value.h. */
#include "config_value.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "base/check.h"
#include "base/mem.h"

enum { ADDRESS_BYTES_MAX = 255, ID_TEXT_MAX = 24 };

const struct config_spec config_specs[CONFIG_OPTIONS_N] = {
#define CONFIG_VALUE(FIELD, TYPE, NAME, ENV, DEFAULT, MIN, MAX, ARG, HELP)                         \
    [CONFIG_OPTION_##FIELD] =                                                                      \
        {                                                                                          \
            CONFIG_TYPE_##TYPE,                                                                    \
            NAME,                                                                                  \
            ENV,                                                                                   \
            DEFAULT,                                                                               \
            ARG,                                                                                   \
            HELP,                                                                                  \
            MIN,                                                                                   \
            MAX,                                                                                   \
            offsetof(struct config, FIELD),                                                        \
    },
#define CONFIG_ACTION(ID, NAME, ENV, ARG, HELP)                                                    \
    [CONFIG_ACTION_##ID] = {CONFIG_TYPE_ACTION, NAME, ENV, "", ARG, HELP, 0, 0, 0},
#include "config_options.def"
};

static const char *const LEVELS[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

enum { LEVELS_N = sizeof LEVELS / sizeof LEVELS[0] };

static const struct {
    const char *text;
    bool value;
} BOOLS[] = {{"yes", true}, {"true", true},   {"on", true},   {"1", true},
             {"no", false}, {"false", false}, {"off", false}, {"0", false}};

/* --- Reading ------------------------------------------------------------- */

/* Only digits, and not more than 2^64-1. */
static bool read_integer(const char *text, size_t len, uint64_t *ret)
{
    uint64_t value = 0;

    if (len == 0) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';

        if (digit > 9 || value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *ret = value;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool set_integer(void *field, const struct config_spec *spec, const char *text, char *why,
                        size_t why_len)
{
    uint64_t value;

    if (!read_integer(text, strlen(text), &value) || value < spec->min || value > spec->max) {
        (void)snprintf(why, why_len, "must be an integer from %" PRIu64 " to %" PRIu64, spec->min,
                       spec->max);
        return false;
    }
    if (spec->type == CONFIG_TYPE_U64) {
        *(uint64_t *)field = value;
    } else {
        *(uint32_t *)field = (uint32_t)value;
    }
    return true;
}

static void set_string(char **field, const char *text)
{
    char *copy = mem_string(text);

    free(*field);
    *field = copy;
}

static bool set_text(char **field, const struct config_spec *spec, const char *text, char *why,
                     size_t why_len)
{
    bool ascii = spec->type == CONFIG_TYPE_TEXT;
    size_t len = strlen(text);
    bool good = len >= spec->min && len <= spec->max &&
                (len == 0 || (!is_blank(text[0]) && !is_blank(text[len - 1])));

    for (size_t i = 0; good && i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        good = c >= 0x20 && c != 0x7f && (c < 0x80 || !ascii);
    }
    if (!good) {
        (void)snprintf(why, why_len,
                       "must be %" PRIu64 " to %" PRIu64 " bytes %s, without a blank at either end",
                       spec->min, spec->max,
                       ascii ? "of printable ASCII" : "without control characters");
        return false;
    }
    set_string(field, text);
    return true;
}

/* Port 0, "any free one", is no address that another can be told. */
static bool is_address(const char *text)
{
    struct address address;

    return address_parse(text, &address) && address.port != 0;
}

static bool set_address(char **field, const char *text, char *why, size_t why_len)
{
    if (!is_address(text)) {
        (void)snprintf(why, why_len,
                       "must be HOST:PORT or [IPV6]:PORT, with a port from 1 to 65535");
        return false;
    }
    set_string(field, text);
    return true;
}

static bool set_level(enum log_level *field, const char *text, char *why, size_t why_len)
{
    for (int i = 0; i < LEVELS_N; i++) {
        if (strcmp(text, LEVELS[i]) == 0) {
            *field = (enum log_level)i;
            return true;
        }
    }
    (void)snprintf(why, why_len, "must be error, warn, info or debug");
    return false;
}

static bool set_bool(bool *field, const char *text, char *why, size_t why_len)
{
    for (size_t i = 0; i < sizeof BOOLS / sizeof BOOLS[0]; i++) {
        if (strcmp(text, BOOLS[i].text) == 0) {
            *field = BOOLS[i].value;
            return true;
        }
    }
    (void)snprintf(why, why_len, "must be yes or no (or true, false, on, off, 1, 0)");
    return false;
}

/* --- The members --------------------------------------------------------- */

void config_value_clear_members(struct config_members *m)
{
    for (unsigned i = 0; i < m->count; i++) {
        free(m->at[i].address);
    }
    memset(m, 0, sizeof *m);
}

/* Reads one "ID=ADDRESS" of `len` bytes; on true the address is the caller's. */
static bool read_member(const char *item, size_t len, struct config_member *ret)
{
    const struct config_spec *id_spec = &config_specs[CONFIG_OPTION_id];
    const char *equals = memchr(item, '=', len);
    char text[ADDRESS_BYTES_MAX + 1];
    uint64_t id;
    size_t address_len;

    if (equals == NULL || !read_integer(item, (size_t)(equals - item), &id) || id < id_spec->min ||
        id > id_spec->max) {
        return false;
    }
    address_len = len - (size_t)(equals + 1 - item);
    if (address_len >= sizeof text) {
        return false;
    }
    memcpy(text, equals + 1, address_len);
    text[address_len] = '\0';
    if (!is_address(text)) {
        return false;
    }
    ret->id = id;
    ret->address = mem_string(text);
    return true;
}

/* Inserts in order of ids; false, saying why, when it collides or is one too many. */
static bool insert_member(struct config_members *m, const struct config_member *member, char *why,
                          size_t why_len)
{
    unsigned place = 0;

    for (unsigned i = 0; i < m->count; i++) {
        if (m->at[i].id == member->id || strcmp(m->at[i].address, member->address) == 0) {
            (void)snprintf(why, why_len,
                           "names %" PRIu64 "=%.100s and %" PRIu64
                           "=%.100s: each id and each address may be there once",
                           m->at[i].id, m->at[i].address, member->id, member->address);
            return false;
        }
        place += m->at[i].id < member->id;
    }
    if (m->count == CONFIG_MEMBERS_MAX) {
        (void)snprintf(why, why_len, "names more than %d replicas", CONFIG_MEMBERS_MAX);
        return false;
    }
    memmove(&m->at[place + 1], &m->at[place], (m->count - place) * sizeof m->at[0]);
    m->at[place] = *member;
    m->count++;
    return true;
}

/* Adds the member that the `len` bytes describe, blanks around it dropped. */
static bool add_member(struct config_members *m, const char *item, size_t len, char *why,
                       size_t why_len)
{
    struct config_member member;

    while (len > 0 && is_blank(item[0])) {
        item++;
        len--;
    }
    while (len > 0 && is_blank(item[len - 1])) {
        len--;
    }
    if (!read_member(item, len, &member)) {
        (void)snprintf(why, why_len,
                       "must be ID=HOST:PORT,ID=HOST:PORT... with ids from 1 to %" PRIu64
                       " and ports from 1 to 65535",
                       config_specs[CONFIG_OPTION_id].max);
        return false;
    }
    if (!insert_member(m, &member, why, why_len)) {
        free(member.address);
        return false;
    }
    return true;
}

static bool set_members(struct config_members *field, const char *text, char *why, size_t why_len)
{
    struct config_members m = {0};
    const char *item = text;
    const char *end = text + strlen(text);

    while (item < end) {
        size_t len = strcspn(item, ",");

        /* A comma at the end announces a member that is not there. */
        if (!add_member(&m, item, len, why, why_len) ||
            (item[len] == ',' && item[len + 1] == '\0' && !add_member(&m, "", 0, why, why_len))) {
            config_value_clear_members(&m);
            return false;
        }
        item += len + 1;
    }
    config_value_clear_members(field);
    *field = m;
    return true;
}

bool config_value_is_wildcard(const char *address)
{
    static const struct in6_addr ANY = IN6ADDR_ANY_INIT;
    struct sockaddr_storage any;
    struct address a;

    if (!address_parse(address, &a) || !address_to_sockaddr(&a, &any)) {
        return false;
    }
    if (a.v6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&any;

        return memcmp(&v6->sin6_addr, &ANY, sizeof ANY) == 0;
    }
    return ((const struct sockaddr_in *)(const void *)&any)->sin_addr.s_addr == 0;
}

/* --- One option ---------------------------------------------------------- */

bool config_value_set(struct config *c, enum config_option option, const char *text, char *why,
                      size_t why_len)
{
    const struct config_spec *spec = &config_specs[option];
    void *field = (char *)c + spec->offset;

    switch (spec->type) {
    case CONFIG_TYPE_U64:
    case CONFIG_TYPE_U32:
        return set_integer(field, spec, text, why, why_len);
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_PATH:
        return set_text(field, spec, text, why, why_len);
    case CONFIG_TYPE_ADDRESS:
        return set_address(field, text, why, why_len);
    case CONFIG_TYPE_MEMBERS:
        return set_members(field, text, why, why_len);
    case CONFIG_TYPE_LEVEL:
        return set_level(field, text, why, why_len);
    case CONFIG_TYPE_BOOL:
        return set_bool(field, text, why, why_len);
    case CONFIG_TYPE_ACTION:
        break;
    }
    CHECK(false);
    return false;
}

static void format_members(const struct config_members *m, struct buf *out)
{
    for (unsigned i = 0; i < m->count; i++) {
        buf_printf(out, "%s%" PRIu64 "=%s", i == 0 ? "" : ",", m->at[i].id, m->at[i].address);
    }
}

void config_value_clear(struct config *c, enum config_option option)
{
    const struct config_spec *spec = &config_specs[option];
    void *field = (char *)c + spec->offset;
    char **text = field;

    switch (spec->type) {
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_PATH:
    case CONFIG_TYPE_ADDRESS:
        free(*text);
        *text = NULL;
        break;
    case CONFIG_TYPE_MEMBERS:
        config_value_clear_members(field);
        break;
    case CONFIG_TYPE_U64:
    case CONFIG_TYPE_U32:
    case CONFIG_TYPE_LEVEL:
    case CONFIG_TYPE_BOOL:
    case CONFIG_TYPE_ACTION:
        break;
    }
}

void config_value_format(const struct config *c, enum config_option option, struct buf *out)
{
    const struct config_spec *spec = &config_specs[option];
    const void *field = (const char *)c + spec->offset;

    switch (spec->type) {
    case CONFIG_TYPE_U64:
        buf_put_decimal(out, *(const uint64_t *)field);
        return;
    case CONFIG_TYPE_U32:
        buf_put_decimal(out, *(const uint32_t *)field);
        return;
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_PATH:
    case CONFIG_TYPE_ADDRESS:
        buf_put_string(out, *(char *const *)field);
        return;
    case CONFIG_TYPE_MEMBERS:
        format_members(field, out);
        return;
    case CONFIG_TYPE_LEVEL:
        buf_put_string(out, LEVELS[*(const enum log_level *)field]);
        return;
    case CONFIG_TYPE_BOOL:
        buf_put_string(out, *(const bool *)field ? "yes" : "no");
        return;
    case CONFIG_TYPE_ACTION:
        break;
    }
    CHECK(false);
}
