// SPDX-License-Identifier: Apache-2.0
#include "core/client/endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/client/conflicts.h"
#include "core/client/kill_switch.h"
#include "core/client/names.h"

enum {
	RETRY_STARTING_S = 1, /* until 'up' returns */
	RETRY_S = 5,
	LIST_TEXT_MAX = RESOLVER_ADDRESSES_MAX * ENDPOINT_TEXT_MAX,
};

/* --- retries ------------------------------------------------------------------------------------------------------ */

int client_endpoint_open(struct client_endpoint *endpoint, const struct config_endpoint *config, struct error *error)
{
	endpoint->resolver = resolver_new(config->host, config->port, error);
	if (endpoint->resolver == NULL)
		return -ENOMEM;
	endpoint->retry_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return endpoint->retry_fd < 0 ? error_set(error, -errno, "timer: %s", strerror(errno)) : 0;
}

void client_endpoint_close(struct client_endpoint *endpoint)
{
	free(endpoint->resolved);
	resolver_free(endpoint->resolver);
	if (endpoint->retry_fd >= 0)
		close(endpoint->retry_fd);
	*endpoint = (struct client_endpoint){.retry_fd = -1};
}

static void retry_later(struct client *client)
{
	struct itimerspec when = {.it_value.tv_sec = client_is_starting(client) ? RETRY_STARTING_S : RETRY_S};
	(void)timerfd_settime(client->endpoint.retry_fd, 0, &when, NULL);
}

/* Logs a reason once, until another one comes. */
static void retry_because(struct client *client, const struct error *why)
{
	struct client_endpoint *endpoint = &client->endpoint;
	if (strcmp(endpoint->obstacle.text, why->text) != 0)
		log_warning("%s; trying again", why->text);
	endpoint->obstacle = *why;
	retry_later(client);
}

static void resolve(struct client *client)
{
	struct outside_servers servers;
	struct ip_address numeric; /* needs no name server */
	bool outside = !ip_address_parse(client->config->gateway.endpoint.host, &numeric) &&
		       client_names_outside(client, &servers);
	if (resolver_start(client->endpoint.resolver, outside ? &servers : NULL) != 0)
		retry_later(client);
}

void client_endpoint_on_retry(void *context)
{
	struct client *client = context;
	uint64_t count;
	ssize_t got = read(client->endpoint.retry_fd, &count, sizeof count);
	(void)got;
	resolve(client);
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

static bool same_path(const struct netlink_path *a, const struct netlink_path *b)
{
	return a->ifindex == b->ifindex && a->mtu == b->mtu && ip_address_equal(&a->source, &b->source) &&
	       ip_address_equal(&a->gateway, &b->gateway);
}

static bool same_address(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
	return a->sin6_port == b->sin6_port && memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr) == 0;
}

/* A default route may outlive the addresses of its link. Then the kernel picks the tunnel's inner address as the
 * source, to which no answer can come. */
static int find_path(struct client *client, const struct sockaddr_in6 *to, struct netlink_path *path,
		     struct error *error)
{
	const struct wire_welcome *wanted = &client->network.wanted;
	char text[ENDPOINT_TEXT_MAX];
	int result = client_network_path(&client->network, to, path, error);
	if (result == 0 && (ip_address_equal(&path->source, &wanted->address4.address) ||
			    ip_address_equal(&path->source, &wanted->address6.address)))
		result = error_set(error, -EADDRNOTAVAIL, "route to %s: no address outside the tunnel to send from",
				   sockaddr_format(to, text));
	return result;
}

static size_t index_of(const struct resolver_result *resolved, const struct sockaddr_in6 *address)
{
	size_t i = 0;
	while (i < resolved->count && !same_address(&resolved->addresses[i], address))
		i++;
	return i < resolved->count ? i : 0;
}

static bool update_path(struct client *client, size_t i, struct error *error)
{
	struct netlink_path path, *known = &client->endpoint.paths[i];
	if (find_path(client, &client->endpoint.resolved->addresses[i], &path, error) != 0)
		path = (struct netlink_path){0};
	bool changed = !same_path(&path, known);
	*known = path;
	return changed;
}

/* Looks up the route to each address. Returns whether one changed; `error` says why there is none to the address in
 * use. That one comes last: the network's watch follows the last lookup. */
