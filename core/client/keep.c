// SPDX-License-Identifier: Apache-2.0
#include "core/client/keep.h"

#include <stdio.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/client/conflicts.h"
#include "core/client/firewall.h"
#include "core/client/kill_switch.h"
#include "core/client/wanted.h"
#include "tun/nftables_watch.h"

/* For parts without reliable notices: no notice comes, for instance, when the process that owns our tables is killed.
 */
#define SHORT_ROUND NS_PER_S

/* What the notices of rtnetlink are about. */
#define NETLINK_KINDS (RECONCILE_ALL & ~RECONCILE_BIT(RECONCILE_nftables) & ~RECONCILE_BIT(RECONCILE_dns))

/* --- parts -------------------------------------------------------------------------------------------------------- */

static void keep_kill_switch(void *context, bool restore, struct reconcile_found *found)
{
	struct client *client = context;
	const char *interface = client->config->common.interface;
	struct error error = {0};
	if (!client->kill_switch_set)
		return;
	found->wanted = 1;
	client->kill_switch_in_force = kill_switch_is_set(client->journal.nftables, interface);
	if (client->kill_switch_in_force)
		return;
	reconcile_missing(found, "kill switch");
	if (restore)
		reconcile_left(found, kill_switch_set(client->journal.nftables, interface, &error), &error);
}

static struct client_firewall wanted_firewall(const struct client *client)
{
	const struct client_network *network = &client->network;
	struct sockaddr_in6 bound;
	udp_address(udp_member(client->daemon.descriptors.sockets[0], 0), &bound);
	struct client_firewall firewall = {.interface = client->config->common.interface,
					   .ifindex = network->ifindex,
					   .port = ntohs(bound.sin6_port)};
	if (network->leased) {
		firewall.inner[0].address = network->wanted.address4;
		firewall.inner[1].address = network->wanted.address6;
	}
	firewall.inner[0].everything = ip_set_is_everything(&client->allowed, 4);
	firewall.inner[1].everything = ip_set_is_everything(&client->allowed, 6);
	return firewall;
}

static int lay_firewall(struct client *client, struct error *error)
{
	const struct client_firewall firewall = wanted_firewall(client);
	int result = client_firewall_set(client->journal.nftables, &firewall, error);
	client->firewall_absent = nftables_is_absent(result);
	client->firewall_stale = result != 0;
	return result;
}

/* Setting rules that are stale does not count as restoring. */
static void keep_firewall(void *context, bool restore, struct reconcile_found *found)
{
	struct client *client = context;
	struct error error = {0};
	if (client->firewall_absent)
		return;
	found->wanted = 1;
	if (client->firewall_stale && lay_firewall(client, &error) == 0)
		return;
	if (client_firewall_is_set(client->journal.nftables, client->config->common.interface))
		return;
	reconcile_missing(found, "rules of the tunnel's interface");
	if (restore)
		reconcile_left(found, lay_firewall(client, &error), &error);
}

static void keep_marks(void *context, bool restore, struct reconcile_found *found)
{
	const struct client *client = context;
	struct error error = {0};
	if (client->network.table.number == 0)
		return;
	found->wanted = 1;
	if (client_firewall_sees_marks())
		return;
	reconcile_missing(found, "net.ipv4.conf.all.src_valid_mark = 1");
	if (restore) {
		int result = client_firewall_see_marks(&error);
		reconcile_left(found, result < 0 ? result : 0, &error);
	}
}

/* --- life --------------------------------------------------------------------------------------------------------- */

/* The kill switch comes first: nothing must leak while the rest is put back. */
static int add_parts(struct client *client)
{
	const struct reconcile_part first[] = {
		{.kind = RECONCILE_nftables, .run = keep_kill_switch, .context = client, .round = SHORT_ROUND},
		{.kind = RECONCILE_nftables, .run = keep_firewall, .context = client, .round = SHORT_ROUND},
		{.kind = RECONCILE_sysctl, .run = keep_marks, .context = client, .round = SHORT_ROUND / 2},
	};
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(first) && result == 0; i++)
		result = reconciler_add(client->daemon.reconciler, &first[i]);
	return result == 0 ? client_wanted_add(&client->network, client->daemon.reconciler) : result;
}

static void open_firewall(struct client *client)
{
	struct error error = {0};
	client->journal.applied.firewall = true;
	client->firewall_stale = true;
	if (journal_write(&client->journal, &error) != 0 || lay_firewall(client, &error) != 0)
		log_warning("%s; strict reverse path filters may drop what the gateway sends, and hosts on the same "
			    "link can reach the tunnel's inner addresses",
			    error.text);
}

