// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/forward.h"

#include <ctype.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/host/default_route.h"

enum { COMMAND_MAX = 256, TABLES_MAX = 8 };

static const char subject[] = "Forward";
static const uint8_t families[FORWARD_FAMILIES] = {4, 6};
static const char *const ways[FORWARD_WAYS] = {"sent", "answered"};

void gateway_forward_init(struct gateway_forward *forward, const struct gateway_config *config,
			  struct nftables *nftables, const char *table, unsigned ifindex)
{
	*forward = (struct gateway_forward){.config = config,
					    .nftables = nftables,
					    .table = table,
					    .ifindex = ifindex,
					    .mutex = PTHREAD_MUTEX_INITIALIZER};
}

/* --- the counters ------------------------------------------------------------------------------------------------- */

/* One chain runs before all other chains that are hooked into forwarding, one after them; between the two the kernel
 * drops nothing by itself. */
void gateway_forward_write(FILE *out, const char *table, unsigned ifindex)
{
	for (size_t way = 0; way < FORWARD_WAYS; way++) {
		for (size_t i = 0; i < FORWARD_FAMILIES; i++)
			fprintf(out, "add counter inet %1$s %2$s%3$u\nadd counter inet %1$s %2$s%3$u_passed\n", table,
				ways[way], families[i]);
	}
	static const char *const chains[] = {"before", "after"}, *const hooks[] = {"forward", "postrouting"},
				 *const suffixes[] = {"", "_passed"};
	for (size_t c = 0; c < ARRAY_SIZE(chains); c++) {
		fprintf(out,
			"add chain inet %1$s %2$s { type filter hook %3$s priority -500; policy accept; }\n"
			"flush chain inet %1$s %2$s\n",
			table, chains[c], hooks[c]);
		for (size_t i = 0; i < FORWARD_FAMILIES; i++)
			fprintf(out,
				"add rule inet %1$s %2$s iif %3$u meta nfproto ipv%4$u counter name sent%4$u%5$s\n"
				"add rule inet %1$s %2$s oif %3$u iif != 0 meta nfproto ipv%4$u ct state established "
				"ct direction reply counter name answered%4$u%5$s\n",
				table, chains[c], ifindex, families[i], suffixes[c]);
	}
}

static bool find_counter(const json_t *listing, const char *name, uint64_t *packets)
{
	const json_t *item;
	size_t i;
	json_array_foreach (listing, i, item) {
		const json_t *counter = json_object_get(item, "counter");
		const char *its = json_string_value(json_object_get(counter, "name"));
		if (its == NULL || strcmp(its, name) != 0)
			continue;
		*packets = (uint64_t)json_integer_value(json_object_get(counter, "packets"));
		return true;
	}
	return false;
}

/* The array that "nft --json" prints, for the caller to release, empty if nft failed; NULL: no memory, or the answer
 * comes later. Each command is carried out once in a look: one that began anew with each answer would have no end where
 * answers take long. */
static json_t *query(struct gateway_forward *forward, const char *commands)
{
	struct error error;
	json_t *listing = json_incref(json_object_get(forward->answers, commands));
	if (listing != NULL)
		return listing;
	char *text = nftables_query(forward->nftables, subject, commands, &error);
	if (text == NULL && errno == EINPROGRESS) {
		forward->waits = true;
		return NULL;
	}
	json_t *root = text != NULL ? json_loads(text, 0, NULL) : NULL;
	listing = json_incref(json_object_get(root, "nftables"));
	if (listing == NULL)
		listing = json_array();
	json_object_set(forward->answers, commands, listing);
	json_decref(root);
	free(text);
	return listing;
}

/* --- whose rules -------------------------------------------------------------------------------------------------- */

static bool plain_name(const char *name)
{
	for (const char *c = name; *c != '\0'; c++) {
		if (!isalnum((unsigned char)*c) && strchr("_-./", *c) == NULL)
			return false;
	}
	return name[0] != '\0';
}

/* The tables of other programs with a chain in the way, each once: "list table FAMILY NAME", without the elements of
 * sets. */
