// SPDX-License-Identifier: Apache-2.0
#include "core/agent/ownership_share.h"

#include <string.h>

#include "core/agent/ownership_promise.h"

void ownership_share_update(struct ownership *ownership, const struct ownership_view *view)
{
	ownership->members_readable = view->members_readable && view->takers_readable;
	if (!ownership->members_readable) {
		ownership->is_member = false; /* nothing is taken; what is ours stays: members_readable is false */
		return;
	}
	ownership->is_member = ownership_is_taker(&view->takers, ownership->node, ownership->machine);
	ownership->others = 0;
	for (size_t i = 0; i < view->node_count; i++) {
		const struct ownership_node_key *node = &view->nodes[i];
		ownership->others += strcmp(node->name, ownership->node) != 0 && !node->draining &&
				     ownership_is_taker(&view->takers, node->name, node->machine);
	}
	unsigned live = ownership->others + (ownership->is_member && !ownership->draining);
	ownership->share = live != 0 ? (ownership->block_count + live - 1) / live : ownership->block_count;
	ownership->moving = 0;
	for (unsigned block = 1; block <= ownership->block_count; block++)
		ownership->moving += view->blocks[block].kind == OWNERSHIP_CLEAN;
}

/* FNV-1a. */
unsigned ownership_share_first(const struct ownership *ownership)
{
	uint32_t hash = 2166136261u;
	for (const char *c = ownership->node; *c != '\0'; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	return hash % ownership->block_count;
}
