/*
 * callsign.h - the client of callsign, the registry of process names.
 *
 * Every call ends in one of three ways, and a caller must not mix them up:
 *
 *     decided   DONE, NOT_FOUND, INVALID, REFUSED, UNCHANGED: a replica judged
 *               the request, and the result is final
 *     nothing   UNAVAILABLE, FAILED: surely nothing happened; a retry is safe
 *     unknown   UNKNOWN: a write was sent and its outcome is not known; it may
 *               take effect even after the call returned. Read the name to
 *               find out. Only writes end like this.
 *
 * callsign_outcome() says which of the three. NOT_FOUND is never said because
 * of an outage.
 *
 * Invariants
 *   1. Strings are NUL-terminated UTF-8; ids are exact over 0 to 2^64-1.
 *   2. A call is over at its deadline: timeout_ms of the request or, where
 *      that is 0, of the handle. It covers all endpoints and all repeats.
 *   3. A write is applied once at most, however often it had to be sent: it
 *      is repeated only when the first attempt surely had no effect, or under
 *      the same Idempotency-Key, which the cluster remembers.
 *
 * Local mode: a handle without endpoints keeps a table of its own in this
 * process. The same calls do the same there, but for UNAVAILABLE and UNKNOWN,
 * which cannot happen. Nothing of it outlives the handle.
 *
 * Threads: any number may share a handle, in all calls but callsign_free().
 * Each call in progress has a connection of its own; they are kept for the
 * next. A handle does not survive fork(): the child makes its own.
 * Memory: what is passed in is borrowed for the call, what comes back belongs
 * to the caller. A handle takes about 100 KiB a thread that calls at the same
 * time, more while an answer is large.
 * ABI: `size` and `reserved` let the structs grow; set the first to sizeof and
 * the others to zero, as initialisers do. The library refuses a struct that is
 * larger than it knows, or has something in `reserved`, with INVALID.
 */
#ifndef CALLSIGN_H
#define CALLSIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CALLSIGN_NAME_MAX = 1024,    /* bytes of a name without its NUL */
    CALLSIGN_ENV_DEFAULT = 1,    /* the environment of whoever names none */
    CALLSIGN_ENDPOINTS_MAX = 16, /* of a handle */
    CALLSIGN_MEMBERS_MAX = 16,   /* of a cluster */
    CALLSIGN_ADDRESS_MAX = 256,  /* bytes with NUL */
    CALLSIGN_CODE_MAX = 64,      /* bytes with NUL */
    CALLSIGN_MESSAGE_MAX = 1280, /* bytes with NUL */
    CALLSIGN_TIMEOUT_DEFAULT_MS = 5000,
    CALLSIGN_TIMEOUT_MAX_MS = 3600000,
    CALLSIGN_BATCH_MAX = 128,   /* operations */
    CALLSIGN_CLAIM_ID_MAX = 64, /* bytes with NUL */
    CALLSIGN_TTL_MIN_MS = 1000, /* of a lease or a claim */
    CALLSIGN_TTL_MAX_MS = 600000,
    CALLSIGN_WAIT_MAX_MS = 30000, /* for a claim */
};

/* Also the exit status of the callsign command. */
enum callsign_result {
    CALLSIGN_DONE = 0,
    CALLSIGN_NOT_FOUND = 1,   /* the name is surely not registered */
    CALLSIGN_INVALID = 2,     /* the request has to change before it can succeed */
    CALLSIGN_REFUSED = 3,     /* a condition or guard did not hold */
    CALLSIGN_UNAVAILABLE = 4, /* no replica could serve it; surely nothing happened */
    CALLSIGN_UNKNOWN = 5,     /* a write that may have happened */
    CALLSIGN_FAILED = 6,      /* an answer that is not callsign's, or no memory */
    CALLSIGN_UNCHANGED = 7,   /* nothing changed until the wait was over */
};

