// SPDX-License-Identifier: Apache-2.0
/* WireGuard's control socket, /var/run/wireguard/INTERFACE.sock, by which wg(8) and the programs made for it see and
 * change a gateway's peers that speak WireGuard (wireguard.com/xplatform). A request is lines that end with an empty
 * one:
 *
 *   get=1                      set=1
 *                              public_key=...
 *                              ...
 *
 * and so is the answer: of "get" the interface and its peers, but never the private key, and "errno=0"; of "set"
 * "errno=0", or a negative errno, as wg(8) expects it. One request for each connection. The file's mode (0600) alone
 * decides which users may connect. Control thread. */
#pragma once

#include "core/base/clock.h"
#include "core/control/listener.h"
#include "core/gateway/reload.h"

extern const struct control_socket_kind wireguard_socket_kind;

struct wireguard_socket;

/* Serves the listener, which is open. All is borrowed. NULL with `error` set on failure. Start-up only. */
struct wireguard_socket *wireguard_socket_new(const struct gateway_running *running,
					      const struct control_listener *listener, const struct clock *clock,
					      struct error *error);

/* Drops all connections. NULL is allowed. */
void wireguard_socket_free(struct wireguard_socket *socket);

/* One descriptor to poll for reading; -1 for NULL. Call wireguard_socket_poll() when it is readable. */
int wireguard_socket_fd(const struct wireguard_socket *socket);

/* Accepts, reads, answers: a bounded amount of each, then returns. Online under RCU. */
void wireguard_socket_poll(struct wireguard_socket *socket);

/* As line_server_finish(). NULL is allowed. Online under RCU. */
void wireguard_socket_finish(struct wireguard_socket *socket, int limit_ms);
