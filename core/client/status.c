// SPDX-License-Identifier: Apache-2.0
#include "core/client/status.h"

#include <stdio.h>

#include "core/base/rcu.h"
#include "core/client/keep.h"

enum { WAYS_TEXT_MAX = 64 };

#define RELAXED(word) atomic_load_explicit(&(word), memory_order_relaxed)

static const char *state_text(const struct client *client, char text[128])
{
	if (client->endpoint.resolved == NULL)
		return "resolving";
	switch (client->shown.state) {
	case CLIENT_UP:
	case CLIENT_CONFIRM:
		return client_keep_state(client, text);
	case CLIENT_RECONNECT:
		return "reconnecting";
	case CLIENT_DOWN:
	case CLIENT_HANDSHAKE:
		break;
	}
	return client->connected ? "reconnecting" : "handshake";
}

static json_t *seconds_since(uint64_t then, uint64_t now)
{
	if (then == 0)
		return json_null();
	return json_integer(now > then ? (json_int_t)((now - then) / NS_PER_S) : 0);
}

/* The members that only a client with a session has. */
static void add_session(json_t *status, const struct client *client, const struct session *session, uint64_t now)
{
	char text[IP_TEXT_MAX], id[9];
	const struct session_view *view = &session->view;
	const struct ip_prefix *inner[] = {&client->network.wanted.address4, &client->network.wanted.address6};
	json_t *addresses = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(inner); i++) {
		if (inner[i]->address.family != 0)
			json_array_append_new(addresses, json_string(ip_prefix_format(inner[i], text)));
	}
	(void)snprintf(id, sizeof id, "%08x", session->id);
	json_object_set_new(status, "session", json_string(id));
	json_object_set_new(status, "suite", json_string(aead_suite_name(client->shown.lease.suite)));
	json_object_set_new(status, "addresses", addresses);
	json_object_set_new(status, "mtu", json_integer(client->network.wanted.mtu));
	json_object_set_new(status, "connected_seconds", seconds_since(session->born, now));
	json_object_set_new(status, "handshake_seconds", seconds_since(client->shown.welcomed, now));
	json_object_set_new(status, "heard_seconds", seconds_since(RELAXED(view->received), now));
	json_object_set_new(status, "rx_packets", json_integer((json_int_t)RELAXED(view->rx_packets)));
	json_object_set_new(status, "rx_bytes", json_integer((json_int_t)RELAXED(view->rx_bytes)));
	json_object_set_new(status, "tx_packets", json_integer((json_int_t)RELAXED(view->tx_packets)));
	json_object_set_new(status, "tx_bytes", json_integer((json_int_t)RELAXED(view->tx_bytes)));
}

/* "resolvectl and /etc/resolv.conf". */
static const char *ways_text(unsigned ways, char text[WAYS_TEXT_MAX])
{
	int length = 0;
	text[0] = '\0';
	for (int way = 0; way < DNS_WAYS; way++) {
		if ((ways & DNS_BIT(way)) != 0)
			length += snprintf(text + length, (size_t)(WAYS_TEXT_MAX - length), "%s%s",
					   length == 0 ? "" : " and ", dns_way_text((enum dns_way)way));
	}
	return length != 0 ? text : "nothing";
}

static json_t *dns_status(const struct client *client)
{
	const struct client_names *names = &client->names;
	char text[IP_TEXT_MAX], ways[WAYS_TEXT_MAX], trouble[256];
	if (names->wish.count == 0)
		return json_null();
	json_t *servers = json_array();
	for (size_t i = 0; i < names->wish.count; i++)
		json_array_append_new(servers, json_string(ip_address_format(&names->servers[i], text)));
	bool in_force = reconciler_state(client->daemon.reconciler, RECONCILE_dns).in_force;
	return json_pack("{s:o, s:s, s:b, s:b, s:s}", "servers", servers, "by", ways_text(names->dns.ways, ways),
			 "all_names", (int)names->wish.everything, "in_force", (int)in_force, "trouble",
			 reconciler_trouble(client->daemon.reconciler, RECONCILE_dns, trouble));
}

json_t *client_status(void *context, char *const *arguments, size_t count, struct error *error)
{
	const struct daemon *daemon = context;
	const struct client *client = daemon->params.context;
	const struct config_endpoint *endpoint = &client->config->gateway.endpoint;
	uint64_t now = clock_monotonic(daemon->clock);
	char remote[ENDPOINT_TEXT_MAX], text[128];
	(void)arguments, (void)count;

	json_t *at = json_null();
	if (client->endpoint.used.sin6_family != 0)
		at = json_string(sockaddr_format(&client->endpoint.used, remote));
	json_t *status = json_pack("{s:s, s:i, s:s, s:s, s:i, s:o, s:i, s:o, s:b, s:o}", "interface",
				   daemon->descriptors.device.name, "pid", (int)getpid(), "state",
				   state_text(client, text), "host", endpoint->host, "port", (int)endpoint->port,
				   "endpoint", at, "handshakes_unanswered", (int)client->shown.hellos, "dns",
				   dns_status(client), "kill_switch", (int)client->kill_switch_in_force, "kept",
				   client_keep_status(client));
	if (status == NULL) {
		error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	char refused[CLIENT_REFUSAL_TEXT];
	if (client->shown.refusal.reason != CLIENT_OFFER_FINE)
		json_object_set_new(status, "refused",
				    json_string(client_refusal_text(&client->shown.refusal, refused)));
	const struct session *session = session_table_find(&client->table, client->shown.lease.session_id);
	if (session != NULL)
		add_session(status, client, session, now);
	return status;
}
