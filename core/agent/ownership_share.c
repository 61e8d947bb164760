// SPDX-License-Identifier: Apache-2.0
#include "core/agent/ownership_share.h"

#include <string.h>

static bool lists(const struct ownership_view *view, const char *name)
{
	for (size_t i = 0; i < view->member_count; i++) {
		if (strcmp(view->members[i], name) == 0)
			return true;
	}
	return false;
}

void ownership_share_update(struct ownership *ownership, const struct ownership_view *view)
{
	ownership->members_readable = view->members_readable;
	if (!view->members_readable) {
		ownership->is_member = false; /* nothing is taken; what is ours stays: members_readable is false */
		return;
	}
	ownership->is_member = lists(view, ownership->node);
	ownership->others = 0;
	for (size_t i = 0; i < view->node_count; i++) {
		const struct ownership_node_key *node = &view->nodes[i];
		ownership->others += strcmp(node->name, ownership->node) != 0 && !node->draining &&
				     lists(view, node->name);
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