static bool update_paths(struct client *client, struct error *error)
{
	const struct client_endpoint *endpoint = &client->endpoint;
	size_t used = index_of(endpoint->resolved, &endpoint->used);
	bool changed = false;
	for (size_t i = 0; i < endpoint->resolved->count; i++) {
		if (i != used)
			changed |= update_path(client, i, NULL);
	}
	changed |= update_path(client, used, error);
	struct error circle = {0};
	if (client_conflicts_check_path(&client->network, &endpoint->resolved->addresses[used], &endpoint->paths[used],
					&circle) != 0)
		client_give_up(client, "%s", circle.text);
	return changed;
}

/* The index of the address in use if it has a route, else of the first that has one; SIZE_MAX: none has. */
static size_t used_index(const struct client_endpoint *endpoint)
{
	size_t first = SIZE_MAX;
	for (size_t i = 0; i < endpoint->resolved->count; i++) {
		if (endpoint->paths[i].ifindex == 0)
			continue;
		if (same_address(&endpoint->resolved->addresses[i], &endpoint->used))
			return i;
		first = first == SIZE_MAX ? i : first;
	}
	return first;
}

/* Gives the worker the addresses that have a route. */
static int post_targets(struct client *client, enum path_event event, struct error *error)
{
	struct client_endpoint *endpoint = &client->endpoint;
	const struct client_config *config = client->config;
	struct client_target *target = calloc(1, sizeof *target);
	if (target == NULL)
		return error_set(error, -ENOMEM, "endpoint: out of memory");
	for (size_t i = 0; i < endpoint->resolved->count && target->count < CLIENT_ADDRESSES_MAX; i++) {
		const struct sockaddr_in6 *address = &endpoint->resolved->addresses[i];
		const struct netlink_path *path = &endpoint->paths[i];
		if (path->ifindex == 0)
			continue;
		uint16_t mtu = config->mtu != 0 ? (uint16_t)config->mtu
						: client_network_mtu(path, address, CLIENT_MTU_DEFAULT);
		target->candidates[target->count++] = (struct client_candidate){*address, mtu};
	}
	target->event = event;
	endpoint->used = endpoint->resolved->addresses[used_index(endpoint)];
	free(mailbox_post(&client->role.targets, target));
	worker_wake(client->worker);
	return 0;
}

/* Of the addresses that have a route. */
static const char *list_addresses(const struct client_endpoint *endpoint, char text[LIST_TEXT_MAX])
{
	char *at = text;
	for (size_t i = 0; i < endpoint->resolved->count; i++) {
		char one[ENDPOINT_TEXT_MAX];
		if (endpoint->paths[i].ifindex != 0)
			at += sprintf(at, "%s%s", at == text ? "" : ", ",
				      sockaddr_format(&endpoint->resolved->addresses[i], one));
	}
	return text;
}

/* Behind the kill switch the name may not resolve: the journal keeps the addresses for the run after a crash. */
static int raise_kill_switch(struct client *client, struct error *error)
{
	struct applied *applied = &client->journal.applied;
	if (!client->config->kill_switch)
		return 0;
	applied->kill_switch = true;
	applied->endpoints = *client->endpoint.resolved;
	int result = journal_write(&client->journal, error);
	if (result == 0 && !client->kill_switch_set)
		result = kill_switch_set(client->journal.nftables, client->config->common.interface, error);
	client->kill_switch_set |= result == 0;
	client->kill_switch_in_force |= result == 0;
	return result;
}

/* `changed`: the addresses are not those of the last call. */
static void try_addresses(struct client *client, bool changed)
{
	struct client_endpoint *endpoint = &client->endpoint;
	char text[LIST_TEXT_MAX];
	struct error error = {0};
	if (raise_kill_switch(client, &error) != 0) {
		client_give_up(client, "%s", error.text);
		return;
	}
	(void)update_paths(client, &error);
	if (used_index(endpoint) == SIZE_MAX || post_targets(client, PATH_UNCHANGED, &error) != 0) {
		retry_because(client, &error);
		return;
	}
	changed |= endpoint->obstacle.text[0] != '\0';
	endpoint->obstacle = (struct error){0};
	if (changed)
		log_info("handshake with %s", list_addresses(endpoint, text));
}

/* --- names -------------------------------------------------------------------------------------------------------- */

