/*
 * crc32c.h - the Castagnoli checksum (RFC 3720, appendix B.4) that frames,
 * snapshots and files carry. Uses the SSE 4.2 instruction where the processor
 * has it, a table elsewhere; both give the same value.
 */
#ifndef CALLSIGN_BASE_CRC32C_H
#define CALLSIGN_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of `n` bytes that follow bytes whose checksum is `crc` (0 at the start). */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);

/* The same without the instruction: the half other processors use, under a
 * name of its own so that a test can compare the two. */
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t n);

#endif
