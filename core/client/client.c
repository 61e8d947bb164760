// SPDX-License-Identifier: Apache-2.0
#include "core/client/client.h"

#include <sodium.h>
#include <stdlib.h>

#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/client/context.h"
#include "core/client/endpoint.h"
#include "core/client/events.h"
#include "core/client/keep.h"
#include "core/client/names.h"
#include "core/client/status.h"
#include "core/daemon/identity.h"
#include "core/daemon/rights.h"

/* --- the configuration -------------------------------------------------------------------------------------------- */

static int load_keys(void *context, struct error *error)
{
	struct client *client = context;
	client->identity = identity_load(&client->config->common, error);
	client->role.identity = client->identity;
	return client->identity != NULL ? 0 : -EINVAL;
}

static void free_keys(void *context)
{
	struct client *client = context;
	secret_free(client->identity);
}

static int load_remote_key(const struct client *client, struct error *error)
{
	const struct client_config *config = client->config;
	uint8_t public_key[KEY_SIZE], preshared_key[KEY_SIZE];
	struct identity_remote remote = {.public_key = config->gateway.public_key,
					 .preshared_key = config->gateway.preshared_key,
					 .preshared_key_file = config->gateway.preshared_key_file};
	int result = identity_load_remote(&remote, public_key, preshared_key, error);
	if (result == 0 && !handshake_remote_init(client->remote, client->identity, public_key, preshared_key))
		result = error_set(error, -EINVAL, "%s: PublicKey = %s: not a usable Curve25519 key", config->file,
				   config->gateway.public_key);
	sodium_memzero(preshared_key, sizeof preshared_key);
	return result;
}

static int load_remote(void *context, struct error *error)
{
	struct client *client = context;
	client->remote = secret_new(sizeof *client->remote);
	if (client->remote == NULL)
		return error_set(error, -ENOMEM, "gateway's key: out of memory");
	client->role.remote = client->remote;
	int result = load_remote_key(client, error);
	if (result != 0)
		secret_free(client->remote);
	return result;
}

static void free_remote(void *context)
{
	struct client *client = context;
	secret_free(client->remote);
}

static void free_networks(void *context)
{
	struct client *client = context;
	ip_set_deinit(&client->networks);
	ip_set_deinit(&client->allowed);
}

static int load_networks(void *context, struct error *error)
{
	struct client *client = context;
	const struct client_config *config = client->config;
	client->role.allowed = &client->allowed;
	client->role.networks = &client->networks;
	int result = ip_set_init(&client->allowed, config->gateway.allowed_ips.items,
				 config->gateway.allowed_ips.count);
	if (result == 0)
		result = ip_set_init(&client->networks, config->networks.items, config->networks.count);
	if (result == 0)
		return 0;
	free_networks(client);
	return error_set(error, result, "networks: out of memory");
}

static int open_role(void *context, struct error *error)
{
	struct client *client = context;
	const struct client_config *config = client->config;
	(void)error;
	client->role.mtu = config->mtu != 0 ? (uint16_t)config->mtu : CLIENT_MTU_DEFAULT;
	client->role.persistent_keepalive = config->gateway.persistent_keepalive;
	return client_role_init(&client->role);
}

static void close_role(void *context)
{
	struct client *client = context;
	client_role_deinit(&client->role);
}

static int open_endpoint(void *context, struct error *error)
{
	struct client *client = context;
	int result = client_endpoint_open(&client->endpoint, &client->config->gateway.endpoint, error);
	if (result != 0)
		client_endpoint_close(&client->endpoint);
	return result;
}

static void close_endpoint(void *context)
{
	struct client *client = context;
	client_endpoint_close(&client->endpoint);
}

/* What the configuration names, without a change to the machine. */
static const struct step parts[] = {
	{"keys", load_keys, free_keys},
	{"gateway's key", load_remote, free_remote},
	{"networks", load_networks, free_networks},
	{"mailboxes", open_role, close_role},
	{"endpoint", open_endpoint, close_endpoint},
};

