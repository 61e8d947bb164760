// SPDX-License-Identifier: Apache-2.0
#include "core/client/client.h"

#include <sodium.h>
#include <stdlib.h>

#include "core/client/context.h"
#include "core/client/keep.h"
#include "core/daemon/identity.h"
#include "core/base/log.h"
#include "core/base/rcu.h"

/* --- life
 * --------------------------------------------------------------------------------------------------------------- */

static int load(struct client *client, struct error *error)
{
	const struct client_config *config = client->config;
	client->identity = identity_load(&config->common, error);
	if (client->identity == NULL)
		return -EINVAL;
	client->remote = secret_new(sizeof *client->remote);
	if (client->remote == NULL)
		return error_set(error, -ENOMEM, "gateway's key: out of memory");

	uint8_t public_key[KEY_SIZE], preshared_key[KEY_SIZE];
	struct identity_remote remote = {.public_key = config->gateway.public_key,
					 .preshared_key = config->gateway.preshared_key,
					 .preshared_key_file = config->gateway.preshared_key_file};
	int result = identity_load_remote(&remote, public_key, preshared_key, error);
	if (result == 0 && !handshake_remote_init(client->remote, client->identity, public_key, preshared_key))
		result = error_set(error, -EINVAL, "%s: PublicKey = %s: not a usable Curve25519 key", config->file,
				   config->gateway.public_key);
	sodium_memzero(preshared_key, sizeof preshared_key);
	if (result != 0)
		return result;

	client->role.identity = client->identity;
	client->role.remote = client->remote;
	result = ip_set_init(&client->allowed, config->gateway.allowed_ips.items, config->gateway.allowed_ips.count);
	if (result == 0)
		result = ip_set_init(&client->networks, config->networks.items, config->networks.count);
	if (result != 0)
		return error_set(error, result, "networks: out of memory");
	client->role.allowed = &client->allowed;
	client->role.networks = &client->networks;
	client->role.mtu = config->mtu != 0 ? (uint16_t)config->mtu : CLIENT_MTU_DEFAULT;
	client->role.persistent_keepalive = config->gateway.persistent_keepalive;
	result = client_role_init(&client->role);
	if (result != 0)
		return error_set(error, result, "mailboxes: %s", strerror(-result));
	return client_endpoint_open(&client->endpoint, &config->gateway.endpoint, error);
}

static void client_free(struct client *client)
{
	client_endpoint_close(&client->endpoint);
	client_role_deinit(&client->role);
	ip_set_deinit(&client->networks);
	ip_set_deinit(&client->allowed);
	secret_free(client->remote);
	secret_free(client->identity);
	secret_free(client);
}

static void close_worker(struct client *client)
{
	worker_free(client->worker);
	aead_engine_free(client->engine);
	session_table_deinit(&client->table);
}

static int open_worker(struct client *client, struct error *error)
{
	struct tunnel *tunnel = &client->tunnel;
	const struct config_common *common = &client->config->common;
	int result = session_table_init(&client->table, 1, 1);
	if (result != 0)
		return error_set(error, result, "session table: %s", strerror(-result));
	client->engine = aead_engine_new(common->crypto_backend, error);
	struct worker_params params = {
		.udp = tunnel->sockets[0],
		.tun = &tunnel->device.queues[0],
		.aead = client->engine,
		.clock = tunnel->clock,
		.role = &client_worker_role,
		.role_state = &client->role,
		.table = &client->table,
		.stage_sampling = common->stage_sampling,
		.ticks_per_second = (uint64_t)tunnel->tsc.hz,
	};
	client->worker = client->engine != NULL ? worker_new(&params, error) : NULL;
	if (client->worker != NULL)
		return 0;
	close_worker(client);
	return -EIO;
}

static void run_worker(void *worker)
{
	worker_run(worker);
}

static void stop_worker(void *worker)
{
	worker_stop(worker);
}

static int start_worker(struct client *client, struct error *error)
{
	struct worker *worker = client->worker;
	struct thread_params params = {.name = "worker 0",
				       .cpu = CPU_FLOATS,
				       .run = run_worker,
				       .stop = stop_worker,
				       .object = worker,
				       .stats = &worker->stats,
				       .stages = &worker->stages,
				       .failure = &worker->tun_error,
				       .asleep = &worker->waker.asleep};
	return threads_start(&client->tunnel.threads, &params, error);
}

/* What is in the record is ours to take back, so it is written before the claim. */
static int take_table(struct client *client, struct error *error)
{
	struct client_network *network = &client->network;
	int result = -EEXIST;
	for (unsigned tries = 0; result == -EEXIST && tries < CLIENT_RANKS; tries++) {
		result = client_table_choose(&network->table, network->netlink, client->config->route_table, error);
		if (result != 0)
			break;
		client->record.deeds.route_table = network->table.number;
		client->record.deeds.route_rank = network->table.rank;
		result = client_record_write(&client->record, error);
		if (result == 0)
			result = client_table_claim(&network->table, network->netlink, error);
		if (result == -EEXIST)
			client->record.deeds.route_table = 0; /* another client's */
	}
	return result;
}

static int open_network(struct client *client, struct error *error)
{
	int result = client_network_open(&client->network, client->tunnel.device.ifindex, client->config,
					 &client->allowed, error);
	if (result == 0)
		result = take_table(client, error);
	if (result == 0)
		result = client_names_open(client, error);
	return result == 0 ? client_keep_open(client, error) : result;
}

