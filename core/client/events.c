// SPDX-License-Identifier: Apache-2.0
/* What a running client does about answers, states and changes of the machine's networks. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/client/context.h"
#include "core/client/keep.h"
#include "core/host/command.h"
#include "core/base/log.h"
#include "core/base/rcu.h"

enum {
	RESOLVE_AFTER = 3, /* HELLOs in vain before the name is looked up again */
	SLEEP_S = 2,	   /* of sleep are worth a handshake */
};

void client_give_up(struct client *client, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	if (client->failure.text[0] == '\0')
		(void)vsnprintf(client->failure.text, sizeof client->failure.text, format, arguments);
	va_end(arguments);
	client->tunnel.finish = true;
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static int post_up(struct client *client, struct error *error)
{
	const struct client_config *config = client->config;
	if (client->record.deeds.post_up || config->post_up.count + config->post_down.count == 0)
		return 0;
	client->record.deeds.post_up = true;
	int result = client_record_write(&client->record, error);
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

static void tell_no_answer(struct client *client, uint32_t hellos)
{
	log_warning("no answer to %u handshakes; is the gateway up, UDP port %u open, and our public key listed there?",
		    hellos, client->config->gateway.endpoint.port);
}

static bool is_refused_anew(const struct client_refusal *before, const struct client_refusal *now)
{
	return now->reason != CLIENT_OFFER_FINE &&
	       (now->reason != before->reason || !ip_address_equal(&now->address, &before->address));
}

/* Who waits for us to be connected need not wait for that. */
static void tell_refusal(struct client *client, const struct client_refusal *refusal)
{
	char text[CLIENT_REFUSAL_TEXT];
	client_refusal_text(refusal, text);
	if (client_is_awaited(client))
		client_give_up(client, "%s", text);
	else
		log_warning("%s", text);
}

/* One line for each change that a person wants to know of; a rekey is none. */
static void log_state(struct client *client, const struct client_snapshot *now)
{
	const struct client_snapshot *before = &client->shown;
	/* It may be over before we see anything but its end. */
	if (now->forgotten && !before->forgotten)
		log_warning("reconnecting because the gateway does not know our session any more");
	if (is_refused_anew(&before->refusal, &now->refusal))
		tell_refusal(client, &now->refusal);
	bool same_session = now->lease.session_id == before->lease.session_id;
	if (now->state == CLIENT_UP && (before->state != CLIENT_UP || !same_session)) {
		log_connected(&now->lease);
	} else if (now->state == CLIENT_HANDSHAKE && now->bye_reason >= 0 && before->state != CLIENT_HANDSHAKE) {
		log_warning("reconnecting because the gateway ended the session: %s",
			    wire_bye_text((unsigned)now->bye_reason));
	} else if (now->state == CLIENT_RECONNECT && before->state != CLIENT_RECONNECT && !now->forgotten) {
		log_warning("reconnecting because the gateway is silent");
	} else if (now->hellos == RESOLVE_AFTER) {
		tell_no_answer(client, now->hellos);
	}
}

/* Whoever waits is told, and from now on nobody is there to read what we print. */
static void tell_ready(struct client *client)
{
	static const char ready = 1;
	client->connected = true;
	if (client->start == NULL)
		return;
	(void)prctl(PR_SET_PDEATHSIG, 0);
	rcu_offline();
	(void)log_flush(LOG_END_MS); /* what was logged until here is for them */
	rcu_online();
	ssize_t written = write(client->start->ready_fd, &ready, sizeof ready);
	(void)written; /* nobody waits any more: we are wanted all the same */
	close(client->start->ready_fd);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null < 0)
		return;
	(void)dup2(null, STDERR_FILENO);
	close(null);
}

/* Programs are run meanwhile, for which nobody may wait who waits for readers. */
static void be_connected(struct client *client, const struct wire_welcome *lease)
{
	struct error error = {0};
	client_names_apply(client, lease);
	rcu_offline();
	int result = post_up(client, &error);
	rcu_online();
	if (result != 0)
		client_give_up(client, "%s", error.text);
}

/* The gateway may have moved, and its name with it. One that sent RESET has not. */
static bool is_lost(const struct client *client, const struct client_snapshot *now)
{
	return now->state == CLIENT_RECONNECT && client->shown.state != CLIENT_RECONNECT && !now->forgotten;
}

void client_on_state(void *context)
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
		be_connected(client, &snapshot->lease);
	if (!client->tunnel.finish)
		log_state(client, snapshot);
	if (snapshot->state == CLIENT_UP && !client->connected && !client->tunnel.finish)
		tell_ready(client);
	if (is_lost(client, snapshot) || (snapshot->hellos != 0 && snapshot->hellos % RESOLVE_AFTER == 0))
		client_endpoint_resolve(client);
	/* A rekey passes through CONFIRM: it is no news when UP follows. */
	if (snapshot->state != CLIENT_CONFIRM)
		client->shown = *snapshot;
	if (snapshot->state == CLIENT_UP)
		client->shown.forgotten = false;
	free(snapshot);
}

/* --- changes of the machine --------------------------------------------------------------------------------------- */

void client_on_settled(void *context)
{
	struct client *client = context;
	client_network_settled(&client->network);
	client_endpoint_follow(client, CLIENT_ROAMED);
}

static void notice_sleep(struct client *client)
{
	uint64_t slept = clock_slept(client->tunnel.clock);
	if (slept > client->slept + SLEEP_S * NS_PER_S) {
		log_info("the machine has slept; handshake");
		client_endpoint_follow(client, CLIENT_AWAKE);
	}
	client->slept = slept;
}

void client_every_second(struct tunnel *tunnel)
{
	struct client *client = tunnel->params.context;
	uint64_t waited = clock_monotonic(tunnel->clock) - tunnel->started;
	if (client_is_awaited(client) && waited >= client->start->limit * NS_PER_S) {
		struct error error = {0};
		client_endpoint_late(client, client->start->limit, &error);
		client_give_up(client, "%s", error.text);
	}
	notice_sleep(client);
}