/* The three ways a call can end. */
enum callsign_outcome {
    CALLSIGN_OUTCOME_DECIDED,
    CALLSIGN_OUTCOME_NOTHING,
    CALLSIGN_OUTCOME_UNKNOWN,
};

enum callsign_outcome callsign_outcome(enum callsign_result result);

/* One word, such as "not_found"; static memory. */
const char *callsign_result_name(enum callsign_result result);

/* "0.1.0": of the library that runs, which may be newer than this header. */
const char *callsign_version(void);

struct callsign_config {
    size_t size;                  /* sizeof(struct callsign_config) */
    const char *const *endpoints; /* "http://host:port", tried in turn */
    size_t endpoints_count;       /* 0: local mode; up to CALLSIGN_ENDPOINTS_MAX */
    uint32_t timeout_ms;          /* of a call; 0: CALLSIGN_TIMEOUT_DEFAULT_MS */
    const char *token;            /* bearer token; NULL: none */
    /* Files, which have to be readable when the handle is made: */
    const char *ca_file;   /* PEM, whom to trust with https; NULL: the system's */
    const char *cert_file; /* PEM, this client's certificate; NULL: none */
    const char *key_file;  /* PEM, its key; NULL: in cert_file */
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
    bool created;      /* put: the name was free */
    bool has_entry;    /* DONE: the entry; REFUSED: the one that stands in the way */
    bool has_revision; /* of the registry, that the answer reflects */
    struct callsign_entry entry;
    uint64_t revision;
    uint64_t served_by;                  /* id of the replica that answered; 0: none did */
    char endpoint[CALLSIGN_ADDRESS_MAX]; /* that was asked last; "" when none was */
    char code[CALLSIGN_CODE_MAX];        /* stable, such as "name_taken"; "" when done */
    char message[CALLSIGN_MESSAGE_MAX];  /* for people; "" when done */
    uint64_t reserved[8];
};

struct callsign_put {
    uint64_t env_id;
    const char *name;
    uint64_t node_id;
    uint64_t process_id;
    uint64_t if_revision;
    bool if_absent;       /* only a free name; not together with has_if_revision */
    bool has_if_revision; /* only the entry of that revision */
    uint32_t timeout_ms;
    uint64_t reserved[4];
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
    uint32_t timeout_ms;
    uint64_t at_least;
    /* Waits for the first change of the name behind revision `after`, up to
     * wait_ms, which is added to the timeout: DONE, NOT_FOUND or UNCHANGED. */
    uint64_t after;
    bool has_after; /* not together with a consistency */
    uint32_t wait_ms;
    uint64_t reserved[4];
};

struct callsign_list {
    uint64_t env_id;
    const char *prefix; /* only names that begin with it; NULL: all */
    enum callsign_consistency consistency;
    uint32_t timeout_ms; /* of each page */
    uint64_t at_least;
    uint64_t node_id;
    bool has_node; /* only what `node_id` holds */
    uint64_t reserved[4];
};

/* Return false to end the list. `entry` is valid during the call only. The
 * callback may use the handle. */
typedef bool (*callsign_entry_cb)(void *data, const struct callsign_entry *entry);

struct callsign_remove {
    uint64_t env_id;
    const char *name;
    uint64_t if_node_id;
    uint64_t if_process_id;
    uint64_t if_revision;
    bool has_if_owner;    /* only if this process holds the name */
    bool has_if_revision; /* only the entry of that revision */
    uint32_t timeout_ms;
    uint64_t reserved[4];
};

enum callsign_op_kind {
    CALLSIGN_OP_PUT = 1,
    CALLSIGN_OP_REMOVE = 2,
    CALLSIGN_OP_GET = 3,
};

/* One operation of a batch. The guards may stand at each kind. */
struct callsign_op {
    enum callsign_op_kind kind;
    bool if_absent;       /* put: only a free name */
    bool has_if_revision; /* only the entry of that revision */
    bool has_if_owner;    /* remove, get: only if the process holds the name */
    uint64_t env_id;
    const char *name;
    uint64_t node_id; /* put: the owner; has_if_owner: the one that is asked for */
    uint64_t process_id;
    uint64_t if_revision;
    uint64_t reserved[4];
};

