// SPDX-License-Identifier: Apache-2.0
/* Which other gateway has which block: "B=ADDRESS:PORT,..", in several requests where one line does not suffice. A
 * node has an address of each family that clients come by, so a block may be named twice. */
#include <stdlib.h>
#include <string.h>

#include "core/agent/agent_state.h"
#include "core/base/ip.h"

enum { ENTRY_MAX = OWNERSHIP_ADDRESS + 16, PART = CONTROL_REQUEST_MAX - 64, ADDRESSES = 2 };

/* Their texts go into a line of the control socket as they are. */
static bool are_addresses(const char *text)
{
	return text[0] != '\0' && text[strspn(text, "0123456789abcdefABCDEF:.[], ")] == '\0';
}

static const char *inside_of(const struct ownership_view *view, const struct ownership_block_key *key)
{
	for (size_t i = 0; i < view->node_count; i++) {
		const struct ownership_node_key *node = &view->nodes[i];
		if (strcmp(node->name, key->node) == 0 && strcmp(node->uuid, key->uuid) == 0 &&
		    are_addresses(node->inside))
			return node->inside;
	}
	return NULL;
}

/* Cuts the next one off; NULL: there is none. */
static const char *next_address(char **rest)
{
	char *address = *rest + strspn(*rest, ", ");
	size_t length = strcspn(address, ", ");
	if (length == 0)
		return NULL;
	*rest = address + length + (address[length] != '\0');
	address[length] = '\0';
	return address;
}

/* Whether the address is one of these, with whichever port and however it is written. */
static bool has_address(const char *addresses, const struct ip_address *address)
{
	char copy[OWNERSHIP_ADDRESS], *rest = copy;
	struct ip_address own;
	uint16_t port;
	(void)snprintf(copy, sizeof copy, "%s", addresses);
	for (const char *one = next_address(&rest); one != NULL; one = next_address(&rest)) {
		if (ip_address_port_parse(one, &own, &port) && ip_address_equal(&own, address))
			return true;
	}
	return false;
}

static bool has_omitted(const struct agent_map_omitted *omitted, const char *node, const char *inside)
{
	for (size_t i = 0; i < omitted->count; i++) {
		if (strcmp(omitted->nodes[i].node, node) == 0 && strcmp(omitted->nodes[i].inside, inside) == 0)
			return true;
	}
	return false;
}

static void omit(struct agent_map_omitted *omitted, const struct agent_map_owner *owner)
{
	if (omitted->count == OWNERSHIP_NODES_MAX || has_omitted(omitted, owner->node, owner->inside))
		return;
	memcpy(omitted->nodes[omitted->count].node, owner->node, OWNERSHIP_NAME);
	memcpy(omitted->nodes[omitted->count++].inside, owner->inside, OWNERSHIP_ADDRESS);
}

/* Each once, and again after it was corrected or is another value. */
static void log_omitted(const struct agent_map_omitted *now, const struct agent_map_omitted *before)
{
	for (size_t i = 0; i < now->count; i++) {
		const char *node = now->nodes[i].node, *inside = now->nodes[i].inside;
		if (!has_omitted(before, node, inside))
			log_warning("the map of owners: Inside = %s of node %s has an address of this one, or none at "
				    "all, and is left out; correct it in that node's configuration",
				    inside, node);
	}
}

/* One entry for each address, one of each family, behind a comma unless it is the first. An entry that points to this
 * gateway would make a loop: also where another node has our address by mistake. Returns the end. */
static char *add_entries(const struct agent *agent, const char *map, char *end, unsigned block,
			 const struct agent_map_owner *owner, struct agent_map_omitted *omitted)
{
	char copy[OWNERSHIP_ADDRESS], *rest = copy;
	bool seen[ADDRESSES] = {false};
	(void)snprintf(copy, sizeof copy, "%s", owner->inside);
	for (const char *address = next_address(&rest); address != NULL; address = next_address(&rest)) {
		struct ip_address parsed;
		uint16_t port;
		bool fits = ip_address_port_parse(address, &parsed, &port) &&
			    !has_address(agent->settings->inside, &parsed);
		if (!fits)
			omit(omitted, owner);
		if (!fits || seen[parsed.family == 6])
			continue;
		seen[parsed.family == 6] = true;
		end += sprintf(end, "%s%u=%s", end != map ? "," : "", block, address);
	}
	return end;
}

/* Whose a block is, or was: while its key is absent and no node has taken it since, its last owner may serve it still.
 * A stale leader of etcd may have revoked the lease, and the owner's deadline is not past before another one may take
 * the block. What comes for it is dropped without an entry, and by an owner that has stopped just as well. Once the key
 * says "clean", the owner has stopped. NULL: no other gateway's. */
static const struct agent_map_owner *last_owner(struct agent *agent, unsigned block)
{
	const struct ownership_block_key *key = &agent->view.blocks[block];
	struct agent_map_owner *last = &agent->map_last[block];
	if (key->kind == OWNERSHIP_OWNED) {
		bool ours = strcmp(key->node, agent->settings->node) == 0;
		const char *inside = ours ? NULL : inside_of(&agent->view, key);
		last->taken_revision = inside != NULL ? key->taken_revision : 0;
		memcpy(last->node, key->node, sizeof last->node);
		(void)snprintf(last->inside, sizeof last->inside, "%s", inside != NULL ? inside : "");
		return inside != NULL ? last : NULL;
	}
	if (key->kind != OWNERSHIP_ABSENT || key->taken_revision != last->taken_revision)
		last->taken_revision = 0;
	return last->taken_revision != 0 ? last : NULL;
}

static char *make_map(struct agent *agent)
{
	char *map = calloc(OWNERSHIP_BLOCKS, ENTRY_MAX), *end = map;
	struct agent_map_omitted omitted = {0};
	if (map == NULL)
		return NULL;
	for (unsigned block = 1; block <= agent->rule.block_count; block++) {
		const struct agent_map_owner *owner = last_owner(agent, block);
		if (owner != NULL)
			end = add_entries(agent, map, end, block, owner, &omitted);
	}
	log_omitted(&omitted, &agent->map_omitted);
	agent->map_omitted = omitted;
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
		if (agent->gateway_known && !agent->map_warned)
			log_warning("the map of owners: %s", text);
		agent->map_warned = true;
		agent->map_not_before = clock_monotonic(agent->clock) + NS_PER_S;
		free(agent->map_sent); /* it is sent again then */
		agent->map_sent = NULL;
		agent->map_part = agent->map_parts = 0;
		return;
	}
	agent->map_warned = false;
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
	/* Of the same revision it would be the same; without `map_sent` the last one failed. */
	if (agent->read_revision == agent->map_revision && agent->map_sent != NULL && !agent->map_again)
		return;
	char *map = make_map(agent);
	if (map == NULL) {
		if (!agent->map_warned)
			log_warning("the map of owners: no memory");
		agent->map_warned = true;
		agent->map_not_before = clock_monotonic(agent->clock) + NS_PER_S;
		return;
	}
	if (agent->map_again) {
		free(agent->map_sent);
		agent->map_sent = NULL;
		agent->map_again = false;
	}
	agent->map_revision = agent->read_revision;
	if (agent->map_sent != NULL && strcmp(map, agent->map_sent) == 0) {
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
