// SPDX-License-Identifier: Apache-2.0
/* The answer to "get=1" on WireGuard's control socket (core/gateway/wireguard_socket.h): the interface and its peers
 * that speak WireGuard as lines of key=value, made in pieces. Control thread, online under RCU. */
#pragma once

#include <stddef.h>

#include "core/base/clock.h"
#include "core/gateway/reload.h"

struct wireguard_get;

/* Begins an answer. `running` and `clock` are borrowed. NULL: no memory. */
struct wireguard_get *wireguard_get_new(const struct gateway_running *running, const struct clock *clock);

/* The next piece of at most WIREGUARD_GET_PIECE bytes, from malloc(), and its length; it has pre-shared keys. NULL
 * after the last one, or without memory. Peers may come and go between two pieces: those that are there all the time
 * are in exactly one. */
enum { WIREGUARD_GET_PIECE = 32768 };
char *wireguard_get_next(struct wireguard_get *get, size_t *length);

/* NULL is allowed. */
void wireguard_get_free(struct wireguard_get *get);
