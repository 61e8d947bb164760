// SPDX-License-Identifier: Apache-2.0
#include "core/app/client.h"

#include <sodium.h>
#include <stdlib.h>

#include "core/app/client_network.h"
#include "core/app/identity.h"
#include "core/app/resolver.h"
#include "core/app/tunnel.h"
#include "core/base/log.h"
#include "core/base/rcu.h"
#include "workers/client_role.h"
#include "workers/worker.h"

enum {
	CLIENT_RESOLVE_AFTER = 3, /* HELLOs in vain before the name is looked up again */
	CLIENT_MTU_DEFAULT = 1420,
};

struct client {
	const struct client_config *config;
	struct handshake_identity *identity;
	struct handshake_remote *remote; /* in locked memory */
	struct client_role role;
	struct client_network network;
	struct resolver *resolver;
	struct tunnel tunnel;
	struct session_table table; /* of one session */
	struct aead_engine *engine; /* the worker's */
	struct worker *worker;
	struct resolver_result *resolved; /* newest answer; NULL before */
	size_t tried;			  /* which of its addresses is in use */
	struct client_snapshot shown;	  /* last state that was logged */
};

/* --- endpoint
 * ---------------------------------------------------------------------------------------------------------- */

static void use_address(struct client *client)
{
	const struct sockaddr_in6 *address = &client->resolved->addresses[client->tried % client->resolved->count];
	struct client_target *target = malloc(sizeof *target);
	if (target == NULL)
		return;
	target->remote = *address;
	target->mtu = client->config->mtu != 0 ? (uint16_t)client->config->mtu
					       : client_network_mtu(&client->network, address, CLIENT_MTU_DEFAULT);
	char text[ENDPOINT_TEXT_MAX];
	log_info("handshake with %s", sockaddr_format(address, text));
	free(mailbox_post(&client->role.targets, target));
	worker_wake(client->worker);
}

static void resolved(void *context)
{
	struct client *client = context;
	struct resolver_result *result = resolver_take(client->resolver);
	if (result == NULL || result->count == 0) {
		log_warning("Endpoint %s: %s; trying again", client->config->gateway.endpoint.host,
			    result != NULL ? result->failure : "out of memory");
		free(result);
		client_network_retry_later(&client->network);
		return;
	}
	free(client->resolved);
	client->resolved = result;
	use_address(client);
}

static void look_up(struct client *client)
{
	if (resolver_start(client->resolver) != 0)
		client_network_retry_later(&client->network);
}

static void retry_resolution(void *context)
{
	struct client *client = context;
	client_network_retry_done(&client->network);
	look_up(client);
}

/* --- states
 * ------------------------------------------------------------------------------------------------------------ */

static void apply_lease(struct client *client, const struct wire_welcome *lease)
{
	client_network_apply(&client->network, lease);
	const struct wire_welcome *applied = &client->network.applied;
	const struct ip_prefix *leased[] = {&applied->address4, &applied->address6};
	tunnel_show(&client->tunnel, applied->mtu, leased, ARRAY_SIZE(leased));
}

static void log_connected(const struct wire_welcome *lease)
{
	char address4[IP_TEXT_MAX], address6[IP_TEXT_MAX];
	log_info("connected: session %08x, %s, addresses %s %s, MTU %u", lease->session_id,
		 aead_suite_name(lease->suite), ip_address_format(&lease->address4.address, address4),
		 ip_address_format(&lease->address6.address, address6), lease->mtu);
}

