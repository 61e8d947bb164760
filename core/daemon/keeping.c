// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/keeping.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/daemon/layout.h"

struct descriptors_plan daemon_plan(const struct daemon_params *params)
{
	uint32_t off = params->common->disabled_offloads;
	return (struct descriptors_plan){
		.udp = {.port = params->listen_port,
			.mark = params->mark,
			.buffer = params->common->udp_buffer,
			.gso = !(off & CONFIG_OFFLOAD_UDP_GSO),
			.gro = !(off & CONFIG_OFFLOAD_UDP_GRO)},
		.listen_addresses = params->listen_addresses,
		.listen_address_count = params->listen_address_count,
		.sockets = params->sockets,
		.device = {.name = params->common->interface,
			   .mtu = params->mtu,
			   .offloads = {.checksum = !(off & CONFIG_OFFLOAD_TUN_CHECKSUM),
					.tso = !(off & CONFIG_OFFLOAD_TUN_TSO),
					.uso = !(off & CONFIG_OFFLOAD_TUN_USO)},
			   .addresses = params->addresses,
			   .address_count = params->address_count,
			   .readers = params->tun_readers,
			   .writers = params->tun_writers,
			   .steering = params->tun_steering,
			   .sparse = params->tun_sparse,
			   .destinations = params->tun_destinations},
		.control = params->common->control_socket,
		.metrics = &params->common->metrics_listen,
		.wireguard = params->wireguard,
	};
}

/* --- from the process before -------------------------------------------------------------------------------------- */

void daemon_refuse(struct daemon *daemon, struct descriptor_list *given, const struct error *why)
{
	log_info("the sockets and the interface that the service manager kept are not used (%s): all is opened anew",
		 why->text);
	store_refuse(&daemon->store, given);
	daemon->adopted = false;
	daemon->refused = true;
}

static int check(const struct daemon *daemon, const struct descriptor_list *given, struct error *error)
{
	struct descriptors_plan plan = daemon_plan(&daemon->params);
	char *layout = layout_text(&daemon->params);
	if (layout == NULL)
		return error_set(error, -ENOMEM, "out of memory");
	plan.layout = layout;
	int result = descriptors_check(given, &plan, error);
	free(layout);
	return result;
}

static int take_running(struct daemon *daemon, struct error *error)
{
	struct descriptor_list given = *daemon->params.given;
	*daemon->params.given = (struct descriptor_list){.count = 0};
	daemon->params.given = NULL;
	int result = check(daemon, &given, error);
	if (result != 0) {
		descriptor_list_close(&given);
		return error_prefix(error, result, "take-over: ");
	}
	daemon->adopted = daemon->taken_over = daemon->leaving = true;
	descriptors_give(&daemon->descriptors, &given);
	return 0;
}

int daemon_take(struct daemon *daemon, struct error *why)
{
	struct descriptor_list given;
	struct error error = {0};
	if (!daemon->params.keeps)
		return 0;
	int result = store_take(&daemon->store, &daemon->notify, &given, &error);
	if (daemon->params.given != NULL) {
		descriptor_list_close(&given);
		return take_running(daemon, why);
	}
	if (result == 0 && given.count == 0)
		return 0;
	if (result == 0)
		result = check(daemon, &given, &error);
	daemon->adopted = result == 0;
	if (daemon->adopted)
		descriptors_give(&daemon->descriptors, &given);
	else
		daemon_refuse(daemon, &given, &error);
	return 0;
}

/* --- for the next process ----------------------------------------------------------------------------------------- */

static int keep(struct daemon *daemon, struct error *error)
{
	struct descriptor_list list;
	char *layout = layout_text(&daemon->params);
	int result = layout != NULL ? 0 : error_set(error, -ENOMEM, "out of memory");
	if (result == 0)
		result = descriptors_open_layout(&daemon->descriptors, layout, error);
	free(layout);
	if (result == 0 && descriptors_list(&daemon->descriptors, &list) != 0)
		result = error_set(error, -ENOMEM, "out of memory");
	return result == 0 ? store_keep(&daemon->store, &list, daemon->adopted && !daemon->taken_over, error) : result;
}

void daemon_keep(struct daemon *daemon)
{
	struct error error = {0};
	if (!daemon_keeps(daemon))
		return;
	if (keep(daemon, &error) != 0)
		log_warning("the service manager cannot keep sockets and interface over a restart: %s", error.text);
	else if (daemon->adopted && !daemon->taken_over)
		log_info("interface %s, its queues and the sockets are those from before the restart",
			 daemon->descriptors.device.name);
	descriptors_take_back(&daemon->descriptors);
}

bool daemon_leave(struct daemon *daemon, int signal_number)
{
	if (daemon->store.kept.count == 0)
		return false;
	daemon->leaving = true;
	notify_stopping(&daemon->notify);
	log_info("%s: ending for a restart: interface, sockets and rules stay", strsignal(signal_number));
	return true;
}

void daemon_end_keeping(struct daemon *daemon)
{
	if (daemon->leaving)
		store_leave(&daemon->store);
	else if (daemon->params.keeps)
		store_empty(&daemon->store);
	/* Of a start that failed: the files of its sockets are gone, so that the next one could not use them. */
	if (daemon->leaving)
		descriptors_take_back(&daemon->descriptors);
	else if (daemon->params.keeps)
		store_give_up(&daemon->store, &daemon->descriptors.given);
}
