/*
 * console.h - the files of http/console/ as bytes, which the build makes of
 * them: the page that the daemon serves at "/".
 */
#ifndef CALLSIGN_HTTP_CONSOLE_H
#define CALLSIGN_HTTP_CONSOLE_H

#include <stddef.h>

/* CONSOLE_FILE(NAME, FILE, TYPE): every file, its array, its media type. */
#define CONSOLE_FILES                                                                              \
    CONSOLE_FILE(console_index_html, "index.html", "text/html; charset=utf-8")                     \
    CONSOLE_FILE(console_console_css, "console.css", "text/css; charset=utf-8")                    \
    CONSOLE_FILE(console_api_js, "api.js", "text/javascript; charset=utf-8")                       \
    CONSOLE_FILE(console_cluster_js, "cluster.js", "text/javascript; charset=utf-8")               \
    CONSOLE_FILE(console_console_js, "console.js", "text/javascript; charset=utf-8")               \
    CONSOLE_FILE(console_dom_js, "dom.js", "text/javascript; charset=utf-8")                       \
    CONSOLE_FILE(console_nodes_js, "nodes.js", "text/javascript; charset=utf-8")                   \
    CONSOLE_FILE(console_registry_js, "registry.js", "text/javascript; charset=utf-8")

#define CONSOLE_FILE(name, file, type)                                                             \
    extern const unsigned char(name)[];                                                            \
    extern const size_t name##_len;
CONSOLE_FILES
#undef CONSOLE_FILE

#endif
