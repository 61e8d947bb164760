// SPDX-License-Identifier: Apache-2.0
#include "core/protocol/dialect.h"

const struct dialect dialect_own = {
	.name = "shardtun",
	.header_size = WIRE_TRANSPORT_HEADER_SIZE,
	.overhead = WIRE_OVERHEAD,
	.key_max_age = DIALECT_OWN_KEY_MAX_AGE_NS,
	.confirm_within = DIALECT_OWN_CONFIRM_NS,
	.sends_control = true,
};

const struct dialect dialect_wireguard = {
	.name = "wireguard",
	.header_size = WG_DATA_HEADER_SIZE,
	.overhead = WG_OVERHEAD,
	.key_max_age = WG_REJECT_AFTER_S * NS_PER_S,
	.confirm_within = WG_REJECT_AFTER_S * NS_PER_S,
	.pads = true,
	.roams_freely = true,
};
