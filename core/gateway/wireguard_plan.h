// SPDX-License-Identifier: Apache-2.0
/* What becomes of each peer that a request "set=1" names (core/gateway/wireguard_set.h): made and checked as a whole
 * before anything is changed. Control thread, online under RCU, without a quiescent state in between. */
#pragma once

#include "core/gateway/wireguard_set.h"

enum wireguard_step {
	WIREGUARD_KEEP,	   /* it is so already, or not there */
	WIREGUARD_REMOVE,  /* it goes */
	WIREGUARD_REPLACE, /* it goes, and comes back with another address: its sessions end */
	WIREGUARD_ADD,	   /* it comes */
	WIREGUARD_ALTER,   /* its networks, its pre-shared key, or how it is reached: its sessions go on */
};

/* One peer of the request. */
struct wireguard_planned {
	const struct wireguard_change *change;
	struct peer *there; /* NULL: none */
	enum wireguard_step step;
	uint32_t index; /* of its address */
	uint8_t preshared_key[KEY_SIZE];
	struct contact contact;	    /* its host is that of `there` */
	struct ip_prefix *networks; /* sorted, each once */
	size_t network_count;
};

struct wireguard_plan {
	struct registry *registry;
	struct wireguard_planned *items; /* in the order of their keys */
	size_t count;
};

/* 0, or a negative errno as of wireguard_set_apply(). wireguard_plan_free() in any case. */
int wireguard_plan_make(struct wireguard_plan *plan, struct registry *registry, const struct wireguard_set *set);

/* Wipes and frees it. */
void wireguard_plan_free(struct wireguard_plan *plan);
