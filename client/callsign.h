/*
 * callsign.h - the client of callsign, the registry of process names.
 *
 * Every call ends in one of three ways, and a caller must not mix them up:
 *
 *     decided   DONE, NOT_FOUND, INVALID, REFUSED: a replica judged the
 *               request, and the result is final
 *     nothing   UNAVAILABLE: surely nothing happened; a retry is safe
 *     unknown   UNKNOWN: a write was sent and its outcome is not known; it may
 *               take effect even after the call returned. Read the name to
 *               find out. Only writes end like this.
 *
 * NOT_FOUND is never said because of an outage.
 *
 * Invariants
 *   1. Strings are NUL-terminated UTF-8; ids are exact over 0 to 2^64-1.
 *   2. A write is never sent twice unless the first surely had no effect.
 *
 * Threads: a handle is used by one thread at a time. The first callsign_new()
 * of a program must not run beside other threads' use of libcurl.
 * Memory: below 1.3 MiB a handle; answers are the caller's.
 */
#ifndef CALLSIGN_H
#define CALLSIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CALLSIGN_NAME_MAX = 1024,    /* bytes of a name without its NUL */
    CALLSIGN_ENV_DEFAULT = 1,    /* the environment of whoever names none */
    CALLSIGN_ENDPOINTS_MAX = 16, /* of a handle */
    CALLSIGN_MEMBERS_MAX = 16,   /* of a cluster */
    CALLSIGN_ADDRESS_MAX = 256,  /* bytes with NUL */
    CALLSIGN_MESSAGE_MAX = 1280, /* bytes with NUL */
};

enum callsign_result {
    CALLSIGN_DONE = 0,
    CALLSIGN_NOT_FOUND = 1,   /* the name is surely not registered */
    CALLSIGN_INVALID = 2,     /* the request has to change before it can succeed */
    CALLSIGN_REFUSED = 3,     /* a condition or guard did not hold */
    CALLSIGN_UNAVAILABLE = 4, /* no replica could serve it; surely nothing happened */
    CALLSIGN_UNKNOWN = 5,     /* a write that may have happened */
    CALLSIGN_FAILED = 6,      /* an answer that is not callsign's, or no memory */
};

/* One word, such as "not_found"; static memory. */
const char *callsign_result_name(enum callsign_result result);

struct callsign_config {
    const char *const *endpoints; /* "http://host:port", tried in turn; copied */
    size_t endpoints_count;
    uint32_t timeout_ms; /* of a call, over all endpoints; 1 to 3600000 */
};

struct callsign_entry {
    uint64_t node_id;
    uint64_t process_id;
    uint64_t env_id;
    uint64_t revision; /* of the last change of owner: a fencing token */
    char name[CALLSIGN_NAME_MAX + 1];
};

struct callsign_answer {
    enum callsign_result result;
    bool created;   /* put: the name was free */
    bool has_entry; /* DONE: the entry; REFUSED: the one that stands in the way */
    struct callsign_entry entry;
    bool has_revision;
    uint64_t revision;                   /* of the registry, that the answer reflects */
    uint64_t served_by;                  /* id of the replica that answered; 0: none did */
    char endpoint[CALLSIGN_ADDRESS_MAX]; /* that was asked last; "" when none was */
    char code[64];                       /* stable, such as "name_taken"; "" when done */
    char message[CALLSIGN_MESSAGE_MAX];  /* for people; "" when done */
};

struct callsign_put {
    uint64_t env_id;
    const char *name;
    uint64_t node_id;
    uint64_t process_id;
    bool if_absent;       /* only a free name; not together with has_revision */
    bool has_if_revision; /* only the entry of that revision */
    uint64_t if_revision;
};

enum callsign_consistency {
    CALLSIGN_LINEARIZABLE, /* sees every write that was answered before */
    CALLSIGN_AT_LEAST,     /* local, once the replica has applied `at_least` */
    CALLSIGN_STALE,        /* local at once, even without a quorum */
};

struct callsign_get {
    uint64_t env_id;
    const char *name;
    enum callsign_consistency consistency;
    uint64_t at_least;
};

struct callsign_list {
    uint64_t env_id;
    const char *prefix; /* only names that begin with it; NULL: all */
    bool has_node;      /* only what `node_id` holds */
    uint64_t node_id;
    enum callsign_consistency consistency;
    uint64_t at_least;
};

/* Return false to end the list. `entry` is valid during the call only. */
typedef bool (*callsign_entry_cb)(void *data, const struct callsign_entry *entry);

struct callsign_remove {
    uint64_t env_id;
    const char *name;
    bool has_if_owner; /* only if this process holds the name */
    uint64_t if_node_id;
    uint64_t if_process_id;
    bool has_if_revision; /* only the entry of that revision */
    uint64_t if_revision;
};

struct callsign_member {
    uint64_t id;
    char role[16];
    bool leader;
    bool connected;
    char peer_address[CALLSIGN_ADDRESS_MAX];
    char http_address[CALLSIGN_ADDRESS_MAX];
    bool lag_known;
    uint64_t lag; /* log entries behind the leader */
    bool last_contact_known;
    uint64_t last_contact_ms;
};

/* The cluster as the replica that answered sees it. */
struct callsign_cluster {
    uint64_t replica_id;
    char cluster_id[64];
    char state[32];
    char health[16];
    char why[256];
    uint64_t leader_id; /* 0: none is known */
    uint64_t term;
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t revision;
    uint64_t names;
    bool ready;
    unsigned members_count;
    struct callsign_member members[CALLSIGN_MEMBERS_MAX];
};

struct callsign;

/* CALLSIGN_INVALID or CALLSIGN_FAILED leave *ret_handle untouched and say why
 * in `ret_why`, CALLSIGN_MESSAGE_MAX bytes. */
enum callsign_result callsign_new(const struct callsign_config *config, char *ret_why,
                                  struct callsign **ret_handle);
/* NULL-safe. */
void callsign_free(struct callsign *c);

/*
 * Each fills *ret_answer in every case and returns its result.
 * put     DONE INVALID REFUSED UNAVAILABLE UNKNOWN FAILED
 * get     DONE NOT_FOUND INVALID UNAVAILABLE FAILED
 * remove  DONE NOT_FOUND INVALID REFUSED UNAVAILABLE UNKNOWN FAILED; the entry
 *         is the one that was removed
 * FAILED of a write means that surely nothing happened, as with UNAVAILABLE.
 */
enum callsign_result callsign_put(struct callsign *c, const struct callsign_put *put,
                                  struct callsign_answer *ret_answer);
enum callsign_result callsign_get(struct callsign *c, const struct callsign_get *get,
                                  struct callsign_answer *ret_answer);
enum callsign_result callsign_remove(struct callsign *c, const struct callsign_remove *remove,
                                     struct callsign_answer *ret_answer);

/*
 * Visits the names in the order of their bytes. They come in pages, each a
 * consistent cut; names that stay registered meanwhile are seen once each.
 * timeout_ms is that of a page. DONE INVALID UNAVAILABLE FAILED; after
 * anything but DONE the list is not complete.
 */
enum callsign_result callsign_list(struct callsign *c, const struct callsign_list *list,
                                   callsign_entry_cb visit, void *data,
                                   struct callsign_answer *ret_answer);

/* DONE, UNAVAILABLE or FAILED; *ret_cluster is set with DONE only. */
enum callsign_result callsign_status(struct callsign *c, struct callsign_cluster *ret_cluster,
                                     struct callsign_answer *ret_answer);

/* The JSON of the last answer as the replica sent it, "" if there was none.
 * Borrowed until the next call. */
const char *callsign_json(const struct callsign *c);

#endif