static size_t tables_in_the_way(const json_t *chains, const char *own, char commands[TABLES_MAX][COMMAND_MAX])
{
	const json_t *item;
	size_t i, count = 0;
	json_array_foreach (chains, i, item) {
		const json_t *chain = json_object_get(item, "chain");
		const char *hook = json_string_value(json_object_get(chain, "hook")),
			   *family = json_string_value(json_object_get(chain, "family")),
			   *table = json_string_value(json_object_get(chain, "table"));
		char command[COMMAND_MAX];
		if (hook == NULL || family == NULL || table == NULL || strcmp(hook, "forward") != 0 ||
		    strcmp(table, own) == 0 || !plain_name(table))
			continue;
		if (snprintf(command, sizeof command, "list table %s %s\n", family, table) >= (int)sizeof command)
			continue;
		bool known = false;
		for (size_t k = 0; k < count; k++)
			known |= strcmp(commands[k], command) == 0;
		if (!known && count < TABLES_MAX)
			memcpy(commands[count++], command, sizeof command);
	}
	return count;
}

/* The rules of all tables in the way; NULL: no memory. */
static json_t *list_others(struct gateway_forward *forward)
{
	char commands[TABLES_MAX][COMMAND_MAX];
	json_t *chains = query(forward, "list chains\n");
	size_t count = tables_in_the_way(chains, forward->table, commands);
	json_decref(chains);
	json_t *all = json_array();
	for (size_t i = 0; i < count; i++) {
		json_t *table = query(forward, commands[i]);
		json_array_extend(all, table);
		json_decref(table);
	}
	return all;
}

static void judge(struct gateway_forward *forward, const char *interface)
{
	const struct gateway_config *config = forward->config;
	char leaves[IF_NAMESIZE];
	default_route_interface(leaves);
	const char *beyond = config->masquerade.count != 0 ? config->masquerade.items[0]
			     : leaves[0] != '\0'	   ? leaves
							   : NULL;
	json_t *listing = list_others(forward);
	for (size_t way = 0; way < FORWARD_WAYS && !forward->waits; way++) {
		for (size_t i = 0; i < config->addresses.count; i++) {
			const struct ip_prefix *address = &config->addresses.items[i];
			struct gateway_forward_path *path = &forward->paths[way][address->address.family == 4 ? 0 : 1];
			struct forward_flow flow = {.in = way == 0 ? interface : beyond,
						    .out = way == 0 ? beyond : interface,
						    .pool = *address,
						    .reply = way != 0};
			path->suspected = forward_judge(listing, forward->table, &flow, &path->suspect);
		}
	}
	json_decref(listing);
}

/* --- saying it ---------------------------------------------------------------------------------------------------- */

static void advise(const struct forward_suspect *suspect, const char *interface, char text[COMMAND_MAX])
{
	switch (suspect->keeper) {
	case FORWARD_KEEPER_UFW:
		(void)snprintf(text, COMMAND_MAX, "ufw route allow in on %1$s; ufw route allow out on %1$s", interface);
		return;
	case FORWARD_KEEPER_FIREWALLD:
		(void)snprintf(text, COMMAND_MAX, "firewall-cmd --zone=trusted --add-interface=%s (and --permanent)",
			       interface);
		return;
	case FORWARD_KEEPER_DOCKER:
	case FORWARD_KEEPER_NONE:
		break;
	}
	(void)snprintf(
		text, COMMAND_MAX,
		"nft insert rule %1$s %2$s %3$s iifname %4$s accept; nft insert rule %1$s %2$s %3$s oifname %4$s "
		"ct state established,related accept",
		suspect->family, suspect->table,
		suspect->keeper == FORWARD_KEEPER_DOCKER ? "DOCKER-USER" : suspect->chain, interface);
}

static void warn(const struct gateway_forward_path *path, size_t way, uint8_t family, bool seen, const char *interface)
{
	const struct forward_suspect *suspect = &path->suspect;
	char advice[COMMAND_MAX], count[64] = "", reason[COMMAND_MAX];
	if (seen)
		(void)snprintf(count, sizeof count, " (%" PRIu64 " of %" PRIu64 " packets)", path->evidence.lost,
			       path->evidence.lost_of);
	const char *what = way == 0 ? "what clients send beyond the gateway" : "the answers to clients";
	if (!path->suspected) {
		log_warning("Forward: %s is dropped, IPv%u%s, and not by us: look for whose firewall it is (nft list "
			    "ruleset; iptables-legacy -L FORWARD) and let %s pass there",
			    what, family, count, interface);
		return;
	}
	(void)snprintf(reason, sizeof reason,
		       suspect->by_policy ? "its chain %s has the policy drop, and no rule that lets %s pass"
					  : "a rule of its chain %s refuses what no other rule lets pass from %s",
		       suspect->chain, interface);
	advise(suspect, interface, advice);
	log_warning("Forward: table %s %s drops %s, IPv%u%s: %s; do: %s", suspect->family, suspect->table, what, family,
		    count, reason, advice);
}

