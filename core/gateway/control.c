// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/log.h"
#include "core/control/words.h"
#include "core/gateway/control_cluster.h"
#include "core/gateway/control_peer.h"
#include "core/gateway/reloader.h"
#include "core/gateway/sessions.h"
#include "core/gateway/top.h"

static struct gateway_running *running_of(const struct daemon *daemon)
{
	return daemon->params.context;
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static int parse_state(const char *text, struct gateway_sessions_query *query, struct error *error)
{
	query->active = text == NULL || strcmp(text, "active") == 0;
	query->pending = text == NULL || strcmp(text, "pending") == 0;
	if (!query->active && !query->pending)
		return error_set(error, -EINVAL, "--state %.32s: neither active nor pending", text);
	return 0;
}

static json_t *handle_sessions(void *context, char *const *words, size_t count, struct error *error)
{
	const struct daemon *daemon = context;
	const char *from = NULL, *most = NULL, *peer = NULL, *address = NULL, *state = NULL;
	const struct word_option options[] = {
		{"--from", &from}, {"--count", &most}, {"--peer", &peer}, {"--address", &address}, {"--state", &state}};
	struct gateway_sessions_query query = {.count = GATEWAY_SESSIONS_PAGE};
	uint8_t public_key[KEY_SIZE];
	if (words_options(words, count, options, ARRAY_SIZE(options), error) != 0 ||
	    words_number("--from", from, &query.from, error) != 0 ||
	    words_number("--count", most, &query.count, error) != 0 ||
	    words_address(address, &query.address, error) != 0 || parse_state(state, &query, error) != 0)
		return NULL;
	if (peer != NULL) {
		if (words_key(peer, public_key, error) != 0)
			return NULL;
		query.public_key = public_key;
	}
	uint64_t now = clock_monotonic(daemon->clock);
	return words_no_memory_unless(gateway_sessions_page(&running_of(daemon)->registry->table, &query, now), error);
}

static json_t *handle_top(void *context, char *const *words, size_t count, struct error *error)
{
	const struct daemon *daemon = context;
	const char *most = NULL, *label = NULL;
	const struct word_option options[] = {{"--count", &most}, {"--sort", &label}};
	uint32_t sessions = TOP_SESSIONS;
	enum top_order order = TOP_BITS;
	if (words_options(words, count, options, ARRAY_SIZE(options), error) != 0 ||
	    words_number("--count", most, &sessions, error) != 0)
		return NULL;
	if (label != NULL && !top_order_parse(label, &order)) {
		error_set(error, -EINVAL, "--sort %.32s: none of bits, rx, tx, packets, bytes, seen, age, roams",
			  label);
		return NULL;
	}
	struct gateway_top *top = running_of(daemon)->top;
	return words_no_memory_unless(gateway_top_answer(top, order, sessions, clock_monotonic(daemon->clock)), error);
}

/* --- kick --------------------------------------------------------------------------------------------------------- */

static bool parse_id(const char *text, uint32_t *id)
{
	if (strlen(text) != 8 || strspn(text, "0123456789abcdefABCDEF") != 8)
		return false;
	*id = (uint32_t)strtoul(text, NULL, 16);
	return true;
}

/* The sessions that an ID or a key names: on success at least one of `ids` is not 0. */
static int find_sessions(struct registry *registry, const char *text, uint32_t ids[2], struct error *error)
{
	uint8_t public_key[KEY_SIZE];
	ids[1] = 0;
	if (parse_id(text, &ids[0]))
		return session_table_find(&registry->table, ids[0]) != NULL
			       ? 0
			       : error_set(error, -ENOENT, "%s: there is no such session", text);
	if (!key_parse(text, public_key))
		return error_set(error, -EINVAL, "%.64s: neither a session's ID nor a peer's public key", text);
	if (!registry_peer_sessions(registry, public_key, ids))
		return error_set(error, -ENOENT, "%s: there is no such peer", text);
	if (ids[0] == 0 && ids[1] == 0)
		return error_set(error, -ENOENT, "%s: this peer is not connected", text);
	return 0;
}

/* BYE with this reason makes a client pause (core/protocol/PROTOCOL.md, section 4), so that one that misbehaves is not
 * back within a second. */
static json_t *handle_kick(void *context, char *const *words, size_t count, struct error *error)
{
	const struct gateway_running *running = running_of(context);
	uint32_t ids[2] = {0};
	if (count != 1) {
		error_set(error, -EINVAL, "kick wants the ID of a session or the key of a peer");
		return NULL;
	}
	if (find_sessions(running->registry, words[0], ids, error) != 0)
		return NULL;
	json_t *kicked = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		char text[9];
		if (ids[i] == 0)
			continue;
		(void)snprintf(text, sizeof text, "%08x", ids[i]);
		log_info("control: kick session %s", text);
		running->ender.end(running->ender.context, ids[i], WIRE_BYE_REMOVED);
		json_array_append_new(kicked, json_string(text));
	}
	return words_no_memory_unless(json_pack("{s:o}", "kicked", kicked), error);
}