/* Takes `result` over. Returns whether its addresses are not those of the answer before. */
static bool take_answer(struct client_endpoint *endpoint, struct resolver_result *result)
{
	const struct resolver_result *before = endpoint->resolved;
	bool changed = before == NULL || before->count != result->count;
	for (size_t i = 0; !changed && i < result->count; i++)
		changed = !same_address(&before->addresses[i], &result->addresses[i]);
	free(endpoint->resolved);
	endpoint->resolved = result;
	memset(endpoint->paths, 0, sizeof endpoint->paths);
	return changed;
}

void client_endpoint_on_resolved(void *context)
{
	struct client *client = context;
	const char *host = client->config->gateway.endpoint.host;
	struct resolver_result *result = resolver_take(client->endpoint.resolver);
	if (result != NULL && result->count != 0) {
		try_addresses(client, take_answer(&client->endpoint, result));
		return;
	}
	struct error why = {0};
	(void)error_set(&why, -EAGAIN, "Endpoint %s: %s", host, result != NULL ? result->failure : "out of memory");
	free(result);
	if (client->endpoint.resolved == NULL) {
		retry_because(client, &why);
		return;
	}
	log_info("%s; going on with the addresses known", why.text);
	try_addresses(client, false);
}

void client_endpoint_resolve(struct client *client)
{
	resolve(client);
}

int client_endpoint_begin(struct client *client, struct error *error)
{
	const struct config_endpoint *endpoint = &client->config->gateway.endpoint;
	const struct applied *applied = &client->journal.applied;
	struct ip_address numeric;
	client->slept = clock_slept(client->daemon.clock);
	if (applied->kill_switch && applied->endpoints.count != 0) {
		/* The kill switch of the last run is still in force, and keeps the name from being resolved. */
		struct resolver_result *known = malloc(sizeof *known);
		if (known == NULL)
			return error_set(error, -ENOMEM, "endpoint: out of memory");
		*known = applied->endpoints;
		try_addresses(client, take_answer(&client->endpoint, known));
		return 0;
	}
	if (!ip_address_parse(endpoint->host, &numeric))
		log_info("resolving %s", endpoint->host);
	resolve(client);
	return 0;
}

void client_endpoint_late(const struct client *client, unsigned limit, struct error *error)
{
	const struct config_endpoint *endpoint = &client->config->gateway.endpoint;
	const char *obstacle = client->endpoint.obstacle.text;
	if (obstacle[0] != '\0')
		(void)error_set(error, -ETIMEDOUT, "%s (waited %u s)", obstacle, limit);
	else if (client->endpoint.resolved == NULL)
		(void)error_set(error, -ETIMEDOUT, "Endpoint %s: not resolved within %u s", endpoint->host, limit);
	else
		(void)error_set(error, -ETIMEDOUT,
				"no answer from %s within %u s; is the gateway up, UDP port %u open, and our "
				"public key listed there?",
				endpoint->host, limit, endpoint->port);
}

/* --- changed networks --------------------------------------------------------------------------------------------- */

/* A new path is told to the gateway at once, not with the next packet: it may be the gateway that has data to send. */
void client_endpoint_follow(struct client *client, enum path_event event)
{
	struct client_endpoint *endpoint = &client->endpoint;
	struct error error = {0};
	if (endpoint->obstacle.text[0] != '\0') {
		resolve(client); /* what was missing may be there now */
		return;
	}
	if (endpoint->resolved == NULL)
		return;
	size_t before = used_index(endpoint);
	struct netlink_path path = before != SIZE_MAX ? endpoint->paths[before] : (struct netlink_path){0};
	bool changed = update_paths(client, &error);
	size_t now = used_index(endpoint);
	if (now == SIZE_MAX) {
		if (before != SIZE_MAX)
			log_warning("%s; waiting for a network", error.text);
		return;
	}
	if (!changed && event == CLIENT_ROAMED)
		return;
	const struct netlink_path *used = &endpoint->paths[now];
	char text[IP_TEXT_MAX];
	if (!same_path(&path, used) && event == CLIENT_ROAMED)
		log_info("the way to the gateway changed: now from %s, MTU %u", ip_address_format(&used->source, text),
			 used->mtu);
	if (post_targets(client, same_path(&path, used) && event == CLIENT_ROAMED ? PATH_UNCHANGED : event, &error) !=
	    0)
		log_warning("%s", error.text);
}