/* Counters decide where there is enough traffic, else the rules. */
static bool is_blocked(const struct gateway_forward_path *path, enum forward_finding finding, bool judged)
{
	if (finding != FORWARD_UNCLEAR)
		return finding == FORWARD_DROPPED;
	return judged ? path->suspected : path->blocked;
}

static void settle(struct gateway_forward_path *path, size_t way, uint8_t family, bool blocked, bool seen,
		   const char *interface)
{
	if (blocked && !path->blocked)
		warn(path, way, family, seen, interface);
	else if (!blocked && path->blocked)
		log_info("Forward: %s passes again, IPv%u",
			 way == 0 ? "what clients send beyond the gateway" : "what answers them", family);
	path->blocked = blocked;
}

static void publish(struct gateway_forward *forward, uint64_t offered, uint64_t passed)
{
	struct status_forward shown = {
		.watched = true, .offered = offered, .dropped = offered > passed ? offered - passed : 0};
	for (size_t i = 0; i < FORWARD_WAYS * FORWARD_FAMILIES; i++) {
		const struct gateway_forward_path *path = &forward->paths[i / FORWARD_FAMILIES][i % FORWARD_FAMILIES];
		if (!path->blocked || shown.blocked)
			continue;
		shown.blocked = true;
		if (path->suspected)
			(void)snprintf(shown.blocked_by, sizeof shown.blocked_by, "%s %s %s", path->suspect.family,
				       path->suspect.table, path->suspect.chain);
		else
			(void)snprintf(shown.blocked_by, sizeof shown.blocked_by, "unknown");
	}
	pthread_mutex_lock(&forward->mutex);
	forward->shown = shown;
	pthread_mutex_unlock(&forward->mutex);
}

void gateway_forward_show(struct gateway_forward *forward, struct status_forward *shown)
{
	if (forward->nftables == NULL)
		return;
	pthread_mutex_lock(&forward->mutex);
	*shown = forward->shown;
	pthread_mutex_unlock(&forward->mutex);
}

void gateway_forward_answered(struct gateway_forward *forward)
{
	if (forward->waits)
		gateway_forward_look(forward, false);
}

static void begin_look(struct gateway_forward *forward)
{
	forward->answers = json_object();
	forward->judges = forward->unjudged;
	forward->unjudged = false;
}

static void end_look(struct gateway_forward *forward)
{
	json_decref(forward->answers);
	forward->answers = NULL;
}

void gateway_forward_deinit(struct gateway_forward *forward)
{
	end_look(forward);
}

void gateway_forward_look(struct gateway_forward *forward, bool changed)
{
	char command[COMMAND_MAX], name[COMMAND_MAX], interface[IF_NAMESIZE];
	if (forward->nftables == NULL || if_indextoname(forward->ifindex, interface) == NULL)
		return;
	forward->unjudged |= changed;
	if (forward->answers == NULL)
		begin_look(forward);
	forward->waits = false;
	(void)snprintf(command, sizeof command, "list counters table inet %s\n", forward->table);
	json_t *counters = query(forward, command);
	if (forward->judges && !forward->waits)
		judge(forward, interface);
	if (forward->waits) {
		json_decref(counters);
		return;
	}
	end_look(forward);
	uint64_t all_offered = 0, all_passed = 0;
	for (size_t i = 0; i < FORWARD_WAYS * FORWARD_FAMILIES; i++) {
		size_t way = i / FORWARD_FAMILIES, family = i % FORWARD_FAMILIES;
		struct gateway_forward_path *path = &forward->paths[way][family];
		uint64_t offered = 0, passed = 0;
		(void)snprintf(name, sizeof name, "%s%u", ways[way], families[family]);
		bool there = find_counter(counters, name, &offered);
		(void)snprintf(name, sizeof name, "%s%u_passed", ways[way], families[family]);
		there &= find_counter(counters, name, &passed);
		all_offered += offered;
		all_passed += passed < offered ? passed : offered;
		enum forward_finding finding = there ? forward_evidence_add(&path->evidence, offered, passed,
									    path->suspected ? FORWARD_PACKETS_MIN
											    : FORWARD_PACKETS_ALONE)
						     : FORWARD_UNCLEAR;
		/* Where requests are dropped there are no answers to judge. */
		bool blocked = is_blocked(path, finding, forward->judges) &&
			       (way == 0 || !forward->paths[0][family].blocked);
		settle(path, way, families[family], blocked, finding == FORWARD_DROPPED, interface);
	}
	json_decref(counters);
	publish(forward, all_offered, all_passed);
}