struct callsign_batch {
    const struct callsign_op *ops;
    size_t ops_count; /* 1 to CALLSIGN_BATCH_MAX */
    uint32_t timeout_ms;
    uint64_t reserved[4];
};

/* DONE, or NOT_FOUND of a remove or get without a guard. */
struct callsign_op_result {
    enum callsign_result result;
    bool created;
    bool has_entry; /* as it is afterwards; remove: as it was */
    struct callsign_entry entry;
};

/* A node, whose names go when it goes. */
struct callsign_node {
    uint64_t node_id;
    uint32_t ttl_ms; /* of its lease: CALLSIGN_TTL_MIN_MS to CALLSIGN_TTL_MAX_MS */
    uint32_t timeout_ms;
    const char *address; /* of the node, for whoever asks; NULL: none */
    uint64_t reserved[4];
};

struct callsign_claim {
    uint64_t env_id;
    const char *name;
    uint64_t node_id; /* that is going to spawn */
    uint32_t ttl_ms;  /* of the claim */
    uint32_t wait_ms; /* for somebody else's claim to end; added to the timeout */
    uint32_t timeout_ms;
    uint64_t reserved[4];
};

struct callsign_claimed {
    char id[CALLSIGN_CLAIM_ID_MAX];
    uint64_t expires_in_ms;
};

