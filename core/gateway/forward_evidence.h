// SPDX-License-Identifier: Apache-2.0
/* Whether packets get through forwarding, from two counters: one before every other table's chain and one after. What
 * passes the first and not the second was dropped in between, by whichever kind of filter (nftables, iptables of
 * either kind, eBPF). Any thread. */
#pragma once

#include <stdint.h>

enum forward_finding { FORWARD_UNCLEAR, FORWARD_PASSES, FORWARD_DROPPED };

enum {
	FORWARD_PACKETS_MIN = 3,    /* fewer prove nothing: the counters are not read at one instant */
	FORWARD_PACKETS_ALONE = 20, /* with nothing but these to go by: an operator may well refuse some packets */
};

struct forward_evidence {
	uint64_t offered, passed;	      /* the counters, when last read */
	uint64_t since_offered, since_passed; /* and when the last finding was made */
	uint64_t lost_of, lost;		      /* packets of that finding, and those of them that were dropped */
};

/* The counters are at these now (they begin again at 0 with their table). `enough`: as many packets are wanted for a
 * finding. What was counted for a finding does not count for the next one. */
enum forward_finding forward_evidence_add(struct forward_evidence *evidence, uint64_t offered, uint64_t passed,
					  uint64_t enough);
