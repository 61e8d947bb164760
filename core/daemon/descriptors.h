// SPDX-License-Identifier: Apache-2.0
/* A daemon's long-lived descriptors, and the one place where they come from: the rest of the daemon asks for a thing,
 * and this file decides how its descriptors are obtained.
 *
 * Clients and other programs reach the daemon through these, so they are what a daemon that takes over from another one
 * would adopt instead of opening its own. Each has a name for that:
 *
 *   name      what
 *   udp       UDP sockets: member by member of each address's reuseport group, in the group's order
 *   tun       queues of the interface: readers, then writers
 *   control   listening socket of the control socket
 *   metrics   listening socket of /metrics
 *   wireguard listening socket of WireGuard's control socket
 *
 * Signals and the timer hold nothing that would be lost with them. Nor do the epolls, eventfds and timers that a part
 * of the daemon makes for itself.
 *
 * Control thread. Each open function returns 0, or a negative errno with `error` set and nothing left behind. */
#pragma once

#include "core/control/listener.h"
#include "core/daemon/metrics_listener.h"
#include "tun/tun.h"
#include "workers/udp.h"

struct descriptors {
	int signal_fd; /* process_signals() */
	int timer_fd;  /* readable every second */
	struct udp_socket **sockets;
	size_t socket_count;
	struct control_listener control;
	struct metrics_listener metrics;
	struct control_listener wireguard; /* descriptor -1: there is none */
	struct tun_device device;
};

int descriptors_open_signals(struct descriptors *descriptors, struct error *error);
void descriptors_close_signals(struct descriptors *descriptors);

int descriptors_open_timer(struct descriptors *descriptors, struct error *error);
void descriptors_close_timer(struct descriptors *descriptors);

/* As udp_open_groups(), which has the meaning of the parameters. */
int descriptors_open_sockets(struct descriptors *descriptors, const struct udp_params *params,
			     const struct ip_address *addresses, size_t address_count, size_t count,
			     struct error *error);
void descriptors_close_sockets(struct descriptors *descriptors);

int descriptors_open_control(struct descriptors *descriptors, const char *path, struct error *error);
void descriptors_close_control(struct descriptors *descriptors);

/* `metrics.fd` stays -1 where the option is off. */
int descriptors_open_metrics(struct descriptors *descriptors, const struct config_listener *config,
			     struct error *error);
void descriptors_close_metrics(struct descriptors *descriptors);

/* Of `kind`, where programs for an interface of this name look for it. */
int descriptors_open_wireguard(struct descriptors *descriptors, const struct control_socket_kind *kind,
			       const char *interface, struct error *error);
void descriptors_close_wireguard(struct descriptors *descriptors);

int descriptors_open_device(struct descriptors *descriptors, const struct tun_params *params, struct error *error);
void descriptors_close_device(struct descriptors *descriptors);

/* Outer address and port `i` in use, as text; false after the last. Any thread, while the sockets are open. */
bool descriptors_bound(const struct descriptors *descriptors, size_t i, char text[ENDPOINT_TEXT_MAX]);