/* One line for each change that a person wants to know of; a rekey is none. */
static void log_state(struct client *client, const struct client_snapshot *now)
{
	const struct client_snapshot *before = &client->shown;
	/* It may be over before we see anything but its end. */
	if (now->forgotten && !before->forgotten)
		log_warning("the gateway does not know our session any more; reconnecting");
	bool same_session = now->lease.session_id == before->lease.session_id;
	if (now->state == CLIENT_UP && (before->state != CLIENT_UP || !same_session)) {
		log_connected(&now->lease);
	} else if (now->state == CLIENT_HANDSHAKE && now->bye_reason >= 0 && before->state != CLIENT_HANDSHAKE) {
		log_warning("the gateway ended the session: %s; reconnecting",
			    wire_bye_text((unsigned)now->bye_reason));
	} else if (now->state == CLIENT_RECONNECT && before->state != CLIENT_RECONNECT && !now->forgotten) {
		log_warning("the gateway is silent; reconnecting");
	} else if (now->hellos == CLIENT_RESOLVE_AFTER) {
		log_warning("no answer to %u handshakes; is the gateway up, UDP port %u open, and our public key "
			    "listed there?",
			    now->hellos, client->config->gateway.endpoint.port);
	}
}

static void state_changed(void *context)
{
	struct client *client = context;
	struct client_snapshot *snapshot = mailbox_take(&client->role.snapshots);
	if (snapshot == NULL)
		return;
	if (snapshot->state == CLIENT_CONFIRM || snapshot->state == CLIENT_UP)
		apply_lease(client, &snapshot->lease);
	log_state(client, snapshot);
	if (snapshot->hellos != 0 && snapshot->hellos % CLIENT_RESOLVE_AFTER == 0) {
		client->tried++;
		look_up(client);
	}
	/* A rekey passes through CONFIRM: it is no news when UP follows. */
	if (snapshot->state != CLIENT_CONFIRM)
		client->shown = *snapshot;
	if (snapshot->state == CLIENT_UP)
		client->shown.forgotten = false;
	free(snapshot);
}

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
	client->role.allowed = config->gateway.allowed_ips.items;
	client->role.allowed_count = config->gateway.allowed_ips.count;
	client->role.mtu = config->mtu != 0 ? (uint16_t)config->mtu : CLIENT_MTU_DEFAULT;
	client->role.persistent_keepalive = config->gateway.persistent_keepalive;
	result = client_role_init(&client->role);
	if (result != 0)
		return error_set(error, result, "mailboxes: %s", strerror(-result));
	client->resolver = resolver_new(config->gateway.endpoint.host, config->gateway.endpoint.port, error);
	return client->resolver != NULL ? 0 : -ENOMEM;
}

static void client_free(struct client *client)
{
	free(client->resolved);
	resolver_free(client->resolver);
	client_role_deinit(&client->role);
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
				       .failure = &worker->tun_error};
	return threads_start(&client->tunnel.threads, &params, error);
}

static int serve(struct client *client, struct error *error)
{
	int result = client_network_open(&client->network, client->tunnel.device.ifindex, client->config, error);
	if (result != 0)
		return result;
	result = start_worker(client, error);
	if (result == 0)
		result = metrics_start(client->tunnel.metrics, error);
	if (result == 0) {
		log_info("client on interface %s", client->tunnel.device.name);
		look_up(client);
		const struct tunnel_watch watches[] = {
			{client->role.snapshots.fd, state_changed},
			{resolver_fd(client->resolver), resolved},
			{client->network.retry_fd, retry_resolution},
		};
		result = tunnel_loop(&client->tunnel, watches, ARRAY_SIZE(watches), client, error);
	}
	tunnel_stop(&client->tunnel);
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
	client->network.retry_fd = -1;
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

static int open_and_serve(struct client *client, struct error *error)
{
	const struct client_config *config = client->config;
	struct tunnel_params params = {
		.role_name = "client",
		.common = &config->common,
		.mtu = client->role.mtu,
		.listen_port = config->listen_port,
		.mark = config->route_table,
		.sockets = 1,
		.tun_readers = 1,
		.context = client,
		.refresh = refresh,
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
	client_network_close(&client->network);
	return result;
}

int client_run(const struct client_config *config, struct error *error)
{
	tunnel_block_signals();
	struct client *client = client_new(config, error);
	if (client == NULL)
		return -EINVAL;
	rcu_join();
	int result = open_and_serve(client, error);
	rcu_leave();
	client_free(client);
	return result;
}
