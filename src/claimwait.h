/*
 * claimwait.h - where a request that waits for a claim stands (core_claims.c).
 */
#ifndef CALLSIGN_CLAIMWAIT_H
#define CALLSIGN_CLAIMWAIT_H

enum core_claim_state {
    CORE_CLAIM_NONE,
    CORE_CLAIM_WAITING,
    CORE_CLAIM_WITHDRAWING,
    CORE_CLAIM_SETTLING,
};

#endif
