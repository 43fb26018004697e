#include "crc32c.h"

#include <endian.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* The generator polynomial of RFC 3720, bits reversed. */
static const uint32_t polynomial = 0x82f63b78;

/* Bytes the table half takes in one step, and so the number of its tables. */
enum { STEP = 8 };

/* tables[k][v]: the checksum of byte v followed by k zero bytes. */
static uint32_t tables[STEP][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
    for (uint32_t v = 0; v < 256; v++) {
        uint32_t crc = v;

        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? polynomial : 0);
        }
        tables[0][v] = crc;
    }
    for (int k = 1; k < STEP; k++) {
        for (int v = 0; v < 256; v++) {
            uint32_t before = tables[k - 1][v];

            tables[k][v] = (before >> 8) ^ tables[0][before & 0xff];
        }
    }
}

static uint64_t load_u64(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof v);
    return le64toh(v);
}

uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;

    pthread_once(&tables_once, fill_tables);
    crc = ~crc;
    for (; n >= STEP; n -= STEP, at += STEP) {
        uint64_t v = load_u64(at) ^ crc;

        crc = 0;
        for (int k = 0; k < STEP; k++) {
            crc ^= tables[STEP - 1 - k][(v >> (8 * k)) & 0xff];
        }
    }
    for (; n != 0; n--, at++) {
        crc = (crc >> 8) ^ tables[0][(crc ^ *at) & 0xff];
    }
    return ~crc;
}

#ifdef __x86_64__

/* One instruction for 8 bytes; its latency of 3 cycles bounds the speed to
 * about 8 bytes in 3 cycles, which is faster than anything here reads. */
__attribute__((target("sse4.2"))) static uint32_t crc_by_instruction(uint32_t crc,
                                                                     const uint8_t *at, size_t n)
{
    uint64_t wide = ~crc;
    uint32_t narrow;

    wide &= UINT32_MAX;
    for (; n >= 8; n -= 8, at += 8) {
        wide = __builtin_ia32_crc32di(wide, load_u64(at));
    }
    narrow = (uint32_t)wide;
    for (; n != 0; n--, at++) {
        narrow = __builtin_ia32_crc32qi(narrow, *at);
    }
    return ~narrow;
}

static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2") != 0;
}

#else

static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *at, size_t n)
{
    return crc32c_by_table(crc, at, n);
}

static bool has_instruction(void)
{
    return false;
}

#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t n)
{
    if (has_instruction()) {
        return crc_by_instruction(crc, bytes, n);
    }
    return crc32c_by_table(crc, bytes, n);
}
