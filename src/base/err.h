/*
 * err.h - the outcomes of the whole program, from one table (err.def).
 *
 * Functions that can fail return enum err, ERR_OK (0) on success, and leave
 * their ret_ arguments untouched on failure. Codes of other libraries are
 * translated at the border where they arise and nowhere else.
 */
#ifndef CALLSIGN_BASE_ERR_H
#define CALLSIGN_BASE_ERR_H

enum err {
#define ERR_X(name, class, status, code, text) ERR_##name,
#include "err.def"
#undef ERR_X
    ERR_N /* how many there are */
};

/* What a caller may conclude from an outcome; see err.def. */
enum err_class {
    ERR_CLASS_OK,
    ERR_CLASS_CALLER,
    ERR_CLASS_DEFINITE,
    ERR_CLASS_UNKNOWN,
    ERR_CLASS_BROKEN,
};

/* One sentence for people. Never NULL; static memory. */
const char *err_text(enum err e);

/* The stable code of an answer, such as "process_not_found". Never NULL. */
const char *err_code(enum err e);

enum err_class err_class(enum err e);

/* The HTTP status of the answer; 0 for an outcome that never reaches HTTP. */
int err_http_status(enum err e);

#endif
