// SPDX-License-Identifier: Apache-2.0
/* Which other gateway has which block: "B=ADDRESS:PORT,..", in several requests where one line does not suffice. */
#include <stdlib.h>
#include <string.h>

#include "core/agent/agent_state.h"

enum { ENTRY_MAX = OWNERSHIP_ADDRESS + 8, PART = CONTROL_REQUEST_MAX - 64 };

/* The text goes into a line of the control socket as it is. */
static bool is_address(const char *text)
{
	return text[0] != '\0' && text[strspn(text, "0123456789abcdefABCDEF:.[]")] == '\0';
}

static const char *inside_of(const struct ownership_view *view, const struct ownership_block_key *key)
{
	for (size_t i = 0; i < view->node_count; i++) {
		const struct ownership_node_key *node = &view->nodes[i];
		if (strcmp(node->name, key->node) == 0 && strcmp(node->uuid, key->uuid) == 0 &&
		    is_address(node->inside))
			return node->inside;
	}
	return NULL;
}

/* An entry that points to this gateway would make a loop: also where another node has our address by mistake. */
static char *make_map(const struct agent *agent)
{
	char *map = calloc(OWNERSHIP_BLOCKS, ENTRY_MAX), *end = map;
	if (map == NULL)
		return NULL;
	for (unsigned block = 1; block <= agent->rule.block_count; block++) {
		const struct ownership_block_key *key = &agent->view.blocks[block];
		const char *inside = key->kind == OWNERSHIP_OWNED ? inside_of(&agent->view, key) : NULL;
		if (inside == NULL || strcmp(key->node, agent->settings->node) == 0 ||
		    strcmp(inside, agent->settings->inside) == 0)
			continue;
		end += snprintf(end, ENTRY_MAX, "%s%u=%s", end != map ? "," : "", block, inside);
	}
	return map;
}

/* Where a part that begins at `from` ends. */
static size_t part_end(const char *map, size_t from)
{
	size_t length = strlen(map + from);
	if (length <= PART)
		return from + length;
	size_t end = from + PART;
	while (end > from && map[end] != ',')
		end--;
	return end;
}

static unsigned count_parts(const char *map)
{
	unsigned parts = 1;
	for (size_t at = part_end(map, 0); map[at] != '\0'; at = part_end(map, at + 1))
		parts++;
	return parts;
}

static void send_part(struct agent *agent);

static void part_done(void *context, enum ownership_answer answer, json_t *result, const char *text)
{
	struct agent *agent = context;
	(void)result;
	if (answer != OWNERSHIP_ANSWERED) {
		if (agent->gateway_known && !agent->map_complained)
			log_warning("the map of owners: %s", text);
		agent->map_complained = true;
		agent->map_not_before = clock_monotonic(agent->clock) + NS_PER_S;
		free(agent->map_sent); /* it is sent again then */
		agent->map_sent = NULL;
		agent->map_part = agent->map_parts = 0;
		return;
	}
	agent->map_complained = false;
	if (++agent->map_part < agent->map_parts)
		send_part(agent);
	else
		agent->map_part = agent->map_parts = 0;
}

static void send_part(struct agent *agent)
{
	char line[CONTROL_REQUEST_MAX];
	const char *map = agent->map_sent;
	size_t from = 0;
	for (unsigned part = 0; part < agent->map_part; part++)
		from = part_end(map, from) + 1;
	int length = (int)(part_end(map, from) - from);
	if (agent->map_parts == 1)
		(void)snprintf(line, sizeof line, "cluster-map %s", map[0] != '\0' ? map : "-");
	else
		(void)snprintf(line, sizeof line, "cluster-map-part %u %u/%u %.*s", agent->map_serial,
			       agent->map_part + 1, agent->map_parts, length, map + from);
	gateway_link_send(agent->map_link, line, AGENT_GATEWAY_MS, part_done, agent);
}

void agent_map_step(struct agent *agent)
{
	if (gateway_link_busy(agent->map_link) || !agent->gateway_known || agent->read_revision == 0 ||
	    clock_monotonic(agent->clock) < agent->map_not_before)
		return;
	char *map = make_map(agent);
	if (agent->map_again) {
		free(agent->map_sent);
		agent->map_sent = NULL;
		agent->map_again = false;
	}
	if (map == NULL || (agent->map_sent != NULL && strcmp(map, agent->map_sent) == 0)) {
		free(map);
		return;
	}
	free(agent->map_sent);
	agent->map_sent = map;
	agent->map_part = 0;
	agent->map_parts = count_parts(map);
	agent->map_serial++;
	send_part(agent);
}
