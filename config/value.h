// SPDX-License-Identifier: Apache-2.0
/* From the text of one value to the member of a configuration struct. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "core/base/error.h"

/* What a parser gets besides the text. */
struct value_context {
	uint64_t low, high;    /* the option's limits, see VALUE_TYPES */
	const char *directory; /* where relative paths start: with a slash at its end, or "" */
	unsigned line;
};

struct value_type {
	/* Lists: called once per item, to append; the option may stand on several lines. */
	bool list;
	/* Never quoted in messages, and the file may not be readable for all users. */
	bool secret;
	/* Of a list: a line is one item, commas and all. */
	bool whole_lines;
	/* Reads `text`, which has no surrounding white space and is not empty, to the zeroed or earlier value at
	 * `target`. 0, -EINVAL with "what is wrong; what is right" in `error`, or -ENOMEM. */
	int (*parse)(void *target, const char *text, const struct value_context *context, struct error *error);
	/* Frees what parse allocated; NULL when there is nothing. Takes a zeroed value as well. */
	void (*free)(void *target);
};

/* X(type, C type of the member, what low…high limits) */
#define VALUE_TYPES(X)                                                                                            \
	X(path, char *, "longest path, bytes")                                                                    \
	X(name, char *, "longest name, bytes")                                                                    \
	X(secret_key, char *, "nothing")                                                                          \
	X(interface, char[CONFIG_INTERFACE_SIZE], "nothing")                                                      \
	X(user, char[CONFIG_USER_SIZE], "nothing")                                                                \
	X(number, uint32_t, "the number")                                                                         \
	X(number_or_auto, uint32_t, "the number; 'auto' gives 0")                                                 \
	X(count_or_auto, int32_t, "the number; 'auto' gives -1")                                                  \
	X(number_or_off, uint32_t, "the number; 'off' gives 0")                                                   \
	X(table, uint32_t, "the number; 'off' gives 0")                                                           \
	X(size, uint32_t, "the number of bytes; K, M, G multiply")                                                \
	X(size_or_auto, uint32_t, "the same; 'auto' gives 0")                                                     \
	X(rate, uint32_t,                                                                                         \
	  "bits a second; K, M, G, T multiply by powers of 1000; gives thousands, and for 'off' CONFIG_RATE_OFF") \
	X(quota, struct config_quota, "bytes; K, M, G, T multiply")                                               \
	X(port, uint16_t, "the number")                                                                           \
	X(yes_no, bool, "nothing")                                                                                \
	X(cipher, enum config_cipher, "nothing")                                                                  \
	X(backend, const char *, "nothing")                                                                       \
	X(offloads, uint32_t, "nothing")                                                                          \
	X(log_level, enum log_level, "nothing")                                                                   \
	X(cpu_priority, enum cpu_priority, "nothing")                                                             \
	X(public_key, char[CONFIG_KEY_TEXT_SIZE], "nothing")                                                      \
	X(endpoint, struct config_endpoint, "nothing")                                                            \
	X(peer_endpoint, struct config_endpoint *, "nothing")                                                     \
	X(protocol, enum config_protocol, "nothing")                                                              \
	X(listener, struct config_listener, "longest path, bytes")                                                \
	X(addresses, struct config_addresses, "most items")                                                       \
	X(interfaces, struct config_interfaces, "most items")                                                     \
	X(prefixes, struct config_prefixes, "most items")                                                         \
	X(dns, struct config_dns, "most servers")                                                                 \
	X(commands, struct config_commands, "most items")                                                         \
	X(texts, struct config_texts, "most items")

#define VALUE_DECLARE(type, c_type, limits)          \
	extern const struct value_type value_##type; \
	typedef __typeof__(c_type) value_##type##_t;
VALUE_TYPES(VALUE_DECLARE)
#undef VALUE_DECLARE
