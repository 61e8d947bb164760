// SPDX-License-Identifier: Apache-2.0
#include "config/options.h"

#include <string.h>
#include <strings.h>

#include "config/wireguard_server.h"

#define ROW(structure, name, type, low, high, member, default_text, form, help) \
	{#name, &value_##type, low, high, offsetof(structure, member), default_text, form, help},
#define CHECK(structure, type, member)                                                                       \
	_Static_assert(__builtin_types_compatible_p(__typeof__(((structure *)0)->member), value_##type##_t), \
		       #member " is not what a " #type " parses to");

#define GATEWAY_ROW(name, type, low, high, member, ...) \
	ROW(struct gateway_config, name, type, low, high, member, __VA_ARGS__)
#define PEER_ROW(name, type, low, high, member, ...) ROW(struct config_peer, name, type, low, high, member, __VA_ARGS__)
#define INTERFACE_ROW(name, type, low, high, member, ...) \
	ROW(struct wireguard_server, name, type, low, high, member, __VA_ARGS__)
#define CLIENT_ROW(name, type, low, high, member, ...) \
	ROW(struct client_config, name, type, low, high, member, __VA_ARGS__)
#define GATEWAY_CHECK(name, type, low, high, member, ...)   CHECK(struct gateway_config, type, member)
#define PEER_CHECK(name, type, low, high, member, ...)	    CHECK(struct config_peer, type, member)
#define INTERFACE_CHECK(name, type, low, high, member, ...) CHECK(struct wireguard_server, type, member)
#define CLIENT_CHECK(name, type, low, high, member, ...)    CHECK(struct client_config, type, member)

GATEWAY_OPTIONS(GATEWAY_CHECK)
PEER_OPTIONS(PEER_CHECK)
CLIENT_OPTIONS(CLIENT_CHECK)
REMOTE_OPTIONS(CLIENT_CHECK)
INTERFACE_OPTIONS(INTERFACE_CHECK)
WIREGUARD_PEER_OPTIONS(PEER_CHECK)

static const struct option_row gateway_rows[] = {GATEWAY_OPTIONS(GATEWAY_ROW)};
static const struct option_row peer_rows[] = {PEER_OPTIONS(PEER_ROW)};
static const struct option_row client_rows[] = {CLIENT_OPTIONS(CLIENT_ROW)};
static const struct option_row remote_rows[] = {REMOTE_OPTIONS(CLIENT_ROW)};
static const struct option_row interface_rows[] = {INTERFACE_OPTIONS(INTERFACE_ROW)};
static const struct option_row wireguard_peer_rows[] = {WIREGUARD_PEER_OPTIONS(PEER_ROW)};

_Static_assert(ARRAY_SIZE(gateway_rows) <= OPTIONS_PER_SECTION && ARRAY_SIZE(client_rows) <= OPTIONS_PER_SECTION,
	       "OPTIONS_PER_SECTION is too small");

const struct option_table option_tables[] = {
	[CONFIG_SECTION_GATEWAY] = {"Gateway", gateway_rows, ARRAY_SIZE(gateway_rows)},
	[CONFIG_SECTION_PEER] = {"Peer", peer_rows, ARRAY_SIZE(peer_rows)},
	[CONFIG_SECTION_CLIENT] = {"Client", client_rows, ARRAY_SIZE(client_rows)},
	[CONFIG_SECTION_REMOTE] = {"Gateway", remote_rows, ARRAY_SIZE(remote_rows)},
	[CONFIG_SECTION_INTERFACE] = {"Interface", interface_rows, ARRAY_SIZE(interface_rows)},
	[CONFIG_SECTION_WIREGUARD_PEER] = {"Peer", wireguard_peer_rows, ARRAY_SIZE(wireguard_peer_rows)},
};

const struct option_row *option_find(const struct option_table *table, const char *name)
{
	for (size_t i = 0; i < table->count; i++) {
		if (strcasecmp(table->rows[i].name, name) == 0)
			return &table->rows[i];
	}
	return NULL;
}

void config_print_options(FILE *out, enum config_section section)
{
	const struct option_table *table = &option_tables[section];
	fprintf(out, "[%s]\n", table->section);
	for (const struct option_row *row = table->rows; row < table->rows + table->count; row++) {
		int used = fprintf(out, "  %s = %s", row->name, row->form);
		/* A form that reaches into the second column gets a line of its own. */
		enum { COLUMN = 42 };
		if (used >= COLUMN - 1) {
			fputc('\n', out);
			used = 0;
		}
		fprintf(out, "%*s%s", COLUMN - used, "", row->help);
		if (row->default_text == NULL)
			fputs(" (mandatory)\n", out);
		else if (row->default_text[0] != '\0')
			fprintf(out, " (default: %s)\n", row->default_text);
		else
			fputc('\n', out);
	}
}