static void client_free(struct client *client)
{
	steps_close(&client->parts);
	secret_free(client);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static void refresh(const struct daemon *daemon, struct daemon_figures *figures)
{
	const struct client *client = daemon->params.context;
	figures->sessions_active = atomic_load_explicit(&client->worker->session_count, memory_order_relaxed);
}

static const struct control_command commands[] = {
	{"client", "the connection: gateway, session, addresses, traffic", client_status},
};

/* One worker, and no handshake threads. */
static const struct steering steering = {.workers = 1, .slot_mask = SPARSE_SESSIONS_LEAST - 1};

static int open_daemon(void *context, struct error *error)
{
	struct client *client = context;
	const struct client_config *config = client->config;
	client->sparse_result = sparse_sessions_load(&client->sparse, &steering);
	const struct daemon_params params = {
		.role_name = "client",
		.common = &config->common,
		.mtu = client->role.mtu,
		.listen_port = config->listen_port,
		.mark = CLIENT_MARK,
		.sockets = client->sparse_result == 0 ? 2 : 1,
		.tun_readers = 1,
		.tun_sparse = true,
		.commands = commands,
		.command_count = ARRAY_SIZE(commands),
		.context = client,
		.refresh = refresh,
		.every_second = client_events_every_second,
	};
	int result = daemon_open(&client->daemon, &params, error);
	if (result != 0)
		sparse_sessions_unload(&client->sparse);
	return result;
}

static void close_daemon(void *context)
{
	struct client *client = context;
	daemon_close(&client->daemon);
	sparse_sessions_unload(&client->sparse);
}

/* A second socket that nothing steers to would get datagrams by the kernel's hash. */
static int steer_sockets(struct client *client, struct error *error)
{
	if (client->sparse_result != 0) {
		log_info("UDP: packets of flows that send little wait behind those of others (%s%s)",
			 strerror(-client->sparse_result),
			 client->sparse_result == -EPERM ? "; else this takes CAP_BPF at the start" : "");
		return 0;
	}
	int result = sparse_sessions_attach(&client->sparse, client->daemon.descriptors.sockets[0]->fd);
	sparse_sessions_close_program(&client->sparse);
	return result == 0 ? 0
			   : error_set(error, result, "UDP steering: attach the BPF program: %s", strerror(-result));
}

static int choose_suites(void *context, struct error *error)
{
	struct client *client = context;
	const struct client_config *config = client->config;
	identity_suites(config->common.cipher, client->daemon.aead, client->role.suites);
	if (client->role.suites[0] != 0)
		return 0;
	return error_set(error, -ENOTSUP, "%s: Cipher: this machine cannot run it; leave it at auto", config->file);
}

static void close_worker(void *context)
{
	struct client *client = context;
	worker_free(client->worker);
	aead_engine_free(client->engine);
	session_table_deinit(&client->table);
}

static int open_worker(void *context, struct error *error)
{
	struct client *client = context;
	struct daemon *daemon = &client->daemon;
	const struct config_common *common = &client->config->common;
	int result = session_table_init(&client->table, 1, 1);
	if (result != 0)
		return error_set(error, result, "session table: %s", strerror(-result));
	client->engine = aead_engine_new(common->crypto_backend, error);
	struct worker_params params = {
		.udp = daemon->descriptors.sockets[0],
		.tun = &daemon->descriptors.device.queues[0],
		.aead = client->engine,
		.clock = daemon->clock,
		.role = &client_worker_role,
		.role_state = &client->role,
		.table = &client->table,
		.sparse = client->sparse_result == 0 ? &client->sparse : NULL,
		.sparse_udp = client->sparse_result == 0 ? daemon->descriptors.sockets[1] : NULL,
		.reads_tun = true,
		.nap = WORKER_NAP_NS,
		.stage_sampling = common->stage_sampling,
		.ticks_per_second = (uint64_t)daemon->tsc.hz,
	};
	client->worker = client->engine != NULL ? worker_new(&params, error) : NULL;
	result = client->worker != NULL ? steer_sockets(client, error) : -EIO;
	if (result != 0)
		close_worker(client);
	return result;
}

static int open_network(void *context, struct error *error)
{
	struct client *client = context;
	return client_network_open(&client->network, client->daemon.descriptors.device.ifindex, client->config,
				   &client->allowed, error);
}

static void close_network(void *context)
{
	struct client *client = context;
	client_network_close(&client->network);
}

/* The journal is written before the claim: a client that is killed in between must find its own rules in it. */
static int claim_table(void *context, struct error *error)
{
	struct client *client = context;
	struct client_network *network = &client->network;
	int result = -EEXIST;
	for (unsigned tries = 0; result == -EEXIST && tries < CLIENT_RANKS; tries++) {
		result = client_table_choose(&network->table, network->netlink, client->config->route_table, error);
		if (result != 0)
			break;
		client->journal.applied.route_table = network->table.number;
		client->journal.applied.route_rank = network->table.rank;
		result = journal_write(&client->journal, error);
		if (result == 0)
			result = client_table_claim(&network->table, network->netlink, error);
		if (result == -EEXIST)
			client->journal.applied.route_table = 0; /* another client was faster */
	}
	return result;
}

static void close_names(void *context)
{
	struct client *client = context;
	dns_watch_close(&client->names.watch);
}

static int open_names(void *context, struct error *error)
{
	struct client *client = context;
	int result = client_names_open(client, error);
	if (result != 0)
		close_names(client);
	return result;
}

static void close_keep(void *context)
{
	struct client *client = context;
	client_keep_close(client);
}

static int open_keep(void *context, struct error *error)
{
	struct client *client = context;
	int result = client_keep_open(client, error);
	if (result != 0)
		close_keep(client);
	return result;
}

static int prepare_filters(void *context, struct error *error)
{
	struct client *client = context;
	return daemon_prepare_filters(&client->daemon, error);
}

static int start_log(void *context, struct error *error)
{
	struct client *client = context;
	return daemon_start_log(&client->daemon, error);
}

static void run_worker(void *worker)
{
	worker_run(worker);
}

static void stop_daemon(void *context)
{
	struct client *client = context;
	daemon_stop(&client->daemon);
}

static int start_worker(void *context, struct error *error)
{
	struct client *client = context;
	struct worker *worker = client->worker;
	struct thread_params params = {.name = "worker 0",
				       .cpu = CPU_FLOATS,
				       .priority = client->config->common.cpu_priority,
				       .run = run_worker,
				       .object = worker,
				       .loop = &worker->loop};
	int result = threads_start(&client->daemon.threads, &params, error);
	if (result == 0)
		daemon_tell_priority(&client->daemon);
	return result;
}

static int start_metrics(void *context, struct error *error)
{
	struct client *client = context;
	return daemon_start_metrics(&client->daemon, error);
}

static int begin(void *context, struct error *error)
{
	struct client *client = context;
	log_info("client on interface %s", client->daemon.descriptors.device.name);
	return client_endpoint_begin(client, error);
}

static const struct step steps[] = {
	{"daemon", open_daemon, close_daemon},
	{"ciphers", choose_suites, NULL},
	{"worker", open_worker, close_worker},
	{"network", open_network, close_network},
	{"routing table", claim_table, NULL},
	{"name servers", open_names, close_names},
	{"watches", open_keep, close_keep},
	{"system call filters", prepare_filters, NULL},
	{"log", start_log, NULL},
	{"worker thread", start_worker, stop_daemon},
	{"metrics", start_metrics, NULL}, /* ended by daemon_stop() */
	{"connection", begin, NULL},
};

static int open_and_serve(struct client *client, struct error *error)
{
	client->steps = STEPS(steps, client);
	int result = steps_open(&client->steps, error);
	if (result != 0)
		return result;
	const struct daemon_watch watches[] = {
		{client->role.snapshots.fd, client_events_on_state},
		{resolver_fd(client->endpoint.resolver), client_endpoint_on_resolved},
		{client->endpoint.retry_fd, client_endpoint_on_retry},
		{client->network.watch_fd, client_keep_on_network},
		{client->network.settle_fd, client_events_on_settled},
		{client->nftables_fd, client_keep_on_nftables},
		{client->names.watch.fd, client_names_on_changed},
	};
	result = daemon_loop(&client->daemon, watches, ARRAY_SIZE(watches), client, error);
	steps_close(&client->steps);
	if (result == 0 && client->failure.text[0] != '\0')
		result = error_set(error, -EIO, "%s", client->failure.text);
	return result;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

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
	client->ready_fd = -1;
	client->role.snapshots.fd = client->role.targets.fd = -1;
	client->names.watch.fd = -1;
	client->endpoint.retry_fd = client->network.watch_fd = client->network.settle_fd = -1;
	client->journal.fd = client->nftables_fd = -1;
	client->parts = STEPS(parts, client);
	if (steps_open(&client->parts, error) == 0)
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

/* Undoes before what a run that was killed left behind, and after what this run leaves. */
static int run(struct client *client, struct error *error)
{
	int result = journal_open(&client->journal, client->config, error);
	if (result != 0)
		return result;
	/* A kill switch that is wanted again stays in force until it is set anew: nothing leaks in between. */
	journal_undo(&client->journal, client->config->kill_switch);
	rcu_join();
	result = open_and_serve(client, error);
	rcu_leave();
	bool keep = result != 0 && client->connected && client->journal.applied.kill_switch;
	if (keep)
		log_warning("the kill switch stays in force; 'shardtun down' removes it");
	journal_undo(&client->journal, keep);
	journal_close(&client->journal);
	return result;
}

int client_run(const struct client_config *config, const struct client_start *start, struct error *error)
{
	struct client *client = client_new(config, error);
	if (client == NULL)
		return -EINVAL;
	if (start != NULL) {
		client->ready_fd = start->ready_fd;
		client->start_limit = start->limit;
	}
	int result = run(client, error);
	client_free(client);
	return result;
}

int client_clean(const struct client_config *config, struct error *error)
{
	struct journal journal;
	int result = journal_open(&journal, config, error);
	if (result != 0)
		return result;
	bool found = !journal_is_clean(&journal);
	(void)control_remove_stale(config->common.control_socket, NULL);
	journal_undo(&journal, false);
	bool left = !journal_is_clean(&journal);
	journal_close(&journal);
	if (left)
		return error_set(error, -EIO, "%s: not everything could be undone; see the warnings above",
				 config->file);
	return found ? 0 : -ENOENT;
}