struct callsign_member {
    uint64_t id;
    char role[16];
    bool leader;
    bool connected;
    bool lag_known;
    bool last_contact_known;
    char peer_address[CALLSIGN_ADDRESS_MAX];
    char http_address[CALLSIGN_ADDRESS_MAX];
    uint64_t lag; /* log entries behind the leader */
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
 * in `ret_why`, CALLSIGN_MESSAGE_MAX bytes, or NULL. Does not connect. */
enum callsign_result callsign_new(const struct callsign_config *config, char *ret_why,
                                  struct callsign **ret_handle);
/* NULL-safe. No call may be in progress, and none may follow. */
void callsign_free(struct callsign *c);

/* --- Names ------------------------------------------------------------------- */

/*
 * Each fills *ret_answer in every case and returns its result.
 * put     DONE INVALID REFUSED UNAVAILABLE UNKNOWN FAILED
 * get     DONE NOT_FOUND UNCHANGED INVALID UNAVAILABLE FAILED
 * remove  DONE NOT_FOUND INVALID REFUSED UNAVAILABLE UNKNOWN FAILED; the entry
 *         is the one that was removed
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
 * DONE INVALID UNAVAILABLE FAILED; after anything but DONE the list is not
 * complete.
 */
enum callsign_result callsign_list(struct callsign *c, const struct callsign_list *list,
                                   callsign_entry_cb visit, void *data,
                                   struct callsign_answer *ret_answer);

/*
 * All operations or none, at one revision. ret_results has ops_count places,
 * which are set with DONE only. REFUSED: a guard of operation
 * *ret_refused_index did not hold; nothing was changed, and the answer says why.
 * DONE INVALID REFUSED UNAVAILABLE UNKNOWN FAILED
 */
enum callsign_result callsign_batch(struct callsign *c, const struct callsign_batch *batch,
                                    struct callsign_op_result *ret_results,
                                    size_t *ret_refused_index, struct callsign_answer *ret_answer);

/* --- Claims: who spawns ------------------------------------------------------ */

/*
 * DONE with an entry: somebody is registered. DONE without: nobody is, and the
 * caller is to spawn; *ret_claimed is set, and callsign_claim_confirm() or
 * callsign_claim_abort() have to follow within its time. REFUSED name_claimed:
 * somebody else is spawning, still after wait_ms.
 * DONE INVALID REFUSED UNAVAILABLE UNKNOWN FAILED; a claim of which nobody
 * knows ends by itself.
 */
enum callsign_result callsign_claim(struct callsign *c, const struct callsign_claim *claim,
                                    struct callsign_claimed *ret_claimed,
                                    struct callsign_answer *ret_answer);

/* The process runs: registers it under the claimed name. NOT_FOUND: the claim
 * has ended, the name is not registered by this. The others as
 * callsign_put(). */
enum callsign_result callsign_claim_confirm(struct callsign *c,
                                            const struct callsign_claimed *claimed,
                                            uint64_t process_id,
                                            struct callsign_answer *ret_answer);

/* It could not be spawned: the next one may. NOT_FOUND: the claim has ended
 * before. */
enum callsign_result callsign_claim_abort(struct callsign *c,
                                          const struct callsign_claimed *claimed,
                                          struct callsign_answer *ret_answer);

/* --- Nodes ------------------------------------------------------------------- */

/* Takes or renews the lease. DONE INVALID UNAVAILABLE UNKNOWN FAILED */
enum callsign_result callsign_node_register(struct callsign *c, const struct callsign_node *node,
                                            struct callsign_answer *ret_answer);

/* NOT_FOUND: the lease has ended, and the node's names are gone. */
enum callsign_result callsign_node_heartbeat(struct callsign *c, uint64_t node_id,
                                             struct callsign_answer *ret_answer);

/* The node is down, and all its names are gone. *ret_removed: how many they
 * were. NOT_FOUND: it has neither lease nor names. */
enum callsign_result callsign_node_remove(struct callsign *c, uint64_t node_id,
                                          uint64_t *ret_removed,
                                          struct callsign_answer *ret_answer);

enum callsign_node_event {
    CALLSIGN_NODE_LOST = 1,     /* the lease ended; the names are gone, or go now */
    CALLSIGN_NODE_RESTORED = 2, /* there is a lease again: register what runs anew */
    CALLSIGN_NODE_SILENT = 3,   /* no heartbeat got through for half of the lease */
    CALLSIGN_NODE_HEARD = 4,    /* one did again, in time */
};

/* Called by the keeper's thread. May use the handle, but not stop the keeper. */
typedef void (*callsign_node_cb)(void *data, enum callsign_node_event event);

struct callsign_keeper;

/*
 * Registers the node as callsign_node_register() and keeps its lease from a
 * thread of its own, three heartbeats a lease. With DONE *ret_keeper is set.
 * `on_event` may be NULL.
 */
enum callsign_result callsign_keeper_start(struct callsign *c, const struct callsign_node *node,
                                           callsign_node_cb on_event, void *data,
                                           struct callsign_keeper **ret_keeper);

/* Ends the thread, waiting for a heartbeat under way. The lease runs out by
 * itself: a program that ends in order calls callsign_node_remove() too.
 * NULL-safe. To be called before callsign_free(). */
void callsign_keeper_stop(struct callsign_keeper *k);

/* --- Watches ----------------------------------------------------------------- */

enum callsign_event_kind {
    CALLSIGN_EVENT_PUT = 1,
    CALLSIGN_EVENT_REMOVE = 2,
    CALLSIGN_EVENT_NODE_DOWN = 3,    /* all names of node_id are gone, in all environments */
    CALLSIGN_EVENT_BOOKMARK = 4,     /* nothing happened up to `revision` */
    CALLSIGN_EVENT_RESET = 5,        /* forget all names: the present ones follow, then SYNCED */
    CALLSIGN_EVENT_SYNCED = 6,       /* the present names were told, as of `revision` */
    CALLSIGN_EVENT_DISCONNECTED = 7, /* no replica; the watch goes on where it was */
};

/* Valid during the callback. */
struct callsign_event {
    enum callsign_event_kind kind;
    bool has_previous;           /* PUT, REMOVE: somebody held the name before */
    uint64_t revision;           /* to go on behind */
    struct callsign_entry entry; /* PUT; REMOVE: without an owner */
    uint64_t previous_node_id;
    uint64_t previous_process_id;
    uint64_t previous_revision;
    uint64_t node_id; /* NODE_DOWN */
    uint64_t removed; /* NODE_DOWN: how many names */
};

struct callsign_watch {
    uint64_t env_id;
    const char *name;   /* this name; NULL: those of the prefix */
    const char *prefix; /* NULL: all names */
    uint64_t node_id;
    uint64_t after;
    bool has_node;  /* only what node_id gets, holds or loses */
    bool has_after; /* goes on behind that revision; else it begins with the present names */
    uint64_t reserved[4];
};

/* Return false to end the watch. */
typedef bool (*callsign_event_cb)(void *data, const struct callsign_event *event);

/*
 * Tells every change, once and in order, over the loss of replicas and
 * connections, until the callback returns false (DONE), or a replica refuses
 * the watch (INVALID, FAILED). Blocks.
 */
enum callsign_result callsign_watch(struct callsign *c, const struct callsign_watch *watch,
                                    callsign_event_cb on_event, void *data,
                                    struct callsign_answer *ret_answer);

struct callsign_watcher;

/* The same on a thread of its own. INVALID FAILED: there is no watcher. The
 * callback may use the handle, but not stop the watcher. */
enum callsign_result callsign_watcher_start(struct callsign *c, const struct callsign_watch *watch,
                                            callsign_event_cb on_event, void *data,
                                            struct callsign_watcher **ret_watcher);

/* Ends the watch if it has not ended, and waits for the callback; how it ended.
 * NULL-safe (DONE). To be called before callsign_free(). */
enum callsign_result callsign_watcher_stop(struct callsign_watcher *w);

/* --- The cluster ------------------------------------------------------------- */

/* DONE, UNAVAILABLE or FAILED; *ret_cluster is set with DONE only. In local
 * mode a cluster without members, whose state is "local". */
enum callsign_result callsign_status(struct callsign *c, struct callsign_cluster *ret_cluster,
                                     struct callsign_answer *ret_answer);

/* A replica to be added. */
struct callsign_new_member {
    uint64_t id;
    const char *peer_address; /* "host:port" */
    const char *http_address;
    uint32_t timeout_ms;
    uint64_t reserved[4];
};

/* Changes of the cluster itself, each sent once. add: it catches up first, and
 * votes later by itself (callsign_status() shows it). transfer: DONE when `to`
 * leads, which has to be a voter. DONE NOT_FOUND INVALID REFUSED UNAVAILABLE
 * UNKNOWN FAILED; INVALID in local mode. */
enum callsign_result callsign_member_add(struct callsign *c,
                                         const struct callsign_new_member *member,
                                         struct callsign_answer *ret_answer);
enum callsign_result callsign_member_remove(struct callsign *c, uint64_t id,
                                            struct callsign_answer *ret_answer);
enum callsign_result callsign_transfer_leader(struct callsign *c, uint64_t to,
                                              struct callsign_answer *ret_answer);

/* Bytes of an answer, in pieces; NULL and 0 to begin, once more for each
 * endpoint that is tried. Return false to end the transfer. */
typedef bool (*callsign_bytes_cb)(void *data, const char *bytes, size_t n);

/*
 * What GET of `path` gives, which begins with "/" and is encoded, for routes
 * that have no call of their own: "/api/cluster", "/version", "/metrics".
 * DONE: `sink` had all of it. NOT_FOUND: there is no such thing. INVALID
 * REFUSED UNAVAILABLE FAILED: as the other reads; INVALID in local mode.
 */
enum callsign_result callsign_fetch(struct callsign *c, const char *path, callsign_bytes_cb sink,
                                    void *data, struct callsign_answer *ret_answer);

#ifdef __cplusplus
}
#endif

#endif
