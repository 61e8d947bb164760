// SPDX-License-Identifier: Apache-2.0
/* Which other gateway of a cluster owns which block of session IDs (bits 20 to 27 of the ID), as the agent says it.
 * Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"

enum { CLUSTER_MAP_BLOCKS = 256 /* block 0 is that of a gateway alone, and never in a map */ };

/* A gateway's address on the link inside; family 0: it has none of this family. */
struct cluster_owner {
	struct ip_address address;
	uint16_t port; /* where it takes FORWARD; 0: not given */
};

/* A datagram is forwarded by its own family, so an owner has an address of each. All zero: an empty map. */
struct cluster_map {
	struct cluster_owner ipv4[CLUSTER_MAP_BLOCKS], ipv6[CLUSTER_MAP_BLOCKS];
};

/* Entries that were left out: they name an address that is no other gateway's. */
struct cluster_map_left_out {
	unsigned count;
	char first[128]; /* the first, and why: "8=10.9.0.1: the address is this machine's own" */
};

/* Reads "BLOCK=ADDRESS[:PORT],...", an IPv6 address with a port in brackets; "-" is an empty map. A block may be named
 * once with an address of each family. `own` are this machine's addresses: an entry that has one would send datagrams
 * in a circle. Such an entry is left out, and so is one without a host's address, and the second one of a block and
 * family: what one gateway says wrongly of itself must not keep the others' entries away. 0; or -EINVAL with `error`
 * set, and the map is as before. */
int cluster_map_parse(struct cluster_map *map, const char *text, const struct ip_address *own, size_t own_count,
		      struct cluster_map_left_out *left_out, struct error *error);

/* In this family (4 or 6); NULL: none that is known. `block` is below CLUSTER_MAP_BLOCKS. */
const struct cluster_owner *cluster_map_owner(const struct cluster_map *map, unsigned block, uint8_t family);

bool cluster_map_equal(const struct cluster_map *a, const struct cluster_map *b);

/* The number of entries of a family. */
size_t cluster_map_count(const struct cluster_map *map, uint8_t family);
