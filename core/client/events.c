// SPDX-License-Identifier: Apache-2.0
#include "core/client/events.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/client/endpoint.h"
#include "core/client/keep.h"
#include "core/client/names.h"
#include "core/host/command.h"

enum {
	RESOLVE_AFTER = 3, /* unanswered HELLOs before the name is resolved again */
	SLEEP_S = 2,	   /* shorter sleep needs no handshake */
};

/* --- commands ----------------------------------------------------------------------------------------------------- */

static int post_up(struct client *client, struct error *error)
{
	const struct client_config *config = client->config;
	if (client->journal.applied.post_up || config->post_up.count + config->post_down.count == 0)
		return 0;
	client->journal.applied.post_up = true;
	int result = journal_write(&client->journal, error);
	for (size_t i = 0; result == 0 && i < config->post_up.count; i++) {
		result = command_run_shell(config->post_up.items[i], config->common.interface, CLIENT_COMMAND_SECONDS,
					   error);
		if (result != 0)
			(void)error_prefix(error, result, "PostUp = ");
	}
	return result;
}

/* --- states ------------------------------------------------------------------------------------------------------- */

static void log_connected(const struct wire_welcome *lease)
{
	char address4[IP_TEXT_MAX], address6[IP_TEXT_MAX];
	log_info("connected: session %08x, %s, addresses %s %s, MTU %u", lease->session_id,
		 aead_suite_name(lease->suite), ip_address_format(&lease->address4.address, address4),
		 ip_address_format(&lease->address6.address, address6), lease->mtu);
}

static void log_no_answer(struct client *client, uint32_t hellos)
{
	log_warning("no answer to %u handshakes; is the gateway up, UDP port %u open, and our public key listed there?",
		    hellos, client->config->gateway.endpoint.port);
}

static bool is_new_refusal(const struct client_refusal *before, const struct client_refusal *now)
{
	return now->reason != CLIENT_OFFER_FINE &&
	       (now->reason != before->reason || !ip_address_equal(&now->address, &before->address));
}

/* 'up' fails at once: the gateway's next answer would be the same. */
static void handle_refusal(struct client *client, const struct client_refusal *refusal)
{
	char text[CLIENT_REFUSAL_TEXT];
	client_refusal_text(refusal, text);
	if (client_is_starting(client))
		client_give_up(client, "%s", text);
	else
		log_warning("%s", text);
}

/* A line for each change of the connection; a rekey is not logged. */
static void log_state(struct client *client, const struct client_snapshot *now)
{
	const struct client_snapshot *before = &client->shown;
	/* Snapshots may be skipped: the new session can be up before the loss of the old one is seen. */
	if (now->forgotten && !before->forgotten)
		log_warning("reconnecting because the gateway does not know our session any more");
	if (is_new_refusal(&before->refusal, &now->refusal))
		handle_refusal(client, &now->refusal);
	bool same_session = now->lease.session_id == before->lease.session_id;
	if (now->state == CLIENT_UP && (before->state != CLIENT_UP || !same_session)) {
		log_connected(&now->lease);
	} else if (now->state == CLIENT_HANDSHAKE && now->bye_reason >= 0 && before->state != CLIENT_HANDSHAKE) {
		log_warning("reconnecting because the gateway ended the session: %s",
			    wire_bye_text((unsigned)now->bye_reason));
	} else if (now->state == CLIENT_RECONNECT && before->state != CLIENT_RECONNECT && !now->forgotten) {
		log_warning("reconnecting because the gateway is silent");
	} else if (now->hellos == RESOLVE_AFTER) {
		log_no_answer(client, now->hellos);
	}
}

/* Lets 'up' return. The terminal is not ours any more: standard error becomes /dev/null, and the log goes to syslog. */
static void report_ready(struct client *client)
{
	static const char ready = 1;
	client->connected = true;
	if (client->ready_fd < 0)
		return;
	(void)prctl(PR_SET_PDEATHSIG, 0);
	rcu_offline();
	(void)log_flush(LOG_END_MS); /* to the terminal */
	rcu_online();
	ssize_t written = write(client->ready_fd, &ready, sizeof ready);
	(void)written; /* the parent may be gone: the client runs on */
	close(client->ready_fd);
	client->ready_fd = -1;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null < 0)
		return;
	(void)dup2(null, STDERR_FILENO);
	close(null);
}

/* PostUp may block: leave RCU first, or grace periods stall. */
static void set_up(struct client *client, const struct wire_welcome *lease)
{
	struct error error = {0};
	client_names_apply(client, lease);
	rcu_offline();
	int result = post_up(client, &error);
	rcu_online();
	if (result != 0)
		client_give_up(client, "%s", error.text);
}

/* The gateway may have a new address, and its name resolve to that. One that sent RESET is still at the old one. */
static bool is_lost(const struct client *client, const struct client_snapshot *now)
{
	return now->state == CLIENT_RECONNECT && client->shown.state != CLIENT_RECONNECT && !now->forgotten;
}

void client_events_on_state(void *context)
{
	struct client *client = context;
	struct client_snapshot *snapshot = mailbox_take(&client->role.snapshots);
	if (snapshot == NULL)
		return;
	if (snapshot->gateway.sin6_family != 0) {
		client->endpoint.used = snapshot->gateway;
		client_network_aim(&client->network, &snapshot->gateway);
	}
	if (snapshot->state == CLIENT_CONFIRM || snapshot->state == CLIENT_UP)
		client_keep_lease(client, &snapshot->lease);
	if (snapshot->state == CLIENT_UP)
		set_up(client, &snapshot->lease);
	if (!client->daemon.finish)
		log_state(client, snapshot);
	if (snapshot->state == CLIENT_UP && !client->connected && !client->daemon.finish)
		report_ready(client);
	if (is_lost(client, snapshot) || (snapshot->hellos != 0 && snapshot->hellos % RESOLVE_AFTER == 0))
		client_endpoint_resolve(client);
	/* A rekey passes through CONFIRM: UP after it is not a new connection. */
	if (snapshot->state != CLIENT_CONFIRM)
		client->shown = *snapshot;
	if (snapshot->state == CLIENT_UP)
		client->shown.forgotten = false;
	free(snapshot);
}

/* --- the machine -------------------------------------------------------------------------------------------------- */

void client_events_on_settled(void *context)
{
	struct client *client = context;
	client_network_settled(&client->network);
	client_endpoint_follow(client, CLIENT_ROAMED);
}

static void check_sleep(struct client *client)
{
	uint64_t slept = clock_slept(client->daemon.clock);
	if (slept > client->slept + SLEEP_S * NS_PER_S) {
		log_info("the machine has slept; handshake");
		client_endpoint_follow(client, CLIENT_AWAKE);
	}
	client->slept = slept;
}

void client_events_every_second(struct daemon *daemon)
{
	struct client *client = daemon->params.context;
	uint64_t waited = clock_monotonic(daemon->clock) - daemon->started;
	if (client_is_starting(client) && waited >= client->start_limit * NS_PER_S) {
		struct error error = {0};
		client_endpoint_late(client, client->start_limit, &error);
		client_give_up(client, "%s", error.text);
	}
	check_sleep(client);
}