/* --- reload ------------------------------------------------------------------------------------------------------- */

static void log_reload(const struct gateway_running *running, const struct gateway_reload_result *result)
{
	const struct gateway_peers_change *peers = &result->peers;
	char list[512] = "";
	log_info("%s read again: peers: %zu added, %zu removed, %zu changed, %zu as before; %zu sessions ended",
		 running->config->file, peers->added, peers->removed, peers->changed, peers->unchanged, peers->ended);
	for (size_t i = 0, used = 0; i < result->restart_count && used < sizeof list; i++)
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i != 0 ? ", " : "",
					 result->restart[i]);
	if (result->restart_count != 0)
		log_warning("%s needs a restart: %s", running->config->file, list);
}

static void ask(struct daemon *daemon, const struct control_ticket *ticket)
{
	notify_reloading(&daemon->notify);
	reloader_ask(running_of(daemon)->reloader, ticket);
}

void gateway_control_reload(struct daemon *daemon)
{
	ask(daemon, NULL);
}

static json_t *handle_reload(void *context, char *const *words, size_t count, struct error *error)
{
	struct daemon *daemon = context;
	if (count != 0) {
		error_set(error, -EINVAL, "%.64s: unexpected here", words[0]);
		return NULL;
	}
	struct control_ticket ticket = control_defer(daemon->control);
	ask(daemon, &ticket);
	return NULL;
}

json_t *gateway_control_reload_answer(const struct gateway_reload_result *result, struct error *error)
{
	const struct gateway_peers_change *peers = &result->peers;
	json_t *restart = json_array();
	for (size_t i = 0; i < result->restart_count; i++)
		json_array_append_new(restart, json_string(result->restart[i]));
	return words_no_memory_unless(json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "added", (json_int_t)peers->added,
						"removed", (json_int_t)peers->removed, "changed",
						(json_int_t)peers->changed, "unchanged", (json_int_t)peers->unchanged,
						"sessions_ended", (json_int_t)peers->ended, "needs_restart", restart),
				      error);
}

bool gateway_control_reloaded(struct daemon *daemon, int *code, struct error *error)
{
	const struct gateway_running *running = running_of(daemon);
	struct gateway_reload_result result;
	struct reloader_waiting waiting;
	if (!reloader_apply(running->reloader, code, &result, &waiting, error))
		return false;
	if (*code == 0)
		log_reload(running, &result);
	else
		log_error("not read again: %s", error->text);
	if (!reloader_busy(running->reloader))
		notify_ready(&daemon->notify);
	for (size_t i = 0; i < waiting.count; i++) {
		struct error copy = *error;
		json_t *answer = *code == 0 ? gateway_control_reload_answer(&result, &copy) : NULL;
		control_answer(daemon->control, waiting.tickets[i], answer, &copy);
	}
	return true;
}

const struct control_command gateway_commands[] = {
	{"sessions", "who is connected: [--from SLOT] [--count N] [--peer KEY] [--address IP] [--state active|pending]",
	 handle_sessions},
	{"top", "the busiest sessions: [--count N] [--sort bits|rx|tx|packets|bytes|seen|age|roams]", handle_top},
	{"kick", "end a session: ID|KEY", handle_kick},
	{"peer",
	 "until the next reload: add KEY [--name NAME] [--psk KEY|--psk-file PATH] [--address IP] "
	 "[--allowed-ips NETWORK,...] [--protocol shardtun|wireguard] [--rate-up RATE] [--rate-down RATE] [--burst "
	 "SIZE] [--quota BYTES/PERIOD] "
	 "[--quota-rate RATE], or del KEY",
	 gateway_control_peer},
	{"quota", "what a peer has used of its quota starts at 0: reset NAME|KEY", gateway_control_quota},
	{"cluster", "blocks that are served here, and until when", gateway_control_cluster},
	{"cluster-own", "serve exactly these blocks until a time of CLOCK_BOOTTIME: NS BLOCK,...|-",
	 gateway_control_cluster_own},
	{"cluster-release", "serve a block no more, and answer when nothing more of it leaves: BLOCK",
	 gateway_control_cluster_release},
	{"cluster-map", "which other gateways own which blocks: BLOCK=ADDRESS[:PORT],...|-",
	 gateway_control_cluster_map},
	{"cluster-map-part", "the same in parts: SERIAL NUMBER/COUNT TEXT", gateway_control_cluster_map_part},
	{"cluster-peers", "clients of the cluster, from a file with a line of JSON for each: FILE",
	 gateway_control_cluster_peers},
	{"cluster-check",
	 "whether a client could be added in the cluster, and its pre-shared key, sealed: KEY, and what peer add takes",
	 gateway_control_cluster_check},
	{"cluster-addresses", "addresses of a client of the cluster, once it is known here: KEY",
	 gateway_control_cluster_addresses},
	{"identity", "what the files of clients need of us", gateway_control_identity},
	{"reload", "read the configuration again", handle_reload},
};
const size_t gateway_command_count = ARRAY_SIZE(gateway_commands);
