#include "storage/sector.h"

#include "base/check.h"
#include "base/crc32c.h"

enum { VERSION = 1, VERSION_OFFSET = 8, CRC_OFFSET = 12, CLUSTER_OFFSET = 16, REPLICA_OFFSET = 32 };

static uint32_t sum(const uint8_t *sector)
{
    static const uint8_t none[4];
    uint32_t crc = crc32c(0, sector, CRC_OFFSET);

    crc = crc32c(crc, none, sizeof none);
    return crc32c(crc, sector + CRC_OFFSET + 4, DISK_SECTOR_BYTES - CRC_OFFSET - 4);
}

void sector_encode(uint8_t *sector, const char *magic, const struct sector_owner *owner,
                   const uint64_t *fields, unsigned n)
{
    CHECK(n <= SECTOR_FIELDS_MAX);
    memset(sector, 0, DISK_SECTOR_BYTES);
    memcpy(sector, magic, SECTOR_MAGIC_BYTES);
    disk_put_u32(sector + VERSION_OFFSET, VERSION);
    memcpy(sector + CLUSTER_OFFSET, owner->cluster_id, SECTOR_CLUSTER_ID_BYTES);
    disk_put_u64(sector + REPLICA_OFFSET, owner->replica_id);
    for (unsigned i = 0; i < n; i++) {
        disk_put_u64(sector + SECTOR_FIELDS_OFFSET + 8 * i, fields[i]);
    }
    disk_put_u32(sector + CRC_OFFSET, sum(sector));
}

enum sector_state sector_decode(const uint8_t *sector, const char *magic,
                                const struct sector_owner *owner, uint64_t *ret_fields, unsigned n)
{
    CHECK(n <= SECTOR_FIELDS_MAX);
    if (disk_is_zero(sector, DISK_SECTOR_BYTES)) {
        return SECTOR_BLANK;
    }
    if (memcmp(sector, magic, SECTOR_MAGIC_BYTES) != 0 ||
        disk_get_u32(sector + CRC_OFFSET) != sum(sector)) {
        return SECTOR_BAD;
    }
    if (disk_get_u32(sector + VERSION_OFFSET) != VERSION) {
        return SECTOR_NEWER;
    }
    if (owner != NULL &&
        (memcmp(sector + CLUSTER_OFFSET, owner->cluster_id, SECTOR_CLUSTER_ID_BYTES) != 0 ||
         disk_get_u64(sector + REPLICA_OFFSET) != owner->replica_id)) {
        return SECTOR_FOREIGN;
    }
    for (unsigned i = 0; i < n; i++) {
        ret_fields[i] = disk_get_u64(sector + SECTOR_FIELDS_OFFSET + 8 * i);
    }
    return SECTOR_GOOD;
}

const char *sector_state_text(enum sector_state state)
{
    switch (state) {
    case SECTOR_GOOD:
        return "intact";
    case SECTOR_BLANK:
        return "blank";
    case SECTOR_BAD:
        return "damaged";
    case SECTOR_NEWER:
        return "written by a newer release";
    case SECTOR_FOREIGN:
        return "of another cluster or replica";
    }
    return "?";
}
