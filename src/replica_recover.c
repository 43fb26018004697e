/*
 * callsignd recover: makes a replica that survived the loss of a majority the
 * only member of its cluster, which gets a new id.
 *
 * The order is what makes an interruption harmless: with the new id nobody of
 * the old cluster talks to this replica any more, whatever becomes of the rest,
 * and the same command again goes on from there.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/mem.h"
#include "replica_internal.h"

static enum err write_generation(struct replica *r)
{
    CHECK(getrandom(r->cluster_id, sizeof r->cluster_id, 0) == sizeof r->cluster_id);
    return datadir_marker_write(r->datadir, REPLICA_MARKER_GENERATION, r->cluster_id,
                                sizeof r->cluster_id);
}

/* Nobody is left who could remember a vote of it: it votes from now on. */
static enum err write_voter(struct replica *r)
{
    static const uint8_t no_floor[8];

    return datadir_marker_write(r->datadir, REPLICA_MARKER_VOTER, no_floor, sizeof no_floor);
}

static int change(struct replica *r)
{
    char why[STORAGE_WHY_MAX] = "";
    enum err e = replica_open_datadir(r, why, sizeof why);

    if (e != ERR_OK) {
        return replica_refuse(r, "data_directory", e, why);
    }
    if (datadir_is_fresh(r->datadir)) {
        return replica_refuse(r, "data_directory", ERR_CONFIG, "it holds nothing to recover");
    }
    if (write_generation(r) != ERR_OK || write_voter(r) != ERR_OK) {
        return replica_refuse(r, "data_directory", ERR_STORAGE, datadir_why(r->datadir));
    }
    e = replica_change_log(r, datadir_log_path(r->datadir), consensus_recover, why, sizeof why);
    return e == ERR_OK ? REPLICA_EXIT_OK : replica_refuse(r, "log", e, why);
}

int replica_recover(const struct config *config, FILE *out)
{
    struct replica *r = mem_zalloc(1, sizeof *r);
    int rc;

    r->config = config;
    CHECK(uv_loop_init(&r->loop) == 0);
    rc = change(r);
    datadir_close(r->datadir);
    CHECK(uv_loop_close(&r->loop) == 0);
    if (rc == REPLICA_EXIT_OK) {
        fprintf(out, "replica %" PRIu64 " is the only member of its cluster now, whose id is ",
                config->id);
        for (unsigned i = 0; i < sizeof r->cluster_id; i++) {
            fprintf(out, "%02x", r->cluster_id[i]);
        }
        fprintf(out, "\nstart it with the options it had, then add others, which begin with empty "
                     "data directories; the other\nreplicas of the old cluster must not serve "
                     "clients any more\n");
    }
    free(r);
    return rc;
}
