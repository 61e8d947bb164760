// SPDX-License-Identifier: Apache-2.0
/* A daemon's long-lived descriptors, and the one place where they come from: the rest of the daemon opens a thing, and
 * this file opens its descriptors or adopts those that another process left (core/daemon/store.h).
 *
 * Clients and other programs reach the daemon through these. Each has a name, which says what it is to a process that
 * gets it:
 *
 *   name      what
 *   udp.A.I   UDP socket I of the reuseport group of listen address A, in the group's order: workers, handshake
 *             threads, second sockets of the workers
 *   tun.I     queue I of the interface: readers, writers, second queues of those that are read
 *   control   listening socket of the control socket
 *   metrics   listening socket of /metrics
 *   wireguard listening socket of WireGuard's control socket
 *   layout    memory, sealed: what all these are for, as text (core/daemon/layout.h)
 *
 * All of them are adopted or none. BPF programs are no part of it: they share memory with the process that loaded
 * them, so the new one loads its own, which replace those of the sockets, the group and the interface in one step each.
 * Signals and the timer hold nothing that would be lost with them. Nor do the epolls, eventfds and timers that a part
 * of the daemon makes for itself.
 *
 * Control thread. Each open function returns 0, or a negative errno with `error` set and nothing left behind. */
#pragma once

#include "core/control/listener.h"
#include "core/daemon/metrics_listener.h"
#include "core/host/descriptor_list.h"
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
	int layout_fd; /* -1: none */
	/* What descriptors_give() was given and the open functions below did not take yet; empty: they open. */
	struct descriptor_list given;
};

/* What is to be opened, from the configuration alone. */
struct descriptors_plan {
	struct udp_params udp;
	const struct ip_address *listen_addresses; /* none: all */
	size_t listen_address_count;
	size_t sockets; /* that share each address */
	struct tun_params device;
	const char *control; /* path */
	const struct config_listener *metrics;
	const struct control_socket_kind *wireguard; /* NULL: none */
	const char *layout;			     /* text */
};

/* --- another process's ------------------------------------------------------------------------------------------- */

/* Whether a list is what the plan needs: each name once and no other, of the same layout, each descriptor an open file
 * of its own and of the kind, address, port, path, interface and network namespace that it has to be. -EPROTO with
 * `error` saying the first thing that is wrong. Changes nothing. */
int descriptors_check(const struct descriptor_list *list, const struct descriptors_plan *plan, struct error *error);

/* From here on the open functions take what is in the list, which passed descriptors_check(); it is theirs. What they
 * have not taken in the end descriptors_take_back() closes. */
void descriptors_give(struct descriptors *descriptors, struct descriptor_list *list);
void descriptors_take_back(struct descriptors *descriptors);

/* All that is open and has a name, in the order above. The descriptors stay where they are: descriptor_list_free(). 0
 * or -ENOMEM. */
int descriptors_list(const struct descriptors *descriptors, struct descriptor_list *list);

/* Makes the descriptor that says what the others are for. */
int descriptors_open_layout(struct descriptors *descriptors, const char *text, struct error *error);
void descriptors_close_layout(struct descriptors *descriptors);

/* --- opening or adopting ------------------------------------------------------------------------------------------ */

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

/* Where programs for an interface of this name look for WireGuard's control socket. */
enum { DESCRIPTORS_PATH_MAX = sizeof((struct sockaddr_un){0}).sun_path };
const char *descriptors_wireguard_path(const char *interface, char path[DESCRIPTORS_PATH_MAX]);

/* Of `kind`, there. */
int descriptors_open_wireguard(struct descriptors *descriptors, const struct control_socket_kind *kind,
			       const char *interface, struct error *error);
void descriptors_close_wireguard(struct descriptors *descriptors);

int descriptors_open_device(struct descriptors *descriptors, const struct tun_params *params, struct error *error);
void descriptors_close_device(struct descriptors *descriptors);

/* Outer address and port `i` in use, as text; false after the last. Any thread, while the sockets are open. */
bool descriptors_bound(const struct descriptors *descriptors, size_t i, char text[ENDPOINT_TEXT_MAX]);
