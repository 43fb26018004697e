/*
 * config_value.h - the table of options, and their values as text. Inside of
 * config*.c only; see config.h.
 */
#ifndef CALLSIGN_CONFIG_VALUE_H
#define CALLSIGN_CONFIG_VALUE_H

#include "base/buf.h"
#include "config.h"

enum config_type {
    CONFIG_TYPE_U64,
    CONFIG_TYPE_U32,
    CONFIG_TYPE_TEXT,
    CONFIG_TYPE_PATH,
    CONFIG_TYPE_ADDRESS,
    CONFIG_TYPE_MEMBERS,
    CONFIG_TYPE_LEVEL,
    CONFIG_TYPE_BOOL,
    CONFIG_TYPE_ACTION,
};

struct config_spec {
    enum config_type type;
    const char *name;
    const char *env; /* "" none */
    const char *fallback;
    const char *arg; /* "" takes no argument */
    const char *help;
    uint64_t min;
    uint64_t max;
    size_t offset; /* in struct config */
};

extern const struct config_spec config_specs[CONFIG_OPTIONS_N];

/* Sets one value from its text. On false nothing changed and `why` says what is
 * allowed ("must be ..."). */
bool config_value_set(struct config *c, enum config_option option, const char *text, char *why,
                      size_t why_len);

/* Appends the text that would set the value again. */
void config_value_format(const struct config *c, enum config_option option, struct buf *out);

/* Releases what the value owns, and forgets it. */
void config_value_clear(struct config *c, enum config_option option);

/* Releases the members and forgets them. */
void config_value_clear_members(struct config_members *m);

/* Does the host of a valid address stand for all interfaces? */
bool config_value_is_wildcard(const char *address);

#endif