static int serve(struct client *client, struct error *error)
{
	int result = open_network(client, error);
	if (result != 0)
		return result;
	result = tunnel_prepare_filters(&client->tunnel, error);
	if (result == 0)
		result = tunnel_start_log(&client->tunnel, error);
	if (result == 0)
		result = start_worker(client, error);
	if (result == 0)
		result = metrics_start(client->tunnel.metrics, error);
	if (result == 0) {
		log_info("client on interface %s", client->tunnel.device.name);
		result = client_begin(client, error);
	}
	if (result == 0) {
		const struct tunnel_watch watches[] = {
			{client->role.snapshots.fd, client_on_state},
			{resolver_fd(client->endpoint.resolver), client_on_resolved},
			{client->endpoint.retry_fd, client_on_retry},
			{client->network.watch_fd, client_on_network},
			{client->network.settle_fd, client_on_settled},
			{client->nftables_fd, client_on_nftables},
			{client->names.watch.fd, client_on_names},
		};
		result = tunnel_loop(&client->tunnel, watches, ARRAY_SIZE(watches), client, error);
	}
	tunnel_stop(&client->tunnel);
	if (result == 0 && client->failure.text[0] != '\0')
		result = error_set(error, -EIO, "%s", client->failure.text);
	return result;
}

static void refresh(const struct tunnel *tunnel, struct tunnel_figures *figures)
{
	const struct client *client = tunnel->params.context;
	figures->sessions_active = atomic_load_explicit(&client->worker->session_count, memory_order_relaxed);
}

/* In locked memory: it holds keys. */
static struct client *client_new(const struct client_config *config, struct error *error)
{
	struct client *client = secret_new(sizeof *client);
	if (client == NULL) {
		error_set(error, -ENOMEM, "client: out of memory");
		return NULL;
	}
	memset(client, 0, sizeof *client);
	client->config = config;
	client->role.snapshots.fd = client->role.targets.fd = -1;
	client->names.watch.fd = -1;
	client->endpoint.retry_fd = client->network.watch_fd = client->network.settle_fd = -1;
	client->record.fd = client->nftables_fd = -1;
	if (load(client, error) == 0)
		return client;
	client_free(client);
	return NULL;
}

int client_check(const struct client_config *config, struct error *error)
{
	struct client *client = client_new(config, error);
	if (client == NULL)
		return -EINVAL;
	client_free(client);
	return 0;
}

static const struct control_command commands[] = {
	{"client", "the connection: gateway, session, addresses, traffic", client_status},
};

static int open_and_serve(struct client *client, struct error *error)
{
	const struct client_config *config = client->config;
	struct tunnel_params params = {
		.role_name = "client",
		.common = &config->common,
		.mtu = client->role.mtu,
		.listen_port = config->listen_port,
		.mark = CLIENT_MARK,
		.sockets = 1,
		.tun_readers = 1,
		.commands = commands,
		.command_count = ARRAY_SIZE(commands),
		.context = client,
		.refresh = refresh,
		.every_second = client_every_second,
	};
	int result = tunnel_open(&client->tunnel, &params, error);
	if (result != 0)
		return result;
	identity_suites(config->common.cipher, client->tunnel.aead, client->role.suites);
	if (client->role.suites[0] == 0)
		result = error_set(error, -ENOTSUP, "%s: Cipher: this machine cannot run it; leave it at auto",
				   config->file);
	else
		result = open_worker(client, error);
	if (result == 0) {
		result = serve(client, error);
		close_worker(client);
	}
	tunnel_close(&client->tunnel);
	client_keep_close(client);
	client_dns_watch_close(&client->names.watch);
	client_network_close(&client->network);
	return result;
}

/* With what a run that was killed left taken back before, and what this one leaves after. */
static int run(struct client *client, struct error *error)
{
	int result = client_record_open(&client->record, client->config, error);
	if (result != 0)
		return result;
	/* A kill switch that is wanted again stays in force until the new one takes its place. */
	client_record_undo(&client->record, client->config->kill_switch);
	rcu_join();
	result = open_and_serve(client, error);
	rcu_leave();
	bool keep = result != 0 && client->connected && client->record.deeds.kill_switch;
	if (keep)
		log_warning("the kill switch stays in force; 'shardtun down' removes it");
	client_record_undo(&client->record, keep);
	client_record_close(&client->record);
	return result;
}

int client_run(const struct client_config *config, const struct client_start *start, struct error *error)
{
	struct client *client = client_new(config, error);
	if (client == NULL)
		return -EINVAL;
	client->start = start;
	int result = run(client, error);
	client_free(client);
	return result;
}

int client_clean(const struct client_config *config, struct error *error)
{
	struct client_record record;
	int result = client_record_open(&record, config, error);
	if (result != 0)
		return result;
	bool found = !client_record_is_clean(&record);
	(void)control_remove_stale(config->common.control_socket, NULL);
	client_record_undo(&record, false);
	bool left = !client_record_is_clean(&record);
	client_record_close(&record);
	if (left)
		return error_set(error, -EIO, "%s: not all could be taken back; the warnings say what", config->file);
	return found ? 0 : -ENOENT;
}