int client_keep_open(struct client *client, struct error *error)
{
	struct error absent = {0};
	int result = add_parts(client);
	if (result != 0)
		return error_set(error, result, "reconciler: %s", strerror(-result));
	open_firewall(client);
	client->nftables_fd = nftables_watch_open(&absent);
	if (client->nftables_fd < 0 && !client->firewall_absent)
		log_warning("%s; rules that others remove are put back a second later", absent.text);
	/* The parts that need no lease. */
	if (reconciler_apply(client->daemon.reconciler, NETLINK_KINDS, &absent) != 0)
		log_warning("%s", absent.text);
	return 0;
}

void client_keep_close(struct client *client)
{
	if (client->nftables_fd >= 0)
		close(client->nftables_fd);
	client->nftables_fd = -1;
}

/* The firewall rules come before the addresses that they guard. */
void client_keep_lease(struct client *client, const struct wire_welcome *lease)
{
	const struct wire_welcome *wanted = &client->network.wanted;
	struct ip_prefix before[] = {wanted->address4, wanted->address6};
	struct error error = {0};
	client_network_apply(&client->network, lease);
	client->firewall_stale |= memcmp(&before[0], &wanted->address4, sizeof before[0]) != 0 ||
				  memcmp(&before[1], &wanted->address6, sizeof before[1]) != 0;
	if (reconciler_apply(client->daemon.reconciler, RECONCILE_BIT(RECONCILE_nftables), &error) != 0)
		log_warning("%s", error.text);
	if (reconciler_apply(client->daemon.reconciler, NETLINK_KINDS, &error) != 0)
		log_warning("%s", error.text);
	client_conflicts_raise_rules(&client->network);
	const struct ip_prefix *leased[] = {&wanted->address4, &wanted->address6};
	daemon_show(&client->daemon, wanted->mtu, leased, ARRAY_SIZE(leased));
}

/* --- notices ------------------------------------------------------------------------------------------------------ */

void client_keep_on_nftables(void *context)
{
	const struct client *client = context;
	(void)nftables_watch_read(client->nftables_fd);
	reconciler_notice(client->daemon.reconciler, RECONCILE_BIT(RECONCILE_nftables));
}

/* Our rules and routes use the index, which a rename keeps. But logs and status show the name, and the listing of the
 * firewall rules, which is compared, contains it. */
static void follow_name(struct client *client)
{
	struct netlink_link *link = &client->network.link;
	struct error error = {0};
	if (netlink_link_read(client->network.netlink, client->network.ifindex, link, &error) != 0 ||
	    strcmp(link->name, client->daemon.descriptors.device.name) == 0)
		return;
	log_info("interface %s is called %s now", client->daemon.descriptors.device.name, link->name);
	daemon_rename(&client->daemon, link->name);
	client->firewall_stale = !client->firewall_absent;
	(void)reconciler_apply(client->daemon.reconciler, RECONCILE_BIT(RECONCILE_nftables), NULL);
}

void client_keep_on_network(void *context)
{
	struct client *client = context;
	unsigned changed = client_network_changed(&client->network), kinds = 0;
	if ((changed & NETLINK_CHANGED_OWN) != 0) {
		follow_name(client);
		kinds = NETLINK_KINDS;
	}
	if ((changed & NETLINK_CHANGED_ATTACHED) != 0)
		kinds |= RECONCILE_BIT(RECONCILE_route);
	if (kinds != 0)
		reconciler_notice(client->daemon.reconciler, kinds);
}

/* --- status ------------------------------------------------------------------------------------------------------- */

json_t *client_keep_status(const struct client *client)
{
	char text[256];
	json_t *kinds = json_object();
	for (int kind = 0; kind < RECONCILE_KIND_COUNT; kind++) {
		struct reconcile_state state = reconciler_state(client->daemon.reconciler, (enum reconcile_kind)kind);
		if (!state.wanted)
			continue;
		const char *trouble = reconciler_trouble(client->daemon.reconciler, (enum reconcile_kind)kind, text);
		json_t *one = json_pack("{s:b, s:I, s:s*}", "in_force", (int)state.in_force, "restored",
					(json_int_t)state.restored, "trouble", trouble[0] != '\0' ? trouble : NULL);
		json_object_set_new(kinds, reconcile_label((enum reconcile_kind)kind), one);
	}
	return kinds;
}

const char *client_keep_state(const struct client *client, char text[128])
{
	size_t used = (size_t)snprintf(text, 128, "connected");
	const char *lead = ", not in force: ";
	for (int kind = 0; kind < RECONCILE_KIND_COUNT && used < 128; kind++) {
		struct reconcile_state state = reconciler_state(client->daemon.reconciler, (enum reconcile_kind)kind);
		if (!state.wanted || state.in_force)
			continue;
		used += (size_t)snprintf(text + used, 128 - used, "%s%s", lead,
					 reconcile_label((enum reconcile_kind)kind));
		lead = ", ";
	}
	return text;
}
